use std::{borrow::Cow, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_core::{ClassNames, Precision, Preprocessing, file::write_atomically};
use taper_graph::{Graph, WeightSource, check_weights};
use taper_metrics::Evaluation;
use taper_weights::{TensorWriter, WeightFile};

use crate::{Calibration, Error, Result};

/// The key of the artefact's description in the safetensors header.
const KEY: &str = "taper";
/// Version 1 held the recipe as an object, so only a program that knew all of its fields could open
/// the model. It can still be read.
const VERSION: u32 = 2;
const BACKBONE: &str = "backbone.";
const HEAD: &str = "head.";
/// The validation pictures' scores, f32 `[n]`, and features of training pictures, `[rows, width]`.
const SCORES: &str = "calibration.scores";
const FAMILIAR: &str = "calibration.features";

/// Everything about a trained classifier except its weights; a JSON text in the header of its
/// safetensors file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Description {
    version: u32,
    model: String,
    classes: ClassNames,
    preprocessing: Preprocessing,
    precision: Precision,
    backbone: Graph,
    head: Graph,
    weights: Origin,
    /// A string; in version 1, an object.
    recipe: Value,
    data: String,
    /// Not in models of earlier programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    figures: Option<Figures>,
    /// Only of models whose network was trained too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fine_tuning: Option<FineTuning>,
    /// Not in models of earlier programs. Its rows of numbers are tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
}

/// What a model was measured with when it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// What was validated on, in words: it decided which weights were kept.
    pub validated_on: String,
    /// On those pictures.
    pub validation: Figure,
    /// On pictures that were not used before; none if there were none.
    pub test: Option<Figure>,
}

/// How well a model did on some pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// How many there were.
    pub pictures: u64,
    /// The share whose class was right, 0 to 1.
    pub accuracy: f64,
    /// The mean loss, without class weights.
    pub loss: f64,
}

impl From<&Evaluation> for Figure {
    fn from(evaluation: &Evaluation) -> Self {
        let Evaluation { n, accuracy, loss, .. } = *evaluation;
        Self { pictures: n, accuracy, loss }
    }
}

/// Where the backbone's weights came from: those that it has, or those that fine-tuning began with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// In words.
    pub origin: String,
    /// SHA-256 of the weight file.
    pub sha256: String,
    /// The licence of the published weights that they are or go back to, as an SPDX expression;
    /// none if it is not known, and in models of earlier programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Who trained those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// That layers of the backbone were trained after the head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FineTuning {
    /// The first layer that was trained.
    pub from: String,
    /// Parameters of the backbone that were trained.
    pub trained_parameters: u64,
    /// Where the weights lie between those before (0: nothing was kept) and those after it (1).
    pub alpha: f64,
    /// What the model was measured with before.
    pub before: Figures,
}

/// A trained classifier: one safetensors file with the backbone (`backbone.*`), the head
/// (`head.*`), what it knows about its own answers (`calibration.*`) and, in its header under
/// `taper`, labels, preprocessing, both architectures and the recipe as text.
#[derive(Debug)]
pub struct Artefact {
    /// The network that the classifier is built on.
    pub model: String,
    /// What it can tell apart.
    pub classes: ClassNames,
    /// How it wants its pictures.
    pub preprocessing: Preprocessing,
    /// The precision of its backbone while its head was trained.
    pub precision: Precision,
    /// The network up to its features.
    pub backbone: Graph,
    /// From the features to one logit per class.
    pub head: Graph,
    /// Where the backbone's weights came from.
    pub weights: Origin,
    /// How it was trained, as text: a recipe in TOML, or in JSON in models of version 1. Nothing
    /// here depends on it.
    pub recipe: String,
    /// Fingerprint of the data set that it was trained on.
    pub data: String,
    /// What it was measured with; none in models of earlier programs.
    pub figures: Option<Figures>,
    /// How the backbone was trained too; none if it was not, and in models of earlier programs.
    pub fine_tuning: Option<FineTuning>,
    /// What it knows about its own answers; none in models of earlier programs.
    pub calibration: Option<Calibration>,
}

