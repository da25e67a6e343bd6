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
}

/// The source of a tensor of this name and shape, if the file follows one of the conventions.
pub(super) fn find(
    file: &WeightFile,
    prefix: &str,
    (name, shape): (&str, &[usize]),
    tower: Tower,
) -> Option<Found> {
    [open_clip(name, tower), transformers(name, tower), timm(name, tower)]
        .into_iter()
        .flatten()
        .find_map(|(names, recipe)| {
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

/// `transformers/models/clip/modeling_clip.py`.
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
    there("visual.class_embedding") || there("vision_model.embeddings.class_embedding")
}

impl Part {
    /// `shape`: that of the result.
    pub(super) fn apply(self, sources: &[Cow<'_, [f32]>], shape: &[usize]) -> Vec<f32> {
        match self {
            Self::Stacked => sources.concat(),
            Self::Transposed => {
                let [rows, columns] = [shape[0], shape[1]];
                let value = |at: usize| sources[0][at % columns * rows + at / columns];
                (0..rows * columns).map(value).collect()
            }
        }
    }
}
