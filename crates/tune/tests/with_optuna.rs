//! One study, and two programs that share it: needs Python with Optuna, in `PATH` or named by
//! `TAPER_OPTUNA_PYTHON`.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
};

use serde::Deserialize;
use taper_tune::{
    Direction, Distribution, MedianConfig, Outcome, Pruning, Space, Study, TrialState, Value,
};

#[derive(Deserialize)]
struct Listed {
    directions: Vec<String>,
    attributes: BTreeMap<String, Value>,
    best: (usize, f64),
    trials: Vec<ListedTrial>,
}

#[derive(Deserialize)]
struct ListedTrial {
    number: usize,
    state: String,
    params: BTreeMap<String, Value>,
    value: Option<String>,
    steps: BTreeMap<String, String>,
    user_attrs: Vec<String>,
    seconds: Option<f64>,
}

/// Python, if it has Optuna; otherwise the test is skipped.
fn python() -> Option<PathBuf> {
    let python = env::var_os("TAPER_OPTUNA_PYTHON").unwrap_or_else(|| "python3".into());
    let found = Command::new(&python).args(["-c", "import optuna"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python.into());
    }
    // xtask knows these words: nobody needs Python to work on Taper.
    taper_testing::skip("no Python with Optuna on this machine (TAPER_OPTUNA_PYTHON names one)");
    None
}

fn optuna(python: &Path, command: &str, journal: &Path, more: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/with_optuna.py");
    let mut optuna = Command::new(python);
    optuna.arg(script).arg(command).arg(journal).arg("shared").args(more);
    optuna
}

fn list(python: &Path, journal: &Path) -> Listed {
    let output = optuna(python, "list", journal, &[]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn open(journal: &Path) -> Study {
    Study::open(journal, "shared", Direction::Min).unwrap()
}

fn space() -> Space {
    let layers = Distribution::Int { low: 1, high: 9, log: false, step: 2 };
    let space = Space::new().float("x", -5.0, 5.0).unwrap().log_float("rate", 1e-4, 1.0).unwrap();
    let space = space.with("layers", layers).unwrap();
    space.choice("shape", ["flat", "steep"]).unwrap()
}

fn run(study: &mut Study, trials: usize) {
    study
        .optimize(&space(), trials, |trial| {
            let x = trial.float("x")?;
            for step in 1..=2 {
                trial.report(step, if trial.number() == 8 { f64::NAN } else { x })?;
                if trial.should_prune()? {
                    return Ok(Outcome::Pruned);
                }
            }
            trial.note("checkpoint", format!("{}.safetensors", trial.number()).into())?;
            Ok(match trial.number() {
                3 => Outcome::Failed("on purpose".into()),
                4 => Outcome::Complete(f64::INFINITY),
                _ => (x * x + trial.float("rate")? + 0.1 * trial.float("layers")?).into(),
            })
        })
        .unwrap();
}

/// What Optuna lists is what the study has.
fn compare(study: &mut Study, listed: &Listed) {
    study.sync().unwrap();
    assert_eq!(listed.directions, ["MINIMIZE"]);
    assert_eq!(study.trials().len(), listed.trials.len());
    for (own, listed) in study.trials().iter().zip(&listed.trials) {
        let state = match own.state {
            TrialState::Running => "RUNNING",
            TrialState::Complete => "COMPLETE",
            TrialState::Pruned => "PRUNED",
            TrialState::Failed => "FAIL",
            TrialState::Waiting => "WAITING",
        };
        assert_eq!((own.number, state), (listed.number, &*listed.state));
        let values = own.parameters.iter().map(|(name, p)| (name.clone(), p.value()));
        assert_eq!(values.collect::<BTreeMap<_, _>>(), listed.params);
        let number = |text: &String| text.parse::<f64>().unwrap();
        assert_eq!(own.value(), listed.value.as_ref().map(number));
        for (step, value) in &own.steps {
            let theirs = number(&listed.steps[&step.to_string()]);
            assert!(*value == theirs || value.is_nan() && theirs.is_nan());
        }
        assert_eq!(own.steps.len(), listed.steps.len());
        assert!(own.user_attributes.keys().eq(&listed.user_attrs));
        let seconds = own.duration().map(|duration| duration.as_secs_f64());
        assert_eq!(seconds.is_some(), listed.seconds.is_some());
        let difference = seconds.unwrap_or(0.0) - listed.seconds.unwrap_or(0.0);
        assert!(difference.abs() < 1e-6, "{difference}");
    }
    let best = study.best_trial().unwrap();
    assert_eq!((best.number, best.value().unwrap()), listed.best);
}

fn succeeded(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

#[test]
fn optuna_reads_what_taper_wrote_and_goes_on() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.journal");
    let median = Pruning::Median(MedianConfig::default().check().unwrap());
    let mut study = open(&path).with_pruning(median);
    study.note_study("data", "photos".into()).unwrap();
    run(&mut study, 20);
    study.enqueue([("x", 0.25)]).unwrap();
    let listed = list(&python, &path);
    compare(&mut study, &listed);
    assert_eq!(listed.attributes["data"], "photos".into());
    assert!(listed.trials.iter().any(|trial| trial.state == "PRUNED"));

    // The queued trial is Optuna's first.
    succeeded(optuna(&python, "run", &path, &["12"]).spawn().unwrap());
    study.sync().unwrap();
    assert_eq!(study.trials().len(), 32);
    assert_eq!(study.trial(20).unwrap().get("x"), Some(0.25.into()));
    run(&mut study, 5);
    compare(&mut study, &list(&python, &path));

    // A line left unfinished by a kill, and both go on.
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    let mut study = open(&path);
    assert_eq!(study.trials().last().unwrap().state, TrialState::Running);
    run(&mut study, 1);
    succeeded(optuna(&python, "run", &path, &["2"]).spawn().unwrap());
    compare(&mut study, &list(&python, &path));
}

#[test]
fn both_write_at_once() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.journal");
    let mut study = open(&path);
    let theirs = [
        optuna(&python, "run", &path, &["15"]).spawn().unwrap(),
        optuna(&python, "run", &path, &["15", "open"]).spawn().unwrap(),
    ];
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| run(&mut open(&path), 40));
        }
    });
    theirs.into_iter().for_each(succeeded);
    compare(&mut study, &list(&python, &path));
    assert_eq!(study.trials().len(), 110);
    assert!(study.trials().iter().all(|trial| trial.state.is_finished()));
    assert!(study.trials().iter().all(|trial| trial.parameters.len() == 4));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a lock was left behind");
}
