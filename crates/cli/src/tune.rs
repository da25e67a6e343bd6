//! `taper tune`.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use taper_args::{Given, TuneArgs, flags};
use taper_automl::{Ended, PruningChoice, StudySettings, Tuned, default_space};
use taper_core::OutOfRange;
use taper_run::{Error, OutFolder, Session};
use taper_tune::Space;

use crate::{
    errors::read_recipe,
    output::{Status, answer_json, answer_line, in_line, status},
    runs::{go_on_with, next_run},
};

pub(crate) fn tune(args: &TuneArgs, given: &Given, session: &Session) -> anyhow::Result<Status> {
    let limit = args.time_limit.map(Into::into);
    if args.with_parent {
        std::thread::spawn(end_with_parent);
    }
    let tuned = match &args.resume {
        Some(folder) => {
            flags::of_resumed_study(given)?;
            match args.jobs.filter(|jobs| *jobs > 1) {
                Some(jobs) => together(folder, jobs, args, session)?,
                None => taper_automl::resume(folder, args.trials, limit, session)?,
            }
        }
        None => begin(args, given, limit, session)?,
    };
    if tuned.ended != Ended::Interrupted {
        taper_run_report::write_study(&tuned)?;
    }
    if args.reply.json {
        answer_json(&tuned)?;
    } else {
        describe(&tuned)?;
    }
    if tuned.ended == Ended::Interrupted {
        eprintln!("interrupted; {}", go_on_with("tune", Path::new(&tuned.study)));
        return Ok(Status::Interrupted);
    }
    Ok(status(&tuned.unreadable))
}

fn begin(
    args: &TuneArgs,
    given: &Given,
    limit: Option<std::time::Duration>,
    session: &Session,
) -> anyhow::Result<Tuned> {
    let recipe = args.recipe.resolve(read_recipe(&args.recipe)?);
    flags::of_training(given, &recipe)?;
    let space = match &args.space {
        Some(file) if !file.is_file() => {
            let remedy = "there is no such file: check the spelling";
            let shown = format!("'{}'", file.display());
            return Err(Error::from(OutOfRange::new("space", shown, remedy)).into());
        }
        Some(file) => Space::from_file(file).map_err(taper_automl::Error::from)?,
        None => default_space(&recipe)?,
    };
    flags::of_space(given, space.iter().map(|(name, _)| name))?;
    let default = StudySettings::default();
    // A training of a head alone takes less time than going on with it.
    let pruning = match recipe.trains_network() {
        true => default.pruning,
        false => PruningChoice::None,
    };
    let settings = StudySettings {
        trials: args.trials.unwrap_or(default.trials),
        sampler: args.sampler.unwrap_or(default.sampler),
        pruning: args.pruning.unwrap_or(pruning),
        monitor: args.monitor.unwrap_or(default.monitor),
        seed: recipe.seed,
    };
    let out = match &args.out {
        Some(out) => OutFolder::from(out),
        None => {
            let model = taper_zoo::find(&recipe.model).map_err(Error::from)?.name;
            next_run(&recipe.data, model, "tune-")
        }
    };
    match args.jobs.filter(|jobs| *jobs > 1) {
        Some(jobs) => {
            let folder = taper_automl::create(recipe, space, settings, out)?;
            together(&folder, jobs, args, session)
        }
        None => Ok(taper_automl::tune(recipe, space, settings, out, limit, session)?),
    }
}

/// Waits until standard input ends, and ends this process as a signal would: in an orderly way.
fn end_with_parent() {
    // Nothing is ever sent.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    #[cfg(unix)]
    let raised = signal_hook::low_level::raise(signal_hook::consts::SIGTERM).is_ok();
    #[cfg(not(unix))]
    let raised = false;
    if !raised {
        std::process::exit(143);
    }
}

/// How long processes have to end by themselves after an interruption, which they get too.
const GRACE: Duration = Duration::from_secs(20);

