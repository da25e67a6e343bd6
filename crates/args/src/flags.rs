//! Flags that were given and would change nothing are refused, each with the flag that makes it so.

use std::collections::BTreeMap;

use clap::{ArgMatches, parser::ValueSource};
use taper_augment::Policy;
use taper_automl::Preset;
use taper_core::OutOfRange;
use taper_run::{Error, Recipe};

use crate::{FormatArg, fine_tune_args::OF_FINE_TUNING};

/// [`Error::Setting`] for the first option that would change nothing.
pub type Result = std::result::Result<(), Error>;

/// The arguments that were given on the command line, by the names of their fields, with their
/// values.
#[derive(Debug, Clone)]
pub struct Given(BTreeMap<String, String>);

impl Given {
    /// Those of a subcommand.
    pub fn of(matches: &ArgMatches) -> Self {
        let given = matches.ids().map(|id| id.as_str()).filter(|id| {
            matches.try_contains_id(id).unwrap_or(false)
                && matches.value_source(id) == Some(ValueSource::CommandLine)
        });
        let value = |id: &str| {
            let raw = matches.try_get_raw(id).ok().flatten().into_iter().flatten();
            raw.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        Self(given.map(|id| (id.to_owned(), value(id))).collect())
    }

    /// Whether a field was given.
    pub fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// An error if the field was given.
    fn refuse(&self, field: &'static str, remedy: impl Into<String>) -> Result {
        match self.0.get(field) {
            None => Ok(()),
            Some(value) => Err(wrong(field, value, remedy)),
        }
    }
}

fn wrong(field: impl Into<String>, value: &str, remedy: impl Into<String>) -> Error {
    // A switch has no value of its own.
    let value = if matches!(value, "" | "true") { "set" } else { value };
    OutOfRange::new(field.into(), value, remedy.into()).into()
}

/// The flags of `taper train`, beside the recipe that they gave.
pub fn of_training(given: &Given, recipe: &Recipe) -> Result {
    augmentation(given, recipe)?;
    fine_tuning(given, recipe)?;
    solved_head(given, recipe)?;
    if recipe.patience.is_none() {
        let remedy = "only early stopping uses it: give `patience` as well, or leave it out";
        given.refuse("min_delta", remedy)?;
    }
    let epochs = recipe.epochs;
    let too_late = |what: &str| {
        format!(
            "training has {epochs} `epochs`, {what}: use fewer than that, use more `epochs`, or leave it out"
        )
    };
    if recipe.patience.is_some_and(|patience| patience >= epochs) {
        given.refuse("patience", too_late("so it could never stop early"))?;
    }
    if recipe.reduce_lr.as_ref().is_some_and(|reduce| reduce.patience >= u64::from(epochs)) {
        given.refuse("reduce_lr", too_late("so the rate would never be lowered"))?;
    }
    if let (Some(reduce), Some(patience)) = (&recipe.reduce_lr, recipe.patience)
        && reduce.patience >= u64::from(patience)
    {
        let remedy = format!(
            "training stops after {patience} epochs without improvement (`patience`), before the rate would be lowered: use fewer than that, a larger `patience`, or leave it out"
        );
        given.refuse("reduce_lr", remedy)?;
    }
    let every = given.0.get("checkpoint_every").and_then(|every| every.parse::<u32>().ok());
    if every.is_some_and(|every| every > epochs) {
        given.refuse("checkpoint_every", too_late("so none would ever be written"))?;
    }
    Ok(())
}

/// What only the head's training uses.
const OF_THE_HEAD: [&str; 11] = [
    "learning_rate",
    "optimizer",
    "schedule",
    "warmup",
    "batch_size",
    "accumulate",
    "clip_norm",
    "ema",
    "reduce_lr",
    "patience",
    "min_delta",
];

/// What steers a training in steps, which a head that is solved does not have.
fn solved_head(given: &Given, recipe: &Recipe) -> Result {
    if !recipe.solves_head() {
        return Ok(());
    }
    let remedy =
        "the head `logistic` is solved, not trained in steps: leave it out, or use another `head`";
    for field in OF_THE_HEAD.iter().chain(&["epochs"]) {
        given.refuse(field, remedy)?;
    }
    if !recipe.trains_network() {
        for field in ["checkpoint_every", "tensorboard"] {
            given.refuse(field, remedy)?;
        }
    }
    Ok(())
}

/// What only fine-tuning uses.
fn fine_tuning(given: &Given, recipe: &Recipe) -> Result {
    if recipe.fine_tune.is_none() {
        let remedy = "only fine-tuning uses it: give `unfreeze` with a layer or all as well, or leave it out";
        for field in OF_FINE_TUNING {
            given.refuse(field, remedy)?;
        }
    }
    if let Some(own) = &recipe.fine_tune
        && own.steps.is_none()
        && own.patience.is_some_and(|patience| patience >= own.epochs)
    {
        let remedy = format!(
            "fine-tuning has {} epochs (`fine_tune_epochs`), so it could never stop early: use fewer than that, or leave it out",
            own.epochs
        );
        given.refuse("fine_tune_patience", remedy)?;
    }
    if recipe.epochs == 0 && recipe.trains_network() {
        let remedy = "it steers the head's training, and the recipe has 0 `epochs` of that: leave it out, or use 1 or more `epochs`";
        for field in OF_THE_HEAD {
            given.refuse(field, remedy)?;
        }
    }
    Ok(())
}

/// The flags of `taper lr-find`: those that steer a training have no meaning there.
pub fn of_finder(given: &Given, recipe: &Recipe) -> Result {
    augmentation(given, recipe)?;
    fine_tuning(given, recipe)?;
    let searched = "the finder does not train, it only searches: leave it out";
    for field in ["fine_tune_epochs", "fine_tune_rate", "fine_tune_patience", "seeds"] {
        given.refuse(field, searched)?;
    }
    if recipe.solves_head() && !recipe.trains_network() {
        let remedy = "the head `logistic` is solved, and has no learning rate: use another `head`, or `unfreeze` layers";
        return Err(wrong("head", "logistic", remedy));
    }
    given.refuse(
        "epochs",
        "the finder does not train, it only searches: leave it out, or say with `steps` or `passes` how long to search",
    )?;
    let rate = "the finder tries all rates from `start` to `end`: leave it out";
    for field in ["learning_rate", "schedule", "warmup", "reduce_lr"] {
        given.refuse(field, rate)?;
    }
    let training = "it steers a training, and `taper lr-find` does not train: leave it out, and give it to `taper train`";
    for field in ["patience", "min_delta", "ema", "tensorboard", "checkpoint_every"] {
        given.refuse(field, training)?;
    }
    Ok(())
}

/// Options for fields that are tuned would change nothing.
pub fn of_space<'a>(given: &Given, space: impl Iterator<Item = &'a str>) -> Result {
    for name in space {
        let flag = match name {
            "loss.label_smoothing" => "label_smoothing",
            "fine_tune.learning_rate" => "fine_tune_rate",
            "fine_tune.batch_size" => "fine_tune_batch",
            "fine_tune.epochs" => "fine_tune_epochs",
            "fine_tune.patience" => "fine_tune_patience",
            other => other.rsplit('.').next().unwrap_or(other),
        };
        if let Some(value) = given.0.get(flag) {
            let remedy = format!(
                "the study tries other values of it (space.{name}): leave it out, or give a `space` without it"
            );
            return Err(wrong(flag.to_owned(), value, remedy));
        }
    }
    Ok(())
}

