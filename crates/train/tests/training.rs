//! Training of heads on features: interruption, traces of the finder, moving averages,
//! accumulation.
#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use taper_callbacks::{Action, Callbacks, Event, from_fn};
use taper_graph::{WeightSource, heads};
use taper_lr_finder::RangeTestConfig;
use taper_optim::LossConfig;
use taper_train::{
    CheckpointFolder, Error, HeadLearner, Learner, RowBatches, Table, Trained, Trainer, Training,
    Watch, train_head,
};

use common::{CLASSES, Setting, Silent, bits, callbacks, setting, table, train_with};

type Rows<'a> = Trainer<'a, HeadLearner, RowBatches<'a>>;

/// A training at its beginning; `fresh` makes the rows of later epochs.
fn trainer_with<'a>(
    setting: &'a Setting,
    fresh: Option<fn(u32) -> Result<Table, Error>>,
) -> Rows<'a> {
    let settings = setting.settings.clone().check().unwrap();
    let counts = setting.train.counts(CLASSES as usize);
    let learner = HeadLearner::new(&setting.graph, &counts, &settings).unwrap();
    let rows = Arc::new(setting.train.clone());
    let mut batches = RowBatches::new(rows, CLASSES as usize, &settings).unwrap();
    if let Some(fresh) = fresh {
        batches = batches.fresh(fresh);
    }
    Trainer::new(learner, batches, &setting.val, &settings).unwrap()
}

fn trainer(setting: &Setting) -> Rows<'_> {
    trainer_with(setting, setting.fresh.then_some(|epoch| Ok(fresh_rows(epoch))))
}

fn fresh_rows(epoch: u32) -> Table {
    table(130, 24, 100 + u64::from(epoch))
}

/// Trains in a folder until the end or until `stop_after` steps were made in this process.
fn train(setting: &Setting, folder: &Path, stop_after: Option<u64>) -> Trained<HeadLearner> {
    train_with(trainer(setting), folder, stop_after)
}

fn final_bits(trained: &mut Trained<HeadLearner>) -> BTreeMap<String, Vec<u32>> {
    bits(&trained.learner.weights().unwrap())
}

#[test]
fn interrupted_after_any_step_it_goes_on_to_the_same_bytes() {
    let setting = setting();
    let whole = tempfile::tempdir().unwrap();
    let mut expected = train(&setting, whole.path(), None);
    let history = fs::read_to_string(whole.path().join("history.csv")).unwrap();
    assert!(expected.best_epoch.is_some());
    // 130 = 4 · 32 + 2.
    let steps = 5 * expected.epochs;
    for stop in 1..steps {
        let folder = tempfile::tempdir().unwrap();
        let first = train(&setting, folder.path(), Some(stop));
        assert_eq!(first.stopped.unwrap().keyword(), "interrupted");
        let mut resumed = train(&setting, folder.path(), None);
        assert_eq!(final_bits(&mut resumed), final_bits(&mut expected), "stopped after {stop}");
        let again = fs::read_to_string(folder.path().join("history.csv")).unwrap();
        assert_eq!(again, history, "stopped after {stop}");
        assert_eq!(
            (resumed.best_epoch, resumed.epochs, resumed.learning_rate.to_bits()),
            (expected.best_epoch, expected.epochs, expected.learning_rate.to_bits())
        );
        // The interruption's checkpoint is gone, those that the callback keeps are there.
        let count = |folder: &Path| fs::read_dir(folder.join("checkpoints")).unwrap().count();
        assert_eq!(count(folder.path()), count(whole.path()), "stopped after {stop}");
    }
}

#[test]
fn fresh_rows_come_in_every_epoch_and_survive_an_interruption() {
    let setting = Setting { fresh: true, ..setting() };
    let whole = tempfile::tempdir().unwrap();
    let mut expected = train(&setting, whole.path(), None);
    let mut fixed =
        train(&Setting { fresh: false, ..setting }, tempfile::tempdir().unwrap().path(), None);
    assert_ne!(final_bits(&mut expected), final_bits(&mut fixed));
    let setting = Setting { fresh: true, ..self::setting() };
    // Within the first epoch, at an epoch's end, and within a later one.
    for stop in [2, 5, 12] {
        let folder = tempfile::tempdir().unwrap();
        train(&setting, folder.path(), Some(stop));
        let mut resumed = train(&setting, folder.path(), None);
        assert_eq!(final_bits(&mut resumed), final_bits(&mut expected), "{stop}");
    }
}

