//! The native side of `cargo xtask wasm`: writes a model with the embedded EfficientNet-Lite0 and
//! its own classifier as the head, classifies pictures with it, and prints the results as JSON.
//!
//! `reference MODEL PICTURE…`
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::{env, error::Error, fs, path::PathBuf, time::Instant};

use serde_json::json;
use taper_core::Precision;
use taper_graph::{Weights, heads};
use taper_model::{
    Artefact, Calibration, CalibrationChange, Classifier, Familiarity, Input, OpenOptions, Origin,
    at_length_1,
};
use taper_zoo::{WeightsChoice, find, imagenet, resolve};

/// Runs per picture; the fastest counts.
const RUNS: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let path = arguments.next().ok_or("usage: reference MODEL PICTURE…")?;
    write_model(&path)?;
    let classifier = Classifier::open(&path, &OpenOptions::default())?;
    let mut pictures = Vec::new();
    for picture in arguments {
        let bytes = fs::read(&picture)?;
        let mut milliseconds = f64::INFINITY;
        let mut prediction = classifier.predict(Input::Bytes(&bytes))?;
        for _ in 0..RUNS {
            let start = Instant::now();
            prediction = classifier.predict(Input::Bytes(&bytes))?;
            milliseconds = milliseconds.min(start.elapsed().as_secs_f64() * 1e3);
        }
        pictures.push(json!({
            "file": picture, "milliseconds": milliseconds, "prediction": prediction,
        }));
    }
    println!("{}", json!({ "kernels": classifier.backbone().runs_on(), "pictures": pictures }));
    Ok(())
}

/// A temperature that changes probabilities, and a few rows to compare features with.
fn calibration(width: usize) -> Calibration {
    let row = |n: usize| (0..width).map(move |i| ((i * (n + 3)) % 17) as f32);
    let rows = (0..9).flat_map(|n| at_length_1(&row(n).collect::<Vec<_>>())).collect();
    Calibration {
        temperature: 1.25,
        limit: None,
        pictures: 0,
        validation: CalibrationChange { before: 0.0, after: 0.0 },
        test: None,
        scores: Vec::new(),
        familiarity: Some(Familiarity {
            neighbours: 3,
            threshold: 0.5,
            training_pictures: 9,
            rows,
        }),
    }
}

fn write_model(path: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let model = find("efficientnet-lite0")?;
    let weights = resolve(model, &WeightsChoice::Pretrained)?;
    let mut head = Weights::new();
    for name in ["weight", "bias"] {
        let stored = format!("classifier.{name}");
        let shape = weights.source.shape(&stored).ok_or("no classifier")?.to_vec();
        let values = weights.source.values(&stored).ok_or("no classifier")?.into_owned();
        head.insert(format!("fc.{name}"), shape, values);
    }
    let artefact = Artefact {
        model: model.name.into(),
        classes: imagenet::class_names(),
        preprocessing: model.preprocessing,
        precision: Precision::F32,
        backbone: model.backbone(),
        head: heads::linear(model.feature_width, model.classes),
        weights: Origin { origin: "built in".into(), ..Origin::default() },
        recipe: String::new(),
        data: String::new(),
        figures: None,
        fine_tuning: None,
        calibration: Some(calibration(model.feature_width)),
    };
    artefact.save(path, weights.source.as_ref(), &head)?;
    Ok(())
}