/// What a search leaves to the user: the data, and where and how it takes place.
const OF_SEARCH: [&str; 29] = [
    "preset",
    "time_limit",
    "models",
    "data",
    "recipe",
    "model",
    "weights",
    "size",
    "fit",
    "val",
    "group_by",
    "group_column",
    "sampling",
    "class_weights",
    "seed",
    "strict",
    "kernels",
    "device",
    "layout",
    "label_from",
    "image_column",
    "label_column",
    "split_column",
    "max_pixels",
    "out",
    "cache",
    "cache_size",
    "json",
    "quiet",
];

/// The flags of `taper train --preset`.
pub fn of_search(given: &Given) -> Result {
    let recipe = "a search begins with the default recipe: leave it out, or leave out `preset`";
    given.refuse("named", recipe).map_err(|error| match error {
        Error::Setting(own) => OutOfRange::new("recipe", &own.value, recipe).into(),
        other => other,
    })?;
    if given.0.get("recipe").is_some_and(|name| name.to_lowercase().ends_with(".toml")) {
        let value = given.0.get("recipe").map_or("", String::as_str);
        return Err(wrong("the argument", &format!("'{value}'"), recipe));
    }
    for field in ["folds", "fold", "seeds"] {
        given.refuse(field, "a search has folds of its own, and one seed: leave it out")?;
    }
    for field in ["precision", "tensorboard", "checkpoint_every"] {
        given.refuse(field, "a search does not take it: leave it out, or leave out `preset`")?;
    }
    let remedy =
        "the preset chooses it by what is best on these data: leave it out, or leave out `preset`";
    for (field, value) in &given.0 {
        if !field.starts_with(char::is_uppercase) && !OF_SEARCH.contains(&field.as_str()) {
            return Err(wrong(field.clone(), value, remedy));
        }
    }
    if given.has("models") {
        let remedy = "`models` names the networks: name it there, with its weights after an =";
        for field in ["model", "weights"] {
            given.refuse(field, remedy)?;
        }
    }
    Ok(())
}

