//! What looks at neighbours: blur and sharpness.

use pulp::{Arch, NullaryFnOnce};

/// Gaussian blur, separable, edges mirrored without repeating the edge pixel, rounded once.
pub(crate) fn blur(pixels: &mut [u8], width: usize, height: usize, sigma: f32) {
    let radius = (3.0 * sigma).ceil().max(0.0) as usize;
    let weights: Vec<f32> = (0..=2 * radius)
        .map(|i| i as f32 - radius as f32)
        .map(|x| (-x * x / (2.0 * sigma * sigma)).exp())
        .collect();
    let sum: f32 = weights.iter().sum();
    if radius > 0 && sum.is_finite() {
        let weights: Vec<f32> = weights.iter().map(|w| w / sum).collect();
        Arch::new().dispatch(Blur { pixels, width, height, weights: &weights });
    }
}

struct Blur<'a> {
    pixels: &'a mut [u8],
    width: usize,
    height: usize,
    weights: &'a [f32],
}

/// Mirrored without repeating the edge: c b | a b c d | c b.
fn mirrored(index: isize, len: usize) -> usize {
    if len == 1 {
        return 0;
    }
    let turn = index.rem_euclid(2 * (len as isize - 1)) as usize;
    turn.min(2 * (len - 1) - turn)
}

impl NullaryFnOnce for Blur<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Blur { pixels, width, height, weights } = self;
        let radius = weights.len() / 2;
        let stride = width * 3;
        let original = pixels.to_vec();
        let mut column = vec![0.0f32; stride];
        let mut padded = vec![0.0f32; stride + 6 * radius];
        let mut sums = vec![0.0f32; stride];
        for (y, row) in pixels.chunks_exact_mut(stride).enumerate() {
            column.fill(0.0);
            for (k, weight) in weights.iter().enumerate() {
                let from = mirrored(y as isize + k as isize - radius as isize, height) * stride;
                for (sum, value) in column.iter_mut().zip(&original[from..from + stride]) {
                    *sum += weight * f32::from(*value);
                }
            }
            padded[3 * radius..3 * radius + stride].copy_from_slice(&column);
            for side in (0..radius).chain(radius + width..width + 2 * radius) {
                let from = 3 * mirrored(side as isize - radius as isize, width);
                padded[3 * side..3 * side + 3].copy_from_slice(&column[from..from + 3]);
            }
            sums.fill(0.5);
            for (k, weight) in weights.iter().enumerate() {
                for (sum, value) in sums.iter_mut().zip(&padded[3 * k..3 * k + stride]) {
                    *sum += weight * value;
                }
            }
            for (to, sum) in row.iter_mut().zip(&sums) {
                *to = *sum as u8;
            }
        }
    }
}

/// Blends with the picture blurred by a 3 × 3 kernel (a 5 among eight 1), which is rounded; the
/// border stays.
pub(crate) fn sharpen(pixels: &mut [u8], width: usize, height: usize, factor: f32) {
    if width > 2 && height > 2 {
        Arch::new().dispatch(Sharpen { pixels, width, height, factor });
    }
}

struct Sharpen<'a> {
    pixels: &'a mut [u8],
    width: usize,
    height: usize,
    factor: f32,
}

impl NullaryFnOnce for Sharpen<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Sharpen { pixels, width, height, factor } = self;
        let stride = width * 3;
        let original = pixels.to_vec();
        let mut column = vec![0u16; stride];
        for y in 1..height - 1 {
            let rows: [&[u8]; 3] =
                std::array::from_fn(|k| &original[(y + k - 1) * stride..(y + k) * stride]);
            for i in 0..stride {
                column[i] = u16::from(rows[0][i]) + u16::from(rows[1][i]) + u16::from(rows[2][i]);
            }
            let out = &mut pixels[y * stride + 3..(y + 1) * stride - 3];
            let (left, middle, right) = (&column[..], &column[3..], &column[6..]);
            let own = &rows[1][3..];
            for (i, to) in out.iter_mut().enumerate() {
                let sum = left[i] + middle[i] + right[i] + 4 * u16::from(own[i]);
                // Nearest integer to a thirteenth; ties cannot occur.
                let blurred = f32::from((sum + 6) / 13);
                let value = f32::from(own[i]);
                *to = (value + (blurred - value) * (1.0 - factor)).clamp(0.0, 255.0) as u8;
            }
        }
    }
}
