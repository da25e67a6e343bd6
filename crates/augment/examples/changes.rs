//! Milliseconds per picture and thread of each kind of change, from a decoded picture to the
//! network's square.
//!
//! `cargo run --release -p taper-augment --example changes -- PICTURE [SIZE [NAME]]`
#![allow(clippy::print_stdout)]

use std::{error::Error, time::Instant};

use taper_augment::{Adjustment, Augmenter, Change, Factors, Geometry, Policy, Warper};
use taper_core::{Fit, Interpolation, Preprocessing};

/// The least time of seven, in milliseconds per picture: other work on the machine only ever adds.
fn least(pictures: u64, mut work: impl FnMut(u64)) -> f64 {
    let times = (0..7).map(|_| {
        let start = Instant::now();
        (0..pictures).for_each(&mut work);
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::MAX, f64::min) * 1e3 / pictures as f64
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let picture = image::open(arguments.next().ok_or("which picture?")?)?.into_rgb8();
    let size = arguments.next().map_or(Ok(256), |s| s.parse())?;
    let wanted = arguments.next().unwrap_or_default();
    let spec = Preprocessing {
        size,
        interpolation: Interpolation::Bilinear,
        fit: Fit::Squash,
        mean: Preprocessing::IMAGENET_MEAN,
        std: Preprocessing::IMAGENET_STD,
    };
    let mut warper = Warper::new();
    let mut out = vec![0; (size * size * 3) as usize];
    let still = Geometry::default();
    let changes = [
        ("resizing alone", Change::default()),
        ("flip", Change::of_geometry(Geometry { flip: true, ..still })),
        ("rotation", Change::of_geometry(Geometry { rotation: 0.05, ..still })),
        (
            "perspective",
            Change::of_geometry(Geometry { perspective: Some([[0.1, 0.05]; 4]), ..still }),
        ),
        ("contrast", Change::of_adjustments(vec![Adjustment::Contrast(1.2)])),
        (
            "brightness, contrast, saturation, hue",
            Change::of_adjustments(vec![
                Adjustment::BrightnessFactor(0.9),
                Adjustment::ContrastFactor(1.2),
                Adjustment::Saturation(1.1),
                Adjustment::Hue(0.05),
            ]),
        ),
        ("equalize", Change::of_adjustments(vec![Adjustment::Equalize])),
        ("blur 1", Change::of_adjustments(vec![Adjustment::Blur(1.0)])),
        ("sharpness", Change::of_adjustments(vec![Adjustment::Sharpness(1.5)])),
        ("noise", Change::of_adjustments(vec![Adjustment::Noise { sigma: 0.1, key: 1 }])),
        ("jpeg 50", Change::of_adjustments(vec![Adjustment::Jpeg(50)])),
    ];
    for (name, change) in changes.into_iter().filter(|(n, _)| n.starts_with(&wanted)) {
        let time = least(40, |_| {
            std::hint::black_box(change.render(&picture, &spec, &mut warper, &mut out).is_ok());
        });
        println!("{name}: {time:.3} ms");
    }
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
    let mut augmenters: Vec<(String, Augmenter)> =
        Policy::ALL.iter().map(|p| (p.to_string(), Augmenter::of(*p, 0))).collect();
    augmenters.push(("crop, flip, rotation, jitter".into(), Augmenter::new(jitter.check()?, 0)));
    for (name, augmenter) in augmenters.into_iter().filter(|(n, _)| n.starts_with(&wanted)) {
        let time = least(100, |sample| {
            let done = augmenter.render(&picture, 1, sample, &spec, &mut warper, &mut out);
            std::hint::black_box(done.is_ok());
        });
        println!("{name}: {time:.3} ms");
    }
    Ok(())
}
