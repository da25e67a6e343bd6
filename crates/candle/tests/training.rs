//! Training of heads through candle, the implementation for CUDA: as over slices, to the same bytes
//! wherever it was interrupted.
#![allow(clippy::unwrap_used)] // helpers of tests

#[path = "../../train/tests/common/mod.rs"]
mod common;

use std::{path::Path, sync::Arc};

use candle_core::Device;
use taper_callbacks::{Action, BestWeights, BestWeightsConfig, Callbacks, Event};
use taper_candle::DeviceLearner;
use taper_graph::{WeightSource, Weights};
use taper_train::{HeadLearner, Learner, RowBatches, Trained, Trainer, Watch};

use common::{CLASSES, Setting, bits, setting, train_with};

/// The device named by `TAPER_TEST_DEVICE`; the CPU if it is not set.
fn device() -> Device {
    let choice = std::env::var("TAPER_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    taper_candle::open_device(choice.parse().unwrap()).unwrap()
}

fn through_candle(setting: &Setting) -> Trainer<'_, DeviceLearner, RowBatches<'_>> {
    let settings = setting.settings.clone().check().unwrap();
    let classes = CLASSES as usize;
    let counts = setting.train.counts(classes);
    let learner = DeviceLearner::new(&setting.graph, &counts, &settings, &device()).unwrap();
    let batches = RowBatches::new(Arc::new(setting.train.clone()), classes, &settings).unwrap();
    Trainer::new(learner, batches, &setting.val, &settings).unwrap()
}

fn train_through_candle(
    setting: &Setting,
    folder: &Path,
    stop_after: Option<u64>,
) -> Trained<DeviceLearner> {
    train_with(through_candle(setting), folder, stop_after)
}

/// The weights, how many epochs there were, and which was the best.
fn train_over_slices(setting: &Setting, folder: &Path) -> (Weights, u64, Option<u64>) {
    let settings = setting.settings.clone().check().unwrap();
    let classes = CLASSES as usize;
    let counts = setting.train.counts(classes);
    let learner = HeadLearner::new(&setting.graph, &counts, &settings).unwrap();
    let batches = RowBatches::new(Arc::new(setting.train.clone()), classes, &settings).unwrap();
    let trainer = Trainer::new(learner, batches, &setting.val, &settings).unwrap();
    let mut trained = train_with(trainer, folder, None);
    (trained.learner.weights().unwrap(), trained.epochs, trained.best_epoch)
}

#[test]
fn through_candle_a_training_goes_the_same_way_and_can_be_interrupted() {
    let setting = setting();
    let [slices, candle] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let expected = train_over_slices(&setting, slices.path());
    let mut whole = train_through_candle(&setting, candle.path(), None);
    let (expected, epochs, best_epoch) = expected;
    assert_eq!((whole.epochs, whole.best_epoch), (epochs, best_epoch));
    let (ours, theirs) = (whole.learner.weights().unwrap(), expected);
    let expected_bits = bits(&ours);
    for name in theirs.names() {
        let (a, b) = (ours.values(name).unwrap(), theirs.values(name).unwrap());
        // Adam divides by the gradient's own size, so that rounding counts where gradients nearly
        // vanish.
        let far = a.iter().zip(b.iter()).filter(|(a, b)| (*a - *b).abs() > 1e-3).count();
        assert!(far * 50 <= a.len(), "{name}: {far} of {}", a.len());
    }
    for stop in [1, 7, 13] {
        let folder = tempfile::tempdir().unwrap();
        let first = train_through_candle(&setting, folder.path(), Some(stop));
        assert_eq!(first.stopped.unwrap().keyword(), "interrupted");
        let mut resumed = train_through_candle(&setting, folder.path(), None);
        assert_eq!(
            bits(&resumed.learner.weights().unwrap()),
            expected_bits,
            "stopped after {stop}"
        );
    }
}

#[test]
fn steps_that_are_told_of_together_come_to_the_same() {
    let mut setting = setting();
    setting.settings.accumulate = 1;
    let run = |follows: bool| {
        let trainer = through_candle(&setting);
        let mut callbacks =
            Callbacks::new().with(BestWeights::new(BestWeightsConfig::default().check().unwrap()));
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        callbacks.push(Recorder { follows, log });
        let mut trained = trainer.train(&mut callbacks, &Watch::quiet()).unwrap();
        let seen = seen.lock().unwrap().clone();
        (bits(&trained.learner.weights().unwrap()), trained.best_epoch, seen)
    };
    let together = run(false);
    assert_eq!(together, run(true));
    // 130 rows in batches of 16 are 9 steps; six epochs.
    let steps: Vec<u64> = together.2.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, (0..54).collect::<Vec<_>>());
}

/// Records every step and its loss.
struct Recorder {
    follows: bool,
    log: Arc<std::sync::Mutex<Vec<(u64, u64)>>>,
}

impl taper_callbacks::Callback for Recorder {
    fn name(&self) -> &str {
        "recorder"
    }

    fn follows_batches(&self) -> bool {
        self.follows
    }

    fn on_event(
        &mut self,
        event: &Event<'_>,
        _: &mut Vec<Action>,
    ) -> Result<(), taper_callbacks::Error> {
        if let Event::BatchEnd { step, loss, .. } = *event {
            self.log.lock().unwrap().push((step, loss.to_bits()));
        }
        Ok(())
    }
}
