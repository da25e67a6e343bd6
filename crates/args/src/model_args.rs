//! What is done with trained models.

use std::path::PathBuf;

use taper_core::{Precision, Split};
use taper_run::PromptChoice;

use crate::{CacheArgs, ComputeArgs, ReplyArgs, SourceArgs};

/// The arguments of `taper evaluate`.
#[derive(Debug, clap::Args)]
pub struct EvaluateArgs {
    /// The model.safetensors of a run folder.
    #[arg(value_name = "MODEL", required_unless_present = "zero_shot")]
    pub artefact: Option<PathBuf>,
    /// Instead of a trained model, a network that was trained with texts, such as clip-vit-b32: it
    /// tells the classes apart by their names alone.
    #[arg(long, value_name = "NAME", conflicts_with = "artefact")]
    pub zero_shot: Option<String>,
    /// That network's weights, from a safetensors file or a torch checkpoint.
    #[arg(long, value_name = "FILE", requires = "zero_shot", conflicts_with = "artefact")]
    pub weights: Option<PathBuf>,
    /// The sentences about each class's name: default, imagenet (the 80 of CLIP's paper), name
    /// (nothing else), or a file with one sentence in each line and {} for the name [default:
    /// default].
    #[arg(long, value_name = "SENTENCES", requires = "zero_shot", conflicts_with = "artefact")]
    pub prompts: Option<PromptChoice>,
    /// Labelled pictures: a folder, a manifest, an archive, Parquet, hf:owner/name, or a name of
    /// `taper datasets`.
    #[arg(long, value_name = "DATA")]
    pub data: String,
    /// How the pictures are read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The split: train, val, test, or all pictures [default: test if there is one, else val, else
    /// all].
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<String>,
    /// The share of pictures whose true class conformal sets should contain, above 0 and below 1
    /// [default: 0.9, if the model was validated on enough pictures].
    #[arg(long, value_name = "SHARE", value_parser = open_share)]
    pub coverage: Option<f64>,
    /// Refuse pictures that cannot be used, instead of leaving them out.
    #[arg(long)]
    pub strict: bool,
    /// Write evaluation.json and the confusion matrix (confusion.png, confusion.svg) into this
    /// folder; must not exist.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Also write a report of it, one HTML file that a person reads; must not exist.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Where features are kept.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// The precision of the network: f32 or bf16; on CUDA also f16 or tf32 [default: the one it was
    /// trained with; on the CPU f32 instead of f16 and tf32].
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<Precision>,
    /// Where and how it computes.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// How it reports.
    #[command(flatten)]
    pub reply: ReplyArgs,
}

/// The arguments of `taper compare`.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// Run folders, or model.safetensors files; or folders of several trainings (--seeds,
    /// --folds). Each is compared with the first.
    #[arg(value_name = "RUN", num_args = 2.., required = true)]
    pub runs: Vec<PathBuf>,
    /// Also write a report of it, one HTML file that a person reads; must not exist.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Labelled pictures that neither has seen [default: the test pictures of both].
    #[arg(long, value_name = "DATA")]
    pub data: Option<String>,
    /// How the pictures are read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The split of --data: train, val or test [default: test if there is one, else all].
    #[arg(long, value_name = "SPLIT", requires = "data")]
    pub split: Option<Split>,
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

/// The arguments of `taper info`.
#[derive(Debug, clap::Args)]
pub struct InfoArgs {
    /// The model.safetensors of a run folder.
    #[arg(value_name = "MODEL")]
    pub artefact: PathBuf,
    /// Answer with one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `taper predict`.
#[derive(Debug, clap::Args)]
pub struct PredictArgs {
    /// A pretrained network with its own ImageNet classifier, or with --labels; instead of a
    /// trained model.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// The pretrained network's weights, from a safetensors file or a torch checkpoint.
    #[arg(long, value_name = "FILE", requires = "model")]
    pub weights: Option<PathBuf>,
    /// Tell these apart by their names alone, without any training: for networks that were trained
    /// with texts, such as clip-vit-b32. Separated by commas.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', requires = "model")]
    pub labels: Vec<String>,
    /// The sentences about each name: default, imagenet (the 80 of CLIP's paper), name (nothing
    /// else), or a file with one sentence in each line and {} for the name [default: default].
    #[arg(long, value_name = "SENTENCES", requires = "labels")]
    pub prompts: Option<PromptChoice>,
    /// The model.safetensors of a run folder (not with --model), then the pictures: files, folders
    /// with all that is in them, patterns such as 'photos/*.jpg', archives, a CSV or JSONL file
    /// with a column of paths, or - for paths on standard input.
    #[arg(required = true, value_name = "MODEL|PICTURES")]
    pub paths: Vec<PathBuf>,
    /// Write a table instead: path, label, probability and the probability of every class, as CSV,
    /// JSONL or Parquet as the name says.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace the table if it exists.
    #[arg(long)]
    pub overwrite: bool,
    /// Copy the pictures into this folder, each into a folder named after its class. Files there
    /// are never replaced.
    #[arg(long, value_name = "FOLDER", conflicts_with = "move_to")]
    pub copy_to: Option<PathBuf>,
    /// Move them there instead.
    #[arg(long, value_name = "FOLDER")]
    pub move_to: Option<PathBuf>,
    /// Only say what would be copied or moved where.
    #[arg(long)]
    pub dry_run: bool,
    /// Also write the pictures into this folder with a map over each: where the network saw what
    /// speaks for the class. A trained model only.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["model", "dry_run"])]
    pub explain: Option<PathBuf>,
    /// Copy or move pictures whose class is less probable than this into _unsure, 0 to 1 [default:
    /// 0].
    #[arg(long, value_name = "P", value_parser = share)]
    pub min_probability: Option<f64>,
    /// The largest number of pixels that a picture may have; larger ones count as unreadable
    /// [default: 178956970].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_pixels: Option<u64>,
    /// Also give for each picture a set of classes which contains the true one for this share of
    /// pictures like those validated on, above 0 and below 1, e.g. 0.9. A trained model only.
    #[arg(long, value_name = "SHARE", value_parser = open_share, conflicts_with = "model")]
    pub coverage: Option<f64>,
    /// Give probabilities as the head has them, without the model's temperature.
    #[arg(long, conflicts_with = "model")]
    pub raw: bool,
    /// How many classes to name for each picture, most probable first [default: all].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: Option<u32>,
    /// The precision of the network: f32 or bf16; on CUDA also f16 or tf32 [default: the one it was
    /// trained with; on the CPU f32 instead of f16 and tf32].
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<Precision>,
    /// Where and how it computes.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Answer with one line of JSON per picture; with --out, with one about all of them.
    #[arg(long)]
    pub json: bool,
    /// Print only warnings and the answer.
    #[arg(long, short)]
    pub quiet: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "use a number from 0 to 1".into())
}

fn open_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| *share > 0.0 && *share < 1.0);
    share.ok_or_else(|| "use a number above 0 and below 1".into())
}
