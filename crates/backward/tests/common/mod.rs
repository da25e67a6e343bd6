//! Naive gradients in f64, straight from the definitions; random values and guard pages are those
//! of the forward kernels' tests.
#![allow(dead_code, unreachable_pub)]

#[path = "../../../kernels/tests/common/mod.rs"]
mod kernels;

pub use kernels::*;
use taper_kernels::{Conv2dShape, Window};

pub fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// The number of cases; Miri, which interprets every step, runs only a few of them.
pub fn cases(count: usize) -> usize {
    if cfg!(miri) { count.div_ceil(50) } else { count }
}

/// Gradients of a convolution's input, filters and bias.
pub struct Naive {
    pub data: Vec<f64>,
    pub weights: Vec<f64>,
    pub bias: Vec<f64>,
}

/// Every product of the forward pass sends the output's gradient to both of its factors.
pub fn convolution(
    shape: &Conv2dShape,
    n: usize,
    input: &[f64],
    weights: &[f64],
    gradient: &[f64],
) -> Naive {
    let Conv2dShape { input: [h, w], in_channels, out_channels, window, groups } = *shape;
    let Window { kernel: [kh, kw], stride, dilation, padding } = window;
    let [oh, ow] = shape.output().unwrap();
    let (ci, co) = (in_channels / groups, out_channels / groups);
    let mut naive = Naive {
        data: vec![0.0; input.len()],
        weights: vec![0.0; weights.len()],
        bias: vec![0.0; out_channels],
    };
    for (index, &g) in gradient.iter().enumerate() {
        let (pixel, o) = (index / out_channels, index % out_channels);
        let (picture, y, x) = (pixel / ow / oh, pixel / ow % oh, pixel % ow);
        naive.bias[o] += g;
        for ky in 0..kh {
            for kx in 0..kw {
                let iy = (y * stride[0] + ky * dilation[0]) as isize - padding.top as isize;
                let ix = (x * stride[1] + kx * dilation[1]) as isize - padding.left as isize;
                if iy < 0 || ix < 0 || iy >= h as isize || ix >= w as isize {
                    continue;
                }
                let pixel = (picture * h + iy as usize) * w + ix as usize;
                for c in 0..ci {
                    let from = pixel * in_channels + o / co * ci + c;
                    let weight = ((o * ci + c) * kh + ky) * kw + kx;
                    naive.data[from] += g * weights[weight];
                    naive.weights[weight] += g * input[from];
                }
            }
        }
    }
    assert_eq!(gradient.len(), n * oh * ow * out_channels);
    naive
}

/// The derivative of `Σ gradient · f(at)` along each coordinate, by central differences; `f` is
/// computed in f64.
pub fn differences(
    at: &[f64],
    coordinates: &[usize],
    gradient: &[f64],
    f: impl Fn(&[f64]) -> Vec<f64>,
) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let loss = |at: &[f64]| -> f64 { f(at).iter().zip(gradient).map(|(y, g)| y * g).sum() };
    coordinates
        .iter()
        .map(|&i| {
            let [mut low, mut high] = [at.to_vec(), at.to_vec()];
            low[i] -= STEP;
            high[i] += STEP;
            (loss(&high) - loss(&low)) / (2.0 * STEP)
        })
        .collect()
}

/// Some coordinates of a vector.
pub fn coordinates(random: &mut Random, len: usize, count: usize) -> Vec<usize> {
    (0..count).map(|_| random.range(0, len - 1)).collect()
}
