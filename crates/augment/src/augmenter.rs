use image::{RgbImage, imageops};
use taper_core::random::{Key, Purpose};

use crate::{Affine, CheckedFactors, Fill};

const AUGMENT: Purpose = Purpose::new("augment");

/// Makes views of pictures: a pure function of (seed, view, sample).
#[derive(Debug, Clone)]
pub struct Augmenter {
    factors: CheckedFactors,
    key: Key,
}

impl Augmenter {
    /// An augmenter with these factors and this seed.
    pub fn new(factors: CheckedFactors, seed: u64) -> Self {
        Self { factors, key: Key::new(seed, AUGMENT) }
    }

    /// What happens to this view (or epoch) of this sample.
    ///
    /// Every step has a stream of its own, so that turning one on or off does not change what the others draw.
    pub fn draw(&self, view: u32, sample: u64) -> Change {
        let factors = &*self.factors;
        let stream = |step: &str| self.key.part(step).stream(view, sample);
        let around = |step: &str, most: f32| stream(step).range(-most, most);
        let pair = |step: &str, most: f32| {
            let mut stream = stream(step);
            [stream.range(-most, most), stream.range(-most, most)]
        };
        Change {
            flip: stream("flip").bernoulli(factors.flip),
            rotation: around("rotation", factors.rotation),
            shear: pair("shear", factors.shear),
            zoom: 1.0 + around("zoom", factors.zoom),
            translation: pair("translation", factors.translation),
            contrast: 1.0 + around("contrast", factors.contrast),
            brightness: around("brightness", factors.brightness),
            fill: factors.fill,
        }
    }

    /// The view of a picture: u8 RGB, same size.
    pub fn augment(&self, picture: &RgbImage, view: u32, sample: u64) -> RgbImage {
        self.draw(view, sample).apply(picture)
    }
}

/// One definite change of a picture. Steps are applied in the order of the fields; all geometric ones are composed into
/// one map, so that the picture is resampled at most once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Whether left and right are exchanged.
    pub flip: bool,
    /// Counter-clockwise turn about the centre, as a fraction of a full turn.
    pub rotation: f32,
    /// Shear about the centre along x and along y: the input is seen at x + s\[0\]·y and y + s\[1\]·x.
    pub shear: [f32; 2],
    /// Side of the part that is seen, relative to the picture: above 1 things become smaller.
    pub zoom: f32,
    /// Shift to the right and downwards, as a fraction of width and height.
    pub translation: [f32; 2],
    /// Factor of contrast about each channel's mean.
    pub contrast: f32,
    /// What is added to every channel, as a fraction of the full range.
    pub brightness: f32,
    /// What lies beyond the edges.
    pub fill: Fill,
}

impl Default for Change {
    /// No change.
    fn default() -> Self {
        Self {
            flip: false,
            rotation: 0.0,
            shear: [0.0; 2],
            zoom: 1.0,
            translation: [0.0; 2],
            contrast: 1.0,
            brightness: 0.0,
            fill: Fill::default(),
        }
    }
}

impl Change {
    /// The geometric steps but the flip, as one map from output to input, for a picture of this size.
    pub fn affine(&self, width: u32, height: u32) -> Affine {
        let about = |linear| Affine::about_centre(linear, width, height);
        // What is applied last comes first on the way from output to input.
        let shift = Affine([
            1.0,
            0.0,
            -f64::from(self.translation[0]) * f64::from(width),
            0.0,
            1.0,
            -f64::from(self.translation[1]) * f64::from(height),
        ]);
        let zoom = f64::from(self.zoom);
        let [shear_x, shear_y] = self.shear.map(f64::from);
        let (sin, cos) = (f64::from(self.rotation) * std::f64::consts::TAU).sin_cos();
        shift
            .then(about([zoom, 0.0, 0.0, zoom]))
            .then(about([1.0, shear_x, shear_y, 1.0]))
            .then(about([cos, -sin, sin, cos]))
    }

