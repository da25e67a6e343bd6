use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use taper_augment::Policy;
use taper_automl::{ModelChoice, MonitorChoice, Preset, PruningChoice, SamplerChoice};
use taper_core::{DeviceChoice, Precision, Split};
use taper_feature_cache::FeatureCache;
use taper_fetch::folders;
use taper_lr_finder::Method;
use taper_plan::Kernels;
use taper_run::{FitChoice, LearningRate, LrFinderSettings, PrecisionChoice, PromptChoice, Recipe};
use taper_sources::SourceOptions;

use crate::{export_args::ExportArgs, recipe_args::RecipeArgs, source_args::SourceArgs};

/// Transfer learning for image classification: a folder of pictures in, a classifier and an honest
/// account of it out.
#[derive(Debug, Parser)]
#[command(name = "taper", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The program's arguments. Those of a training that `taper lr-find` refuses are not shown there.
pub(crate) fn command() -> clap::Command {
    const OF_TRAINING: [&str; 13] = [
        "epochs",
        "learning_rate",
        "schedule",
        "warmup",
        "reduce_lr",
        "patience",
        "min_delta",
        "ema",
        "tensorboard",
        "checkpoint_every",
        "fine_tune_epochs",
        "fine_tune_rate",
        "fine_tune_patience",
    ];
    // `--epochs -1` is a number out of range, not an option.
    let numbers = |command: clap::Command| command.allow_negative_numbers(true);
    Args::command().mut_subcommands(numbers).mut_subcommand("lr-find", |finder| {
        OF_TRAINING
            .into_iter()
            .fold(finder, |finder, name| finder.mut_arg(name, |argument| argument.hide(true)))
    })
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a classifier: frozen features once, then a head on them.
    Train(Box<TrainArgs>),
    /// Tune a recipe: many trainings, and the best of them.
    Tune(Box<TuneArgs>),
    /// Compare two trained models on the same pictures: which is better, or is it chance?
    Compare(Box<CompareArgs>),
    /// Find a learning rate for a training run: the curve, five suggestions, a plot.
    LrFind(Box<LrFindArgs>),
    /// Look for problems in a data set: damage, duplicates, contradicting labels, drift.
    Inspect(InspectArgs),
    /// Show the augmented training pictures: a contact sheet, and how many there will be.
    Augment(AugmentArgs),
    /// Evaluate a trained model on labelled pictures.
    Evaluate(EvaluateArgs),
    /// Classify pictures: print, write a table, or sort them into folders.
    Predict(PredictArgs),
    /// Show what a trained model is: classes, network, figures, recipe, digests, licence.
    Info(InfoArgs),
    /// Write a trained model for other programs: ONNX, safetensors with timm's names, or a folder
    /// for browsers.
    Export(ExportArgs),
    /// Serve trained models over HTTP: a page, an API, metrics.
    #[cfg(feature = "serve")]
    Serve(crate::serve::ServeArgs),
    /// Write the features of every picture to a file: for search, for clustering, for other
    /// programs.
    Embed(Box<EmbedArgs>),
    /// Show a network's layers, shapes, parameters and cost.
    Summary(SummaryArgs),
    /// List the recipes known by name, or print one of them.
    Recipes(RecipesArgs),
    /// List the networks.
    Models(ListArgs),
    /// List the data sets known by name.
    Datasets(ListArgs),
    /// Print completions for a shell: bash, elvish, fish, powershell or zsh.
    Completions(crate::completions::CompletionsArgs),
    /// Write the manual: a page for each command.
    Man(crate::completions::ManArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    /// How much is tried for a good classifier, within --time-limit: fast (the default training),
    /// balanced (also views and heads), or best (also other networks and fine-tuning).
    #[arg(long, value_name = "PRESET", help_heading = "Search")]
    pub(crate) preset: Option<Preset>,
    /// The time for all of it, e.g. 90s or 10m; the fast result is made in any case [default: 3m
    /// for balanced, 10m for best].
    #[arg(long, value_name = "TIME", help_heading = "Search")]
    pub(crate) time_limit: Option<humantime::Duration>,
    /// The networks to try, with weights from a file after an =, e.g.
    /// efficientnet-lite0,resnet50=FILE [default: with best, those whose weights are on this
    /// machine].
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Search")]
    pub(crate) models: Vec<ModelChoice>,
    /// The run folder; must not exist [default: runs/DATA-MODEL-N].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Continue the run in this folder; the result is the same, byte for byte, as without the
    /// interruption. With --data, the data have moved; with --epochs, a run gets more of them.
    #[arg(long, value_name = "RUN", conflicts_with = "out")]
    pub(crate) resume: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    #[command(flatten)]
    pub(crate) reply: ReplyArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TuneArgs {
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    /// What to tune: a TOML file with a table `space` that has, for each field of the recipe, the
    /// values to try [default: rates, regularisation, head and views].
    #[arg(long, value_name = "FILE", help_heading = "Study")]
    pub(crate) space: Option<PathBuf>,
    /// Trials of the whole study [default: 30].
    #[arg(long, value_name = "N", help_heading = "Study")]
    pub(crate) trials: Option<usize>,
    /// How parameters are chosen: tpe, random or grid [default: tpe].
    #[arg(long, value_name = "NAME", help_heading = "Study")]
    pub(crate) sampler: Option<SamplerChoice>,
    /// Which trials end early: asha, median or none [default: asha with --unfreeze, else none].
    #[arg(long, value_name = "NAME", help_heading = "Study")]
    pub(crate) pruning: Option<PruningChoice>,
    /// What is to be as good as possible on the validation pictures: val_loss or val_accuracy
    /// [default: val_loss].
    #[arg(long, value_name = "FIGURE", help_heading = "Study")]
    pub(crate) monitor: Option<MonitorChoice>,
    /// End after this time, e.g. 90s, 10m or 2h [default: none].
    #[arg(long, value_name = "TIME", help_heading = "Study")]
    pub(crate) time_limit: Option<humantime::Duration>,
    /// How many processes train trials at the same time, 1 to 64; they share the processor's
    /// threads [default: 1].
    #[arg(long, value_name = "N", help_heading = "Study", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) jobs: Option<u32>,
    /// End when standard input does: for the processes of --jobs, which end with the first one.
    #[arg(long, hide = true, requires = "resume")]
    pub(crate) with_parent: bool,
    /// The folder of the study; must not exist [default: runs/DATA-MODEL-tune-N].
    #[arg(long, value_name = "FOLDER", help_heading = "Study")]
    pub(crate) out: Option<PathBuf>,
    /// Go on with the study in this folder: after an interruption, with more --trials, or beside
    /// another process.
    #[arg(long, value_name = "FOLDER", conflicts_with = "out", help_heading = "Study")]
    pub(crate) resume: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    #[command(flatten)]
    pub(crate) reply: ReplyArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RecipesArgs {
    /// The recipe to print, as a file for `taper train`.
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LrFindArgs {
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
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
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    #[command(flatten)]
    pub(crate) reply: ReplyArgs,
}

impl LrFindArgs {
    /// The recipe, with the arguments over it.
    pub(crate) fn resolve(&self, recipe: Recipe) -> Recipe {
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

/// Where and how a network computes.
#[derive(Debug, clap::Args)]
pub(crate) struct ComputeArgs {
    /// Where to compute: auto, cpu, cuda or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: DeviceChoice,
    /// Which instructions the network uses on the CPU: auto, avx512, avx2 or portable.
    #[arg(long, value_name = "KERNELS", default_value = "auto")]
    pub(crate) kernels: Kernels,
}

/// How a command reports.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplyArgs {
    /// Answer with one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print only warnings and the answer.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Where features are kept for later.
#[derive(Debug, clap::Args)]
pub(crate) struct CacheArgs {
    /// The folder for cached features, or off [default: $TAPER_CACHE, else taper in the user's
    /// cache folder].
    #[arg(long, value_name = "FOLDER|off")]
    cache: Option<PathBuf>,
    /// The size limit of the cache in GiB [default: 4].
    #[arg(long, value_name = "GIB", default_value = "4", hide_default_value = true, value_parser = gibibytes)]
    cache_size: u64,
}

impl CacheArgs {
    /// The cache, unless there is none.
    pub(crate) fn open(&self) -> Option<FeatureCache> {
        Some(FeatureCache::new(self.folder()?, self.cache_size))
    }

    /// The arguments that give it to another process.
    pub(crate) fn given(&self) -> Vec<OsString> {
        let size = (self.cache_size as f64 / (1u64 << 30) as f64).to_string();
        let mut given: Vec<OsString> = Vec::new();
        if let Some(cache) = &self.cache {
            given.extend(["--cache".into(), cache.into()]);
        }
        if self.folder().is_some() {
            given.extend(["--cache-size".into(), size.into()]);
        }
        given
    }

    /// Its folder, unless there is none.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        match &self.cache {
            Some(off) if off == Path::new("off") => None,
            Some(folder) => Some(folder.clone()),
            None => folders::features(),
        }
    }
}

/// A size in GiB as bytes.
fn gibibytes(text: &str) -> Result<u64, String> {
    match text.trim().parse::<f64>() {
        // Beyond the largest number of bytes there is no limit.
        Ok(size) if size >= 0.0 => Ok((size * (1u64 << 30) as f64) as u64),
        _ => Err("give a number of GiB that is at least 0, such as 0.5".into()),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Labelled pictures: a folder, a manifest, an archive, Parquet, hf:owner/name, or a name of
    /// `taper datasets`.
    #[arg(long, value_name = "DATA")]
    pub(crate) data: String,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// The column of a table that says which pictures belong together, e.g. patient_id; none if
    /// they are independent [default: the one that looks like it].
    #[arg(long, value_name = "NAME")]
    pub(crate) group_column: Option<String>,
    /// Write a cleaned manifest into this folder; originals are never touched.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) fix: Option<PathBuf>,
    /// With --fix, also leave out near copies, which may be two shots of one thing.
    #[arg(long, requires = "fix")]
    pub(crate) fix_near: bool,
    /// Where health.json and the contact sheets go [default: runs/DATA-health-N].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Also write a report of it, one HTML file that a person reads; must not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Skip what needs a neural network: label errors, drift of content, copies that a perceptual
    /// hash misses.
    #[arg(long)]
    pub(crate) no_embeddings: bool,
    /// The network that computes the embeddings.
    #[arg(long, value_name = "NAME", default_value = taper_zoo::DEFAULT_MODEL)]
    pub(crate) model: String,
    /// The network's weights, from a safetensors file or a torch checkpoint.
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) reply: ReplyArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AugmentArgs {
    /// Labelled pictures: a folder, a manifest, an archive, Parquet, hf:owner/name, or a name of
    /// `taper datasets`.
    #[arg(long, value_name = "DATA")]
    pub(crate) data: String,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
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
    pub(crate) out: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) reply: ReplyArgs,
}

impl AugmentArgs {
    /// The recipe whose views are to be shown.
    pub(crate) fn recipe(&self) -> Recipe {
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

#[derive(Debug, clap::Args)]
pub(crate) struct EvaluateArgs {
    /// The model.safetensors of a run folder.
    #[arg(value_name = "MODEL", required_unless_present = "zero_shot")]
    pub(crate) artefact: Option<PathBuf>,
    /// Instead of a trained model, a network that was trained with texts, such as clip-vit-b32: it
    /// tells the classes apart by their names alone.
    #[arg(long, value_name = "NAME", conflicts_with = "artefact")]
    pub(crate) zero_shot: Option<String>,
    /// That network's weights, from a safetensors file or a torch checkpoint.
    #[arg(long, value_name = "FILE", requires = "zero_shot", conflicts_with = "artefact")]
    pub(crate) weights: Option<PathBuf>,
    /// The sentences about each class's name: default, imagenet (the 80 of CLIP's paper), name
    /// (nothing else), or a file with one sentence in each line and {} for the name [default:
    /// default].
    #[arg(long, value_name = "SENTENCES", requires = "zero_shot", conflicts_with = "artefact")]
    pub(crate) prompts: Option<PromptChoice>,
    /// Labelled pictures: a folder, a manifest, an archive, Parquet, hf:owner/name, or a name of
    /// `taper datasets`.
    #[arg(long, value_name = "DATA")]
    pub(crate) data: String,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// The split: train, val, test, or all pictures [default: test if there is one, else val, else
    /// all].
    #[arg(long, value_name = "SPLIT")]
    pub(crate) split: Option<String>,
    /// The share of pictures whose true class conformal sets should contain, above 0 and below 1
    /// [default: 0.9, if the model was validated on enough pictures].
    #[arg(long, value_name = "SHARE", value_parser = open_share)]
    pub(crate) coverage: Option<f64>,
    /// Refuse pictures that cannot be used, instead of leaving them out.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Write evaluation.json and the confusion matrix (confusion.png, confusion.svg) into this
    /// folder; must not exist.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Also write a report of it, one HTML file that a person reads; must not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    /// The precision of the network: f32 or bf16; on CUDA also f16 or tf32 [default: the one it was
    /// trained with; on the CPU f32 instead of f16 and tf32].
    #[arg(long, value_name = "PRECISION")]
    pub(crate) precision: Option<Precision>,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) reply: ReplyArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// Run folders, or model.safetensors files; or folders of several trainings (--seeds,
    /// --folds). Each is compared with the first.
    #[arg(value_name = "RUN", num_args = 2.., required = true)]
    pub(crate) runs: Vec<PathBuf>,
    /// Also write a report of it, one HTML file that a person reads; must not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Labelled pictures that neither has seen [default: the test pictures of both].
    #[arg(long, value_name = "DATA")]
    pub(crate) data: Option<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// The split of --data: train, val or test [default: test if there is one, else all].
    #[arg(long, value_name = "SPLIT", requires = "data")]
    pub(crate) split: Option<Split>,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) reply: ReplyArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InfoArgs {
    /// The model.safetensors of a run folder.
    #[arg(value_name = "MODEL")]
    pub(crate) artefact: PathBuf,
    /// Answer with one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PredictArgs {
    /// A pretrained network with its own ImageNet classifier, or with --labels; instead of a
    /// trained model.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// The pretrained network's weights, from a safetensors file or a torch checkpoint.
    #[arg(long, value_name = "FILE", requires = "model")]
    pub(crate) weights: Option<PathBuf>,
    /// Tell these apart by their names alone, without any training: for networks that were trained
    /// with texts, such as clip-vit-b32. Separated by commas.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', requires = "model")]
    pub(crate) labels: Vec<String>,
    /// The sentences about each name: default, imagenet (the 80 of CLIP's paper), name (nothing
    /// else), or a file with one sentence in each line and {} for the name [default: default].
    #[arg(long, value_name = "SENTENCES", requires = "labels")]
    pub(crate) prompts: Option<PromptChoice>,
    /// The model.safetensors of a run folder (not with --model), then the pictures: files, folders
    /// with all that is in them, patterns such as 'photos/*.jpg', archives, a CSV or JSONL file
    /// with a column of paths, or - for paths on standard input.
    #[arg(required = true, value_name = "MODEL|PICTURES")]
    pub(crate) paths: Vec<PathBuf>,
    /// Write a table instead: path, label, probability and the probability of every class, as CSV,
    /// JSONL or Parquet as the name says.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Replace the table if it exists.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Copy the pictures into this folder, each into a folder named after its class. Files there
    /// are never replaced.
    #[arg(long, value_name = "FOLDER", conflicts_with = "move_to")]
    pub(crate) copy_to: Option<PathBuf>,
    /// Move them there instead.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) move_to: Option<PathBuf>,
    /// Only say what would be copied or moved where.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also write the pictures into this folder with a map over each: where the network saw what
    /// speaks for the class. A trained model only.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["model", "dry_run"])]
    pub(crate) explain: Option<PathBuf>,
    /// Copy or move pictures whose class is less probable than this into _unsure, 0 to 1 [default:
    /// 0].
    #[arg(long, value_name = "P", value_parser = share)]
    pub(crate) min_probability: Option<f64>,
    /// The largest number of pixels that a picture may have; larger ones count as unreadable
    /// [default: 178956970].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_pixels: Option<u64>,
    /// Also give for each picture a set of classes which contains the true one for this share of
    /// pictures like those validated on, above 0 and below 1, e.g. 0.9. A trained model only.
    #[arg(long, value_name = "SHARE", value_parser = open_share, conflicts_with = "model")]
    pub(crate) coverage: Option<f64>,
    /// Give probabilities as the head has them, without the model's temperature.
    #[arg(long, conflicts_with = "model")]
    pub(crate) raw: bool,
    /// How many classes to name for each picture, most probable first [default: all].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: Option<u32>,
    /// The precision of the network: f32 or bf16; on CUDA also f16 or tf32 [default: the one it was
    /// trained with; on the CPU f32 instead of f16 and tf32].
    #[arg(long, value_name = "PRECISION")]
    pub(crate) precision: Option<Precision>,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    /// Answer with one line of JSON per picture; with --out, with one about all of them.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print only warnings and the answer.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct EmbedArgs {
    /// Labelled pictures: a folder, a manifest, an archive, Parquet, hf:owner/name, or a name of
    /// `taper datasets`.
    #[arg(long, value_name = "DATA")]
    pub(crate) data: String,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// The pretrained network.
    #[arg(long, value_name = "NAME", default_value = taper_zoo::DEFAULT_MODEL)]
    pub(crate) model: String,
    /// Its weights: a file (safetensors or a torch checkpoint), `pretrained`, or `random` for
    /// benchmarks.
    #[arg(long, value_name = "FILE", default_value = "pretrained")]
    pub(crate) weights: String,
    /// Take features from an earlier layer or group of layers, e.g. layer3 [default: the network's
    /// own features].
    #[arg(long, value_name = "LAYER")]
    pub(crate) cut: Option<String>,
    /// The safetensors file to write: features (n × width), labels (n), paths in the metadata.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Side of the square input in pixels [default: the network's own].
    #[arg(long, value_name = "PIXELS")]
    pub(crate) size: Option<u32>,
    /// How pictures become square: crop or squash [default: crop].
    #[arg(long, value_name = "FIT")]
    pub(crate) fit: Option<FitChoice>,
    /// What computes the features: the frozen plan, or candle, the reference.
    #[arg(long, value_name = "WHAT", default_value = "plan")]
    pub(crate) through: ThroughArg,
    /// The precision of the computation: f32, bf16 or auto, which measures both; on CUDA also f16
    /// or tf32.
    #[arg(long, value_name = "PRECISION", default_value = "f32")]
    pub(crate) precision: PrecisionChoice,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    /// Refuse pictures that cannot be used, instead of leaving them out.
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    #[command(flatten)]
    pub(crate) reply: ReplyArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ThroughArg {
    /// The compiled network.
    Plan,
    /// The trainable form.
    Candle,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SummaryArgs {
    /// The network, or a trained model: the model.safetensors of a run folder, or the folder.
    /// Several, separated by commas, are shown side by side.
    #[arg(long, value_name = "NAME|MODEL", default_value = taper_zoo::DEFAULT_MODEL)]
    pub(crate) model: String,
    /// Side of the square input in pixels [default: the network's own].
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) size: Option<u32>,
    /// End the network at an earlier layer or group of layers, e.g. layer3 [default: the network's
    /// own features].
    #[arg(long, value_name = "LAYER")]
    pub(crate) cut: Option<String>,
    /// The head: imagenet, none, linear, logistic, cosine, tutorial, or mlp:512,256 [default:
    /// imagenet; with --cut, none].
    #[arg(long, value_name = "HEAD")]
    pub(crate) head: Option<String>,
    /// How many classes a new head distinguishes [default: 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=65_536))]
    pub(crate) classes: Option<u32>,
    /// The head's dropout probability in training, 0 or more and less than 1 [default: the head's
    /// own].
    #[arg(long, value_name = "P", value_parser = probability)]
    pub(crate) dropout: Option<f32>,
    /// The batch size for which the memory of activations is computed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) batch: u32,
    /// Draw the network, block by block with shapes, into this SVG file.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Replace the file of --svg if it exists.
    #[arg(long, requires = "svg")]
    pub(crate) overwrite: bool,
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

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "use a number from 0 to 1".into())
}

fn open_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| *share > 0.0 && *share < 1.0);
    share.ok_or_else(|| "use a number above 0 and below 1".into())
}

fn probability(text: &str) -> Result<f32, String> {
    let p = text.parse().ok().filter(|p| (0.0..1.0).contains(p));
    p.ok_or_else(|| "use 0 or more and less than 1".into())
}
