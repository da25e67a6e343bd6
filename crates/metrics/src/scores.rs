//! Figures that need all samples at once.
//!
//! They do not depend, to the bit, on the order of the samples: counts are whole numbers, and
//! values are sorted before they are added.

use crate::{Error, Result};

/// The multiclass Brier score: the mean over the samples of Σ_c (p_c − 1[c is the label])².
///
/// 0 is perfect, 2 the worst. The sum goes over all classes, as in Brier, *Verification of
/// Forecasts Expressed in Terms of Probability*, Monthly Weather Review 1950, and in scikit-learn's
/// `brier_score_loss(scale_by_half=False)`; with two classes it is twice the score of one of them.
///
/// `probabilities`: f64 `[samples, classes]`, row-major, 0 to 1.
///
/// # Errors
/// [`Error::Length`] if there is not one row of `classes` values for each label,
/// [`Error::Label`] if a label is not one of the classes, [`Error::Empty`] without samples.
pub fn brier_score(probabilities: &[f64], labels: &[u32], classes: usize) -> Result<f64> {
    check("probabilities", probabilities.len(), labels, classes)?;
    let squares = probabilities.chunks_exact(classes).zip(labels);
    mean(squares.map(|(row, &label)| brier_of(row, label as usize)).collect())
}

/// The contribution of one sample.
pub(crate) fn brier_of(row: &[f64], label: usize) -> f64 {
    let square = |(class, p): (usize, &f64)| (p - f64::from(u8::from(class == label))).powi(2);
    row.iter().enumerate().map(square).sum()
}

/// The area under the risk-coverage curve: the mean, over k = 1…n, of the error rate among the k
/// most confident samples.
///
/// 0 is perfect; a confidence that says nothing gives the error rate itself. Geifman, Uziel,
/// El-Yaniv: *Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers*, ICLR 2019, eq. 3.
/// Equally confident samples have no order: within such a group, the errors count as spread evenly,
/// which is the mean over all orders.
///
/// # Errors
/// [`Error::Length`] unless there are as many confidences as verdicts, [`Error::NotFinite`] if one
/// is NaN, [`Error::Empty`] without samples.
pub fn aurc(confidence: &[f64], correct: &[bool]) -> Result<f64> {
    if confidence.len() != correct.len() {
        let (found, samples) = (confidence.len(), correct.len());
        return Err(Error::Length { what: "confidence", found, samples, expected: samples });
    }
    not_nan("confidence", confidence)?;
    let mut sorted: Vec<(f64, bool)> =
        confidence.iter().copied().zip(correct.iter().copied()).collect();
    if sorted.is_empty() {
        return Err(Error::Empty);
    }
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut seen, mut errors, mut area) = (0usize, 0usize, 0.0);
    for group in sorted.chunk_by(|a, b| a.0 == b.0) {
        let wrong = group.iter().filter(|(_, correct)| !correct).count();
        let rate = wrong as f64 / group.len() as f64;
        for within in 1..=group.len() {
            area += (errors as f64 + within as f64 * rate) / (seen + within) as f64;
        }
        seen += group.len();
        errors += wrong;
    }
    Ok(area / seen as f64)
}

/// The area under the ROC curve of a score that should be high for `positive` and low for
/// `negative`: the probability that a positive one has the higher score, where equal ones count
/// half (`sklearn.metrics.roc_auc_score`). 0.5 says nothing.
///
/// Mann & Whitney, *On a Test of Whether one of Two Random Variables is Stochastically Larger than
/// the Other*, 1947. Pairs are counted in whole numbers.
///
/// # Errors
/// [`Error::NotFinite`] if a score is NaN, [`Error::Empty`] if one side has none.
pub fn auroc(positive: &[f64], negative: &[f64]) -> Result<f64> {
    not_nan("positive", positive)?;
    not_nan("negative", negative)?;
    if positive.is_empty() || negative.is_empty() {
        return Err(Error::Empty);
    }
    let mut sorted: Vec<(f64, bool)> = positive.iter().map(|&score| (score, true)).collect();
    sorted.extend(negative.iter().map(|&score| (score, false)));
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Twice the number of pairs in order; ties count one.
    let (mut below, mut pairs) = (0u128, 0u128);
    for group in sorted.chunk_by(|a, b| a.0 == b.0) {
        let above = group.iter().filter(|(_, positive)| *positive).count() as u128;
        let equal = group.len() as u128 - above;
        pairs += above * (2 * below + equal);
        below += equal;
    }
    Ok(pairs as f64 / (2 * positive.len() as u128 * negative.len() as u128) as f64)
}

