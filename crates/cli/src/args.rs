use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use taper_augment::Policy;
use taper_data::ValChoice;
use taper_nn::DeviceChoice;
use taper_plan::{Kernels, Precision};
use taper_train::{FitChoice, HeadChoice, Recipe};

/// Transfer learning for image classification: a folder of pictures in, a classifier and an honest account of it out.
#[derive(Debug, Parser)]
#[command(name = "taper", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a classifier: frozen features once, then a head on them.
    Train(Box<TrainArgs>),
    /// Show what augmentation makes of the training pictures: a contact sheet, and how many there will be.
    Augment(AugmentArgs),
    /// Measure a trained model on labelled pictures.
    Evaluate(EvaluateArgs),
    /// Classify pictures.
    Predict(PredictArgs),
    /// Show a network's layers, shapes, parameters and cost.
    Summary(SummaryArgs),
    /// List the networks.
    Models(ListArgs),
    /// List the data sets that have a name.
    Datasets(ListArgs),
}

#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub(crate) struct TrainArgs {
    /// A recipe file; arguments override it.
    #[arg(value_name = "RECIPE.toml")]
    pub(crate) recipe: Option<PathBuf>,
    /// A folder with train/, val/, test/ or with one folder per class; or `synthetic` [default: synthetic].
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// The pretrained network [default: efficientnet-lite0].
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The backbone's weights: a safetensors file, `pretrained`, or `random` for benchmarks [default: pretrained].
    #[arg(long, value_name = "FILE")]
    weights: Option<String>,
    /// The head to train: linear, tutorial, or mlp:512,256 [default: tutorial].
    #[arg(long, value_name = "HEAD")]
    head: Option<HeadChoice>,
    /// Side of the square input in pixels [default: the network's own].
    #[arg(long, value_name = "PIXELS")]
    size: Option<u32>,
    /// How pictures come to the square [default: crop].
    #[arg(long)]
    fit: Option<FitArg>,
    /// What validates: val, test, or a fraction of train [default: val if there is one, else 0.15].
    #[arg(long, value_name = "SPLIT|FRACTION")]
    val: Option<ValChoice>,
    /// Views of each training picture; the first is the picture as it is [default: 1].
    #[arg(long, value_name = "N")]
    views: Option<u32>,
    /// How the other views are changed: none, flip, light, standard, trivial-augment or rand-augment:N,M [default: light].
    #[arg(long, value_name = "POLICY")]
    augment: Option<Policy>,
    /// Passes over the training pictures [default: 30].
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Pictures per step [default: 64].
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Step size of the optimizer [default: 0.001].
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Stop after this many epochs without a better validation loss [default: never].
    #[arg(long, value_name = "EPOCHS")]
    patience: Option<u32>,
    /// By how much the validation loss must fall to count as better for --patience [default: 0].
    #[arg(long, value_name = "LOSS")]
    min_delta: Option<f64>,
    /// Everything random follows from it [default: 0].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Refuse pictures that cannot be used, instead of leaving them out.
    #[arg(long)]
    strict: bool,
    /// What the frozen backbone computes in: f32 or bf16 [default: f32].
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Precision>,
    /// Which instructions the frozen backbone uses on the CPU: auto, avx512, avx2 or portable [default: auto].
    #[arg(long, value_name = "KERNELS")]
    kernels: Option<Kernels>,
    /// Where to compute: auto, cpu, cuda or cuda:N [default: cpu].
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceChoice>,
    /// The run folder; must not exist [default: runs/DATA-MODEL-N].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Answer with one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Only warnings and the answer.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FitArg {
    /// Scale the shorter side and cut out the centre, as the network was trained.
    Crop,
    /// Scale both sides: nothing of the picture is lost.
    Squash,
}

impl FitArg {
    fn choice(self) -> FitChoice {
        match self {
            FitArg::Squash => FitChoice::Squash,
            FitArg::Crop => FitChoice::Crop,
        }
    }
}

