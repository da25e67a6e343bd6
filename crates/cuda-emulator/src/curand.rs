//! cuRAND: generators can be created and seeded, as candle does for each device; they draw no
//! numbers.

use std::ffi::{c_int, c_ulonglong};

use crate::driver::put;

/// Any generator.
const GENERATOR: u64 = 0xD1CE;

#[unsafe(no_mangle)]
pub(crate) extern "C" fn curandCreateGenerator(place: *mut u64, _kind: c_int) -> c_int {
    // CURAND_STATUS_OUT_OF_RANGE
    put(place, GENERATOR).map_or(104, |()| 0)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn curandDestroyGenerator(_generator: u64) -> c_int {
    0
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn curandSetPseudoRandomGeneratorSeed(
    _generator: u64,
    _seed: c_ulonglong,
) -> c_int {
    0
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn curandSetStream(_generator: u64, _stream: u64) -> c_int {
    0
}
