//! The inner loop of a warp: bilinear interpolation at places that a map gives.

use image::RgbImage;
use pulp::{Arch, NullaryFnOnce};

use crate::{Fill, Homography};

/// Places are kept with 32 bits behind the point. Steps are added up along a row only, so that an error of 2⁻³³ a step
/// cannot become visible.
const FRACTION: u32 = 32;
/// Places further away, in pixels, and steeper steps, in pixels per pixel, are clamped, so that sums cannot overflow.
/// Nothing that can be told apart lies there.
const FARTHEST: f64 = (1u64 << 28) as f64;
const STEEPEST: f64 = (1u64 << 10) as f64;

fn fixed(value: f64, most: f64) -> i64 {
    (value.clamp(-most, most) * (1i64 << FRACTION) as f64).round() as i64
}

/// The picture seen through a map: u8 RGB, bilinear interpolation without antialiasing, rounded.
pub(crate) fn sample(
    picture: &RgbImage,
    map: &Homography,
    fill: Fill,
    (width, height): (u32, u32),
    out: &mut [u8],
) {
    if width == 0 || height == 0 {
        return;
    }
    // Compiled for the processor's vectors as well.
    Arch::new().dispatch(Sampling { picture, map, fill, width: width as usize, out });
}

struct Sampling<'a> {
    picture: &'a RgbImage,
    map: &'a Homography,
    fill: Fill,
    width: usize,
    out: &'a mut [u8],
}

impl NullaryFnOnce for Sampling<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Sampling { picture, map, fill, width, out } = self;
        let source = Source::new(picture, fill);
        let affine = map.is_affine();
        let [a, b, c, d, e, f, _, _, i] = map.0;
        let (step_x, step_y) = (fixed(a / i, STEEPEST), fixed(d / i, STEEPEST));
        for (y, row) in out.chunks_exact_mut(width * 3).enumerate() {
            let down = y as f64;
            let pixels = row.as_chunks_mut::<3>().0;
            if affine {
                let mut at_x = fixed((b * down + c) / i, FARTHEST);
                let mut at_y = fixed((e * down + f) / i, FARTHEST);
                for to in pixels {
                    *to = source.at(at_x, at_y);
                    at_x += step_x;
                    at_y += step_y;
                }
            } else {
                for (x, to) in pixels.iter_mut().enumerate() {
                    // Beyond the horizon there is nothing to see: the far end of the plane.
                    let [u, v] = map.at(x as f64, down).unwrap_or([FARTHEST; 2]);
                    *to = source.at(fixed(u, FARTHEST), fixed(v, FARTHEST));
                }
            }
        }
    }
}

struct Source<'a> {
    bytes: &'a [u8],
    stride: usize,
    width: i32,
    height: i32,
    /// Up to here, left of it, above it, two pixels can be read as eight bytes.
    right: u32,
    bottom: u32,
    fill: Fill,
}

impl<'a> Source<'a> {
    #[inline(always)]
    fn new(picture: &'a RgbImage, fill: Fill) -> Self {
        let (width, height) = picture.dimensions();
        Self {
            bytes: picture.as_raw(),
            stride: width as usize * 3,
            width: width as i32,
            height: height as i32,
            // One pixel less than interpolation needs: of the eight bytes, two belong to the next pixel.
            right: width.saturating_sub(2),
            bottom: height.saturating_sub(1),
            fill,
        }
    }

    #[inline(always)]
    fn at(&self, x: i64, y: i64) -> [u8; 3] {
        let (left, top) = ((x >> FRACTION) as i32, (y >> FRACTION) as i32);
        // 15 bits behind the point.
        let (fx, fy) = ((x as u32 >> 17) as i16, (y as u32 >> 17) as i16);
        if (left as u32) < self.right && (top as u32) < self.bottom {
            let upper = top as usize * self.stride + left as usize * 3;
            let lower = upper + self.stride;
            if let (Some(upper), Some(lower)) = (
                self.bytes.get(upper..).and_then(<[u8]>::first_chunk::<8>),
                self.bytes.get(lower..).and_then(<[u8]>::first_chunk::<8>),
            ) {
                return blend(upper, lower, fx, fy);
            }
        }
        self.at_edge(left, top, fx, fy)
    }

    #[cold]
    #[inline(never)]
    fn at_edge(&self, left: i32, top: i32, fx: i16, fy: i16) -> [u8; 3] {
        let xs = [left, left.saturating_add(1)].map(|i| self.fill.fix(i, self.width));
        let ys = [top, top.saturating_add(1)].map(|i| self.fill.fix(i, self.height));
        let beyond = if let Fill::Constant(level) = self.fill { [level; 3] } else { [0; 3] };
        let [upper, lower] = ys.map(|y| {
            let mut pair = [0; 8];
            for (to, x) in pair.chunks_exact_mut(3).zip(xs) {
                let pixel = x.zip(y).and_then(|(x, y)| {
                    self.bytes.get(y * self.stride + x * 3..)?.first_chunk::<3>()
                });
                to.copy_from_slice(pixel.unwrap_or(&beyond));
            }
            pair
        });
        blend(&upper, &lower, fx, fy)
    }
}

/// Bilinear interpolation between two pixels (6 bytes of 8) above and two below, rounded. Weights have 15 bits, values
/// six bits behind the point: eight lanes of 16 bits, one multiplication with rounding (`pmulhrsw`) per direction.
#[inline(always)]
fn blend(upper: &[u8; 8], lower: &[u8; 8], fx: i16, fy: i16) -> [u8; 3] {
    let upper: [i16; 8] = upper.map(|v| i16::from(v) << 6);
    let lower: [i16; 8] = lower.map(|v| i16::from(v) << 6);
    let column: [i16; 8] = std::array::from_fn(|i| upper[i] + times(lower[i] - upper[i], fy));
    let next: [i16; 8] = std::array::from_fn(|i| if i < 5 { column[i + 3] } else { 0 });
    let value: [i16; 8] =
        std::array::from_fn(|i| (column[i] + times(next[i] - column[i], fx) + 32) >> 6);
    [value[0] as u8, value[1] as u8, value[2] as u8]
}

/// Product of a value and a weight with 15 bits behind the point, rounded.
#[inline(always)]
fn times(value: i16, weight: i16) -> i16 {
    ((((i32::from(value) * i32::from(weight)) >> 14) + 1) >> 1) as i16
}
