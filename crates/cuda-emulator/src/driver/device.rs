//! The device and its context.

use std::ffi::{c_char, c_int, c_uint};

use super::{CONTEXT, CURRENT, Handle, put};
use crate::{
    counters::{log, summarise_at_exit},
    memory,
    status::{
        ERROR_INVALID_CONTEXT, ERROR_INVALID_DEVICE, ERROR_INVALID_VALUE, ERROR_NOT_FOUND, Status,
        describe, status,
    },
    stream,
};

const NAME: &[u8] = b"Emulated CUDA device (taper-cuda-emulator)";

fn device(number: c_int) -> Result<(), Status> {
    if number == 0 { Ok(()) } else { Err(ERROR_INVALID_DEVICE) }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuInit(_flags: c_uint) -> Status {
    summarise_at_exit();
    log(|| "cuInit".to_owned());
    0
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Status {
    status(put(version, 13000))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGetErrorName(error: Status, text: *mut *const c_char) -> Status {
    let name = describe(error).map(|(name, _)| name.as_ptr().cast());
    status(name.ok_or(ERROR_INVALID_VALUE).and_then(|name| put(text, name)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGetErrorString(error: Status, text: *mut *const c_char) -> Status {
    let words = describe(error).map(|(_, words)| words.as_ptr().cast());
    status(words.ok_or(ERROR_INVALID_VALUE).and_then(|words| put(text, words)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Status {
    status(put(count, 1))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceGet(place: *mut c_int, ordinal: c_int) -> Status {
    status(device(ordinal).and_then(|()| put(place, 0)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceGetName(
    name: *mut c_char,
    length: c_int,
    number: c_int,
) -> Status {
    if let Err(error) = device(number) {
        return error;
    }
    let Some(room) = usize::try_from(length).ok().and_then(|length| length.checked_sub(1)) else {
        return ERROR_INVALID_VALUE;
    };
    if name.is_null() {
        return ERROR_INVALID_VALUE;
    }
    let bytes = &NAME[..NAME.len().min(room)];
    // SAFETY: the driver's interface: there is room for `length` bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), name, bytes.len());
        name.add(bytes.len()).write(0);
    }
    0
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceGetUuid(uuid: *mut [u8; 16], number: c_int) -> Status {
    status(device(number).and_then(|()| put(uuid, *b"taper-emulated-0")))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], number: c_int) -> Status {
    cuDeviceGetUuid(uuid, number)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, number: c_int) -> Status {
    status(device(number).and_then(|()| put(bytes, memory::total())))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceGetAttribute(
    value: *mut c_int,
    attribute: c_int,
    number: c_int,
) -> Status {
    // Those of an H100, as far as they are meaningful.
    let known = match attribute {
        1 | 2 => 1024,          // threads of a block; along x
        3 => 1024,              // along y
        4 => 64,                // along z
        5 => i32::MAX,          // blocks along x
        6 | 7 => 65535,         // along y and z
        8 => 48 << 10,          // shared memory of a block
        9 => 64 << 10,          // constant memory
        10 => 32,               // warp
        12 => 65536,            // registers of a block
        13 => 1_755_000,        // clock, kHz
        14 => 512,              // alignment of textures
        15 | 31 | 40 | 41 => 1, // overlap; concurrent kernels; copy engines; unified addresses
        16 => 132,              // multiprocessors
        17 | 18 | 32 => 0,      // time-out; integrated; error correction
        19 => 1,                // host memory can be mapped
        20 => 0,                // compute mode
        33..=35 => 0,           // bus, device, driver model
        36 => 2_619_000,        // memory clock, kHz
        37 => 5120,             // bus width
        38 => 50 << 20,         // level 2 cache
        39 => 2048,             // threads of a multiprocessor
        75 => 9,                // compute capability
        76 => 0,
        78 => 1,           // stream priorities
        81 => 228 << 10,   // shared memory of a multiprocessor
        82 => 65536,       // its registers
        83 | 88 | 89 => 0, // managed memory
        97 => 227 << 10,   // shared memory of a block, if asked for
        106 => 32,         // blocks of a multiprocessor
        111 => 1 << 10,    // shared memory that is reserved
        115 => 1,          // memory pools
        _ => 0,
    };
    status(device(number).and_then(|()| put(value, known)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDevicePrimaryCtxRetain(context: *mut Handle, number: c_int) -> Status {
    status(device(number).and_then(|()| put(context, CONTEXT)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDevicePrimaryCtxRelease_v2(number: c_int) -> Status {
    status(device(number))
}

/// There is only the primary context, which is released, not destroyed.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxDestroy_v2(_context: Handle) -> Status {
    ERROR_INVALID_CONTEXT
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxGetCurrent(context: *mut Handle) -> Status {
    status(put(context, CURRENT.get()))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxSetCurrent(context: Handle) -> Status {
    if context != 0 && context != CONTEXT {
        return ERROR_INVALID_CONTEXT;
    }
    CURRENT.set(context);
    0
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxGetDevice(place: *mut c_int) -> Status {
    status(super::context().and_then(|()| put(place, 0)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxSetFlags(_flags: c_uint) -> Status {
    status(super::context())
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxGetLimit(value: *mut usize, _limit: c_int) -> Status {
    status(super::context().and_then(|()| put(value, 1024)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxSetLimit(_limit: c_int, _value: usize) -> Status {
    status(super::context())
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxGetCacheConfig(value: *mut c_int) -> Status {
    status(super::context().and_then(|()| put(value, 0)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxSetCacheConfig(_value: c_int) -> Status {
    status(super::context())
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxGetStreamPriorityRange(
    least: *mut c_int,
    most: *mut c_int,
) -> Status {
    status(super::context().and_then(|()| put(least, 0)).and_then(|()| put(most, -5)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxSynchronize() -> Status {
    log(|| "cuCtxSynchronize".to_owned());
    status(super::context().and_then(|()| stream::synchronise_all()))
}

/// NVRTC asks for undocumented driver functions, but works without them.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGetExportTable(_table: *mut Handle, _identifier: Handle) -> Status {
    ERROR_NOT_FOUND
}
