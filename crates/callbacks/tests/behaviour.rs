//! Behaviour without a counterpart in Keras: checkpoints, errors, the tutorial's run, JSONL.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{fs, path::Path};

use taper_callbacks::{
    Action, BestWeights, BestWeightsConfig, Callback, Callbacks, CheckpointId, CsvHistory,
    EarlyStopping, EarlyStoppingConfig, Error, Event, Every, JsonlHistory, Logs, Mode,
    ModelCheckpoint, ModelCheckpointConfig, ReduceLrOnPlateau, ReduceLrOnPlateauConfig, StopReason,
    TerminateOnNan, from_fn, python_float,
};

const REPORTED: [&str; 2] = ["loss", "val_loss"];

fn begin(first_epoch: u64, resumed: bool) -> Event<'static> {
    Event::TrainBegin { first_epoch, resumed, reported: &REPORTED }
}

fn logs(val_loss: f64) -> Logs {
    [("loss", 0.5), ("val_loss", val_loss)].into_iter().collect()
}

fn end(epoch: u64, logs: &Logs) -> Event<'_> {
    Event::EpochEnd { epoch, step: 10 * epoch + 9, learning_rate: 0.1, logs }
}

fn tell(callback: &mut impl Callback, event: &Event<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    callback.on_event(event, &mut actions).unwrap();
    actions
}

/// The last epochs of the tutorial's run, as its text prints them.
const TUTORIAL: [(u64, f64); 7] = [
    (10, 0.4059),
    (11, 0.4107),
    (12, 0.3681),
    (13, 0.3904),
    (14, 0.3169),
    (15, 0.3422),
    (16, 0.3233),
];

