use std::{fmt, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};
use taper_augment::Policy;
use taper_callbacks::{Every, ModelCheckpointConfig, ReduceLrOnPlateauConfig};
use taper_core::{DeviceChoice, OutOfRange, file::write_atomically};
use taper_data::ValChoice;
use taper_graph::{Graph, heads};
use taper_lr_finder::{CheckedRangeTest, Method, RangeTestConfig};
use taper_optim::{LossConfig, OptimizerConfig, ScheduleConfig};
use taper_plan::Kernels;
use taper_sources::{FolderUse, Reading, SourceOptions};
use taper_train::{Sampling, Training};

use crate::{Error, FineTune, HeadChoice, MixChoice, PrecisionChoice, PromptChoice, Result};

/// How pictures of any aspect ratio are fitted to the network's square input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FitChoice {
    /// Scale the shorter side and cut out the centre, as the weights' own specification says.
    #[default]
    Crop,
    /// Scale both sides: nothing of the picture is lost, not even at its edges.
    Squash,
}

impl fmt::Display for FitChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            FitChoice::Crop => "crop",
            FitChoice::Squash => "squash",
        })
    }
}

impl FromStr for FitChoice {
    type Err = OutOfRange;
    fn from_str(text: &str) -> std::result::Result<Self, OutOfRange> {
        match text {
            "crop" => Ok(Self::Crop),
            "squash" => Ok(Self::Squash),
            other => Err(OutOfRange::new("fit", format!("'{other}'"), "use crop or squash")),
        }
    }
}

/// The base step size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WrittenRate", into = "WrittenRate")]
pub enum LearningRate {
    /// This one.
    Fixed(f64),
    /// The rate that the learning-rate finder suggests.
    Auto,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenRate {
    Number(f64),
    Word(String),
}

impl TryFrom<WrittenRate> for LearningRate {
    type Error = Error;
    fn try_from(written: WrittenRate) -> Result<Self> {
        match written {
            WrittenRate::Number(rate) => Ok(Self::Fixed(rate)),
            WrittenRate::Word(word) => word.parse(),
        }
    }
}

impl From<LearningRate> for WrittenRate {
    fn from(rate: LearningRate) -> Self {
        match rate {
            LearningRate::Fixed(rate) => Self::Number(rate),
            LearningRate::Auto => Self::Word("auto".into()),
        }
    }
}

impl FromStr for LearningRate {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(rate)) => Ok(Self::Fixed(rate)),
            _ => Err(Error::from(OutOfRange::new(
                "learning_rate",
                format!("'{text}'"),
                "use a positive number, e.g. 0.001, or auto",
            ))),
        }
    }
}

/// How to search for a learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LrFinderSettings {
    /// The first rate, above 0. Default 1e-6.
    pub start: f64,
    /// The last rate, above the first. Default 1.
    pub end: f64,
    /// How many steps the sweep has, at least 26. Default 100.
    pub steps: usize,
    /// How many passes over the training pictures the sweep has; overrides `steps`. Default: as
    /// `steps` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// How the rate is read off the curve. Default `valley`.
    pub method: Method,
    /// How many sweeps, each with other weights and in another order; their median is used; 1
    /// to 100. Default 1.
    pub sweeps: u64,
}

impl Default for LrFinderSettings {
    fn default() -> Self {
        let test = RangeTestConfig::default();
        Self {
            start: test.start,
            end: test.end,
            steps: test.steps,
            epochs: None,
            method: test.method,
            sweeps: 1,
        }
    }
}

impl LrFinderSettings {
    /// The range test with these settings.
    ///
    /// # Errors
    /// If a field is out of range.
    pub fn range_test(&self, steps_per_epoch: usize) -> Result<CheckedRangeTest> {
        if !(1..=100).contains(&self.sweeps) {
            return Err(Error::from(OutOfRange::new("sweeps", self.sweeps, "use 1 to 100")));
        }
        let steps = self.epochs.map_or(self.steps, |epochs| epochs.saturating_mul(steps_per_epoch));
        let few = |needed: usize| match self.epochs {
            None => OutOfRange::new(
                "steps",
                steps,
                format!("the search for a learning rate needs at least {needed}"),
            ),
            Some(passes) => OutOfRange::new(
                "passes",
                passes,
                format!(
                    "a pass over the training pictures has {steps_per_epoch} step(s), and the search for a learning rate needs at least {needed}: use {} or more (in a recipe: epochs in lr_finder), or a smaller `batch_size`",
                    needed.div_ceil(steps_per_epoch.max(1))
                ),
            ),
        };
        let config = RangeTestConfig {
            start: self.start,
            end: self.end,
            steps,
            method: self.method,
            seeds: (0..self.sweeps).collect(),
            ..RangeTestConfig::default()
        };
        config.check().map_err(|error| match error {
            taper_lr_finder::Error::TooFewPoints { needed, .. } => few(needed).into(),
            other => other.into(),
        })
    }
}

