//! The five ways of reading a rate off a curve, as functions of rates and losses.
//!
//! Each takes rates in ascending order and the same number of losses, all finite, and returns a
//! rate, or none if it sees no descent (or has too few points). Slopes are taken against the
//! logarithm of the rate, never the rate itself, which would favour small rates.

/// Where the mean change of the loss over the last `n` steps is most negative: `(L_i − L_{i−n})/n`,
/// `n ≤ i < len − 5`.
///
/// Follows `get_best_lr` of beringresearch's `lrfinder.py`, except that a curve without descent
/// gives none. (The original counts the first `n` changes as 0 and then returns the first of them.)
pub fn sma(rates: &[f64], losses: &[f64], n: usize) -> Option<f64> {
    let last = losses.len().checked_sub(5)?;
    let change = |i: usize| (losses[i] - losses[i - n]) / n as f64;
    let best = first_smallest(n..last, change)?;
    (change(best) < 0.0).then(|| rates[best])
}

/// A third and a sixth into the longest decreasing subsequence. Follows `valley` of fastai's
/// `callback/schedule.py`.
///
/// With length ℓ and end e: index `e − ℓ + ⌊ℓ/3⌋ + ⌊ℓ/6⌋`. "Subsequence" as in the source: the
/// losses need not be neighbours.
pub fn valley(rates: &[f64], losses: &[f64]) -> Option<f64> {
    let mut lengths: Vec<usize> = vec![1; losses.len()];
    let mut end = 0;
    for i in 1..losses.len() {
        for j in 0..i {
            if losses[i] < losses[j] && lengths[i] <= lengths[j] {
                lengths[i] = lengths[j] + 1;
            }
        }
        if lengths[i] > lengths[end] {
            end = i;
        }
    }
    let length = *lengths.get(end)?;
    if length < 2 {
        return None;
    }
    // The first term is −1 where the whole curve is one descent.
    let index = (end + length / 3 + length / 6).saturating_sub(length);
    rates.get(index).copied()
}

/// A tenth of the rate with the smallest loss. Follows `minimum` of fastai's
/// `callback/schedule.py`.
pub fn minimum(rates: &[f64], losses: &[f64]) -> Option<f64> {
    match first_smallest(0..losses.len(), |i| losses[i])? {
        0 => None,
        i => Some(rates[i] / 10.0),
    }
}

/// Where the loss falls fastest from one point to the next, against ln rate. Follows `steep` of
/// fastai's `callback/schedule.py`.
pub fn steep(rates: &[f64], losses: &[f64]) -> Option<f64> {
    let slope = |i: usize| (losses[i + 1] - losses[i]) / (rates[i + 1].ln() - rates[i].ln());
    let best = first_smallest(0..losses.len().saturating_sub(1), slope)?;
    (slope(best) < 0.0).then(|| rates[best])
}

/// Slides an interval of 15 points down from the end until the slopes at its ends differ by at most
/// 0.005; its lower end is the answer. Follows `slide` of fastai's `callback/schedule.py`, except
/// that a curve whose minimum is its first point gives none.
pub fn slide(rates: &[f64], losses: &[f64]) -> Option<f64> {
    const INTERVAL: usize = 15;
    const CALM: f64 = 0.005;
    if losses.len() <= INTERVAL || first_smallest(0..losses.len(), |i| losses[i])? == 0 {
        return None;
    }
    let slopes = gradient(losses);
    let mut low = losses.len() - 1 - INTERVAL;
    let mut answer = low;
    while (slopes[low + INTERVAL] - slopes[low]).abs() > CALM {
        answer = low;
        if low == 0 {
            break;
        }
        low -= 1;
    }
    Some(rates[answer])
}

/// Central differences, one-sided at both ends: `numpy.gradient` with spacing 1.
fn gradient(values: &[f64]) -> Vec<f64> {
    let last = values.len() - 1;
    (0..values.len())
        .map(|i| match i {
            0 => values[1] - values[0],
            i if i == last => values[last] - values[last - 1],
            i => (values[i + 1] - values[i - 1]) / 2.0,
        })
        .collect()
}

/// The first index with the smallest value, as `argmin` gives it.
fn first_smallest(range: std::ops::Range<usize>, value: impl Fn(usize) -> f64) -> Option<usize> {
    range.fold(None, |best: Option<usize>, i| match best {
        Some(b) if value(i) >= value(b) => Some(b),
        _ => Some(i),
    })
}
