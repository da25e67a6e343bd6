//! What was called how often.

use std::{
    ffi::{CStr, c_char},
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Waits for work that was not done yet, and copies from or to memory that is not page-locked.
    Synchronisations,
    /// Kernels, and calls of cuBLAS and cuDNN that compute.
    Launches,
    /// Copies of any kind.
    Copies,
    /// Allocations on the device.
    Allocations,
    /// Events recorded.
    Events,
}

const NAMES: [&str; 5] = ["synchronisations", "launches", "copies", "allocations", "events"];
static COUNTS: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];

/// How often it happened since the start or the last [`reset`].
pub fn count(what: Counter) -> u64 {
    COUNTS[what as usize].load(Ordering::Relaxed)
}

/// All counters back to 0.
pub fn reset() {
    for count in &COUNTS {
        count.store(0, Ordering::Relaxed);
    }
}

pub(crate) fn add(what: Counter) {
    COUNTS[what as usize].fetch_add(1, Ordering::Relaxed);
}

/// Prints a line, if `TAPER_EMULATOR_LOG` is set.
pub(crate) fn log(line: impl FnOnce() -> String) {
    static WANTED: OnceLock<bool> = OnceLock::new();
    if *WANTED.get_or_init(|| std::env::var_os("TAPER_EMULATOR_LOG").is_some()) {
        eprintln!("[cuda {:?}] {}", std::thread::current().id(), line());
    }
}

/// Says what went wrong.
pub(crate) fn complain(what: fmt::Arguments<'_>) {
    eprintln!("taper-cuda-emulator: {what}");
}

unsafe extern "C" {
    fn atexit(function: extern "C" fn()) -> i32;
}

extern "C" fn summary() {
    let counts: Vec<String> = (NAMES.iter().zip(&COUNTS))
        .map(|(name, count)| format!("{} {name}", count.load(Ordering::Relaxed)))
        .collect();
    eprintln!("taper-cuda-emulator: {}", counts.join(", "));
}

/// Prints the counters at the end of the process, if `TAPER_EMULATOR_SUMMARY` is set.
pub(crate) fn summarise_at_exit() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        if std::env::var_os("TAPER_EMULATOR_SUMMARY").is_some() {
            // SAFETY: the function takes nothing, returns nothing and does not unwind.
            unsafe { atexit(summary) };
        }
    });
}

/// How often something happened; `u64::MAX` for a name that is not counted.
///
/// # Safety
/// `what` is a C string.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn taper_emulator_count(what: *const c_char) -> u64 {
    // SAFETY: by this function's contract.
    let what = unsafe { CStr::from_ptr(what) };
    let place = NAMES.iter().position(|name| name.as_bytes() == what.to_bytes());
    place.map_or(u64::MAX, |place| COUNTS[place].load(Ordering::Relaxed))
}

/// All counters back to 0.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn taper_emulator_reset() {
    reset();
}
