use std::{net::SocketAddr, time::Duration};

use taper_core::OutOfRange;

use crate::Result;

/// How a server works. [`ServeOptions::check`] makes it usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeOptions {
    /// Where it listens; port 0 takes a free one. Default: 127.0.0.1:8080.
    pub address: SocketAddr,
    /// How many pictures go through the network together at most, 1 to 256. Default: 8.
    pub batch: usize,
    /// How long the first picture of a batch waits for others, at most 1 s. Default: 0, which is
    /// best on CPUs: while all are busy, pictures gather anyway. On a GPU, a few milliseconds make
    /// larger batches.
    pub delay: Duration,
    /// How many pictures may wait for each model, 1 to 100,000; beyond, requests get 503. Default:
    /// 256.
    pub queue: usize,
    /// The largest body of a request in bytes, 1 KiB to 1 GiB. Default: 16 MiB.
    pub max_body: usize,
    /// The largest number of pixels of a picture, at least 1. Default: 40 million.
    pub max_pixels: u64,
    /// How long a request may take from its head to the end of its answer, 100 ms to an hour.
    /// Default: 30 s.
    pub timeout: Duration,
    /// How many connections may be open at the same time, 1 to 1,000,000. Default: 16,384.
    pub connections: usize,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            batch: 8,
            delay: Duration::ZERO,
            queue: 256,
            max_body: 16 << 20,
            max_pixels: 40_000_000,
            timeout: Duration::from_secs(30),
            connections: 16_384,
        }
    }
}

/// Options that were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedOptions(ServeOptions);

impl CheckedOptions {
    /// The options.
    pub fn options(&self) -> &ServeOptions {
        &self.0
    }
}

impl ServeOptions {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) names the first field that is out of range.
    pub fn check(self) -> Result<CheckedOptions> {
        let fail = |field: &'static str, value: String, remedy: &'static str| {
            Err(OutOfRange::new(field, value, remedy).into())
        };
        if !(1..=256).contains(&self.batch) {
            return fail("batch", self.batch.to_string(), "use 1 to 256");
        }
        if self.delay > Duration::from_secs(1) {
            return fail("delay", format!("{:?}", self.delay), "use at most 1s");
        }
        if !(1..=100_000).contains(&self.queue) {
            return fail("queue", self.queue.to_string(), "use 1 to 100000");
        }
        if !(1 << 10..=1 << 30).contains(&self.max_body) {
            return fail("max_body", self.max_body.to_string(), "use 1024 to 1073741824 bytes");
        }
        if self.max_pixels == 0 {
            return fail("max_pixels", "0".into(), "use 1 or more");
        }
        let range = Duration::from_millis(100)..=Duration::from_secs(3600);
        if !range.contains(&self.timeout) {
            return fail("timeout", format!("{:?}", self.timeout), "use 100ms to 1h");
        }
        if !(1..=1_000_000).contains(&self.connections) {
            return fail("connections", self.connections.to_string(), "use 1 to 1000000");
        }
        Ok(CheckedOptions(self))
    }
}
