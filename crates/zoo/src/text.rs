use std::path::PathBuf;

use taper_fetch::{HubFile, HubOptions, RepositoryKind, fetch, sha256_of_file};
use taper_graph::{Mismatch, WeightSource};
use taper_networks::TextTower;
use taper_weights::WeightFile;

use crate::{
    Error, ModelSpec, Result, WeightsChoice,
    naming::text_tower,
    resolve::{opened, pretrained},
};

/// The weights of the encoder of texts beside a network, and how its answers are compared with the
/// network's features: the logit of a text is `scale · cosine + bias`.
pub struct TextWeights {
    /// The tensors by name, as [`TextTower::tensors`] lists them.
    pub source: Box<dyn WeightSource + Send + Sync>,
    /// The factor of the cosine: what was learned for temperature, 100 in CLIP.
    pub scale: f32,
    /// Added to it; 0 where nothing was learned.
    pub bias: f32,
    /// The SHA-256 of the file in lower-case hexadecimal.
    pub digest: String,
    /// A description of where the weights come from.
    pub origin: String,
}

impl std::fmt::Debug for TextWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextWeights")
            .field("scale", &self.scale)
            .field("bias", &self.bias)
            .field("origin", &self.origin)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl ModelSpec {
    /// The encoder of texts beside this network.
    ///
    /// # Errors
    /// [`Error::NoText`] for a network that was trained without texts names those with them.
    pub fn text(&'static self) -> Result<&'static TextTower> {
        self.text.as_ref().ok_or_else(|| Error::NoText {
            model: self.name,
            known: crate::models()
                .iter()
                .filter(|model| model.text.is_some())
                .map(|model| model.name)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }
}

/// Finds, opens and checks the weights of the encoder of texts beside a network. They are in the
/// same file as those of the network.
///
/// # Errors
/// [`Error::NoText`]; [`taper_weights::Error::Mismatch`] for a file without it, as timm's are; as
/// [`resolve`](crate::resolve()).
pub fn resolve_text(
    model: &'static ModelSpec,
    choice: &WeightsChoice,
    options: &HubOptions,
) -> Result<TextWeights> {
    let tower = model.text()?;
    let (file, origin) = match choice {
        WeightsChoice::Random => return Ok(random(model, tower)),
        WeightsChoice::File(path) => opened(path)?,
        WeightsChoice::Pretrained => pretrained(model, options)?,
    };
    let whole = (model.hub.file, model.hub.repository);
    text_weights(file, tower).map_err(|mismatch| {
        let network = model.name.to_owned();
        let remedy = format!(
            "files of networks of pictures alone have none: give {} of {}",
            whole.0, whole.1
        );
        taper_weights::Error::Mismatch {
            file: origin.clone(),
            model: format!("the encoder of texts of {}", model.name),
            source: taper_graph::Error::Weights { network, mismatch }.into(),
            remedy,
        }
        .into()
    })
}

/// An encoder of texts in a file, whether that follows open_clip or transformers.
///
/// # Errors
/// What is missing or has another shape.
pub fn text_weights(
    file: WeightFile,
    tower: &TextTower,
) -> std::result::Result<TextWeights, Box<Mismatch>> {
    let learned = |name: &str| {
        let own = file.names().into_iter().find(|own| own.ends_with(name))?;
        file.values(own)?.first().copied()
    };
    let scale = learned("logit_scale").map_or(100.0, f32::exp);
    let bias = learned("logit_bias").unwrap_or(0.0);
    let (digest, origin) = (file.digest().to_owned(), file.name().to_owned());
    let source = Box::new(text_tower(file, tower)?);
    Ok(TextWeights { source, scale, bias, digest, origin })
}

fn random(model: &'static ModelSpec, tower: &TextTower) -> TextWeights {
    let source = taper_graph::Weights::seeded_by_name(tower.tensors());
    TextWeights {
        source: Box::new(source),
        scale: 100.0,
        bias: 0.0,
        digest: format!("random text of {}", model.name),
        origin: "random (for benchmarks)".into(),
    }
}

/// The tokenizer of a network: `tokenizer.json` beside a file of weights; else from the Hub's cache
/// on this machine, else from the Hub.
///
/// # Errors
/// [`Error::NoText`]; [`Error::Tokenizer`] if it is neither here nor can be fetched;
/// [`Error::CachedDigest`] if what is in the cache is damaged.
pub fn tokenizer(
    model: &'static ModelSpec,
    choice: &WeightsChoice,
    options: &HubOptions,
) -> Result<PathBuf> {
    let tower = model.text()?;
    if let WeightsChoice::File(path) = choice {
        let folder = if path.is_dir() { Some(path.as_path()) } else { path.parent() };
        let beside = folder.map(|folder| folder.join("tokenizer.json"));
        if let Some(beside) = beside.filter(|beside| beside.is_file()) {
            return Ok(beside);
        }
    }
    let file = tokenizer_file(tower);
    let path =
        fetch(&file, options).map_err(|source| Error::Tokenizer { model: model.name, source })?;
    let found = sha256_of_file(&path)
        .map_err(|source| taper_weights::Error::Read { path: path.clone(), source })?;
    if found != tower.tokenizer.sha256 {
        let path = path.canonicalize().unwrap_or(path);
        let promised = tower.tokenizer.sha256.to_owned();
        return Err(Error::CachedDigest { path, promised, found });
    }
    Ok(path)
}

/// Where a tokenizer is on the Hub.
fn tokenizer_file(tower: &TextTower) -> HubFile<'static> {
    let own = tower.tokenizer;
    HubFile {
        kind: RepositoryKind::Model,
        repository: own.repository,
        revision: own.revision,
        file: "tokenizer.json",
        sha256: Some(own.sha256),
    }
}
