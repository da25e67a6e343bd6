#![doc = include_str!("../README.md")]

mod familiar;
mod fit;
mod judge;
mod temperature;

pub use familiar::{LIMIT_BYTES, LIMIT_ROWS, reference_rows};
pub use fit::{Calibrated, Validation, fit};
pub use judge::{Judged, JudgedSets, Known, Unfamiliar, judge};
pub use taper_model::{Calibration, CalibrationChange, ConformalSets, TemperatureLimit};
pub use temperature::{TEMPERATURES, Temperature, best_temperature, fit_temperature};
