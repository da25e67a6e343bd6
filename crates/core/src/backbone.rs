use std::fmt;

use crate::{AnyFault, Digest, Preprocessing};

/// A frozen network from prepared pictures to numbers: features, logits, or the map at a boundary.
///
/// Implemented by the compiled plan on the CPU, by networks on devices, and by opaque networks of
/// which only the outputs are known; code that uses features needs nothing else. Many threads may
/// use one at the same time.
pub trait FrozenBackbone: fmt::Debug + Send + Sync {
    /// How pictures must be prepared.
    fn preprocessing(&self) -> &Preprocessing;

    /// What comes out for each picture: `[features]`, or `[height, width, channels]` of a map.
    fn shape(&self) -> &[usize];

    /// How many numbers come out for each picture.
    fn width(&self) -> usize {
        self.shape().iter().product()
    }

    /// Everything that determines the numbers besides the pictures: weights, graph, preprocessing,
    /// precision, instructions. Two backbones with the same identity give the same bits. None if it
    /// was not determined, which takes a pass over the weights: the numbers are then not cached.
    fn identity(&self) -> Option<Digest>;

    /// What it computes on, for display: `avx512`, or `cuda:0`.
    fn runs_on(&self) -> String;

    /// How many pictures should go through it together.
    fn batch(&self) -> usize;

    /// Sends `n` prepared pictures through the network without waiting for a device: u8 `[n, size,
    /// size, 3]`, rows from the top, RGB. The rows are f32 `[n, width]`.
    ///
    /// If a device has no room for all of them, they go through it in parts, and from then on
    /// [`FrozenBackbone::batch`] says how many fit.
    ///
    /// # Errors
    /// If the pixels have another length, or the device fails.
    fn submit(&self, pixels: &[u8], n: usize) -> Result<PendingRows, AnyFault>;

    /// The same, but waits for the rows.
    ///
    /// # Errors
    /// As [`FrozenBackbone::submit`].
    fn forward(&self, pixels: &[u8], n: usize) -> Result<Vec<f32>, AnyFault> {
        self.submit(pixels, n)?.wait()
    }
}

/// Rows that a device may still be working on.
pub struct PendingRows(Rows);

enum Rows {
    Ready(Vec<f32>),
    Pending(Box<dyn FnOnce() -> Result<Vec<f32>, AnyFault> + Send>),
}

impl PendingRows {
    /// Rows that are there.
    pub fn ready(rows: Vec<f32>) -> Self {
        Self(Rows::Ready(rows))
    }

    /// Rows that `wait` waits for.
    pub fn pending(wait: impl FnOnce() -> Result<Vec<f32>, AnyFault> + Send + 'static) -> Self {
        Self(Rows::Pending(Box::new(wait)))
    }

    /// Waits for the rows: f32 `[n, width]`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn wait(self) -> Result<Vec<f32>, AnyFault> {
        match self.0 {
            Rows::Ready(rows) => Ok(rows),
            Rows::Pending(wait) => wait(),
        }
    }
}

impl fmt::Debug for PendingRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 {
            Rows::Ready(_) => "ready",
            Rows::Pending(_) => "pending",
        };
        f.debug_tuple("PendingRows").field(&state).finish()
    }
}
