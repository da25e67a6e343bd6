//! Errors of the libraries in the program's terms: fields become flags.

use std::{error::Error as _, io::IsTerminal, path::Path, sync::OnceLock};

use clap::error::{ContextKind, ContextValue};
use taper_args::{Given, RecipeArgs};
use taper_core::{AnyFault, Fault};
use taper_run::{Error, NamedRecipe, Recipe, RecipeError};

use crate::runs::{go_on, go_on_with};

/// The command that was called.
static CALLED: OnceLock<String> = OnceLock::new();

/// The arguments that were given, by the names of their fields.
static GIVEN: OnceLock<Given> = OnceLock::new();

/// The recipe that was read, by its name or file.
static RECIPE: OnceLock<String> = OnceLock::new();

/// What an interrupted command had done by then.
static DONE: OnceLock<String> = OnceLock::new();

/// Ends the program over arguments that cannot be parsed. clap names the argument and its value,
/// so what a library calls them is left out.
pub(crate) fn refuse_arguments(error: &clap::Error) -> ! {
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.as_str(),
        _ => "",
    };
    let problem = error.source().map(ToString::to_string).unwrap_or_default();
    match problem.split_once(&format!(" is '{value}': ")) {
        Some((_, remedy)) => {
            let text = error.render();
            let text = match std::io::stderr().is_terminal() {
                true => text.ansi().to_string(),
                false => text.to_string(),
            };
            eprint!("{}", text.replace(&problem, remedy));
            std::process::exit(error.exit_code())
        }
        None => error.exit(),
    }
}

/// Says what an interrupted command has done that stays.
pub(crate) fn already_done(text: String) {
    // Only the first interruption counts.
    let _ = DONE.set(text);
}

/// Says which command was called, and with what: messages name its options.
pub(crate) fn called(command: &str, given: &Given) {
    // Only main sets them, once.
    let _ = CALLED.set(command.to_owned());
    let _ = GIVEN.set(given.clone());
}

/// Reads the recipe that the arguments name: what is wrong in it is said of it, not of flags nobody
/// gave.
pub(crate) fn read_recipe(args: &RecipeArgs) -> Result<Recipe, Error> {
    let read = args.read()?;
    if let Some(name) = read.name {
        // A command reads one.
        let _ = RECIPE.set(name);
    }
    Ok(read.recipe)
}

/// The recipe that this field comes from, if it was not given as an argument.
fn recipe_of(field: &str) -> Option<&'static str> {
    let own = flag_name(field).replace('-', "_");
    let typed = GIVEN.get().is_some_and(|given| given.has(&own) || given.has(field));
    RECIPE.get().filter(|_| !typed).map(String::as_str)
}

/// The error of a recipe as that of the run that would have carried it out: one type for all that
/// is known about errors here.
pub(crate) fn of_runs(error: anyhow::Error) -> anyhow::Error {
    let error = match error.downcast::<RecipeError>() {
        Ok(error) => return Error::from(error).into(),
        Err(error) => error,
    };
    let error = match error.downcast::<taper_compare::Error>() {
        Ok(taper_compare::Error::Run(error)) => return error.into(),
        Ok(error) => return Error::Backbone(AnyFault::new(error)).into(),
        Err(error) => error,
    };
    let error = match error.downcast::<taper_export::Error>() {
        Ok(taper_export::Error::Run(error)) => return error.into(),
        Ok(error) => return Error::Backbone(AnyFault::new(error)).into(),
        Err(error) => error,
    };
    #[cfg(feature = "serve")]
    let error = match error.downcast::<taper_serve::Error>() {
        Ok(error) => return Error::Backbone(AnyFault::new(error)).into(),
        Err(error) => error,
    };
    match error.downcast::<taper_automl::Error>() {
        Ok(taper_automl::Error::Run(error)) => error.into(),
        Ok(error @ taper_automl::Error::Stopped { .. }) => error.into(),
        Ok(error) => Error::Backbone(AnyFault::new(error)).into(),
        Err(error) => error,
    }
}

/// Whether it is a usage error: exit code 2 instead of 1.
pub(crate) fn is_usage(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Error>().is_some_and(Fault::is_usage)
}

