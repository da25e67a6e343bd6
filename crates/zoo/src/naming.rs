//! Names of tensors by other conventions than timm's: torchvision's, Keras's, open_clip's,
//! transformers', those of networks before their branches were fused, and registers. A file's
//! convention is recognised from its keys, tensor by tensor.

mod branches;
mod clip;
mod keras;
mod registers;
mod torchvision;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use taper_graph::{Graph, Mismatch, Parameter, WeightSource};
use taper_networks::TextTower;
use taper_weights::WeightFile;

use crate::Result;

use branches::TrainingForm;

/// Prefixes that training scripts put before all names: `DistributedDataParallel`, Lightning and
/// others.
const PREFIXES: [&str; 6] = ["", "module.", "model.", "backbone.", "module.model.", "encoder."];

/// The key under which a trained classifier is described in its file (`taper_model::Artefact`).
const CLASSIFIER: &str = "taper";

/// A file, seen through a network's own names and shapes of tensors.
pub(crate) struct Renamed {
    file: WeightFile,
    tensors: BTreeMap<String, Found>,
    /// What those lack that are made of several, by the file's names.
    lacking: BTreeMap<String, Vec<String>>,
    /// Tensors that the network does not use.
    unexpected: Vec<String>,
}

/// Where the values of a tensor come from.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    shape: Vec<usize>,
    /// Tensors of the file, those that the recipe needs.
    sources: Vec<String>,
    recipe: Recipe,
}

/// A tensor that is made of several.
enum Made {
    /// All of them are there.
    Whole(Found),
    /// Some are not.
    Part {
        /// Their names.
        lacking: Vec<String>,
        /// The names of the others.
        there: Vec<String>,
    },
}

/// How values of the file become those of a tensor.
#[derive(Debug, Clone, PartialEq)]
enum Recipe {
    /// Unchanged, perhaps in another shape.
    Same,
    /// Keras's axes into torch's.
    Keras(keras::Axes),
    /// Branches into one convolution.
    Fused(branches::Fusion),
    /// Of open_clip or transformers.
    Clip(clip::Part),
    /// Registers and what belongs to them.
    Registers(registers::Part),
}

/// Looks up everything that `graph` needs in a file.
///
/// # Errors
/// [`crate::Error::Naming`] if the file follows a convention that does not fit this network's
/// arithmetic.
pub(crate) fn renamed(file: WeightFile, graph: &Graph) -> Result<Renamed> {
    keras::refuse_other_networks(&file, graph)?;
    let LookedUp { prefix, tensors, lacking, beside } = look_up(&file, graph);
    let mut unexpected = left_over(&file, prefix, &tensors);
    unexpected.retain(|name| !beside.contains(name));
    Ok(Renamed { tensors, lacking, unexpected, file })
}

/// Whether a file holds a network, without its classifier or with any, and nothing else.
pub(crate) fn holds_only(file: &WeightFile, graph: &Graph) -> bool {
    let LookedUp { prefix, tensors, .. } = look_up(file, graph);
    let fits = |parameter: &Parameter| {
        tensors.get(&parameter.name).is_some_and(|found| found.shape == parameter.shape)
    };
    keras::refuse_other_networks(file, graph).is_ok()
        && graph.without_classifier().parameters().iter().all(fits)
        && left_over(file, prefix, &tensors).is_empty()
}

/// The sources of a graph's tensors.
struct LookedUp {
    /// What stands before all names.
    prefix: &'static str,
    /// Of every tensor, as far as it is there.
    tensors: BTreeMap<String, Found>,
    /// What those lack that are made of several.
    lacking: BTreeMap<String, Vec<String>>,
    /// Tensors of the file that belong to these.
    beside: BTreeSet<String>,
}