/// Several processes that go on with a study, and what it has come to when they have ended.
fn together(folder: &Path, jobs: u32, args: &TuneArgs, session: &Session) -> anyhow::Result<Tuned> {
    let start = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (threads / jobs as usize).max(1).to_string();
    let program = std::env::current_exe()?;
    let process = |first: bool| -> std::io::Result<Child> {
        let mut command = Command::new(&program);
        command
            .args(["tune", "--with-parent", "--resume"])
            .arg(folder)
            .env("RAYON_NUM_THREADS", &threads);
        command.args(args.cache.given());
        if let Some(limit) = &args.time_limit {
            command.arg("--time-limit").arg(limit.to_string());
        }
        if let Some(trials) = args.trials.filter(|_| first && args.resume.is_some()) {
            command.arg("--trials").arg(trials.to_string());
        }
        if args.reply.quiet {
            command.arg("--quiet");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()
    };
    let mut processes = Vec::new();
    for number in 0..jobs {
        processes.push(process(number == 0)?);
    }
    let (mut failed, mut told) = (None, None);
    while !processes.is_empty() {
        std::thread::sleep(Duration::from_millis(50));
        if session.interrupted() {
            processes.iter_mut().for_each(|process| drop(process.stdin.take()));
        }
        if session.interrupted() && told.get_or_insert_with(Instant::now).elapsed() > GRACE {
            // Nothing is lost: the study knows how far each trial came.
            processes.iter_mut().try_for_each(Child::kill)?;
        }
        let mut left = Vec::new();
        for mut process in processes {
            match process.try_wait()? {
                None => left.push(process),
                // Done; done with pictures that cannot be used; interrupted.
                Some(status) if matches!(status.code(), Some(0 | 3)) => {}
                Some(status) if !session.interrupted() => failed = Some(status),
                Some(_) => {}
            }
        }
        processes = left;
    }
    if let Some(status) = failed {
        let folder = folder.display();
        anyhow::bail!(
            "a process of the study ended with {status}; the study '{folder}' keeps its trials and can be resumed"
        );
    }
    let ended = if session.interrupted() { Ended::Interrupted } else { Ended::Time };
    Ok(taper_automl::summary(folder, ended, start, session)?)
}

fn describe(tuned: &Tuned) -> anyhow::Result<()> {
    let row = |name: &str, text: &str| answer_line(&format!("{name:13} {text}"));
    let counts = tuned.trials;
    let mut trials = format!("{} complete", counts.complete);
    for (n, what) in [
        (counts.pruned, "pruned"),
        (counts.waiting, "waiting"),
        (counts.running, "running elsewhere"),
        (counts.failed, "failed"),
    ] {
        if n > 0 {
            trials += &format!(", {n} {what}");
        }
    }
    let ended = match tuned.ended {
        Ended::Complete => "",
        Ended::Time => "; the time is up",
        Ended::Interrupted => "; interrupted",
    };
    let epochs = tuned.epochs;
    row("trials", &format!("{trials}; {epochs} epochs in all; {:.1} s{ended}", tuned.seconds))?;
    let mut importance: Vec<_> = tuned.importance.iter().collect();
    importance.sort_by(|a, b| b.1.total_cmp(a.1));
    if !importance.is_empty() {
        let shares = importance
            .iter()
            .map(|(name, share)| format!("{name} {:.0} %", 100.0 * share.max(0.0)));
        row("importance", &shares.collect::<Vec<_>>().join(", "))?;
    }
    let Some(best) = &tuned.best else {
        let remedy = match tuned.ended {
            Ended::Complete => "see trials.csv for what they came to",
            Ended::Time | Ended::Interrupted => "go on with --resume",
        };
        row("best", &format!("no trial is complete: {remedy}"))?;
        return row("study", &tuned.study);
    };
    row("best", &format!("trial {}", best.number))?;
    for (name, value) in &best.parameters {
        answer_line(&format!("  {name} = {}", in_line(&value.to_string())))?;
    }
    row(
        "validation",
        &format!(
            "accuracy {:.4}, loss {:.4}{}",
            best.val_accuracy,
            best.val_loss,
            match counts.complete {
                1 => String::new(),
                n => format!(": the best of {n} trials, better than other pictures will show"),
            }
        ),
    )?;
    if let (Some(accuracy), Some(loss)) = (best.test_accuracy, best.test_loss) {
        row("test", &format!("accuracy {accuracy:.4}, loss {loss:.4}, untouched"))?;
    }
    row("study", &format!("{} (study.journal is an Optuna journal)", tuned.study))?;
    row("recipe", &best.recipe)?;
    row("model", &format!("{}/model.safetensors", best.run))
}
