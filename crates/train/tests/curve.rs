//! The curve of a small fine-tuning run against torch in 64-bit arithmetic. Reference:
//! `reference/curve.py`.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use taper_callbacks::Callbacks;
use taper_grad::{BatchNormMode, Boundary, Unfreeze, layer_decay};
use taper_graph::{Weights, heads};
use taper_optim::{
    Algorithm, EpsilonMode, OptimizerConfig, ParameterGroup, ScheduleConfig, Shape, Span, Warmup,
};
use taper_picture::{DecodeOptions, decode_file};
use taper_train::{
    EpochReport, NetworkLearner, Progress, RowBatches, Table, TrainedPart, Trainer, Training, Watch,
};
use taper_zoo::{WeightsChoice, find, resolve};

const SIDE: usize = 64;
const CROPS: usize = 8;
const CLASSES: usize = 3;

/// Some of the crops, normalised: rows of `[64, 64, 3]`.
fn rows(crops: std::ops::Range<usize>) -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grad/tests/reference/crops.png");
    let strip = decode_file(&path, &DecodeOptions::default()).unwrap().pixels.into_raw();
    let mut table = Table { width: SIDE * SIDE * 3, ..Table::default() };
    for crop in crops {
        table.labels.push((crop % CLASSES) as u32);
        for row in 0..SIDE {
            let start = (row * CROPS + crop) * SIDE * 3;
            let bytes = &strip[start..start + SIDE * 3];
            table.values.extend(bytes.iter().map(|v| f32::from(*v) / 127.5 - 1.0));
        }
    }
    table
}

fn settings(groups: Vec<ParameterGroup>) -> Training {
    Training {
        epochs: 12,
        batch_size: 6,
        learning_rate: 2e-5,
        schedule: ScheduleConfig {
            shape: Shape::Cosine { end_factor: 0.0 },
            warmup: Some(Warmup { over: Span::Steps(2), start_factor: 0.0 }),
        },
        optimizer: OptimizerConfig {
            algorithm: Algorithm::AdamW {
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                epsilon_mode: EpsilonMode::Torch,
                weight_decay: 0.01,
            },
            groups,
        },
        clip_norm: Some(1.0),
        ..Training::default()
    }
}

#[derive(Default)]
struct Curve(Mutex<Vec<[f64; 4]>>);

impl Progress for Curve {
    fn epoch(&self, report: &EpochReport) {
        let EpochReport { loss, accuracy, val_loss, val_accuracy, .. } = *report;
        self.0.lock().unwrap().push([loss, accuracy, val_loss, val_accuracy]);
    }
}

#[test]
fn the_curve_of_a_small_run_lies_on_that_of_torch() {
    let model = find("efficientnet-lite0").unwrap();
    let backbone = model.graph().without_classifier();
    let weights = resolve(model, &WeightsChoice::Pretrained).unwrap();
    let head = heads::linear(backbone.feature_width(), CLASSES);
    let boundary = Boundary::find(&backbone, &Unfreeze::All).unwrap();
    let part = TrainedPart {
        backbone: &backbone,
        weights: weights.source.as_ref(),
        boundary,
        head: &head,
        head_weights: &Weights::seeded(&head),
        size: [SIDE; 2],
        batch_norm: BatchNormMode::Frozen,
        room: 6,
    };
    let settings = settings(layer_decay(&backbone, boundary, 0.8)).check().unwrap();
    let (train, val) = (rows(0..6), rows(6..CROPS));
    let learner = NetworkLearner::new(&part, &train.counts(CLASSES), &settings).unwrap();
    let batches = RowBatches::new(Arc::new(train), CLASSES, &settings).unwrap();
    let trainer = Trainer::new(learner, batches, &val, &settings).unwrap();
    let curve = Arc::new(Curve::default());
    let watch = Watch::new(Arc::clone(&curve) as Arc<dyn Progress>, Arc::default());
    trainer.train(&mut Callbacks::new(), &watch).unwrap();

    let reference: Value = serde_json::from_str(include_str!("reference/curve.json")).unwrap();
    let expected: Vec<[f64; 4]> = serde_json::from_value(reference["epochs"].clone()).unwrap();
    let found = curve.0.lock().unwrap();
    assert_eq!(found.len(), expected.len());
    for (epoch, (found, expected)) in found.iter().zip(&expected).enumerate() {
        for (found, expected) in found.iter().zip(expected) {
            let close = (found - expected).abs() <= 1e-3 * expected.max(1.0);
            assert!(close, "epoch {epoch}: {found}, not {expected}");
        }
    }
}
