//! Classes by their names alone.

use std::path::PathBuf;

use taper_core::{ClassNames, DeviceChoice, OutOfRange};
use taper_model::{Classifier, OpenOptions};
use taper_run::{Error, PromptChoice};

/// A network that was trained with texts, and what it is asked.
pub(crate) struct ZeroShot<'a> {
    pub(crate) model: &'a str,
    pub(crate) weights: Option<&'a PathBuf>,
    pub(crate) prompts: &'a PromptChoice,
    pub(crate) device: DeviceChoice,
    pub(crate) options: &'a OpenOptions,
}

impl ZeroShot<'_> {
    /// A classifier that tells these classes apart.
    pub(crate) fn classifier(&self, classes: ClassNames) -> Result<Classifier, Error> {
        if classes.len() < 2 {
            let remedy = "with one class there is nothing to tell apart: name two or more";
            return Err(OutOfRange::new("labels", "a single class", remedy).into());
        }
        self.with_text(classes)
    }

    #[cfg(not(feature = "text"))]
    fn with_text(&self, _classes: ClassNames) -> Result<Classifier, Error> {
        let remedy = "this program was built without the feature text: build it with that";
        Err(OutOfRange::new("model", format!("'{}'", self.model), remedy).into())
    }

    #[cfg(feature = "text")]
    fn with_text(&self, classes: ClassNames) -> Result<Classifier, Error> {
        use taper_core::AnyFault;
        use taper_grad::Head;
        use taper_run::{headed_classifier, prompts_of};
        use taper_text::{Error as TextError, ZeroShotHead};
        use taper_zoo::WeightsChoice;

        let failed = |error: TextError| match error {
            TextError::Zoo(error) => Error::from(error),
            other => Error::Backbone(AnyFault::new(other)),
        };
        let model = taper_zoo::find(self.model)?;
        let weights = self.weights.cloned().map_or(WeightsChoice::Pretrained, WeightsChoice::File);
        let prompts = prompts_of(self.prompts)?;
        let names: Vec<String> = classes.iter().map(str::to_owned).collect();
        let kernels = self.options.kernels;
        let head = ZeroShotHead::new(model, &weights, &names, &prompts, kernels).map_err(failed)?;
        let head = Head::loaded(&head.graph, &head.weights)?;
        headed_classifier(model, &weights, self.device, self.options, (classes, head))
    }
}
