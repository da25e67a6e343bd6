use serde::{Deserialize, Serialize};

/// How well the confidence of a classifier matches its accuracy.
///
/// The confidence of a sample is its largest probability. Samples are put into equally wide bins
/// `(i/B, (i + 1)/B]`; in a calibrated classifier the accuracy in each equals the mean confidence.
/// Guo, Pleiss, Sun, Weinberger: *On Calibration of Modern Neural Networks*, ICML 2017.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Expected calibration error: |accuracy − confidence| averaged over the bins by weight. 0 is
    /// perfect.
    pub expected_error: f64,
    /// Maximum calibration error: the largest |accuracy − confidence| of any bin that is not empty.
    pub maximum_error: f64,
    /// Mean confidence of all samples. If it is above the accuracy, the classifier is
    /// overconfident.
    pub confidence: f64,
    /// All bins in ascending order, empty ones included.
    pub bins: Vec<CalibrationBin>,
}

/// One bin of a [`Calibration`]: a point of the reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Lower end, exclusive.
    pub from: f64,
    /// Upper end, inclusive.
    pub to: f64,
    /// Summed weight of the samples in it.
    pub weight: f64,
    /// Mean confidence in it; 0 if it is empty.
    pub confidence: f64,
    /// Share of correct samples in it; 0 if it is empty.
    pub accuracy: f64,
}

impl Calibration {
    /// The calibration of samples that are all there: the confidence of each, 0 to 1, and whether
    /// it was right. To the bit independent of their order. None without samples or bins.
    pub(crate) fn of(samples: &mut [(f64, bool)], bins: usize) -> Option<Self> {
        if samples.is_empty() || bins == 0 {
            return None;
        }
        samples.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut sums = [vec![0.0; bins], vec![0.0; bins], vec![0.0; bins]];
        for &(confidence, right) in samples.iter() {
            let bin = bin_of(confidence, bins);
            sums[0][bin] += 1.0;
            sums[1][bin] += confidence;
            sums[2][bin] += f64::from(u8::from(right));
        }
        Some(summarise(&sums[0], &sums[1], &sums[2]))
    }
}

/// The bin of a confidence: how many of the inner edges lie below it.
pub(crate) fn bin_of(confidence: f64, bins: usize) -> usize {
    // The rounded product may be off by one at an edge; the comparison with the edges themselves
    // decides.
    let mut bin = ((confidence * bins as f64) as usize).min(bins - 1);
    while bin > 0 && edge(bin, bins) >= confidence {
        bin -= 1;
    }
    while bin + 1 < bins && edge(bin + 1, bins) < confidence {
        bin += 1;
    }
    bin
}

/// `numpy.linspace(0, 1, bins + 1)[i]`, bit for bit.
fn edge(i: usize, bins: usize) -> f64 {
    if i == bins { 1.0 } else { i as f64 * (1.0 / bins as f64) }
}

pub(crate) fn summarise(weight: &[f64], confidence: &[f64], correct: &[f64]) -> Calibration {
    let bins = weight.len();
    let total: f64 = weight.iter().sum();
    let mut result = Calibration {
        expected_error: 0.0,
        maximum_error: 0.0,
        confidence: if total > 0.0 { confidence.iter().sum::<f64>() / total } else { 0.0 },
        bins: Vec::with_capacity(bins),
    };
    for i in 0..bins {
        let share = |sum: f64| if weight[i] > 0.0 { sum / weight[i] } else { 0.0 };
        let bin = CalibrationBin {
            from: edge(i, bins),
            to: edge(i + 1, bins),
            weight: weight[i],
            confidence: share(confidence[i]),
            accuracy: share(correct[i]),
        };
        let gap = (bin.accuracy - bin.confidence).abs();
        if weight[i] > 0.0 {
            result.expected_error += gap * weight[i] / total;
            result.maximum_error = result.maximum_error.max(gap);
        }
        result.bins.push(bin);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_belongs_to_the_bin_below_it() {
        for bins in [1, 3, 10, 15, 49, 1000] {
            for i in 1..=bins {
                let e = edge(i, bins);
                assert_eq!(bin_of(e, bins), i - 1, "edge {i} of {bins}");
                if i < bins {
                    assert_eq!(bin_of(e.next_up(), bins), i, "above edge {i} of {bins}");
                }
            }
            assert_eq!(bin_of(0.0, bins), 0);
        }
    }
}
