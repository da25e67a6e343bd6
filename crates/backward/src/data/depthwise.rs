//! Depthwise convolutions with a stride: each input pixel sums over the taps that have read it.
// Loops over registers count with constants, so that the compiler unrolls them.
#![allow(clippy::needless_range_loop)]

use taper_kernels::parts::{Ending, SharedMut};
use taper_kernels::{Conv2dShape, Epilogue, KernelClass, Team};
use taper_simd::{AlignedBuffer, Simd, Task, dispatch};

use crate::rows::{load, store};

#[derive(Debug, Clone)]
pub(super) struct Filter {
    class: KernelClass,
    shape: Conv2dShape,
    output: [usize; 2],
    /// For both axes, how far the taps that have read one input, and their outputs, are apart.
    steps: [[usize; 2]; 2],
    /// `[tap][channel]`.
    weights: AlignedBuffer<f32>,
}

/// Pointers that one pixel needs: to a pixel of the gradient and to the weights, for each tap.
fn pointers(shape: &Conv2dShape) -> usize {
    2 * shape.window.kernel[0] * shape.window.kernel[1]
}

/// The greatest common divisor.
fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

impl Filter {
    pub(super) fn new(class: KernelClass, shape: &Conv2dShape, output: [usize; 2]) -> Self {
        let steps = [0, 1].map(|axis| {
            let (stride, dilation) = (shape.window.stride[axis], shape.window.dilation[axis]);
            let common = common_divisor(stride, dilation);
            [stride / common, dilation / common]
        });
        let weights = AlignedBuffer::new(shape.filter_len());
        Self { class, shape: *shape, output, steps, weights }
    }

    pub(super) fn fill(&mut self, weights: &[f32]) {
        let channels = self.shape.in_channels;
        let taps = weights.len() / channels;
        for (channel, weights) in weights.chunks_exact(taps).enumerate() {
            for (tap, &weight) in weights.iter().enumerate() {
                self.weights[tap * channels + channel] = weight;
            }
        }
    }

    pub(super) fn scratch_len(&self) -> usize {
        taper_kernels::parts::table_len(pointers(&self.shape))
    }

    pub(super) fn run(
        &self,
        team: &mut Team<'_>,
        n: usize,
        gradient: &[f32],
        epilogue: Epilogue<'_, f32>,
        out: &mut [f32],
    ) {
        let pointers = pointers(&self.shape);
        let out = SharedMut::new(out);
        team.run(n * self.shape.input[0], &|row, scratch| {
            let task = Row {
                filter: self,
                row,
                gradient: gradient.as_ptr(),
                table: taper_kernels::parts::table(scratch, pointers),
                out: out.get(),
                ending: Ending::new(epilogue),
            };
            // SAFETY: `DataGradient::run` has checked that the gradient holds `n` maps, output and
            // epilogue `n` pictures; each item writes a row of its own.
            unsafe { dispatch(self.class, task) }
        });
    }
}

#[derive(Clone, Copy)]
struct Row<'a> {
    filter: &'a Filter,
    /// Input row, counted through the batch.
    row: usize,
    gradient: *const f32,
    /// Room for pairs of pointers, as many as there are taps.
    table: *mut *const f32,
    out: *mut f32,
    ending: Ending<f32>,
}

/// The taps along one axis that have read input `at`: each tap, and the output that it belongs to,
/// of `len`. They are evenly spaced, so that one division finds all of them.
#[inline(always)]
fn taps(
    filter: &Filter,
    axis: usize,
    len: usize,
    at: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let window = &filter.shape.window;
    let (kernel, dilation) = (window.kernel[axis], window.dilation[axis]);
    let from = at + [window.padding.top, window.padding.left][axis];
    let stride = window.stride[axis];
    let first = (0..kernel.min(stride))
        .find(|k| from >= k * dilation && (from - k * dilation).is_multiple_of(stride));
    let [tap_step, output_step] = filter.steps[axis];
    let start = first.map(|k| (k, (from - k * dilation) / stride));
    std::iter::successors(start, move |&(k, output)| {
        (k + tap_step < kernel && output >= output_step)
            .then(|| (k + tap_step, output - output_step))
    })
    .filter(move |&(_, output)| output < len)
}

impl Task for Row<'_> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let Self { filter, table, .. } = self;
        let shape = &filter.shape;
        let ([height, width], [oh, ow]) = (shape.input, filter.output);
        let (picture, iy) = (self.row / height, self.row % height);
        let kw = shape.window.kernel[1];
        let channels = shape.in_channels;
        for ix in 0..width {
            let mut count = 0;
            for (kx, x) in taps(filter, 1, ow, ix) {
                for (ky, y) in taps(filter, 0, oh, iy) {
                    let pixel = (picture * oh + y) * ow + x;
                    // SAFETY: the table has room for a pair per tap, and output pixel and tap
                    // exist.
                    unsafe {
                        *table.add(2 * count) = self.gradient.add(pixel * channels);
                        let weights = filter.weights.as_ptr().add((ky * kw + kx) * channels);
                        *table.add(2 * count + 1) = weights;
                    }
                    count += 1;
                }
            }
            let at = (self.row * width + ix) * channels;
            let mut channel = 0;
            while channel + 2 * S::LANES <= channels {
                // SAFETY: all pointers lead to `channels` values.
                unsafe {
                    let mut sums = [S::splat(0.0); 2];
                    for tap in 0..count {
                        let gradient = (*table.add(2 * tap)).add(channel);
                        let weights = (*table.add(2 * tap + 1)).add(channel);
                        for v in 0..2 {
                            let (gradient, weight) = (
                                S::load(gradient.add(v * S::LANES)),
                                S::load(weights.add(v * S::LANES)),
                            );
                            sums[v] = S::fma(gradient, weight, sums[v]);
                        }
                    }
                    for v in 0..2 {
                        let at = at + channel + v * S::LANES;
                        S::store(self.out.add(at), self.ending.apply::<S>(sums[v], at, S::LANES));
                    }
                }
                channel += 2 * S::LANES;
            }
            while channel < channels {
                let n = S::LANES.min(channels - channel);
                // SAFETY: all pointers lead to `channels` values.
                unsafe {
                    let mut sum = S::splat(0.0);
                    for tap in 0..count {
                        let gradient = load::<S>((*table.add(2 * tap)).add(channel), n);
                        let weight = load::<S>((*table.add(2 * tap + 1)).add(channel), n);
                        sum = S::fma(gradient, weight, sum);
                    }
                    let sum = self.ending.apply::<S>(sum, at + channel, n);
                    store::<S>(self.out.add(at + channel), sum, n);
                }
                channel += n;
            }
        }
    }
}
