//! Classes by their names alone.

use std::path::PathBuf;

use taper_core::{ClassNames, DeviceChoice, OutOfRange};
use taper_grad::Head;
use taper_model::{Classifier, OpenOptions};
use taper_run::{PromptChoice, Result, Session, named_head};
use taper_zoo::WeightsChoice;

use crate::classifiers::headed_classifier;

/// A network that was trained with texts, and what it is asked.
#[derive(Debug, Clone)]
pub struct ByName<'a> {
    /// A network of the zoo.
    pub model: &'a str,
    /// Its weights, both halves in one file; from the Hub if there is none.
    pub weights: Option<PathBuf>,
    /// The sentences about each name.
    pub prompts: PromptChoice,
    /// Where the pictures' half computes.
    pub device: DeviceChoice,
    /// How both halves compute.
    pub options: OpenOptions,
}

impl ByName<'_> {
    /// A classifier that tells these classes apart, without any training.
    ///
    /// # Errors
    /// If there are fewer than two classes, or their names cannot be told apart; if the network
    /// was not trained with texts, its weights or its tokenizer are not available, or this program
    /// was built without the feature `text`; [`Error::Interrupted`](taper_run::Error::Interrupted).
    pub fn classifier(&self, classes: ClassNames, session: &Session) -> Result<Classifier> {
        if classes.len() < 2 {
            let remedy = "with one class there is nothing to tell apart: name two or more";
            return Err(OutOfRange::new("labels", "a single class", remedy).into());
        }
        let model = taper_zoo::find(self.model)?;
        let weights = self.weights.clone().map_or(WeightsChoice::Pretrained, WeightsChoice::File);
        let kernels = self.options.kernels;
        let head = named_head((model, &weights), &classes, &self.prompts, kernels, session)?;
        let head = Head::loaded(&head.graph, &head.weights)?;
        headed_classifier(model, &weights, self.device, &self.options, (classes, head))
    }
}
