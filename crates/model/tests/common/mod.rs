//! A network that is small, with seeded weights, and artefacts of it.
#![allow(dead_code, reason = "each test takes its part")]

use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage};
use taper_core::{ClassNames, Fit, Interpolation, Precision, Preprocessing};
use taper_graph::{Activation, Conv2d, Graph, GraphBuilder, Op, Padding, Weights, heads};
use taper_model::{Artefact, Classifier, Input, OpenOptions, Origin};

/// Two convolutions, the second depthwise, on 16 × 16 pixels; 24 features.
pub(crate) fn backbone() -> Graph {
    let (mut g, input) = GraphBuilder::pictures("tiny", 3);
    let stem = Conv2d::new(3, 24, 3).stride(2).padding(Padding::Same);
    let x = g.conv("stem", input, stem);
    let x = g.batch_norm("bn1", x, 24, 1e-3);
    let x = g.activation("act1", x, Activation::Relu6);
    let x = g.conv("depth", x, Conv2d::new(24, 24, 3).groups(24).padding(Padding::Same));
    let x = g.batch_norm("bn2", x, 24, 1e-3);
    let features = g.layer("pool", Op::GlobalAvgPool, &[x]);
    g.finish(features)
}

/// The artefact of three classes that was trained in `precision`, on the network above.
pub(crate) fn artefact(precision: Precision) -> Artefact {
    let names = ["cat", "dog", "horse"].map(str::to_owned);
    Artefact {
        model: "tiny".into(),
        classes: ClassNames::new(names.into()).unwrap(),
        preprocessing: Preprocessing {
            size: 16,
            interpolation: Interpolation::Bicubic,
            fit: Fit::Crop { fraction: 0.875 },
            mean: [0.5; 3],
            std: [0.5; 3],
        },
        precision,
        backbone: backbone(),
        head: heads::mlp(24, &[8], 0.5, 3),
        weights: Origin { origin: "seeded".into(), sha256: "0".repeat(64), ..Origin::default() },
        recipe: "seed = 1\n".into(),
        data: "none".into(),
        figures: None,
        fine_tuning: None,
        calibration: None,
    }
}

/// Writes it with seeded weights.
pub(crate) fn save(artefact: &Artefact, path: &Path) {
    let backbone = Weights::seeded(&artefact.backbone);
    artefact.save(path, &backbone, &Weights::seeded(&artefact.head)).unwrap();
}

/// A folder of its own for a test, new and empty.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub(crate) fn open(path: &Path) -> Classifier {
    Classifier::open(path, &OpenOptions::default()).unwrap()
}

/// A picture that differs from place to place, and its PNG.
pub(crate) fn picture(phase: u32) -> (RgbImage, Vec<u8>) {
    let pixels = RgbImage::from_fn(40, 30, |x, y| {
        image::Rgb([x * 6 + phase, y * 8 + 2 * phase, x * y + 3 * phase].map(|v| v as u8))
    });
    let mut png = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut png, ImageFormat::Png).unwrap();
    (pixels, png.into_inner())
}

/// The probabilities of the classes.
pub(crate) fn probabilities<'a>(classifier: &Classifier, input: impl Into<Input<'a>>) -> Vec<f64> {
    let prediction = classifier.predict(input).unwrap();
    prediction.probabilities.into_iter().map(|(_, p)| p).collect()
}
