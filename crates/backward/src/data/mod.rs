//! Gradients of what a convolution or a linear layer read.

mod depthwise;
mod phases;

use taper_kernels::parts::{check_len, product};
use taper_kernels::{
    Border, Conv2dShape, Epilogue, KernelClass, KernelError, PackedFilter, Team, Window,
};

use crate::checks::check_epilogue;

const OPERATION: &str = "data gradient";

/// The gradient of a convolution's input, or of a linear layer's.
///
/// With stride 1 it is a convolution itself, of the output's gradient with the filters turned by
/// 180° and input and output channels exchanged: the forward kernels compute it, Winograd's
/// included. With larger strides, the input pixels fall into `stride²` phases, each of which only
/// some of the taps have read; each phase is a convolution with those taps. Depthwise ones have a
/// kernel of their own there. A window as large as the map makes a linear layer.
///
/// What the gradient goes through next is fused ([`Epilogue`]): the gradient of another path to the
/// same map is added (`residual`), and `mask` with `activation` applies the derivative of the
/// activation that computed the map, so that no pass over the maps is spent on either.
///
/// ```
/// use taper_backward::DataGradient;
/// use taper_kernels::{Activation, Conv2dShape, Epilogue, KernelClass, Team};
///
/// // A linear layer from 2 to 1 features; its input is the output of a ReLU.
/// let shape = Conv2dShape::linear(2, 1);
/// let kernel = DataGradient::new(KernelClass::best(), &shape, &[3.0, 5.0])?;
/// let mut scratch = vec![0.0; kernel.scratch_len()];
/// let epilogue = Epilogue {
///     mask: Some(&[0.0, 2.0]),
///     ..Epilogue::activation(Activation::Relu)
/// };
/// let mut out = [0.0; 2];
/// kernel.run(&mut Team::serial(&mut scratch), 1, &[10.0], epilogue, &mut out)?;
/// assert_eq!(out, [0.0, 50.0]);
/// # Ok::<(), taper_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct DataGradient {
    shape: Conv2dShape,
    output: [usize; 2],
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Turned(Box<PackedFilter<f32>>),
    Depthwise(depthwise::Filter),
    Phases(phases::Filter),
}

impl DataGradient {
    /// Packs the filters of a layer.
    ///
    /// `shape` and `weights` are those of the forward pass: `[out_channels, in_channels / groups,
    /// kernel height, kernel width]`.
    ///
    /// # Errors
    /// [`KernelError::BadShape`] or [`KernelError::BufferLength`].
    pub fn new(
        class: KernelClass,
        shape: &Conv2dShape,
        weights: &[f32],
    ) -> Result<Self, KernelError> {
        let output = shape.output()?;
        check_len(OPERATION, "weights", weights.len(), shape.filter_len())?;
        let taps = shape.window.kernel[0] * shape.window.kernel[1];
        let kind = match turned(shape, output) {
            _ if whole(shape) && taps > 1 => {
                let size = [taps, shape.in_channels];
                Kind::Turned(Box::new(PackedFilter::pack_spread(class, size, weights)?))
            }
            Some(turned) => {
                Kind::Turned(Box::new(PackedFilter::pack_turned(class, &turned, weights)?))
            }
            None if shape.is_depthwise() => {
                Kind::Depthwise(depthwise::Filter::new(class, shape, output))
            }
            None => Kind::Phases(phases::Filter::new(class, shape, output)),
        };
        let mut packed = Self { shape: *shape, output, kind };
        packed.repack(&mut Team::serial(&mut []), weights)?;
        Ok(packed)
    }

    /// Packs other weights for the same shape, in the memory of the old ones. No scratch is needed.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`]; the old weights are still there then.
    pub fn repack(&mut self, team: &mut Team<'_>, weights: &[f32]) -> Result<(), KernelError> {
        check_len(OPERATION, "weights", weights.len(), self.shape.filter_len())?;
        match &mut self.kind {
            Kind::Turned(filter) => filter.repack(team, weights, None)?,
            Kind::Depthwise(filter) => filter.fill(weights),
            Kind::Phases(filter) => filter.fill(team, weights),
        }
        Ok(())
    }

    /// The shape of the layer.
    #[must_use]
    pub fn shape(&self) -> &Conv2dShape {
        &self.shape
    }

    /// How it is computed: the name of the forward kernel's algorithm, or `phases`, or
    /// `depthwise`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match &self.kind {
            Kind::Turned(filter) => filter.algorithm().name(),
            Kind::Depthwise(_) => "depthwise",
            Kind::Phases(_) => "phases",
        }
    }

    /// Scratch values (f32) that each thread of the team needs.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        match &self.kind {
            Kind::Turned(filter) => filter.scratch_len(),
            Kind::Depthwise(filter) => filter.scratch_len(),
            Kind::Phases(filter) => filter.scratch_len(),
        }
    }

    /// Computes the gradients of a batch.
    ///
    /// `gradient`: `[n, out_height, out_width, out_channels]`, that of the layer's output before
    /// any activation; `out`: `[n, height, width, in_channels]`, and so are the slices of
    /// `epilogue`. The result does not depend on the number of threads.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`] or [`KernelError::ScratchTooSmall`], and
    /// [`KernelError::BadShape`] for an activation without a mask or for GELU; nothing has been
    /// written then.
    pub fn run(
        &self,
        team: &mut Team<'_>,
        n: usize,
        gradient: &[f32],
        epilogue: Epilogue<'_, f32>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let maps = self.output[0] * self.output[1] * self.shape.out_channels;
        check_len(OPERATION, "gradient", gradient.len(), product(n, maps)?)?;
        let len = product(n, self.shape.input_len())?;
        check_len(OPERATION, "output", out.len(), len)?;
        check_epilogue(OPERATION, epilogue, len)?;
        team.check(OPERATION, self.scratch_len())?;
        match &self.kind {
            Kind::Turned(filter) => filter.run(team, n, gradient, epilogue, out)?,
            Kind::Depthwise(filter) => filter.run(team, n, gradient, epilogue, out),
            Kind::Phases(filter) => filter.run(team, n, gradient, epilogue, out),
        }
        Ok(())
    }
}

/// Whether the window is the whole map: then the layer is a linear one, whatever its name.
pub(crate) fn whole(shape: &Conv2dShape) -> bool {
    let window = &shape.window;
    shape.groups == 1
        && window.kernel == shape.input
        && window.dilation == [1, 1]
        && window.padding == Border::default()
}

/// The convolution that computes the gradient, if one with stride 1 does.
fn turned(shape: &Conv2dShape, output: [usize; 2]) -> Option<Conv2dShape> {
    let Window { kernel, stride, dilation, padding } = shape.window;
    if stride != [1, 1] {
        return None;
    }
    let reach = |axis: usize| (kernel[axis] - 1) * dilation[axis];
    // A border wider than the window reaches holds outputs that no input has a part in.
    let padding = Border {
        top: reach(0).checked_sub(padding.top)?,
        bottom: reach(0).checked_sub(padding.bottom)?,
        left: reach(1).checked_sub(padding.left)?,
        right: reach(1).checked_sub(padding.right)?,
    };
    Some(Conv2dShape {
        input: output,
        in_channels: shape.out_channels,
        out_channels: shape.in_channels,
        window: Window { padding, ..shape.window },
        groups: shape.groups,
    })
}
