//! Activation maps against `pytorch-grad-cam` (`reference/grad_cam.py`): same weights, same pixels.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;

use serde_json::Value;
use taper_core::{ClassNames, Precision};
use taper_graph::{WeightSource, Weights, heads};
use taper_model::{Artefact, Classifier, Input, OpenOptions, Origin};
use taper_picture::{DecodeOptions, decode_file};
use taper_testing::picture;
use taper_zoo::WeightsChoice;

mod common;

const LABELS: [&str; 5] = ["0", "1", "2", "3", "4"];

/// A photograph of 64 × 64 pixels, enlarged by repeating them.
fn photograph(size: usize) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grad/tests/reference/crops.png");
    let strip = decode_file(&file, &DecodeOptions::default()).unwrap().pixels;
    let pixel = |at: usize| {
        let (x, y) = ((at % size) * 64 / size, (at / size) * 64 / size);
        strip.get_pixel(x as u32, y as u32).0
    };
    (0..size * size).flat_map(pixel).collect()
}

/// The network of a case with a seeded head for five classes.
fn classifier(case: &Value, folder: &Path) -> Classifier {
    let model = taper_zoo::find(case["network"].as_str().unwrap()).unwrap();
    let backbone = model.backbone();
    let weights: Box<dyn WeightSource> = match case["weights"].as_str().unwrap() {
        "seeded" => Box::new(Weights::seeded(&backbone)),
        _ => taper_zoo::resolve(model, &WeightsChoice::Pretrained).unwrap().source,
    };
    let head = heads::linear(backbone.feature_width(), LABELS.len());
    let mut preprocessing = model.preprocessing;
    preprocessing.size = case["size"].as_u64().unwrap() as u32;
    let artefact = Artefact {
        model: model.name.into(),
        classes: ClassNames::new(LABELS.map(str::to_owned).into()).unwrap(),
        preprocessing,
        precision: Precision::F32,
        backbone,
        head: head.clone(),
        weights: Origin { origin: "seeded".into(), sha256: "0".repeat(64), ..Origin::default() },
        recipe: String::new(),
        data: "none".into(),
        figures: None,
        fine_tuning: None,
        calibration: None,
    };
    let path = folder.join("model.safetensors");
    artefact.save(&path, weights.as_ref(), &Weights::seeded(&head)).unwrap();
    Classifier::open(&path, &OpenOptions::default()).unwrap()
}

fn numbers(of: &Value) -> Vec<f32> {
    of.as_array().unwrap().iter().map(|n| n.as_f64().unwrap() as f32).collect()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let with = |a: &[f64], mean_a: f64, b: &[f64], mean_b: f64| {
        a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum::<f64>()
    };
    with(a, mean_a, b, mean_b) / (with(a, mean_a, a, mean_a) * with(b, mean_b, b, mean_b)).sqrt()
}

/// A map at every `step`-th pixel of a picture, as `cv2.resize` enlarges it.
fn enlarged(map: &[f32], [height, width]: [usize; 2], size: usize, step: usize) -> Vec<f64> {
    let place = |at: usize, n: usize| {
        let x = ((at as f64 + 0.5) * n as f64 / size as f64 - 0.5).clamp(0.0, n as f64 - 1.0);
        let low = x as usize;
        (low, (low + 1).min(n - 1), x - low as f64)
    };
    let mut out = Vec::new();
    for y in (0..size).step_by(step) {
        for x in (0..size).step_by(step) {
            let ((top, below, v), (left, right, h)) = (place(y, height), place(x, width));
            let at = |y: usize, x: usize| f64::from(map[y * width + x]);
            let upper = at(top, left) * (1.0 - h) + at(top, right) * h;
            let lower = at(below, left) * (1.0 - h) + at(below, right) * h;
            out.push(upper * (1.0 - v) + lower * v);
        }
    }
    out
}

#[test]
fn maps_are_those_of_pytorch_grad_cam() {
    let text = include_str!("reference/grad_cam.json");
    let reference: Value = serde_json::from_str(text).unwrap();
    let folder = common::folder("activation-maps");
    let mut least = 1.0_f64;
    for case in reference["cases"].as_array().unwrap() {
        let (size, step) = (case["size"].as_u64().unwrap() as usize, &case["step"]);
        let grid = [0, 1].map(|at| case["grid"][at].as_u64().unwrap() as usize);
        let name = format!("{} {} {size}", case["network"], case["weights"]);
        let classifier = classifier(case, &folder);
        for (kind, pixels) in [("formula", picture(size, size)), ("photograph", photograph(size))] {
            for (label, expected) in case["pictures"][kind]["classes"].as_object().unwrap() {
                let own = classifier.explain(Input::Prepared(&pixels), Some(label)).unwrap();
                assert_eq!([own.map.height, own.map.width], grid, "{name}");
                assert_eq!(own.prediction, classifier.predict(Input::Prepared(&pixels)).unwrap());
                let map = numbers(&expected["map"]);
                let most = map.iter().copied().fold(0.0, f32::max);
                if most == 0.0 {
                    assert!(own.map.values.iter().all(|value| *value == 0.0), "{name} {kind}");
                    continue;
                }
                for (own, map) in own.map.values.iter().zip(&map) {
                    assert!((own - map / most).abs() < 2e-3, "{name} {kind} {label}: {own} {map}");
                }
                let drawn: Vec<f64> =
                    numbers(&expected["drawn"]).into_iter().map(f64::from).collect();
                let step = step.as_u64().unwrap() as usize;
                let ours = enlarged(&own.map.values, grid, size, step);
                let close = correlation(&ours, &drawn);
                assert!(close > 0.999, "{name} {kind} {label}: {close}");
                least = least.min(close);
            }
        }
    }
    assert!(least > 0.999_999, "{least}");
}

#[test]
fn a_map_says_which_part_of_the_picture_it_covers() {
    let path = common::folder("activation-map-part").join("model.safetensors");
    common::save(&common::artefact(Precision::F32), &path);
    let classifier = Classifier::open(&path, &OpenOptions::default()).unwrap();
    let picture = image::RgbImage::from_fn(80, 40, |x, y| image::Rgb([x as u8, y as u8, 0]));
    let explained = classifier.explain(&picture, None).unwrap();
    assert_eq!(explained.map.class, explained.prediction.label);
    // Of a picture twice as wide as high, the central 0.875 of the height: 16 of 18 pixels.
    let [left, top, right, bottom] = explained.map.region;
    assert!((right - left - 16.0 / 36.0).abs() < 1e-3, "{:?}", explained.map.region);
    assert!((bottom - top - 16.0 / 18.0).abs() < 1e-3, "{:?}", explained.map.region);
    let wrong = classifier.explain(&picture, Some("cow")).unwrap_err().to_string();
    assert_eq!(wrong, "there is no activation map: 'cow' is no class of it");
}
