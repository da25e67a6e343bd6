//! What views promise: exactness where nothing moves, the order of steps, keys, ranges, odd
//! pictures.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use image::{RgbImage, imageops};
use taper_augment::{
    Adjustment, Augmenter, Change, Error, Factors, Fill, Geometry, Policy, Warper,
};
use taper_core::{Fit, Interpolation, Preprocessing};

fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 7 + y * 3) as u8, (x * y) as u8, (y * 11) as u8])
    })
}

fn place(geometry: Geometry, picture: &RgbImage) -> RgbImage {
    Change::of_geometry(geometry).apply(picture).unwrap()
}

fn spec(size: u32, fit: Fit) -> Preprocessing {
    let interpolation = Interpolation::Bicubic;
    Preprocessing { size, interpolation, fit, mean: [0.5; 3], std: [0.5; 3] }
}

fn render(change: &Change, picture: &RgbImage, spec: &Preprocessing) -> RgbImage {
    let mut out = RgbImage::new(spec.size, spec.size);
    change.render(picture, spec, &mut Warper::new(), &mut out).unwrap();
    out
}

/// Every step at once.
fn everything() -> Factors {
    Factors {
        crop_area: [0.3, 1.0],
        flip: 0.5,
        flip_vertical: 0.5,
        rotation: 0.5,
        shear: 0.3,
        zoom: 0.3,
        translation: 0.2,
        perspective: 0.5,
        contrast: 0.5,
        brightness: 0.3,
        saturation: 0.5,
        hue: 0.5,
        grey: 0.5,
        gamma: 0.5,
        blur: 3.0,
        sharpness: 0.9,
        noise: 0.1,
        posterize: 0.5,
        solarize: 0.5,
        equalize: 0.5,
        jpeg: 20,
        erasing: 0.5,
        ..Factors::default()
    }
}

const STILL: Geometry = Geometry {
    crop: None,
    flip: false,
    flip_vertical: false,
    rotation: 0.0,
    shear: [0.0; 2],
    zoom: 1.0,
    translation: [0.0; 2],
    perspective: None,
};

#[test]
fn no_change_is_an_exact_copy_and_a_flip_is_exact() {
    let picture = picture(19, 13);
    assert_eq!(STILL, Geometry::default());
    assert_eq!(Change::default().apply(&picture).unwrap(), picture);
    let flipped = place(Geometry { flip: true, ..STILL }, &picture);
    assert_eq!(flipped, imageops::flip_horizontal(&picture));
    let flipped = place(Geometry { flip_vertical: true, ..STILL }, &picture);
    assert_eq!(flipped, imageops::flip_vertical(&picture));
    let augmenter = Augmenter::of(Policy::None, 3);
    for view in 0..20 {
        assert_eq!(augmenter.augment(&picture, view, 5).unwrap(), picture);
    }
}

#[test]
fn quarter_turns_are_exact_and_counter_clockwise() {
    let picture = picture(16, 16);
    let turned = place(Geometry { rotation: 0.25, ..STILL }, &picture);
    assert_eq!(turned, imageops::rotate270(&picture));
    let turned = place(Geometry { rotation: 0.5, ..STILL }, &picture);
    assert_eq!(turned, imageops::rotate180(&picture));
    let both = place(Geometry { rotation: -0.25, flip: true, ..STILL }, &picture);
    assert_eq!(both, imageops::rotate90(&imageops::flip_horizontal(&picture)));
}

/// A shift by whole pixels is exact, so the order of the steps can be read off.
#[test]
fn steps_are_applied_in_the_order_of_the_fields() {
    let picture = picture(20, 20);
    let together = Geometry { flip: true, rotation: 0.25, translation: [0.1, -0.2], ..STILL };
    let mut one_by_one = picture.clone();
    for step in [
        Geometry { flip: true, ..STILL },
        Geometry { rotation: 0.25, ..STILL },
        Geometry { translation: [0.1, -0.2], ..STILL },
    ] {
        one_by_one = place(step, &one_by_one);
    }
    assert_eq!(place(together, &picture), one_by_one);
    let to_the_right = place(Geometry { translation: [0.1, 0.0], ..STILL }, &picture);
    assert_eq!(to_the_right.get_pixel(12, 5), picture.get_pixel(10, 5));
}