#[test]
fn an_interruption_while_fresh_rows_are_made_can_be_resumed() {
    let setting = Setting { fresh: true, ..setting() };
    let mut expected = train(&setting, tempfile::tempdir().unwrap().path(), None);
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = trainer_with(
        &setting,
        Some(|epoch| if epoch == 3 { Err(Error::Interrupted) } else { Ok(fresh_rows(epoch)) }),
    );
    trainer.checkpoints(CheckpointFolder::new(folder.path().join("checkpoints")));
    let mut callbacks = callbacks(folder.path());
    // Called like the one that it stands for: a checkpoint belongs to a list of callbacks.
    callbacks.push(from_fn("plug", |_: &Event<'_>, _: &mut Vec<Action>| Ok(())));
    let first = trainer.train(&mut callbacks, &Watch::quiet()).unwrap();
    assert_eq!((first.epochs, first.stopped.unwrap().keyword()), (3, "interrupted"));
    let mut resumed = train(&setting, folder.path(), None);
    assert_eq!(final_bits(&mut resumed), final_bits(&mut expected));
}

#[test]
fn fresh_rows_of_other_pictures_are_refused() {
    let setting = setting();
    let trainer = trainer_with(&setting, Some(|_| Ok(table(129, 24, 3))));
    let error = trainer.train(&mut Callbacks::new(), &Watch::quiet()).unwrap_err();
    assert!(error.to_string().contains("changed during training"), "{error}");
}

/// Rows mixed half and half with another class can be predicted with a probability of at most one
/// half.
#[test]
fn mixed_labels_are_learned_as_distributions() {
    let mut setting = setting();
    setting.settings = Training { epochs: 40, ..Training::default() };
    setting.settings.learning_rate = 0.03;
    setting.graph = heads::linear(24, CLASSES as usize);
    let loss = |setting: &Setting| {
        let folder = tempfile::tempdir().unwrap();
        train(setting, folder.path(), None);
        let history = fs::read_to_string(folder.path().join("history.csv")).unwrap();
        let last = history.lines().last().unwrap().split(',').nth(3).unwrap().to_owned();
        last.parse::<f64>().unwrap()
    };
    let hard = loss(&setting);
    let labels = setting.train.labels.clone();
    let mix = |share| labels.iter().map(|l| ((l + 1) % CLASSES, share)).collect();
    setting.train.mixed = mix(0.0);
    assert!((loss(&setting) - hard).abs() < 1e-6, "a share of 0 changes nothing");
    setting.train.mixed = mix(0.5);
    let soft = loss(&setting);
    // The entropy of ½, ½ is ln 2.
    assert!(hard < 0.65 && soft > 0.693, "{hard} {soft}");
}

#[test]
fn interrupted_again_and_again_it_comes_to_the_same_end() {
    let setting = setting();
    let whole = tempfile::tempdir().unwrap();
    let mut expected = train(&setting, whole.path(), None);
    let folder = tempfile::tempdir().unwrap();
    let mut rounds = 0;
    let mut last = loop {
        rounds += 1;
        let trained = train(&setting, folder.path(), Some(2));
        if trained.stopped.as_ref().is_none_or(|s| s.keyword() != "interrupted") {
            break trained;
        }
        assert!(rounds < 100);
    };
    assert!(rounds > 10);
    assert_eq!(final_bits(&mut last), final_bits(&mut expected));
}

#[test]
fn a_damaged_checkpoint_gives_way_to_an_earlier_one() {
    let setting = setting();
    let whole = tempfile::tempdir().unwrap();
    let mut expected = train(&setting, whole.path(), None);
    let folder = tempfile::tempdir().unwrap();
    train(&setting, folder.path(), Some(14));
    let checkpoints = folder.path().join("checkpoints");
    let mut files: Vec<_> =
        fs::read_dir(&checkpoints).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 2, "{files:?}");
    let last = files.pop().unwrap();
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    let mut trainer = trainer(&setting);
    trainer.checkpoints(CheckpointFolder::new(&checkpoints));
    let (resumed, problems) = trainer.resume().unwrap();
    assert!(resumed && problems.len() == 1);
    let name = last.file_name().unwrap().to_string_lossy().into_owned();
    assert!(problems[0].to_string().contains(&name), "{}", problems[0]);
    let mut trained = train(&setting, folder.path(), None);
    assert_eq!(final_bits(&mut trained), final_bits(&mut expected));
}

#[test]
fn a_checkpoint_of_other_settings_or_pictures_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    train(&setting(), folder.path(), Some(4));
    let changed = |change: fn(&mut Setting)| {
        let mut setting = setting();
        change(&mut setting);
        let mut trainer = trainer(&setting);
        trainer.checkpoints(CheckpointFolder::new(folder.path().join("checkpoints")));
        trainer.resume().map(|(resumed, _)| resumed)
    };
    assert!(changed(|_| {}).unwrap());
    let changes: [fn(&mut Setting); 3] =
        [|s| s.settings.seed = 6, |s| s.train.values[7] += 1e-3, |s| s.val.labels[0] = 1];
    for change in changes {
        let error = changed(change).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
        assert!(error.to_string().contains("different settings, pictures or weights"), "{error}");
    }
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_an_error_that_leaves_the_last_one_alone() {
    let setting = setting();
    let folder = tempfile::tempdir().unwrap();
    train(&setting, folder.path(), Some(4));
    let checkpoints = folder.path().join("checkpoints");
    let before: Vec<_> = fs::read_dir(&checkpoints).unwrap().map(|f| f.unwrap().path()).collect();
    let bytes: Vec<_> = before.iter().map(|f| fs::read(f).unwrap()).collect();
    let mut trainer = trainer(&setting);
    trainer.checkpoints(CheckpointFolder::new(&checkpoints));
    trainer.resume().unwrap();
    // A file in place of the folder: has the effect of a full disk or a folder without permissions,
    // even for root.
    let mut callbacks = callbacks(folder.path());
    let moved = folder.path().join("moved");
    let (from, to) = (checkpoints.clone(), moved.clone());
    // Called like the one that it stands for: a checkpoint belongs to a list of callbacks.
    callbacks.push(from_fn("plug", move |event: &Event<'_>, _: &mut Vec<Action>| {
        if matches!(event, Event::TrainBegin { .. }) {
            fs::rename(&from, &to)?;
            fs::write(&from, "in the way")?;
        }
        Ok(())
    }));
    let error = trainer.train(&mut callbacks, &Watch::quiet()).unwrap_err().to_string();
    assert!(error.contains("cannot make the folder for checkpoints"), "{error}");
    for (path, bytes) in before.iter().zip(bytes) {
        assert_eq!(fs::read(moved.join(path.file_name().unwrap())).unwrap(), bytes);
    }
}

