//! A training run of a head that is hard enough to expose mistakes, for every kind of learner.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)] // helpers of tests

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use taper_callbacks::{
    Action, BestWeights, BestWeightsConfig, Callbacks, CsvHistory, EarlyStopping,
    EarlyStoppingConfig, Event, Every, ModelCheckpoint, ModelCheckpointConfig, ReduceLrOnPlateau,
    ReduceLrOnPlateauConfig, from_fn,
};
use taper_core::random::{Key, Purpose};
use taper_graph::{Graph, WeightSource, Weights, heads};
use taper_optim::{Algorithm, LossConfig, OptimizerConfig, ScheduleConfig, Shape, Span, Warmup};
use taper_train::{
    CheckpointFolder, Learner, Progress, RowBatch, RowBatches, Sampling, Table, Trained, Trainer,
    Training, Watch,
};

pub const CLASSES: u32 = 3;

/// Rows around one centre per class, hard to tell apart.
pub fn table(rows: usize, width: usize, seed: u64) -> Table {
    let mut stream = Key::new(seed, Purpose::new("test/features")).stream(0, 0);
    let mut table = Table { width, ..Table::default() };
    for row in 0..rows {
        let label = row as u32 % CLASSES;
        table.labels.push(label);
        for column in 0..width {
            let centre = if column % CLASSES as usize == label as usize { 0.6 } else { 0.0 };
            table.values.push(centre + stream.normal());
        }
    }
    table
}

pub struct Setting {
    pub train: Table,
    pub val: Table,
    pub graph: Graph,
    pub settings: Training,
    /// Whether every epoch has rows of its own.
    pub fresh: bool,
}

pub fn setting() -> Setting {
    let settings = Training {
        epochs: 6,
        batch_size: 16,
        accumulate: 2,
        learning_rate: 3e-3,
        schedule: ScheduleConfig {
            shape: Shape::Cosine { end_factor: 0.1 },
            warmup: Some(Warmup { over: Span::Steps(3), start_factor: 0.1 }),
        },
        optimizer: OptimizerConfig { algorithm: Algorithm::adam_w(), groups: vec![] },
        loss: LossConfig { label_smoothing: 0.1, ..LossConfig::default() },
        clip_norm: Some(2.0),
        ema: Some(0.8),
        sampling: Sampling::Shuffled,
        seed: 5,
    };
    Setting {
        train: table(130, 24, 1),
        val: table(40, 24, 2),
        graph: heads::tutorial(24, CLASSES as usize),
        settings,
        fresh: false,
    }
}

pub fn callbacks(folder: &Path) -> Callbacks {
    let mut all = Callbacks::new();
    all.push(BestWeights::new(BestWeightsConfig::default().check().unwrap()));
    let early = EarlyStoppingConfig { patience: 3, ..EarlyStoppingConfig::default() };
    all.push(EarlyStopping::new(early.check().unwrap()));
    let reduce = ReduceLrOnPlateauConfig { patience: 1, ..ReduceLrOnPlateauConfig::default() };
    all.push(ReduceLrOnPlateau::new(reduce.check().unwrap()));
    all.push(CsvHistory::new(folder.join("history.csv")));
    let checkpoints = ModelCheckpointConfig {
        every: Every::Steps(3),
        keep_last: Some(2),
        keep_best: false,
        ..ModelCheckpointConfig::default()
    };
    all.push(ModelCheckpoint::new(checkpoints.check().unwrap()));
    all
}

pub fn bits(weights: &Weights) -> BTreeMap<String, Vec<u32>> {
    let values = |name: &str| weights.values(name).unwrap().iter().map(|v| v.to_bits()).collect();
    weights.names().into_iter().map(|name| (name.to_owned(), values(name))).collect()
}

pub fn train_with<L>(
    mut trainer: Trainer<'_, L, RowBatches<'_>>,
    folder: &Path,
    stop_after: Option<u64>,
) -> Trained<L>
where
    L: Learner<Batch = RowBatch, Validation = Table>,
{
    trainer.checkpoints(CheckpointFolder::new(folder.join("checkpoints")));
    trainer.resume().unwrap();
    let mut callbacks = callbacks(folder);
    let flag = Arc::new(AtomicBool::new(false));
    let watch = Watch::new(Arc::new(Silent), Arc::clone(&flag));
    let mut steps = 0;
    // After every other callback, and not part of the checkpoints: it only interrupts the run.
    callbacks.push(from_fn("plug", move |event: &Event<'_>, _: &mut Vec<Action>| {
        if let Event::BatchEnd { .. } = event {
            steps += 1;
            if Some(steps) == stop_after {
                flag.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }));
    trainer.train(&mut callbacks, &watch).unwrap()
}

pub struct Silent;

impl Progress for Silent {}
