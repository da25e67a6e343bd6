use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Whether a smaller or a larger value is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Smaller is better: losses.
    Min,
    /// Larger is better: accuracies.
    Max,
}

/// The direction, as requested by the user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Taken from the monitored value itself.
    #[default]
    Auto,
    /// Smaller is better.
    Min,
    /// Larger is better.
    Max,
}

/// Which value is watched, and when it counts as improved. Early stopping, best-weight retention
/// and reduce-on-plateau share this one definition.
///
/// With δ = |`min_delta`|, a value improves on the best one if there is none yet, or strictly
/// `value + δ < best` (min) or `value − δ > best` (max). NaN is never an improvement.
/// Follows `keras/src/callbacks/monitor_callback.py` (Keras 3).
///
/// ```
/// use taper_core::{Mode, Monitor};
/// let monitor = Monitor::new("val_loss", Mode::Auto, 1e-4)?;
/// assert!(monitor.improves(0.3169, Some(0.3681)));
/// assert!(!monitor.improves(0.31685, Some(0.3169)));
/// # Ok::<(), taper_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    name: String,
    direction: Direction,
    min_delta: f64,
}

impl Monitor {
    /// The values that training reports, each with its direction.
    pub const KNOWN: [(&'static str, Direction); 4] = [
        ("loss", Direction::Min),
        ("accuracy", Direction::Max),
        ("val_loss", Direction::Min),
        ("val_accuracy", Direction::Max),
    ];

    /// Watches `name`; `min_delta` is used as its absolute value.
    ///
    /// [`Mode::Auto`] knows the direction of [`Monitor::KNOWN`] and of every name that ends in
    /// `loss`. Your own metrics need [`Mode::Min`] or [`Mode::Max`]; whether training reports it at
    /// all is checked when training begins.
    ///
    /// # Errors
    /// [`Error::UnknownMonitor`] if the mode is [`Mode::Auto`] and the direction is not known.
    pub fn new(name: &str, mode: Mode, min_delta: f64) -> Result<Self> {
        let own = Self::KNOWN.iter().find(|(known, _)| *known == name).map(|(_, own)| *own);
        let direction = match (mode, own) {
            (Mode::Min, _) => Direction::Min,
            (Mode::Max, _) => Direction::Max,
            (Mode::Auto, Some(own)) => own,
            (Mode::Auto, None) if name.ends_with("loss") => Direction::Min,
            (Mode::Auto, None) => {
                return Err(Error::UnknownMonitor {
                    name: name.into(),
                    known: Self::KNOWN.map(|(n, _)| n).join(", "),
                });
            }
        };
        Ok(Self { name: name.into(), direction, min_delta: min_delta.abs() })
    }

    /// The watched value's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// By how much a value must be better: δ, at least 0.
    pub fn min_delta(&self) -> f64 {
        self.min_delta
    }

    /// Which way is better.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether `value` improves on `best`.
    pub fn improves(&self, value: f64, best: Option<f64>) -> bool {
        if value.is_nan() {
            return false;
        }
        match (best, self.direction) {
            (None, _) => true,
            (Some(best), Direction::Min) => value + self.min_delta < best,
            (Some(best), Direction::Max) => value - self.min_delta > best,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn improvement_is_strict_and_nan_never_wins() {
        let loss = Monitor::new("val_loss", Mode::Auto, -0.01).unwrap();
        assert!(loss.improves(1.0, None));
        assert!(!loss.improves(f64::NAN, None));
        assert!(!loss.improves(f64::NAN, Some(1.0)));
        assert!(loss.improves(0.98, Some(1.0)));
        assert!(!loss.improves(0.995, Some(1.0)));
        let exact = Monitor::new("val_loss", Mode::Auto, 0.0).unwrap();
        assert!(!exact.improves(1.0, Some(1.0)));
        let accuracy = Monitor::new("val_accuracy", Mode::Auto, 0.0).unwrap();
        assert_eq!(accuracy.direction(), Direction::Max);
        assert!(accuracy.improves(0.91, Some(0.9)));
        let upside_down = Monitor::new("val_accuracy", Mode::Min, 0.0).unwrap();
        assert!(upside_down.improves(0.8, Some(0.9)));
    }

    #[test]
    fn an_unknown_monitor_lists_the_known_ones() {
        let error = Monitor::new("val_los", Mode::Auto, 0.0).unwrap_err();
        assert!(error.to_string().contains("val_loss"), "{error}");
        let own = |name, mode| Monitor::new(name, mode, 0.0).map(|m| m.direction());
        assert_eq!(own("val_top_5", Mode::Max), Ok(Direction::Max));
        assert_eq!(own("val_focal_loss", Mode::Auto), Ok(Direction::Min));
    }
}
