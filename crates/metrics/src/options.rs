use serde::{Deserialize, Serialize};

use taper_core::OutOfRange;

use crate::Result;

/// What is computed besides the standard figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsOptions {
    /// Number of equally wide confidence bins of the calibration error. Default 15 (Guo et al.
    /// 2017), range 1…1000.
    pub calibration_bins: usize,
    /// A sample also counts as "top-k correct" if its label is among the k largest outputs.
    /// Default none, range 1…number of classes.
    pub top_k: Option<usize>,
}

impl Default for MetricsOptions {
    fn default() -> Self {
        Self { calibration_bins: 15, top_k: None }
    }
}

impl MetricsOptions {
    /// Checks every field against a number of classes, which must be 1…65,536.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) names the first field that is out of range.
    pub fn check(self, classes: usize) -> Result<CheckedMetricsOptions> {
        let fail = |field: &'static str, value: usize, remedy: &'static str| {
            Err(OutOfRange::new(field, value, remedy).into())
        };
        if !(1..=65_536).contains(&classes) {
            return fail("classes", classes, "use 1 to 65536 classes");
        }
        if !(1..=1000).contains(&self.calibration_bins) {
            return fail("calibration_bins", self.calibration_bins, "use 1 to 1000 bins");
        }
        if let Some(k) = self.top_k
            && !(1..=classes).contains(&k)
        {
            return fail("top_k", k, "use 1 up to the number of classes");
        }
        Ok(CheckedMetricsOptions { options: self, classes })
    }
}

/// [`MetricsOptions`] with all fields in range for a number of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CheckedMetricsOptions {
    pub(crate) options: MetricsOptions,
    pub(crate) classes: usize,
}
