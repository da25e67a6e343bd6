//! Milliseconds per picture and thread of each stage: decoding, resizing.
//!
//! `cargo run --release -p taper-data --example stages -- FOLDER [SIZE]`
#![allow(clippy::print_stdout)]

use std::{error::Error, fs, time::Instant};

use taper_core::{Fit, Interpolation, Preprocessing};
use taper_picture::{DecodeOptions, Preparer, decode};
use taper_sources::{FolderUse, open_folder};

/// The least time of seven, in milliseconds per picture: other work on the machine only ever adds.
fn least(pictures: usize, mut work: impl FnMut()) -> f64 {
    let times = (0..7).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::MAX, f64::min) * 1e3 / pictures as f64
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let size = arguments.next().map_or(Ok(256), |s| s.parse())?;
    let dataset = open_folder(&folder, FolderUse::Evaluate)?;
    let mut bytes = Vec::new();
    let step = dataset.len().div_ceil(40);
    for sample in dataset.samples().iter().step_by(step) {
        bytes.push(fs::read(std::path::Path::new(&folder).join(&sample.id))?);
    }
    let options = DecodeOptions::default();
    let pictures: Vec<_> =
        bytes.iter().map(|b| decode(b, &options).map(|p| p.pixels)).collect::<Result<_, _>>()?;
    let n = pictures.len();
    let decoding = least(n, || {
        for b in &bytes {
            std::hint::black_box(decode(b, &options).is_ok());
        }
    });
    println!("decoding {decoding:.3} ms");
    for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
        for fit in [Fit::Squash, Fit::Crop { fraction: 0.875 }] {
            let spec = Preprocessing {
                size,
                interpolation,
                fit,
                mean: Preprocessing::IMAGENET_MEAN,
                std: Preprocessing::IMAGENET_STD,
            };
            let mut preparer = Preparer::new(spec)?;
            let mut out = vec![0; preparer.len()];
            let preparing = least(n, || {
                for picture in &pictures {
                    std::hint::black_box(preparer.prepare_into(picture, &mut out).is_ok());
                }
            });
            println!("{interpolation:?} {fit:?} to {size}²: {preparing:.3} ms");
        }
    }
    Ok(())
}