/// The error and its causes, except those that its own text already contains, with the program's
/// flags in place of the libraries' fields, and what to do next.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let text =
        error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |text, cause| {
            if text.contains(&cause) { text } else { format!("{text}: {cause}") }
        });
    if let Some(taper_automl::Error::Stopped { study, .. }) = error.downcast_ref() {
        return format!("{text}; {}", go_on_with("tune", study));
    }
    let known = error.downcast_ref::<Error>();
    let flags = Flags::get();
    let text = match known.and_then(Fault::setting) {
        Some(setting) => {
            let named = format!("{} is {}", setting.field, setting.value);
            match recipe_of(&setting.field) {
                Some(recipe) => text.replacen(&named, &format!("recipe '{recipe}': {named}"), 1),
                None => {
                    let flag = flags.refused(&setting.field);
                    let flag = flag.unwrap_or_else(|| setting.field.to_string());
                    text.replacen(&named, &format!("{flag} is {}", setting.value), 1)
                }
            }
        }
        None => text,
    };
    // Errors in a recipe file keep the names of its fields; a named one can only be overridden.
    let of_recipe = known.and_then(Fault::setting).and_then(|setting| recipe_of(&setting.field));
    let in_file = of_recipe.is_some_and(|name| NamedRecipe::find(name).is_err());
    if in_file || matches!(known, Some(Error::RecipeFile { .. })) {
        return text;
    }
    let text = flags
        .translate(&text)
        .replace("build with the features cuda and cudnn", "build with --features cuda,cudnn")
        .replace("give the weights as a file", "give the weights with --weights FILE")
        .replace("fetch the files by hand and open their folder", "give their folder with --data");
    match known {
        Some(Error::Zoo(error))
            if let taper_zoo::Error::UnknownModel { name, .. } = error.as_ref()
                && looks_like_a_path(name) =>
        {
            let remedy = match CALLED.get().map(String::as_str) {
                Some("predict") => "give a trained model as the first argument, without --model",
                _ => {
                    "give a file of weights, or a trained model, with --weights, and the name of its network with --model"
                }
            };
            format!("--model is '{name}', not the name of a network: {remedy}")
        }
        Some(Error::Output(taper_outputs::Error::FolderExists { .. })) => {
            text.replace("another,", "another with --out,")
        }
        Some(Error::Interrupted) if let Some(done) = DONE.get() => format!("{text}: {done}"),
        Some(Error::Interrupted) => {
            format!(
                "{text}: nothing was written; features computed so far are in the cache, if it is on"
            )
        }
        Some(Error::InterruptedRun { run } | Error::Broken { run, .. }) => {
            format!("{text}; {}", go_on(run))
        }
        Some(Error::Graph(taper_graph::Error::UnknownLayer { network, .. })) => {
            format!("{text}: 'taper summary --model {network}' shows it")
        }
        _ => text,
    }
}

/// Names of networks elsewhere have dots and slashes too, e.g. `timm/resnet50.a1_in1k`.
fn looks_like_a_path(name: &str) -> bool {
    const OF_WEIGHTS: [&str; 5] = ["bin", "ckpt", "pt", "pth", "safetensors"];
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|own| OF_WEIGHTS.contains(&own)) || Path::new(name).exists()
}

/// A text of the libraries with flags in place of the fields between backticks.
pub(crate) fn in_flags(text: &str) -> String {
    if text.contains('`') { Flags::get().translate(text) } else { text.to_owned() }
}

/// The long flags of the command that was called, and those of the others, as command and flag.
struct Flags {
    own: Vec<String>,
    /// Those that the command refuses.
    hidden: Vec<String>,
    others: Vec<(String, String)>,
}

