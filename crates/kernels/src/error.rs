//! What can be wrong with a call.

/// Why a kernel refused to run.
///
/// Kernels check every shape and every buffer before they touch memory; after the check they cannot
/// fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A shape that no kernel can compute.
    #[error("{operation}: {reason}")]
    BadShape {
        /// The requested operation, such as `convolution`.
        operation: &'static str,
        /// A description of what is wrong with the shape, including the numbers.
        reason: String,
    },
    /// A buffer whose length does not follow from the shape.
    #[error("{operation}: {buffer} holds {actual} values, expected {expected}")]
    BufferLength {
        /// The operation that was asked for.
        operation: &'static str,
        /// Which buffer: `input`, `output`, `residual`, `weights`, `bias`.
        buffer: &'static str,
        /// Length that follows from the shape.
        expected: usize,
        /// Length that was given.
        actual: usize,
    },
    /// The scratch memory is smaller than `scratch_len` asks for.
    #[error("{operation}: scratch holds {actual} values per thread, needs {needed}")]
    ScratchTooSmall {
        /// The operation that was asked for.
        operation: &'static str,
        /// Values needed for each thread.
        needed: usize,
        /// Values given for each thread.
        actual: usize,
    },
    /// The algorithm cannot compute this shape.
    #[error("{algorithm} cannot compute {shape}")]
    UnsupportedAlgorithm {
        /// Name of the algorithm.
        algorithm: &'static str,
        /// A description of the shape.
        shape: String,
    },
}

/// Whether a buffer is as long as the shape says.
///
/// # Errors
/// [`KernelError::BufferLength`], which names the operation and the buffer.
pub fn check_len(
    operation: &'static str,
    buffer: &'static str,
    actual: usize,
    expected: usize,
) -> Result<(), KernelError> {
    if actual == expected {
        Ok(())
    } else {
        Err(KernelError::BufferLength { operation, buffer, expected, actual })
    }
}

/// A shape that no kernel can compute, and why.
#[must_use]
pub fn bad_shape(operation: &'static str, reason: String) -> KernelError {
    KernelError::BadShape { operation, reason }
}

/// The length of a batch.
///
/// # Errors
/// [`KernelError::BadShape`] if it overflows.
pub fn product(a: usize, b: usize) -> Result<usize, KernelError> {
    a.checked_mul(b)
        .ok_or_else(|| bad_shape("convolution", format!("a batch of {a} does not fit into memory")))
}
