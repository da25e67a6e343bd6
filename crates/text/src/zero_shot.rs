use taper_fetch::HubOptions;
use taper_graph::{Graph, Weights, heads};
use taper_kernels::Kernels;
use taper_zoo::{ModelSpec, WeightsChoice, resolve_text, tokenizer};

use crate::{Error, Prompts, Questions, Result, TextEncoder, Tokenizer, Watch};

/// A head that was not trained: the cosine between a picture's features and what the network's
/// encoder of texts says to the names of the classes, times the factor that both were trained with.
#[derive(Debug, Clone)]
pub struct ZeroShotHead {
    /// [`heads::cosine`].
    pub graph: Graph,
    /// Its tensors: the directions of the classes, and the factor.
    pub weights: Weights,
    /// The names with a sentence that is longer than the encoder reads: its end was cut off.
    pub cut: Vec<String>,
}

impl ZeroShotHead {
    /// For a network that was trained with texts. `weights` must be a file with both halves. What
    /// is wrong with names is found before weights are fetched.
    ///
    /// # Errors
    /// [`taper_zoo::Error::NoText`] for another network; what is wrong with weights, tokenizer,
    /// prompts or names; kernels that this processor does not have; [`Error::Interrupted`].
    pub fn new(
        model: &'static ModelSpec,
        weights: &WeightsChoice,
        names: &[String],
        prompts: &Prompts,
        kernels: Kernels,
        watch: &Watch<'_>,
    ) -> Result<Self> {
        let options = HubOptions::from_env();
        let tower = model.text()?;
        // What is here first; of what has to be fetched, the smaller file.
        let here = matches!(weights, WeightsChoice::File(_));
        let here = here.then(|| resolve_text(model, weights, &options)).transpose()?;
        let tokenizer = Tokenizer::open(tokenizer(model, weights, &options)?, tower)?;
        let questions = Questions::new(&tokenizer, names, prompts)?;
        let read = here.map_or_else(|| resolve_text(model, weights, &options), Ok)?;
        let encoder = TextEncoder::new(tower, read.source.as_ref(), kernels.resolve()?)?;
        let directions = questions.directions(&encoder, watch)?;
        let rows = directions.chunks_exact(tower.features).zip(names);
        let damaged = |row: &[f32]| !read.scale.is_finite() || row.iter().any(|v| !v.is_finite());
        if let Some((_, name)) = rows.into_iter().find(|(row, _)| damaged(row)) {
            return Err(Error::NotFinite { origin: read.origin, name: name.clone() });
        }
        let graph = heads::cosine(tower.features, names.len());
        let mut weights = Weights::new();
        let shape = vec![names.len(), tower.features];
        weights.insert("cosine.weight", shape, directions);
        weights.insert("cosine.gamma", vec![1], vec![read.scale / heads::COSINE_SCALE]);
        Ok(Self { graph, weights, cut: questions.cut().to_vec() })
    }
}
