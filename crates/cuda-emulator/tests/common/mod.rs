//! The driver's functions as C declares them.
#![allow(dead_code)] // each test program calls some

use std::ffi::{c_int, c_void};

unsafe extern "C" {
    pub(crate) fn cuInit(flags: u32) -> c_int;
    pub(crate) fn cuCtxSetCurrent(context: u64) -> c_int;
    pub(crate) fn cuCtxSynchronize() -> c_int;
    pub(crate) fn cuDevicePrimaryCtxRetain(context: *mut u64, device: c_int) -> c_int;
    pub(crate) fn cuStreamCreate(stream: *mut u64, flags: u32) -> c_int;
    pub(crate) fn cuStreamSynchronize(stream: u64) -> c_int;
    pub(crate) fn cuStreamQuery(stream: u64) -> c_int;
    pub(crate) fn cuStreamWaitEvent(stream: u64, event: u64, flags: u32) -> c_int;
    pub(crate) fn cuEventCreate(event: *mut u64, flags: u32) -> c_int;
    pub(crate) fn cuEventRecord(event: u64, stream: u64) -> c_int;
    pub(crate) fn cuEventSynchronize(event: u64) -> c_int;
    pub(crate) fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> c_int;
    pub(crate) fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: u64) -> c_int;
    pub(crate) fn cuMemFreeAsync(address: u64, stream: u64) -> c_int;
    pub(crate) fn cuMemHostAlloc(address: *mut u64, bytes: usize, flags: u32) -> c_int;
    pub(crate) fn cuMemcpyHtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) -> c_int;
    pub(crate) fn cuMemcpyDtoHAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) -> c_int;
    pub(crate) fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) -> c_int;
    pub(crate) fn cuModuleLoadData(module: *mut u64, text: *const i8) -> c_int;
    pub(crate) fn cuModuleGetFunction(function: *mut u64, module: u64, name: *const i8) -> c_int;
    pub(crate) fn cuLaunchKernel(
        function: u64,
        grid_x: u32,
        grid_y: u32,
        grid_z: u32,
        block_x: u32,
        block_y: u32,
        block_z: u32,
        shared: u32,
        stream: u64,
        parameters: *const *const c_void,
        extra: *const *const c_void,
    ) -> c_int;
}
