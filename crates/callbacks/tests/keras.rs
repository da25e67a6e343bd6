//! The same decisions and files as Keras's own callbacks on 200 random traces.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use taper_callbacks::{
    Action, Callback, Callbacks, CsvHistory, EarlyStopping, EarlyStoppingConfig, Event, LineEnding,
    Logs, ReduceLrOnPlateau, ReduceLrOnPlateauConfig,
};
use taper_core::float::Float;

#[derive(Deserialize)]
struct Traces {
    traces: Vec<Trace>,
}

#[derive(Deserialize)]
struct Trace {
    seed: u64,
    epochs: u64,
    logs: BTreeMap<String, Vec<Float>>,
    early_stopping: Early,
    reduce: Reduce,
    csv: String,
    resume_at: Option<u64>,
}

#[derive(Deserialize)]
struct Early {
    config: EarlyStoppingConfig,
    stopped: Option<u64>,
    final_weights: u64,
    wait: Vec<u64>,
}

#[derive(Deserialize)]
struct Reduce {
    config: ReduceLrOnPlateauConfig,
    lr: f64,
    rates: Vec<f64>,
    wait: Vec<u64>,
    cooldown: Vec<u64>,
}

impl Trace {
    fn logs(&self, epoch: u64) -> Logs {
        self.logs.iter().map(|(k, v)| (k.as_str(), v[epoch as usize].0)).collect()
    }

    fn begin<'a>(&self, reported: &'a [&'a str], first_epoch: u64) -> Event<'a> {
        Event::TrainBegin { first_epoch, resumed: first_epoch > 0, reported }
    }

    fn reported(&self) -> Vec<&str> {
        self.logs.keys().map(String::as_str).collect()
    }
}

fn traces() -> Vec<Trace> {
    let all: Traces = serde_json::from_str(include_str!("reference/traces.json")).unwrap();
    assert_eq!(all.traces.len(), 200);
    all.traces
}

fn end(epoch: u64, learning_rate: f64, logs: &Logs) -> Event<'_> {
    Event::EpochEnd { epoch, step: epoch, learning_rate, logs }
}

#[test]
fn early_stopping() {
    let (mut stops, mut restores) = (0, 0);
    for trace in traces() {
        let early = &trace.early_stopping;
        let mut callback = EarlyStopping::new(early.config.clone().check().unwrap());
        let mut actions = Vec::new();
        callback.on_event(&trace.begin(&trace.reported(), 0), &mut actions).unwrap();
        let (mut kept, mut stopped, mut weights) = (None, None, 0);
        for epoch in 0..trace.epochs {
            weights = epoch;
            callback.on_event(&end(epoch, 0.1, &trace.logs(epoch)), &mut actions).unwrap();
            for action in actions.drain(..) {
                match action {
                    Action::KeepWeights { epoch: e } => {
                        assert_eq!(e, epoch);
                        kept = Some(weights);
                    }
                    Action::Stop { .. } => stopped = Some(epoch),
                    other => panic!("{other:?}"),
                }
            }
            let wait = early.wait[epoch as usize];
            assert_eq!(callback.wait(), wait, "trace {}, epoch {epoch}", trace.seed);
            if stopped.is_some() {
                break;
            }
        }
        callback.on_event(&Event::TrainEnd, &mut actions).unwrap();
        for action in actions.drain(..) {
            let Action::RestoreWeights { epoch } = action else { panic!("{action:?}") };
            weights = kept.unwrap();
            assert_eq!(weights, epoch);
        }
        assert_eq!(stopped, early.stopped, "trace {}", trace.seed);
        assert_eq!(weights, early.final_weights, "trace {}", trace.seed);
        stops += usize::from(stopped.is_some());
        restores += usize::from(stopped.is_some_and(|s| s != weights));
    }
    // The traces prove little unless something happens in them.
    assert_eq!((stops, restores), (103, 70));
}

