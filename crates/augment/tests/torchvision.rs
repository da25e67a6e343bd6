//! Every step against torchvision: `reference/make_torchvision.py` wrote the picture and the
//! results.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;

use image::RgbImage;
use taper_augment::{Adjustment, Change, CropBox, Fill, Geometry, Warper};
use taper_core::{Fit, Interpolation, Preprocessing};

fn read(name: &str) -> RgbImage {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    image::open(folder.join(name)).unwrap().into_rgb8()
}

fn look(adjustments: &[Adjustment]) -> Change {
    Change::of_adjustments(adjustments.to_vec())
}

/// The change that a line stands for, and the mean and the largest difference that may be left.
fn change(step: &str, values: &[f32], picture: &RgbImage) -> (Change, f64, u8) {
    let (w, h) = (picture.width() as f32, picture.height() as f32);
    let one = values.first().copied().unwrap_or_default();
    let place = |geometry| Change { fill: Fill::Constant(0), ..Change::of_geometry(geometry) };
    let still = Geometry::default();
    // Sums in another order, and f32 coordinates on torch's side.
    let warped = |geometry| (place(geometry), 0.05, 1);
    let looks = |adjustment| (look(&[adjustment]), 0.02, 1);
    match step {
        "flip" => (place(Geometry { flip: true, ..still }), 0.0, 0),
        "flip_vertical" => (place(Geometry { flip_vertical: true, ..still }), 0.0, 0),
        "rotation" => warped(Geometry { rotation: one / 360.0, ..still }),
        // torchvision's positive shear moves what lies above the centre to the right.
        "shear_x" => warped(Geometry { shear: [one, 0.0], ..still }),
        "shear_y" => warped(Geometry { shear: [0.0, one], ..still }),
        "translation" => {
            (place(Geometry { translation: [one / w, values[1] / h], ..still }), 0.0, 0)
        }
        "zoom" => warped(Geometry { zoom: one, ..still }),
        "perspective" => {
            let moves = std::array::from_fn(|i| [values[2 * i] / w, values[2 * i + 1] / h]);
            warped(Geometry { perspective: Some(moves), ..still })
        }
        "resized_crop" => {
            let crop = CropBox {
                left: one / w,
                top: values[1] / h,
                width: values[2] / w,
                height: values[3] / h,
            };
            // torchvision cuts first, so that its filter does not see what lies beside the crop: a
            // rim of half an input pixel differs where the picture is enlarged.
            let enlarged = values[2] < 30.0;
            let most = if enlarged { 60 } else { 20 };
            (place(Geometry { crop: Some(crop), ..still }), if enlarged { 1.5 } else { 0.35 }, most)
        }
        "brightness" => looks(Adjustment::BrightnessFactor(one)),
        // The mean of the grey picture is taken from the channels' means.
        "contrast" => (look(&[Adjustment::ContrastFactor(one)]), 0.6, 1),
        "saturation" => looks(Adjustment::Saturation(one)),
        "sharpness" => looks(Adjustment::Sharpness(one)),
        "hue" => looks(Adjustment::Hue(one)),
        "grey" => looks(Adjustment::Grey),
        "gamma" => looks(Adjustment::Gamma(one)),
        "posterize" => looks(Adjustment::Posterize(one as u8)),
        "solarize" => looks(Adjustment::Solarize(one as u8)),
        "invert" => looks(Adjustment::Invert),
        "autocontrast" => {
            (look(&[Adjustment::BrightnessFactor(0.6), Adjustment::AutoContrast]), 0.05, 1)
        }
        "equalize" => (look(&[Adjustment::Equalize]), 0.0, 0),
        "blur" => looks(Adjustment::Blur(one)),
        "jitter" => {
            let steps = [
                Adjustment::BrightnessFactor(one),
                Adjustment::ContrastFactor(values[1]),
                Adjustment::Saturation(values[2]),
                Adjustment::Hue(values[3]),
            ];
            (look(&steps), 0.6, 3)
        }
        "chain" => {
            let steps = [
                Adjustment::Gamma(1.5),
                Adjustment::Posterize(5),
                Adjustment::Solarize(200),
                Adjustment::Equalize,
            ];
            (look(&steps), 0.0, 0)
        }
        "erase" => {
            let area = [one / w, values[1] / h, values[2] / w, values[3] / h];
            (look(&[Adjustment::Erase { area, value: [128; 3] }]), 0.0, 0)
        }
        // Another encoder: the same tables, another rounding of the transform. What JPEG itself
        // changes is 4 to 13 levels.
        "jpeg" => (look(&[Adjustment::Jpeg(one as u8)]), 1.5, 40),
        other => panic!("{other}"),
    }
}

#[test]
fn steps_agree_with_torchvision() {
    let picture = read("picture.png");
    let theirs = read("torchvision.png");
    let mut wrong = Vec::new();
    let (mut row, mut cases) = (0, 0);
    for line in include_str!("reference/torchvision.txt").lines().filter(|l| !l.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [step, values, height] = fields[..] else { panic!("{line}") };
        let values: Vec<f32> = values.split(',').filter_map(|v| v.parse().ok()).collect();
        let height: usize = height.parse().unwrap();
        let stride = theirs.width() as usize * 3;
        let expected = &theirs.as_raw()[row * stride..(row + height) * stride];
        row += height;
        let (change, mean_limit, limit) = change(step, &values, &picture);
        let ours = if step == "resized_crop" {
            let spec = Preprocessing {
                size: height as u32,
                interpolation: Interpolation::Bilinear,
                fit: Fit::Crop { fraction: 0.875 },
                mean: [0.5; 3],
                std: [0.5; 3],
            };
            let mut out = vec![0; height * stride];
            change.render(&picture, &spec, &mut Warper::new(), &mut out).unwrap();
            out
        } else {
            change.apply(&picture).unwrap().into_raw()
        };
        assert_eq!(ours.len(), expected.len(), "{line}");
        let off: Vec<u8> = ours.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).collect();
        let mean = off.iter().map(|d| f64::from(*d)).sum::<f64>() / off.len() as f64;
        let most = off.iter().copied().max().unwrap();
        if mean > mean_limit || most > limit {
            wrong.push(format!("{line}: differs by {mean:.3} on average and {most} at most"));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(cases, 51);
}
