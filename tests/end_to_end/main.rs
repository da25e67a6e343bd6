//! Tests that run the real `taper` program, as a user would.

// A failed expectation of a helper is a failed test.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod among;
mod augment;
mod bad_input;
mod beside;
mod calibration;
mod compare;
#[cfg(feature = "cuda")]
mod cuda;
mod export;
mod figures;
mod fine_tune;
mod flags;
mod heads;
mod inspect;
mod inspect_claims;
mod interruptions;
mod kernels;
mod layouts;
mod names;
mod network;
mod options;
mod predict;
mod report;
mod resume;
mod search;
#[cfg(feature = "serve")]
mod serve;
mod shards;
mod support;
mod tables;
mod tune;
mod unclear;
mod whole_line;
#[cfg(feature = "text")]
mod zero_shot;
mod zoo;
