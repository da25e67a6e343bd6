use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use taper_augment::Policy;
use taper_callbacks::{Every, ModelCheckpointConfig, ReduceLrOnPlateauConfig};
use taper_candle::DeviceChoice;
use taper_core::{Fit, Preprocessing};
use taper_data::ValChoice;
use taper_grad::{LossConfig, OptimizerConfig};
use taper_graph::{Graph, heads};
use taper_lr_finder::{CheckedRangeTest, Method, RangeTestConfig};
use taper_optim::ScheduleConfig;
use taper_plan::{Kernels, Precision};
use taper_zoo::{ModelSpec, WeightsChoice};

use crate::{
    Error, HeadChoice, HeadTraining, MixChoice, Result, SamplingChoice, file::write_atomically,
};

/// How pictures of any aspect ratio come to the network's square input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FitChoice {
    /// Scale the shorter side and cut out the centre, as the weights' own specification says.
    #[default]
    Crop,
    /// Scale both sides: nothing of the picture is lost, whatever lies at its edge.
    Squash,
}

/// The base step size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WrittenRate", into = "WrittenRate")]
pub enum LearningRate {
    /// This one.
    Fixed(f64),
    /// What the learning-rate finder says.
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

impl std::str::FromStr for LearningRate {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(rate)) => Ok(Self::Fixed(rate)),
            _ => Err(Error::Setting {
                field: "learning_rate",
                value: format!("'{text}'"),
                remedy: "use a positive number, e.g. 0.001, or auto".into(),
            }),
        }
    }
}

/// How a learning rate is looked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LrFinderSettings {
    /// The first rate, above 0. Default 1e-6.
    pub start: f64,
    /// The last rate, above the first. Default 1.
    pub end: f64,
    /// How many steps the sweep has, at least 26. Default 100.
    pub steps: usize,
    /// How many passes over the training pictures the sweep has; overrides `steps`. Default: as `steps` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// How the rate is read off the curve. Default `valley`.
    pub method: Method,
    /// How many sweeps, each from other weights and in another order, the median of which counts; 1 to 100. Default 1.
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
    /// The range test that this comes to.
    ///
    /// # Errors
    /// If a field is out of its range.
    pub fn range_test(&self, steps_per_epoch: usize) -> Result<CheckedRangeTest> {
        if !(1..=100).contains(&self.sweeps) {
            return Err(Error::Setting {
                field: "sweeps",
                value: self.sweeps.to_string(),
                remedy: "use 1 to 100".into(),
            });
        }
        let steps = self.epochs.map_or(self.steps, |epochs| epochs.saturating_mul(steps_per_epoch));
        let config = RangeTestConfig {
            start: self.start,
            end: self.end,
            steps,
            method: self.method,
            seeds: (0..self.sweeps).collect(),
            ..RangeTestConfig::default()
        };
        Ok(config.check()?)
    }
}

/// When checkpoints are written, and how many stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSettings {
    /// How often: `{ epochs = N }` or `{ steps = N }`, from 1. Default every 5 epochs.
    pub every: Every,
    /// How many of the last ones stay, from 1. Default 1.
    pub keep: usize,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self { every: Every::Epochs(5), keep: 1 }
    }
}

impl CheckpointSettings {
    pub(crate) fn callback(self) -> ModelCheckpointConfig {
        ModelCheckpointConfig {
            every: self.every,
            keep_last: Some(self.keep),
            // The best weights are part of every checkpoint.
            keep_best: false,
            ..ModelCheckpointConfig::default()
        }
    }
}

