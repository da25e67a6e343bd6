//! The driver's functions, called as from C: what is queued, what waits, what is counted.

mod common;

use std::{
    ffi::{CString, c_int},
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use common::*;
use taper_cuda_emulator::{Counter, count, reset};

/// One test at a time: the counters belong to the process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut context = 0;
    // SAFETY: the places that are written are there.
    unsafe {
        assert_eq!(cuInit(0), 0);
        assert_eq!(cuDevicePrimaryCtxRetain(&mut context, 0), 0);
        assert_eq!(cuCtxSetCurrent(context), 0);
        assert_eq!(cuCtxSynchronize(), 0);
    }
    reset();
    alone
}

fn made(make: impl FnOnce(*mut u64) -> c_int) -> u64 {
    let mut handle = 0;
    assert_eq!(make(&mut handle), 0);
    handle
}

fn stream() -> u64 {
    // SAFETY: the place is there.
    made(|place| unsafe { cuStreamCreate(place, 1) })
}

fn event() -> u64 {
    // SAFETY: the place is there.
    made(|place| unsafe { cuEventCreate(place, 2) })
}

fn device(stream: u64) -> u64 {
    // SAFETY: the place is there.
    made(|place| unsafe { cuMemAllocAsync(place, 4, stream) })
}

fn pinned(value: u32) -> u64 {
    // SAFETY: the place is there, and so is the memory.
    let address = made(|place| unsafe { cuMemHostAlloc(place, 4, 0) });
    set(address, value);
    address
}

fn set(address: u64, value: u32) {
    // SAFETY: it is page-locked memory of these tests.
    unsafe { (address as *mut u32).write_volatile(value) };
}

fn get(address: u64) -> u32 {
    // SAFETY: it is page-locked memory of these tests.
    unsafe { (address as *const u32).read_volatile() }
}

fn up(to: u64, from: u64, stream: u64) {
    // SAFETY: both are 4 bytes long.
    assert_eq!(unsafe { cuMemcpyHtoDAsync_v2(to, from, 4, stream) }, 0);
}

fn down(to: u64, from: u64, stream: u64) {
    // SAFETY: both are 4 bytes long.
    assert_eq!(unsafe { cuMemcpyDtoHAsync_v2(to, from, 4, stream) }, 0);
}

fn wait(stream: u64) {
    // SAFETY: it takes numbers.
    assert_eq!(unsafe { cuStreamSynchronize(stream) }, 0);
}

#[test]
fn page_locked_memory_is_read_when_the_copy_runs() {
    let _alone = alone();
    let (stream, from, to) = (stream(), pinned(1), pinned(0));
    let there = device(stream);
    up(there, from, stream);
    set(from, 2);
    down(to, there, stream);
    assert_eq!(get(to), 0, "nothing ran yet");
    wait(stream);
    assert_eq!(get(to), 2, "who writes without waiting overwrites what is on its way");
    assert_eq!(count(Counter::Synchronisations), 1);
    wait(stream);
    assert_eq!(count(Counter::Synchronisations), 1, "there was nothing to wait for");
    assert_eq!(count(Counter::Copies), 2);
    assert_eq!(count(Counter::Allocations), 1);
}

#[test]
fn ordinary_memory_is_read_at_once_and_counts() {
    let _alone = alone();
    let stream = stream();
    let (mut value, to) = (5u32, pinned(0));
    let there = device(stream);
    up(there, ptr::from_ref(&value) as u64, stream);
    value += 1;
    down(to, there, stream);
    wait(stream);
    assert_eq!((get(to), value), (5, 6));
    assert_eq!(count(Counter::Synchronisations), 2);
    let mut back = 0u32;
    down(ptr::from_mut(&mut back) as u64, there, stream);
    assert_eq!(back, 5, "ordinary memory is written before the call returns");
    assert_eq!(count(Counter::Synchronisations), 3);
}