impl Artefact {
    /// Writes the artefact, completely or not at all. The same content gives the same bytes.
    ///
    /// Backbone weights that are exactly representable as 16-bit floats are stored as such, others
    /// as 32-bit floats: either way without loss.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn save(
        &self,
        path: &Path,
        backbone: &dyn WeightSource,
        head: &dyn WeightSource,
    ) -> Result<()> {
        let fail = |problem: String| Error::Artefact { file: path.display().to_string(), problem };
        let mut tensors = TensorWriter::new();
        let parts: [(&str, &Graph, &dyn WeightSource); 2] =
            [(BACKBONE, &self.backbone, backbone), (HEAD, &self.head, head)];
        for (prefix, graph, source) in parts {
            for parameter in graph.parameters() {
                let values = source.values(&parameter.name).ok_or_else(|| {
                    fail(format!("tensor '{}' is missing in the weights", parameter.name))
                })?;
                let name = format!("{prefix}{}", parameter.name);
                match prefix {
                    BACKBONE => tensors.compact(name, &parameter.shape, &values),
                    _ => tensors.f32(name, &parameter.shape, &values),
                }
            }
        }
        if let Some(own) = &self.calibration {
            tensors.f32(SCORES, &[own.scores.len()], &own.scores);
            if let Some(familiarity) = &own.familiarity {
                let width = self.backbone.feature_width();
                let shape = [familiarity.rows.len() / width.max(1), width];
                tensors.compact(FAMILIAR, &shape, &familiarity.rows);
            }
        }
        let description = Description {
            version: VERSION,
            model: self.model.clone(),
            classes: self.classes.clone(),
            preprocessing: self.preprocessing,
            precision: self.precision,
            backbone: self.backbone.clone(),
            head: self.head.clone(),
            weights: self.weights.clone(),
            recipe: Value::from(self.recipe.as_str()),
            data: self.data.clone(),
            figures: self.figures.clone(),
            fine_tuning: self.fine_tuning.clone(),
            calibration: self.calibration.clone(),
        };
        let text = serde_json::to_string(&description).map_err(|e| fail(e.to_string()))?;
        let bytes = tensors.into_bytes([(KEY, text)])?;
        write_atomically(path, &bytes).map_err(|source| Error::Io { path: path.into(), source })
    }

    /// The precision of its backbone on a CPU: the one it was trained with, or f32, which
    /// represents all values of f16 and TF32.
    pub fn cpu_precision(&self) -> Precision {
        if self.precision.is_for_cpu() { self.precision } else { Precision::F32 }
    }

    /// Reads an artefact: its description, and the file that still holds the weights.
    ///
    /// # Errors
    /// [`Error::Weights`] if the file cannot be read or is damaged, [`Error::Artefact`] if it is
    /// not an artefact or its weights are incomplete.
    pub fn open(path: &Path) -> Result<(Self, ArtefactWeights)> {
        Self::read(WeightFile::open(path)?)
    }

    /// The same for the content of a file; `name` stands for it in messages.
    ///
    /// # Errors
    /// As [`Artefact::open`].
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<(Self, ArtefactWeights)> {
        Self::read(WeightFile::from_bytes(name, bytes)?)
    }

    fn read(file: WeightFile) -> Result<(Self, ArtefactWeights)> {
        let fail = |problem: String| Error::Artefact { file: file.name().into(), problem };
        let other = || Error::NotAModel { file: file.name().into() };
        let text = file.metadata().get(KEY).ok_or_else(other)?;
        #[derive(Deserialize)]
        struct Version {
            version: Option<u32>,
        }
        // Features that Taper wrote have a description too, of another kind.
        let version = serde_json::from_str::<Version>(text)
            .map_err(|e| fail(format!("its description cannot be read ({e})")))?
            .version
            .ok_or_else(other)?;
        if !(1..=VERSION).contains(&version) {
            return Err(fail(format!(
                "it has version {version} and this program reads versions up to {VERSION}: use the program that made it"
            )));
        }
        let d: Description = serde_json::from_str(text)
            .map_err(|e| fail(format!("its description cannot be read ({e})")))?;
        d.preprocessing.check()?;
        let logits = d.head.shapes(0, 0)?[d.head.output()].channels();
        if logits != d.classes.len() {
            let classes = d.classes.len();
            return Err(fail(format!("its head gives {logits} logits for {classes} classes")));
        }
        let calibration = d.calibration.map(|own| with_tensors(own, &file, &d.backbone));
        let calibration = calibration.transpose().map_err(|problem| fail(problem.into()))?;
        let artefact = Self {
            model: d.model,
            classes: d.classes,
            preprocessing: d.preprocessing,
            precision: d.precision,
            backbone: d.backbone,
            head: d.head,
            weights: d.weights,
            recipe: match d.recipe {
                Value::String(text) => text,
                object => object.to_string(),
            },
            data: d.data,
            figures: d.figures,
            fine_tuning: d.fine_tuning,
            calibration,
        };
        let weights = ArtefactWeights { file };
        check_weights(&artefact.backbone, &weights.backbone())?;
        check_weights(&artefact.head, &weights.head())?;
        Ok((artefact, weights))
    }
}

/// Puts the numbers that a calibration has as tensors into it, and checks it.
fn with_tensors(
    mut own: Calibration,
    file: &WeightFile,
    backbone: &Graph,
) -> std::result::Result<Calibration, &'static str> {
    if !(own.temperature > 0.0 && own.temperature.is_finite()) {
        return Err("its temperature is not a number above 0");
    }
    own.scores = file.values(SCORES).ok_or("its validation scores are missing")?.into_owned();
    let ascend = own.scores.is_sorted() && own.scores.iter().all(|s| (0.0..=1.0).contains(s));
    if !ascend {
        return Err("its validation scores are not ascending numbers from 0 to 1");
    }
    if let Some(familiarity) = &mut own.familiarity {
        let rows = file.values(FAMILIAR).ok_or("the features of its training pictures miss")?;
        let width = backbone.feature_width();
        if file.shape(FAMILIAR).is_none_or(|shape| shape.len() != 2 || shape[1] != width) {
            return Err("the features of its training pictures are not the network's");
        }
        familiarity.rows = rows.into_owned();
    }
    Ok(own)
}

/// The weights in an artefact.
#[derive(Debug)]
pub struct ArtefactWeights {
    file: WeightFile,
}

impl ArtefactWeights {
    /// The backbone's, under their own names.
    pub fn backbone(&self) -> impl WeightSource + '_ {
        Prefixed { prefix: BACKBONE, file: &self.file }
    }

    /// The head's, under their own names.
    pub fn head(&self) -> impl WeightSource + '_ {
        Prefixed { prefix: HEAD, file: &self.file }
    }
}

struct Prefixed<'a> {
    prefix: &'static str,
    file: &'a WeightFile,
}

impl WeightSource for Prefixed<'_> {
    fn names(&self) -> Vec<&str> {
        self.file.names().into_iter().filter_map(|n| n.strip_prefix(self.prefix)).collect()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.file.shape(&format!("{}{name}", self.prefix))
    }

    fn values(&self, name: &str) -> Option<Cow<'_, [f32]>> {
        self.file.values(&format!("{}{name}", self.prefix))
    }
}
