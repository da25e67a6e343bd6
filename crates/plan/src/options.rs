use taper_core::Precision;
use taper_kernels::Kernels;

/// The output of a plan for each picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Output {
    /// The features that a head starts from (default).
    #[default]
    Features,
    /// The logits of the network's own classifier.
    Logits,
}

/// How to compile a network.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// Height and width of the pictures, in pixels.
    pub size: [usize; 2],
    /// Mean of each channel, of pixels in [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, of pixels in [0, 1]; positive.
    pub std: Vec<f32>,
    /// f32 (default) or bf16.
    pub precision: Precision,
    /// Which instructions to use; default: the best that the processor has.
    pub kernels: Kernels,
    /// Features (default) or logits.
    pub output: Output,
    /// How many pictures a thread takes through the late layers together, at least 1; default: 4.
    /// It changes speed and memory, never the result.
    pub group: usize,
    /// Bytes of packed weights at the start of the network whose layers run picture by picture;
    /// default: 8 MiB. It changes speed and memory, never the result.
    pub early_bytes: usize,
}

impl PlanOptions {
    /// Defaults for pictures of this size, normalised as `(x / 255 − mean) / std`.
    #[must_use]
    pub fn new(size: [usize; 2], mean: impl Into<Vec<f32>>, std: impl Into<Vec<f32>>) -> Self {
        Self {
            size,
            mean: mean.into(),
            std: std.into(),
            precision: Precision::default(),
            kernels: Kernels::default(),
            output: Output::default(),
            group: 4,
            early_bytes: 8 << 20,
        }
    }

    /// With another precision.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// With other kernels.
    #[must_use]
    pub fn kernels(mut self, kernels: Kernels) -> Self {
        self.kernels = kernels;
        self
    }

    /// With another output.
    #[must_use]
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }
}
