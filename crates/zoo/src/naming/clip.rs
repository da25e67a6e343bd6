//! Names of networks with an encoder of texts beside them: open_clip's, and those of Hugging Face's
//! transformers, which keeps queries, keys and values apart.

use std::borrow::Cow;

use taper_graph::WeightSource;
use taper_weights::WeightFile;

use super::{Found, Recipe, reshaped};

/// Which half of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tower {
    /// The network that sees pictures.
    Picture,
    /// The encoder of texts.
    Text,
}

/// How values of the file become those of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// One tensor, rows and columns exchanged.
    Transposed,
    /// Several tensors, one after the other.
    Stacked,
    /// From a query, its layer and that of keys and values to one layer of scores and values.
    Pooled(Tensor),
}

/// Which tensor of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tensor {
    Weight,
    Bias,
}

/// The source of a tensor of this name and shape, if the file follows one of the conventions.
pub(super) fn find(
    file: &WeightFile,
    prefix: &str,
    (name, shape): (&str, &[usize]),
    tower: Tower,
) -> Option<Found> {
    let pooled = name.strip_prefix(POOLED).map(|tensor| match tensor {
        ".weight" => Tensor::Weight,
        _ => Tensor::Bias,
    });
    let all = match pooled {
        Some(tensor) => pooling(tensor).to_vec(),
        None => {
            let own = [open_clip(name, tower), trunk(name, tower), transformers(name, tower)];
            let last = [timm, linear_projection, linear_head].map(|of| of(name, tower));
            own.into_iter().chain(last).flatten().collect()
        }
    };
    all.into_iter().find_map(|(names, recipe)| {
        let sources: Vec<String> = names.iter().map(|own| format!("{prefix}{own}")).collect();
        let shapes: Vec<&[usize]> =
            sources.iter().map(|source| file.shape(source)).collect::<Option<_>>()?;
        let found = match &recipe {
            Recipe::Clip(Part::Transposed) => shapes[0].iter().rev().copied().collect(),
            Recipe::Clip(Part::Pooled(_)) => pooled_shape(&shapes, shape)?,
            Recipe::Clip(Part::Stacked) => {
                let rows = shapes.iter().map(|shape| shape.first().copied().unwrap_or(0)).sum();
                std::iter::once(rows).chain(shapes[0].iter().skip(1).copied()).collect()
            }
            _ => reshaped(shapes[0], shape, false),
        };
        Some(Found { shape: found, sources, recipe })
    })
}

type Source = (Vec<String>, Recipe);

fn same(name: String) -> Option<Source> {
    Some((vec![name], Recipe::Same))
}

/// `open_clip/transformer.py`.
fn open_clip(name: &str, tower: Tower) -> Option<Source> {
    let base = if tower == Tower::Picture { "visual." } else { "" };
    let whole = match (name, tower) {
        ("cls_token", _) => "class_embedding",
        ("pos_embed", _) => "positional_embedding",
        ("patch_embed.proj.weight", _) => "conv1.weight",
        ("token_embedding.weight", _) => name,
        ("projection.weight", Tower::Picture) => {
            return Some((vec!["visual.proj".into()], Recipe::Clip(Part::Transposed)));
        }
        ("projection.weight", Tower::Text) => {
            return Some((vec!["text_projection".into()], Recipe::Clip(Part::Transposed)));
        }
        _ => "",
    };
    if !whole.is_empty() {
        return same(format!("{base}{whole}"));
    }
    let (module, tensor) = name.rsplit_once('.')?;
    let outer = match (module, tower) {
        ("norm_pre", _) => "ln_pre",
        ("norm", Tower::Picture) => "ln_post",
        ("norm", Tower::Text) => "ln_final",
        _ => "",
    };
    if !outer.is_empty() {
        return same(format!("{base}{outer}.{tensor}"));
    }
    let (block, layer) = module.strip_prefix("blocks.")?.split_once('.')?;
    let layer = match layer {
        "attn.qkv" => {
            return same(format!("{base}transformer.resblocks.{block}.attn.in_proj_{tensor}"));
        }
        "norm1" => "ln_1",
        "norm2" => "ln_2",
        "attn.proj" => "attn.out_proj",
        "mlp.fc1" => "mlp.c_fc",
        "mlp.fc2" => "mlp.c_proj",
        _ => return None,
    };
    same(format!("{base}transformer.resblocks.{block}.{layer}.{tensor}"))
}

