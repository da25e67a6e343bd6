use std::path::{Path, PathBuf};

use taper_augment::Policy;
use taper_callbacks::{Every, ReduceLrOnPlateauConfig};
use taper_core::{DeviceChoice, Fault, OutOfRange};
use taper_data::ValChoice;
use taper_optim::{
    Algorithm, ClassWeights, LossConfig, OptimizerConfig, ScheduleConfig, Shape, Span, Warmup,
};
use taper_plan::Kernels;
use taper_run::{
    BatchNormChoice, Changes, CheckpointSettings, Error, FineTune, FitChoice, HeadChoice,
    LearningRate, MixChoice, NamedRecipe, PrecisionChoice, PromptChoice, Recipe,
};
use taper_train::Sampling;

use crate::{FineTuneArgs, SourceArgs};

/// A recipe before arguments are laid over it.
#[derive(Debug)]
pub struct ReadRecipe {
    /// The recipe.
    pub recipe: Recipe,
    /// The name or file that it was read from, if it was: what is wrong in it is said of that, not
    /// of arguments that nobody gave.
    pub name: Option<String>,
}

/// The settings of a recipe, as arguments.
#[derive(Debug, clap::Args)]
pub struct RecipeArgs {
    /// A recipe by name (see `taper recipes`) or in a file, which arguments override [default:
    /// fast, as far as the other options allow].
    #[arg(long = "recipe", value_name = "NAME|FILE")]
    named: Option<String>,
    /// The data, as with --data; or a recipe file, which arguments override.
    #[arg(value_name = "DATA|RECIPE.toml")]
    recipe: Option<PathBuf>,
    /// Labelled pictures: a folder with train/, val/, test/ or class folders alone, a manifest, an
    /// archive, Parquet, hf:owner/name, or a name of `taper datasets` [default: synthetic].
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    /// The pretrained network [default: efficientnet-lite0].
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The backbone's weights: a file (safetensors or a torch checkpoint), `pretrained`, or
    /// `random` for benchmarks [default: pretrained].
    #[arg(long, value_name = "FILE")]
    weights: Option<String>,
    /// The head to train: linear, logistic, cosine, zero-shot, tutorial, or mlp:512,256 [default:
    /// logistic, which is solved; tutorial in recipes, and with options that steer a training in
    /// steps]. zero-shot starts from the names of the classes, and with --epochs 0 ends there.
    #[arg(long, value_name = "HEAD")]
    head: Option<HeadChoice>,
    /// The sentences about each class's name for the head zero-shot: default, imagenet (the 80 of
    /// CLIP's paper), name (nothing else), or a file with a sentence in each line and {} for the
    /// name [default: default].
    #[arg(long, value_name = "SENTENCES")]
    prompts: Option<PromptChoice>,
    /// Take features from an earlier layer or group of layers, e.g. layer3 [default: the network's
    /// own features].
    #[arg(long, value_name = "LAYER")]
    cut: Option<String>,
    /// The head's dropout probability in training, 0 or more and less than 1 [default: the head's
    /// own, 0.5; linear: 0].
    #[arg(long, value_name = "P")]
    dropout: Option<f32>,
    /// Side of the square input in pixels [default: the network's own].
    #[arg(long, value_name = "PIXELS")]
    size: Option<u32>,
    /// How pictures become square: crop, as the network was trained, or squash [default: crop].
    #[arg(long, value_name = "FIT")]
    fit: Option<FitChoice>,
    /// What to validate on: val, test, or a fraction of train [default: val if there is one, else
    /// 0.15].
    #[arg(long, value_name = "SPLIT|FRACTION")]
    val: Option<ValChoice>,
    /// Keep pictures together whose ids give the same group name with this expression, e.g. the
    /// frames of one clip: '([^/]*)-\d+\.png$'.
    #[arg(long, value_name = "REGEX")]
    group_by: Option<String>,
    /// The column of a table that says which pictures belong together, e.g. patient_id; none if
    /// they are independent [default: the one that looks like it].
    #[arg(long, value_name = "NAME")]
    group_column: Option<String>,
    /// Divide the training pictures into this many folds; without --fold, train with each and
    /// report mean and spread.
    #[arg(long, value_name = "K")]
    folds: Option<usize>,
    /// The fold to validate on, counted from 0.
    #[arg(long, value_name = "I")]
    fold: Option<usize>,
    /// Train with this many seeds, counted up from --seed, and report mean and spread.
    #[arg(long, value_name = "N")]
    seeds: Option<usize>,
    /// Views of each training picture; the first is the unchanged picture [default: 1; with
    /// --augment, 2].
    #[arg(long, value_name = "N")]
    views: Option<u32>,
    /// How the other views are changed: none, flip, light, standard, trivial-augment or
    /// rand-augment:N,M [default: light].
    #[arg(long, value_name = "POLICY")]
    augment: Option<Policy>,
    /// How these views are mixed with those of other pictures: none, mixup, cutmix, mixup:ALPHA or
    /// cutmix:ALPHA [default: none].
    #[arg(long, value_name = "MIX")]
    mix: Option<MixChoice>,
    /// Draw new views in every epoch; the backbone then runs in every epoch.
    #[arg(long)]
    fresh_views: bool,
    /// How often each class is drawn: shuffled (each picture once), balanced, weighted, or
    /// weighted:W,W,… with one weight per class [default: shuffled].
    #[arg(long, value_name = "SAMPLING")]
    sampling: Option<Sampling>,
    /// Passes over the training pictures [default: 30].
    #[arg(long, value_name = "N", help_heading = "Training of the head")]
    epochs: Option<u32>,
    /// Pictures per step [default: 64].
    #[arg(long, value_name = "N", help_heading = "Training of the head")]
    batch_size: Option<usize>,
    /// Batches whose gradients are accumulated for one step [default: 1].
    #[arg(long, value_name = "N", help_heading = "Training of the head")]
    accumulate: Option<usize>,
    /// The base learning rate, or auto to find one before training [default: 0.001].
    #[arg(long, value_name = "RATE|auto", help_heading = "Training of the head")]
    learning_rate: Option<LearningRate>,
    /// The optimizer: adam, adamw or sgd, with default settings; a recipe can change them [default:
    /// adam].
    #[arg(long, value_name = "NAME", value_parser = optimizer, help_heading = "Training of the head")]
    optimizer: Option<Algorithm>,
    /// The learning-rate schedule: constant, cosine, one-cycle or polynomial; a recipe can set more
    /// [default: constant].
    #[arg(long, value_name = "SHAPE", value_parser = shape, help_heading = "Training of the head")]
    schedule: Option<Shape>,
    /// Epochs of linear warm-up to the base learning rate before the schedule [default: none].
    #[arg(long, value_name = "EPOCHS", help_heading = "Training of the head")]
    warmup: Option<f64>,
    /// The weight of each class in the loss: none, balanced, or one number per class, e.g. 1,2,0.5
    /// [default: none].
    #[arg(long, value_name = "WEIGHTS")]
    class_weights: Option<String>,
    /// The share of every target that is spread over all classes [default: 0].
    #[arg(long, value_name = "SHARE")]
    label_smoothing: Option<f64>,
    /// Give easy pictures less weight: γ of the focal loss, e.g. 2 [default: 0].
    #[arg(long, value_name = "GAMMA")]
    focal_gamma: Option<f64>,
    /// Clip the gradients to this norm, taken over all of them together [default: no limit].
    #[arg(long, value_name = "NORM", help_heading = "Training of the head")]
    clip_norm: Option<f64>,
    /// Keep a moving average of the weights with this decay, e.g. 0.99 [default: none].
    #[arg(long, value_name = "DECAY", help_heading = "Training of the head")]
    ema: Option<f64>,
    /// Lower the learning rate to a tenth after this many epochs without a better validation loss
    /// [default: never].
    #[arg(long, value_name = "EPOCHS", help_heading = "Training of the head")]
    reduce_lr: Option<u64>,
    /// Write a checkpoint every time this many epochs have passed [default: 5].
    #[arg(long, value_name = "EPOCHS")]
    checkpoint_every: Option<u64>,
    /// Write TensorBoard event files into the run folder.
    #[arg(long)]
    tensorboard: bool,
    /// Stop after this many epochs without a better validation loss [default: never].
    #[arg(long, value_name = "EPOCHS", help_heading = "Training of the head")]
    patience: Option<u32>,
    /// By how much the validation loss must fall to count as better for --patience [default: 0].
    #[arg(long, value_name = "LOSS", help_heading = "Training of the head")]
    min_delta: Option<f64>,
    /// The seed of all random choices [default: 0].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Refuse pictures that cannot be used, instead of leaving them out.
    #[arg(long)]
    strict: bool,
    /// The precision of the frozen backbone: f32, bf16, or auto, which measures both and records
    /// its choice; on CUDA also f16 or tf32 [default: f32].
    #[arg(long, value_name = "PRECISION")]
    precision: Option<PrecisionChoice>,
    /// Which instructions the frozen backbone uses on the CPU: auto, avx512, avx2 or portable
    /// [default: auto].
    #[arg(long, value_name = "KERNELS")]
    kernels: Option<Kernels>,
    #[command(flatten)]
    fine_tune: FineTuneArgs,
    /// Where to compute: auto, cpu, cuda or cuda:N [default: cpu].
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceChoice>,
}

