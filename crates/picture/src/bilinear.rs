//! The inner loop of a warp: bilinear interpolation at the positions given by a map.

use image::RgbImage;
use pulp::{Arch, NullaryFnOnce};

use crate::{Fill, Homography};

/// Positions have 32 fractional bits. Steps accumulate only along a row, so an error of 2⁻³³ per
/// step cannot become visible.
const FRACTION: u32 = 32;
/// Places further away, in pixels, and steeper steps, in pixels per pixel, are clamped, so that
/// sums cannot overflow. Nothing distinguishable lies there.
const FARTHEST: f64 = (1u64 << 28) as f64;
const STEEPEST: f64 = (1u64 << 10) as f64;

#[inline(always)]
fn fixed(value: f64, most: f64) -> i64 {
    // Truncated: the error is far below a visible step.
    (value.clamp(-most, most) * (1i64 << FRACTION) as f64) as i64
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

/// Pixels processed together: first all are fetched, one by one, then all are blended, in vectors.
const BLOCK: usize = 32;
/// Bytes that are read for two neighbouring pixels: eight can be fetched at once, six are needed.
const PAIR: usize = 8;
/// Half a level, plus what the two multiplications truncate on average.
const ROUNDING: i16 = 32 + 1;

impl NullaryFnOnce for Sampling<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Sampling { picture, map, fill, width, out } = self;
        let source = Source::new(picture, fill);
        let affine = map.is_affine();
        let [a, b, c, d, e, f, g, h, i] = map.0;
        let (step_x, step_y) = (fixed(a / i, STEEPEST), fixed(d / i, STEEPEST));
        let mut places = [[0i64; 2]; BLOCK];
        let mut block = Block::new();
        for (y, row) in out.chunks_exact_mut(width * 3).enumerate() {
            let down = y as f64;
            let mut at_x = fixed((b * down + c) / i, FARTHEST);
            let mut at_y = fixed((e * down + f) / i, FARTHEST);
            for (start, pixels) in row.chunks_mut(3 * BLOCK).enumerate() {
                let pixels = pixels.as_chunks_mut::<3>().0;
                if affine {
                    for place in &mut places {
                        *place = [at_x, at_y];
                        at_x += step_x;
                        at_y += step_y;
                    }
                } else {
                    for (k, place) in places.iter_mut().enumerate() {
                        let x = (start * BLOCK + k) as f64;
                        let w = g * x + h * down + i;
                        // Beyond the horizon there is nothing: use the far end of the plane.
                        let over = if w > 1e-9 { 1.0 / w } else { f64::INFINITY };
                        *place = [
                            fixed((a * x + b * down + c) * over, FARTHEST),
                            fixed((d * x + e * down + f) * over, FARTHEST),
                        ];
                    }
                }
                for (k, [x, y]) in places[..pixels.len()].iter().enumerate() {
                    source.fetch(*x, *y, k, &mut block);
                }
                block.blend(pixels);
            }
        }
    }
}

/// Pairs of pixels, above and below, and the weights between them, each in eight lanes.
struct Block {
    upper: [[u8; PAIR]; BLOCK],
    lower: [[u8; PAIR]; BLOCK],
    x: [[i16; PAIR]; BLOCK],
    y: [[i16; PAIR]; BLOCK],
}

impl Block {
    #[inline(always)]
    fn new() -> Self {
        Self {
            upper: [[0; PAIR]; BLOCK],
            lower: [[0; PAIR]; BLOCK],
            x: [[0; PAIR]; BLOCK],
            y: [[0; PAIR]; BLOCK],
        }
    }

    /// Bilinear interpolation, rounded. Weights have 15 bits, values six fractional bits: lanes of
    /// 16 bits, and one multiplication per direction, which truncates half of the last bit on
    /// average.
    #[inline(always)]
    fn blend(&self, pixels: &mut [[u8; 3]]) {
        const LANES: usize = PAIR * BLOCK;
        let (upper, lower) = (self.upper.as_flattened(), self.lower.as_flattened());
        let (x, y) = (self.x.as_flattened(), self.y.as_flattened());
        // The pixel on the right lies three lanes further on.
        let mut column = [0i16; LANES + PAIR];
        for i in 0..LANES {
            let (above, below) = (i16::from(upper[i]), i16::from(lower[i]));
            column[i] = (above << 6) + times((below - above) << 7, y[i]);
        }
        // Unused lanes may hold anything.
        let mut values = [[0u8; PAIR]; BLOCK];
        let flat = values.as_flattened_mut();
        for i in 0..LANES {
            let (left, right) = (column[i], column[i + 3]);
            let step = times(right.wrapping_sub(left).wrapping_shl(1), x[i]);
            flat[i] = (left.wrapping_add(step).wrapping_add(ROUNDING) >> 6) as u8;
        }
        for (to, [r, g, b, ..]) in pixels.iter_mut().zip(&values) {
            *to = [*r, *g, *b];
        }
    }
}

struct Source<'a> {
    bytes: &'a [u8],
    stride: usize,
    width: i32,
    height: i32,
    /// To the left of and above this, two pixels can be read as eight bytes.
    right: u32,
    bottom: u32,
    fill: Fill,
    /// The level beyond the edges, if it is constant.
    beyond: u8,
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
            // One pixel less than interpolation allows: of the eight bytes, two belong to the next
            // pixel.
            right: width.saturating_sub(2),
            bottom: height.saturating_sub(1),
            fill,
            beyond: if let Fill::Constant(level) = fill { level } else { 0 },
        }
    }

    /// The four pixels around a place, and their weights, into lane group `k`.
    #[inline(always)]
    fn fetch(&self, x: i64, y: i64, k: usize, block: &mut Block) {
        let (left, top) = ((x >> FRACTION) as i32, (y >> FRACTION) as i32);
        block.x[k] = [(x as u32 >> 17) as i16; PAIR];
        block.y[k] = [(y as u32 >> 17) as i16; PAIR];
        if (left as u32) < self.right && (top as u32) < self.bottom {
            let upper = top as usize * self.stride + left as usize * 3;
            let lower = upper + self.stride;
            if let (Some(upper), Some(lower)) =
                (self.bytes.get(upper..upper + PAIR), self.bytes.get(lower..lower + PAIR))
            {
                block.upper[k].copy_from_slice(upper);
                block.lower[k].copy_from_slice(lower);
                return;
            }
        }
        (block.upper[k], block.lower[k]) = self.at_edge(left, top);
    }

    /// The same at the picture's edge, or beyond.
    #[inline(never)]
    fn at_edge(&self, left: i32, top: i32) -> ([u8; PAIR], [u8; PAIR]) {
        let (mut upper, mut lower) = ([0; PAIR], [0; PAIR]);
        let columns =
            [self.fill.fix(left, self.width), self.fill.fix(left.saturating_add(1), self.width)];
        for (pair, y) in [(&mut upper, top), (&mut lower, top.saturating_add(1))] {
            let row = self.fill.fix(y, self.height);
            for (to, column) in pair.as_chunks_mut::<3>().0.iter_mut().zip(columns) {
                *to = match (column, row) {
                    (Some(x), Some(y)) => {
                        let at = y * self.stride + x * 3;
                        [self.bytes[at], self.bytes[at + 1], self.bytes[at + 2]]
                    }
                    _ => [self.beyond; 3],
                };
            }
        }
        (upper, lower)
    }
}

/// Product of a value and a weight with 15 fractional bits, halved and truncated (`pmulhw`).
#[inline(always)]
fn times(value: i16, weight: i16) -> i16 {
    ((i32::from(value) * i32::from(weight)) >> 16) as i16
}