/// When checkpoints are written, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSettings {
    /// How often: `{ epochs = N }` or `{ steps = N }`, from 1. Default every 5 epochs.
    pub every: Every,
    /// How many of the last ones are kept, from 1. Default 1.
    pub keep: usize,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self { every: Every::Epochs(5), keep: 1 }
    }
}

impl CheckpointSettings {
    /// The callback with these settings.
    pub fn callback(self) -> ModelCheckpointConfig {
        ModelCheckpointConfig {
            every: self.every,
            keep_last: Some(self.keep),
            // The best weights are part of every checkpoint.
            keep_best: false,
            ..ModelCheckpointConfig::default()
        }
    }
}

/// What to train, on which data, and how. Written as TOML into every run folder;
/// `taper train RUN/recipe.toml` repeats the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// A folder, a manifest, an archive, Parquet, `hf:owner/name[@revision]`, or a name of
    /// `KNOWN_DATASETS`. Default `synthetic`.
    pub data: String,
    /// Where the data were when the recipe was written into a run folder: the absolute path of
    /// `data`, if that is a path. It is used where it still exists, else `data` is. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_path: Option<String>,
    /// The pretrained network. Default `efficientnet-lite0`.
    pub model: String,
    /// `pretrained`, `random` (for benchmarks) or a weight file. Default `pretrained`.
    pub weights: String,
    /// The absolute path of `weights`, if that is a file; as `data_path`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_path: Option<String>,
    /// The layer, or group of layers, whose output the head starts from, e.g. `layer3`; a feature
    /// map is averaged over all positions. Default: the network's own features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
    /// The head that is trained: `linear`, `logistic`, `cosine`, `zero-shot`, `tutorial` or
    /// `mlp:WIDTH,…`. `logistic` is solved, not trained in epochs: settings of epochs, batches,
    /// rates and averages are refused with it. `zero-shot` starts from the names of the classes,
    /// and with 0 `epochs` ends there. Default `tutorial`.
    pub head: HeadChoice,
    /// What is asked about each name for the head `zero-shot`: `default`, `imagenet`, `name`, or a
    /// list of sentences with `{}`. Default `default`.
    #[serde(skip_serializing_if = "is_default")]
    pub prompts: PromptChoice,
    /// The probability that a dropout layer of the head zeroes a value in training, in [0, 1);
    /// `linear` gets one before its layer. Default: the head's own, 0.5, and none in `linear`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f32>,
    /// Side of the square input in pixels. Default: the network's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// How pictures become square. Default `crop`, as the network was trained; use `squash` if what
    /// matters is at the edges.
    pub fit: FitChoice,
    /// What to validate on: `auto`, `val`, `test` or a fraction. Default `auto`.
    pub val: ValChoice,
    /// Which pictures belong together, such as the frames of one clip, and must not be drawn into
    /// different splits: a regular expression over their ids, whose first pair of parentheses names
    /// the group. Default: the groups that a column of the table says, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    /// How many folds `train` and `val` are divided into, 2 to 1000. Default: none; `val` says what
    /// to validate on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
    /// The fold to validate on, from 0 to one less than `folds`. Default: each in turn, with one
    /// training run each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<usize>,
    /// How many trainings, 2 to 1000, with seeds that count up from `seed`, and so with other
    /// random choices: what is validated on, views, first weights, order. Default: one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeds: Option<usize>,
    /// Views of each training picture, 1 to 1000; view 0 is the unchanged picture. Default 1; 2 in
    /// a recipe file that names a policy in `augment` and leaves this out.
    pub views: u32,
    /// How the other views are changed: `none`, `flip`, `light`, `standard`, `trivial-augment` or
    /// `rand-augment:N,M`. Default `light`.
    pub augment: Policy,
    /// How the other views are mixed with those of other training pictures: `none`, `mixup`,
    /// `mixup:ALPHA`, `cutmix` or `cutmix:ALPHA`. Default `none`.
    pub mix: MixChoice,
    /// Whether every epoch has new views, none of them the unchanged picture; the backbone then
    /// runs in every epoch. Default false: the same views in every epoch.
    pub fresh_views: bool,
    /// How often the training pictures of each class are drawn: `shuffled`, `balanced`, `weighted`
    /// or `weighted:W,W,…`. Default `shuffled`: each once.
    pub sampling: Sampling,
    /// Passes over the training pictures, from 1; 0 leaves the head untrained before `fine_tune`.
    /// Default 30.
    pub epochs: u32,
    /// Pictures per step, from 1. Default 64.
    pub batch_size: usize,
    /// Batches whose gradients are accumulated for one step, from 1. Default 1.
    pub accumulate: usize,
    /// The base learning rate: a number above 0, or `auto` to find one before training. Default
    /// 1e-3.
    pub learning_rate: LearningRate,
    /// Ends training after this many epochs without a better validation loss, from 1. Default:
    /// never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    /// By how much the validation loss must fall to count as better for `patience`, from 0. Default
    /// 0.
    pub min_delta: f64,
    /// Clips the gradients to this norm, taken over all of them together; above 0. Default: no
    /// limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Decay of a moving average of the weights, which is then evaluated and kept instead of them,
    /// in [0, 1). Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Whether to write events for TensorBoard. Default false.
    pub tensorboard: bool,
    /// The seed of all random choices. Default 0.
    pub seed: u64,
    /// Whether a picture that cannot be used ends the run, instead of being left out. Default
    /// false.
    pub strict: bool,
    /// The precision of the frozen backbone: `f32`, `bf16`, on CUDA `f16` and `tf32`, or `auto`,
    /// which measures f32 and bf16 on this machine and records the faster one. Default `f32`.
    /// Layers that are trained have it too, on CUDA; on the CPU they are trained in f32.
    pub precision: PrecisionChoice,
    /// Which instructions the frozen backbone uses on the CPU: `auto`, `avx512`, `avx2` or
    /// `portable`. Default `auto`.
    pub kernels: Kernels,
    /// Where to compute. Default `cpu`.
    pub device: DeviceChoice,
    /// The optimizer. Default Adam.
    pub optimizer: OptimizerConfig,
    /// The learning-rate schedule. Default constant.
    pub schedule: ScheduleConfig,
    /// The loss: class weights, label smoothing, focal weighting. Default: plain softmax
    /// cross-entropy.
    pub loss: LossConfig,
    /// How `learning_rate = "auto"` finds its rate.
    pub lr_finder: LrFinderSettings,
    /// When checkpoints are written, and how many are kept.
    pub checkpoints: CheckpointSettings,
    /// Lowers the learning rate where the validation loss no longer falls. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reduce_lr: Option<ReduceLrOnPlateauConfig>,
    /// What is trained after the head: the table `[fine_tune]`. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fine_tune: Option<FineTune>,
    /// How the data are to be read where they leave a choice: the table `[source]`. Default: as
    /// the data say.
    #[serde(skip_serializing_if = "SourceOptions::is_default")]
    pub source: SourceOptions,
}