#[test]
fn the_tutorials_run_stops_after_16_and_restores_14() {
    let config = EarlyStoppingConfig {
        patience: 2,
        min_delta: 1e-4,
        restore_best_weights: true,
        ..Default::default()
    };
    let mut callback = EarlyStopping::new(config.check().unwrap());
    tell(&mut callback, &begin(10, false));
    let mut kept = None;
    for (epoch, val_loss) in TUTORIAL {
        for action in tell(&mut callback, &end(epoch, &logs(val_loss))) {
            match action {
                Action::KeepWeights { epoch } => kept = Some(epoch),
                Action::Stop { reason } => {
                    assert_eq!(epoch, 16);
                    assert_eq!(reason.keyword(), "early");
                    let said = reason.to_string();
                    assert!(said.contains("after epoch 17"), "{said}");
                    assert!(said.contains("0.3169 of epoch 15"), "{said}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(epoch < 16 || callback.wait() == 2, "epoch {epoch}: {}", callback.wait());
    }
    assert_eq!(kept, Some(14));
    assert_eq!(tell(&mut callback, &Event::TrainEnd), [Action::RestoreWeights { epoch: 14 }]);
}

#[test]
fn a_nan_never_becomes_the_best() {
    let config =
        EarlyStoppingConfig { patience: 3, restore_best_weights: true, ..Default::default() };
    let mut callback = EarlyStopping::new(config.clone().check().unwrap());
    tell(&mut callback, &begin(0, false));
    assert_eq!(tell(&mut callback, &end(0, &logs(f64::NAN))), []);
    assert_eq!(tell(&mut callback, &end(1, &logs(2.0))), [Action::KeepWeights { epoch: 1 }]);
    assert_eq!(tell(&mut callback, &Event::TrainEnd), [Action::RestoreWeights { epoch: 1 }]);

    // Nothing but NaN: it stops, says so, and has nothing to restore.
    tell(&mut callback, &begin(0, false));
    for epoch in 0..2 {
        assert_eq!(tell(&mut callback, &end(epoch, &logs(f64::NAN))), []);
    }
    let actions = tell(&mut callback, &end(2, &logs(f64::NAN)));
    let [Action::Stop { reason }] = &actions[..] else { panic!("{actions:?}") };
    assert!(reason.to_string().contains("never a number"), "{reason}");
    assert_eq!(tell(&mut callback, &Event::TrainEnd), []);
}

#[test]
fn the_very_first_epoch_never_ends_training() {
    let mut callback = EarlyStopping::new(EarlyStoppingConfig::default().check().unwrap());
    tell(&mut callback, &begin(0, false));
    assert_eq!(tell(&mut callback, &end(0, &logs(f64::NAN))), []);
    assert_eq!(tell(&mut callback, &end(1, &logs(f64::NAN))).len(), 1);
}

#[test]
fn best_weights_come_back_whatever_ends_training() {
    let mut callback = BestWeights::new(BestWeightsConfig::default().check().unwrap());
    tell(&mut callback, &begin(0, false));
    let mut kept = Vec::new();
    for (epoch, loss) in [0.5, 0.4, 0.4, 0.399999, f64::NAN, 0.6].into_iter().enumerate() {
        let epoch = epoch as u64;
        kept.extend(tell(&mut callback, &end(epoch, &logs(loss))).into_iter().map(|a| (epoch, a)));
    }
    let keep = |epoch| (epoch, Action::KeepWeights { epoch });
    assert_eq!(kept, [keep(0), keep(1), keep(3)]);
    assert_eq!(tell(&mut callback, &Event::TrainEnd), [Action::RestoreWeights { epoch: 3 }]);
    // A new training run starts from scratch, a resumed one does not.
    tell(&mut callback, &begin(6, true));
    assert_eq!(callback.best_epoch(), Some(3));
    tell(&mut callback, &begin(6, false));
    assert_eq!(callback.best_epoch(), None);
}

#[test]
fn a_missing_monitor_is_an_error_before_the_first_epoch() {
    let reported = ["accuracy", "loss"];
    let begin = Event::TrainBegin { first_epoch: 0, resumed: false, reported: &reported };
    let all: [Box<dyn Callback>; 4] = [
        Box::new(EarlyStopping::new(EarlyStoppingConfig::default().check().unwrap())),
        Box::new(BestWeights::new(BestWeightsConfig::default().check().unwrap())),
        Box::new(ModelCheckpoint::new(ModelCheckpointConfig::default().check().unwrap())),
        Box::new(ReduceLrOnPlateau::new(ReduceLrOnPlateauConfig::default().check().unwrap())),
    ];
    for mut callback in all {
        let error = callback.on_event(&begin, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::MissingMonitor { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(callback.name()) && said.contains("'val_loss'"), "{said}");
        assert!(said.contains("accuracy, loss"), "{said}");
    }
    // Checkpoints that monitor nothing need no validation.
    let config = ModelCheckpointConfig { keep_best: false, ..Default::default() };
    let mut callback = ModelCheckpoint::new(config.check().unwrap());
    callback.on_event(&begin, &mut Vec::new()).unwrap();
}

#[test]
fn every_field_is_checked_and_unknown_ones_are_refused() {
    let early = |change: fn(&mut EarlyStoppingConfig)| {
        let mut config = EarlyStoppingConfig::default();
        change(&mut config);
        config.check()
    };
    assert!(early(|c| c.min_delta = f64::NAN).is_err());
    assert!(early(|c| c.baseline = Some(f64::NAN)).is_err());
    assert!(early(|c| c.monitor = "val_acuracy".into()).is_err());
    assert!(
        early(|c| {
            c.monitor = "val_top_5".into();
            c.mode = Mode::Max;
        })
        .is_ok()
    );
    let reduce = |change: fn(&mut ReduceLrOnPlateauConfig)| {
        let mut config = ReduceLrOnPlateauConfig::default();
        change(&mut config);
        config.check()
    };
    for bad in [
        reduce(|c| c.factor = 1.0),
        reduce(|c| c.factor = 0.0),
        reduce(|c| c.factor = f64::NAN),
        reduce(|c| c.min_lr = -1.0),
        reduce(|c| c.min_lr = f64::NAN),
        reduce(|c| c.min_delta = f64::INFINITY),
    ] {
        let said = bad.unwrap_err().to_string();
        assert!(said.contains("use"), "no remedy: {said}");
    }
    let checkpoint = |change: fn(&mut ModelCheckpointConfig)| {
        let mut config = ModelCheckpointConfig::default();
        change(&mut config);
        config.check()
    };
    assert!(checkpoint(|c| c.every = Every::Epochs(0)).is_err());
    assert!(checkpoint(|c| c.every = Every::Steps(0)).is_err());
    assert!(checkpoint(|c| c.keep_last = Some(0)).is_err());
    assert!(
        checkpoint(|c| {
            c.only_improved = true;
            c.every = Every::Steps(5);
        })
        .is_err()
    );
    assert!(serde_json::from_str::<EarlyStoppingConfig>(r#"{"patiense":2}"#).is_err());
    assert!(serde_json::from_str::<ReduceLrOnPlateauConfig>(r#"{"min_delta":0,"lr":1}"#).is_err());
    let parsed: ModelCheckpointConfig =
        serde_json::from_str(r#"{"every":{"steps":50},"keep_last":3}"#).unwrap();
    assert_eq!((parsed.every, parsed.keep_last), (Every::Steps(50), Some(3)));
}

/// Carries out what is asked for, as a trainer does with files.
fn carry_out(files: &mut Vec<CheckpointId>, actions: Vec<Action>) -> Vec<bool> {
    let mut best = Vec::new();
    for action in actions {
        match action {
            Action::SaveCheckpoint { id, best: b } => {
                files.retain(|f| *f != id);
                files.push(id);
                best.push(b);
            }
            Action::DeleteCheckpoint { id } => files.retain(|f| *f != id),
            other => panic!("{other:?}"),
        }
    }
    best
}

#[test]
fn the_last_k_and_the_best_are_kept() {
    let config = ModelCheckpointConfig { keep_last: Some(2), ..Default::default() };
    let mut callback = ModelCheckpoint::new(config.check().unwrap());
    tell(&mut callback, &begin(0, false));
    let mut files = Vec::new();
    let expected: [&[u64]; 7] = [&[0], &[0, 1], &[1, 2], &[1, 2, 3], &[1, 3, 4], &[4, 5], &[5, 6]];
    for (epoch, loss) in [0.9, 0.5, 0.6, 0.7, 0.5, 0.4, f64::NAN].into_iter().enumerate() {
        let actions = tell(&mut callback, &end(epoch as u64, &logs(loss)));
        assert!(matches!(actions[0], Action::SaveCheckpoint { .. }), "{actions:?}");
        let best = carry_out(&mut files, actions);
        assert_eq!(best, [matches!(epoch, 0 | 1 | 5)], "epoch {epoch}");
        let epochs: Vec<u64> = files.iter().map(|f| f.epoch).collect();
        assert_eq!(epochs, expected[epoch], "epoch {epoch}");
        assert_eq!(files, callback.kept());
    }
    assert_eq!(callback.best().unwrap().to_string(), "epoch-0005-step-00000059");
}

#[test]
fn checkpoints_every_n_steps_or_epochs_or_only_improved() {
    let run = |config: ModelCheckpointConfig| {
        let mut callback = ModelCheckpoint::new(config.check().unwrap());
        tell(&mut callback, &begin(0, false));
        let mut saved = Vec::new();
        for (epoch, loss) in [0.9, 0.8, 0.85, 0.7, 0.75].into_iter().enumerate() {
            let epoch = epoch as u64;
            let mut actions = Vec::new();
            for batch in 0..10 {
                let step = 10 * epoch + batch;
                let event = Event::BatchEnd { epoch, step, loss: 0.5, learning_rate: 0.1 };
                actions.extend(tell(&mut callback, &event));
            }
            actions.extend(tell(&mut callback, &end(epoch, &logs(loss))));
            saved.extend(actions.iter().filter_map(|a| match a {
                Action::SaveCheckpoint { id, .. } => Some(id.step),
                _ => None,
            }));
        }
        saved
    };
    let base = ModelCheckpointConfig { keep_best: false, ..Default::default() };
    assert_eq!(
        run(ModelCheckpointConfig { every: Every::Steps(16), ..base.clone() }),
        [15, 31, 47]
    );
    assert_eq!(run(ModelCheckpointConfig { every: Every::Epochs(2), ..base.clone() }), [19, 39]);
    assert_eq!(run(ModelCheckpointConfig { only_improved: true, ..base.clone() }), [9, 19, 39]);
    // Epoch 1 improves on 0 but is not due; epoch 3 improves on it and is saved.
    let every_second = ModelCheckpointConfig { every: Every::Epochs(2), ..Default::default() };
    assert_eq!(run(every_second), [9, 19, 39]);
    let both = ModelCheckpointConfig { every: Every::Epochs(2), only_improved: true, ..base };
    assert_eq!(run(both), [19, 39]);
}

#[test]
fn a_resumed_run_finishes_the_deletions_of_the_killed_one() {
    let config = ModelCheckpointConfig { keep_best: false, ..Default::default() };
    let checked = config.check().unwrap();
    let mut callback = ModelCheckpoint::new(checked.clone());
    tell(&mut callback, &begin(0, false));
    let mut files = Vec::new();
    carry_out(&mut files, tell(&mut callback, &end(0, &logs(0.5))));
    let actions = tell(&mut callback, &end(1, &logs(0.5)));
    let state = callback.state().unwrap();
    // Killed after the checkpoint was written, before the old one was removed.
    carry_out(&mut files, actions.into_iter().take(1).collect());
    assert_eq!(files.len(), 2);
    let mut callback = ModelCheckpoint::new(checked);
    callback.restore(state).unwrap();
    carry_out(&mut files, tell(&mut callback, &begin(2, true)));
    assert_eq!(files, callback.kept());
}

#[test]
fn a_loss_that_is_not_finite_ends_training() {
    let batch = |loss| Event::BatchEnd { epoch: 1, step: 7, loss, learning_rate: 0.1 };
    assert_eq!(tell(&mut TerminateOnNan, &batch(1e300)), []);
    for loss in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let actions = tell(&mut TerminateOnNan, &batch(loss));
        let [Action::Stop { reason }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(reason.keyword(), "nan");
        assert!(reason.to_string().contains("step 8"), "{reason}");
        let json = serde_json::to_string(reason).unwrap();
        let back: StopReason = serde_json::from_str(&json).unwrap();
        assert_eq!(back.to_string(), reason.to_string());
    }
}

#[test]
fn state_of_other_callbacks_is_refused() {
    let stopping = || EarlyStopping::new(EarlyStoppingConfig::default().check().unwrap());
    let state = Callbacks::new().with(stopping()).with(TerminateOnNan).state().unwrap();
    let error = Callbacks::new().with(stopping()).restore(state).unwrap_err().to_string();
    assert!(error.contains("[early stopping, terminate on NaN]"), "{error}");
    let mut callback = stopping();
    assert!(callback.restore(serde_json::json!({"wait": "two"})).is_err());
}

#[test]
fn a_function_can_be_a_callback_and_its_error_is_named() {
    let mut callbacks =
        Callbacks::new().with(TerminateOnNan).with(from_fn("mine", |event, actions| match event {
            Event::EpochBegin { epoch: 3 } => Err("no more".into()),
            _ => {
                actions.push(Action::KeepWeights { epoch: 0 });
                Ok(())
            }
        }));
    assert_eq!(callbacks.handle(&begin(0, false)).unwrap()[0].callback, 1);
    let error = callbacks.handle(&Event::EpochBegin { epoch: 3 }).unwrap_err();
    assert_eq!(error.to_string(), "mine: no more");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn histories_go_on_after_an_interruption() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, jsonl) = (folder.path().join("history.csv"), folder.path().join("history.jsonl"));
    let make = || Callbacks::new().with(CsvHistory::new(&csv)).with(JsonlHistory::new(&jsonl));
    let run = |from: u64, to: u64| {
        let mut callbacks = make();
        callbacks.handle(&begin(from, from > 0)).unwrap();
        for epoch in from..to {
            callbacks.handle(&end(epoch, &logs(1e-5 * epoch as f64))).unwrap();
            // A killed run's files are never closed: everything must have been written by now.
            assert_eq!(read(&csv).lines().count() as u64, epoch + 2);
            assert_eq!(read(&jsonl).lines().count() as u64, epoch + 1);
        }
    };
    run(0, 4);
    let whole = (read(&csv), read(&jsonl));
    assert_eq!(
        whole.0,
        "epoch,loss,val_loss\n0,0.5,0.0\n1,0.5,1e-05\n2,0.5,2e-05\n3,0.5,3.0000000000000004e-05\n"
    );
    let line = whole.1.lines().nth(3).unwrap();
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(value["val_loss"].as_f64().unwrap(), 1e-5 * 3.0);
    for at in 0..4 {
        for torn in 1..30 {
            for (path, text) in [(&csv, &whole.0), (&jsonl, &whole.1)] {
                fs::write(path, &text[..text.len() - torn.min(text.len())]).unwrap();
            }
            // A truncated file may lack only what follows the checkpoint, never an epoch before it.
            if read(&csv).lines().count() as u64 > at + 1
                && read(&jsonl).lines().count() as u64 > at
            {
                run(at, 4);
                assert_eq!((read(&csv), read(&jsonl)), whole, "from {at}, torn by {torn}");
            }
        }
    }
    // A new run starts a new file.
    run(0, 1);
    assert_eq!(read(&csv), "epoch,loss,val_loss\n0,0.5,0.0\n");
}

#[test]
fn columns_are_fixed_at_the_first_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.csv");
    let mut callback = CsvHistory::new(&path);
    tell(&mut callback, &begin(0, false));
    let first: Logs = [("loss", 2.0)].into_iter().collect();
    tell(&mut callback, &end(0, &first));
    let second: Logs =
        [("loss", f64::NAN), ("val_loss", 1.0), ("surprise", 3.0)].into_iter().collect();
    tell(&mut callback, &end(1, &second));
    tell(&mut callback, &Event::TrainEnd);
    assert_eq!(read(&path), "epoch,loss,val_loss\n0,2.0,NA\n1,nan,1.0\n");
    let odd: Logs = [("a,b", 2.0)].into_iter().collect();
    tell(&mut callback, &begin(0, false));
    assert!(callback.on_event(&end(0, &odd), &mut Vec::new()).is_err());
}

#[test]
fn a_file_of_somebody_elses_is_not_continued() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    for (text, line, csv) in [
        ("name,value\nx,1\n", 1, true),
        ("epoch,loss\nx,1\n", 2, true),
        ("{}\n", 1, false),
        ("{\"epoch\":0}\nnonsense\n", 2, false),
    ] {
        fs::write(&path, text).unwrap();
        let mut callback: Box<dyn Callback> =
            if csv { Box::new(CsvHistory::new(&path)) } else { Box::new(JsonlHistory::new(&path)) };
        let said = callback.on_event(&begin(5, true), &mut Vec::new()).unwrap_err().to_string();
        assert!(said.contains(&format!("line {line} ")), "{said}");
        assert!(said.contains("history"), "{said}");
        assert_eq!(read(&path), text);
    }
    let nowhere = folder.path().join("none/history.csv");
    let mut callback = CsvHistory::new(&nowhere);
    let said = callback.on_event(&begin(0, false), &mut Vec::new()).unwrap_err().to_string();
    assert!(said.contains("none/history.csv"), "{said}");
}

/// From CPython 3.11's `repr`.
#[test]
fn numbers_are_written_as_python_writes_them() {
    for (value, text) in [
        (0.1 + 0.2, "0.30000000000000004"),
        (1e16, "1e+16"),
        (9999999999999998.0, "9999999999999998.0"),
        (123456789.0, "123456789.0"),
        (1e-4, "0.0001"),
        (1.5e-5, "1.5e-05"),
        (-1e-100, "-1e-100"),
        (1e300, "1e+300"),
        (-0.0, "-0.0"),
        (5e-324, "5e-324"),
        (1.0 / 3.0, "0.3333333333333333"),
        (f64::NEG_INFINITY, "-inf"),
    ] {
        assert_eq!(python_float(value), text);
    }
}
