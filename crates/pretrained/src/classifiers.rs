//! Networks that classify without a training.

use taper_core::{ClassNames, DeviceChoice, OutOfRange, Precision};
use taper_grad::Head;
use taper_model::{Classifier, OpenOptions};
use taper_plan::Output;
use taper_run::{BackboneSpec, Place, Result};
use taper_zoo::{ModelSpec, WeightsChoice, imagenet, resolve};

/// A pretrained network with its own classifier and its own preprocessing: the thousand classes of
/// ImageNet.
///
/// # Errors
/// If the weights are not available or lack the classifier.
pub fn pretrained_classifier(
    model: &'static ModelSpec,
    weights: &WeightsChoice,
    device: DeviceChoice,
    options: &OpenOptions,
) -> Result<Classifier> {
    if model.classes == 0 {
        let remedy = match model.text {
            Some(_) => "it knows no classes of its own: name yours with `labels`",
            None => "it was trained without classes: train a head on its features",
        };
        return Err(OutOfRange::new("model", model.name, remedy).into());
    }
    assembled(model, weights, device, options, (imagenet::class_names(), None))
}

/// A pretrained network with a head that was not trained on its features, e.g. one that was made
/// from the names of the classes.
///
/// # Errors
/// If the weights are not available, or the head does not fit.
pub(crate) fn headed_classifier(
    model: &'static ModelSpec,
    weights: &WeightsChoice,
    device: DeviceChoice,
    options: &OpenOptions,
    (classes, head): (ClassNames, Head),
) -> Result<Classifier> {
    assembled(model, weights, device, options, (classes, Some(head)))
}

/// Without a head, the network's own classifier.
fn assembled(
    model: &'static ModelSpec,
    weights: &WeightsChoice,
    device: DeviceChoice,
    options: &OpenOptions,
    (classes, head): (ClassNames, Option<Head>),
) -> Result<Classifier> {
    let place = Place::open(device)?;
    let (graph, output) = match head {
        Some(_) => (model.backbone(), Output::Features),
        None => (model.graph(), Output::Logits),
    };
    let weights = resolve(model, weights)?;
    weights.check(&graph)?;
    let spec = BackboneSpec {
        graph: &graph,
        weights: weights.source.as_ref(),
        preprocessing: model.preprocessing,
        output,
        precision: options.precision.unwrap_or(Precision::F32),
        kernels: options.kernels,
        identified: false,
    };
    Ok(Classifier::assemble(classes, place.backbone(&spec)?, head)?)
}
