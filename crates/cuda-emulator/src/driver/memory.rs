//! Memory: on the device, in its pool, page-locked on the host.

use std::ffi::{c_int, c_uint};

use super::{Handle, POOL, context, put};
use crate::{
    counters::log,
    memory::{self, Place},
    status::{ERROR_INVALID_VALUE, ERROR_NOT_SUPPORTED, Status, status},
    stream::{self, Stream, stream},
};

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemAlloc_v2(place: *mut u64, bytes: usize) -> Status {
    log(|| format!("cuMemAlloc {bytes}"));
    status(context().and_then(|()| {
        stream::check()?;
        put(place, memory::allocate(bytes, Place::Device, 0)?)
    }))
}

/// Waits for everything, as cuMemFree does.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemFree_v2(address: u64) -> Status {
    log(|| format!("cuMemFree {address:#x}"));
    if address == 0 {
        return 0;
    }
    status(context().and_then(|()| {
        memory::discount(address)?;
        stream::give(Stream::Legacy, Box::new(move || memory::release(address)))?;
        stream::synchronise_all()
    }))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemAllocAsync(place: *mut u64, bytes: usize, handle: Handle) -> Status {
    log(|| format!("cuMemAllocAsync {bytes} on {handle:#x}"));
    status(context().and_then(|()| {
        stream(handle)?;
        stream::check()?;
        put(place, memory::allocate(bytes, Place::Pool, 0)?)
    }))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemAllocFromPoolAsync(
    place: *mut u64,
    bytes: usize,
    _pool: Handle,
    handle: Handle,
) -> Status {
    cuMemAllocAsync(place, bytes, handle)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemFreeAsync(address: u64, handle: Handle) -> Status {
    log(|| format!("cuMemFreeAsync {address:#x} on {handle:#x}"));
    if address == 0 {
        return 0;
    }
    status(context().and_then(|()| {
        let stream = stream(handle)?;
        let bytes = memory::size_of(address).ok_or(ERROR_INVALID_VALUE)?;
        memory::discount(address)?;
        stream::give_and_free(stream, Box::new(move || memory::release(address)), bytes)
    }))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Status {
    let outcome = context().and_then(|()| put(free, memory::free()));
    status(outcome.and_then(|()| put(total, memory::total())))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceGetDefaultMemPool(pool: *mut Handle, _device: c_int) -> Status {
    status(put(pool, POOL))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceGetMemPool(pool: *mut Handle, _device: c_int) -> Status {
    status(put(pool, POOL))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceSetMemPool(_device: c_int, pool: Handle) -> Status {
    if pool == POOL { 0 } else { ERROR_INVALID_VALUE }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemPoolGetAttribute(
    pool: Handle,
    attribute: c_int,
    value: *mut u64,
) -> Status {
    if pool != POOL {
        return ERROR_INVALID_VALUE;
    }
    let (used, reserved) = memory::pool();
    let known = match attribute {
        // How memory is reused: an int.
        1..=3 => return status(put(value.cast::<c_int>(), 1)),
        4 => memory::threshold(),
        5 | 6 => reserved,
        7 | 8 => used,
        _ => return ERROR_INVALID_VALUE,
    };
    status(put(value, known as u64))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemPoolSetAttribute(
    pool: Handle,
    attribute: c_int,
    value: *const u64,
) -> Status {
    if pool != POOL || value.is_null() {
        return ERROR_INVALID_VALUE;
    }
    match attribute {
        4 => {
            // SAFETY: the driver's interface: the threshold is 64 bits.
            let bytes = unsafe { value.read() };
            memory::set_threshold(usize::try_from(bytes).unwrap_or(usize::MAX));
            0
        }
        1..=3 => 0,
        _ => ERROR_NOT_SUPPORTED,
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemPoolTrimTo(pool: Handle, keep: usize) -> Status {
    if pool != POOL {
        return ERROR_INVALID_VALUE;
    }
    memory::trim(Some(keep));
    0
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemHostAlloc(place: *mut u64, bytes: usize, flags: c_uint) -> Status {
    log(|| format!("cuMemHostAlloc {bytes}"));
    status(context().and_then(|()| put(place, memory::allocate(bytes, Place::Pinned, flags)?)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemAllocHost_v2(place: *mut u64, bytes: usize) -> Status {
    cuMemHostAlloc(place, bytes, 0)
}

/// Frees page-locked memory immediately: a caller that has not waited for a copy gets wrong
/// results.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemFreeHost(address: u64) -> Status {
    if memory::pinned(address).is_none() {
        return ERROR_INVALID_VALUE;
    }
    status(memory::release(address))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemHostGetFlags(flags: *mut c_uint, address: u64) -> Status {
    let found = memory::pinned(address).ok_or(ERROR_INVALID_VALUE);
    status(found.and_then(|found| put(flags, found)))
}
