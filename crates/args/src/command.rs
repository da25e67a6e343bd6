use clap::{CommandFactory, Parser, Subcommand};

#[cfg(feature = "serve")]
use crate::ServeArgs;
use crate::{
    AugmentArgs, CompareArgs, CompletionsArgs, EmbedArgs, EvaluateArgs, ExportArgs, InfoArgs,
    InspectArgs, ListArgs, LrFindArgs, ManArgs, PredictArgs, RecipesArgs, SummaryArgs, TrainArgs,
    TuneArgs,
};

/// Transfer learning for image classification: a folder of pictures in, a classifier and an honest
/// account of it out.
#[derive(Debug, Parser)]
#[command(name = "taper", version, propagate_version = true)]
pub struct Args {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The program's arguments. Those of a training that `taper lr-find` refuses are not shown there.
pub fn command() -> clap::Command {
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

/// The command, with its arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
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
    Serve(ServeArgs),
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
    Completions(CompletionsArgs),
    /// Write the manual: a page for each command.
    Man(ManArgs),
}