/// A layer that timm does not have: `taper_graph::AttentionPool` reads it.
const POOLED: &str = "attn_pool.scores_values";

/// What it is made of: the query, its layer, and that of keys and values, which transformers keeps
/// together.
fn pooling(tensor: Tensor) -> [Source; 3] {
    let apart = |base: &str| {
        let layers = ["latent", "q.weight", "q.bias", "kv.weight", "kv.bias"];
        layers.map(|own| format!("{base}attn_pool.{own}")).to_vec()
    };
    let together = ["probe", "attention.in_proj_weight", "attention.in_proj_bias"];
    let together = together.map(|own| format!("vision_model.head.{own}")).to_vec();
    [apart("visual.trunk."), apart(""), together]
        .map(|names| (names, Recipe::Clip(Part::Pooled(tensor))))
}

/// The shape that these sources give for a layer of this shape, if they fit each other.
fn pooled_shape(sources: &[&[usize]], wanted: &[usize]) -> Option<Vec<usize>> {
    let width = sources.first()?.last().copied()?;
    let rows: usize = sources[1..].iter().filter(|s| s.len() == 2).map(|s| s[0]).sum();
    let columns = sources[1..].iter().filter(|s| s.len() == 2).all(|s| s[1] == width);
    let biases: usize = sources[1..].iter().filter(|s| s.len() == 1).map(|s| s[0]).sum();
    if !columns || rows != 3 * width || biases != rows {
        return None;
    }
    // The number of heads is the network's.
    let heads = wanted.first()?.checked_sub(width).filter(|heads| *heads > 0);
    let heads = heads.filter(|heads| width.is_multiple_of(*heads))?;
    Some(std::iter::once(heads + width).chain(wanted.get(1).map(|_| width)).collect())
}

/// The two halves of networks that open_clip builds from timm's and from an encoder of its own:
/// SigLIP and MobileCLIP.
fn trunk(name: &str, tower: Tower) -> Option<Source> {
    match tower {
        Tower::Picture => same(format!("visual.trunk.{name}")),
        Tower::Text => {
            let (names, recipe) = open_clip(name, tower)?;
            Some((names.into_iter().map(|own| format!("text.{own}")).collect(), recipe))
        }
    }
}

/// `transformers/models/clip/modeling_clip.py` and `…/siglip/modeling_siglip.py`.
fn transformers(name: &str, tower: Tower) -> Option<Source> {
    let base = if tower == Tower::Picture { "vision_model" } else { "text_model" };
    let whole = match (name, tower) {
        ("cls_token", _) => "embeddings.class_embedding",
        ("pos_embed", _) => "embeddings.position_embedding.weight",
        ("token_embedding.weight", _) => "embeddings.token_embedding.weight",
        ("projection.weight", Tower::Picture) => return same("visual_projection.weight".into()),
        ("projection.weight", Tower::Text) => return same("text_projection.weight".into()),
        _ => "",
    };
    if !whole.is_empty() {
        return same(format!("{base}.{whole}"));
    }
    let (module, tensor) = name.rsplit_once('.')?;
    let outer = match (module, tower) {
        ("patch_embed.proj", _) => "embeddings.patch_embedding",
        ("attn_pool.proj", _) => "head.attention.out_proj",
        ("attn_pool.norm", _) => "head.layernorm",
        ("attn_pool.mlp.fc1", _) => "head.mlp.fc1",
        ("attn_pool.mlp.fc2", _) => "head.mlp.fc2",
        // Misspelled there.
        ("norm_pre", _) => "pre_layrnorm",
        ("norm", Tower::Picture) => "post_layernorm",
        ("norm", Tower::Text) => "final_layer_norm",
        _ => "",
    };
    if !outer.is_empty() {
        return same(format!("{base}.{outer}.{tensor}"));
    }
    let (block, layer) = module.strip_prefix("blocks.")?.split_once('.')?;
    let inner = format!("{base}.encoder.layers.{block}");
    let layer = match layer {
        "attn.qkv" => {
            let parts =
                ["q", "k", "v"].map(|part| format!("{inner}.self_attn.{part}_proj.{tensor}"));
            return Some((parts.to_vec(), Recipe::Clip(Part::Stacked)));
        }
        "norm1" => "layer_norm1",
        "norm2" => "layer_norm2",
        "attn.proj" => "self_attn.out_proj",
        "mlp.fc1" | "mlp.fc2" => layer,
        _ => return None,
    };
    same(format!("{inner}.{layer}.{tensor}"))
}