/// What to train on what, and how. Written as TOML into every run folder; `taper train RUN/recipe.toml` repeats the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// A folder, a manifest, an archive, Parquet, `hf:owner/name[@revision]`, or a name of `KNOWN_DATASETS`. Default
    /// `synthetic`.
    pub data: String,
    /// The pretrained network. Default `efficientnet-lite0`.
    pub model: String,
    /// `pretrained`, `random` (for benchmarks) or a weight file. Default `pretrained`.
    pub weights: String,
    /// The layer, or group of layers, whose output the head starts from, e.g. `layer3`; a feature map is averaged over all
    /// positions. Default: the network's own features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
    /// The head that is trained. Default `tutorial`: the more accurate one on rock-paper-scissors.
    pub head: HeadChoice,
    /// The probability that a dropout layer of the head zeroes a value in training, in [0, 1); `linear` gets one before its
    /// layer. Default: the head's own, 0.5, and none in `linear`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f32>,
    /// Side of the square input in pixels. Default: the network's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// How pictures come to the square. Default `crop`, as the network was trained; `squash` where what matters lies at
    /// the edge.
    pub fit: FitChoice,
    /// What validates: `auto`, `val`, `test` or a fraction. Default `auto`.
    pub val: ValChoice,
    /// Which pictures belong together, such as the frames of one clip, and must not be drawn into different splits: a regular
    /// expression over their ids, whose first pair of parentheses names the group. Default: the manifest's groups, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    /// How many folds `train` and `val` are divided into, 2 to 1000. Default: none, `val` says what validates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
    /// The fold that validates, from 0 to one less than `folds`. Default: each in turn, a training each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<usize>,
    /// Views of each training picture, 1 to 1000; view 0 is the picture as it is. Default 1.
    pub views: u32,
    /// How the other views are changed: `none`, `flip`, `light`, `standard`, `trivial-augment` or `rand-augment:N,M`. Default
    /// `light`.
    pub augment: Policy,
    /// How the other views are mixed with those of other training pictures: `none`, `mixup`, `mixup:ALPHA`, `cutmix` or
    /// `cutmix:ALPHA`. Default `none`.
    pub mix: MixChoice,
    /// Whether every epoch has new views, and none the picture as it is; the backbone then runs in each. Default false:
    /// the same views in every epoch.
    pub fresh_views: bool,
    /// How often the training pictures of each class come: `shuffled`, `balanced`, `weighted` or `weighted:W,W,…`. Default
    /// `shuffled`: each once.
    pub sampling: SamplingChoice,
    /// Passes over the training pictures, from 1. Default 30.
    pub epochs: u32,
    /// Pictures per step, from 1. Default 64.
    pub batch_size: usize,
    /// Batches whose gradients are added up for one step, from 1. Default 1.
    pub accumulate: usize,
    /// The base step size: a number above 0, or `auto` to find one before training. Default 1e-3.
    pub learning_rate: LearningRate,
    /// Ends training after this many epochs without a better validation loss, from 1. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    /// By how much the validation loss must fall to count as better for `patience`, from 0. Default 0.
    pub min_delta: f64,
    /// The largest norm of all gradients together, above 0. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Decay of a moving average of the weights, which is then what is measured and kept, in [0, 1). Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Whether to write events for TensorBoard. Default false.
    pub tensorboard: bool,
    /// Everything random follows from it. Default 0.
    pub seed: u64,
    /// Whether a picture that cannot be used ends the run, instead of being left out. Default false.
    pub strict: bool,
    /// What the frozen backbone computes in. Default `f32`.
    pub precision: Precision,
    /// Which instructions the frozen backbone uses on the CPU: `auto`, `avx512`, `avx2` or `portable`. Default `auto`.
    pub kernels: Kernels,
    /// Where to compute. Default `cpu`.
    pub device: DeviceChoice,
    /// How gradients become steps. Default Adam.
    pub optimizer: OptimizerConfig,
    /// How the step size goes from the base on. Default constant.
    pub schedule: ScheduleConfig,
    /// What is made small: class weights, label smoothing, focusing. Default plain softmax cross-entropy.
    pub loss: LossConfig,
    /// How `learning_rate = "auto"` finds its rate.
    pub lr_finder: LrFinderSettings,
    /// When checkpoints are written, and how many stay.
    pub checkpoints: CheckpointSettings,
    /// Lowers the step size where the validation loss no longer falls. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reduce_lr: Option<ReduceLrOnPlateauConfig>,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            data: "synthetic".into(),
            model: "efficientnet-lite0".into(),
            weights: "pretrained".into(),
            cut: None,
            head: HeadChoice::default(),
            dropout: None,
            size: None,
            fit: FitChoice::default(),
            val: ValChoice::default(),
            group_by: None,
            folds: None,
            fold: None,
            views: 1,
            augment: Policy::Light,
            mix: MixChoice::None,
            fresh_views: false,
            sampling: SamplingChoice::default(),
            epochs: 30,
            batch_size: 64,
            accumulate: 1,
            learning_rate: LearningRate::Fixed(1e-3),
            patience: None,
            min_delta: 0.0,
            clip_norm: None,
            ema: None,
            tensorboard: false,
            seed: 0,
            strict: false,
            precision: Precision::default(),
            kernels: Kernels::default(),
            device: DeviceChoice::default(),
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig::default(),
            loss: LossConfig::default(),
            lr_finder: LrFinderSettings::default(),
            checkpoints: CheckpointSettings::default(),
            reduce_lr: None,
        }
    }
}

