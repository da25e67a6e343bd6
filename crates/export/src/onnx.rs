//! A model as ONNX: the network of `taper-onnx`, with what a program needs to know beside it.

use std::collections::BTreeMap;

use serde::Serialize;
use taper_core::{Fit, Interpolation, OutOfRange};
use taper_onnx::{Head, InputForm, Network, OnnxOptions, OutputForm};

use crate::{
    Result,
    export::{Content, Port, Source},
};

pub(crate) fn content(source: &Source, options: OnnxOptions) -> Result<Content> {
    let artefact = &source.artefact;
    let checked = options.check()?;
    let options = checked.options();
    let (weights, head) = (source.weights.backbone(), source.weights.head());
    let network = Network {
        backbone: &artefact.backbone,
        weights: &weights,
        preprocessing: artefact.preprocessing,
        head: Some(Head { graph: &artefact.head, weights: &head }),
        classes: &artefact.classes,
        temperature: artefact.calibration.as_ref().map_or(1.0, |own| own.temperature),
    };
    let bytes = network.encode(&checked, texts(source)?)?;
    let size = artefact.preprocessing.size as usize;
    let (elements, sides) = match options.input {
        InputForm::Pixels => ("uint8", [size, size, 3]),
        InputForm::Normalised => ("float32", [3, size, size]),
    };
    let width = match options.output {
        OutputForm::Features => artefact.backbone.feature_width(),
        OutputForm::Logits | OutputForm::Probabilities => artefact.classes.len(),
    };
    Ok(Content {
        bytes,
        input: Port::new(options.input.name(), elements, options.batch, sides),
        output: Port::new(options.output.name(), "float32", options.batch, [width]),
        label: options.embed_labels.then(|| Port::new("label", "string", options.batch, [])),
        timm: None,
    })
}

/// The texts of `metadata_props`: what is not a number or a name is JSON.
fn texts(source: &Source) -> Result<BTreeMap<String, String>> {
    let artefact = &source.artefact;
    let preprocessing = &artefact.preprocessing;
    let mut texts = BTreeMap::from([
        ("labels", json(&artefact.classes)?),
        ("network", artefact.model.clone()),
        ("size", preprocessing.size.to_string()),
        ("interpolation", filter(preprocessing.interpolation).into()),
        ("mean", json(&preprocessing.mean)?),
        ("std", json(&preprocessing.std)?),
        ("colours", "RGB".into()),
        // What Taper does with a picture before anything else.
        ("orientation", "exif".into()),
        ("transparency", "white".into()),
        ("sha256", source.sha256.clone()),
    ]);
    match preprocessing.fit {
        Fit::Squash => texts.insert("fit", "squash".into()),
        Fit::Crop { fraction } => {
            texts.insert("crop_fraction", fraction.to_string());
            texts.insert("fit", "crop".into())
        }
    };
    if let Some(own) = &artefact.calibration {
        texts.insert("temperature", own.temperature.to_string());
    }
    if let Some(figures) = &artefact.figures {
        texts.insert("figures", json(figures)?);
    }
    if let Some(published) = &source.published {
        texts.insert("licence", published.licence.clone());
        texts.insert("source", published.source.clone());
    }
    Ok(texts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Pillow's name of a filter, in small letters.
pub(crate) fn filter(interpolation: Interpolation) -> &'static str {
    match interpolation {
        Interpolation::Bilinear => "bilinear",
        Interpolation::Bicubic => "bicubic",
        Interpolation::Lanczos => "lanczos",
    }
}

pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| OutOfRange::new("the model", "damaged", error.to_string()).into())
}