/// The source of every tensor that `graph` needs.
fn look_up(file: &WeightFile, graph: &Graph) -> LookedUp {
    let parameters = graph.parameters();
    let prefix = prefix(file, graph, &parameters);
    let keras = keras::Names::of(graph);
    let form = TrainingForm::of(file, prefix, graph);
    let (mut tensors, mut lacking) = (BTreeMap::new(), BTreeMap::new());
    let mut beside = BTreeSet::new();
    for parameter in &parameters {
        // First what is made of several tensors, one of which may have the same name.
        let made = registers::find(file, prefix, parameter)
            .or_else(|| form.find(graph, parameter))
            .or_else(|| clip::pooled(file, prefix, graph, parameter));
        match made {
            Some(Made::Whole(found)) => {
                tensors.insert(parameter.name.clone(), found);
                continue;
            }
            Some(Made::Part { lacking: names, there }) => {
                lacking.insert(parameter.name.clone(), names);
                beside.extend(there);
                continue;
            }
            None => {}
        }
        let plain = |name: &str, any_shape: bool| {
            let name = format!("{prefix}{name}");
            let shape = file.shape(&name)?;
            let shape = reshaped(shape, &parameter.shape, any_shape);
            Some(Found { shape, sources: vec![name], recipe: Recipe::Same })
        };
        let found = plain(&parameter.name, false)
            .or_else(|| plain(&torchvision::name(&parameter.name, graph)?, true))
            .or_else(|| of_clip(file, prefix, parameter))
            .or_else(|| keras.find(file, parameter));
        if let Some(found) = found {
            tensors.insert(parameter.name.clone(), found);
        }
    }
    LookedUp { prefix, tensors, lacking, beside }
}

fn left_over(file: &WeightFile, prefix: &str, tensors: &BTreeMap<String, Found>) -> Vec<String> {
    let used: std::collections::BTreeSet<&str> =
        tensors.values().flat_map(|found| &found.sources).map(String::as_str).collect();
    // A projection has no bias; in timm it has one of zeros.
    let timm_head = tensors.contains_key("projection.weight") && used.contains("head.weight");
    // A trained classifier of Taper's own: its head belongs to other classes.
    let classifier = file.metadata().contains_key(CLASSIFIER);
    let own_head =
        |name: &str| classifier && (name.starts_with("head.") || name.starts_with("calibration."));
    let both = clip::has_both(file, prefix);
    let beside = |name: &str| {
        both && name.strip_prefix(prefix).is_some_and(clip::beside_the_picture)
            || timm_head && name == "head.bias"
    };
    let unexpected = file
        .names()
        .into_iter()
        .filter(|name| !used.contains(name) && !own_head(name) && !beside(name));
    unexpected.map(str::to_owned).collect()
}

fn of_clip(file: &WeightFile, prefix: &str, parameter: &Parameter) -> Option<Found> {
    let tensor = (parameter.name.as_str(), parameter.shape.as_slice());
    clip::find(file, prefix, tensor, clip::Tower::Picture)
}

/// Looks up an encoder of texts in a file that holds a whole network.
///
/// # Errors
/// What is missing or has another shape.
pub(crate) fn text_tower(
    file: WeightFile,
    tower: &TextTower,
) -> std::result::Result<Renamed, Box<Mismatch>> {
    let wanted = tower.tensors();
    let found_with = |prefix: &str| -> BTreeMap<String, Found> {
        let found = |(name, shape): &(String, Vec<usize>)| {
            let found = clip::find(&file, prefix, (name, shape), clip::Tower::Text)?;
            Some((name.clone(), found))
        };
        wanted.iter().filter_map(found).collect()
    };
    let all = PREFIXES.iter().rev().map(|prefix| found_with(prefix));
    let tensors = all.max_by_key(BTreeMap::len).unwrap_or_default();
    let mut mismatch = Mismatch::default();
    for (name, shape) in wanted {
        match tensors.get(&name) {
            None => mismatch.missing.push((name, Vec::new())),
            Some(found) if found.shape != shape => {
                mismatch.misshapen.push((name, shape, found.shape.clone()));
            }
            Some(_) => {}
        }
    }
    if mismatch == Mismatch::default() {
        Ok(Renamed { tensors, lacking: BTreeMap::new(), unexpected: Vec::new(), file })
    } else {
        Err(Box::new(mismatch))
    }
}

