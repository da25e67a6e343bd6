//! `taper train`.

use std::path::Path;

use taper_args::{Given, TrainArgs, flags};
use taper_run::{
    Answer, BatchNormChoice, FineTuned, HeadChoice, OutFolder, Outcome, OwnCallbacks, Recipe,
    Repeated, Resumed, Session, Spread,
};
use taper_run_report::REPORT;
use taper_train::LogisticFigures;

use crate::{
    errors::read_recipe,
    output::{
        Status, answer_json, answer_line, calibration_error, confused, judgement, per_class,
        status, temperature_line,
    },
    runs::{go_on, next_run},
    search,
};

/// The trained model in a run folder.
const MODEL: &str = "model.safetensors";

pub(crate) fn train(args: &TrainArgs, given: &Given, session: &Session) -> anyhow::Result<Status> {
    if search::is_meant(args, given)? {
        return search::search(args, given, session);
    }
    let answered = if let Some(run) = &args.resume {
        flags::of_resuming(given)?;
        let changes = args.recipe.changes();
        match taper_run::resume_changed(run, &changes, OwnCallbacks::new(), session)? {
            Resumed::Trained(answer) => *answer,
            Resumed::Complete(answer) => {
                session.progress().say(if given.has("data") {
                    "the run is complete, and there is nothing left to do: these are its pictures, its recipe now says where they are, and this is its result"
                } else {
                    "the run is complete, and there is nothing left to do: this is its result, for which no picture was read again"
                });
                *answer
            }
            Resumed::Repeated(answer) => {
                return repeated(&answer, args.reply.json);
            }
        }
    } else {
        let read = read_recipe(&args.recipe)?;
        let lowered = args.recipe.lowered(&read);
        let mode = read.fine_tune.as_ref().map(|own| own.batch_norm);
        let recipe = args.recipe.resolve(read);
        let open = args.recipe.leaves_head_open();
        let recipe = if open { fast(recipe, given) } else { recipe };
        flags::of_training(given, &recipe)?;
        let recipe = recipe.check()?;
        if let Some(lowered) = lowered {
            session.progress().say(&lowered);
        }
        let fitted = recipe.recipe().fine_tune.as_ref().map(|own| own.batch_norm);
        if mode == Some(BatchNormChoice::Train) && fitted != mode && !given.has("batch_norm") {
            session.progress().say(
                "nothing that is trained has BatchNorm, so that the recipe's mode for it does not matter",
            );
        }
        if open && !recipe.recipe().solves_head() {
            session.progress().say(&format!(
                "the head is {}, trained in epochs, since other options ask for that; `head` logistic is solved",
                recipe.recipe().head
            ));
        }
        let out = match &args.out {
            Some(out) => OutFolder::from(out),
            None => next_run(&recipe.recipe().data, recipe.model().name, ""),
        };
        if recipe.recipe().is_repeated() {
            let answer = taper_run::train_repeatedly(recipe, out, session)?;
            return repeated(&answer, args.reply.json);
        }
        taper_run::train(recipe, out, session)?
    };
    if args.reply.json {
        answer_json(&answered)?;
    } else {
        describe(&answered)?;
    }
    if answered.stopped == Outcome::Interrupted {
        // Said even with --quiet: whoever interrupts a training wants to know what is left of it.
        let run = Path::new(&answered.run);
        let (epochs, phase) = match &answered.fine_tune {
            Some(tuned) if tuned.stopped == Outcome::Interrupted => {
                (tuned.epochs, " of fine-tuning")
            }
            _ => (answered.epochs, ""),
        };
        let plural = if epochs == 1 { "" } else { "s" };
        eprintln!(
            "interrupted after {epochs} epoch{plural}{phase}; saved: {} ({}) and a checkpoint; {}",
            run.join(MODEL).display(),
            weights_of(&answered),
            go_on(run)
        );
        return Ok(Status::Interrupted);
    }
    Ok(status(&answered.unreadable))
}

/// The recipe with the head that is solved, unless something steers a training in steps.
fn fast(recipe: Recipe, given: &Given) -> Recipe {
    let solved = Recipe { head: HeadChoice::Logistic, ..recipe.clone() };
    let fits = !recipe.trains_network()
        && flags::of_training(given, &solved).is_ok()
        && solved.clone().check().is_ok();
    if fits { solved } else { recipe }
}

/// Which epoch the weights are of; people count from 1.
fn weights_of(answer: &Answer) -> String {
    match answer.best_epoch {
        Some(epoch) => format!("weights of epoch {}", epoch + 1),
        None if answer.epochs == 0 && answer.stopped != Outcome::Interrupted => {
            "the head as it began".into()
        }
        None => "weights of an unfinished epoch".into(),
    }
}

/// How the head was solved.
fn solved_head(own: &LogisticFigures) -> anyhow::Result<()> {
    let how = match own.folds {
        0 => "a class has a single picture or group, so that no other could be tried".to_owned(),
        folds => format!("of {} tried in {folds} folds of the training pictures", own.tried.len()),
    };
    let end = if own.converged { "solved" } else { "not quite solved" };
    answer_line(&format!(
        "head          strength {:.3e}, {how}; {end} after {} iterations",
        own.strength, own.iterations
    ))
}

fn end_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "",
        Outcome::Early => " (stopped early)",
        Outcome::Nan => " (the loss became NaN)",
        Outcome::Interrupted => " (interrupted)",
    }
}

