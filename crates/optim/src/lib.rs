#![doc = include_str!("../README.md")]

mod config;
mod error;
mod schedule;

pub use config::{ScheduleConfig, Shape, Span, Warmup};
pub use error::{Error, Result};
pub use schedule::Schedule;