#[test]
fn reduce_lr_on_plateau() {
    let mut reductions = 0;
    for trace in traces() {
        let reduce = &trace.reduce;
        // Keras keeps the rate in f32 and compares it with `float32(min_lr)`: 1e-3 · 0.1 is then
        // still above 1e-4.
        let mut config = reduce.config.clone();
        config.min_lr = f64::from(config.min_lr as f32);
        let mut callback = ReduceLrOnPlateau::new(config.check().unwrap());
        let mut actions = Vec::new();
        callback.on_event(&trace.begin(&trace.reported(), 0), &mut actions).unwrap();
        let mut rate = f64::from(reduce.lr as f32);
        for epoch in 0..trace.epochs {
            callback.on_event(&end(epoch, rate, &trace.logs(epoch)), &mut actions).unwrap();
            for action in actions.drain(..) {
                let Action::SetLearningRate { value } = action else { panic!("{action:?}") };
                rate = f64::from(value as f32);
                reductions += 1;
            }
            let (e, at) = (epoch as usize, format!("trace {}, epoch {epoch}", trace.seed));
            assert_eq!(callback.wait(), reduce.wait[e], "{at}");
            assert_eq!(callback.cooldown(), reduce.cooldown[e], "{at}");
            assert_eq!(rate, reduce.rates[e], "{at}");
        }
    }
    assert!(reductions > 150, "{reductions}");
}

fn write(trace: &Trace, path: &Path, epochs: std::ops::Range<u64>) {
    let mut callbacks = Callbacks::new().with(CsvHistory::new(path).line_ending(LineEnding::CrLf));
    callbacks.handle(&trace.begin(&trace.reported(), epochs.start)).unwrap();
    for epoch in epochs {
        callbacks.handle(&end(epoch, 0.1, &trace.logs(epoch))).unwrap();
    }
    // No TrainEnd: a killed run has none either.
}

#[test]
fn csv_history_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    for trace in traces() {
        let path = folder.path().join(format!("{}.csv", trace.seed));
        let at = trace.resume_at.unwrap_or(0);
        for part in [0..at, at..trace.epochs] {
            write(&trace, &path, part);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), trace.csv, "trace {}", trace.seed);
    }
}

/// Keras cannot serve as the reference here: its file then has some epochs twice.
#[test]
fn csv_history_after_a_kill_is_that_of_the_uninterrupted_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.csv");
    for trace in traces().iter().filter(|t| t.resume_at.is_some()) {
        let at = trace.resume_at.unwrap();
        // Continued to the end after the checkpoint, then truncated in the middle of a line.
        write(trace, &path, 0..trace.epochs);
        let torn = fs::read(&path).unwrap();
        fs::write(&path, &torn[..torn.len() - 3]).unwrap();
        write(trace, &path, at..trace.epochs);
        assert_eq!(fs::read_to_string(&path).unwrap(), trace.csv, "trace {}", trace.seed);
        // Truncated in the middle of the header, before any epoch was complete.
        fs::write(&path, "epoch,accu").unwrap();
        write(trace, &path, 0..trace.epochs);
        assert_eq!(fs::read_to_string(&path).unwrap(), trace.csv, "trace {}", trace.seed);
    }
}

/// A resumed run makes the same decisions as an uninterrupted one, whichever epoch it was
/// interrupted after.
#[test]
fn saved_and_restored_they_go_on_as_if_nothing_had_been() {
    for trace in traces() {
        let make = || {
            Callbacks::new()
                .with(EarlyStopping::new(trace.early_stopping.config.clone().check().unwrap()))
                .with(ReduceLrOnPlateau::new(trace.reduce.config.clone().check().unwrap()))
        };
        let reported = trace.reported();
        let mut through = make();
        through.handle(&trace.begin(&reported, 0)).unwrap();
        let mut resumed = make();
        resumed.handle(&trace.begin(&reported, 0)).unwrap();
        for epoch in 0..trace.epochs {
            let logs = trace.logs(epoch);
            let expected = through.handle(&end(epoch, 0.1, &logs)).unwrap();
            assert_eq!(resumed.handle(&end(epoch, 0.1, &logs)).unwrap(), expected);
            let text = resumed.state().unwrap().to_string();
            resumed = make();
            resumed.restore(serde_json::from_str(&text).unwrap()).unwrap();
            resumed.handle(&trace.begin(&reported, epoch + 1)).unwrap();
        }
        assert_eq!(resumed.state().unwrap(), through.state().unwrap());
    }
}