fn is_recipe_file(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml")) && !path.is_dir()
}

impl RecipeArgs {
    /// The recipe of the file that was given, or the default one with the data that were given.
    ///
    /// # Errors
    /// If a recipe cannot be read, two recipes or two sets of data were given, or the data are the
    /// folder of a run.
    pub fn read(&self) -> Result<ReadRecipe, Error> {
        self.check_weights()?;
        let named = self.named.as_deref().map(|name| {
            let file = Path::new(name);
            match is_recipe_file(file) || file.is_file() {
                true => Recipe::read(file),
                false => Recipe::named(name),
            }
        });
        let read = named.transpose()?.unwrap_or_default();
        let name = self.named.clone();
        let Some(given) = &self.recipe else { return Ok(ReadRecipe { recipe: read, name }) };
        if is_recipe_file(given) {
            if let Some(name) = &self.named {
                let remedy = format!("'{}' is a recipe too: give one of the two", given.display());
                return Err(OutOfRange::new("recipe", name, remedy).into());
            }
            let name = Some(given.to_string_lossy().into_owned());
            return Ok(ReadRecipe { recipe: Recipe::read(given)?, name });
        }
        let shown = given.display();
        if let Some(data) = &self.data {
            let remedy = format!("'{shown}' names data too: give one of the two");
            return Err(OutOfRange::new("data", data, remedy).into());
        }
        if given.join("recipe.toml").is_file() {
            let remedy = format!(
                "it is the folder of a run, not data: give {shown}/recipe.toml to repeat the run, or continue it with `resume` {shown}"
            );
            return Err(OutOfRange::new("data", shown, remedy).into());
        }
        let data = given.to_string_lossy().into_owned();
        Ok(ReadRecipe { recipe: Recipe { data, ..read }, name })
    }

