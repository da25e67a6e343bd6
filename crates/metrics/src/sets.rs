use serde::{Deserialize, Serialize};

/// How well sets of classes, such as conformal ones, did on samples whose label is known.
///
/// Angelopoulos & Bates, *A Gentle Introduction to Conformal Prediction and Distribution-Free
/// Uncertainty Quantification*, 2021, section 3: coverage and set size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SetFigures {
    /// Number of samples.
    pub n: u64,
    /// Share of samples whose label is in their set, 0…1.
    pub coverage: f64,
    /// Mean number of classes in a set: the smaller, the more the sets say.
    pub mean_size: f64,
    /// Number of sets with exactly one class.
    pub single: u64,
    /// Number of sets without any class.
    pub empty: u64,
}

impl SetFigures {
    /// The figures of sets: whether each has the label of its sample in it, and its size. None
    /// without samples.
    ///
    /// ```
    /// use taper_metrics::SetFigures;
    /// let figures = SetFigures::of([(true, 1), (true, 3), (false, 0), (true, 2)]).unwrap();
    /// assert_eq!((figures.n, figures.coverage, figures.mean_size), (4, 0.75, 1.5));
    /// assert_eq!((figures.single, figures.empty), (1, 1));
    /// ```
    pub fn of(sets: impl IntoIterator<Item = (bool, usize)>) -> Option<Self> {
        let (mut n, mut covered, mut size, mut single, mut empty) = (0u64, 0u64, 0u64, 0u64, 0u64);
        for (has_label, classes) in sets {
            n += 1;
            covered += u64::from(has_label);
            size += classes as u64;
            single += u64::from(classes == 1);
            empty += u64::from(classes == 0);
        }
        (n > 0).then(|| Self {
            n,
            coverage: covered as f64 / n as f64,
            mean_size: size as f64 / n as f64,
            single,
            empty,
        })
    }
}
