//! Filters in memory, as all algorithms read them.

use taper_simd::{AlignedBuffer, Tiling};

use crate::team::SharedMut;
use crate::{Activation, Algorithm, Conv2dShape, Element, KernelClass, KernelError, Team};

/// The filters of one convolution with its bias, laid out for one class of kernels and one
/// algorithm. Packed once, used often.
#[derive(Debug, Clone)]
pub struct PackedFilter<E: Element> {
    pub(crate) class: KernelClass,
    pub(crate) tiling: Tiling,
    pub(crate) shape: Conv2dShape,
    pub(crate) output: [usize; 2],
    pub(crate) algorithm: Algorithm,
    /// How the weights are read.
    pub(crate) order: Order,
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

/// How the weights that are packed lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// `[out, in / groups, taps]`.
    Plain,
    /// `[in, out / groups, taps]`, the taps in reverse: those of the convolution whose gradient
    /// this one computes.
    Turned,
}

impl Order {
    /// Where the weight of an output channel and an input channel, counted within its group, is.
    #[inline(always)]
    pub(crate) fn index(
        self,
        shape: &Conv2dShape,
        out: usize,
        tap: usize,
        channel: usize,
    ) -> usize {
        let (taps, per_group) = (shape.window.taps(), shape.in_channels / shape.groups);
        match self {
            Self::Plain => (out * per_group + channel) * taps + tap,
            Self::Turned => {
                let group_out = shape.out_channels / shape.groups;
                let (group, out) = (out / group_out, out % group_out);
                ((group * per_group + channel) * group_out + out) * taps + taps - 1 - tap
            }
        }
    }
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
    /// Outputs of the activation, with shape and layout of the output. If they are given, the
    /// derivative of the activation is applied in its place: a sum stays where the output lies
    /// strictly within the activation's range, and is 0 elsewhere. For gradients; not for GELU,
    /// whose derivative does not follow from its output.
    pub mask: Option<&'a [E]>,
}

impl<E: Element> Epilogue<'_, E> {
    /// Only an activation.
    #[must_use]
    pub fn activation(activation: Activation) -> Self {
        Self { activation: Some(activation), ..Self::default() }
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
            order: Order::Plain,
            weights: AlignedBuffer::new(0),
            transformed: None,
            depthwise: AlignedBuffer::new(0),
            bias: AlignedBuffer::new(0),
            panels: Vec::new(),
            zeros: AlignedBuffer::new(shape.in_channels),
        })
    }

    /// Divides the output channels into panels of `[runs][len]` filters, all zeros yet.
    pub(crate) fn lay_out(&mut self, runs: usize, len: usize) {
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
    }

    /// Fills the panels; `at(out channel, run, position)` reads one value.
    pub(crate) fn fill_panels(
        &mut self,
        team: &mut Team<'_>,
        runs: usize,
        len: usize,
        at: impl Fn(usize, usize, usize) -> f32 + Sync,
    ) {
        let Tiling { lanes, step, .. } = self.tiling;
        let padded = len.next_multiple_of(step);
        let panels = &self.panels;
        let weights = SharedMut::new(&mut self.weights);
        team.run(panels.len() * runs, &|item, _| {
            let (panel, run) = (&panels[item / runs], item % runs);
            let row = panel.vectors * lanes;
            for position in 0..len {
                let k = run * padded + position;
                let start = panel.weights + k / step * row * step + k % step;
                for lane in 0..panel.width {
                    let value = E::from_f32(at(panel.first + lane, run, position));
                    // SAFETY: `lay_out` has made room for `runs · padded · row` values of each
                    // panel, and this item alone fills this run of this panel.
                    unsafe { weights.get().add(start + lane * step).write(value) };
                }
            }
        });
    }

    /// Sets the bias, or zeros.
    pub(crate) fn fill_bias(&mut self, bias: Option<&[f32]>) {
        self.bias.fill(0.0);
        let Some(bias) = bias else { return };
        for panel in &self.panels {
            let values = &bias[panel.first..panel.first + panel.width];
            self.bias[panel.bias..panel.bias + panel.width].copy_from_slice(values);
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
