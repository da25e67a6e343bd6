use serde::{Deserialize, Serialize};
use taper_report::Kept;
use taper_train::Tried;

use crate::Outcome;

/// What fine-tuning came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FineTuned {
    /// The first layer that was trained.
    pub from: String,
    /// Parameters of the network that were trained, without its head.
    pub trained_parameters: u64,
    /// What was kept in memory for each picture: `maps`, `pixels`, or `nothing`.
    pub kept: String,
    /// Epochs that were finished.
    pub epochs: u64,
    /// The epoch (from 0) whose weights were kept; `null` if none was finished.
    pub best_epoch: Option<u64>,
    /// How the phase ended.
    pub stopped: Outcome,
    /// The optimizer's learning rate at the end.
    pub learning_rate: f64,
    /// Seconds for the phase.
    pub seconds: f64,
    /// Where the kept weights lie between those before the phase (0) and after it (1).
    pub alpha: f64,
    /// Figures on the validation pictures at each point in between that was tried.
    pub tried: Vec<Tried>,
    /// The epochs (from 0) whose weights were averaged; empty without a soup.
    pub soup: Vec<u64>,
    /// Accuracy on the validation pictures before the phase.
    pub probe_val_accuracy: f64,
    /// Loss on the validation pictures before the phase.
    pub probe_val_loss: f64,
    /// Accuracy on the test pictures before the phase. `null` if there are none.
    pub probe_test_accuracy: Option<f64>,
}

impl FineTuned {
    /// What was kept, as the curves show it after this many epochs of the head; none if that is
    /// the head's training.
    pub fn kept_after(&self, head: u64) -> Option<Kept> {
        let epochs: Vec<u64> = match &self.soup[..] {
            [] => self.best_epoch.into_iter().collect(),
            soup => soup.to_vec(),
        };
        match epochs[..] {
            _ if self.alpha == 0.0 => None,
            [] => None,
            [one] if self.alpha == 1.0 => Some(Kept::Epoch(one + head)),
            _ => Some(Kept::Between {
                epochs: epochs.into_iter().map(|epoch| epoch + head).collect(),
                share: self.alpha,
            }),
        }
    }
}