/// What the second phase did, and what the first one had reached.
fn tuned_layers(tuned: &FineTuned, t: &Answer) -> anyhow::Result<()> {
    let before = match t.epochs {
        0 if t.logistic.is_none() => "the untrained head",
        _ => "the head alone",
    };
    let best = match (&tuned.soup[..], tuned.best_epoch) {
        ([_, _, ..], _) => {
            let mut epochs: Vec<u64> = tuned.soup.iter().map(|epoch| epoch + 1).collect();
            epochs.sort_unstable();
            let epochs: Vec<String> = epochs.iter().map(u64::to_string).collect();
            format!("mean weights of epochs {}", epochs.join(", "))
        }
        (_, Some(epoch)) => format!("weights of epoch {}", epoch + 1),
        (_, None) => "no epoch ended well".into(),
    };
    let kept = match tuned.alpha {
        _ if tuned.stopped == Outcome::Interrupted => {
            format!(", interrupted: until the phase is over, the model is that of {before}")
        }
        _ if tuned.best_epoch.is_none() => format!(": {before} is kept"),
        1.0 => String::new(),
        0.0 => {
            format!(", none of which helped on the validation pictures: {before} is kept")
        }
        alpha => format!(", {alpha:.1} of the way from {before}"),
    };
    let plural = if tuned.epochs == 1 { "" } else { "s" };
    answer_line(&format!(
        "fine-tuned    {} epoch{plural}{} from {} on, {best}{kept}",
        tuned.epochs,
        if tuned.stopped == Outcome::Interrupted { "" } else { end_of(tuned.stopped) },
        tuned.from
    ))?;
    let test = tuned.probe_test_accuracy;
    let test = test.map_or(String::new(), |test| format!(", test accuracy {test:.4}"));
    answer_line(&format!(
        "before that   validation accuracy {:.4}, loss {:.4}{test}",
        tuned.probe_val_accuracy, tuned.probe_val_loss
    ))
}

fn repeated(answer: &Repeated, json: bool) -> anyhow::Result<Status> {
    taper_run_report::write_repeated(answer)?;
    if json {
        answer_json(answer)?;
    } else {
        let folds =
            answer.folds.iter().enumerate().map(|(fold, own)| (format!("fold {fold}"), own));
        let seeds = answer.seeds.iter().map(|own| (format!("seed {}", own.seed), own));
        for (name, own) in folds.chain(seeds) {
            let test = own.test.as_ref();
            let test = test.map_or(String::new(), |test| format!(", on test {:.4}", test.accuracy));
            answer_line(&format!(
                "{name:<13} accuracy {:.4}, loss {:.4} ({} pictures){test}",
                own.val_accuracy, own.val_loss, own.validation.n
            ))?;
        }
        spreads([
            ("accuracy", Some(answer.val_accuracy)),
            ("loss", Some(answer.val_loss)),
            ("on test", answer.test_accuracy),
        ])?;
        if let Some(before) = &answer.head_alone {
            answer_line("before fine-tuning, with the head alone")?;
            spreads([
                ("accuracy", Some(before.val_accuracy)),
                ("loss", Some(before.val_loss)),
                ("on test", before.test_accuracy),
            ])?;
        }
        answer_line(&format!("trainings     {}", answer.run))?;
    }
    Ok(status(&answer.unreadable))
}

/// Figures over the trainings.
fn spreads(figures: [(&str, Option<Spread>); 3]) -> anyhow::Result<()> {
    for (name, spread) in figures {
        let Some(s) = spread else { continue };
        answer_line(&format!(
            "{name:13} {:.4} ± {:.4} ({:.4} to {:.4})",
            s.mean, s.std, s.min, s.max
        ))?;
    }
    Ok(())
}

pub(crate) fn describe(t: &Answer) -> anyhow::Result<()> {
    let ended = end_of(t.head_stopped);
    match &t.logistic {
        Some(own) => solved_head(own)?,
        None => answer_line(&format!("epochs        {}{ended}, {}", t.epochs, weights_of(t)))?,
    }
    if let Some((own, alone)) = t.names.as_ref().and_then(|own| Some((own, own.tried.first()?))) {
        answer_line(&format!(
            "names alone   accuracy {:.4}, loss {:.4} (validation); {:.1} of the way to the trained head kept",
            alone.val_accuracy, alone.val_loss, own.alpha
        ))?;
    }
    if let Some(tuned) = &t.fine_tune {
        tuned_layers(tuned, t)?;
    }
    answer_line(&format!(
        "validation    accuracy {:.4}, loss {:.4} ({} pictures: {})",
        t.val_accuracy, t.val_loss, t.validation.n, t.validated_on
    ))?;
    let honest = match &t.test {
        Some(test) => {
            answer_line(&format!(
                "test          accuracy {:.4}, loss {:.4} ({} untouched pictures)",
                test.accuracy, test.loss, test.n
            ))?;
            test
        }
        None => &t.validation,
    };
    per_class(honest)?;
    confused(honest)?;
    if let Some(own) = &t.calibrated {
        let temperature = temperature_line(own.temperature, own.limit);
        answer_line(&format!("temperature   {temperature}"))?;
        match &own.test {
            Some(test) => {
                calibration_error("validation", &own.validation)?;
                judgement("test", test)?;
            }
            None => judgement("validation", &own.validation)?,
        }
    }
    let rest = t.fine_tune.as_ref();
    let rest = rest.map_or(String::new(), |own| format!(", fine-tuning {:.1} s", own.seconds));
    answer_line(&format!(
        "time          {:.1} s: features {:.1} s, head {:.1} s{rest}",
        t.total_seconds, t.feature_seconds, t.head_seconds
    ))?;
    let report = Path::new(&t.run).join(REPORT);
    if report.is_file() {
        answer_line(&format!("report        {}", report.display()))?;
    }
    answer_line(&format!("model         {}", Path::new(&t.run).join(MODEL).display()))
}
