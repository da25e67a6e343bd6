//! What the names of classes make of a head.

use taper_core::ClassNames;
use taper_graph::{Graph, Weights};
use taper_plan::Kernels;
use taper_zoo::{ModelSpec, WeightsChoice};

use crate::{PromptChoice, Result, Session};

/// A head that the names of classes make, without any training.
#[derive(Debug, Clone)]
pub struct NamedHead {
    /// [`taper_graph::heads::cosine`].
    pub graph: Graph,
    /// Its tensors: `cosine.weight`, the direction of each class at unit length, and `cosine.gamma`,
    /// the factor that the network was trained with, as a share of
    /// [`COSINE_SCALE`](taper_graph::heads::COSINE_SCALE).
    pub weights: Weights,
}

/// Asks a network that was trained with texts what it says to the names of classes.
///
/// # Errors
/// If it was not, weights or tokenizer are not available, names cannot be told apart, or this
/// program was built without the feature `text`; [`Error::Interrupted`](crate::Error::Interrupted).
#[cfg(feature = "text")]
pub fn named_head(
    (model, weights): (&'static ModelSpec, &WeightsChoice),
    classes: &ClassNames,
    prompts: &PromptChoice,
    kernels: Kernels,
    _session: &Session,
) -> Result<NamedHead> {
    let names: Vec<String> = classes.iter().map(str::to_owned).collect();
    let prompts = prompts_of(prompts)?;
    let head = taper_text::ZeroShotHead::new(model, weights, &names, &prompts, kernels)?;
    Ok(NamedHead { graph: head.graph, weights: head.weights })
}

/// Not in this build.
///
/// # Errors
/// Always.
#[cfg(not(feature = "text"))]
pub fn named_head(
    (model, _): (&'static ModelSpec, &WeightsChoice),
    _: &ClassNames,
    _: &PromptChoice,
    _: Kernels,
    _: &Session,
) -> Result<NamedHead> {
    let remedy = "this program was built without the feature text: build it with that";
    Err(taper_core::OutOfRange::new("model", format!("'{}'", model.name), remedy).into())
}

/// The sentences of a choice.
#[cfg(feature = "text")]
fn prompts_of(choice: &PromptChoice) -> Result<taper_text::Prompts> {
    use taper_text::Prompts;
    Ok(match choice {
        PromptChoice::Default => Prompts::default(),
        PromptChoice::Imagenet => Prompts::imagenet(),
        PromptChoice::Name => Prompts::bare(),
        PromptChoice::Own(own) => Prompts::new(own.clone())?,
    })
}
