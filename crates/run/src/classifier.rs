use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use image::RgbImage;
use serde::Serialize;
use taper_candle::{DeviceChoice, open_device};
use taper_core::{ClassNames, Preprocessing, Split};
use taper_data::{Dataset, Item};
use taper_metrics::{Evaluation, softmax};
use taper_picture::{DecodeOptions, Finding, Preparer, decode_file};
use taper_plan::{Kernels, Output, Precision};
use taper_zoo::{ModelSpec, WeightsChoice, imagenet, resolve};

use crate::{Artefact, Backbone, Error, HeadModel, Result, Session, evaluate_head, extract};

/// What a picture shows, in a classifier's opinion.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The most probable class.
    pub label: String,
    /// Its probability, 0…1.
    pub probability: f64,
    /// The probability of every class, in label order; they sum to 1.
    pub probabilities: Vec<(String, f64)>,
}

/// Turns pictures into probabilities, by the same decoder, preprocessing and network as in training.
#[derive(Debug)]
pub struct Classifier {
    classes: ClassNames,
    backbone: Backbone,
    /// None if the backbone itself gives logits.
    head: Option<HeadModel>,
    preparer: Preparer,
    decode: DecodeOptions,
}

impl Classifier {
    /// Opens an artefact: `model.safetensors` of a run folder. `kernels` are the instructions to use on the CPU, whatever it
    /// was trained with.
    ///
    /// # Errors
    /// [`Error::Artefact`] if the file is something else, and whatever keeps the network from being built.
    pub fn open(path: impl AsRef<Path>, device: DeviceChoice, kernels: Kernels) -> Result<Self> {
        let device = open_device(device)?;
        let (artefact, weights) = Artefact::open(path.as_ref())?;
        let backbone = Backbone::new(
            &artefact.backbone,
            &weights.backbone(),
            artefact.preprocessing,
            Output::Features,
            // On a machine without 16-bit instructions the plan rounds at the same places.
            artefact.precision,
            kernels,
            &device,
        )?
        .with_digest(&artefact.weights.sha256);
        let head = HeadModel::loaded(&artefact.head, &weights.head(), &device)?;
        Self::assemble(artefact.classes, backbone, Some(head))
    }

    /// A pretrained network with its own classifier and its own preprocessing: the thousand classes of ImageNet.
    ///
    /// # Errors
    /// If the weights cannot be had or lack the classifier.
    pub fn pretrained(
        model: &'static ModelSpec,
        weights: &WeightsChoice,
        device: DeviceChoice,
        kernels: Kernels,
    ) -> Result<Self> {
        let device = open_device(device)?;
        if model.classes == 0 {
            return Err(Error::Setting {
                field: "model",
                value: model.name.into(),
                remedy: "it was trained without classes: train a head on its features".into(),
            });
        }
        let graph = model.graph();
        let weights = resolve(model, weights)?;
        weights.check(&graph)?;
        let names = imagenet::class_names();
        let backbone = Backbone::new(
            &graph,
            weights.source.as_ref(),
            model.preprocessing,
            Output::Logits,
            Precision::F32,
            kernels,
            &device,
        )?;
        Self::assemble(names, backbone, None)
    }

    fn assemble(classes: ClassNames, backbone: Backbone, head: Option<HeadModel>) -> Result<Self> {
        let preparer = Preparer::new(*backbone.preprocessing())?;
        Ok(Self { classes, backbone, head, preparer, decode: DecodeOptions::default() })
    }

    /// What it can tell apart.
    pub fn classes(&self) -> &ClassNames {
        &self.classes
    }

    /// How it prepares pictures.
    pub fn preprocessing(&self) -> &Preprocessing {
        self.backbone.preprocessing()
    }

    /// Classifies a picture file.
    ///
    /// # Errors
    /// [`Error::Picture`] if the file cannot be read as a picture.
    pub fn predict_file(&mut self, path: &Path) -> Result<Prediction> {
        let picture = decode_file(path, &self.decode)
            .map_err(|f| Error::Picture { path: f.path, reason: f.reason })?;
        self.predict(&picture.pixels)
    }

    /// Classifies a decoded picture of any size.
    ///
    /// # Errors
    /// If it cannot be resized, or the network fails.
    pub fn predict(&mut self, picture: &RgbImage) -> Result<Prediction> {
        let mut pixels = vec![0; self.preparer.len()];
        self.preparer.prepare_into(picture, &mut pixels)?;
        let mut outputs = vec![0.0; self.backbone.width()];
        self.backbone.forward(&pixels, 1, &mut outputs)?;
        let logits = match &self.head {
            None => outputs,
            Some(head) => head.logits(&outputs)?,
        };
        let mut probabilities = vec![0.0; logits.len()];
        softmax(&logits, &mut probabilities);
        let best = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        let best = best.unwrap_or_default();
        let name = |i: usize| self.classes.name(i as u32).unwrap_or_default().to_owned();
        Ok(Prediction {
            label: name(best),
            probability: probabilities[best],
            probabilities: probabilities
                .into_iter()
                .enumerate()
                .map(|(i, p)| (name(i), p))
                .collect(),
        })
    }

    /// Measures the classifier on one split of a data set (or, without splits, on all of it). Also returns the pictures
    /// that could not be used, and remarks about others.
    ///
    /// # Errors
    /// If the data set has classes that the classifier does not know, or no such split.
    pub fn evaluate(
        &mut self,
        dataset: Dataset,
        split: Option<Split>,
        strict: bool,
        session: &Session,
    ) -> Result<(Evaluation, Vec<Finding>)> {
        let dataset = Arc::new(dataset.with_classes(&self.classes)?);
        let indices = dataset.indices(split);
        if indices.is_empty() {
            let splits: Vec<&str> = Split::ALL
                .into_iter()
                .filter(|s| !dataset.indices(Some(*s)).is_empty())
                .map(Split::name)
                .collect();
            let there =
                if splits.is_empty() { "no splits at all".into() } else { splits.join(", ") };
            return Err(Error::Setting {
                field: "split",
                value: split.map_or("all", Split::name).into(),
                remedy: format!(
                    "{} has {there}: choose one of those, or --split all",
                    dataset.place()
                ),
            });
        }
        let items = Item::untouched(&indices);
        let mut features = extract(&mut self.backbone, &dataset, items, None, strict, session)?;
        let mut findings: Vec<Finding> = dataset.findings().to_vec();
        findings.append(&mut features.findings);
        if features.is_empty() {
            return Err(Error::Picture {
                path: dataset.place(),
                reason: "none of the pictures can be used".into(),
            });
        }
        let metrics = match &self.head {
            Some(head) => evaluate_head(head, &features, self.classes.len())?,
            None => {
                let mut metrics = taper_metrics::Metrics::new(self.classes.len())?;
                metrics.update_logits(&features.values, &features.labels)?;
                metrics
            }
        };
        Ok((metrics.evaluation(&self.classes)?, findings))
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.head.as_ref().map_or(Device::Cpu, HeadModel::device)
    }
}
