#![doc = include_str!("../README.md")]

mod counters;
mod cublas;
mod cudnn;
mod curand;
mod driver;
mod matrix;
mod memory;
mod ptx;
mod status;
mod stream;

pub use counters::{Counter, count, reset};
pub use ptx::{Fault, Grid, Module};
