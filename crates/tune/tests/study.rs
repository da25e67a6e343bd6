//! Studies in a journal: what is written, who may write, and what a crash leaves.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use taper_tune::{
    Direction, Error, GridConfig, LockKind, MedianConfig, Outcome, Pruning, Random, Space, Study,
    TpeConfig, TrialState,
};

fn space() -> Space {
    Space::new().float("x", -5.0, 5.0).unwrap().choice("shape", ["flat", "steep"]).unwrap()
}

fn open(path: &Path) -> Study {
    Study::open(path, "test", Direction::Min).unwrap()
}

fn run(study: &mut Study, trials: usize) {
    study
        .optimize(&space(), trials, |trial| {
            let steep = if trial.text("shape")? == "steep" { 1.0 } else { 0.0 };
            Ok((trial.float("x")?.powi(2) + steep).into())
        })
        .unwrap();
}

fn parameters(study: &Study) -> Vec<Vec<f64>> {
    let row = |trial: &taper_tune::Trial| trial.parameters.values().map(|p| p.internal).collect();
    study.trials().iter().map(row).collect()
}

#[test]
fn a_study_is_what_it_was_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.journal");
    let mut whole = open(&path);
    run(&mut whole, 30);
    whole.note_study("data", "photos".into()).unwrap();
    let again = Study::load(&path, "test").unwrap();
    assert_eq!(again.trials(), whole.trials());
    assert_eq!(again.best_trial(), whole.best_trial());
    assert_eq!(again.attributes()["data"], "photos");
    // In parts, and by another process, the same parameters are drawn.
    let path = folder.path().join("parts.journal");
    for part in [4, 9, 17] {
        run(&mut open(&path), part);
    }
    assert_eq!(parameters(&open(&path)), parameters(&whole));
    let other = TpeConfig { seed: 1, ..TpeConfig::default() }.check().unwrap();
    let path = folder.path().join("other.journal");
    let mut other = open(&path).with_sampler(taper_tune::Tpe::new(other));
    run(&mut other, 1);
    assert_ne!(parameters(&other)[0], parameters(&whole)[0]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "a lock was left behind");
}

#[test]
fn processes_beside_each_other_share_a_study() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.journal");
    let points = GridConfig { points: 10 }.check().unwrap();
    let grid = points.len(&space());
    assert_eq!(grid, 20);
    thread::scope(|scope| {
        for kind in [LockKind::Symlink, LockKind::Open, LockKind::Symlink] {
            let path = &path;
            scope.spawn(move || {
                let study = Study::open_with_lock(path, "test", Direction::Min, kind).unwrap();
                run(&mut study.with_sampler(points), 100);
            });
        }
    });
    let study = open(&path);
    // Every point of the grid once: no process overlooked what another one had taken.
    let rows: BTreeSet<String> = parameters(&study).iter().map(|r| format!("{r:?}")).collect();
    assert_eq!((rows.len(), study.trials().len()), (grid, grid));
    assert!(study.trials().iter().all(|trial| trial.state == TrialState::Complete));
    let error = study.with_sampler(points).ask(&space()).unwrap_err();
    assert!(matches!(error, Error::GridExhausted(20)), "{error}");
}

#[test]
fn a_line_that_a_kill_left_unfinished_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.journal");
    run(&mut open(&path), 3);
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for cut in last..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut study = open(&path);
        assert_eq!(study.trials().len(), 3, "{cut}");
        let states = study.trials().iter().filter(|trial| trial.state == TrialState::Running);
        // The last line says that the last trial is complete.
        assert_eq!(states.count(), 1, "{cut}");
        let number = study.ask(&space()).unwrap().number;
        study.tell(number, 1.0.into()).unwrap();
        // The journal is whole again, for Optuna, too.
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with('\n'));
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }
    // What is damaged elsewhere is refused.
    fs::write(&path, [&whole[..whole.len() / 2], b"\n", &whole[last..]].concat()).unwrap();
    let error = Study::load(&path, "test").err().unwrap().to_string();
    assert!(error.contains("is no JSON"), "{error}");
    let mut file = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    file.write_all(b"{\"op_code\":99}\n").unwrap();
    let error = Study::load(&path, "test").err().unwrap().to_string();
    assert!(error.contains("line 1 has the unknown op_code 99"), "{error}");
}

#[test]
fn a_lock_left_behind_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.journal");
    let mut study = open(&path);
    let lock = folder.path().join("study.journal.lock");
    fs::write(&lock, "").unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let begin = Instant::now();
            run(&mut study, 1);
            begin.elapsed()
        });
        thread::sleep(Duration::from_millis(150));
        assert!(!waiting.is_finished());
        fs::remove_file(&lock).unwrap();
        assert!(waiting.join().unwrap() >= Duration::from_millis(100));
    });
}