/// timm's files hold the picture's half alone, under the names that it has here; the projection is
/// their classifier.
fn timm(name: &str, tower: Tower) -> Option<Source> {
    (name == "projection.weight" && tower == Tower::Picture)
        .then(|| (vec!["head.weight".into()], Recipe::Same))
}

/// SigLIP's texts end with a linear layer with a bias, whose axes are those of one: open_clip's.
fn linear_projection(name: &str, tower: Tower) -> Option<Source> {
    let tensor = name.strip_prefix("projection.").filter(|_| tower == Tower::Text)?;
    same(format!("text.text_projection.{tensor}"))
}

/// The same in transformers.
fn linear_head(name: &str, tower: Tower) -> Option<Source> {
    let tensor = name.strip_prefix("projection.").filter(|_| tower == Tower::Text)?;
    same(format!("text_model.head.{tensor}"))
}

/// Whether a tensor belongs to the half that sees no pictures, or to both, in a file with both.
pub(super) fn beside_the_picture(name: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "text.",
        "text_model.",
        "text_projection",
        "transformer.resblocks.",
        "token_embedding.",
        "positional_embedding",
        "ln_final.",
        "logit_scale",
        "logit_bias",
    ];
    OTHERS.iter().any(|other| name.starts_with(other)) || name.ends_with(".position_ids")
}

/// Whether a file has both halves.
pub(super) fn has_both(file: &WeightFile, prefix: &str) -> bool {
    let there = |name: &str| file.shape(&format!("{prefix}{name}")).is_some();
    there("visual.class_embedding")
        || there("vision_model.embeddings.patch_embedding.weight")
        || there("text.token_embedding.weight")
}

impl Part {
    /// `shape`: that of the result.
    pub(super) fn apply(self, sources: &[Cow<'_, [f32]>], shape: &[usize]) -> Vec<f32> {
        match self {
            Self::Stacked => sources.concat(),
            Self::Pooled(tensor) => scores_and_values(sources, shape[0], tensor),
            Self::Transposed => {
                let [rows, columns] = [shape[0], shape[1]];
                let value = |at: usize| sources[0][at % columns * rows + at / columns];
                (0..rows * columns).map(value).collect()
            }
        }
    }
}

/// Rows of scores, q · k / √d for each head with the query's own layer applied, then those of
/// values. `rows`: heads and width.
fn scores_and_values(sources: &[Cow<'_, [f32]>], rows: usize, tensor: Tensor) -> Vec<f32> {
    let latent = &sources[0];
    let width = latent.len();
    let square = width * width;
    // Weights and biases of queries, and of keys and values, apart or together.
    let (weights, biases) = match sources {
        [_, q, q_bias, kv, kv_bias] => ((&q[..], &kv[..]), (&q_bias[..], &kv_bias[..])),
        _ => (sources[1].split_at(square), sources[2].split_at(width)),
    };
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let of_query = weights.0.chunks_exact(width).zip(biases.0);
    let query: Vec<f64> = of_query.map(|(row, bias)| dot(row, latent) + f64::from(*bias)).collect();
    let heads = rows - width;
    let depth = width / heads;
    let factor = 1.0 / (depth as f64).sqrt();
    let (columns, (keys, values)) = match tensor {
        Tensor::Weight => (width, weights.1.split_at(square)),
        Tensor::Bias => (1, biases.1.split_at(width)),
    };
    let mut all = Vec::with_capacity(rows * columns);
    for (query, keys) in query.chunks_exact(depth).zip(keys.chunks_exact(depth * columns)) {
        for column in 0..columns {
            let key = keys.iter().skip(column).step_by(columns);
            let sum: f64 = query.iter().zip(key).map(|(q, k)| q * f64::from(*k)).sum();
            all.push((factor * sum) as f32);
        }
    }
    all.extend_from_slice(values);
    all
}
