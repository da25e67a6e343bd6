use image::RgbImage;
use serde::{Deserialize, Serialize};

/// What lies beyond the edges of a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// The picture mirrored at its edges, edge pixels repeated: d c b a | a b c d | d c b a.
    #[default]
    Reflect,
    /// The nearest edge pixel: a a a a | a b c d | d d d d.
    Nearest,
}

impl Fill {
    /// The index within 0…len − 1 that stands for `index`. `len` is not 0.
    fn fix(self, index: i32, len: i32) -> i32 {
        match self {
            Fill::Nearest => index.clamp(0, len - 1),
            Fill::Reflect => {
                let turn = index.rem_euclid(2 * len);
                turn.min(2 * len - 1 - turn)
            }
        }
    }
}

/// A map of the plane, from the place of a pixel in the output to its place in the input, in pixels with integers at
/// the centres of pixels, x to the right, y down:
/// x' = m\[0\]·x + m\[1\]·y + m\[2\], y' = m\[3\]·x + m\[4\]·y + m\[5\].
///
/// The first six values of Keras' `ops.image.affine_transform`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine(pub [f64; 6]);

impl Affine {
    /// Leaves everything where it is.
    pub const IDENTITY: Affine = Affine([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);

    /// `linear` (rows a b, c d) about the centre of a picture.
    pub fn about_centre([a, b, c, d]: [f64; 4], width: u32, height: u32) -> Self {
        let (x, y) = ((f64::from(width) - 1.0) / 2.0, (f64::from(height) - 1.0) / 2.0);
        Self([a, b, x - a * x - b * y, c, d, y - c * x - d * y])
    }

    /// First `self`, then `next`, in the direction from output to input.
    #[must_use]
    pub fn then(self, next: Affine) -> Self {
        let ([a, b, c, d, e, f], [p, q, r, s, t, u]) = (self.0, next.0);
        Self([
            p * a + q * d,
            p * b + q * e,
            p * c + q * f + r,
            s * a + t * d,
            s * b + t * e,
            s * c + t * f + u,
        ])
    }

    /// The picture seen through this map: same size, u8 RGB, bilinear interpolation without antialiasing, rounded.
    ///
    /// Follows `affine_transform` of Keras (`keras/src/backend/torch/image.py`) with `interpolation="bilinear"`.
    pub fn resample(self, picture: &RgbImage, fill: Fill) -> RgbImage {
        let (width, height) = picture.dimensions();
        let mut out = RgbImage::new(width, height);
        if width == 0 || height == 0 {
            return out;
        }
        let [a, b, c, d, e, f] = self.0;
        let pixels = picture.as_raw().as_slice();
        let stride = width as usize * 3;
        let (right, bottom) = (width as i32 - 1, height as i32 - 1);
        let (step_x, step_y) = (fixed(a, STEEPEST), fixed(d, STEEPEST));
        for (y, row) in out.chunks_exact_mut(stride).enumerate() {
            let (mut at_x, mut at_y) =
                (fixed(b * y as f64 + c, FARTHEST), fixed(e * y as f64 + f, FARTHEST));
            for to in row.as_chunks_mut::<3>().0 {
                let (left, top) = ((at_x >> FRACTION) as i32, (at_y >> FRACTION) as i32);
                let (fx, fy) = (weight(at_x), weight(at_y));
                at_x += step_x;
                at_y += step_y;
                *to = if left >= 0 && top >= 0 && left < right && top < bottom {
                    let upper = top as usize * stride + left as usize * 3;
                    let upper_pair = &pixels[upper..upper + 6];
                    let lower_pair = &pixels[upper + stride..upper + stride + 6];
                    blend(upper_pair, lower_pair, fx, fy)
                } else {
                    let xs = [left, left.saturating_add(1)].map(|i| fill.fix(i, width as i32));
                    let ys = [top, top.saturating_add(1)].map(|i| fill.fix(i, height as i32));
                    let [upper, lower] = ys.map(|y| {
                        let mut pair = [0; 6];
                        for (to, x) in pair.chunks_exact_mut(3).zip(xs) {
                            let at = y as usize * stride + x as usize * 3;
                            to.copy_from_slice(&pixels[at..at + 3]);
                        }
                        pair
                    });
                    blend(&upper, &lower, fx, fy)
                };
            }
        }
        out
    }
}

/// Places are kept with 32 bits behind the point. Steps are added up along a row only, so that an error of 2⁻³³ a step
/// cannot become visible.
const FRACTION: u32 = 32;
/// Places further away, in pixels, and steeper steps, in pixels per pixel, are clamped, so that sums cannot overflow.
/// Nothing that can be told apart lies there.
const FARTHEST: f64 = (1u64 << 28) as f64;
const STEEPEST: f64 = (1u64 << 10) as f64;
/// Bits of a weight: 255 · 2²² fits in 32 bits after both directions.
const WEIGHT: u32 = 11;

fn fixed(value: f64, most: f64) -> i64 {
    (value.clamp(-most, most) * (1i64 << FRACTION) as f64).round() as i64
}

/// The part behind the point, rounded to 11 bits: 0…2048.
fn weight(at: i64) -> u32 {
    ((at as u32 >> (31 - WEIGHT)) + 1) >> 1
}

/// Bilinear interpolation between two pixels (6 bytes) above and two below, rounded.
#[inline(always)]
fn blend(upper: &[u8], lower: &[u8], fx: u32, fy: u32) -> [u8; 3] {
    const ONE: u32 = 1 << WEIGHT;
    let (upper, lower) = (&upper[..6], &lower[..6]);
    std::array::from_fn(|c| {
        let above = u32::from(upper[c]) * (ONE - fx) + u32::from(upper[c + 3]) * fx;
        let below = u32::from(lower[c]) * (ONE - fx) + u32::from(lower[c + 3]) * fx;
        ((above * (ONE - fy) + below * fy + (1 << (2 * WEIGHT - 1))) >> (2 * WEIGHT)) as u8
    })
}
