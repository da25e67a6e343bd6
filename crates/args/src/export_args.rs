use std::{path::PathBuf, str::FromStr};

use clap::ValueEnum;
use taper_export::{Format, TimmOptions, WebOptions};
use taper_onnx::{InputForm, OnnxOptions, OutputForm};

/// The arguments of `taper export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The model.safetensors of a run folder, or the folder.
    #[arg(value_name = "MODEL")]
    pub artefact: PathBuf,
    /// onnx: pixels in, probabilities out, in one file. safetensors: the weights, with the names of
    /// PyTorch's timm. web: a folder with a page that classifies in the browser, a script for other
    /// pages and Node.js, and the model.
    #[arg(long, value_name = "FORMAT")]
    pub format: FormatArg,
    /// The file to write, with web the new folder [default: the model's name with .onnx,
    /// .timm.safetensors or -web, in this folder].
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// Replace the file if it exists; not with web.
    #[arg(long)]
    pub overwrite: bool,
    /// The version of ONNX's operators, 17 to 21 [default: 17].
    #[arg(long, value_name = "N", help_heading = "ONNX")]
    pub opset: Option<u32>,
    /// pixels: u8, batch × size × size × 3. normalised: what the network itself takes, f32, batch ×
    /// 3 × size × size [default: pixels].
    #[arg(long, value_name = "INPUT", help_heading = "ONNX")]
    pub input: Option<InputArg>,
    /// What the file gives: probabilities, logits or features; with safetensors, logits or features
    /// [default: probabilities, with safetensors logits].
    #[arg(long, value_name = "OUTPUT")]
    pub output: Option<OutputArg>,
    /// How many pictures at a time: dynamic for any number, or 1 to 4096 [default: dynamic].
    #[arg(long, value_name = "N", help_heading = "ONNX")]
    pub batch: Option<BatchArg>,
    /// Also give the name of the most probable class, as the string output `label`.
    #[arg(long, help_heading = "ONNX")]
    pub embed_labels: bool,
    /// Keep batch normalisations as layers of their own, instead of folding them into convolutions.
    #[arg(long, help_heading = "ONNX")]
    pub keep_batchnorm: bool,
    /// f16: the network's weights rounded to 16 bits, half as much to load. f32: as they are
    /// [default: f16].
    #[arg(long, value_name = "TYPE", help_heading = "Web")]
    pub weights: Option<WeightsArg>,
    /// Answer with one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the help would show it")]
pub enum FormatArg {
    Onnx,
    Safetensors,
    Web,
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the help would show it")]
pub enum WeightsArg {
    F16,
    F32,
}

/// What the file takes.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[expect(missing_docs, reason = "the help would show it")]
pub enum InputArg {
    Pixels,
    Normalised,
}

/// What the file gives.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[expect(missing_docs, reason = "the help would show it")]
pub enum OutputArg {
    Probabilities,
    Logits,
    Features,
}

/// A number of pictures, or any.
#[derive(Debug, Clone, Copy)]
pub struct BatchArg(Option<u32>);

impl FromStr for BatchArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "dynamic" => Ok(Self(None)),
            _ => match text.parse() {
                Ok(n @ 1..=4096) => Ok(Self(Some(n))),
                _ => Err("use dynamic, or a number from 1 to 4096"),
            },
        }
    }
}

impl ExportArgs {
    /// As an ONNX file.
    pub fn onnx(&self) -> Format {
        let own = OnnxOptions::default();
        Format::Onnx(OnnxOptions {
            opset: self.opset.unwrap_or(own.opset),
            input: self.input.map_or(own.input, InputForm::from),
            output: self.output.map_or(own.output, OutputForm::from),
            batch: self.batch.map_or(own.batch, |batch| batch.0),
            embed_labels: self.embed_labels,
            keep_batchnorm: self.keep_batchnorm,
        })
    }

    /// As a file with timm's names.
    pub fn timm(&self) -> Format {
        let own = TimmOptions::default();
        Format::Timm(TimmOptions { output: self.output.map_or(own.output, OutputForm::from) })
    }

    /// As a folder for browsers.
    pub fn web(&self) -> WebOptions {
        let half = self.weights.map(|weights| weights == WeightsArg::F16);
        WebOptions { half: half.unwrap_or(WebOptions::default().half) }
    }
}

impl From<InputArg> for InputForm {
    fn from(input: InputArg) -> Self {
        match input {
            InputArg::Pixels => Self::Pixels,
            InputArg::Normalised => Self::Normalised,
        }
    }
}

impl From<OutputArg> for OutputForm {
    fn from(output: OutputArg) -> Self {
        match output {
            OutputArg::Probabilities => Self::Probabilities,
            OutputArg::Logits => Self::Logits,
            OutputArg::Features => Self::Features,
        }
    }
}
