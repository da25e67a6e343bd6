use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};
use taper_core::{OutOfRange, hex};
use taper_graph::{Graph, WeightSource};
use taper_model::{Artefact, ArtefactWeights};
use taper_onnx::{OnnxOptions, OutputForm};
use taper_outputs::OutFile;
use taper_run::{Published, Session, model_file};

use crate::{Result, onnx, timm};

/// What a model is written as.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// One ONNX file with all from pixels to probabilities.
    Onnx(OnnxOptions),
    /// The weights alone, as safetensors with timm's names.
    Timm(TimmOptions),
}

/// How weights with timm's names are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimmOptions {
    /// What the network gives: logits, or features for a network without its classifier (timm's
    /// `num_classes=0`). Default: logits.
    pub output: OutputForm,
}

impl Default for TimmOptions {
    fn default() -> Self {
        Self { output: OutputForm::Logits }
    }
}

/// What was exported: the answer of `taper export`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exported {
    /// The file that was written.
    pub file: String,
    /// `onnx` or `safetensors`.
    pub format: &'static str,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// The model that it was made from.
    pub model: String,
    /// What the file, or the network that takes its weights, takes.
    pub input: Port,
    /// What it gives.
    pub output: Port,
    /// What it can tell apart, in the order of the output.
    pub classes: Vec<String>,
    /// The second output, the name of the most probable class, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Port>,
    /// The name of the network in timm, for `timm.create_model`; only of `safetensors`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// What `timm.create_model` is to be told; only of `safetensors`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_classes: Option<usize>,
    /// The licence of the published weights that the network's are or go back to, as an SPDX
    /// expression; `null` if it is not known.
    pub licence: Option<String>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The type of its elements: `uint8`, `float32` or `string`.
    pub elements: &'static str,
    /// Its dimensions; `batch` stands for any number of pictures.
    pub shape: Vec<String>,
}

impl Port {
    pub(crate) fn new(
        name: impl Into<String>,
        elements: &'static str,
        batch: Option<u32>,
        sides: impl IntoIterator<Item = usize>,
    ) -> Self {
        let batch = batch.map_or("batch".into(), |n| n.to_string());
        let shape = std::iter::once(batch).chain(sides.into_iter().map(|n| n.to_string()));
        Self { name: name.into(), elements, shape: shape.collect() }
    }
}

/// A model that is to be exported.
pub(crate) struct Source {
    pub(crate) artefact: Artefact,
    pub(crate) weights: ArtefactWeights,
    /// The file, for messages.
    pub(crate) file: String,
    /// Its SHA-256.
    pub(crate) sha256: String,
    /// The licence of the published weights, and who trained them.
    pub(crate) published: Option<Published>,
}

/// The content of a file, and what the answer says of it.
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) input: Port,
    pub(crate) output: Port,
    pub(crate) label: Option<Port>,
    /// timm's name of the network, and the classes that it has there.
    pub(crate) timm: Option<(String, usize)>,
}

/// An error if a weight is no number.
fn finite(graph: &Graph, weights: &dyn WeightSource, path: &Path) -> Result<()> {
    let damaged = graph.parameters().into_iter().find(|parameter| {
        weights.values(&parameter.name).is_some_and(|v| v.iter().any(|v| !v.is_finite()))
    });
    match damaged {
        None => Ok(()),
        Some(parameter) => {
            let problem = format!(
                "the tensor '{}' has values that are no numbers: copy or train it again",
                parameter.name
            );
            Err(taper_model::Error::Artefact { file: path.display().to_string(), problem }.into())
        }
    }
}

impl Source {
    /// Opens `model.safetensors` of a run folder, or the folder.
    pub(crate) fn open(model: &Path) -> Result<Self> {
        let path = model_file(model)?;
        let (artefact, weights) = Artefact::open(&path)?;
        finite(&artefact.backbone, &weights.backbone(), &path)?;
        finite(&artefact.head, &weights.head(), &path)?;
        let content = std::fs::read(&path).map_err(taper_run::Error::io("read", &path))?;
        Ok(Self {
            published: Published::of(&artefact),
            artefact,
            weights,
            file: path.display().to_string(),
            sha256: hex(&Sha256::digest(&content)),
        })
    }

    /// What it can tell apart.
    pub(crate) fn classes(&self) -> Vec<String> {
        self.artefact.classes.iter().map(str::to_owned).collect()
    }
}

/// An error if the session was interrupted.
pub(crate) fn go_on(session: &Session) -> Result<()> {
    match session.interrupted() {
        true => Err(taper_run::Error::Interrupted.into()),
        false => Ok(()),
    }
}

/// Writes a trained model, `model.safetensors` of a run folder or the folder, as a file for other
/// programs. The same model gives the same bytes.
///
/// # Errors
/// [`Error::Run`](crate::Error::Run) if the model cannot be opened, the file not be written, or the
/// session was interrupted before that,
/// [`Error::Onnx`](crate::Error::Onnx) for options out of range and what ONNX cannot hold,
/// [`Error::NotOfTimm`](crate::Error::NotOfTimm) for what timm has no network for.
pub fn export(model: &Path, format: &Format, out: &OutFile, session: &Session) -> Result<Exported> {
    if Artefact::open(out.path()).is_ok() {
        let remedy = "this is a trained model, which the file would replace: give another name";
        return Err(OutOfRange::new("out", out.path().display(), remedy).into());
    }
    let source = Source::open(model)?;
    go_on(session)?;
    let (name, content) = match format {
        Format::Onnx(options) => ("onnx", onnx::content(&source, options.clone())?),
        Format::Timm(options) => ("safetensors", timm::content(&source, *options)?),
    };
    go_on(session)?;
    out.write(&content.bytes)?;
    Ok(Exported {
        file: out.path().display().to_string(),
        format: name,
        bytes: content.bytes.len() as u64,
        sha256: hex(&Sha256::digest(&content.bytes)),
        classes: source.classes(),
        model: source.file,
        input: content.input,
        output: content.output,
        label: content.label,
        architecture: content.timm.as_ref().map(|(name, _)| name.clone()),
        num_classes: content.timm.map(|(_, classes)| classes),
        licence: source.published.map(|own| own.licence),
    })
}
