//! Registers of vision transformers (Darcet et al. 2023): timm keeps them apart from the class
//! token, and has no positions for either (`no_embed_class` of
//! `timm/models/vision_transformer.py`).

use std::borrow::Cow;

use taper_graph::{Parameter, WeightSource};
use taper_weights::WeightFile;

use super::{Found, Made, Recipe};

/// How values of the file become those of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The class token, then the registers.
    Tokens,
    /// Zeros for these, then the positions of the patches.
    Positions,
}

/// The sources of learned tokens and positions, where the network has registers and the file is not
/// one of Taper's own, which has all of them together.
pub(super) fn find(file: &WeightFile, prefix: &str, parameter: &Parameter) -> Option<Made> {
    let (module, own) = parameter.name.rsplit_once('.').unwrap_or(("", &parameter.name));
    let dot = if module.is_empty() { "" } else { "." };
    let named = |tensor: &str| format!("{prefix}{module}{dot}{tensor}");
    let &[_, rows, width] = parameter.shape.as_slice() else { return None };
    let shape = |tensor: &str| file.shape(&named(tensor));
    let merged = |tensor: &str| shape(tensor) == Some(parameter.shape.as_slice());
    let (sources, part) = match own {
        "cls_token" if rows > 1 && !merged(own) => (vec!["cls_token", "reg_token"], Part::Tokens),
        // Only the file says that these are positions of patches alone.
        "pos_embed" if shape("reg_token").is_some() && !merged(own) => {
            (vec!["pos_embed"], Part::Positions)
        }
        _ => return None,
    };
    let (there, lacking): (Vec<String>, Vec<String>) =
        sources.iter().map(|own| named(own)).partition(|own| file.shape(own).is_some());
    if !lacking.is_empty() {
        return Some(Made::Part { lacking, there });
    }
    let count = |tensor: &str| shape(tensor).and_then(|sides| sides.get(1)).copied().unwrap_or(0);
    let learned = count("cls_token") + count("reg_token");
    let found = match part {
        Part::Tokens => learned,
        Part::Positions => learned + count("pos_embed"),
    };
    let widths = sources.iter().all(|own| shape(own).and_then(|s| s.last()) == Some(&width));
    let width = if widths { width } else { 0 };
    let sources = there;
    let recipe = Recipe::Registers(part);
    Some(Made::Whole(Found { shape: vec![1, found, width], sources, recipe }))
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