impl Flags {
    fn get() -> &'static Self {
        static FLAGS: OnceLock<Flags> = OnceLock::new();
        FLAGS.get_or_init(|| Self::of_command(CALLED.get().map_or("train", String::as_str)))
    }

    fn of_command(called: &str) -> Self {
        let (mut own, mut hidden, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for command in taper_args::command().get_subcommands() {
            for argument in command.get_arguments() {
                let Some(flag) = argument.get_long() else { continue };
                match (command.get_name(), argument.is_hide_set()) {
                    (name, false) if name == called => own.push(flag.to_owned()),
                    (name, true) if name == called => hidden.push(flag.to_owned()),
                    (_, true) => {}
                    (name, false) => others.push((name.to_owned(), flag.to_owned())),
                }
            }
        }
        Self { own, hidden, others }
    }

    /// The flag that an error is about.
    fn refused(&self, field: &str) -> Option<String> {
        let name = flag_name(field);
        self.of(field).or_else(|| self.hidden.contains(&name).then(|| format!("--{name}")))
    }

    /// The flag of a recipe's field, if the command has one.
    fn of(&self, field: &str) -> Option<String> {
        let name = flag_name(field);
        self.own.contains(&name).then(|| format!("--{name}"))
    }

    /// The flag, with the command that has it if it is another.
    fn anywhere(&self, field: &str) -> Option<String> {
        let name = flag_name(field);
        let other = || self.others.iter().find(|(_, flag)| *flag == name);
        self.of(field).or_else(|| other().map(|(command, _)| format!("taper {command} --{name}")))
    }

    /// Fields between backticks become flags.
    fn translate(&self, text: &str) -> String {
        let mut told = String::with_capacity(text.len());
        let mut command = None;
        // What a file must have keeps the names that it has there.
        let mut of_file = false;
        for (index, part) in text.split('`').enumerate() {
            match self.anywhere(part) {
                _ if index % 2 == 0 => {
                    told += part;
                    if part.contains(['.', ':', ';', '\n']) {
                        command = None;
                    }
                    of_file = part.ends_with("unknown field ")
                        || of_file && !part.contains([')', ';', '\n']);
                }
                _ if of_file => told += &format!("`{part}`"),
                // Several options of one other command: it is named once.
                Some(flag) => match flag.rsplit_once(" --") {
                    Some((own, name)) if command.as_deref() == Some(own) => {
                        told += &format!("--{name}");
                    }
                    Some((own, _)) => {
                        command = Some(own.to_owned());
                        told += &flag;
                    }
                    None => told += &flag,
                },
                None => told += &format!("`{part}`"),
            }
        }
        told
    }
}

/// The name of a field's flag, if it has one.
fn flag_name(field: &str) -> String {
    match field {
        // In a table of its own in recipes.
        "every" => "checkpoint-every".to_owned(),
        "warmup.over" => "warmup".to_owned(),
        "fine_tune.from" => "unfreeze".to_owned(),
        "fine_tune.batch_norm" => "batch-norm".to_owned(),
        "fine_tune.cache_precision" => "cache-precision".to_owned(),
        "fine_tune.learning_rate" => "fine-tune-rate".to_owned(),
        "fine_tune.batch_size" => "fine-tune-batch".to_owned(),
        "fine_tune.epochs" => "fine-tune-epochs".to_owned(),
        "fine_tune.patience" => "fine-tune-patience".to_owned(),
        "fine_tune.layer_decay" => "layer-decay".to_owned(),
        other => other.replace('_', "-"),
    }
}

#[cfg(test)]
mod tests {
    use taper_core::OutOfRange;

    use super::*;

    #[test]
    fn fields_become_flags_where_there_is_one() {
        let flags = Flags::of_command("train");
        let told = flags.translate("use 2 or more `views`, or `fresh_views`, not `beta1` of `x`.");
        assert_eq!(told, "use 2 or more --views, or --fresh-views, not `beta1` of `x`.");
        let unknown = "(unknown field `view`, expected one of `views`, `head`)";
        let told = flags.translate(&format!("{unknown}: leave out `views`"));
        assert_eq!(told, format!("{unknown}: leave out --views"));
        let told = flags.translate("`fix` DIR leaves them out");
        assert_eq!(told, "taper inspect --fix DIR leaves them out");
        let told = Flags::of_command("inspect").translate("`class_weights` balanced");
        assert_eq!(told, "taper train --class-weights balanced");
        let error = Error::from(OutOfRange::new("batch_size", 0, "use 1 or more, e.g. 64"));
        let error = anyhow::Error::from(error);
        assert_eq!(super::told(&error), "--batch-size is 0: use 1 or more, e.g. 64");
        assert!(is_usage(&error));
        let error = anyhow::Error::from(Error::from(OutOfRange::new("beta1", 2, "use less")));
        assert_eq!(super::told(&error), "beta1 is 2: use less");
        assert!(!is_usage(&anyhow::Error::from(Error::Interrupted)));
    }
}
