//! `taper train --preset`.

use std::path::Path;

use taper_args::{Given, TrainArgs, flags};
use taper_automl::{
    Preset, SearchEnd, SearchSettings, Searched, is_search, is_study, resume_search,
    search as begin,
};
use taper_core::OutOfRange;
use taper_run::{Error, OutFolder, Session};

use crate::{
    errors::read_recipe,
    output::{Status, answer_json, answer_line, status},
    runs::{go_on, next_run},
    train::describe,
};

/// Whether a search is asked for, and not a single training.
pub(crate) fn is_meant(args: &TrainArgs, given: &Given) -> Result<bool, Error> {
    if let Some(study) = args.resume.as_deref().filter(|folder| is_study(folder)) {
        let remedy = "it is the folder of a study: go on with it by `taper tune`";
        return Err(OutOfRange::new("resume", study.display(), remedy).into());
    }
    if args.resume.as_deref().is_some_and(is_search) {
        return Ok(true);
    }
    let meant = args.preset.is_some_and(|preset| preset != Preset::Fast);
    match &args.resume {
        _ if meant => {}
        None => flags::of_fast(given, args.preset)?,
        Some(folder) if !folder.exists() => {
            let problem = "there is no such folder: give that of a run or of a search";
            return Err(Error::Resume { path: folder.clone(), problem: problem.into() });
        }
        Some(_) => flags::of_resumed_run(given)?,
    }
    Ok(meant && args.resume.is_none())
}

pub(crate) fn search(args: &TrainArgs, given: &Given, session: &Session) -> anyhow::Result<Status> {
    let limit = args.time_limit.map(Into::into);
    let searched = match &args.resume {
        Some(folder) => {
            flags::of_resumed_search(given)?;
            let data = given.has("data").then(|| args.recipe.changes().data).flatten();
            resume_search(folder, limit, data.as_deref(), session)?
        }
        None => {
            flags::of_search(given)?;
            let recipe = args.recipe.resolve(read_recipe(&args.recipe)?);
            let preset = args.preset.unwrap_or_default();
            let settings = SearchSettings::new(&recipe, preset, limit, &args.models)?;
            let settings = SearchSettings { try_fit: !given.has("fit"), ..settings };
            let out = match &args.out {
                Some(out) => OutFolder::from(out),
                None => next_run(&recipe.data, &preset.to_string(), ""),
            };
            begin(recipe, settings, out, session)?
        }
    };
    taper_run_report::add_search(&searched)?;
    if args.reply.json {
        answer_json(&searched)?;
    } else {
        show(&searched)?;
    }
    if searched.search.ended == SearchEnd::Interrupted {
        eprintln!(
            "interrupted; saved: {} ({}); {}",
            Path::new(&searched.answer.run).join("model.safetensors").display(),
            searched.search.chosen,
            go_on(Path::new(&searched.answer.run))
        );
        return Ok(Status::Interrupted);
    }
    Ok(status(&searched.answer.unreadable))
}

fn show(searched: &Searched) -> anyhow::Result<()> {
    let own = &searched.search;
    let width = own.tried.iter().map(|tried| tried.name.chars().count()).max().unwrap_or(0).max(5);
    answer_line(&format!(
        "{:width$}  folds  pictures  accuracy   Brier              gain        s",
        "tried"
    ))?;
    for tried in &own.tried {
        let gain = tried.gain.map_or(String::new(), |gain| {
            format!("{:+.4} ± {:.4}", gain.brier, gain.standard_error)
        });
        answer_line(&format!(
            "{:width$}  {:5}  {:8}  {:8.4}  {:6.4}  {gain:>16}  {:7.1}{}",
            tried.name,
            tried.folds,
            tried.pictures,
            tried.accuracy,
            tried.brier,
            tried.seconds,
            if tried.kept { "  kept" } else { "" }
        ))?;
    }
    for step in &own.steps {
        let test =
            step.test_accuracy.map_or(String::new(), |test| format!("test accuracy {test:.4}, "));
        answer_line(&format!("trained       {}: {test}after {:.0} s", step.name, step.at))?;
    }
    let ended = match own.ended {
        SearchEnd::Complete => "everything was tried",
        SearchEnd::Time => "there was no time for the rest",
        SearchEnd::Interrupted => "interrupted",
    };
    answer_line(&format!(
        "search        {}, {:.0} s of {:.0} s: {ended}; the model is: {}",
        own.preset, own.seconds, own.time_limit, own.chosen
    ))?;
    describe(&searched.answer)
}
