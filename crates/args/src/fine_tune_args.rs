use taper_run::{BatchNormChoice, FineTune, LearningRate, MapPrecision, UnfreezeChoice};

/// The settings of the second phase, as arguments.
#[derive(Debug, clap::Args)]
pub struct FineTuneArgs {
    /// Then also train the network: from this layer or group of layers on, as `taper summary` lists
    /// them; its last:N layers; all of it; or none [default: none].
    #[arg(long, value_name = "LAYER|last:N|all", help_heading = "Fine-tuning")]
    unfreeze: Option<UnfreezeChoice>,
    /// Passes over the training pictures in fine-tuning [default: 20].
    #[arg(long, value_name = "N", help_heading = "Fine-tuning")]
    fine_tune_epochs: Option<u32>,
    /// The head's learning rate in fine-tuning, or auto to find one [default: 0.0003].
    #[arg(long, value_name = "RATE|auto", help_heading = "Fine-tuning")]
    fine_tune_rate: Option<LearningRate>,
    /// Pictures per step of fine-tuning [default: 32].
    #[arg(long, value_name = "N", help_heading = "Fine-tuning")]
    fine_tune_batch: Option<usize>,
    /// End fine-tuning after this many epochs without a better validation loss [default: 5].
    #[arg(long, value_name = "EPOCHS", help_heading = "Fine-tuning")]
    fine_tune_patience: Option<u32>,
    /// The learning rate of each block as a share of the next one's, from the head down; 1 gives
    /// all of them the same [default: 0.8].
    #[arg(long, value_name = "SHARE", help_heading = "Fine-tuning")]
    layer_decay: Option<f64>,
    /// What BatchNorm does in the layers that are trained: frozen keeps its statistics, train uses
    /// each batch's own [default: frozen].
    #[arg(long, value_name = "MODE", help_heading = "Fine-tuning")]
    batch_norm: Option<BatchNormChoice>,
    /// The precision in which maps below the trained layers are kept: f32 or f16 [default: f32].
    #[arg(long, value_name = "PRECISION", help_heading = "Fine-tuning")]
    cache_precision: Option<MapPrecision>,
}

/// The names of the arguments that only fine-tuning uses.
pub(crate) const OF_FINE_TUNING: [&str; 7] = [
    "fine_tune_epochs",
    "fine_tune_rate",
    "fine_tune_batch",
    "fine_tune_patience",
    "layer_decay",
    "batch_norm",
    "cache_precision",
];

impl FineTuneArgs {
    /// Whether an argument says what BatchNorm does.
    pub fn says_batch_norm(&self) -> bool {
        self.batch_norm.is_some()
    }

    /// What the arguments are laid over: the recipe's table, or that of `lp-ft`.
    fn base(&self, recipe: Option<FineTune>) -> Option<FineTune> {
        match (&self.unfreeze, recipe) {
            (Some(UnfreezeChoice::None), _) | (None, None) => None,
            (Some(from), recipe) => {
                // Those of a named recipe, which a test reads.
                let own = recipe.or_else(|| FineTune::lp_ft().ok()).unwrap_or_default();
                Some(FineTune { from: from.clone(), ..own })
            }
            (None, recipe) => recipe,
        }
    }

    /// The recipe's patience and soup. What it says for more epochs cannot be meant for so few.
    fn kept(&self, own: &FineTune) -> (Option<u32>, Option<usize>) {
        let Some(epochs) = self.fine_tune_epochs else { return (own.patience, own.soup) };
        let patience = own.patience.filter(|patience| *patience < epochs);
        let soup = own.soup.map(|soup| soup.min(epochs as usize)).filter(|soup| *soup > 1);
        (patience, soup)
    }

    /// What to say about what [`Self::kept`] leaves out.
    pub fn lowered(&self, recipe: Option<&FineTune>) -> Option<String> {
        let own = self.base(recipe.cloned())?;
        let epochs = self.fine_tune_epochs?;
        let (patience, soup) = self.kept(&own);
        let mut said = Vec::new();
        if patience != own.patience && self.fine_tune_patience.is_none() {
            said.push("it never stops early".to_owned());
        }
        match (own.soup, soup) {
            (Some(own), Some(soup)) if soup < own => {
                said.push(format!("{soup} sets of weights are averaged instead of {own}"));
            }
            (Some(_), None) => said.push("no weights are averaged".to_owned()),
            _ => {}
        }
        let plural = if epochs == 1 { "" } else { "s" };
        (!said.is_empty())
            .then(|| format!("with {epochs} epoch{plural} of fine-tuning, {}", said.join(", and ")))
    }

    /// The recipe's table, with the arguments over it.
    pub fn resolve(&self, recipe: Option<FineTune>) -> Option<FineTune> {
        let own = self.base(recipe)?;
        let (patience, soup) = self.kept(&own);
        Some(FineTune {
            epochs: self.fine_tune_epochs.unwrap_or(own.epochs),
            steps: own.steps.filter(|_| self.fine_tune_epochs.is_none()),
            learning_rate: self.fine_tune_rate.unwrap_or(own.learning_rate),
            batch_size: self.fine_tune_batch.unwrap_or(own.batch_size),
            patience: self.fine_tune_patience.or(patience),
            soup,
            layer_decay: self.layer_decay.unwrap_or(own.layer_decay),
            lowest_rate: own.lowest_rate.filter(|_| self.layer_decay.is_none()),
            batch_norm: self.batch_norm.unwrap_or(own.batch_norm),
            cache_precision: self.cache_precision.unwrap_or(own.cache_precision),
            ..own
        })
    }
}