#[test]
fn zoom_above_one_makes_things_smaller_about_the_centre() {
    let mut picture = RgbImage::new(21, 21);
    for at in 5..=15 {
        picture.put_pixel(at, 10, image::Rgb([255; 3]));
    }
    let change =
        Change { fill: Fill::Nearest, ..Change::of_geometry(Geometry { zoom: 2.0, ..STILL }) };
    let smaller = change.apply(&picture).unwrap();
    let bright: Vec<u32> = (0..21).filter(|x| smaller.get_pixel(*x, 10).0[0] > 127).collect();
    assert_eq!(bright, (8..=12).collect::<Vec<_>>());
}

#[test]
fn contrast_follows_the_formula() {
    let picture = RgbImage::from_raw(2, 1, vec![100, 0, 10, 200, 255, 20]).unwrap();
    let look = |steps: &[Adjustment]| {
        Change::of_adjustments(steps.to_vec()).apply(&picture).unwrap().into_raw()
    };
    // (x − μ)·½ + μ with μ = 150, 127.5, 15; 63.75 and 191.25 and 12.5 and 17.5 are rounded.
    assert_eq!(look(&[Adjustment::Contrast(0.5)]), [125, 64, 13, 175, 191, 18]);
    // Clipped after the contrast, then 25.5 more: 50, 0, 5 and 250, 255, 25 before it.
    let both = [Adjustment::Contrast(2.0), Adjustment::Brightness(0.1)];
    assert_eq!(look(&both), [76, 26, 31, 255, 255, 51]);
}

/// Tables that are joined give what one step after the other gives.
#[test]
fn joined_adjustments_equal_single_ones() {
    let picture = picture(37, 23);
    let steps = [
        Adjustment::BrightnessFactor(0.8),
        Adjustment::Contrast(1.3),
        Adjustment::Saturation(1.4),
        Adjustment::Hue(0.2),
        Adjustment::AutoContrast,
        Adjustment::Equalize,
        Adjustment::Blur(0.7),
        Adjustment::Solarize(100),
        Adjustment::Sharpness(1.5),
        Adjustment::Grey,
        Adjustment::Invert,
    ];
    let together = Change::of_adjustments(steps.to_vec()).apply(&picture).unwrap();
    let one_by_one = steps.iter().fold(picture, |picture, step| {
        Change::of_adjustments(vec![*step]).apply(&picture).unwrap()
    });
    assert_eq!(together, one_by_one);
}

