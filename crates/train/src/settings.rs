use serde::{Deserialize, Serialize};
use taper_core::OutOfRange;
use taper_optim::{LossConfig, OptimizerConfig, ScheduleConfig};

use crate::{Result, Sampling};

/// How any learner is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// The largest number of passes over the training rows, from 1. Default 30.
    pub epochs: u32,
    /// Rows per batch, from 1. Default 64.
    pub batch_size: usize,
    /// Batches whose gradients are accumulated for one step of the optimizer, from 1. Default 1.
    pub accumulate: usize,
    /// The base learning rate, above 0. Default 1e-3.
    pub learning_rate: f64,
    /// The learning-rate schedule. Default constant.
    pub schedule: ScheduleConfig,
    /// The optimizer. Default Adam.
    pub optimizer: OptimizerConfig,
    /// How often the rows of each class are drawn. Default: every row once.
    pub sampling: Sampling,
    /// The loss. Default softmax cross-entropy.
    pub loss: LossConfig,
    /// Clips the gradients to this norm, taken over all of them together; above 0. Default: no
    /// limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Decay of the moving average of the weights, which is evaluated and kept instead of the
    /// weights themselves, in [0, 1). Default: no average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// The seed of all random choices. Default 0.
    pub seed: u64,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            epochs: 30,
            batch_size: 64,
            accumulate: 1,
            learning_rate: 1e-3,
            schedule: ScheduleConfig::default(),
            optimizer: OptimizerConfig::default(),
            sampling: Sampling::default(),
            loss: LossConfig::default(),
            clip_norm: None,
            ema: None,
            seed: 0,
        }
    }
}

impl Training {
    /// Checks every field that can be checked without the rows.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) names the first field that is out of range.
    pub fn check(self) -> Result<CheckedTraining> {
        let fail = |field: &'static str, value: String, remedy: &'static str| {
            Err(OutOfRange::new(field, value, remedy).into())
        };
        if !(1..=100_000).contains(&self.epochs) {
            return fail("epochs", self.epochs.to_string(), "use 1 to 100000");
        }
        if !(1..=1_000_000).contains(&self.batch_size) {
            return fail("batch_size", self.batch_size.to_string(), "use 1 or more, e.g. 64");
        }
        if !(1..=10_000).contains(&self.accumulate) {
            return fail("accumulate", self.accumulate.to_string(), "use 1 to 10000 batches");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            let value = self.learning_rate.to_string();
            return fail("learning_rate", value, "use a positive number, e.g. 0.001, or auto");
        }
        if let Some(norm) = self.clip_norm.filter(|norm| !(*norm > 0.0 && norm.is_finite())) {
            return fail("clip_norm", norm.to_string(), "use a positive number, e.g. 1");
        }
        if let Some(ema) = self.ema.filter(|ema| !(0.0..1.0).contains(ema)) {
            return fail("ema", ema.to_string(), "use a decay in [0, 1), e.g. 0.99");
        }
        self.optimizer.clone().check()?;
        self.sampling.clone().check()?;
        self.loss.check_shares()?;
        // Checked for one step per epoch, which finds everything except spans that are too long for
        // the actual data.
        if self.schedule.warmup.is_none() {
            self.schedule.check(u64::from(self.epochs), 1)?;
        }
        Ok(CheckedTraining(self))
    }
}

/// A [`Training`] with all fields in range.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedTraining(pub(crate) Training);

impl CheckedTraining {
    /// The settings.
    pub fn settings(&self) -> &Training {
        &self.0
    }

    /// The same with another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}
