#![doc = include_str!("../README.md")]

mod config;
mod error;
mod field;
mod hand;
mod math;
mod picture;
mod shading;
mod source;
mod style;

pub use config::{Synthetic, SyntheticConfig};
pub use error::{Error, Result};
pub use source::SyntheticSource;

use image::RgbImage;
use taper_core::{
    ClassNames, Split,
    random::{Key, Purpose},
};

/// The version of the renderer: raised when the same configuration comes to give different
/// pictures.
pub const VERSION: u64 = 1;

/// The names of the classes in label order, sorted like the folders of an image-folder data set.
pub const CLASSES: [&str; 3] = ["paper", "rock", "scissors"];

/// [`CLASSES`] as [`ClassNames`].
pub fn class_names() -> ClassNames {
    match ClassNames::new(CLASSES.map(String::from).to_vec()) {
        Ok(names) => names,
        Err(_) => unreachable!("three distinct names"),
    }
}

/// The label of the picture with this index: paper, rock and scissors take turns, in every split.
pub fn label(index: usize) -> u32 {
    (index % CLASSES.len()) as u32
}

/// Renders a picture of a hand: `size` × `size` pixels, 8-bit sRGB, showing the gesture of
/// [`label`]`(index)`.
///
/// A pure function: the same four arguments give the same bytes, on any number of threads and on
/// any machine, since only IEEE additions, multiplications, divisions and square roots are used.
/// Seed and index choose hand, pose, view and light; `size` only changes the sampling. For
/// [`Split::Test`] they are drawn from a shifted distribution.
///
/// Any `size` above 0 works; see [`SyntheticConfig::size`] for sensible ones.
pub fn render(seed: u64, split: Split, index: usize, size: u32) -> RgbImage {
    // One purpose per split, so that no picture can occur in two of them.
    const TRAIN: Purpose = Purpose::new("synthetic/train");
    const VAL: Purpose = Purpose::new("synthetic/val");
    const TEST: Purpose = Purpose::new("synthetic/test");
    let (purpose, shifted) = match split {
        Split::Train => (TRAIN, false),
        Split::Val => (VAL, false),
        Split::Test => (TEST, true),
    };
    let key = Key::new(seed, purpose);
    let gesture = hand::Gesture::of_label(label(index));
    let hand = hand::Hand::draw(gesture, shifted, &mut key.part("hand").stream(0, index as u64));
    let style = style::Style::draw(shifted, &mut key.part("style").stream(0, index as u64));
    picture::render(&hand, &style, &mut key.part("noise").stream(0, index as u64), size)
}
