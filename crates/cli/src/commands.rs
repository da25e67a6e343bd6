use std::sync::{Arc, atomic::AtomicBool};

use serde_json::{Value, json};
use taper_args::{
    AugmentArgs, CacheArgs, Command, Given, ListArgs, LrFindArgs, RecipesArgs, flags,
};
use taper_console::Console;
use taper_lr_finder::Method;
use taper_run::{KNOWN_DATASETS, NAMED_RECIPES, NamedRecipe, OutFolder, Session, check_present};
use taper_run_report::Reporter;

use crate::{
    compare::compare,
    completions::{completions, man},
    embed::embed,
    errors::{in_flags, read_recipe},
    evaluate::evaluate,
    export::export,
    info::info,
    inspect::inspect,
    models::list_models,
    output::{Status, answer_json, answer_line, status, visible},
    predict::predict,
    runs::next_run,
    summary::summary,
    train::train,
    tune::tune,
};

/// A line of a library with the names of flags, and nothing in it that steers the terminal.
fn worded(line: &str) -> String {
    visible(&in_flags(line)).into_owned()
}

/// Carries out a command.
pub(crate) fn run(
    command: Command,
    given: &Given,
    interrupted: Arc<AtomicBool>,
) -> anyhow::Result<Status> {
    let session =
        |quiet| Session::new(Arc::new(Console::new(quiet, worded)), Arc::clone(&interrupted));
    let cached = |quiet, args: &CacheArgs| cached(session(quiet), args, given);
    match command {
        Command::Train(args) => {
            let session = cached(args.reply.quiet, &args.cache)?;
            train(&args, given, &session.with_observer(Some(Arc::new(Reporter))))
        }
        Command::Tune(args) => tune(&args, given, &cached(args.reply.quiet, &args.cache)?),
        Command::Compare(args) => compare(&args, given, &cached(args.reply.quiet, &args.cache)?),
        Command::LrFind(args) => lr_find(&args, given, &cached(args.reply.quiet, &args.cache)?),
        Command::Inspect(args) => inspect(&args, given, &cached(args.reply.quiet, &args.cache)?),
        Command::Evaluate(args) => evaluate(&args, &cached(args.reply.quiet, &args.cache)?),
        Command::Augment(args) => augment(&args, given, &session(args.reply.quiet)),
        Command::Predict(args) => predict(&args, given, &session(args.quiet)),
        Command::Info(args) => info(&args),
        Command::Export(args) => export(&args, given, &session(false)),
        #[cfg(feature = "serve")]
        Command::Serve(args) => crate::serve::serve(&args, &session(args.quiet)),
        Command::Embed(args) => embed(&args, given, &cached(args.reply.quiet, &args.cache)?),
        Command::Summary(args) => summary(&args),
        Command::Recipes(args) => recipes(&args),
        Command::Models(args) => list_models(&args),
        Command::Datasets(args) => list_datasets(&args),
        Command::Completions(args) => completions(&args),
        Command::Man(args) => man(&args),
    }
}

fn cached(session: Session, args: &CacheArgs, given: &Given) -> anyhow::Result<Session> {
    flags::of_cache(given, args.folder().is_none())?;
    Ok(match args.open() {
        Some(cache) => session.with_cache(cache),
        None => session,
    })
}

fn recipes(args: &RecipesArgs) -> anyhow::Result<Status> {
    match &args.name {
        Some(name) => {
            let recipe = NamedRecipe::find(name)?;
            if args.json {
                answer_json(&json!({ "name": recipe.name, "toml": recipe.toml }))?;
            } else {
                answer_line(recipe.toml.trim_end())?;
            }
        }
        None if args.json => {
            let entry = |r: &NamedRecipe| json!({ "name": r.name, "description": r.description });
            answer_json(&NAMED_RECIPES.iter().map(entry).collect::<Vec<Value>>())?;
        }
        None => {
            for recipe in &NAMED_RECIPES {
                answer_line(&format!("{:10} {}", recipe.name, recipe.description))?;
            }
        }
    }
    Ok(Status::Done)
}

fn lr_find(args: &LrFindArgs, given: &Given, session: &Session) -> anyhow::Result<Status> {
    let recipe = args.resolve(read_recipe(&args.recipe)?);
    flags::of_finder(given, &recipe)?;
    let recipe = recipe.check()?;
    let out = match &args.out {
        Some(out) => OutFolder::from(out),
        None => next_run(&recipe.recipe().data, recipe.model().name, "lr-"),
    };
    let found = taper_run::find_rate(recipe, out, session)?;
    if args.reply.json {
        answer_json(&found)?;
    } else {
        for method in Method::ALL {
            let rate = found.suggestions.get(method);
            let rate = rate.map_or("no descent seen".into(), |rate| format!("{rate:.3e}"));
            let chosen = if method.name() == found.method { "  chosen" } else { "" };
            answer_line(&format!("{method:8} {rate}{chosen}"))?;
        }
        let [low, high] = found.spread;
        if low != high {
            answer_line(&format!("sweeps   from {low:.3e} to {high:.3e}"))?;
        }
        answer_line(&format!("plot     {}", found.plot))?;
    }
    Ok(status(&found.unreadable))
}

fn augment(args: &AugmentArgs, given: &Given, session: &Session) -> anyhow::Result<Status> {
    let recipe = args.recipe();
    flags::augmentation(given, &recipe)?;
    check_present(&recipe.data)?;
    let recipe = recipe.check()?;
    let augmented =
        taper_augment_sheet::augment_sheet(&recipe, &args.out, args.overwrite, session)?;
    if args.reply.json {
        answer_json(&augmented)?;
    } else {
        answer_line(&format!("{} pictures to train on", augmented.cardinality()))?;
        answer_line(&match augmented.views {
            1 => "1 view of each, the unchanged picture: nothing is augmented with fewer than 2 --views".into(),
            views => format!(
                "{views} fixed views of each with {}: the same in every epoch, so that features are computed once",
                augmented.augment
            ),
        })?;
        answer_line(&format!("sheet {}", augmented.sheet))?;
    }
    Ok(status(&augmented.unreadable))
}

fn list_datasets(args: &ListArgs) -> anyhow::Result<Status> {
    if args.json {
        let entries: Vec<Value> = KNOWN_DATASETS
            .iter()
            .map(|d| {
                json!({
                    "name": d.name,
                    "source": d.description,
                    "licence": d.licence,
                    "embedded": d.embedded,
                    "size": d.bytes,
                    "digest": d.digests,
                })
            })
            .collect();
        return answer_json(&entries).map(|()| Status::Done);
    }
    for d in &KNOWN_DATASETS {
        answer_line(&format!("{}: {} ({})", d.name, d.description, d.licence))?;
    }
    answer_line(
        "Any folder of pictures is a data set too (train/, val/, test/ or class folders alone), and any manifest, archive, Parquet file and hf:owner/name.",
    )?;
    Ok(Status::Done)
}
