//! Pictures per second of a folder: read, decoded, resized.
//!
//! `cargo run --release -p taper-data --example throughput -- FOLDER [SIZE [PASSES]]`
#![allow(clippy::print_stdout)]

use std::{error::Error, sync::Arc, time::Instant};

use taper_core::{Fit, Interpolation, Preprocessing};
use taper_data::{Item, Loader, LoaderOptions};
use taper_picture::prepare;
use taper_sources::{FolderUse, open_folder};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let size = arguments.next().map_or(Ok(224), |s| s.parse())?;
    let passes: usize = arguments.next().map_or(Ok(5), |s| s.parse())?;
    let spec = |interpolation| Preprocessing {
        size,
        interpolation,
        fit: Fit::Squash,
        mean: Preprocessing::IMAGENET_MEAN,
        std: Preprocessing::IMAGENET_STD,
    };

    let start = Instant::now();
    let dataset = Arc::new(open_folder(&folder, FolderUse::Evaluate)?);
    let n = dataset.len();
    println!("indexed {n} pictures in {:.3} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let fingerprint = dataset.fingerprint();
    println!("fingerprint {fingerprint} in {:.3} s", start.elapsed().as_secs_f64());

    let start = Instant::now();
    let some = n.min(300);
    for index in 0..some {
        dataset.read(index).map_err(|f| f.reason)?;
    }
    println!("one thread, decoding alone: {:.0}/s", some as f64 / start.elapsed().as_secs_f64());
    let picture = dataset.read(0).map_err(|f| f.reason)?.pixels;
    let start = Instant::now();
    for _ in 0..some {
        prepare(&picture, &spec(Interpolation::Bicubic))?;
    }
    println!("one thread, resizing alone: {:.0}/s", some as f64 / start.elapsed().as_secs_f64());

    for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
        let mut rates: Vec<f64> = Vec::new();
        for _ in 0..passes {
            let items = Item::untouched(&dataset.indices(None));
            let options = LoaderOptions::default();
            let start = Instant::now();
            let mut loaded = 0;
            for batch in Loader::new(dataset.clone(), spec(interpolation), items, None, options)? {
                loaded += batch?.len();
            }
            rates.push(loaded as f64 / start.elapsed().as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        println!(
            "{} threads, {interpolation:?}, to {size}²: {:.0}/s (median of {passes}, {:.0}–{:.0})",
            rayon::current_num_threads(),
            rates[passes / 2],
            rates[0],
            rates[passes - 1]
        );
    }
    Ok(())
}