/// One row for each label, whose labels are classes.
pub(crate) fn check(
    what: &'static str,
    values: usize,
    labels: &[u32],
    classes: usize,
) -> Result<()> {
    let (samples, expected) = (labels.len(), labels.len() * classes);
    if samples == 0 || classes == 0 {
        return Err(Error::Empty);
    }
    if values != expected {
        return Err(Error::Length { what, found: values, samples, expected });
    }
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(sample) => Err(Error::Label { label: labels[sample], sample, classes }),
        None => Ok(()),
    }
}

fn not_nan(what: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().position(|value| value.is_nan()) {
        Some(sample) => Err(Error::NotFinite { what, sample }),
        None => Ok(()),
    }
}

/// The mean, whatever the order.
pub(crate) fn mean(mut values: Vec<f64>) -> Result<f64> {
    if values.is_empty() {
        return Err(Error::Empty);
    }
    values.sort_by(f64::total_cmp);
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_samples_changes_no_bit() {
        let n = 300;
        let p: Vec<f64> = (0..n).map(|i| ((i * 7919) % 101) as f64 / 101.0).collect();
        let rows: Vec<f64> =
            p.iter().flat_map(|&p| [p, (1.0 - p) / 3.0, (1.0 - p) / 1.5]).collect();
        let labels: Vec<u32> = (0..n).map(|i| (i * i % 3) as u32).collect();
        let correct: Vec<bool> = labels.iter().map(|&label| label == 0).collect();
        let order: Vec<usize> = (0..n).map(|i| (i * 97) % n).collect();
        let moved = |of: &dyn Fn(usize) -> f64| order.iter().map(|&i| of(i)).collect::<Vec<_>>();
        let other_rows: Vec<f64> =
            order.iter().flat_map(|&i| rows[3 * i..3 * i + 3].to_vec()).collect();
        let other_labels: Vec<u32> = order.iter().map(|&i| labels[i]).collect();
        let other_correct: Vec<bool> = order.iter().map(|&i| correct[i]).collect();
        assert_eq!(
            brier_score(&rows, &labels, 3).unwrap(),
            brier_score(&other_rows, &other_labels, 3).unwrap()
        );
        let other_p = moved(&|i| p[i]);
        assert_eq!(aurc(&p, &correct).unwrap(), aurc(&other_p, &other_correct).unwrap());
        assert_eq!(
            auroc(&p[..100], &p[100..]).unwrap(),
            auroc(&p[..100].iter().rev().copied().collect::<Vec<_>>(), &p[100..]).unwrap()
        );
    }

    #[test]
    fn extremes() {
        assert_eq!(brier_score(&[1.0, 0.0, 0.0, 1.0], &[0, 1], 2).unwrap(), 0.0);
        assert_eq!(brier_score(&[1.0, 0.0], &[1], 2).unwrap(), 2.0);
        assert_eq!(aurc(&[0.9, 0.8], &[true, true]).unwrap(), 0.0);
        // Two errors of four, of which the confidence knows nothing.
        assert_eq!(aurc(&[0.5; 4], &[true, false, false, true]).unwrap(), 0.5);
        // The error comes last: 0, 0, 1/3.
        let own = aurc(&[0.9, 0.1, 0.8], &[true, false, true]).unwrap();
        assert!((own - 1.0 / 9.0).abs() < 1e-15, "{own}");
        assert_eq!(auroc(&[2.0, 3.0], &[0.0, 1.0]).unwrap(), 1.0);
        assert_eq!(auroc(&[1.0], &[1.0, 1.0]).unwrap(), 0.5);
        assert_eq!(auroc(&[0.0], &[1.0]).unwrap(), 0.0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let length = Error::Length { what: "probabilities", found: 3, samples: 1, expected: 2 };
        assert_eq!(brier_score(&[0.1, 0.2, 0.7], &[0], 2), Err(length));
        let label = Error::Label { label: 2, sample: 0, classes: 2 };
        assert_eq!(brier_score(&[0.5, 0.5], &[2], 2), Err(label));
        assert_eq!(brier_score(&[], &[], 2), Err(Error::Empty));
        let nan = Error::NotFinite { what: "confidence", sample: 1 };
        assert_eq!(aurc(&[0.1, f64::NAN], &[true, true]), Err(nan));
        assert_eq!(aurc(&[], &[]), Err(Error::Empty));
        assert_eq!(auroc(&[1.0], &[]), Err(Error::Empty));
    }
}
