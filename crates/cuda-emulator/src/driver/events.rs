//! Streams and events.

use std::ffi::{c_int, c_uint, c_void};

use super::{Handle, context, put};
use crate::{
    counters::log,
    status::{Status, status},
    stream::{self, stream},
};

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamCreate(place: *mut Handle, flags: c_uint) -> Status {
    status(context().and_then(|()| put(place, stream::create(flags & 1 == 0))))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamCreateWithPriority(
    place: *mut Handle,
    flags: c_uint,
    _priority: c_int,
) -> Status {
    cuStreamCreate(place, flags)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamDestroy_v2(handle: Handle) -> Status {
    status(stream(handle).map(stream::destroy))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamSynchronize(handle: Handle) -> Status {
    log(|| format!("cuStreamSynchronize {handle:#x}"));
    status(context().and_then(|()| stream::synchronise(stream(handle)?)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamQuery(handle: Handle) -> Status {
    status(context().and_then(|()| stream::query(stream(handle)?)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamIsCapturing(handle: Handle, place: *mut c_int) -> Status {
    status(stream(handle).and_then(|_| put(place, 0)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamGetCtx(handle: Handle, place: *mut Handle) -> Status {
    status(stream(handle).and_then(|_| put(place, super::CONTEXT)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamWaitEvent(
    handle: Handle,
    event: Handle,
    _flags: c_uint,
) -> Status {
    log(|| format!("cuStreamWaitEvent {handle:#x} {event:#x}"));
    status(context().and_then(|()| stream::wait(stream(handle)?, event)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventCreate(place: *mut Handle, _flags: c_uint) -> Status {
    status(context().and_then(|()| put(place, stream::create_event())))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventDestroy_v2(event: Handle) -> Status {
    status(stream::destroy_event(event))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventRecord(event: Handle, handle: Handle) -> Status {
    log(|| format!("cuEventRecord {event:#x} {handle:#x}"));
    status(context().and_then(|()| stream::record(event, stream(handle)?)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventRecordWithFlags(
    event: Handle,
    handle: Handle,
    _flags: c_uint,
) -> Status {
    cuEventRecord(event, handle)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventSynchronize(event: Handle) -> Status {
    log(|| format!("cuEventSynchronize {event:#x}"));
    status(context().and_then(|()| stream::synchronise_event(event)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventQuery(event: Handle) -> Status {
    status(stream::query_event(event))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventElapsedTime(
    milliseconds: *mut f32,
    start: Handle,
    end: Handle,
) -> Status {
    status(stream::elapsed(start, end).and_then(|time| put(milliseconds, time)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventElapsedTime_v2(
    milliseconds: *mut f32,
    start: Handle,
    end: Handle,
) -> Status {
    cuEventElapsedTime(milliseconds, start, end)
}

/// The caller's callback, which the caller promises can be called from any thread.
struct Told(extern "C" fn(*mut c_void), *mut c_void);

// SAFETY: the driver's interface: host functions are called from a thread of the driver.
unsafe impl Send for Told {}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuLaunchHostFunc(
    handle: Handle,
    function: extern "C" fn(*mut c_void),
    data: *mut c_void,
) -> Status {
    let told = Told(function, data);
    let job = move || {
        let Told(function, data) = { told };
        function(data);
        Ok(())
    };
    status(context().and_then(|()| stream::give(stream(handle)?, Box::new(job))))
}
