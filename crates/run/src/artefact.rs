use std::{borrow::Cow, collections::HashMap, path::Path};

use half::f16;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde::{Deserialize, Serialize};
use taper_core::{ClassNames, Preprocessing};
use taper_graph::{Graph, WeightSource, Weights, check_weights};
use taper_plan::Precision;
use taper_zoo::WeightFile;

use crate::{Error, Recipe, Result, file::write_atomically};

/// The key of the artefact's description in the safetensors header.
const KEY: &str = "taper";
const VERSION: u32 = 1;
const BACKBONE: &str = "backbone.";
const HEAD: &str = "head.";

/// Everything about a trained classifier but its weights; a JSON text in the header of its safetensors file.
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
    recipe: Recipe,
    data: String,
}

/// Where the backbone's weights came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// In words.
    pub origin: String,
    /// SHA-256 of the weight file.
    pub sha256: String,
}

/// A trained classifier: one safetensors file with the backbone (`backbone.*`), the head (`head.*`) and, in its header
/// under `taper`, labels, preprocessing, both architectures and the recipe.
#[derive(Debug)]
pub struct Artefact {
    /// The network that the classifier is built on.
    pub model: String,
    /// What it can tell apart.
    pub classes: ClassNames,
    /// How it wants its pictures.
    pub preprocessing: Preprocessing,
    /// What its backbone computed in while its head was trained.
    pub precision: Precision,
    /// The network up to its features.
    pub backbone: Graph,
    /// From the features to one logit per class.
    pub head: Graph,
    /// Where the backbone's weights came from.
    pub weights: Origin,
    /// How it was trained.
    pub recipe: Recipe,
    /// Fingerprint of the data set that it was trained on.
    pub data: String,
}

impl Artefact {
    /// Writes the artefact, whole or not at all. The same content gives the same bytes.
    ///
    /// Backbone weights that are exactly representable as 16-bit floats are stored as such, others as 32-bit floats: no
    /// bit is lost either way.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn save(&self, path: &Path, backbone: &dyn WeightSource, head: &Weights) -> Result<()> {
        let fail = |problem: String| Error::Artefact { file: path.display().to_string(), problem };
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let parts: [(&str, &Graph, &dyn WeightSource); 2] =
            [(BACKBONE, &self.backbone, backbone), (HEAD, &self.head, head)];
        for (prefix, graph, source) in parts {
            for parameter in graph.parameters() {
                let values = source.values(&parameter.name).ok_or_else(|| {
                    fail(format!("tensor '{}' is missing in the weights", parameter.name))
                })?;
                let compact = if prefix == BACKBONE { as_f16(&values) } else { None };
                let (dtype, bytes) = match compact {
                    Some(bytes) => (Dtype::F16, bytes),
                    None => (Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
                };
                tensors.push((
                    format!("{prefix}{}", parameter.name),
                    dtype,
                    parameter.shape,
                    bytes,
                ));
            }
        }
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes);
            view.map(|view| (name.as_str(), view)).map_err(|e| fail(e.to_string()))
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let description = Description {
            version: VERSION,
            model: self.model.clone(),
            classes: self.classes.clone(),
            preprocessing: self.preprocessing,
            precision: self.precision,
            backbone: self.backbone.clone(),
            head: self.head.clone(),
            weights: self.weights.clone(),
            recipe: self.recipe.clone(),
            data: self.data.clone(),
        };
        let text = serde_json::to_string(&description).map_err(|e| fail(e.to_string()))?;
        // One key only: the header's map has no order, and the bytes must be the same every time.
        let metadata = HashMap::from([(KEY.to_owned(), text)]);
        let bytes = serialize(views, Some(metadata)).map_err(|e| fail(e.to_string()))?;
        write_atomically(path, &bytes)
    }

    /// Reads an artefact: its description, and the file that still holds the weights.
    ///
    /// # Errors
    /// [`Error::Zoo`] if the file cannot be read or is damaged, [`Error::Artefact`] if it is not an artefact or its
    /// weights are incomplete.
    pub fn open(path: &Path) -> Result<(Self, ArtefactWeights)> {
        let file = WeightFile::open(path)?;
        let fail = |problem: String| Error::Artefact { file: file.name().into(), problem };
        let text = file.metadata().get(KEY).ok_or_else(|| {
            fail("it has no description; give the model.safetensors of a run folder".into())
        })?;
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let version = serde_json::from_str::<Version>(text)
            .map_err(|e| fail(format!("its description cannot be read ({e})")))?
            .version;
        if version != VERSION {
            return Err(fail(format!(
                "it has version {version} and this program reads version {VERSION}: use the program that made it"
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
        let artefact = Self {
            model: d.model,
            classes: d.classes,
            preprocessing: d.preprocessing,
            precision: d.precision,
            backbone: d.backbone,
            head: d.head,
            weights: d.weights,
            recipe: d.recipe,
            data: d.data,
        };
        let weights = ArtefactWeights { file };
        check_weights(&artefact.backbone, &weights.backbone())?;
        check_weights(&artefact.head, &weights.head())?;
        Ok((artefact, weights))
    }
}

/// The bytes of the values as 16-bit floats if each of them is one.
fn as_f16(values: &[f32]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(2 * values.len());
    for &value in values {
        let compact = f16::from_f32(value);
        if compact.to_f32().to_bits() != value.to_bits() {
            return None;
        }
        bytes.extend_from_slice(&compact.to_le_bytes());
    }
    Some(bytes)
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
