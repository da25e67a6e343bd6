use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;
use taper_core::{ClassNames, FrozenBackbone, OutOfRange, Preprocessing};
use taper_grad::Head;
use taper_metrics::softmax_at;
use taper_picture::{DecodeOptions, Preparer, decode, decode_file, recycle};

use crate::activation_map::{Mapper, region};
use crate::{
    Artefact, ArtefactWeights, Calibration, ConformalSets, Error, Explanation, OpenOptions,
    PlanBackbone, Result,
};

/// A classifier's prediction for a picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The most probable class.
    pub label: String,
    /// Its probability, 0…1.
    pub probability: f64,
    /// The probability of every class, in label order; they sum to 1.
    pub probabilities: Vec<(String, f64)>,
    /// The classes of the conformal set, in label order, if sets were
    /// [asked for](Classifier::with_coverage). It can be empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<Vec<String>>,
    /// Whether the picture is unlike the training pictures; none if the model does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfamiliar: Option<bool>,
    /// How far it is from its k-th nearest training picture, 0 to 2 ([`crate::Familiarity`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance: Option<f32>,
}

/// A picture to be classified, in any of its forms.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A picture file.
    File(&'a Path),
    /// The content of a picture file.
    Bytes(&'a [u8]),
    /// Decoded pixels of any size: u8 RGB, rows from the top.
    Pixels(&'a RgbImage),
    /// Pixels as the network takes them, neither cropped nor resized: u8 `[size, size, 3]`, RGB.
    Prepared(&'a [u8]),
}

impl<'a> From<&'a Path> for Input<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a [u8]> for Input<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a RgbImage> for Input<'a> {
    fn from(pixels: &'a RgbImage) -> Self {
        Self::Pixels(pixels)
    }
}

/// Turns pictures into probabilities, by the same decoder, preprocessing and network as in
/// training. Many threads may use one at a time.
#[derive(Debug)]
pub struct Classifier {
    classes: ClassNames,
    backbone: Arc<dyn FrozenBackbone>,
    /// None if the backbone itself gives logits.
    head: Option<Head>,
    /// What activation maps are computed with, or why there are none.
    mapper: std::result::Result<Mapper, String>,
    decode: DecodeOptions,
    /// None if it is not known, as of models of earlier programs.
    calibration: Option<Calibration>,
    /// Whether probabilities are given without the temperature.
    raw: bool,
    sets: Option<ConformalSets>,
}

impl Classifier {
    /// Opens an artefact on the CPU: `model.safetensors` of a run folder.
    ///
    /// # Errors
    /// [`Error::Artefact`] if the file is something else, and any error that prevents the network
    /// from being built.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let (artefact, weights) = Artefact::open(path.as_ref())?;
        Self::of(&artefact, &weights, options)
    }

    /// The same for an artefact that is in memory; `name` stands for it in messages.
    ///
    /// # Errors
    /// As [`Classifier::open`].
    pub fn from_bytes(name: &str, bytes: Vec<u8>, options: &OpenOptions) -> Result<Self> {
        let (artefact, weights) = Artefact::from_bytes(name, bytes)?;
        Self::of(&artefact, &weights, options)
    }

    /// The classifier of an opened artefact, on the CPU.
    ///
    /// # Errors
    /// If the requested precision or kernels are not available here.
    pub fn of(
        artefact: &Artefact,
        weights: &ArtefactWeights,
        options: &OpenOptions,
    ) -> Result<Self> {
        let backbone = PlanBackbone::new(
            &artefact.backbone,
            &weights.backbone(),
            artefact.preprocessing,
            taper_plan::Output::Features,
            options.precision.unwrap_or_else(|| artefact.cpu_precision()),
            options.kernels,
        )?;
        Self::on_plan(artefact, weights, backbone)
    }

    /// The classifier of an opened artefact on its network, which was compiled by the caller.
    ///
    /// # Errors
    /// [`Error::Artefact`] if the network is another one.
    pub fn on_plan(
        artefact: &Artefact,
        weights: &ArtefactWeights,
        backbone: PlanBackbone,
    ) -> Result<Self> {
        let (backbone, source) = (Arc::new(backbone), weights.backbone());
        let head = Head::loaded(&artefact.head, &weights.head())?;
        let size = artefact.preprocessing.size;
        let mapper = Mapper::new(&backbone, &artefact.backbone, &source, size);
        let own = Self::of_parts(artefact.classes.clone(), backbone, Some(head))?;
        let own = Self { mapper: mapper.map_err(|error| error.to_string()), ..own };
        Ok(own.with_calibration(artefact.calibration.clone()))
    }

    /// A classifier made from parts: a backbone on any device, and a head unless the backbone
    /// itself gives logits.
    ///
    /// # Errors
    /// [`Error::Artefact`] if the parts do not fit together; if the backbone's preprocessing is out
    /// of range.
    pub fn assemble(
        classes: ClassNames,
        backbone: Box<dyn FrozenBackbone>,
        head: Option<Head>,
    ) -> Result<Self> {
        Self::of_parts(classes, Arc::from(backbone), head)
    }

    fn of_parts(
        classes: ClassNames,
        backbone: Arc<dyn FrozenBackbone>,
        head: Option<Head>,
    ) -> Result<Self> {
        backbone.preprocessing().check()?;
        let logits = head.as_ref().map_or(backbone.width(), Head::classes);
        let width = head.as_ref().map_or(backbone.width(), Head::width);
        if logits != classes.len() || width != backbone.width() {
            let problem = format!(
                "a backbone of {} numbers, a head from {width} to {logits} and {} classes do not fit together",
                backbone.width(),
                classes.len()
            );
            return Err(Error::Artefact { file: "classifier".into(), problem });
        }
        Ok(Self {
            classes,
            backbone,
            head,
            mapper: Err("only a model that is opened on the CPU computes one".into()),
            decode: DecodeOptions::default(),
            calibration: None,
            raw: false,
            sets: None,
        })
    }

    /// The same; pictures with more pixels are refused, from their header alone.
    #[must_use]
    pub fn with_max_pixels(self, max_pixels: u64) -> Self {
        Self { decode: DecodeOptions { max_pixels, ..self.decode }, ..self }
    }

    /// The same with what an artefact knows about its own answers: probabilities are calibrated
    /// from now on, and pictures unlike the training pictures are told.
    #[must_use]
    pub fn with_calibration(self, calibration: Option<Calibration>) -> Self {
        Self { calibration, ..self }
    }

    /// The same, with probabilities as the head gives them: without the temperature.
    #[must_use]
    pub fn with_raw_probabilities(self) -> Self {
        Self { raw: true, ..self }
    }

    /// The same; every prediction has a conformal set of this coverage too ([`Calibration::sets`]).
    /// Sets are made from calibrated probabilities, also where raw ones are shown.
    ///
    /// # Errors
    /// [`Error::Setting`] if the coverage is out of range, there are too few validation pictures
    /// for it, or the model has no calibration.
    pub fn with_coverage(self, coverage: f64) -> Result<Self> {
        let sets = match &self.calibration {
            Some(own) => own.sets(coverage)?,
            None => {
                let remedy = "sets need the scores of validation pictures, which this model does not have: leave it out, or train the model again";
                return Err(OutOfRange::new("coverage", coverage, remedy).into());
            }
        };
        Ok(Self { sets: Some(sets), ..self })
    }

    /// What it knows about its own answers.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// How its sets are made, if they were [asked for](Self::with_coverage).
    pub fn sets(&self) -> Option<ConformalSets> {
        self.sets
    }

    /// What it can tell apart.
    pub fn classes(&self) -> &ClassNames {
        &self.classes
    }

    /// How it prepares pictures.
    pub fn preprocessing(&self) -> &Preprocessing {
        self.backbone.preprocessing()
    }

    /// The network up to its features, or to its logits.
    pub fn backbone(&self) -> &dyn FrozenBackbone {
        self.backbone.as_ref()
    }

    /// From the features to one logit per class; none if the backbone itself gives logits.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Classifies a picture: a file, its content, or pixels.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Bytes`] if it cannot be read as a picture, and any error of the
    /// network.
    pub fn predict<'a>(&self, input: impl Into<Input<'a>>) -> Result<Prediction> {
        let mut preparer = Preparer::new(*self.preprocessing())?;
        let mut pixels = vec![0; preparer.len()];
        self.prepare(input.into(), &mut preparer, &mut pixels)?;
        let rows = self.backbone.forward(&pixels, 1)?;
        self.predict_features(&rows)
    }

    /// Classifies a picture, and says where in it the network saw what speaks for `class`, or for
    /// the predicted class. The prediction is that of [`Classifier::predict`], to the last bit.
    ///
    /// # Errors
    /// As there; [`Error::NoMap`] if the model computes none, or there is no such class.
    pub fn explain<'a>(
        &self,
        input: impl Into<Input<'a>>,
        class: Option<&str>,
    ) -> Result<Explanation> {
        let (mapper, head) = match (&self.mapper, &self.head) {
            (Ok(mapper), Some(head)) => (mapper, head),
            (Err(reason), _) => return Err(Error::NoMap(reason.clone())),
            (_, None) => return Err(Error::NoMap("the model has no head".into())),
        };
        let mut preparer = Preparer::new(*self.preprocessing())?;
        let mut pixels = vec![0; preparer.len()];
        let region = self.prepare(input.into(), &mut preparer, &mut pixels)?;
        let (row, seen) = mapper.forward(&pixels)?;
        let prediction = self.predict_features(&row)?;
        let name = class.unwrap_or(&prediction.label).to_owned();
        let index = self.classes.iter().position(|known| known == name);
        let index = index.ok_or_else(|| Error::NoMap(format!("'{name}' is no class of it")))?;
        let map = mapper.map((&row, &seen), head, (index, name), region)?;
        Ok(Explanation { prediction, map })
    }

    /// Classifies many pictures, in batches and on all processors; one answer for each, in their
    /// order.
    pub fn predict_many(&self, inputs: &[Input<'_>]) -> Vec<Result<Prediction>> {
        inputs.chunks(self.backbone.batch().max(1)).flat_map(|part| self.batch(part)).collect()
    }

    fn batch(&self, inputs: &[Input<'_>]) -> Vec<Result<Prediction>> {
        let prepared = inputs.par_iter().map_init(
            || Preparer::new(*self.preprocessing()),
            |preparer, input| match preparer {
                Ok(preparer) => {
                    let mut pixels = vec![0; preparer.len()];
                    self.prepare(*input, preparer, &mut pixels).map(|_| pixels)
                }
                // Checked when the classifier was assembled.
                Err(_) => Ok(Vec::new()),
            },
        );
        let prepared: Vec<Result<Vec<u8>>> = prepared.collect();
        let usable: Vec<&[u8]> = prepared.iter().flatten().map(Vec::as_slice).collect();
        let rows = match usable.len() {
            0 => Ok(Vec::new()),
            n => self.backbone.forward(&usable.concat(), n),
        };
        let Ok(rows) = rows else {
            // One at a time: each picture gets its own error, or works if only the batch was too
            // large.
            return inputs.iter().map(|input| self.predict(*input)).collect();
        };
        let mut predicted = self.predictions(&rows).into_iter();
        let none = || Err(Error::Artefact { file: "classifier".into(), problem: "no row".into() });
        let next =
            |pixels: Result<Vec<u8>>| pixels.and_then(|_| predicted.next().unwrap_or_else(none));
        prepared.into_iter().map(next).collect()
    }

    /// Prepares a picture for the network; returns the [part](region) of it that the network sees.
    fn prepare(
        &self,
        input: Input<'_>,
        preparer: &mut Preparer,
        out: &mut [u8],
    ) -> Result<[f32; 4]> {
        let seen =
            |pixels: &RgbImage| region(self.preprocessing(), pixels.width(), pixels.height());
        let decoded = match input {
            Input::Pixels(pixels) => {
                preparer.prepare_into(pixels, out)?;
                return Ok(seen(pixels));
            }
            Input::Prepared(pixels) if pixels.len() == out.len() => {
                out.copy_from_slice(pixels);
                return Ok([0.0, 0.0, 1.0, 1.0]);
            }
            Input::Prepared(pixels) => {
                let (is, size) = (pixels.len(), self.preprocessing().size);
                let problem = format!("{is} prepared values instead of {size} × {size} × 3");
                return Err(Error::Artefact { file: "classifier".into(), problem });
            }
            Input::File(path) => decode_file(path, &self.decode)
                .map_err(|defect| Error::File { path: path.into(), defect })?,
            Input::Bytes(bytes) => decode(bytes, &self.decode).map_err(Error::Bytes)?,
        };
        preparer.prepare_into(&decoded.pixels, out)?;
        let seen = seen(&decoded.pixels);
        recycle(decoded.pixels);
        Ok(seen)
    }

    /// Classifies a picture whose features are known: a row of the [backbone](Self::backbone), f32,
    /// as many numbers as its width.
    ///
    /// # Errors
    /// If the row has another length.
    pub fn predict_features(&self, row: &[f32]) -> Result<Prediction> {
        if row.len() != self.backbone.width() {
            let problem =
                format!("a row of {} features instead of {}", row.len(), self.backbone.width());
            return Err(Error::Artefact { file: "classifier".into(), problem });
        }
        self.prediction(row, self.distances(row).first().copied())
    }

    /// Classifies pictures whose features are known: as many rows of the [backbone](Self::backbone)
    /// as there are pictures, one after the other. A part of a row at the end is passed over.
    pub fn predictions(&self, rows: &[f32]) -> Vec<Result<Prediction>> {
        let distances = self.distances(rows);
        let rows = rows.chunks_exact(self.backbone.width().max(1)).enumerate();
        rows.map(|(at, row)| self.prediction(row, distances.get(at).copied())).collect()
    }

    /// How far each picture is from the training pictures; empty if that is not known.
    fn distances(&self, rows: &[f32]) -> Vec<f32> {
        let own = self.calibration.as_ref().and_then(|own| own.familiarity.as_ref());
        own.map(|own| own.distances(rows, self.backbone.width())).unwrap_or_default()
    }

    /// From a row of the backbone to probabilities.
    fn prediction(&self, row: &[f32], distance: Option<f32>) -> Result<Prediction> {
        let mut logits = vec![0.0; self.classes.len()];
        match &self.head {
            None => logits.copy_from_slice(row),
            Some(head) => head.evaluate(row, &mut logits)?,
        }
        let own = self.calibration.as_ref();
        let temperature = own.map_or(1.0, |own| own.temperature);
        let mut probabilities = vec![0.0; logits.len()];
        softmax_at(&logits, temperature, &mut probabilities);
        let name = |i: usize| self.classes.name(i as u32).unwrap_or_default().to_owned();
        let set = self.sets.map(|sets| {
            let all = (0..logits.len()).filter(|&i| sets.contains(probabilities[i]));
            all.map(name).collect()
        });
        if self.raw {
            softmax_at(&logits, 1.0, &mut probabilities);
        }
        // By the logits: a temperature must not make a tie.
        let best = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        let best = best.unwrap_or_default();
        let all = probabilities.iter().enumerate().map(|(i, p)| (name(i), *p)).collect();
        let familiarity = own.and_then(|own| own.familiarity.as_ref()).zip(distance);
        Ok(Prediction {
            label: name(best),
            probability: probabilities[best],
            probabilities: all,
            set,
            unfamiliar: familiarity.map(|(own, distance)| own.is_unfamiliar(distance)),
            distance,
        })
    }
}
