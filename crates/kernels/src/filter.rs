//! Filters in memory, as all algorithms read them.

use taper_simd::{AlignedBuffer, Tiling};

use crate::{Activation, Algorithm, Conv2dShape, Element, KernelClass, KernelError};

/// The filters of one convolution with its bias, laid out for one class of kernels and one
/// algorithm. Packed once, used often.
#[derive(Debug, Clone)]
pub struct PackedFilter<E: Element> {
    pub(crate) class: KernelClass,
    pub(crate) tiling: Tiling,
    pub(crate) shape: Conv2dShape,
    pub(crate) output: [usize; 2],
    pub(crate) algorithm: Algorithm,
    pub(crate) weights: AlignedBuffer<E>,
    /// Transformed filters, if the algorithm is one of Winograd's.
    pub(crate) transformed: Option<Box<PackedFilter<f32>>>,
    /// f32 weights of depthwise filters `[tap][channel]`, or nothing.
    pub(crate) depthwise: AlignedBuffer<f32>,
    /// One value per output channel, zeros up to the end of the last vector of each panel.
    pub(crate) bias: AlignedBuffer<f32>,
    pub(crate) panels: Vec<Panel>,
    /// The zeros that a tap outside the map points to.
    pub(crate) zeros: AlignedBuffer<E>,
}

/// A block of output channels that are computed together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel {
    /// First input channel of the group.
    pub(crate) input: usize,
    /// First output channel.
    pub(crate) first: usize,
    /// Output channels.
    pub(crate) width: usize,
    /// Vectors that hold them.
    pub(crate) vectors: usize,
    /// Where the filters start.
    pub(crate) weights: usize,
    /// Where the bias starts.
    pub(crate) bias: usize,
}

/// The operations fused into the end of a convolution.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a, E: Element> {
    /// Added before the activation; shape and layout of the output.
    pub residual: Option<&'a [E]>,
    /// Applied last.
    pub activation: Option<Activation>,
}

impl<E: Element> Epilogue<'_, E> {
    /// Only an activation.
    #[must_use]
    pub fn activation(activation: Activation) -> Self {
        Self { residual: None, activation: Some(activation) }
    }
}

impl<E: Element> PackedFilter<E> {
    /// Checks the shape; no weights yet.
    pub(crate) fn empty(
        class: KernelClass,
        shape: &Conv2dShape,
        algorithm: Algorithm,
    ) -> Result<Self, KernelError> {
        let output = shape.output()?;
        algorithm.check(shape)?;
        Ok(Self {
            class,
            tiling: Tiling::for_class::<E>(class),
            shape: *shape,
            output,
            algorithm,
            weights: AlignedBuffer::new(0),
            transformed: None,
            depthwise: AlignedBuffer::new(0),
            bias: AlignedBuffer::new(0),
            panels: Vec::new(),
            zeros: AlignedBuffer::new(shape.in_channels),
        })
    }

    /// Packs `[runs][len]` filters per output channel into panels; `at(weights, out channel, run,
    /// position)` reads one value.
    pub(crate) fn pack_panels(
        &mut self,
        weights: &[f32],
        bias: Option<&[f32]>,
        runs: usize,
        len: usize,
        at: impl Fn(&[f32], usize, usize, usize) -> f32,
    ) {
        let Tiling { lanes, step, .. } = self.tiling;
        let Conv2dShape { in_channels, out_channels, groups, .. } = self.shape;
        let (group_in, group_out) = (in_channels / groups, out_channels / groups);
        let padded = len.next_multiple_of(step);
        let (mut size, mut bias_size) = (0, 0);
        for group in 0..groups {
            let mut done = 0;
            while done < group_out {
                let vectors = (group_out - done).div_ceil(lanes).min(2);
                let width = (vectors * lanes).min(group_out - done);
                self.panels.push(Panel {
                    input: group * group_in,
                    first: group * group_out + done,
                    width,
                    vectors,
                    weights: size,
                    bias: bias_size,
                });
                size += runs * padded * vectors * lanes;
                bias_size += vectors * lanes;
                done += width;
            }
        }
        self.weights = AlignedBuffer::new(size);
        // After the bias, two vectors of zeros, for sums without a bias.
        self.bias = AlignedBuffer::new(bias_size + 2 * lanes);
        for panel in &self.panels {
            let row = panel.vectors * lanes;
            for lane in 0..panel.width {
                let out = panel.first + lane;
                if let Some(bias) = bias {
                    self.bias[panel.bias + lane] = bias[out];
                }
                for run in 0..runs {
                    for position in 0..len {
                        let k = run * padded + position;
                        let index = panel.weights + (k / step * row + lane) * step + k % step;
                        self.weights[index] = E::from_f32(at(weights, out, run, position));
                    }
                }
            }
        }
    }

    /// The shape that the filters were packed for.
    #[must_use]
    pub fn shape(&self) -> &Conv2dShape {
        &self.shape
    }

    /// Height and width of the output.
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        self.output
    }

    /// How the convolution is computed.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The class of kernels.
    #[must_use]
    pub fn class(&self) -> KernelClass {
        self.class
    }

    /// Bytes of memory that the packed filters take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.weights.len() * size_of::<E>()
            + (self.depthwise.len() + self.bias.len()) * size_of::<f32>()
            + self.zeros.len() * size_of::<E>()
            + self.transformed.as_deref().map_or(0, PackedFilter::bytes)
    }
}
