//! Every step against Keras: `reference/make_keras.py` holds the same picture and wrote the values.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use image::RgbImage;
use taper_augment::{Adjustment, Change, Fill, Geometry, Homography, Quality, Warper};

fn picture() -> RgbImage {
    RgbImage::from_fn(17, 12, |x, y| {
        image::Rgb([0, 40, 80].map(|c| ((3 * x + 5 * y + c + (x * y % 17) * 6) % 256) as u8))
    })
}

#[test]
fn steps_agree_with_keras() {
    let mut cases = 0;
    for line in include_str!("reference/keras.txt").lines().filter(|l| !l.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [step, values, fill, pixels] = fields[..] else { panic!("{line}") };
        let values: Vec<f64> = values.split(',').map(|v| v.parse().unwrap()).collect();
        let one = values[0] as f32;
        let fill = if fill == "nearest" { Fill::Nearest } else { Fill::Reflect };
        let still = Geometry::default();
        let place =
            |geometry| Change { fill, ..Change::of_geometry(geometry) }.apply(&picture()).unwrap();
        let look = |adjustment| Change::of_adjustments(vec![adjustment]).apply(&picture()).unwrap();
        let ours = match step {
            "rotation" => place(Geometry { rotation: one, ..still }),
            "zoom" => place(Geometry { zoom: 1.0 + one, ..still }),
            "translation" => place(Geometry { translation: [one, values[1] as f32], ..still }),
            "contrast" => look(Adjustment::Contrast(one)),
            "brightness" => look(Adjustment::Brightness(one)),
            "affine" => {
                let map = Homography::affine(values.clone().try_into().unwrap());
                let mut out = picture();
                let size = out.dimensions();
                Warper::new().warp(&picture(), &map, fill, Quality::Plain, size, &mut out).unwrap();
                out
            }
            other => panic!("{other}"),
        };
        let theirs: Vec<u8> = (0..pixels.len() / 2)
            .map(|i| u8::from_str_radix(&pixels[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        assert_eq!(ours.len(), theirs.len());
        let off: Vec<i16> =
            ours.iter().zip(&theirs).map(|(a, b)| (i16::from(*a) - i16::from(*b)).abs()).collect();
        // Keras has f32 coordinates, and the weights here have 11 bits: what is nearly a half may
        // fall to the other side.
        let more_than_one = off.iter().filter(|d| **d > 1).count();
        let different = off.iter().filter(|d| **d > 0).count();
        assert!(
            more_than_one == 0 && different * 20 <= off.len(),
            "{step} {values:?} {fill:?}: {different} of {} differ, {more_than_one} by more than 1",
            off.len()
        );
        cases += 1;
    }
    assert_eq!(cases, 22);
}
