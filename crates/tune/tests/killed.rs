//! Processes that are killed lose nothing that was told, and leave trials that others go on with.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use taper_tune::{Direction, Random, Space, Study, TrialState};

/// Names the journal to the process that is to be killed.
const JOURNAL: &str = "TAPER_TUNE_TEST_JOURNAL";

fn open(path: &Path) -> Study {
    Study::open(path, "test", Direction::Min).unwrap().with_sampler(Random::new(0))
}

fn space() -> Space {
    Space::new().float("x", -1.0, 1.0).unwrap().int("layers", 1, 4).unwrap()
}

/// Runs trials, and says so, until it is killed.
#[test]
#[ignore = "a process of the other test"]
fn teller() {
    let Some(path) = env::var_os(JOURNAL) else { return };
    let mut study = open(path.as_ref());
    loop {
        let trial = study.ask(&space()).unwrap();
        study.report(trial.number, 1, 0.5).unwrap();
        study.tell(trial.number, 1.0.into()).unwrap();
        println!("\ntold {}", trial.number);
    }
}

fn spawn(test: &str, journal: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(JOURNAL, journal)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn what_was_told_survives_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.journal");
    open(&path);
    let mut told: Vec<usize> = Vec::new();
    for round in 0..6 {
        let mut processes = [spawn("teller", &path), spawn("teller", &path)];
        thread::sleep(Duration::from_millis(120 + 17 * round));
        for process in &mut processes {
            process.kill().unwrap();
            process.wait().unwrap();
            let lines = BufReader::new(process.stdout.take().unwrap()).lines();
            let numbers = lines.map_while(|line| line.ok());
            told.extend(numbers.filter_map(|l| l.strip_prefix("told ")?.parse::<usize>().ok()));
        }
        // The lock of a process that was killed while it held it would be waited for.
        let _ = std::fs::remove_file(folder.path().join("study.journal.lock"));
        let mut study = open(&path);
        for number in &told {
            assert_eq!(study.trial(*number).unwrap().state, TrialState::Complete, "{number}");
        }
        if cfg!(target_os = "linux") {
            let running = study.trials().iter().filter(|t| t.state == TrialState::Running);
            let running: Vec<usize> = running.map(|trial| trial.number).collect();
            assert_eq!(study.recover().unwrap(), running);
        }
    }
    assert!(told.len() > 12, "{told:?}");
    if cfg!(target_os = "linux") {
        let mut study = open(&path);
        let before = study.trials().len();
        study.optimize(&space(), 0, |_| Ok(2.0.into())).unwrap();
        assert_eq!(study.trials().len(), before);
        assert!(study.trials().iter().all(|trial| trial.state == TrialState::Complete));
        assert!(study.trials().iter().all(|trial| trial.parameters.len() == 2));
    }
}
