//! Gradients of filters and biases.

mod depthwise;
mod direct;
mod winograd;

use taper_kernels::parts::{check_len, product};
use taper_kernels::{Algorithm, Conv2dShape, KernelClass, KernelError, Team};

use crate::checks::check_shared;
use crate::data::whole;

const OPERATION: &str = "weight gradient";

/// Where the gradients of a convolution's or linear layer's parameters go.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// In the layout of the filters, `[out_channels, in_channels / groups, height, width]`.
    pub weights: &'a mut [f32],
    /// `[out_channels]`, if the layer has a bias.
    pub bias: Option<&'a mut [f32]>,
    /// Whether to add to what is there. A batch in parts, one after the other, gives the same sums
    /// as the whole batch but for rounding, and the same bits whenever it is divided in the same
    /// way.
    pub accumulate: bool,
}

/// The gradient of a convolution's filters (and bias), or of a linear layer's: the sum over all
/// output pixels of their gradients times the input that they came from.
///
/// Linear layers and 1 × 1 convolutions are one matrix product; k × k convolutions one over the
/// pixels under each tap, gathered a chunk at a time; 3 × 3 ones with stride 1 and enough channels
/// use Winograd's F(3 × 3, 4 × 4), the transpose of the forward pass's F(4 × 4, 3 × 3), with a
/// quarter of the multiplications; depthwise ones have a kernel of their own.
///
/// The sums are divided into parts by the shape and the number of pictures alone, and the parts are
/// added up in a fixed order: the number of threads changes no bit.
///
/// ```
/// use taper_backward::{Gradients, WeightGradient};
/// use taper_kernels::{Conv2dShape, KernelClass, Team};
///
/// // Two rows of a linear layer from 2 to 1 features.
/// let shape = Conv2dShape::linear(2, 1);
/// let kernel = WeightGradient::new(KernelClass::best(), &shape)?;
/// let mut scratch = vec![0.0; kernel.scratch_len()];
/// let mut shared = vec![0.0; kernel.shared_len(2)?];
/// let (mut weights, mut bias) = ([0.0; 2], [0.0; 1]);
/// let into = Gradients { weights: &mut weights, bias: Some(&mut bias), accumulate: false };
/// let team = &mut Team::serial(&mut scratch);
/// kernel.run(team, &mut shared, 2, &[1.0, 2.0, 3.0, 4.0], &[10.0, 1.0], into)?;
/// assert_eq!((weights, bias), ([13.0, 24.0], [11.0]));
/// # Ok::<(), taper_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct WeightGradient {
    class: KernelClass,
    shape: Conv2dShape,
    output: [usize; 2],
    algorithm: Algorithm,
}

impl WeightGradient {
    /// For a layer's shape, with the algorithm that its forward pass uses where there is a
    /// transpose of it.
    ///
    /// # Errors
    /// [`KernelError::BadShape`].
    pub fn new(class: KernelClass, shape: &Conv2dShape) -> Result<Self, KernelError> {
        let algorithm = match Algorithm::for_shape(shape) {
            Algorithm::WinogradF4 => Algorithm::WinogradF4,
            Algorithm::Depthwise => Algorithm::Depthwise,
            _ => Algorithm::Direct,
        };
        Self::for_algorithm(class, shape, algorithm)
    }

    /// With a given algorithm, to compare them.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`KernelError::UnsupportedAlgorithm`].
    pub fn for_algorithm(
        class: KernelClass,
        shape: &Conv2dShape,
        algorithm: Algorithm,
    ) -> Result<Self, KernelError> {
        let output = shape.output()?;
        let window = &shape.window;
        let fits = match algorithm {
            Algorithm::Direct => true,
            Algorithm::Depthwise => shape.is_depthwise(),
            Algorithm::WinogradF4 => {
                shape.groups == 1
                    && [window.kernel, window.stride, window.dilation] == [[3; 2], [1; 2], [1; 2]]
            }
            _ => false,
        };
        if !fits {
            let algorithm = algorithm.name();
            return Err(KernelError::UnsupportedAlgorithm { algorithm, shape: shape.to_string() });
        }
        Ok(Self { class, shape: *shape, output, algorithm })
    }

