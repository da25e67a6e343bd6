//! Keras's names: `block1_conv1/kernel` and the like, with `:0` or dots, once or twice.
//!
//! Of Keras's networks, only VGG computes the same as Taper's. Its ResNets have their strides in
//! other convolutions and its MobileNets pad differently: their weights would load but give wrong
//! results, so they are refused.

use std::{borrow::Cow, collections::BTreeMap};

use taper_core::Preprocessing;
use taper_graph::{Graph, Op, Parameter, WeightSource};

use super::{Found, Recipe};
use taper_weights::WeightFile;

use crate::{Error, Result};

/// How Keras's layout differs from torch's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axes {
    /// `[height, width, in, out]` → `[out, in, height, width]`.
    Conv,
    /// The first convolution's weight: also converted from blue, green, red in 0…255 minus a mean
    /// to Taper's normalised red, green, blue.
    FirstWeight,
    /// The first convolution's bias, with the difference of the means. Keras pads with its mean,
    /// Taper with its own: at the border they differ by half a step of 255.
    FirstBias,
    /// `[height · width · in, out]` → `[out, in, height, width]`.
    Flattened,
    /// As it is: biases.
    Plain,
}

/// `keras/src/applications/imagenet_utils.py`, mode "caffe": means of red, green and blue, no
/// division.
const MEANS: [f64; 3] = [123.68, 116.779, 103.939];

/// Layers that only Keras's networks have, and why their weights cannot be used here.
const OTHERS: [(&str, &str, &str); 2] = [
    (
        "resnet",
        "conv2_block1_1_conv",
        "its ResNets have their strides in the first convolution of a block (\"v1\"), torchvision's in the second (\"v1.5\")",
    ),
    ("mobilenet", "block_1_expand", "its MobileNets pad even sizes differently"),
];

/// # Errors
/// [`Error::Naming`] if these are weights of one of Keras's networks that computes something
/// different.
pub(super) fn refuse_other_networks(file: &WeightFile, graph: &Graph) -> Result<()> {
    for (family, layer, why) in OTHERS {
        if graph.name().starts_with(family) && tensor(file, layer, "kernel").is_some() {
            return Err(Error::Naming {
                file: file.name().to_owned(),
                naming: "Keras",
                model: graph.name().to_owned(),
                why,
            });
        }
    }
    Ok(())
}

/// Keras's name of each layer of a network.
pub(super) struct Names(BTreeMap<String, (String, bool)>);

impl Names {
    /// For VGG; none for other networks.
    pub(super) fn of(graph: &Graph) -> Self {
        let mut names = BTreeMap::new();
        if !matches!(graph.name(), "vgg16" | "vgg19") {
            return Self(names);
        }
        let (mut stage, mut position) = (1, 0);
        for node in graph.nodes() {
            if matches!(node.op, Op::MaxPool(_)) {
                (stage, position) = (stage + 1, 0);
            } else if matches!(node.op, Op::Conv2d(_)) && node.name.starts_with("features.") {
                position += 1;
                let first = names.is_empty();
                names.insert(node.name.clone(), (format!("block{stage}_conv{position}"), first));
            }
        }
        for (ours, theirs) in
            [("pre_logits.fc1", "fc1"), ("pre_logits.fc2", "fc2"), ("head.fc", "predictions")]
        {
            names.insert(ours.into(), (theirs.into(), false));
        }
        Self(names)
    }

    pub(super) fn find(&self, file: &WeightFile, parameter: &Parameter) -> Option<Found> {
        let (module, kind) = parameter.name.rsplit_once('.')?;
        let (layer, first) = self.0.get(module)?;
        let kernel = tensor(file, layer, "kernel")?;
        let bias = tensor(file, layer, "bias")?;
        let (sources, axes) = match (kind, first) {
            ("bias", true) => (vec![bias, kernel], Axes::FirstBias),
            ("bias", false) => (vec![bias], Axes::Plain),
            (_, true) => (vec![kernel], Axes::FirstWeight),
            (_, false) if file.shape(&kernel)?.len() == 4 => (vec![kernel], Axes::Conv),
            (_, false) => (vec![kernel], Axes::Flattened),
        };
        let found = file.shape(&sources[0])?;
        let needed = &parameter.shape;
        let fits = match axes {
            Axes::Plain | Axes::FirstBias => found == needed,
            Axes::Conv | Axes::FirstWeight => match needed[..] {
                [out, inputs, height, width] => *found == [height, width, inputs, out],
                _ => false,
            },
            Axes::Flattened => *found == [needed[1..].iter().product(), needed[0]],
        };
        if axes == Axes::FirstBias && *file.shape(&sources[1])? != [3, 3, 3, needed[0]] {
            return None;
        }
        let shape = if fits { needed.clone() } else { found.to_vec() };
        Some(Found { shape, sources, recipe: Recipe::Keras(axes) })
    }
}

/// The name of a layer's tensor in any of its spellings.
fn tensor(file: &WeightFile, layer: &str, kind: &str) -> Option<String> {
    let ways = [
        format!("{layer}/{kind}"),
        format!("{layer}/{kind}:0"),
        format!("{layer}.{kind}"),
        format!("{layer}/{layer}/{kind}:0"),
        format!("{layer}/{layer}/{kind}"),
    ];
    ways.into_iter().find(|name| file.shape(name).is_some())
}

impl Axes {
    pub(super) fn apply(self, sources: &[Cow<'_, [f32]>], shape: &[usize]) -> Vec<f32> {
        let values = &sources[0];
        let outputs = shape[0];
        // Channel by channel: the scale from Taper's normalised values to Keras's pixels, and the
        // offset.
        let scale = |c: usize| 255.0 * f64::from(Preprocessing::IMAGENET_STD[c]);
        let rest = |c: usize| 255.0 * f64::from(Preprocessing::IMAGENET_MEAN[c]) - MEANS[c];
        match self {
            Axes::Plain => values.to_vec(),
            Axes::Conv | Axes::Flattened | Axes::FirstWeight => {
                let inputs = shape.get(1).copied().unwrap_or(1);
                let taps: usize = shape.iter().skip(2).product();
                let value = |index: usize| {
                    let (o, i, tap) =
                        (index / (inputs * taps), index / taps % inputs, index % taps);
                    if self == Axes::FirstWeight {
                        let blue_first = inputs - 1 - i;
                        let value = values[(tap * inputs + blue_first) * outputs + o];
                        return (f64::from(value) * scale(i)) as f32;
                    }
                    values[(tap * inputs + i) * outputs + o]
                };
                (0..outputs * inputs * taps).map(value).collect()
            }
            Axes::FirstBias => {
                let kernel = &sources[1];
                let value = |o: usize| {
                    let taps = (0..9).flat_map(|tap| (0..3).map(move |c| (tap, c)));
                    let sum: f64 = taps
                        .map(|(tap, c)| {
                            f64::from(kernel[(tap * 3 + 2 - c) * outputs + o]) * rest(c)
                        })
                        .sum();
                    (f64::from(values[o]) + sum) as f32
                };
                (0..outputs).map(value).collect()
            }
        }
    }
}
