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
    /// `[in, channels, taps]` of a linear layer to `taps` pixels of `channels`.
    Spread {
        /// Pixels.
        taps: usize,
    },
}

/// Positions of a panel that are filled at a time.
const FILL: usize = 64;

impl Order {
    /// A function that says where the weight of an output channel, a tap and an input channel,
    /// counted within its group, is.
    pub(crate) fn index(
        self,
        shape: &Conv2dShape,
    ) -> impl Fn(usize, usize, usize) -> usize + use<> {
        let (taps, groups) = (shape.window.taps(), shape.groups);
        let (per_group, group_out) = (shape.in_channels / groups, shape.out_channels / groups);
        let (order, out_channels) = (self, shape.out_channels);
        move |out, tap, channel| match order {
            Self::Plain => (out * per_group + channel) * taps + tap,
            Self::Turned => {
                // A division for each value would take longer than all the rest.
                let (group, out) =
                    if groups == 1 { (0, out) } else { (out / group_out, out % group_out) };
                ((group * per_group + channel) * group_out + out) * taps + taps - 1 - tap
            }
            Self::Spread { taps } => {
                let channels = out_channels / taps;
                (channel * channels + out % channels) * taps + out / channels
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
    /// strictly within the activation's range, and is 0 elsewhere. For gradients; not for GELU and
    /// the like, whose derivative does not follow from its output.
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

    /// Fills the panels of `[runs][len]` filters; `at(out channel, run, position)` reads one value,
    /// the values of all runs being neighbours.
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
        // A few positions at a time, whose rows stay in the first-level cache; along them, or along
        // the lanes, whichever way the values lie in memory.
        let block = (128 / runs).clamp(1, 16);
        // Both are powers of two; divisions would take longer than all the rest.
        let (shift, step) = (step.trailing_zeros(), 1 << step.trailing_zeros());
        let along_lanes = self.order == Order::Turned;
        team.run(len.div_ceil(FILL), &|item, _| {
            for panel in panels {
                let row = panel.vectors * lanes;
                let fill = |lane: usize, position: usize| {
                    for run in 0..runs {
                        let k = run * padded + position;
                        let to = panel.weights + ((k >> shift) * row + lane) * step + k % step;
                        let value = E::from_f32(at(panel.first + lane, run, position));
                        // SAFETY: `lay_out` has made room for `runs · padded · row` values of each
                        // panel, and this item alone fills these positions.
                        unsafe { weights.get().add(to).write(value) };
                    }
                };
                let end = len.min((item + 1) * FILL);
                for first in (item * FILL..end).step_by(block) {
                    let last = end.min(first + block);
                    if along_lanes {
                        (first..last).for_each(|k| (0..panel.width).for_each(|lane| fill(lane, k)));
                    } else {
                        (0..panel.width).for_each(|lane| (first..last).for_each(|k| fill(lane, k)));
                    }
                }
            }
        });
    }

    /// Fills the panels of filters with one tap from rows of `len` values, one row for each output
    /// channel: as [`fill_panels`](Self::fill_panels) does, without a question for each value.
    pub(crate) fn fill_rows(&mut self, team: &mut Team<'_>, len: usize, values: &[f32]) {
        let Tiling { lanes, step, .. } = self.tiling;
        let panels = &self.panels;
        let weights = SharedMut::new(&mut self.weights);
        let (shift, rest) = (step.trailing_zeros(), step - 1);
        team.run(len.div_ceil(FILL), &|item, _| {
            let (first, end) = (item * FILL, len.min((item + 1) * FILL));
            for panel in panels {
                let row = panel.vectors * lanes;
                for lane in 0..panel.width {
                    let from = &values[(panel.first + lane) * len..][first..end];
                    for (k, &value) in (first..end).zip(from) {
                        let to = panel.weights + ((k >> shift) * row + lane) * step + (k & rest);
                        // SAFETY: `lay_out` has made room for `len · row` values of each panel, and
                        // this item alone fills these positions.
                        unsafe { weights.get().add(to).write(E::from_f32(value)) };
                    }
                }
            }
        });
    }

    /// Fills the panels of a linear layer to `taps` pixels from filters in the order
    /// [`Order::Spread`], each of which is read once.
    pub(crate) fn fill_spread(&mut self, team: &mut Team<'_>, taps: usize, values: &[f32]) {
        let Tiling { lanes, step, .. } = self.tiling;
        let (panels, out_channels) = (&self.panels, self.shape.out_channels);
        let channels = out_channels / taps;
        let weights = SharedMut::new(&mut self.weights);
        // A power of two.
        let shift = (2 * lanes).trailing_zeros();
        team.run(self.shape.in_channels.div_ceil(step), &|item, _| {
            for k in item * step..self.shape.in_channels.min((item + 1) * step) {
                let values = &values[k * out_channels..][..out_channels];
                let (rows, rest) = (k / step * step, k % step);
                for first in (0..channels).step_by(2 * lanes) {
                    for tap in 0..taps {
                        for channel in first..channels.min(first + 2 * lanes) {
                            let out = tap * channels + channel;
                            let panel = &panels[out >> shift];
                            let (row, lane) = (panel.vectors * lanes, out % (1 << shift));
                            let to = panel.weights + rows * row + lane * step + rest;
                            let value = E::from_f32(values[channel * taps + tap]);
                            // SAFETY: `lay_out` has made room for `in_channels` rows of each panel,
                            // and this item alone fills these rows.
                            unsafe { weights.get().add(to).write(value) };
                        }
                    }
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