fn is_default(prompts: &PromptChoice) -> bool {
    *prompts == PromptChoice::Default
}

impl Default for Recipe {
    fn default() -> Self {
        let training = Training::default();
        Self {
            data: "synthetic".into(),
            data_path: None,
            model: taper_zoo::DEFAULT_MODEL.into(),
            weights: "pretrained".into(),
            weights_path: None,
            cut: None,
            head: HeadChoice::default(),
            prompts: PromptChoice::Default,
            dropout: None,
            size: None,
            fit: FitChoice::default(),
            val: ValChoice::default(),
            group_by: None,
            folds: None,
            fold: None,
            seeds: None,
            views: 1,
            augment: Policy::Light,
            mix: MixChoice::None,
            fresh_views: false,
            sampling: training.sampling,
            epochs: training.epochs,
            batch_size: training.batch_size,
            accumulate: training.accumulate,
            learning_rate: LearningRate::Fixed(training.learning_rate),
            patience: None,
            min_delta: 0.0,
            clip_norm: training.clip_norm,
            ema: training.ema,
            tensorboard: false,
            seed: training.seed,
            strict: false,
            precision: PrecisionChoice::default(),
            kernels: Kernels::default(),
            device: DeviceChoice::default(),
            optimizer: training.optimizer,
            schedule: training.schedule,
            loss: training.loss,
            lr_finder: LrFinderSettings::default(),
            checkpoints: CheckpointSettings::default(),
            reduce_lr: None,
            fine_tune: None,
            source: SourceOptions::default(),
        }
    }
}

