//! Copies and fills.

use std::ffi::{c_uchar, c_uint, c_ushort};

use super::{Handle, context};
use crate::{
    counters::{self, Counter, log},
    memory,
    status::{ERROR_ILLEGAL_ADDRESS, ERROR_INVALID_VALUE, Status, status},
    stream::{self, Stream, stream},
};

/// One side of a copy.
#[derive(Clone, Copy, Debug)]
enum End {
    Device(u64),
    Host(u64),
}

impl End {
    fn address(self) -> u64 {
        let (Self::Device(address) | Self::Host(address)) = self;
        address
    }

    /// Whether the driver can access it while the caller continues.
    fn reachable(self) -> bool {
        match self {
            Self::Device(_) => true,
            Self::Host(address) => memory::pinned(address).is_some(),
        }
    }

    fn check(self, bytes: usize) -> Result<(), Status> {
        let allocated = match self {
            Self::Device(address) => memory::inside("copy", address, bytes as u64),
            Self::Host(address) if self.reachable() => {
                memory::inside("copy", address, bytes as u64)
            }
            Self::Host(address) => address != 0,
        };
        if allocated { Ok(()) } else { Err(ERROR_INVALID_VALUE) }
    }
}

/// Moves bytes; both sides were checked.
fn move_bytes(to: u64, from: u64, bytes: usize) {
    // SAFETY: device memory and page-locked memory were found in the registry just now; other
    // memory is the caller's, by the driver's interface.
    unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
}

fn still(end: End, bytes: usize) -> Result<(), Status> {
    end.check(bytes).map_err(|_| ERROR_ILLEGAL_ADDRESS)
}

/// Copies, in the order of a stream.
fn copy(to: End, from: End, bytes: usize, stream: Stream, wait: bool) -> Result<(), Status> {
    context()?;
    log(|| format!("copy {bytes} bytes from {from:x?} to {to:x?} on {stream:?}"));
    counters::add(Counter::Copies);
    if bytes == 0 {
        return Ok(());
    }
    to.check(bytes)?;
    from.check(bytes)?;
    if !from.reachable() {
        counters::add(Counter::Synchronisations);
        // SAFETY: the driver's interface: the caller has so many bytes there.
        let content =
            unsafe { std::slice::from_raw_parts(from.address() as *const u8, bytes) }.to_vec();
        let job = move || {
            still(to, bytes)?;
            move_bytes(to.address(), content.as_ptr() as u64, bytes);
            Ok(())
        };
        stream::give(stream, Box::new(job))?;
    } else {
        let job = move || {
            still(to, bytes)?;
            still(from, bytes)?;
            move_bytes(to.address(), from.address(), bytes);
            Ok(())
        };
        stream::give(stream, Box::new(job))?;
    }
    if !to.reachable() {
        // Counted once, whether or not there was work before it.
        let before = counters::count(Counter::Synchronisations);
        stream::synchronise(stream)?;
        if counters::count(Counter::Synchronisations) == before {
            counters::add(Counter::Synchronisations);
        }
        return Ok(());
    }
    if wait { stream::synchronise(stream) } else { Ok(()) }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyHtoD_v2(to: u64, from: u64, bytes: usize) -> Status {
    status(copy(End::Device(to), End::Host(from), bytes, Stream::Legacy, true))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: u64,
    bytes: usize,
    handle: Handle,
) -> Status {
    let outcome = stream(handle);
    status(outcome.and_then(|s| copy(End::Device(to), End::Host(from), bytes, s, false)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyDtoH_v2(to: u64, from: u64, bytes: usize) -> Status {
    status(copy(End::Host(to), End::Device(from), bytes, Stream::Legacy, true))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyDtoHAsync_v2(
    to: u64,
    from: u64,
    bytes: usize,
    handle: Handle,
) -> Status {
    let outcome = stream(handle);
    status(outcome.and_then(|s| copy(End::Host(to), End::Device(from), bytes, s, false)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> Status {
    status(copy(End::Device(to), End::Device(from), bytes, Stream::Legacy, false))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyDtoDAsync_v2(
    to: u64,
    from: u64,
    bytes: usize,
    handle: Handle,
) -> Status {
    let outcome = stream(handle);
    status(outcome.and_then(|s| copy(End::Device(to), End::Device(from), bytes, s, false)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyPeerAsync(
    to: u64,
    _to_context: Handle,
    from: u64,
    _from_context: Handle,
    bytes: usize,
    handle: Handle,
) -> Status {
    cuMemcpyDtoDAsync_v2(to, from, bytes, handle)
}

/// A rectangle of rows, `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rectangle {
    from: Side,
    to: Side,
    width: usize,
    height: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Side {
    x: usize,
    y: usize,
    /// 1 host, 2 device.
    kind: c_uint,
    host: u64,
    device: u64,
    array: u64,
    pitch: usize,
}

impl Side {
    fn row(&self, row: usize) -> Result<End, Status> {
        let offset = ((self.y + row) * self.pitch + self.x) as u64;
        match self.kind {
            1 => Ok(End::Host(self.host + offset)),
            2 => Ok(End::Device(self.device + offset)),
            _ => Err(ERROR_INVALID_VALUE),
        }
    }
}

fn rectangle(copied: *const Rectangle, stream: Stream, wait: bool) -> Result<(), Status> {
    if copied.is_null() {
        return Err(ERROR_INVALID_VALUE);
    }
    // SAFETY: the driver's interface: the description can be read.
    let Rectangle { from, to, width, height } = unsafe { copied.read() };
    (0..height).try_for_each(|row| copy(to.row(row)?, from.row(row)?, width, stream, wait))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpy2DAsync_v2(copied: *const Rectangle, handle: Handle) -> Status {
    status(stream(handle).and_then(|stream| rectangle(copied, stream, false)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpy2D_v2(copied: *const Rectangle) -> Status {
    status(rectangle(copied, Stream::Legacy, true))
}

fn fill<T: Copy + Send + 'static>(
    to: u64,
    value: T,
    count: usize,
    handle: Handle,
) -> Result<(), Status> {
    context()?;
    log(|| format!("fill {count} × {} bytes at {to:#x}", size_of::<T>()));
    if count == 0 {
        return Ok(());
    }
    let bytes = count * size_of::<T>();
    End::Device(to).check(bytes)?;
    if !to.is_multiple_of(align_of::<T>() as u64) {
        return Err(ERROR_INVALID_VALUE);
    }
    let job = move || {
        still(End::Device(to), bytes)?;
        // SAFETY: so many bytes are allocated, and aligned; what they were does not matter to these
        // types.
        unsafe { std::slice::from_raw_parts_mut(to as *mut T, count) }.fill(value);
        Ok(())
    };
    stream::give(stream(handle)?, Box::new(job))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemsetD8Async(
    to: u64,
    value: c_uchar,
    count: usize,
    handle: Handle,
) -> Status {
    status(fill(to, value, count, handle))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemsetD16Async(
    to: u64,
    value: c_ushort,
    count: usize,
    handle: Handle,
) -> Status {
    status(fill(to, value, count, handle))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemsetD32Async(
    to: u64,
    value: c_uint,
    count: usize,
    handle: Handle,
) -> Status {
    status(fill(to, value, count, handle))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemsetD8_v2(to: u64, value: c_uchar, count: usize) -> Status {
    status(fill(to, value, count, 0))
}
