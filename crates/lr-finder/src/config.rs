use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use taper_core::OutOfRange;

use crate::{Error, Result};

/// How a rate is read off the curve. See [`crate::suggest`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A point within the longest descent: the default, here and in fastai.
    #[default]
    Valley,
    /// The steepest descent of a simple moving average: the tutorial's.
    Sma,
    /// A tenth of the rate with the smallest loss.
    Minimum,
    /// The steepest descent from one point to the next.
    Steep,
    /// Where an interval that slides down from the end reaches a smooth part of the curve.
    Slide,
}

impl Method {
    /// All methods, in the order of reports.
    pub const ALL: [Method; 5] =
        [Method::Valley, Method::Sma, Method::Minimum, Method::Steep, Method::Slide];

    /// The name used in arguments and answers.
    pub fn name(self) -> &'static str {
        match self {
            Method::Valley => "valley",
            Method::Sma => "sma",
            Method::Minimum => "minimum",
            Method::Steep => "steep",
            Method::Slide => "slide",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name).ok_or_else(|| {
            let remedy = "use valley, sma, minimum, steep or slide";
            OutOfRange::new("method", format!("'{name}'"), remedy).into()
        })
    }
}

/// Options of a range test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RangeTestConfig {
    /// The first rate. Default 1e-6, above 0.
    pub start: f64,
    /// The last rate. Default 1, above `start`, finite.
    pub end: f64,
    /// How many steps the sweep has: T = epochs · steps per epoch. Default 100, at least 26 with
    /// the default `sma`.
    pub steps: usize,
    /// β of the exponential moving average that smooths the loss. Default 0.98, in [0, 1).
    pub smoothing: f64,
    /// The sweep ends when the smoothed loss exceeds this many times its smallest value, and so
    /// does the median of the last few losses. Default 4, above 1.
    pub divergence: f64,
    /// The sweep does not end for this reason, or at NaN, within this many steps. Default 5, any
    /// number.
    pub patience: usize,
    /// The method that chooses. Default `valley`.
    pub method: Method,
    /// Window of the method `sma`, in steps. Default 20, at least 1.
    pub sma: usize,
    /// How many points at the beginning the methods other than `sma` ignore. Default `steps`/10, as
    /// in fastai.
    pub skip_begin: Option<usize>,
    /// How many points at the end they ignore. Default 5, as in fastai.
    pub skip_end: usize,
    /// The share by which the smoothed loss must fall, from `skip_begin` on, to count as a descent.
    /// Default 0.001, in [0, 1). It must also fall by more than three standard errors of the noise.
    pub min_descent: f64,
    /// The sweep is done once for each of these seeds. Default 0 alone, at least one.
    pub seeds: Vec<u64>,
}

impl Default for RangeTestConfig {
    fn default() -> Self {
        Self {
            start: 1e-6,
            end: 1.0,
            steps: 100,
            smoothing: 0.98,
            divergence: 4.0,
            patience: 5,
            method: Method::Valley,
            sma: 20,
            skip_begin: None,
            skip_end: 5,
            min_descent: 0.001,
            seeds: vec![0],
        }
    }
}

impl RangeTestConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first field that is out of range; [`Error::TooFewPoints`] if
    /// there are fewer steps than `sma` + 6, or all of them are skipped.
    pub fn check(self) -> Result<CheckedRangeTest> {
        let within = |field: &'static str, value: String, good: bool, remedy: &'static str| {
            if good { Ok(()) } else { Err(Error::from(OutOfRange::new(field, value, remedy))) }
        };
        let good = self.start > 0.0 && self.start.is_finite();
        within("start", self.start.to_string(), good, "use a rate above 0")?;
        let good = self.end > self.start && self.end.is_finite();
        within("end", self.end.to_string(), good, "use a finite rate above `start`")?;
        let good = (0.0..1.0).contains(&self.smoothing);
        within("smoothing", self.smoothing.to_string(), good, "use a number in [0, 1)")?;
        let good = self.divergence > 1.0;
        within("divergence", self.divergence.to_string(), good, "use a number above 1")?;
        within("sma", self.sma.to_string(), self.sma > 0, "use at least 1 step")?;
        let good = (0.0..1.0).contains(&self.min_descent);
        within("min_descent", self.min_descent.to_string(), good, "use a share in [0, 1)")?;
        let good = !self.seeds.is_empty();
        within("seeds", "empty".into(), good, "give at least one seed")?;
        let good = self.steps <= 10_000_000;
        within("steps", self.steps.to_string(), good, "use at most ten million steps")?;
        let checked = CheckedRangeTest(self);
        let needed = checked.needed();
        if checked.0.steps < needed {
            return Err(Error::TooFewPoints { found: checked.0.steps, needed, diverged: false });
        }
        Ok(checked)
    }
}

/// A [`RangeTestConfig`] with all fields in range.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedRangeTest(pub(crate) RangeTestConfig);

impl CheckedRangeTest {
    /// The options.
    pub fn config(&self) -> &RangeTestConfig {
        &self.0
    }

    /// The rate of step `t`: `start·(end/start)^(t/(T−1))`.
    pub fn rate(&self, t: usize) -> f64 {
        let c = &self.0;
        // Both ends exactly, which the power may miss by rounding.
        if t == 0 {
            c.start
        } else if t + 1 == c.steps {
            c.end
        } else {
            c.start * (c.end / c.start).powf(t as f64 / (c.steps - 1) as f64)
        }
    }

    pub(crate) fn skip_begin(&self) -> usize {
        self.0.skip_begin.unwrap_or(self.0.steps / 10)
    }

    /// How many points are needed: enough for `sma`, and two that are not skipped.
    pub(crate) fn needed(&self) -> usize {
        (self.0.sma + 6).max(self.skip_begin() + self.0.skip_end + 2)
    }
}
