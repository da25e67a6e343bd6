//! Pictures per second of the whole way: files, decoding, augmenting, bringing to size, batches of
//! 64.
//!
//! `cargo run --release -p taper-augment --example pipeline -- CASE FOLDER [THREADS [PASSES]]`,
//! where the case is `flip` (256², bilinear, mirrored by chance) or `jitter` (random-resized crop,
//! flip, rotation, colour jitter).
#![allow(clippy::print_stdout)]

use std::{error::Error, sync::Arc, time::Instant};

use image::RgbImage;
use taper_augment::{Augmenter, Factors, Policy};
use taper_core::{Fit, Interpolation, Preprocessing};
use taper_data::{Augment, Item, Loader, LoaderOptions};
use taper_picture::Preparer;
use taper_sources::{FolderUse, open_folder};

struct Views(Augmenter);

impl Augment for Views {
    fn augment_into(
        &self,
        picture: &RgbImage,
        view: u32,
        key: u64,
        preparer: &mut Preparer,
        out: &mut [u8],
    ) -> taper_data::Result<()> {
        let spec = *preparer.spec();
        self.0
            .render(picture, view, key, &spec, preparer.warper(), out)
            .map_err(|e| taper_data::Error::View(e.into()))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let case = arguments.next().ok_or("which case?")?;
    let folder = arguments.next().ok_or("which folder?")?;
    let threads = arguments.next().map_or(Ok(2), |s| s.parse())?;
    let passes: u32 = arguments.next().map_or(Ok(5), |s| s.parse())?;
    let augmenter = match case.as_str() {
        "flip" => Augmenter::of(Policy::Flip, 0),
        _ => {
            let jitter = Factors {
                crop_area: [0.08, 1.0],
                flip: 0.5,
                rotation: 15.0 / 360.0,
                contrast: 0.2,
                brightness: 0.2,
                saturation: 0.2,
                hue: 0.05,
                ..Factors::default()
            };
            Augmenter::new(jitter.check()?, 0)
        }
    };
    let spec = Preprocessing {
        size: 256,
        interpolation: Interpolation::Bilinear,
        fit: Fit::Squash,
        mean: Preprocessing::IMAGENET_MEAN,
        std: Preprocessing::IMAGENET_STD,
    };
    let dataset = Arc::new(open_folder(&folder, FolderUse::Evaluate)?);
    let views: Arc<dyn Augment> = Arc::new(Views(augmenter));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    for epoch in 1..=passes {
        let items = dataset.indices(None).into_iter().map(|sample| Item { sample, view: epoch });
        let loader = Loader::new(
            dataset.clone(),
            spec,
            items.collect(),
            Some(Arc::clone(&views)),
            LoaderOptions::default(),
        )?;
        let start = Instant::now();
        let loaded = pool.install(|| -> taper_data::Result<usize> {
            let mut loaded = 0;
            for batch in loader {
                loaded += batch?.len();
            }
            Ok(loaded)
        })?;
        println!("{:.1}", loaded as f64 / start.elapsed().as_secs_f64());
    }
    Ok(())
}