/// The network's square: without a change, and with flips and crops alone, Pillow's resizing;
/// nothing is made twice.
#[test]
fn rendering_resizes_as_pictures_without_augmentation_are_resized() {
    let picture = picture(90, 70);
    for fit in [Fit::Squash, Fit::Crop { fraction: 0.875 }] {
        let spec = spec(32, fit);
        let plain = render(&Change::default(), &picture, &spec);
        let flipped =
            render(&Change::of_geometry(Geometry { flip: true, ..STILL }), &picture, &spec);
        let back = imageops::flip_horizontal(&flipped);
        let most = plain.iter().zip(back.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        // The central crop of an odd width is off by half a pixel when mirrored.
        assert!(most <= if fit == Fit::Squash { 0 } else { 24 }, "{fit:?}: {most}");
        let mirrored = render(&Change::default(), &imageops::flip_horizontal(&picture), &spec);
        let off = flipped.iter().zip(mirrored.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(off <= 1, "{fit:?}: {off}");
    }
}

/// Turning and shrinking at once against the mean of 8 × 8 places per pixel: closer than turning
/// without antialiasing.
#[test]
fn a_warp_that_shrinks_does_not_alias() {
    // Rings, finer than the small picture can show.
    let picture = RgbImage::from_fn(256, 256, |x, y| {
        let (x, y) = (f64::from(x) - 127.5, f64::from(y) - 127.5);
        let v = (128.0 + 100.0 * ((x * x + y * y) / 90.0).sin()) as u8;
        image::Rgb([v, v / 2, 255 - v])
    });
    let change = Change::of_geometry(Geometry { rotation: 0.06, ..STILL });
    let ours = render(&change, &picture, &spec(64, Fit::Squash));
    let fine = render(&change, &picture, &spec(512, Fit::Squash));
    let mean_of = |x: u32, y: u32, c: usize| {
        let sum: u32 =
            (0..64).map(|i| u32::from(fine.get_pixel(8 * x + i % 8, 8 * y + i / 8).0[c])).sum();
        f64::from(sum) / 64.0
    };
    let turned = change.apply(&picture).unwrap();
    let (mut off, mut aliased) = (0.0, 0.0);
    for (x, y, pixel) in ours.enumerate_pixels() {
        for c in 0..3 {
            let expected = mean_of(x, y, c);
            off += (f64::from(pixel.0[c]) - expected).abs();
            aliased += (f64::from(turned.get_pixel(4 * x + 2, 4 * y + 2).0[c]) - expected).abs();
        }
    }
    let values = f64::from(64 * 64 * 3);
    assert!(off / values < 8.0, "{}", off / values);
    assert!(off * 4.0 < aliased, "{off} {aliased}");
}

#[test]
fn views_are_a_function_of_seed_view_and_sample() {
    for policy in Policy::ALL.into_iter().skip(2) {
        let augmenter = Augmenter::of(policy, 1);
        assert_eq!(augmenter.draw(3, 9, 1.0), augmenter.clone().draw(3, 9, 1.0));
        let of = |augmenter: &Augmenter, view, first: u64| {
            (first..first + 20).map(|s| augmenter.draw(view, s, 1.0)).collect::<Vec<_>>()
        };
        let draws = [
            of(&augmenter, 3, 100),
            of(&augmenter, 4, 100),
            of(&augmenter, 3, 200),
            of(&Augmenter::of(policy, 2), 3, 100),
        ];
        for (i, a) in draws.iter().enumerate() {
            assert!(draws[i + 1..].iter().all(|b| a != b), "{policy}");
        }
    }
    // One step off leaves the others as they were.
    let all = everything().check().unwrap();
    let without = Factors { rotation: 0.0, ..everything() }.check().unwrap();
    let change = Augmenter::new(without, 1).draw(3, 9, 1.0);
    let mut expected = Augmenter::new(all, 1).draw(3, 9, 1.0);
    expected.geometry.rotation = 0.0;
    assert_eq!(change, expected);
}

#[test]
fn draws_keep_to_the_factors_and_use_their_range() {
    let factors = everything().check().unwrap();
    let augmenter = Augmenter::new(factors, 7);
    let (mut flips, mut low, mut high, mut areas) = (0, f32::MAX, f32::MIN, Vec::new());
    for sample in 0..2_000 {
        let aspect = 1.25;
        let Change { geometry, adjustments, .. } = augmenter.draw(1, sample, aspect);
        flips += usize::from(geometry.flip);
        low = low.min(geometry.rotation);
        high = high.max(geometry.rotation);
        assert!(geometry.rotation.abs() <= factors.rotation);
        assert!((geometry.zoom - 1.0).abs() <= factors.zoom + 1e-6);
        assert!(geometry.shear.iter().all(|s| s.abs() <= factors.shear));
        assert!(geometry.translation.iter().all(|t| t.abs() <= factors.translation));
        let moves = geometry.perspective.unwrap();
        assert!(moves.iter().flatten().all(|m| (0.0..=0.25).contains(m)));
        let crop = geometry.crop.unwrap();
        assert!(crop.left >= 0.0 && crop.left + crop.width <= 1.0 + 1e-6);
        assert!(crop.top >= 0.0 && crop.top + crop.height <= 1.0 + 1e-6);
        let ratio = crop.width * aspect / crop.height;
        assert!((0.749..=1.334).contains(&ratio), "{ratio}");
        areas.push(crop.width * crop.height);
        for adjustment in adjustments {
            match adjustment {
                Adjustment::Contrast(f) => assert!((f - 1.0).abs() <= factors.contrast + 1e-6),
                Adjustment::Brightness(b) => assert!(b.abs() <= factors.brightness),
                Adjustment::Hue(h) => assert!(h.abs() <= factors.hue),
                Adjustment::Gamma(g) => assert!((1.0 / 1.501..=1.501).contains(&g)),
                Adjustment::Blur(sigma) => assert!((0.1..=3.0).contains(&sigma)),
                Adjustment::Jpeg(quality) => assert!((20..=100).contains(&quality)),
                _ => {}
            }
        }
    }
    assert!((900..1_100).contains(&flips), "{flips}");
    assert!(low < -0.49 && high > 0.49, "{low} {high}");
    assert!(areas.iter().all(|a| (0.29..=1.001).contains(a)));
    assert!(areas.iter().any(|a| *a < 0.35) && areas.iter().any(|a| *a > 0.85));
}

#[test]
fn automatic_policies_draw_their_operations() {
    let mut kinds = std::collections::HashSet::new();
    for sample in 0..500 {
        let change = Augmenter::of(Policy::TrivialAugment, 0).draw(1, sample, 1.0);
        let moved = change.geometry != STILL;
        assert!(change.adjustments.len() + usize::from(moved) <= 1, "one operation: {change:?}");
        kinds.insert(match change.adjustments.first() {
            Some(a) => format!("{a:?}").split('(').next().unwrap().to_owned(),
            None => format!("{moved}"),
        });
    }
    // Eight adjustments, geometry, identity.
    assert_eq!(kinds.len(), 10, "{kinds:?}");
    let three = Policy::RandAugment { operations: 3, magnitude: 30 };
    let most = (0..300).map(|s| Augmenter::of(three, 0).draw(1, s, 1.0).adjustments.len()).max();
    assert_eq!(most, Some(3));
    // Magnitude 0 leaves everything but equalize and auto-contrast as it is.
    let still = Policy::RandAugment { operations: 1, magnitude: 0 };
    let picture = picture(40, 30);
    for sample in 0..50 {
        let change = Augmenter::of(still, 0).draw(1, sample, 1.0);
        if !matches!(change.adjustments[..], [Adjustment::Equalize | Adjustment::AutoContrast]) {
            let off = change.apply(&picture).unwrap();
            let most = off.iter().zip(picture.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            // Solarizing from 255 on turns 255 into 0.
            assert!(most <= 1 || change.adjustments == [Adjustment::Solarize(255)], "{change:?}");
        }
    }
}

#[test]
fn odd_sizes_and_grey_pictures_do_no_harm() {
    let augmenter = Augmenter::new(everything().check().unwrap(), 7);
    let spec = spec(24, Fit::Crop { fraction: 0.875 });
    for (width, height) in [(1, 1), (1, 9), (9, 1), (2, 2), (3, 500)] {
        for view in 1..40 {
            let odd = picture(width, height);
            assert_eq!(augmenter.augment(&odd, view, 0).unwrap().dimensions(), (width, height));
            let mut out = RgbImage::new(24, 24);
            let mut warper = Warper::new();
            augmenter.render(&odd, view, 0, &spec, &mut warper, &mut out).unwrap();
        }
    }
    for policy in Policy::ALL {
        // Without noise and artefacts, grey stays grey, whatever is done to it.
        let grey = RgbImage::from_fn(31, 20, |x, y| image::Rgb([(x * 5 + y * 3) as u8; 3]));
        for view in 1..30 {
            let out = Augmenter::of(policy, 3).augment(&grey, view, 1).unwrap();
            assert!(
                out.pixels().all(|p| p.0[0].abs_diff(p.0[1]) <= 1 && p.0[1].abs_diff(p.0[2]) <= 1)
            );
        }
    }
}

#[test]
fn empty_pictures_and_wrong_outputs_are_errors() {
    let spec = spec(8, Fit::Squash);
    let augmenter = Augmenter::of(Policy::Standard, 0);
    let mut warper = Warper::new();
    for (width, height) in [(0, 0), (0, 5), (5, 0)] {
        let empty = RgbImage::new(width, height);
        assert_eq!(augmenter.augment(&empty, 1, 0).unwrap(), empty);
        let outcome = augmenter.render(&empty, 1, 0, &spec, &mut warper, &mut [0; 192]);
        assert_eq!(outcome, Err(Error::Resample(taper_picture::Error::NoPixels { width, height })));
    }
    let outcome = augmenter.render(&picture(9, 9), 1, 0, &spec, &mut warper, &mut [0; 191]);
    assert!(outcome.unwrap_err().to_string().contains("192"));
}