/// What only a search has.
pub fn of_fast(given: &Given, preset: Option<Preset>) -> Result {
    let remedy = match preset {
        Some(_) => "the preset fast takes seconds and tries nothing else: leave it out",
        None => {
            "only a search has it: give `preset` with balanced or best as well, or leave it out"
        }
    };
    for field in ["time_limit", "models"] {
        given.refuse(field, remedy)?;
    }
    Ok(())
}

/// What only a search that goes on has, where the folder is not that of one.
pub fn of_resumed_run(given: &Given) -> Result {
    let remedy = "only a search goes on within a time, and the folder is not that of a search (or no longer, if its own folder `search` was removed): leave it out";
    ["time_limit", "models"].into_iter().try_for_each(|field| given.refuse(field, remedy))
}

/// What a search that goes on takes.
pub fn of_resumed_search(given: &Given) -> Result {
    const FREE: [&str; 7] =
        ["resume", "time_limit", "data", "cache", "cache_size", "json", "quiet"];
    for (field, value) in &given.0 {
        if !field.starts_with(char::is_uppercase) && !FREE.contains(&field.as_str()) {
            let remedy = "a search goes on as it began, apart from `data` (moved) and `time_limit`: leave it out";
            return Err(wrong(field.clone(), value, remedy));
        }
    }
    Ok(())
}

/// What a study that goes on takes.
pub fn of_resumed_study(given: &Given) -> Result {
    const FREE: [&str; 9] = [
        "resume",
        "trials",
        "time_limit",
        "jobs",
        "with_parent",
        "cache",
        "cache_size",
        "json",
        "quiet",
    ];
    let argument = |name: &str| !name.starts_with(char::is_uppercase) && !FREE.contains(&name);
    match given.0.iter().find(|(name, _)| argument(name)) {
        None => Ok(()),
        Some((name, value)) => Err(wrong(
            name.clone(),
            value,
            "a study that goes on with `resume` has its recipe, space and settings in its folder: leave it out",
        )),
    }
}

/// A policy for views that are not made.
pub fn augmentation(given: &Given, recipe: &Recipe) -> Result {
    let one = recipe.views == 1 && !recipe.fresh_views;
    if one && recipe.augment != Policy::None {
        let remedy = "view 0 is the unchanged picture, so with 1 of `views` nothing is augmented: use 2 or more `views`, or leave it out";
        given.refuse("augment", remedy)?;
    }
    if recipe.views > 1 && recipe.augment == Policy::None && !given.has("views") {
        let remedy = "without augmentation every view is the unchanged picture: give `views` 1 as well to have the pictures as they are, or another policy, such as light";
        given.refuse("augment", remedy)?;
    }
    Ok(())
}

/// What `--resume` cannot be combined with: all but the data's new place, more epochs, and what
/// belongs to this call rather than to the run.
pub fn of_resuming(given: &Given) -> Result {
    const FREE: [&str; 7] = ["resume", "data", "epochs", "cache", "cache_size", "json", "quiet"];
    // Groups of arguments are among the names too, in capitals.
    let argument = |name: &str| !name.starts_with(char::is_uppercase) && !FREE.contains(&name);
    match given.0.iter().find(|(name, _)| argument(name)) {
        None => Ok(()),
        Some((name, value)) if name == "recipe" => Err(wrong(
            "the argument",
            &format!("'{value}'"),
            "a run that goes on with `resume` has data and settings in its recipe.toml: leave it out, or give `data` if the pictures have moved",
        )),
        Some((name, value)) => Err(wrong(
            name,
            value,
            "a run that goes on with `resume` keeps the settings in its recipe.toml, apart from `data` (moved) and `epochs` (more): leave it out, or train into a new folder without `resume`",
        )),
    }
}