#[test]
fn streams_wait_for_events_only() {
    let _alone = alone();
    let (first, second, event) = (stream(), stream(), event());
    let (from, to, too_early) = (pinned(7), pinned(0), pinned(0));
    let there = device(first);
    up(there, from, first);
    // SAFETY: handles of this test.
    assert_eq!(unsafe { cuEventRecord(event, first) }, 0);
    down(too_early, there, second);
    wait(second);
    assert_eq!(get(too_early), u32::MAX, "nothing made it wait");
    // SAFETY: handles of this test.
    assert_eq!(unsafe { cuStreamWaitEvent(second, event, 0) }, 0);
    down(to, there, second);
    wait(second);
    assert_eq!(get(to), 7);
    assert_eq!(count(Counter::Events), 1);
    let before = count(Counter::Synchronisations);
    // SAFETY: handles of this test.
    assert_eq!(unsafe { cuEventSynchronize(event) }, 0);
    assert_eq!(count(Counter::Synchronisations), before, "it has happened");
}

#[test]
fn the_threads_own_streams_are_different_ones() {
    let _alone = alone();
    let (from, to) = (pinned(3), pinned(0));
    let there = device(2);
    up(there, from, 2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: the context of the device.
            assert_eq!(unsafe { cuCtxSetCurrent(0xC0) }, 0);
            down(to, there, 2);
            wait(2);
        });
    });
    assert_eq!(get(to), u32::MAX, "the other thread's stream did not wait for this one's");
    wait(2);
    down(to, there, 2);
    wait(2);
    assert_eq!(get(to), 3);
}

#[test]
fn who_asks_twice_is_told_that_it_is_done() {
    let _alone = alone();
    let (stream, from) = (stream(), pinned(3));
    up(device(stream), from, stream);
    // SAFETY: a handle of this test.
    let answers = unsafe { [cuStreamQuery(stream), cuStreamQuery(stream)] };
    assert_eq!(answers, [600, 0]);
}

#[test]
fn what_is_freed_in_a_stream_lives_until_the_stream_gets_there() {
    let _alone = alone();
    let (stream, from, to) = (stream(), pinned(9), pinned(0));
    let (there, other) = (device(stream), device(stream));
    up(there, from, stream);
    // SAFETY: both are 4 bytes long.
    unsafe {
        assert_eq!(cuMemcpyDtoDAsync_v2(other, there, 4, stream), 0);
        assert_eq!(cuMemFreeAsync(there, stream), 0);
        assert_ne!(cuMemFreeAsync(there + 4, stream), 0, "no allocation starts there");
    }
    down(to, other, stream);
    wait(stream);
    assert_eq!(get(to), 9);
    // SAFETY: it takes numbers.
    assert_eq!(unsafe { cuMemcpyDtoDAsync_v2(other, there, 4, stream) }, 1, "it is gone");
}

#[test]
fn kernels_run_in_order_with_the_parameters_of_their_launch() {
    let _alone = alone();
    let (stream, to) = (stream(), pinned(0));
    let there = device(stream);
    let text = ".version 9.0\n.target sm_90\n.address_size 64\n
        .visible .entry put(.param .u64 p, .param .u32 v) { .reg .b64 %rd<2>; .reg .b32 %r<2>;
        ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [v]; st.global.u32 [%rd1], %r1; ret; }";
    let (text, name) = (CString::new(text).unwrap(), CString::new("put").unwrap());
    // SAFETY: the texts end with 0, the parameters are those of the kernel.
    unsafe {
        let module = made(|place| cuModuleLoadData(place, text.as_ptr().cast()));
        let function = made(|place| cuModuleGetFunction(place, module, name.as_ptr().cast()));
        for mut value in [1u32, 2, 3] {
            let parameters = [ptr::from_ref(&there).cast(), ptr::from_ref(&value).cast()];
            let launched = cuLaunchKernel(
                function,
                1,
                1,
                1,
                1,
                1,
                1,
                0,
                stream,
                parameters.as_ptr(),
                ptr::null(),
            );
            assert_eq!(launched, 0);
            value = 77;
            std::hint::black_box(value);
        }
    }
    down(to, there, stream);
    wait(stream);
    assert_eq!(get(to), 3);
    assert_eq!(count(Counter::Launches), 3);
}