#[test]
fn trials_belong_to_whoever_runs_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.journal");
    let (mut first, mut second) = (open(&path), open(&path));
    let trial = first.ask(&space()).unwrap();
    first.report(trial.number, 1, 0.5).unwrap();
    let refused = second.tell(trial.number, 1.0.into()).unwrap_err().to_string();
    assert_eq!(refused, "trial 0 is run by another process");
    assert_eq!(second.recover().unwrap(), [] as [usize; 0], "its process lives");
    // Taken away, it goes on elsewhere, with what is known of it.
    second.release(trial.number).unwrap();
    let taken = second.ask(&space()).unwrap();
    assert_eq!((taken.number, taken.last_step()), (0, Some((1, 0.5))));
    assert_eq!(taken.parameters, trial.parameters);
    let refused = first.report(0, 2, 0.4).unwrap_err().to_string();
    assert_eq!(refused, "trial 0 is run by another process");
    second.tell(0, 0.25.into()).unwrap();
    let refused = second.tell(0, 0.2.into()).unwrap_err().to_string();
    assert_eq!(refused, "trial 0 is not running");
    assert!(second.fail(7).unwrap_err().to_string().contains("does not exist"));
    let number = second.ask(&space()).unwrap().number;
    first.fail(number).unwrap();
    assert_eq!(first.trial(number).unwrap().state, TrialState::Failed);
}

#[test]
fn failures_and_interruptions_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    let mut study = open(&folder.path().join("study.journal"));
    let error = study.optimize(&space(), 3, |_| Err("no memory".into())).unwrap_err();
    assert_eq!(error.to_string(), "trial 0: no memory");
    let mut calls = 0;
    let outcome = |trial: &mut taper_tune::ActiveTrial<'_>| {
        calls += 1;
        Ok(match trial.number() {
            1 => Outcome::Failed("a bad picture".into()),
            2 => Outcome::Complete(f64::NAN),
            3 if calls == 3 => {
                trial.report(1, 0.7)?;
                trial.note("checkpoint", "3.safetensors".into())?;
                Outcome::Interrupted
            }
            3 => {
                assert_eq!(trial.resumes_after()?, Some(1));
                assert_eq!(trial.trial()?.user_attributes["checkpoint"], "3.safetensors");
                Outcome::Complete(0.5)
            }
            _ => Outcome::Complete(1.0),
        })
    };
    let mut outcome = outcome;
    study.optimize(&space(), 5, &mut outcome).unwrap();
    assert_eq!(study.trial(3).unwrap().state, TrialState::Waiting);
    study.optimize(&space(), 2, &mut outcome).unwrap();
    let states: Vec<&str> = study.trials().iter().map(|trial| trial.state.name()).collect();
    assert_eq!(states, ["failed", "failed", "failed", "complete", "complete", "complete"]);
    assert_eq!(study.best_trial().unwrap().number, 3);
    let table = study.history().table();
    assert_eq!(table.header, ["trial", "state", "value", "shape", "x", "steps", "seconds"]);
    assert_eq!(
        (&table.rows[3][..3], &*table.rows[3][5]),
        (&["3", "complete", "0.5"].map(str::to_owned)[..], "1")
    );
    assert!(table.csv().starts_with("trial,state,value,shape,x,steps,seconds\n0,failed,,"));
    let progress = study.history().progress();
    assert_eq!(progress.iter().map(|p| p.best).collect::<Vec<_>>(), [0.5, 0.5, 0.5]);
}

/// `MedianPruner` of Optuna 5 stops the same trials.
#[test]
fn the_worse_half_is_pruned() {
    let folder = tempfile::tempdir().unwrap();
    for direction in [Direction::Min, Direction::Max] {
        let sign = if direction == Direction::Min { 1.0 } else { -1.0 };
        let path = folder.path().join(format!("{direction:?}.journal"));
        let mut study = Study::open(&path, "test", direction)
            .unwrap()
            .with_sampler(Random::new(0))
            .with_pruning(Pruning::Median(MedianConfig::default().check().unwrap()));
        let losses = [5.0, 4.0, 3.0, 2.0, 1.0, 3.5, 2.9, f64::NAN];
        study
            .optimize(&space(), losses.len(), |trial| {
                let loss = losses[trial.number()];
                for step in 1..=3 {
                    trial.report(step, sign * (loss + 1.0 / step as f64))?;
                    if trial.should_prune()? {
                        return Ok(Outcome::Pruned);
                    }
                }
                Ok((sign * loss).into())
            })
            .unwrap();
        let steps: Vec<usize> = study.trials().iter().map(|trial| trial.steps.len()).collect();
        assert_eq!(steps, [3, 3, 3, 3, 3, 1, 3, 1], "{direction:?}");
        let pruned = &study.trials()[5];
        assert_eq!((pruned.state, pruned.value()), (TrialState::Pruned, Some(sign * 4.5)));
        assert_eq!(study.trials()[7].value(), None);
    }
}