    /// Equal weights are none.
    fn check_weights(&self) -> Result<(), Error> {
        let given = self.class_weights.as_deref().unwrap_or_default();
        let ClassWeights::List(list) = ClassWeights::from(given) else { return Ok(()) };
        let equal = list.len() > 1 && list.iter().all(|weight| *weight == list[0] && *weight > 0.0);
        if equal {
            let remedy = "equal weights change nothing: leave the option out, or say none";
            return Err(OutOfRange::new("class_weights", given, remedy).into());
        }
        Ok(())
    }

    /// What a run that goes on is given.
    pub fn changes(&self) -> Changes {
        Changes { data: self.data.clone(), epochs: self.epochs }
    }

    /// Views, where a policy was given for them.
    fn views(&self, recipe: &Recipe) -> u32 {
        let fresh = self.fresh_views || recipe.fresh_views;
        let asked = self.augment.is_some_and(|policy| policy != Policy::None);
        match self.views {
            Some(views) => views,
            None if asked && !fresh => recipe.views.max(2),
            None => recipe.views,
        }
    }

    /// Whether the head is open: no recipe was given, and no head.
    pub fn leaves_head_open(&self) -> bool {
        let recipe = self.recipe.as_deref().is_some_and(is_recipe_file);
        self.head.is_none() && self.named.is_none() && !recipe
    }

