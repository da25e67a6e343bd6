//! Checks that several kernels need.

use taper_kernels::parts::{bad_shape, check_len};
use taper_kernels::{Epilogue, KernelError};

/// Whether an epilogue is one of gradients, for `len` values.
pub(crate) fn check_epilogue(
    operation: &'static str,
    epilogue: Epilogue<'_, f32>,
    len: usize,
) -> Result<(), KernelError> {
    for (buffer, values) in [("residual", epilogue.residual), ("mask", epilogue.mask)] {
        if let Some(values) = values {
            check_len(operation, buffer, values.len(), len)?;
        }
    }
    let reason = match (epilogue.activation, epilogue.mask) {
        (Some(own), _) if !own.is_clamp() => {
            "the derivative of GELU does not follow from its output"
        }
        (Some(_), None) => "an activation's derivative needs its output as a mask",
        _ => return Ok(()),
    };
    Err(bad_shape(operation, reason.to_owned()))
}

/// Whether the memory that all threads share is long enough.
pub(crate) fn check_shared(
    operation: &'static str,
    actual: usize,
    needed: usize,
) -> Result<(), KernelError> {
    if actual >= needed {
        return Ok(());
    }
    Err(bad_shape(operation, format!("shared holds {actual} values, needs {needed}")))
}
