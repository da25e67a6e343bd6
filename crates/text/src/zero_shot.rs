use taper_fetch::HubOptions;
use taper_graph::{Graph, Weights, heads};
use taper_kernels::Kernels;
use taper_zoo::{ModelSpec, WeightsChoice, resolve_text, tokenizer};

use crate::{Prompts, Result, TextEncoder, Tokenizer, class_directions};

/// A head that was not trained: the cosine between a picture's features and what the network's
/// encoder of texts says to the names of the classes, times the factor that both were trained with.
#[derive(Debug, Clone)]
pub struct ZeroShotHead {
    /// [`heads::cosine`].
    pub graph: Graph,
    /// Its tensors: the directions of the classes, and the factor.
    pub weights: Weights,
}

impl ZeroShotHead {
    /// For a network that was trained with texts. `weights` must be a file with both halves.
    ///
    /// # Errors
    /// [`taper_zoo::Error::NoText`] for another network; what is wrong with weights, tokenizer,
    /// prompts or names; kernels that this processor does not have.
    pub fn new(
        model: &'static ModelSpec,
        weights: &WeightsChoice,
        names: &[String],
        prompts: &Prompts,
        kernels: Kernels,
    ) -> Result<Self> {
        let options = HubOptions::from_env();
        let tower = model.text()?;
        // The smaller file first: without it, the larger one is of no use.
        let tokenizer = Tokenizer::open(tokenizer(model, weights, &options)?, tower)?;
        let read = resolve_text(model, weights, &options)?;
        let encoder = TextEncoder::new(tower, read.source.as_ref(), kernels.resolve()?)?;
        let directions = class_directions(&encoder, &tokenizer, names, prompts)?;
        let graph = heads::cosine(tower.features, names.len());
        let mut weights = Weights::new();
        let shape = vec![names.len(), tower.features];
        weights.insert("cosine.weight", shape, directions);
        weights.insert("cosine.gamma", vec![1], vec![read.scale / heads::COSINE_SCALE]);
        Ok(Self { graph, weights })
    }
}