impl Recipe {
    /// Reads a recipe file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::RecipeFile`] names the line and the field that is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read the recipe", path))?;
        toml::from_str(&text)
            .map_err(|e| Error::RecipeFile { path: path.into(), problem: e.to_string() })
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, self.to_toml(path)?.as_bytes())
    }

    fn to_toml(&self, path: &Path) -> Result<String> {
        toml::to_string(self)
            .map_err(|e| Error::RecipeFile { path: path.into(), problem: e.to_string() })
    }

    /// How the head is trained. Where the rate is yet to be found, the default stands in for it.
    pub fn head_training(&self) -> HeadTraining {
        let default = HeadTraining::default();
        HeadTraining {
            epochs: self.epochs,
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

    /// The head for this many features and classes.
    pub fn head_graph(&self, width: usize, classes: usize) -> Graph {
        let head = self.head.graph(width, classes);
        self.dropout.map_or(head.clone(), |p| heads::with_dropout(&head, p))
    }

    /// Checks every field, before anything is read or computed.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first field that is out of its range, [`Error::Zoo`] an unknown model with the
    /// nearest names, [`Error::Graph`] a size that is too small for the model.
    pub fn check(self) -> Result<CheckedRecipe> {
        let fail = |field, value: String, remedy: &str| {
            Err(Error::Setting { field, value, remedy: remedy.into() })
        };
        let model = taper_zoo::find(&self.model)?;
        let weights = match self.weights.as_str() {
            "pretrained" => WeightsChoice::Pretrained,
            "random" => WeightsChoice::Random,
            file => WeightsChoice::File(PathBuf::from(file)),
        };
        self.head_training().check()?;
        if self.batch_size == 1 && self.head == HeadChoice::Tutorial {
            let remedy = "the tutorial's head has BatchNorm, which cannot be trained on one picture at a time: use 2 or more";
            return fail("batch_size", "1".into(), remedy);
        }
        if self.dropout.is_some_and(|p| !(0.0..1.0).contains(&p)) {
            let p = self.dropout.unwrap_or_default();
            return fail("dropout", p.to_string(), "use 0 or more and less than 1");
        }
        if !(1..=1000).contains(&self.views) {
            return fail(
                "views",
                self.views.to_string(),
                "use 1 to 1000; 1 is the picture as it is",
            );
        }
        let changed = self.augment != Policy::None || self.mix != MixChoice::None;
        if self.views > 1 && !changed {
            let remedy =
                "--augment none gives the same picture each time: use --views 1, or another policy";
            return fail("views", self.views.to_string(), remedy);
        }
        if self.fresh_views && !changed {
            let remedy = "--augment none gives the same picture in every epoch: leave it out, or use another policy";
            return fail("fresh_views", "set".into(), remedy);
        }
        if self.mix != MixChoice::None && self.views == 1 && !self.fresh_views {
            let remedy = "view 0 is the picture as it is, and only the others are mixed: use --views 2 or more, or --fresh-views";
            return fail("mix", self.mix.to_string(), remedy);
        }
        match (self.folds, self.fold) {
            (Some(folds), _) if !(2..=1000).contains(&folds) => {
                return fail("folds", folds.to_string(), "use 2 to 1000");
            }
            (Some(_), _) if self.val != ValChoice::Auto => {
                let remedy = "the fold is what validates: leave out --val, or --folds";
                return fail("val", self.val.to_string(), remedy);
            }
            (Some(folds), Some(fold)) if fold >= folds => {
                let remedy = format!("{folds} folds are numbered from 0 to {}", folds - 1);
                return fail("fold", fold.to_string(), &remedy);
            }
            (None, Some(fold)) => {
                return fail("fold", fold.to_string(), "say of how many: --folds K");
            }
            _ => {}
        }
        if self.patience == Some(0) {
            return fail("patience", "0".into(), "use 1 or more epochs, or leave it out");
        }
        if !(self.min_delta >= 0.0 && self.min_delta.is_finite()) {
            return fail("min_delta", self.min_delta.to_string(), "use 0 or a positive number");
        }
        if self.learning_rate == LearningRate::Auto {
            // A thousand steps an epoch: only settings that are wrong for every data set.
            self.lr_finder.range_test(1000)?;
        }
        self.checkpoints.callback().check()?;
        if let Some(reduce) = &self.reduce_lr {
            reduce.clone().check()?;
        }
        let backbone = match &self.cut {
            Some(layer) => model.graph().cut(layer)?,
            None => model.backbone(),
        };
        let mut preprocessing = model.preprocessing;
        if self.fit == FitChoice::Squash {
            preprocessing.fit = Fit::Squash;
        }
        if let Some(size) = self.size {
            preprocessing.size = size;
            if size > 4096 {
                return fail("size", size.to_string(), "use at most 4096 pixels");
            }
            // Names the smallest size that the network can take.
            backbone.shapes(size as usize, size as usize)?;
        }
        preprocessing.check()?;
        Ok(CheckedRecipe { recipe: self, model, backbone, weights, preprocessing })
    }
}

/// A recipe whose fields are in range, with the model that it names.
#[derive(Debug, Clone)]
pub struct CheckedRecipe {
    pub(crate) recipe: Recipe,
    pub(crate) model: &'static ModelSpec,
    pub(crate) backbone: Graph,
    pub(crate) weights: WeightsChoice,
    pub(crate) preprocessing: Preprocessing,
}

impl CheckedRecipe {
    /// The recipe as it was given.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The model that the recipe names.
    pub fn model(&self) -> &'static ModelSpec {
        self.model
    }

    /// The network up to the features that the head starts from.
    pub fn backbone(&self) -> &Graph {
        &self.backbone
    }

    /// How pictures will be prepared.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_survives_toml() {
        let recipe = Recipe { size: Some(128), patience: Some(2), ..Recipe::default() };
        recipe.clone().check().unwrap();
        let text = recipe.to_toml(Path::new("r.toml")).unwrap();
        assert_eq!(toml::from_str::<Recipe>(&text).unwrap(), recipe);
        assert_eq!(toml::from_str::<Recipe>("").unwrap(), Recipe::default());
    }

    #[test]
    fn every_setting_out_of_range_is_named() {
        let default = Recipe::default;
        let cases = [
            (Recipe { epochs: 0, ..default() }, "--epochs"),
            (Recipe { batch_size: 0, ..default() }, "--batch-size"),
            (Recipe { batch_size: 1, ..default() }, "BatchNorm"),
            (Recipe { learning_rate: LearningRate::Fixed(0.0), ..default() }, "--learning-rate"),
            (
                Recipe { learning_rate: LearningRate::Fixed(f64::NAN), ..default() },
                "--learning-rate",
            ),
            (Recipe { views: 0, ..default() }, "--views"),
            (Recipe { views: 2, augment: Policy::None, ..default() }, "--augment"),
            (Recipe { fresh_views: true, augment: Policy::None, ..default() }, "--fresh-views"),
            (Recipe { mix: MixChoice::MixUp { alpha: 1.0 }, ..default() }, "--views 2"),
            (Recipe { folds: Some(1), ..default() }, "--folds"),
            (Recipe { folds: Some(3), fold: Some(3), ..default() }, "from 0 to 2"),
            (Recipe { fold: Some(0), ..default() }, "--folds K"),
            (
                Recipe { folds: Some(3), val: ValChoice::Fraction(0.2), ..default() },
                "leave out --val",
            ),
            (Recipe { patience: Some(0), ..default() }, "--patience"),
            (Recipe { min_delta: -1.0, ..default() }, "--min-delta"),
            (Recipe { size: Some(16), ..default() }, "at least 32"),
            (Recipe { cut: Some("layer3".into()), ..default() }, "no layer 'layer3'"),
            (Recipe { dropout: Some(1.0), ..default() }, "--dropout"),
            (Recipe { size: Some(5000), ..default() }, "--size"),
            (Recipe { model: "resnet-50".into(), ..default() }, "resnet50"),
        ];
        for (recipe, expected) in cases {
            let error = recipe.check().unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.is_usage(), "{error}");
        }
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