    /// The linear layer that a window as large as the map makes.
    fn linear(&self) -> Option<Self> {
        let shape = &self.shape;
        let direct = self.algorithm == Algorithm::Direct && shape.window.kernel != [1, 1];
        (direct && whole(shape)).then(|| Self {
            shape: Conv2dShape::linear(shape.input_len(), shape.out_channels),
            ..self.clone()
        })
    }

    /// The shape of the layer.
    #[must_use]
    pub fn shape(&self) -> &Conv2dShape {
        &self.shape
    }

    /// How it is computed.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Scratch values (f32) that each thread of the team needs.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        match self.algorithm {
            Algorithm::Depthwise => depthwise::scratch_len(self),
            Algorithm::WinogradF4 => 0,
            _ => direct::scratch_len(self.linear().as_ref().unwrap_or(self)),
        }
    }

    /// Values (f32) that all threads share while a batch of `n` pictures runs.
    ///
    /// # Errors
    /// [`KernelError::BadShape`] if the batch does not fit into memory.
    pub fn shared_len(&self, n: usize) -> Result<usize, KernelError> {
        product(n, product(self.output[0] * self.output[1], self.shape.out_channels)?)?;
        if let Some(linear) = self.linear() {
            let input = product(n, self.shape.input_len())?;
            return Ok(input + direct::shared_len(&linear, n));
        }
        Ok(match self.algorithm {
            Algorithm::Depthwise => depthwise::shared_len(self, n),
            Algorithm::WinogradF4 => winograd::shared_len(self, n),
            _ => direct::shared_len(self, n),
        })
    }

    /// Sums over a batch.
    ///
    /// `input`: `[n, height, width, in_channels]`, what the layer read; `gradient`: `[n,
    /// out_height, out_width, out_channels]`, the gradient of what it computed, before any
    /// activation. `shared`: at least [`shared_len`](Self::shared_len) values.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`] or [`KernelError::ScratchTooSmall`]; nothing has been written
    /// then.
    pub fn run(
        &self,
        team: &mut Team<'_>,
        shared: &mut [f32],
        n: usize,
        input: &[f32],
        gradient: &[f32],
        into: Gradients<'_>,
    ) -> Result<(), KernelError> {
        let shape = &self.shape;
        let out_len = product(n, self.output[0] * self.output[1] * shape.out_channels)?;
        check_len(OPERATION, "input", input.len(), product(n, shape.input_len())?)?;
        check_len(OPERATION, "gradient", gradient.len(), out_len)?;
        check_len(OPERATION, "weights", into.weights.len(), shape.filter_len())?;
        if let Some(bias) = &into.bias {
            check_len(OPERATION, "bias", bias.len(), shape.out_channels)?;
        }
        let needed = self.shared_len(n)?;
        check_shared(OPERATION, shared.len(), needed)?;
        team.check(OPERATION, self.scratch_len())?;
        if n == 0 {
            if !into.accumulate {
                into.weights.fill(0.0);
                into.bias.into_iter().for_each(|bias| bias.fill(0.0));
            }
            return Ok(());
        }
        let shared = &mut shared[..needed];
        if let Some(linear) = self.linear() {
            // The input in the order of the filters.
            let (turned, shared) = shared.split_at_mut(input.len());
            let taps = shape.window.kernel[0] * shape.window.kernel[1];
            direct::exchange(team, input, [taps, shape.in_channels], turned);
            direct::run(&linear, team, shared, n, [turned, gradient], into);
            return Ok(());
        }
        match self.algorithm {
            Algorithm::Depthwise => depthwise::run(self, team, shared, n, [input, gradient], into),
            Algorithm::WinogradF4 => winograd::run(self, team, shared, n, [input, gradient], into),
            _ => direct::run(self, team, shared, n, [input, gradient], into),
        }
        Ok(())
    }
}
