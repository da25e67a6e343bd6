//! Writes a contact sheet: training pictures on the left, test pictures on the right, one row per
//! class.
//!
//! `cargo run --release -p taper-synthetic --example contact_sheet -- [OUT.png] [COLUMNS]
//! [ROWS_PER_CLASS] [SEED]`

use std::error::Error;

use image::{Rgb, RgbImage, imageops};
use rayon::prelude::*;
use taper_core::Split;
use taper_synthetic::{CLASSES, render};

const SIZE: u32 = 192;
const GAP: u32 = 4;
const MARGIN: u32 = 24;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().unwrap_or_else(|| "contact_sheet.png".into());
    let columns: u32 = arguments.next().map_or(Ok(5), |n| n.parse())?;
    let rows: u32 = arguments.next().map_or(Ok(1), |n| n.parse())?;
    let seed: u64 = arguments.next().map_or(Ok(0), |n| n.parse())?;

    let step = SIZE + GAP;
    let half = columns * step - GAP;
    let width = 2 * half + 3 * MARGIN;
    let height = 3 * (rows * step + MARGIN) + MARGIN;
    let mut sheet = RgbImage::from_pixel(width, height, Rgb([245, 245, 245]));
    for (split, left) in [(Split::Train, MARGIN), (Split::Test, 2 * MARGIN + half)] {
        for class in 0..3 {
            let top = MARGIN + class * (rows * step + MARGIN);
            write(&mut sheet, &format!("{split} {}", CLASSES[class as usize]), left, top - 18);
            let pictures: Vec<RgbImage> = (0..columns * rows)
                .into_par_iter()
                .map(|i| render(seed, split, (3 * i + class) as usize, SIZE))
                .collect();
            for (i, picture) in (0..).zip(&pictures) {
                let (x, y) = (left + i % columns * step, top + i / columns * step);
                imageops::replace(&mut sheet, picture, x.into(), y.into());
            }
        }
    }
    sheet.save(&out)?;
    Ok(())
}

/// Draws capital letters, 5 × 7 dots of 2 × 2 pixels each.
fn write(sheet: &mut RgbImage, text: &str, left: u32, top: u32) {
    for (place, letter) in (0..).zip(text.to_uppercase().chars()) {
        for (row, line) in (0..).zip(glyph(letter)) {
            for column in 0..5 {
                if line >> (4 - column) & 1 == 1 {
                    for dot in 0..4 {
                        let x = left + place * 12 + column * 2 + dot % 2;
                        sheet.put_pixel(x, top + row * 2 + dot / 2, Rgb([40, 40, 40]));
                    }
                }
            }
        }
    }
}

/// The letters of the split and class names; anything else is blank.
fn glyph(letter: char) -> [u8; 7] {
    match letter {
        'A' => [0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        'C' => [0x0e, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0e],
        'E' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f],
        'I' => [0x0e, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e],
        'K' => [0x11, 0x12, 0x14, 0x18, 0x14, 0x12, 0x11],
        'N' => [0x11, 0x19, 0x15, 0x13, 0x11, 0x11, 0x11],
        'O' => [0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        'P' => [0x1e, 0x11, 0x11, 0x1e, 0x10, 0x10, 0x10],
        'R' => [0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11],
        'S' => [0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e],
        'T' => [0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04],
        _ => [0; 7],
    }
}
