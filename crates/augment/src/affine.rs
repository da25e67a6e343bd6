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
        for (y, row) in out.chunks_exact_mut(stride).enumerate() {
            let (x0, y0) = (b * y as f64 + c, e * y as f64 + f);
            for (x, to) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let (at_x, at_y) = (a * x as f64 + x0, d * x as f64 + y0);
                let (left, top) = (at_x.floor(), at_y.floor());
                let (fx, fy) = ((at_x - left) as f32, (at_y - top) as f32);
                // `as` saturates: a place far outside stays outside, and `fix` brings it back.
                let (left, top) = (left as i32, top as i32);
                let inside = left >= 0
                    && top >= 0
                    && left < width as i32 - 1
                    && top < height as i32 - 1;
                let (upper, lower, step) = if inside {
                    let upper = top as usize * stride + left as usize * 3;
                    (upper, upper + stride, 3)
                } else {
                    let xs = [left, left.saturating_add(1)].map(|i| fill.fix(i, width as i32));
                    let ys = [top, top.saturating_add(1)].map(|i| fill.fix(i, height as i32));
                    let at = |x: i32, y: i32| {
                        let at = y as usize * stride + x as usize * 3;
                        [pixels[at], pixels[at + 1], pixels[at + 2]]
                    };
                    *to = blend(
                        at(xs[0], ys[0]),
                        at(xs[1], ys[0]),
                        at(xs[0], ys[1]),
                        at(xs[1], ys[1]),
                        fx,
                        fy,
                    );
                    continue;
                };
                let upper = &pixels[upper..upper + step + 3];
                let lower = &pixels[lower..lower + step + 3];
                *to = blend(
                    [upper[0], upper[1], upper[2]],
                    [upper[3], upper[4], upper[5]],
                    [lower[0], lower[1], lower[2]],
                    [lower[3], lower[4], lower[5]],
                    fx,
                    fy,
                );
            }
        }
        out
    }
}

#[inline(always)]
fn blend(p: [u8; 3], q: [u8; 3], r: [u8; 3], s: [u8; 3], fx: f32, fy: f32) -> [u8; 3] {
    let lerp = |a: f32, b: f32, f: f32| a + (b - a) * f;
    std::array::from_fn(|c| {
        let upper = lerp(f32::from(p[c]), f32::from(q[c]), fx);
        let lower = lerp(f32::from(r[c]), f32::from(s[c]), fx);
        (lerp(upper, lower, fy) + 0.5) as u8
    })
}
