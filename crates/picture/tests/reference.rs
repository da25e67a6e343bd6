//! Decoding and preparing against Pillow and torchvision: `reference/make.py` wrote the pictures
//! and the values.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs, path::PathBuf};

use image::RgbImage;
use taper_core::{Fit, Interpolation, Preprocessing};
use taper_picture::{DecodeOptions, decode, prepare};

fn pictures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/reference/pictures")
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// Mean and largest absolute difference.
fn difference(a: &[u8], b: &[u8]) -> (f64, u8) {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    let most = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    (sum as f64 / a.len() as f64, most)
}

#[test]
fn pictures_decode_as_in_pillow() {
    let mut cases = 0;
    let mut wrong = Vec::new();
    for line in include_str!("reference/decode.txt").lines().filter(|l| !l.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [name, width, height, pixels] = fields[..] else { panic!("{line}") };
        let bytes = fs::read(pictures().join(name)).unwrap();
        let ours = match decode(&bytes, &DecodeOptions::default()) {
            Ok(picture) => picture.pixels,
            Err(defect) => {
                wrong.push(format!("{name}: {defect}"));
                continue;
            }
        };
        assert_eq!(ours.dimensions(), (width.parse().unwrap(), height.parse().unwrap()), "{name}");
        let (mean, most) = difference(&ours, &from_hex(pixels));
        // Lossy formats leave the last bit to the decoder; halved chroma also leaves open how it is
        // interpolated.
        let (mean_limit, limit) = match name {
            "420.jpg" | "422-odd.jpg" | "progressive.jpg" => (1.0, 12),
            "lossy.webp" => (1.0, 6),
            jpeg if jpeg.ends_with(".jpg") => (0.5, 3),
            // Rounding of the composite over white.
            "rgba.png" | "grey-alpha.png" | "alpha.webp" => (0.5, 1),
            _ => (0.0, 0),
        };
        if mean > mean_limit || most > limit {
            wrong.push(format!("{name}: differs by {mean:.3} on average and {most} at most"));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(cases, 35);
}

/// The nearest 8-bit value: round(v · 255 / 65535).
#[test]
fn sixteen_bits_become_eight_by_rounding() {
    let channel = |c: u32, x: u32, y: u32| [x * 2047, y * 2730, (x * y * 97) % 65536][c as usize];
    let rounded = |v: u32| (f64::from(v) / 257.0).round() as u8;
    let read = |name: &str| {
        let bytes = fs::read(pictures().join(name)).unwrap();
        decode(&bytes, &DecodeOptions::default()).unwrap().pixels
    };
    let (rgb, grey) = (read("rgb16.png"), read("grey16.png"));
    for (x, y, pixel) in rgb.enumerate_pixels() {
        assert_eq!(pixel.0, [0, 1, 2].map(|c| rounded(channel(c, x, y))), "{x} {y}");
        assert_eq!(grey.get_pixel(x, y).0, [rounded(channel(2, x, y)); 3], "{x} {y}");
    }
}

#[test]
fn prepared_pictures_agree_with_pillow_and_torchvision() {
    let mut cases = 0;
    let mut wrong = Vec::new();
    for line in include_str!("reference/prepare.txt").lines().filter(|l| !l.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [width, height, interpolation, fraction, size, pixels] = fields[..] else {
            panic!("{line}")
        };
        let fraction: f32 = fraction.parse().unwrap();
        let spec = Preprocessing {
            size: size.parse().unwrap(),
            interpolation: match interpolation {
                "bilinear" => Interpolation::Bilinear,
                "bicubic" => Interpolation::Bicubic,
                _ => Interpolation::Lanczos,
            },
            fit: if fraction == 0.0 { Fit::Squash } else { Fit::Crop { fraction } },
            mean: Preprocessing::IMAGENET_MEAN,
            std: Preprocessing::IMAGENET_STD,
        };
        let picture = RgbImage::from_fn(width.parse().unwrap(), height.parse().unwrap(), |x, y| {
            image::Rgb([0, 40, 80].map(|c| ((3 * x + 5 * y + c + (x * y % 17) * 6) % 256) as u8))
        });
        let ours = prepare(&picture, &spec).unwrap();
        let (mean, most) = difference(&ours, &from_hex(pixels));
        // Weights of finitely many bits, on both sides: a last bit may differ.
        if mean > 0.25 || most > 2 {
            wrong.push(format!(
                "{width} × {height} {interpolation} {fraction} to {size}: differs by {mean:.3} on average and {most} at most"
            ));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(cases, 60);
}
