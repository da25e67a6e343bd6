//! What is trained.

use std::path::PathBuf;

use taper_automl::{ModelChoice, MonitorChoice, Preset, PruningChoice, SamplerChoice};
use taper_lr_finder::Method;
use taper_run::{LearningRate, LrFinderSettings, Recipe};

use crate::{CacheArgs, RecipeArgs, ReplyArgs, time::time};

/// The arguments of `taper train`.
#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    /// The recipe.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// How much is tried for a good classifier, within --time-limit: fast (the default training),
    /// balanced (also views and heads), or best (also other networks and fine-tuning).
    #[arg(long, value_name = "PRESET", help_heading = "Search")]
    pub preset: Option<Preset>,
    /// The time for all of it, e.g. 90s or 10m; the fast result is made in any case [default: 3m
    /// for balanced, 10m for best].
    #[arg(long, value_name = "TIME", help_heading = "Search", value_parser = time)]
    pub time_limit: Option<humantime::Duration>,
    /// The networks to try, with weights from a file after an =, e.g.
    /// efficientnet-lite0,resnet50=FILE [default: with best, those whose weights are on this
    /// machine].
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Search")]
    pub models: Vec<ModelChoice>,
    /// The run folder; must not exist [default: runs/DATA-MODEL-N].
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Continue the run in this folder; the result is the same, byte for byte, as without the
    /// interruption. With --data, the data have moved; with --epochs, a run gets more of them.
    #[arg(long, value_name = "RUN", conflicts_with = "out")]
    pub resume: Option<PathBuf>,
    /// Where features are kept.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// How it reports.
    #[command(flatten)]
    pub reply: ReplyArgs,
}

/// The arguments of `taper tune`.
#[derive(Debug, clap::Args)]
pub struct TuneArgs {
    /// The recipe.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// What to tune: a TOML file with a table `space` that has, for each field of the recipe, the
    /// values to try [default: rates, regularisation, head and views].
    #[arg(long, value_name = "FILE", help_heading = "Study")]
    pub space: Option<PathBuf>,
    /// Trials of the whole study [default: 30].
    #[arg(long, value_name = "N", help_heading = "Study")]
    pub trials: Option<usize>,
    /// How parameters are chosen: tpe, random or grid [default: tpe].
    #[arg(long, value_name = "NAME", help_heading = "Study")]
    pub sampler: Option<SamplerChoice>,
    /// Which trials end early: asha, median or none [default: asha with --unfreeze, else none].
    #[arg(long, value_name = "NAME", help_heading = "Study")]
    pub pruning: Option<PruningChoice>,
    /// What is to be as good as possible on the validation pictures: val_loss or val_accuracy
    /// [default: val_loss].
    #[arg(long, value_name = "FIGURE", help_heading = "Study")]
    pub monitor: Option<MonitorChoice>,
    /// End after this time, e.g. 90s, 10m or 2h [default: none].
    #[arg(long, value_name = "TIME", help_heading = "Study", value_parser = time)]
    pub time_limit: Option<humantime::Duration>,
    /// How many processes train trials at the same time, 1 to 64; they share the processor's
    /// threads [default: 1].
    #[arg(long, value_name = "N", help_heading = "Study", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub jobs: Option<u32>,
    /// End when standard input does: for the processes of --jobs, which end with the first one.
    #[arg(long, hide = true, requires = "resume")]
    pub with_parent: bool,
    /// The folder of the study; must not exist [default: runs/DATA-MODEL-tune-N].
    #[arg(long, value_name = "FOLDER", help_heading = "Study")]
    pub out: Option<PathBuf>,
    /// Go on with the study in this folder: after an interruption, with more --trials, or beside
    /// another process.
    #[arg(long, value_name = "FOLDER", conflicts_with = "out", help_heading = "Study")]
    pub resume: Option<PathBuf>,
    /// Where features are kept.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// How it reports.
    #[command(flatten)]
    pub reply: ReplyArgs,
}

/// The arguments of `taper lr-find`.
#[derive(Debug, clap::Args)]
pub struct LrFindArgs {
    /// The recipe.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// The first rate [default: 1e-6].
    #[arg(long, value_name = "RATE")]
    start: Option<f64>,
    /// The last rate [default: 1].
    #[arg(long, value_name = "RATE")]
    end: Option<f64>,
    /// Steps of the sweep, at least 26 [default: 100].
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Passes over the training pictures, instead of --steps.
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    passes: Option<usize>,
    /// How the rate is read off the curve: valley, sma, minimum, steep or slide [default: valley].
    #[arg(long, value_name = "METHOD")]
    method: Option<Method>,
    /// Number of sweeps, each with other weights and in another order; the median is used [default:
    /// 1].
    #[arg(long, value_name = "N")]
    sweeps: Option<u64>,
    /// The folder for lr_find.json, .png and .svg; must not exist [default: runs/DATA-MODEL-lr-N].
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Where features are kept.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// How it reports.
    #[command(flatten)]
    pub reply: ReplyArgs,
}

impl LrFindArgs {
    /// The recipe, with the arguments over it.
    pub fn resolve(&self, recipe: Recipe) -> Recipe {
        let recipe = self.recipe.resolve(recipe);
        let own = recipe.lr_finder;
        let lr_finder = LrFinderSettings {
            start: self.start.unwrap_or(own.start),
            end: self.end.unwrap_or(own.end),
            steps: self.steps.unwrap_or(own.steps),
            epochs: self.passes.or(own.epochs.filter(|_| self.steps.is_none())),
            method: self.method.unwrap_or(own.method),
            sweeps: self.sweeps.unwrap_or(own.sweeps),
        };
        Recipe { lr_finder, learning_rate: LearningRate::Auto, ..recipe }
    }
}