impl TrainArgs {
    /// The recipe, with the arguments over it.
    pub(crate) fn resolve(&self, recipe: Recipe) -> Recipe {
        let text = |own: &Option<String>, other: String| own.clone().unwrap_or(other);
        Recipe {
            data: text(&self.data, recipe.data),
            model: text(&self.model, recipe.model),
            weights: text(&self.weights, recipe.weights),
            head: self.head.clone().unwrap_or(recipe.head),
            size: self.size.or(recipe.size),
            fit: self.fit.map_or(recipe.fit, FitArg::choice),
            val: self.val.unwrap_or(recipe.val),
            views: self.views.unwrap_or(recipe.views),
            augment: self.augment.unwrap_or(recipe.augment),
            epochs: self.epochs.unwrap_or(recipe.epochs),
            batch_size: self.batch_size.unwrap_or(recipe.batch_size),
            learning_rate: self.learning_rate.unwrap_or(recipe.learning_rate),
            patience: self.patience.or(recipe.patience),
            min_delta: self.min_delta.unwrap_or(recipe.min_delta),
            seed: self.seed.unwrap_or(recipe.seed),
            strict: self.strict || recipe.strict,
            precision: self.precision.unwrap_or(recipe.precision),
            kernels: self.kernels.unwrap_or(recipe.kernels),
            device: self.device.unwrap_or(recipe.device),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct AugmentArgs {
    /// A folder with train/, val/, test/ or with one folder per class; or `synthetic`.
    #[arg(long, value_name = "DATA")]
    pub(crate) data: String,
    /// How views are changed: none, flip, light, standard, trivial-augment or rand-augment:N,M.
    #[arg(long, value_name = "POLICY", default_value = "light")]
    augment: Policy,
    /// Views of each training picture; the first is the picture as it is.
    #[arg(long, value_name = "K", default_value_t = 2)]
    views: u32,
    /// The views follow from it, here as in `taper train`.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The network whose size and crop are shown.
    #[arg(long, value_name = "NAME", default_value = "efficientnet-lite0")]
    model: String,
    /// Side of the square input in pixels [default: the network's own].
    #[arg(long, value_name = "PIXELS")]
    size: Option<u32>,
    /// How pictures come to the square [default: crop].
    #[arg(long)]
    fit: Option<FitArg>,
    /// The contact sheet, a PNG file.
    #[arg(long, value_name = "FILE", default_value = "augment.png")]
    pub(crate) out: PathBuf,
    /// Answer with one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Only warnings and the answer.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl AugmentArgs {
    /// The recipe whose views are to be shown.
    pub(crate) fn recipe(&self) -> Recipe {
        Recipe {
            data: self.data.clone(),
            augment: self.augment,
            views: self.views,
            seed: self.seed,
            model: self.model.clone(),
            size: self.size,
            fit: self.fit.map_or_else(FitChoice::default, FitArg::choice),
            ..Recipe::default()
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct EvaluateArgs {
    /// The model.safetensors of a run folder.
    #[arg(value_name = "MODEL")]
    pub(crate) artefact: PathBuf,
    /// A folder of labelled pictures, or `synthetic`.
    #[arg(long, value_name = "DATA")]
    pub(crate) data: String,
    /// The split: train, val, test, or all pictures [default: test if there is one, else all].
    #[arg(long, value_name = "SPLIT")]
    pub(crate) split: Option<String>,
    /// Refuse pictures that cannot be used, instead of leaving them out.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Where to compute: auto, cpu, cuda or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: DeviceChoice,
    /// Which instructions the network uses on the CPU: auto, avx512, avx2 or portable.
    #[arg(long, value_name = "KERNELS", default_value = "auto")]
    pub(crate) kernels: Kernels,
    /// Answer with one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Only warnings and the answer.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PredictArgs {
    /// A pretrained network with its own ImageNet classifier, instead of a trained model.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// The pretrained network's weights, from a safetensors file.
    #[arg(long, value_name = "FILE", requires = "model")]
    pub(crate) weights: Option<PathBuf>,
    /// The model.safetensors of a run folder (not with --model), then the pictures.
    #[arg(required = true, value_name = "MODEL|PICTURE")]
    pub(crate) paths: Vec<PathBuf>,
    /// How many classes to name for each picture, most probable first [default: all].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: Option<u32>,
    /// Where to compute: auto, cpu, cuda or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: DeviceChoice,
    /// Which instructions the network uses on the CPU: auto, avx512, avx2 or portable.
    #[arg(long, value_name = "KERNELS", default_value = "auto")]
    pub(crate) kernels: Kernels,
    /// Answer with one line of JSON per picture.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SummaryArgs {
    /// The network.
    #[arg(long, value_name = "NAME", default_value = "efficientnet-lite0")]
    pub(crate) model: String,
    /// Side of the square input in pixels [default: the network's own].
    #[arg(long, value_name = "PIXELS")]
    pub(crate) size: Option<u32>,
    /// The head: imagenet, none, linear, tutorial, or mlp:512,256.
    #[arg(long, value_name = "HEAD", default_value = "imagenet")]
    pub(crate) head: String,
    /// How many classes a new head tells apart.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=65_536))]
    pub(crate) classes: u32,
    /// Answer with one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Answer with one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
