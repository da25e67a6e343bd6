//! The functions of the CUDA driver, under their own names and with their own types (cuda.h).
//!
//! Pointers come from C callers, which must follow the driver's documentation; the SAFETY comments
//! here call this the driver's interface.

mod copies;
mod device;
mod events;
mod kernels;
mod memory;

use std::cell::Cell;

use crate::status::{ERROR_INVALID_CONTEXT, ERROR_INVALID_VALUE, Status};

/// A handle: stream, event, module, function, context or pool.
pub(crate) type Handle = u64;

/// The one context, and the one pool.
pub(crate) const CONTEXT: Handle = 0xC0;
pub(crate) const POOL: Handle = 0xB0;

thread_local! {
    pub(crate) static CURRENT: Cell<Handle> = const { Cell::new(0) };
}

/// That the thread has a context.
pub(crate) fn context() -> Result<(), Status> {
    if CURRENT.get() == CONTEXT { Ok(()) } else { Err(ERROR_INVALID_CONTEXT) }
}

/// Writes a result where the caller of the C interface wants it.
pub(crate) fn put<T>(place: *mut T, value: T) -> Result<(), Status> {
    if place.is_null() {
        return Err(ERROR_INVALID_VALUE);
    }
    // SAFETY: the driver's interface: a place for a result that is not null can be written.
    unsafe { place.write(value) };
    Ok(())
}
