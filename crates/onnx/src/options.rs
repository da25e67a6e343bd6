use std::fmt;

use serde::{Deserialize, Serialize};
use taper_core::OutOfRange;

use crate::{Error, Result};

/// How a network is written. [`OnnxOptions::check`] makes it usable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnnxOptions {
    /// The version of ONNX's operators, 17 to 21. Default: 17, which most runtimes know.
    pub opset: u32,
    /// What the file takes. Default: pixels.
    pub input: InputForm,
    /// What it gives. Default: probabilities.
    pub output: OutputForm,
    /// How many pictures it takes at a time, 1 to 4096; `None` for any number. Default: any.
    pub batch: Option<u32>,
    /// Whether it also gives the name of the most probable class, as the string output `label`.
    /// Default: no, since not every runtime has strings.
    pub embed_labels: bool,
    /// Whether batch normalisations stay layers of their own, instead of being folded into the
    /// convolutions before them. Default: no.
    pub keep_batchnorm: bool,
}

impl Default for OnnxOptions {
    fn default() -> Self {
        Self {
            opset: 17,
            input: InputForm::default(),
            output: OutputForm::default(),
            batch: None,
            embed_labels: false,
            keep_batchnorm: false,
        }
    }
}

/// What an ONNX file takes as input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputForm {
    /// Decoded pixels of the exact size: u8 `[batch, size, size, 3]`, RGB.
    #[default]
    Pixels,
    /// What the network itself takes: f32 `[batch, 3, size, size]`, (pixel / 255 − mean) / std.
    Normalised,
}

/// What an ONNX file gives as output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputForm {
    /// The probability of each class, at the model's temperature: f32 `[batch, classes]`, summing
    /// to 1.
    #[default]
    Probabilities,
    /// What the head gives, without softmax and temperature: f32 `[batch, classes]`.
    Logits,
    /// What the head reads: f32 `[batch, features]`.
    Features,
}

impl OutputForm {
    /// Its name, which is the name of the output in the file too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probabilities => "probabilities",
            Self::Logits => "logits",
            Self::Features => "features",
        }
    }
}

impl fmt::Display for OutputForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl InputForm {
    /// Its name, which is the name of the input in the file too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pixels => "pixels",
            Self::Normalised => "normalised",
        }
    }
}

impl fmt::Display for InputForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Options that were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedOptions(OnnxOptions);

impl CheckedOptions {
    /// The options.
    pub fn options(&self) -> &OnnxOptions {
        &self.0
    }
}

impl OnnxOptions {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first field that is out of range.
    pub fn check(self) -> Result<CheckedOptions> {
        let fail = |field: &'static str, value: &dyn ToString, remedy: &'static str| {
            Err(Error::from(OutOfRange::new(field, value.to_string(), remedy)))
        };
        if !(17..=21).contains(&self.opset) {
            return fail("opset", &self.opset, "use 17 to 21");
        }
        if let Some(batch) = self.batch.filter(|batch| !(1..=4096).contains(batch)) {
            return fail("batch", &batch, "use 1 to 4096, or leave it out for any number");
        }
        if self.embed_labels && self.output == OutputForm::Features {
            let remedy = "features have no label: use probabilities or logits, or no labels";
            return fail("embed_labels", &true, remedy);
        }
        Ok(CheckedOptions(self))
    }
}
