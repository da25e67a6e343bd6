//! What is done with data sets.

use std::path::PathBuf;

use clap::ValueEnum;
use taper_augment::Policy;
use taper_run::{FitChoice, PrecisionChoice, PromptChoice, Recipe};
use taper_sources::SourceOptions;

use crate::{CacheArgs, ComputeArgs, ReplyArgs, SourceArgs};

/// The arguments of `taper inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Labelled pictures: a folder, a manifest, an archive, Parquet, hf:owner/name, or a name of
    /// `taper datasets`.
    #[arg(long, value_name = "DATA")]
    pub data: String,
    /// How the pictures are read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The column of a table that says which pictures belong together, e.g. patient_id; none if
    /// they are independent [default: the one that looks like it].
    #[arg(long, value_name = "NAME")]
    pub group_column: Option<String>,
    /// Write a cleaned manifest into this folder; originals are never touched.
    #[arg(long, value_name = "FOLDER")]
    pub fix: Option<PathBuf>,
    /// With --fix, also leave out near copies, which may be two shots of one thing.
    #[arg(long, requires = "fix")]
    pub fix_near: bool,
    /// Where health.json and the contact sheets go [default: runs/DATA-health-N].
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Also write a report of it, one HTML file that a person reads; must not exist.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Skip what needs a neural network: label errors, drift of content, copies that a perceptual
    /// hash misses.
    #[arg(long)]
    pub no_embeddings: bool,
    /// The network that computes the embeddings.
    #[arg(long, value_name = "NAME", default_value = taper_zoo::DEFAULT_MODEL)]
    pub model: String,
    /// The network's weights, from a safetensors file or a torch checkpoint.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Also ask a network that was trained with texts, such as clip-vit-b32, which pictures another
    /// class's name describes better than that of their own: a further witness for label errors.
    #[arg(long, value_name = "NAME")]
    pub text: Option<String>,
    /// That network's weights, both halves in one file, with tokenizer.json beside it.
    #[arg(long, value_name = "FILE")]
    pub text_weights: Option<PathBuf>,
    /// The sentences about each class's name: default, imagenet (the 80 of CLIP's paper), name
    /// (nothing else), or a file with one sentence in each line and {} for the name [default:
    /// default].
    #[arg(long, value_name = "SENTENCES")]
    pub prompts: Option<PromptChoice>,
    /// Where features are kept.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// Where and how it computes.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// How it reports.
    #[command(flatten)]
    pub reply: ReplyArgs,
}

/// The arguments of `taper augment`.
#[derive(Debug, clap::Args)]
pub struct AugmentArgs {
    /// Labelled pictures: a folder, a manifest, an archive, Parquet, hf:owner/name, or a name of
    /// `taper datasets`.
    #[arg(long, value_name = "DATA")]
    pub data: String,
    /// How the pictures are read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The column of a table that says which pictures belong together, as in `taper train`.
    #[arg(long, value_name = "NAME")]
    group_column: Option<String>,
    /// How views are changed: none, flip, light, standard, trivial-augment or rand-augment:N,M.
    #[arg(long, value_name = "POLICY", default_value = "light")]
    augment: Policy,
    /// Views of each training picture; the first is the unchanged picture.
    #[arg(long, value_name = "K", default_value_t = 2)]
    views: u32,
    /// The random seed of the views, here as in `taper train`.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The network whose size and crop are shown.
    #[arg(long, value_name = "NAME", default_value = taper_zoo::DEFAULT_MODEL)]
    model: String,
    /// Side of the square input in pixels [default: the network's own].
    #[arg(long, value_name = "PIXELS")]
    size: Option<u32>,
    /// How pictures become square: crop or squash [default: crop].
    #[arg(long, value_name = "FIT")]
    fit: Option<FitChoice>,
    /// The contact sheet, a PNG or JPEG file as its name says.
    #[arg(long, value_name = "FILE", default_value = "augment.png")]
    pub out: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    pub overwrite: bool,
    /// How it reports.
    #[command(flatten)]
    pub reply: ReplyArgs,
}

impl AugmentArgs {
    /// The recipe whose views are to be shown.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            data: self.data.clone(),
            source: self.source.resolve(SourceOptions::default(), self.group_column.as_ref()),
            augment: self.augment,
            views: self.views,
            seed: self.seed,
            model: self.model.clone(),
            size: self.size,
            fit: self.fit.unwrap_or_default(),
            ..Recipe::default()
        }
    }
}

/// The arguments of `taper embed`.
#[derive(Debug, clap::Args)]
pub struct EmbedArgs {
    /// Labelled pictures: a folder, a manifest, an archive, Parquet, hf:owner/name, or a name of
    /// `taper datasets`.
    #[arg(long, value_name = "DATA")]
    pub data: String,
    /// How the pictures are read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The pretrained network.
    #[arg(long, value_name = "NAME", default_value = taper_zoo::DEFAULT_MODEL)]
    pub model: String,
    /// Its weights: a file (safetensors or a torch checkpoint), `pretrained`, or `random` for
    /// benchmarks.
    #[arg(long, value_name = "FILE", default_value = "pretrained")]
    pub weights: String,
    /// Take features from an earlier layer or group of layers, e.g. layer3 [default: the network's
    /// own features].
    #[arg(long, value_name = "LAYER")]
    pub cut: Option<String>,
    /// The safetensors file to write: features (n × width), labels (n), paths in the metadata.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    pub overwrite: bool,
    /// Side of the square input in pixels [default: the network's own].
    #[arg(long, value_name = "PIXELS")]
    pub size: Option<u32>,
    /// How pictures become square: crop or squash [default: crop].
    #[arg(long, value_name = "FIT")]
    pub fit: Option<FitChoice>,
    /// What computes the features: the frozen plan, or candle, the reference.
    #[arg(long, value_name = "WHAT", default_value = "plan")]
    pub through: ThroughArg,
    /// The precision of the computation: f32, bf16 or auto, which measures both; on CUDA also f16
    /// or tf32.
    #[arg(long, value_name = "PRECISION", default_value = "f32")]
    pub precision: PrecisionChoice,
    /// Where and how it computes.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Refuse pictures that cannot be used, instead of leaving them out.
    #[arg(long)]
    pub strict: bool,
    /// Where features are kept.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// How it reports.
    #[command(flatten)]
    pub reply: ReplyArgs,
}

/// What computes the features.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ThroughArg {
    /// The compiled network.
    Plan,
    /// The trainable form.
    Candle,
}
