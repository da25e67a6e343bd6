//! Names of networks with an encoder of texts beside them: open_clip's, and those of Hugging Face's
//! transformers, which keeps queries, keys and values apart.

use std::borrow::Cow;

use taper_graph::{Graph, Op, Parameter, WeightSource};
use taper_weights::WeightFile;

use super::{Found, Made, Recipe, reshaped};

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
    let own = [open_clip(name, tower), trunk(name, tower), transformers(name, tower)];
    let last = [timm, linear_projection, linear_head].map(|of| of(name, tower));
    own.into_iter().chain(last).flatten().find_map(|(names, recipe)| {
        let sources: Vec<String> = names.iter().map(|own| format!("{prefix}{own}")).collect();
        let shapes: Vec<&[usize]> =
            sources.iter().map(|source| file.shape(source)).collect::<Option<_>>()?;
        let found = match &recipe {
            Recipe::Clip(Part::Transposed) => shapes[0].iter().rev().copied().collect(),
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

/// That layer from what it is made of: the query, its layer, and that of keys and values, which
/// transformers keeps together. Nothing where the file is one of Taper's own.
pub(super) fn pooled(
    file: &WeightFile,
    prefix: &str,
    graph: &Graph,
    parameter: &Parameter,
) -> Option<Made> {
    let tensor = match parameter.name.strip_prefix(POOLED)? {
        ".weight" => Tensor::Weight,
        _ => Tensor::Bias,
    };
    if file.shape(&format!("{prefix}{}", parameter.name)).is_some() {
        return None;
    }
    let width = graph.nodes().iter().rev().find_map(|node| {
        if let Op::AttentionPool(pool) = node.op { Some(pool.width) } else { None }
    })?;
    let apart = |base: &str| -> Vec<(String, Vec<usize>)> {
        let layers = [
            ("latent", vec![1, 1, width]),
            ("q.weight", vec![width, width]),
            ("q.bias", vec![width]),
            ("kv.weight", vec![2 * width, width]),
            ("kv.bias", vec![2 * width]),
        ];
        layers.map(|(own, shape)| (format!("{prefix}{base}attn_pool.{own}"), shape)).to_vec()
    };
    let together = [
        ("probe", vec![1, 1, width]),
        ("attention.in_proj_weight", vec![3 * width, width]),
        ("attention.in_proj_bias", vec![3 * width]),
    ];
    let together =
        together.map(|(own, shape)| (format!("{prefix}vision_model.head.{own}"), shape)).to_vec();
    let there = |form: &Vec<(String, Vec<usize>)>| {
        form.iter().filter(|(name, _)| file.shape(name).is_some()).count()
    };
    // The form that most of is there; timm's of none.
    let all = [together, apart("visual.trunk."), apart("")];
    let form = all.into_iter().max_by_key(there)?;
    let (mut lacking, mut sources) = (Vec::new(), Vec::new());
    for (name, shape) in form {
        match file.shape(&name) {
            None => lacking.push(name),
            Some(found) if found != shape => {
                lacking.push(format!("{name} in the shape {shape:?} instead of {found:?}"));
            }
            Some(_) => sources.push(name),
        }
    }
    if !lacking.is_empty() {
        return Some(Made::Part { lacking, there: sources });
    }
    let recipe = Recipe::Clip(Part::Pooled(tensor));
    Some(Made::Whole(Found { shape: parameter.shape.clone(), sources, recipe }))
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
