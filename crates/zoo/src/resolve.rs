use std::path::{Path, PathBuf};

use sha2::Digest;
use taper_core::hex;
use taper_fetch::{HubOptions, fetch, promised_digest, sha256_of_file};
use taper_graph::{Graph, Mismatch, WeightSource, Weights, check_weights_in};
use taper_weights::WeightFile;

use crate::{
    Error, ModelSpec, Result,
    naming::{Renamed, holds_only, renamed},
};

/// Where weights should come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WeightsChoice {
    /// The pretrained weights: embedded, else from the Hub's cache on this machine, else from the
    /// Hub.
    #[default]
    Pretrained,
    /// A file: safetensors (also in several files with an index) or a torch checkpoint, with the
    /// names of timm, torchvision or, for VGG, Keras; or a trained classifier of Taper's, also by
    /// its run's folder.
    File(PathBuf),
    /// Untrained weights from a fixed formula: for benchmarks only.
    Random,
}

/// Weights that fit a model's backbone.
pub struct LoadedWeights {
    /// The tensors by name.
    pub source: Box<dyn WeightSource + Send + Sync>,
    /// The SHA-256 of the file in lower-case hexadecimal: the weights' identity, e.g. in the key of
    /// cached features.
    pub digest: String,
    /// A description of where the weights come from.
    pub origin: String,
    model: &'static str,
}

impl LoadedWeights {
    /// Checks that the weights fit a form of the network other than the backbone, e.g. the one with
    /// the classifier.
    ///
    /// # Errors
    /// [`taper_weights::Error::Mismatch`] lists everything that is missing or of the wrong shape.
    pub fn check(&self, graph: &Graph) -> Result<()> {
        let whole = crate::find(self.model)?.graph();
        let fits = check_weights_in(graph, &whole, self.source.as_ref());
        fits.map_err(|source| {
            let remedy = "a head can still be trained on them; for ImageNet's classes give \
                          weights with their classifier";
            taper_weights::Error::Mismatch {
                file: self.origin.clone(),
                model: self.model.to_owned(),
                source: source.into(),
                remedy: remedy.into(),
            }
        })?;
        Ok(())
    }
}

impl std::fmt::Debug for LoadedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedWeights")
            .field("model", &self.model)
            .field("origin", &self.origin)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// Finds, opens and checks a model's weights. The backbone must be complete in them; a classifier
/// may be missing.
///
/// ```
/// use taper_zoo::{WeightsChoice, find, resolve};
///
/// let model = find("efficientnet-lite0")?;
/// let weights = resolve(model, &WeightsChoice::Pretrained)?;
/// assert_eq!(weights.source.shape("conv_stem.weight"), Some(&[32, 3, 3, 3][..]));
/// # Ok::<(), taper_zoo::Error>(())
/// ```
///
/// # Errors
/// Any [`Error`] except an unknown model: the file cannot be read, is not in a supported format, is
/// damaged, or belongs to another network; the Hub cannot be reached or refuses.
pub fn resolve(model: &'static ModelSpec, choice: &WeightsChoice) -> Result<LoadedWeights> {
    resolve_with(model, choice, &HubOptions::from_env())
}

/// As [`resolve`], for a part of the network that ends earlier: the weights need not have more.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_part(
    model: &'static ModelSpec,
    choice: &WeightsChoice,
    backbone: &Graph,
) -> Result<LoadedWeights> {
    resolve_in(model, choice, backbone, &HubOptions::from_env())
}

/// As [`resolve`], with a cache or a Hub other than those of the environment.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_with(
    model: &'static ModelSpec,
    choice: &WeightsChoice,
    options: &HubOptions,
) -> Result<LoadedWeights> {
    resolve_in(model, choice, &model.backbone(), options)
}

fn resolve_in(
    model: &'static ModelSpec,
    choice: &WeightsChoice,
    backbone: &Graph,
    options: &HubOptions,
) -> Result<LoadedWeights> {
    let (file, origin) = match choice {
        WeightsChoice::Random => return Ok(random(model)),
        WeightsChoice::File(path) => opened(path)?,
        WeightsChoice::Pretrained => pretrained(model, options)?,
    };
    let whole = model.graph();
    let source = renamed(file, &whole)?;
    source.check_types(backbone)?;
    check_names(model, &whole, backbone, &source, &origin)?;
    let digest = source.file().digest().to_owned();
    check_owner(model, &digest, &origin)?;
    Ok(LoadedWeights { source: Box::new(source), digest, origin, model: model.name })
}