/// The prefix with which most of the names fit.
fn prefix(file: &WeightFile, graph: &Graph, parameters: &[Parameter]) -> &'static str {
    let fits = |prefix: &&&'static str| {
        let form = TrainingForm::of(file, prefix, graph);
        let there = |name: &str| file.shape(&format!("{prefix}{name}")).is_some();
        let known = |p: &&Parameter| {
            there(&p.name)
                || torchvision::name(&p.name, graph).is_some_and(|name| there(&name))
                || matches!(form.find(graph, p), Some(Made::Whole(_)))
                || matches!(clip::pooled(file, prefix, graph, p), Some(Made::Whole(_)))
                || of_clip(file, prefix, p).is_some()
        };
        parameters.iter().filter(known).count()
    };
    // The first among equals: plain names.
    PREFIXES.iter().rev().max_by_key(fits).copied().unwrap_or_default()
}

/// The needed shape if the values of `found` fit it, else `found`, to be reported.
fn reshaped(found: &[usize], needed: &[usize], any: bool) -> Vec<usize> {
    // A 1 × 1 convolution is a linear layer.
    let sides = |shape: &[usize]| shape.iter().copied().filter(|n| *n != 1).collect::<Vec<_>>();
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let same = if any { count(found) == count(needed) } else { sides(found) == sides(needed) };
    if same { needed.to_vec() } else { found.to_vec() }
}

impl Renamed {
    /// Tensors of the file that the network does not use, except counters of batches.
    pub(crate) fn unexpected(&self) -> &[String] {
        &self.unexpected
    }

    /// # Errors
    /// [`taper_weights::Error::ElementType`] names the first tensor that is there but has a number
    /// type that cannot be read.
    pub(crate) fn check_types(&self, graph: &Graph) -> Result<()> {
        let missing = graph.parameters().into_iter().find_map(|parameter| {
            let found = self.file.other_type(&parameter.name)?;
            (!self.tensors.contains_key(&parameter.name))
                .then(|| (parameter.name, found.to_owned()))
        });
        match missing {
            None => Ok(()),
            Some((tensor, found)) => Err(taper_weights::Error::ElementType {
                file: self.file.name().to_owned(),
                tensor,
                found,
            }
            .into()),
        }
    }

    pub(crate) fn file(&self) -> &WeightFile {
        &self.file
    }
}

impl WeightSource for Renamed {
    /// The names that were looked up, then the unused ones: near misses are among them.
    fn names(&self) -> Vec<&str> {
        self.tensors.keys().chain(&self.unexpected).map(String::as_str).collect()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|found| found.shape.as_slice())
    }

    fn lacking(&self, name: &str) -> &[String] {
        self.lacking.get(name).map_or(&[], Vec::as_slice)
    }

    fn values(&self, name: &str) -> Option<Cow<'_, [f32]>> {
        let found = self.tensors.get(name)?;
        match &found.recipe {
            Recipe::Same => self.file.values(found.sources.first()?),
            Recipe::Keras(axes) => {
                let sources = found.sources.iter().map(|name| self.file.values(name));
                let sources = sources.collect::<Option<Vec<_>>>()?;
                Some(Cow::Owned(axes.apply(&sources, &found.shape)))
            }
            Recipe::Fused(part) => {
                let sources = found.sources.iter().map(|name| self.file.values(name));
                let sources = sources.collect::<Option<Vec<_>>>()?;
                Some(Cow::Owned(part.apply(&sources, &found.shape)))
            }
            Recipe::Registers(part) => {
                let sources = found.sources.iter().map(|name| self.file.values(name));
                let sources = sources.collect::<Option<Vec<_>>>()?;
                Some(Cow::Owned(part.apply(&sources, &found.shape)))
            }
            Recipe::Clip(part) => {
                let sources = found.sources.iter().map(|name| self.file.values(name));
                let sources = sources.collect::<Option<Vec<_>>>()?;
                Some(Cow::Owned(part.apply(&sources, &found.shape)))
            }
        }
    }
}
