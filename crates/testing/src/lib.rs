#![doc = include_str!("../README.md")]
// A failed expectation of a test helper is a failed test.
#![allow(clippy::unwrap_used)]

pub mod hub;
pub mod pictures;
pub mod reference;
mod skips;
pub mod zoo;

pub use skips::{shared, skip};

use std::{borrow::Cow, fmt::Write as _};

use safetensors::{Dtype, tensor::TensorView};

/// Tensors of f32 as a safetensors file: name, shape and values in row-major order.
///
/// # Panics
/// If a shape does not fit its values.
pub fn safetensors_file<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], Cow<'a, [f32]>)>,
) -> Vec<u8> {
    let bytes: Vec<(&str, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape, values)| {
            (name, shape.to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// ‖a − b‖ / ‖b‖ in 64-bit arithmetic: how far an answer is from the reference as a whole. Infinite
/// or NaN if a number in `actual` is, or if the reference is all zeros and the answer is not.
///
/// # Panics
/// If the lengths differ.
pub fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(
        actual.len(),
        expected.len(),
        "there are {} numbers, expected {}",
        actual.len(),
        expected.len()
    );
    let square = |x: f64| x * x;
    let pairs = actual.iter().zip(expected);
    let difference: f64 = pairs.map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = expected.iter().map(|b| square(f64::from(*b))).sum();
    if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() }
}

/// Checks that ‖a − b‖ / ‖b‖ is at most `relative`.
///
/// # Panics
/// If it is not, or the lengths differ: with the error and the numbers that differ most.
#[track_caller]
pub fn assert_close(actual: &[f32], expected: &[f32], relative: f64) {
    let error = relative_error(actual, expected);
    if error.is_nan() || error > relative {
        panic!("{}", listing(actual, expected, error, relative));
    }
}

fn listing(actual: &[f32], expected: &[f32], error: f64, relative: f64) -> String {
    const SHOWN: usize = 8;
    let distance = |i: usize| {
        let d = (f64::from(actual[i]) - f64::from(expected[i])).abs();
        if d.is_nan() { f64::INFINITY } else { d }
    };
    let mut worst: Vec<usize> = (0..actual.len()).filter(|&i| distance(i) > 0.0).collect();
    worst.sort_by(|&i, &j| distance(j).total_cmp(&distance(i)));
    let mut text = format!(
        "‖a−b‖/‖b‖ = {error:.3e} is above {relative:.1e}; {} of {} numbers differ, most of all:",
        worst.len(),
        actual.len()
    );
    for &i in worst.iter().take(SHOWN) {
        let _ = write!(text, "\n  [{i}] {} instead of {}", actual[i], expected[i]);
    }
    text
}

/// A picture by formula: `height` × `width` × 3 values of 0…255, row by row, RGB. Gradients that
/// wrap round, crossed by tiles, so that no two regions and no two channels are alike.
pub fn picture(height: usize, width: usize) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(height * width * 3);
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let slopes = 7 * x * (c + 1) + 5 * y * (3 - c) + ((x * y) >> 3);
                pixels.push(((slopes ^ ((x >> 2) * (y >> 3))) & 255) as u8);
            }
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closeness_is_that_of_the_whole() {
        assert_eq!(relative_error(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((relative_error(&[3.0, 4.5], &[3.0, 4.0]) - 0.1).abs() < 1e-12);
        assert_eq!(relative_error(&[0.0], &[0.0]), 0.0);
        assert_close(&[3.0, 4.0001], &[3.0, 4.0], 1e-4);
    }

    #[test]
    #[should_panic(expected = "[1] 4.5 instead of 4")]
    fn what_differs_is_listed() {
        assert_close(&[3.0, 4.5], &[3.0, 4.0], 1e-4);
    }

    #[test]
    #[should_panic(expected = "[0] NaN instead of 3")]
    fn not_a_number_is_never_close() {
        assert_close(&[f32::NAN, 4.0], &[3.0, 4.0], 1e9);
    }

    #[test]
    fn the_picture_is_that_of_the_script() {
        let pixels = picture(197, 231);
        let at = |y: usize, x: usize| &pixels[(y * 231 + x) * 3..][..3];
        // From crates/testing/reference/seeded.py.
        assert_eq!(at(0, 0), [0, 0, 0]);
        assert_eq!(at(100, 50), [59, 133, 239]);
        assert_eq!(at(196, 230), [145, 103, 237]);
    }
}