/// Whether a file is not the published one of another network, whose tensors may have the same
/// names and shapes: CLIP's ViT-B/32 by OpenAI, LAION and DataComp differ in an activation.
pub(crate) fn check_owner(model: &ModelSpec, digest: &str, origin: &str) -> Result<()> {
    let owns = |other: &&ModelSpec| other.hub.sha256 == Some(digest);
    let owner = crate::models().iter().find(owns).filter(|owner| owner.name != model.name);
    match owner {
        Some(owner) => Err(Error::OtherModel { file: origin.to_owned(), owner: owner.name }),
        None => Ok(()),
    }
}

/// A file of weights under a network's own names, whatever convention it follows.
///
/// # Errors
/// [`Error::Naming`] for a convention that does not fit the network's arithmetic, and
/// [`taper_graph::Error::Weights`] in [`taper_weights::Error::Mismatch`] for what is missing.
pub fn named_as(file: WeightFile, graph: &Graph) -> Result<Box<dyn WeightSource + Send + Sync>> {
    let origin = file.name().to_owned();
    let source = renamed(file, graph)?;
    source.check_types(graph)?;
    check_weights_in(graph, graph, &source).map_err(|source| {
        let remedy = "give weights of this network".into();
        let model = graph.name().to_owned();
        taper_weights::Error::Mismatch { file: origin, model, source: source.into(), remedy }
    })?;
    Ok(Box::new(source))
}

/// A file of weights, and where it is. The folder of a run stands for the model in it.
pub(crate) fn opened(path: &Path) -> Result<(WeightFile, String)> {
    let model = path.join("model.safetensors");
    let file = WeightFile::open(if model.is_file() { &model } else { path })?;
    let origin = file.name().to_owned();
    Ok((file, origin))
}

/// Checks that the weights contain the backbone, and that they are not those of another network
/// that includes it: all of ResNet-50 is in ResNet-101.
fn check_names(
    model: &'static ModelSpec,
    whole: &Graph,
    backbone: &Graph,
    source: &Renamed,
    origin: &str,
) -> Result<()> {
    let unexpected = source.unexpected();
    let fits = check_weights_in(backbone, whole, source);
    if fits.is_ok() && unexpected.is_empty() {
        return Ok(());
    }
    let others = crate::models().iter().filter(|other| other.name != model.name);
    let owner = others.map(|other| (other.name, other.graph()));
    let owner = owner.into_iter().find(|(_, graph)| holds_only(source.file(), graph));
    let problem = match (fits, &owner) {
        (Err(problem), _) => problem,
        (Ok(()), Some(_)) => {
            let mismatch = Mismatch { unexpected: unexpected.to_vec(), ..Mismatch::default() };
            let mismatch = Box::new(mismatch);
            taper_graph::Error::Weights { network: model.name.to_owned(), mismatch }
        }
        (Ok(()), None) => {
            tracing::warn!(
                "the weights '{origin}' contain {} tensors that {} does not use: {}{}",
                unexpected.len(),
                model.name,
                unexpected[..unexpected.len().min(5)].join(", "),
                if unexpected.len() > 5 { ", …" } else { "" },
            );
            return Ok(());
        }
    };
    let end = end_of_part(backbone, source);
    let remedy = match owner {
        _ if let Some(layer) = &end => format!(
            "they end with the layer '{layer}', like those of a network that was cut there: give the same `cut`"
        ),
        Some((name, _)) => format!("they belong to {name}: give `model` {name}"),
        None if origin.contains("-of-0") => {
            "it is one of several files: give their index, model.safetensors.index.json".into()
        }
        None => format!("give weights of {} with the names of timm or torchvision", model.name),
    };
    Err(taper_weights::Error::Mismatch {
        file: origin.to_owned(),
        model: model.name.to_owned(),
        source: problem.into(),
        remedy,
    }
    .into())
}

/// The last layer with weights in a file that holds only the lower part of a network.
fn end_of_part(backbone: &Graph, source: &Renamed) -> Option<String> {
    let parameters = backbone.parameters();
    let held = parameters.iter().take_while(|p| source.shape(&p.name).is_some()).count();
    let (lower, upper) = parameters.split_at(held);
    if upper.iter().any(|p| source.shape(&p.name).is_some()) {
        return None;
    }
    let last = lower.last().filter(|_| !upper.is_empty())?;
    Some(backbone.nodes()[last.node].name.clone())
}

