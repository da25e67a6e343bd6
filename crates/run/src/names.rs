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
    /// Its tensors: `cosine.weight`, f32 `[classes, features]`, the direction of each class at unit
    /// length, and `cosine.gamma`, the factor that the network was trained with, as a multiple of
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
    session: &Session,
) -> Result<NamedHead> {
    use std::{cell::Cell, ops::ControlFlow};

    let names: Vec<String> = classes.iter().map(str::to_owned).collect();
    let prompts = prompts_of(prompts)?;
    let progress = session.progress();
    let so_far = Cell::new(None);
    let watch = |done: usize| {
        match so_far.replace(Some(done)) {
            // Weights are read, or fetched, before.
            None => progress.begin("texts", names.len() as u64, "names"),
            Some(before) => progress.advance((done - before) as u64),
        }
        if session.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let head = taper_text::ZeroShotHead::new(model, weights, &names, &prompts, kernels, &watch);
    progress.end();
    let head = head?;
    if let Some(text) = about_cut(model, &head.cut) {
        progress.warn(&text);
    }
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

/// What to say about names that are too long, if there are any.
#[cfg(feature = "text")]
fn about_cut(model: &ModelSpec, cut: &[String]) -> Option<String> {
    const SHOWN: usize = 60;
    let first = cut.first()?;
    let end = first.char_indices().nth(SHOWN).map_or(first.len(), |(at, _)| at);
    let more = if end < first.len() { "…" } else { "" };
    let others = match cut.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let context = model.text.map_or(0, |text| text.context);
    Some(format!(
        "'{}{more}'{others}: a sentence about it is longer than the {context} tokens that {} reads, so that its end is not read: use a shorter name, or shorter `prompts`",
        &first[..end],
        model.name
    ))
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
