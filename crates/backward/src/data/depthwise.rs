//! Depthwise convolutions with a stride: each input pixel sums over the taps that have read it.

use taper_kernels::parts::{Ending, SharedMut};
use taper_kernels::{Conv2dShape, Epilogue, KernelClass, Team};
use taper_simd::{AlignedBuffer, Simd, Task, dispatch};

use crate::rows::{load, store};

#[derive(Debug, Clone)]
pub(super) struct Filter {
    class: KernelClass,
    shape: Conv2dShape,
    output: [usize; 2],
    /// `[tap][channel]`.
    weights: AlignedBuffer<f32>,
}

/// Pointers that one pixel needs: to a pixel of the gradient and to the weights, for each tap.
fn pointers(shape: &Conv2dShape) -> usize {
    2 * shape.window.kernel[0] * shape.window.kernel[1]
}

impl Filter {
    pub(super) fn new(class: KernelClass, shape: &Conv2dShape, output: [usize; 2]) -> Self {
        Self { class, shape: *shape, output, weights: AlignedBuffer::new(shape.filter_len()) }
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

/// The output along one axis whose tap `k` has read input `at`.
#[inline(always)]
fn source(shape: &Conv2dShape, len: usize, axis: usize, at: usize, k: usize) -> Option<usize> {
    let window = &shape.window;
    let before = [window.padding.top, window.padding.left][axis];
    let from = (at + before).checked_sub(k * window.dilation[axis])?;
    let stride = window.stride[axis];
    (from % stride == 0 && from / stride < len).then_some(from / stride)
}

impl Task for Row<'_> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let Self { filter, table, .. } = self;
        let shape = &filter.shape;
        let ([height, width], [oh, ow]) = (shape.input, filter.output);
        let (picture, iy) = (self.row / height, self.row % height);
        let [kh, kw] = shape.window.kernel;
        let channels = shape.in_channels;
        for ix in 0..width {
            let mut taps = 0;
            for ky in 0..kh {
                let Some(y) = source(shape, oh, 0, iy, ky) else { continue };
                for kx in 0..kw {
                    let Some(x) = source(shape, ow, 1, ix, kx) else { continue };
                    let pixel = (picture * oh + y) * ow + x;
                    // SAFETY: the table has room for a pair per tap, and output pixel and tap
                    // exist.
                    unsafe {
                        *table.add(2 * taps) = self.gradient.add(pixel * channels);
                        let weights = filter.weights.as_ptr().add((ky * kw + kx) * channels);
                        *table.add(2 * taps + 1) = weights;
                    }
                    taps += 1;
                }
            }
            let at = (self.row * width + ix) * channels;
            let mut channel = 0;
            while channel < channels {
                let n = S::LANES.min(channels - channel);
                // SAFETY: all pointers lead to `channels` values.
                unsafe {
                    let mut sum = S::splat(0.0);
                    for tap in 0..taps {
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