pub(crate) fn pretrained(model: &ModelSpec, options: &HubOptions) -> Result<(WeightFile, String)> {
    if let Some(embedded) = model.embedded {
        let file = WeightFile::from_static(embedded.file, embedded.bytes)?;
        return Ok((file.with_digest(embedded.sha256), format!("built in ({})", embedded.file)));
    }
    let path = fetch(&model.hub, options)?;
    let file = WeightFile::open(&path);
    let promised = model.hub.sha256.map(str::to_owned).or_else(|| promised_digest(&path));
    if let Some(promised) = promised {
        let found = match &file {
            Ok(file) => file.digest().to_owned(),
            // The header is damaged: a digest error says more.
            Err(_) => sha256_of_file(&path)
                .map_err(|source| taper_weights::Error::Read { path: path.clone(), source })?,
        };
        if promised != found {
            // The blob itself: once it is deleted, the link to it is broken, and the file counts as
            // not cached.
            let path = path.canonicalize().unwrap_or(path);
            return Err(Error::CachedDigest { path, promised, found });
        }
    }
    let origin = format!("{} on the Hugging Face Hub ({})", model.hub.repository, path.display());
    Ok((file?, origin))
}

fn random(model: &'static ModelSpec) -> LoadedWeights {
    tracing::warn!(
        model = model.name,
        "random weights: the network has learned nothing, and its features are meaningless; use them for benchmarks only"
    );
    let weights = Weights::seeded(&model.graph());
    // The values follow from the architecture: its name identifies them.
    let digest = sha2::Sha256::digest(format!("taper/seeded/{}", model.name));
    LoadedWeights {
        source: Box::new(weights),
        digest: hex(&digest),
        origin: "random (for benchmarks)".into(),
        model: model.name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{find, models};

    #[test]
    fn embedded_weights_are_what_the_registry_says() {
        for model in models() {
            let Some(embedded) = model.embedded else { continue };
            let file = WeightFile::from_static(embedded.file, embedded.bytes).unwrap();
            assert_eq!(file.digest(), embedded.sha256);
            assert!(file.size() <= 9_500_000);
            file.check(&model.graph()).unwrap();
            assert_eq!(file.names().len(), model.graph().parameters().len());
            for name in file.names() {
                assert!(file.values(name).unwrap().iter().all(|v| v.is_finite()), "{name}");
            }
            let weights = resolve(model, &WeightsChoice::Pretrained).unwrap();
            assert_eq!(weights.digest, embedded.sha256);
            weights.check(&model.graph()).unwrap();
        }
    }

    #[test]
    fn a_file_of_another_network_is_refused() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/assets/efficientnet-lite0-f16.safetensors");
        let choice = WeightsChoice::File(path.into());
        let weights = resolve(find("efficientnet-lite0").unwrap(), &choice).unwrap();
        assert_eq!(weights.digest, find("efficientnet-lite0").unwrap().embedded.unwrap().sha256);
        let error = resolve(find("resnet50").unwrap(), &choice).unwrap_err().to_string();
        assert!(error.contains("resnet50") && error.contains("f16.safetensors"), "{error}");
        assert!(error.ends_with("give `model` efficientnet-lite0"), "{error}");
    }

    /// A deeper network of the same family has everything that a shallower one needs, and more.
    #[test]
    fn a_file_of_a_deeper_network_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lite1.safetensors");
        let weights = Weights::seeded(&find("efficientnet-lite1").unwrap().backbone());
        let bytes: Vec<(String, Vec<u8>)> = weights
            .names()
            .into_iter()
            .map(|name| {
                let values = weights.values(name).unwrap();
                (name.to_owned(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
            })
            .collect();
        let tensors = bytes.iter().map(|(name, bytes)| {
            let shape = weights.shape(name).unwrap().to_vec();
            (
                name,
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes)
                    .unwrap(),
            )
        });
        safetensors::serialize_to_file(tensors, None, &path).unwrap();
        let choice = WeightsChoice::File(path);
        resolve(find("efficientnet-lite1").unwrap(), &choice).unwrap();
        let error = resolve(find("efficientnet-lite0").unwrap(), &choice).unwrap_err().to_string();
        assert!(error.contains("unexpected: 'blocks."), "{error}");
        assert!(error.ends_with("give `model` efficientnet-lite1"), "{error}");
    }

    #[test]
    fn the_published_file_of_a_twin_is_known_by_its_digest() {
        let [openai, laion] = ["clip-vit-b32", "clip-vit-b32-laion2b"].map(|n| find(n).unwrap());
        let digest = openai.hub.sha256.unwrap();
        check_owner(openai, digest, "x").unwrap();
        check_owner(laion, &"0".repeat(64), "x").unwrap();
        let error = check_owner(laion, digest, "x.safetensors").unwrap_err().to_string();
        assert!(error.contains("'x.safetensors'") && error.ends_with("`model` clip-vit-b32"));
    }

    #[test]
    fn random_weights_fit_and_say_what_they_are() {
        let model = find("efficientnet-lite0").unwrap();
        let weights = resolve(model, &WeightsChoice::Random).unwrap();
        weights.check(&model.graph()).unwrap();
        assert!(weights.origin.contains("random"));
        assert_eq!(weights.digest.len(), 64);
    }
}