    /// The changed picture: u8 RGB, same size. Without a change it is an exact copy, and a flip alone is exact too.
    pub fn apply(&self, picture: &RgbImage) -> RgbImage {
        let (width, height) = picture.dimensions();
        let affine = self.affine(width, height);
        let mut out = if affine == Affine::IDENTITY {
            if self.flip { imageops::flip_horizontal(picture) } else { picture.clone() }
        } else {
            let flip = if self.flip {
                Affine::about_centre([-1.0, 0.0, 0.0, 1.0], width, height)
            } else {
                Affine::IDENTITY
            };
            affine.then(flip).resample(picture, self.fill)
        };
        self.adjust(&mut out);
        out
    }

    /// Contrast, then brightness, each clipped to the range as in Keras; rounded once, at the end.
    fn adjust(&self, picture: &mut RgbImage) {
        let count = u64::from(picture.width()) * u64::from(picture.height());
        if (self.contrast == 1.0 && self.brightness == 0.0) || count == 0 {
            return;
        }
        let mut sums = [0u64; 3];
        for pixel in picture.as_chunks::<3>().0 {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += u64::from(*value);
            }
        }
        let tables: [[u8; 256]; 3] = sums.map(|sum| {
            let mean = (sum as f64 / count as f64) as f32;
            std::array::from_fn(|value| {
                let contrasted = ((value as f32 - mean) * self.contrast + mean).clamp(0.0, 255.0);
                (contrasted + self.brightness * 255.0).clamp(0.0, 255.0).round() as u8
            })
        });
        for pixel in picture.as_chunks_mut::<3>().0 {
            *pixel = std::array::from_fn(|c| tables[c][pixel[c] as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Factors, Policy};

    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 7 + y * 3) as u8, (x * y) as u8, (y * 11) as u8])
        })
    }

    #[test]
    fn no_change_is_an_exact_copy_and_a_flip_is_exact() {
        let picture = picture(19, 13);
        assert_eq!(Change::default().apply(&picture), picture);
        let flipped = Change { flip: true, ..Change::default() }.apply(&picture);
        assert_eq!(flipped, imageops::flip_horizontal(&picture));
        let augmenter = Augmenter::new(Policy::None.factors(), 3);
        for view in 0..20 {
            assert_eq!(augmenter.augment(&picture, view, 5), picture);
        }
    }

    #[test]
    fn quarter_turns_are_exact_and_counter_clockwise() {
        let picture = picture(16, 16);
        let turned = Change { rotation: 0.25, ..Change::default() }.apply(&picture);
        assert_eq!(turned, imageops::rotate270(&picture));
        let turned = Change { rotation: 0.5, ..Change::default() }.apply(&picture);
        assert_eq!(turned, imageops::rotate180(&picture));
        let both = Change { rotation: -0.25, flip: true, ..Change::default() }.apply(&picture);
        assert_eq!(both, imageops::rotate90(&imageops::flip_horizontal(&picture)));
    }

    /// A shift by whole pixels is exact, so the order of the steps can be read off.
    #[test]
    fn steps_are_applied_in_the_order_of_the_fields() {
        let picture = picture(20, 20);
        let together =
            Change { flip: true, rotation: 0.25, translation: [0.1, -0.2], ..Change::default() };
        let mut one_by_one = picture.clone();
        for step in [
            Change { flip: true, ..Change::default() },
            Change { rotation: 0.25, ..Change::default() },
            Change { translation: [0.1, -0.2], ..Change::default() },
        ] {
            one_by_one = step.apply(&one_by_one);
        }
        assert_eq!(together.apply(&picture), one_by_one);
        let to_the_right = Change { translation: [0.1, 0.0], ..Change::default() }.apply(&picture);
        assert_eq!(to_the_right.get_pixel(12, 5), picture.get_pixel(10, 5));
    }

    #[test]
    fn zoom_above_one_makes_things_smaller_about_the_centre() {
        let mut picture = RgbImage::new(21, 21);
        for at in 5..=15 {
            picture.put_pixel(at, 10, image::Rgb([255; 3]));
        }
        let smaller =
            Change { zoom: 2.0, fill: Fill::Nearest, ..Change::default() }.apply(&picture);
        let bright: Vec<u32> = (0..21).filter(|x| smaller.get_pixel(*x, 10).0[0] > 127).collect();
        assert_eq!(bright, (8..=12).collect::<Vec<_>>());
    }

    #[test]
    fn shear_moves_rows_in_proportion_to_their_distance_from_the_centre() {
        let mut picture = RgbImage::new(21, 21);
        for y in 0..21 {
            picture.put_pixel(10, y, image::Rgb([255; 3]));
        }
        let sheared = Change { shear: [0.5, 0.0], ..Change::default() }.apply(&picture);
        // The input is seen at x + (y − 10)/2, so that the line is found where x = 10 − (y − 10)/2.
        for y in [4i32, 10, 16] {
            assert_eq!(
                sheared.get_pixel((10 - (y - 10) / 2) as u32, y as u32).0[0],
                255,
                "row {y}"
            );
        }
    }

    #[test]
    fn contrast_follows_the_formula() {
        let picture = RgbImage::from_raw(2, 1, vec![100, 0, 10, 200, 255, 20]).unwrap();
        let out = Change { contrast: 0.5, ..Change::default() }.apply(&picture);
        // (x − μ)·½ + μ with μ = 150, 127.5, 15; 63.75 and 191.25 and 12.5 and 17.5 are rounded.
        assert_eq!(out.as_raw(), &[125, 64, 13, 175, 191, 18]);
        let out = Change { contrast: 2.0, brightness: 0.1, ..Change::default() }.apply(&picture);
        // Clipped after the contrast, then 25.5 more: 50, 0, 5 and 250, 255, 25 before it.
        assert_eq!(out.as_raw(), &[76, 26, 31, 255, 255, 51]);
    }

    #[test]
    fn views_are_a_function_of_seed_view_and_sample() {
        let augmenter = Augmenter::new(Policy::Standard.factors(), 1);
        assert_eq!(augmenter.draw(3, 9), augmenter.clone().draw(3, 9));
        let draws = [
            augmenter.draw(3, 9),
            augmenter.draw(4, 9),
            augmenter.draw(3, 10),
            Augmenter::new(Policy::Standard.factors(), 2).draw(3, 9),
        ];
        for (i, a) in draws.iter().enumerate() {
            assert!(draws[i + 1..].iter().all(|b| a != b));
        }
        // One step off leaves the others as they were.
        let without = Factors { rotation: 0.0, ..*Policy::Standard.factors() }.check().unwrap();
        let change = Augmenter::new(without, 1).draw(3, 9);
        assert_eq!(change, Change { rotation: 0.0, ..draws[0] });
    }

    #[test]
    fn draws_keep_to_the_factors_and_use_their_range() {
        let factors = Policy::Standard.factors();
        let augmenter = Augmenter::new(factors, 7);
        let (mut flips, mut low, mut high) = (0, f32::MAX, f32::MIN);
        for sample in 0..2_000 {
            let change = augmenter.draw(1, sample);
            flips += usize::from(change.flip);
            low = low.min(change.rotation);
            high = high.max(change.rotation);
            assert!(change.rotation.abs() <= factors.rotation);
            assert!((change.zoom - 1.0).abs() <= factors.zoom + 1e-6);
            assert!(change.shear.iter().all(|s| s.abs() <= factors.shear));
            assert!(change.translation.iter().all(|t| t.abs() <= factors.translation));
            assert!((change.contrast - 1.0).abs() <= factors.contrast + 1e-6);
            assert!(change.brightness.abs() <= factors.brightness);
        }
        assert!((900..1_100).contains(&flips), "{flips}");
        assert!(low < -0.09 && high > 0.09, "{low} {high}");
    }

    #[test]
    fn odd_sizes_do_no_harm() {
        let augmenter = Augmenter::new(Policy::Standard.factors(), 7);
        for (width, height) in [(1, 1), (1, 9), (9, 1), (2, 2), (0, 0)] {
            for view in 1..6 {
                let out = augmenter.augment(&picture(width, height), view, 0);
                assert_eq!(out.dimensions(), (width, height));
            }
        }
    }
}
