/// Writes `logits − log Σ exp(logits)` in f64.
///
/// The largest logit is subtracted first, so that nothing overflows. −∞ is allowed as long as one
/// logit is finite (a class that is ruled out); NaN or +∞ anywhere makes the whole row NaN. Follows
/// `scipy.special.log_softmax`.
///
/// # Panics
/// If `out` and `logits` differ in length.
pub fn log_softmax(logits: &[f32], out: &mut [f64]) {
    log_softmax_at(logits, 1.0, out);
}

/// [`log_softmax`] of the logits divided by a temperature, f64 above 0: 1 changes nothing, larger
/// ones give less certain probabilities. Never changes which class is the most probable.
///
/// # Panics
/// If `out` and `logits` differ in length.
pub fn log_softmax_at(logits: &[f32], temperature: f64, out: &mut [f64]) {
    assert_eq!(logits.len(), out.len(), "one value for each logit");
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(f64::from(x)));
    if !largest.is_finite() || logits.iter().any(|x| x.is_nan()) {
        out.fill(f64::NAN);
        return;
    }
    let sum: f64 = logits.iter().map(|&x| ((f64::from(x) - largest) / temperature).exp()).sum();
    let log_sum = sum.ln();
    for (o, &x) in out.iter_mut().zip(logits) {
        *o = (f64::from(x) - largest) / temperature - log_sum;
    }
}

/// Writes `exp(logits) / Σ exp(logits)` in f64: the probabilities of [`log_softmax`], under its
/// rules.
///
/// ```
/// let mut probabilities = [0.0; 2];
/// taper_metrics::softmax(&[1000.0, 1000.0], &mut probabilities);
/// assert_eq!(probabilities, [0.5, 0.5]);
/// ```
///
/// # Panics
/// If `out` and `logits` differ in length.
pub fn softmax(logits: &[f32], out: &mut [f64]) {
    softmax_at(logits, 1.0, out);
}

/// [`softmax`] of the logits divided by a temperature, as [`log_softmax_at`] has it.
///
/// # Panics
/// If `out` and `logits` differ in length.
pub fn softmax_at(logits: &[f32], temperature: f64, out: &mut [f64]) {
    log_softmax_at(logits, temperature, out);
    for o in out {
        *o = o.exp();
    }
}