#[test]
fn the_finder_leaves_no_trace_and_finds_the_same_every_time() {
    let mut setting = setting();
    setting.settings.ema = None;
    let plain = |found: bool| {
        let mut trainer = trainer(&setting);
        let test = RangeTestConfig { seeds: vec![0, 1, 2], ..RangeTestConfig::default() };
        let found = found
            .then(|| trainer.find_rate(&test.clone().check().unwrap(), &Watch::quiet()).unwrap());
        (trainer.train(&mut Callbacks::new(), &Watch::quiet()).unwrap(), found)
    };
    let (mut without, _) = plain(false);
    let (mut with, found) = plain(true);
    let found = found.unwrap();
    assert_eq!(final_bits(&mut without), final_bits(&mut with));
    assert_eq!(found, plain(true).1.unwrap());
    assert_eq!(found.curves.len(), 3);
    assert!((1e-5..1.0).contains(&found.chosen), "{}", found.chosen);
    // Seeds make other curves.
    assert_ne!(found.curves[0].losses, found.curves[1].losses);
}

#[test]
fn an_interrupted_search_says_so() {
    let setting = setting();
    let mut trainer = trainer(&setting);
    let flag = Arc::new(AtomicBool::new(true));
    let watch = Watch::new(Arc::new(Silent), flag);
    let test = RangeTestConfig::default().check().unwrap();
    assert!(matches!(trainer.find_rate(&test, &watch), Err(Error::Interrupted)));
}

#[test]
fn accumulated_batches_equal_one_large_batch_where_there_is_no_batch_norm() {
    let mut setting = setting();
    setting.graph = heads::linear(24, CLASSES as usize);
    let run = |batch_size, accumulate| {
        let settings = Training { batch_size, accumulate, ..setting.settings.clone() };
        let trained = train_head(
            &setting.graph,
            Arc::new(setting.train.clone()),
            &setting.val,
            &settings.check().unwrap(),
            &mut Callbacks::new(),
            &Watch::quiet(),
        );
        trained.unwrap().learner.weights().unwrap()
    };
    let (parts, whole) = (run(8, 4), run(32, 1));
    for name in whole.names() {
        for (a, b) in parts.values(name).unwrap().iter().zip(whole.values(name).unwrap().iter()) {
            assert!((a - b).abs() < 1e-5, "{name}: {a} {b}");
        }
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let default = Training::default;
    let cases = [
        (Training { epochs: 0, ..default() }, "epochs"),
        (Training { accumulate: 0, ..default() }, "accumulate"),
        (Training { learning_rate: -1.0, ..default() }, "learning_rate"),
        (Training { clip_norm: Some(0.0), ..default() }, "clip_norm"),
        (Training { ema: Some(1.0), ..default() }, "ema"),
        (
            Training {
                loss: LossConfig { label_smoothing: 2.0, ..LossConfig::default() },
                ..default()
            },
            "label_smoothing",
        ),
    ];
    for (settings, word) in cases {
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