    /// The recipe with BatchNorm frozen where a named one trains it and the network has none: named
    /// recipes are for all networks.
    fn fitting(&self, recipe: Recipe) -> Recipe {
        let is_named = self.named.as_deref().is_some_and(|name| NamedRecipe::find(name).is_ok());
        let Some(own) = recipe.fine_tune.clone().filter(|_| is_named) else { return recipe };
        let refused = recipe.clone().check().err();
        let field = refused.as_ref().and_then(Fault::setting).map(|setting| &setting.field);
        match field.is_some_and(|field| field == "fine_tune.batch_norm") {
            true if !self.fine_tune.says_batch_norm() => {
                let own = FineTune { batch_norm: BatchNormChoice::Frozen, ..own };
                Recipe { fine_tune: Some(own), ..recipe }
            }
            _ => recipe,
        }
    }

    /// What to say about settings of the recipe that the arguments leave no room for.
    pub fn lowered(&self, recipe: &Recipe) -> Option<String> {
        self.fine_tune.lowered(recipe.fine_tune.as_ref())
    }

    /// The recipe, with the arguments over it.
    pub fn resolve(&self, recipe: Recipe) -> Recipe {
        self.fitting(self.over(recipe))
    }

    fn over(&self, recipe: Recipe) -> Recipe {
        let text = |own: &Option<String>, other: String| own.clone().unwrap_or(other);
        Recipe {
            views: self.views(&recipe),
            data_path: recipe.data_path.filter(|_| self.data.is_none()),
            weights_path: recipe.weights_path.filter(|_| self.weights.is_none()),
            data: text(&self.data, recipe.data),
            model: text(&self.model, recipe.model),
            weights: text(&self.weights, recipe.weights),
            cut: self.cut.clone().or(recipe.cut),
            head: self.head.clone().unwrap_or(recipe.head),
            prompts: self.prompts.clone().unwrap_or(recipe.prompts),
            dropout: self.dropout.or(recipe.dropout),
            size: self.size.or(recipe.size),
            fit: self.fit.unwrap_or(recipe.fit),
            val: self.val.unwrap_or(recipe.val),
            group_by: self.group_by.clone().or(recipe.group_by),
            folds: self.folds.or(recipe.folds),
            fold: self.fold.or(recipe.fold),
            seeds: self.seeds.or(recipe.seeds),
            augment: self.augment.unwrap_or(recipe.augment),
            mix: self.mix.unwrap_or(recipe.mix),
            fresh_views: self.fresh_views || recipe.fresh_views,
            sampling: self.sampling.clone().unwrap_or(recipe.sampling),
            epochs: self.epochs.unwrap_or(recipe.epochs),
            batch_size: self.batch_size.unwrap_or(recipe.batch_size),
            accumulate: self.accumulate.unwrap_or(recipe.accumulate),
            learning_rate: self.learning_rate.unwrap_or(recipe.learning_rate),
            patience: self.patience.or(recipe.patience),
            min_delta: self.min_delta.unwrap_or(recipe.min_delta),
            clip_norm: self.clip_norm.or(recipe.clip_norm),
            ema: self.ema.or(recipe.ema),
            tensorboard: self.tensorboard || recipe.tensorboard,
            seed: self.seed.unwrap_or(recipe.seed),
            strict: self.strict || recipe.strict,
            precision: self.precision.unwrap_or(recipe.precision),
            kernels: self.kernels.unwrap_or(recipe.kernels),
            device: self.device.unwrap_or(recipe.device),
            optimizer: OptimizerConfig {
                algorithm: self.optimizer.unwrap_or(recipe.optimizer.algorithm),
                groups: recipe.optimizer.groups,
            },
            schedule: ScheduleConfig {
                shape: self.schedule.unwrap_or(recipe.schedule.shape),
                warmup: self
                    .warmup
                    .map(|epochs| Warmup { over: Span::Epochs(epochs), start_factor: 0.0 })
                    .or(recipe.schedule.warmup),
            },
            loss: LossConfig {
                label_smoothing: self.label_smoothing.unwrap_or(recipe.loss.label_smoothing),
                focal_gamma: self.focal_gamma.unwrap_or(recipe.loss.focal_gamma),
                class_weights: self
                    .class_weights
                    .as_deref()
                    .map_or(recipe.loss.class_weights, ClassWeights::from),
            },
            fine_tune: self.fine_tune.resolve(recipe.fine_tune),
            lr_finder: recipe.lr_finder,
            source: self.source.resolve(recipe.source, self.group_column.as_ref()),
            checkpoints: CheckpointSettings {
                every: self.checkpoint_every.map_or(recipe.checkpoints.every, Every::Epochs),
                ..recipe.checkpoints
            },
            reduce_lr: self
                .reduce_lr
                .map(|patience| ReduceLrOnPlateauConfig {
                    patience,
                    ..ReduceLrOnPlateauConfig::default()
                })
                .or(recipe.reduce_lr),
        }
    }
}