/// What belongs to the networks that `taper inspect` does not use.
pub fn of_inspection(given: &Given) -> Result {
    if !given.has("text") {
        let remedy = "it belongs to the network of `text`: give that as well, or leave it out";
        for field in ["text_weights", "prompts"] {
            given.refuse(field, remedy)?;
        }
    }
    if !given.has("no_embeddings") {
        return Ok(());
    }
    let remedy = "`no_embeddings` leaves the network out: leave out one of the two";
    for field in ["model", "weights", "text", "device", "kernels", "cache", "cache_size"] {
        given.refuse(field, remedy)?;
    }
    Ok(())
}

/// What the reference implementation has no choice of.
pub fn of_embedding(given: &Given, through_candle: bool, auto: bool) -> Result {
    if !through_candle {
        return Ok(());
    }
    let remedy = "with candle (`through`) there are no kernels to choose from: leave it out, or use `through` plan";
    given.refuse("kernels", remedy)?;
    if auto {
        let remedy = "it measures the plan, which `through` candle does not use: use f32 or bf16";
        given.refuse("precision", remedy)?;
    }
    Ok(())
}

/// The size of a cache that is off.
pub fn of_cache(given: &Given, off: bool) -> Result {
    if off {
        let remedy = "the cache is off, so it has no size: leave it out, or give `cache` a folder";
        given.refuse("cache_size", remedy)?;
    }
    Ok(())
}

/// The flags of `taper export`, beside the format that is written.
pub fn of_export(given: &Given, format: FormatArg) -> Result {
    if format != FormatArg::Onnx {
        let remedy = "only the `format` onnx has it: leave it out";
        for field in ["opset", "input", "batch", "embed_labels", "keep_batchnorm"] {
            given.refuse(field, remedy)?;
        }
    }
    if format != FormatArg::Web {
        given.refuse("weights", "only the `format` web has it: leave it out")?;
    }
    if format == FormatArg::Web {
        given.refuse("output", "`format` web gives probabilities: leave it out")?;
        let remedy = "`format` web replaces no folder; leave it out, and remove the old folder";
        given.refuse("overwrite", remedy)?;
    }
    let output = given.0.get("output").map(String::as_str);
    if format == FormatArg::Safetensors && output == Some("probabilities") {
        let remedy = "the softmax is not part of timm's networks: use logits, or the `format` onnx";
        given.refuse("output", remedy)?;
    }
    Ok(())
}

/// What `taper predict` has no use for.
pub fn of_prediction(given: &Given) -> Result {
    if !given.has("copy_to") && !given.has("move_to") {
        let remedy = "it belongs to `copy_to` or `move_to`: give one of them, or leave it out";
        for field in ["dry_run", "min_probability"] {
            given.refuse(field, remedy)?;
        }
    }
    if given.has("dry_run") {
        let remedy = "`dry_run` writes nothing: leave out one of the two";
        given.refuse("out", remedy)?;
    }
    if given.has("out") {
        let remedy = "the table that `out` writes has all classes: leave out one of the two";
        given.refuse("top", remedy)?;
    }
    if !given.has("json") {
        let remedy = "sorting (`copy_to`, `move_to`) names one class for each picture: leave it out, or give `json` as well";
        if given.has("copy_to") || given.has("move_to") {
            given.refuse("top", remedy)?;
        }
    }
    if !given.has("out") {
        let remedy = "only the table that `out` writes could be overwritten: leave it out";
        given.refuse("overwrite", remedy)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use taper_core::Fault;

    use super::*;

    fn given(line: &[&str]) -> Given {
        let matches = crate::command().try_get_matches_from(line).unwrap();
        Given::of(matches.subcommand().unwrap().1)
    }

    #[test]
    fn defaults_are_not_given() {
        let given = given(&["taper", "inspect", "--data", "x", "--kernels", "auto"]);
        assert!(given.has("kernels") && given.has("data"));
        assert!(!given.has("device") && !given.has("no_embeddings") && !given.has("quiet"));
    }

    #[test]
    fn a_refusal_names_the_field_and_its_value() {
        let line = ["taper", "train", "--resume", "run", "--data", "x", "--tensorboard"];
        let error = of_resuming(&given(&line)).unwrap_err();
        assert!(error.is_usage());
        assert!(error.to_string().starts_with("tensorboard is set: "), "{error}");
        assert!(of_resuming(&given(&["taper", "train", "--resume", "run", "-q"])).is_ok());
    }
}
