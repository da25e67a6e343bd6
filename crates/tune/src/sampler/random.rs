use taper_core::random::{Key, Purpose};

use super::{Draw, History, Sampler, spread, uniform};
use crate::{Result, Space};

const PURPOSE: Purpose = Purpose::new("tune/random");

/// Draws every parameter at random, independently of the trials so far.
#[derive(Debug, Clone, Copy)]
pub struct Random {
    key: Key,
}

impl Random {
    /// With a seed: the same seed, space and trial number give the same values.
    pub fn new(seed: u64) -> Self {
        Self { key: Key::new(seed, PURPOSE) }
    }
}

impl Sampler for Random {
    fn sample(&self, _: History<'_>, space: &Space, number: usize) -> Result<Draw> {
        let draw = |(name, distribution): (&str, _)| {
            // Keyed by name, so that a further parameter does not change the others.
            let mut stream = self.key.part(name).stream(0, number as u64);
            (name.to_owned(), spread(distribution, uniform(&mut stream)))
        };
        Ok(Draw { values: space.iter().map(draw).collect(), ..Draw::default() })
    }
}
