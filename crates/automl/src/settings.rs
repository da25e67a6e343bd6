use serde::{Deserialize, Serialize};
use taper_core::{Direction, OutOfRange};
use taper_tune::{AshaConfig, GridConfig, MedianConfig, Pruning, Random, Sampler, Tpe, TpeConfig};

use crate::{Result, words::words};

words! {
    /// How the parameters of a trial are chosen.
    SamplerChoice, "sampler",
    /// Tree-structured Parzen estimators, after ten trials at random.
    #[default]
    Tpe = "tpe",
    /// At random.
    Random = "random",
    /// All points of a grid: five values of each number, all choices.
    Grid = "grid"
}

words! {
    /// Which trials end before their last epoch.
    PruningChoice, "pruning",
    /// Those that are worse than the best third at epochs 1, 3, 9, … pause, and go on from their
    /// checkpoint if later trials make them one of the best third.
    #[default]
    Asha = "asha",
    /// Those whose best value is worse than the median of complete trials at the same epoch.
    Median = "median",
    /// None.
    None = "none"
}

words! {
    /// Which figure on the validation pictures is to be as good as possible.
    MonitorChoice, "monitor",
    /// The loss, as small as possible.
    #[default]
    ValLoss = "val_loss",
    /// The accuracy, as large as possible.
    ValAccuracy = "val_accuracy"
}

impl MonitorChoice {
    pub(crate) fn direction(self) -> Direction {
        match self {
            Self::ValLoss => Direction::Min,
            Self::ValAccuracy => Direction::Max,
        }
    }
}

/// Settings of a study over recipes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StudySettings {
    /// Trials of the whole study, over all of its processes, from 1. Default 30.
    pub trials: usize,
    /// How parameters are chosen. Default `tpe`.
    pub sampler: SamplerChoice,
    /// Which trials end early. Default `asha`.
    pub pruning: PruningChoice,
    /// What is to be as good as possible. Default `val_loss`.
    pub monitor: MonitorChoice,
    /// Seed of the sampler; that of the trainings is the recipe's. Default 0.
    pub seed: u64,
}

impl Default for StudySettings {
    fn default() -> Self {
        Self {
            trials: 30,
            sampler: SamplerChoice::default(),
            pruning: PruningChoice::default(),
            monitor: MonitorChoice::default(),
            seed: 0,
        }
    }
}

impl StudySettings {
    /// Checks every field.
    pub(crate) fn check(&self) -> Result<()> {
        match self.trials {
            1..=100_000 => Ok(()),
            trials => Err(OutOfRange::new("trials", trials, "use 1 to 100000").into()),
        }
    }

    pub(crate) fn sampler(&self) -> Result<Box<dyn Sampler>> {
        Ok(match self.sampler {
            SamplerChoice::Tpe => {
                let own = TpeConfig { seed: self.seed, ..TpeConfig::default() };
                Box::new(Tpe::new(own.check()?))
            }
            SamplerChoice::Random => Box::new(Random::new(self.seed)),
            SamplerChoice::Grid => Box::new(GridConfig::default().check()?),
        })
    }

    /// Pruning of trials that have this many epochs.
    pub(crate) fn pruning(&self, epochs: u64) -> Result<Pruning> {
        Ok(match self.pruning {
            PruningChoice::None => Pruning::None,
            PruningChoice::Median => Pruning::Median(MedianConfig::default().check()?),
            PruningChoice::Asha => {
                let own = AshaConfig { max_resource: epochs.max(1), ..AshaConfig::default() };
                Pruning::Asha(own.check()?)
            }
        })
    }
}
