//! Registers of vision transformers (Darcet et al. 2023): timm keeps them apart from the class
//! token, and has no positions for either (`no_embed_class` of
//! `timm/models/vision_transformer.py`).

use std::borrow::Cow;

use taper_graph::{Parameter, WeightSource};
use taper_weights::WeightFile;

use super::{Found, Recipe};

/// How values of the file become those of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The class token, then the registers.
    Tokens,
    /// Zeros for these, then the positions of the patches.
    Positions,
}

/// The sources of learned tokens and positions, if the file has registers.
pub(super) fn find(file: &WeightFile, prefix: &str, parameter: &Parameter) -> Option<Found> {
    let beside = parameter.name.rfind('.').map_or("", |at| &parameter.name[..=at]);
    let own = &parameter.name[beside.len()..];
    let named = |tensor: &str| format!("{prefix}{beside}{tensor}");
    let count = |tensor: &str| file.shape(&named(tensor))?.get(1).copied();
    let learned = count("cls_token")? + count("reg_token")?;
    let (rows, sources, part) = match own {
        "cls_token" => (learned, vec!["cls_token", "reg_token"], Part::Tokens),
        "pos_embed" => (learned + count("pos_embed")?, vec!["pos_embed"], Part::Positions),
        _ => return None,
    };
    let width = file.shape(&named(own))?.get(2).copied()?;
    let sources = sources.into_iter().map(named).collect();
    Some(Found { shape: vec![1, rows, width], sources, recipe: Recipe::Registers(part) })
}

impl Part {
    /// `shape`: that of the result.
    pub(super) fn apply(self, sources: &[Cow<'_, [f32]>], shape: &[usize]) -> Vec<f32> {
        let all = sources.concat();
        match self {
            Self::Tokens => all,
            Self::Positions => {
                let zeros = shape.iter().product::<usize>() - all.len();
                std::iter::repeat_n(0.0, zeros).chain(all).collect()
            }
        }
    }
}