fn optimizer(name: &str) -> Result<Algorithm, String> {
    match name {
        "adam" => Ok(Algorithm::adam()),
        "adamw" => Ok(Algorithm::adam_w()),
        "sgd" => Ok(Algorithm::sgd()),
        _ => Err("use adam, adamw or sgd".into()),
    }
}

fn shape(name: &str) -> Result<Shape, String> {
    // The defaults are those of recipe files: one place says them.
    let shape = match name {
        "constant" => Shape::Constant {},
        "cosine" => Shape::Cosine { end_factor: 0.0 },
        "one-cycle" => Shape::one_cycle(),
        "polynomial" => Shape::Polynomial { power: 1.0, end_factor: 0.0 },
        _ => return Err("use constant, cosine, one-cycle or polynomial".into()),
    };
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults that the help states, by field, without those that are described in words.
    fn stated() -> Vec<(String, String)> {
        let command = crate::command();
        let train = command.find_subcommand("train").unwrap();
        let mut stated = Vec::new();
        for argument in train.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            if let Some((_, rest)) = help.split_once("[default: ")
                && let Some((default, _)) = rest.split_once(']')
                && !default.contains(' ')
            {
                stated.push((argument.get_id().to_string(), default.to_owned()));
            }
        }
        stated
    }

    #[test]
    fn the_help_states_the_defaults_of_recipes() {
        let text = Recipe::default().to_toml().unwrap();
        let recipe: toml::Table = text.parse().unwrap();
        let text = toml::to_string(&taper_run::FineTune::lp_ft().unwrap()).unwrap();
        let fine_tune: toml::Table = text.parse().unwrap();
        let mut compared = 0;
        for (field, default) in stated() {
            let own = match field.as_str() {
                "label_smoothing" | "focal_gamma" | "class_weights" => recipe["loss"].get(&field),
                "checkpoint_every" => recipe["checkpoints"]["every"].get("epochs"),
                "schedule" => recipe["schedule"]["shape"].get("kind"),
                "cache_precision" | "batch_norm" | "layer_decay" => fine_tune.get(&field),
                field if field.starts_with("fine_tune_") => {
                    let field = field.trim_start_matches("fine_tune_");
                    fine_tune.get(match field {
                        "rate" => "learning_rate",
                        "batch" => "batch_size",
                        other => other,
                    })
                }
                "optimizer" => recipe["optimizer"].get("algorithm").and_then(|a| a.get("kind")),
                field => recipe.get(field),
            };
            let Some(own) = own else { continue };
            let own = own.as_str().map_or_else(|| own.to_string(), String::from);
            let same = match (own.parse::<f64>(), default.parse::<f64>()) {
                (Ok(own), Ok(stated)) => own == stated,
                _ => own == default,
            };
            assert!(same, "--{field}: the help says {default}, recipes {own}");
            compared += 1;
        }
        assert!(compared >= 15, "only {compared} defaults were compared");
    }
}