impl Recipe {
    /// The data's options, for a purpose.
    pub fn reading(&self, purpose: FolderUse) -> Reading {
        Reading::new(purpose, self.source.clone()).grouped(self.group_by.is_some())
    }

    /// Reads a recipe file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::RecipeFile`] names the line and the field that
    /// is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let fail = |problem: String| Error::RecipeFile { path: path.into(), problem };
        if !path.is_file() {
            let problem = "there is no such file: check the spelling".into();
            return Err(fail(problem));
        }
        let bytes = std::fs::read(path).map_err(Error::io("read the recipe", path))?;
        let text = String::from_utf8(bytes).map_err(|_| {
            fail("this is not a recipe: it is not text; give a file in TOML".into())
        })?;
        Self::parse(&text, path)
    }

    /// Reads the text of a recipe file, or of the recipe in a model.
    ///
    /// # Errors
    /// [`Error::RecipeFile`], with this path, names the line and the field that is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let fail = |problem: String| Error::RecipeFile { path: path.into(), problem };
        let recipe: Self = toml::from_str(text).map_err(|e| fail(e.to_string()))?;
        let written: toml::Table = toml::from_str(text).map_err(|e| fail(e.to_string()))?;
        let wanted = written.contains_key("augment") && recipe.augment != Policy::None;
        if wanted && !written.contains_key("views") && !recipe.fresh_views {
            return Ok(Self { views: 2, ..recipe });
        }
        Ok(recipe)
    }

    /// Writes it as TOML, completely or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, self.to_toml()?.as_bytes())
            .map_err(Error::io("write the recipe", path))
    }

    /// The recipe as text, as it is written into run folders and artefacts.
    ///
    /// # Errors
    /// [`Error::RecipeFile`] if a number is too large for TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|e| Error::RecipeFile { path: "recipe".into(), problem: e.to_string() })
    }

    /// How the head is trained. If the learning rate is still to be found, this holds the default.
    pub fn training(&self) -> Training {
        let default = Training::default();
        Training {
            // An untrained head still has its settings.
            epochs: match self.trains_network() || self.head == HeadChoice::ZeroShot {
                true => self.epochs.max(1),
                false => self.epochs,
            },
            batch_size: self.batch_size,
            accumulate: self.accumulate,
            learning_rate: match self.learning_rate {
                LearningRate::Fixed(rate) => rate,
                LearningRate::Auto => default.learning_rate,
            },
            schedule: self.schedule,
            optimizer: self.optimizer.clone(),
            sampling: self.sampling.clone(),
            loss: self.loss.clone(),
            clip_norm: self.clip_norm,
            ema: self.ema,
            seed: self.seed,
        }
    }

    /// Whether it stands for several trainings: with each of its folds, or with several seeds.
    pub fn is_repeated(&self) -> bool {
        self.seeds.is_some() || (self.folds.is_some() && self.fold.is_none())
    }

    /// Whether the head is solved, not trained in steps.
    pub fn solves_head(&self) -> bool {
        self.head == HeadChoice::Logistic && self.epochs > 0
    }

    /// Whether layers of the network are trained too.
    pub fn trains_network(&self) -> bool {
        self.fine_tune.as_ref().is_some_and(|fine_tune| fine_tune.unfreeze().is_some())
    }

    /// The head for this many features and classes.
    pub fn head_graph(&self, width: usize, classes: usize) -> Graph {
        let head = self.head.graph(width, classes);
        self.dropout.map_or(head.clone(), |p| heads::with_dropout(&head, p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_survives_toml() {
        let recipe = Recipe { size: Some(128), patience: Some(2), ..Recipe::default() };
        recipe.clone().check().unwrap();
        let text = recipe.to_toml().unwrap();
        assert_eq!(toml::from_str::<Recipe>(&text).unwrap(), recipe);
        assert_eq!(toml::from_str::<Recipe>("").unwrap(), Recipe::default());
    }

    #[test]
    fn a_typo_in_a_recipe_names_the_line_and_the_fields() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        std::fs::write(&path, "epochs = 3\nbatchsize = 64\n").unwrap();
        let error = Recipe::read(&path).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("batch_size"), "{error}");
    }
}
