use serde::{Deserialize, Serialize};

use crate::{CheckedRangeTest, Curve, Error, Method, Result, StepError};

/// Anything that can be trained in steps and restored to an earlier state.
pub trait Trainee {
    /// Everything that a step changes: weights, running statistics of BatchNorm, optimizer state,
    /// random streams, cursors.
    type Snapshot;

    /// Copies it.
    ///
    /// # Errors
    /// Any error in copying it.
    fn snapshot(&mut self) -> std::result::Result<Self::Snapshot, StepError>;

    /// Restores it, bit for bit.
    ///
    /// # Errors
    /// Any error in restoring it.
    fn restore(&mut self, snapshot: Self::Snapshot) -> std::result::Result<(), StepError>;

    /// Prepares a sweep under a seed, e.g. by other initial weights of the head and another order
    /// of samples. The default changes nothing.
    ///
    /// # Errors
    /// Any error in preparing it.
    fn reseed(&mut self, seed: u64) -> std::result::Result<(), StepError> {
        let _ = seed;
        Ok(())
    }

    /// Makes one step with the next batch at this rate and returns the batch's loss, which may be
    /// NaN.
    ///
    /// # Errors
    /// Any error of the step.
    fn step(&mut self, rate: f64) -> std::result::Result<f64, StepError>;
}

/// The suggestions of the methods; none for a method that sees no descent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suggestions {
    /// [`Method::Valley`].
    pub valley: Option<f64>,
    /// [`Method::Sma`].
    pub sma: Option<f64>,
    /// [`Method::Minimum`].
    pub minimum: Option<f64>,
    /// [`Method::Steep`].
    pub steep: Option<f64>,
    /// [`Method::Slide`].
    pub slide: Option<f64>,
}

/// The spread of the chosen method's suggestions over the seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
    /// How many seeds gave one.
    pub found: usize,
    /// How many seeds there were.
    pub seeds: usize,
}

/// The outcome of a range test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeTestResult {
    /// Each method's suggestion: the median over the seeds, on the logarithmic scale.
    pub suggestions: Suggestions,
    /// The requested method.
    pub method: Method,
    /// Its suggestion.
    pub chosen: f64,
    /// How much that depends on the seed.
    pub spread: Spread,
    /// How many steps were made, over all seeds.
    pub points: usize,
    /// The sweeps, one for each seed.
    pub curves: Vec<Curve>,
}

/// Runs the range test: one sweep for each seed. Afterwards the trainee is in its original state,
/// even after an error.
///
/// Smith, *Cyclical Learning Rates for Training Neural Networks*, WACV 2017; smoothing and the end
/// at divergence as in fastai's `callback/schedule.py` and Lightning's `tuner/lr_finder.py`.
///
/// # Errors
/// [`Error::Step`] if the trainee fails; [`Error::TooFewPoints`] or [`Error::NoDescent`] if no seed
/// gives a rate.
pub fn find<T: Trainee>(test: &CheckedRangeTest, trainee: &mut T) -> Result<RangeTestResult> {
    let mut curves = Vec::new();
    for &seed in &test.config().seeds {
        let failed = |during: &str| {
            let during = format!("seed {seed}, {during}");
            move |source| Error::Step { during, source }
        };
        let snapshot = trainee.snapshot().map_err(failed("taking a snapshot"))?;
        let swept = sweep(test, trainee, seed);
        // First restore the state, then report the error.
        trainee.restore(snapshot).map_err(failed("restoring the snapshot"))?;
        curves.push(swept?);
    }
    RangeTestResult::from_curves(test, curves)
}

fn sweep<T: Trainee>(test: &CheckedRangeTest, trainee: &mut T, seed: u64) -> Result<Curve> {
    let config = test.config();
    let failed = |during: String| move |source| Error::Step { during, source };
    trainee.reseed(seed).map_err(failed(format!("seed {seed}, preparing the sweep")))?;
    let mut curve = Curve::new(seed);
    let (mut average, mut best) = (0.0, f64::INFINITY);
    // Where the loss is small, as in fine-tuning, that of a lucky batch may be a tenth of the next
    // one's. A rise shows in the typical loss as well.
    let window = config.patience.clamp(1, 5);
    let mut least_typical = f64::INFINITY;
    for t in 0..config.steps {
        let rate = test.rate(t);
        let loss = trainee.step(rate).map_err(failed(format!("seed {seed}, step {t}")))?;
        average = config.smoothing * average + (1.0 - config.smoothing) * loss;
        let smoothed = average / (1.0 - config.smoothing.powf((t + 1) as f64));
        curve.rates.push(rate);
        curve.losses.push(loss);
        curve.smoothed.push(smoothed);
        if smoothed < best {
            best = smoothed;
        }
        let typical = median(&curve.losses[(t + 1).saturating_sub(window)..]);
        if t + 1 >= window {
            least_typical = least_typical.min(typical);
        }
        let risen =
            smoothed > config.divergence * best && typical > config.divergence * least_typical;
        if t > config.patience && (!smoothed.is_finite() || risen) {
            curve.diverged = true;
            break;
        }
    }
    Ok(curve)
}

/// The upper median.
fn median(losses: &[f64]) -> f64 {
    let mut sorted = losses.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

impl RangeTestResult {
    /// Reads the rates off recorded curves.
    ///
    /// # Errors
    /// [`Error::TooFewPoints`] or [`Error::NoDescent`] if no curve gives a rate; the error is the
    /// first curve's.
    pub fn from_curves(test: &CheckedRangeTest, curves: Vec<Curve>) -> Result<Self> {
        let method = test.config().method;
        let (mut all, mut error) = (Vec::new(), None);
        for curve in &curves {
            match curve.suggestions(test) {
                Ok(suggestions) => all.push(suggestions),
                Err(e) => error = error.or(Some(e)),
            }
        }
        let of = |method: Method| {
            let mut rates: Vec<f64> = all.iter().filter_map(|s| s.get(method)).collect();
            rates.sort_by(f64::total_cmp);
            rates
        };
        let median = |method| {
            let rates = of(method);
            let middle = rates.len() / 2;
            match rates.len() {
                0 => None,
                n if n % 2 == 1 => Some(rates[middle]),
                _ => Some((rates[middle - 1] * rates[middle]).sqrt()),
            }
        };
        let suggestions = Suggestions {
            valley: median(Method::Valley),
            sma: median(Method::Sma),
            minimum: median(Method::Minimum),
            steep: median(Method::Steep),
            slide: median(Method::Slide),
        };
        let rates = of(method);
        let (Some(chosen), Some(&low), Some(&high)) =
            (suggestions.get(method), rates.first(), rates.last())
        else {
            // A method can fail on a falling curve if the whole descent is in the skipped points.
            let config = test.config();
            let from = curves.first().and_then(|c| c.smoothed.first()).copied();
            return Err(error.unwrap_or(Error::NoDescent {
                start: config.start,
                end: config.end,
                from: from.unwrap_or(f64::NAN),
                fall: 0.0,
            }));
        };
        Ok(Self {
            suggestions,
            method,
            chosen,
            spread: Spread { low, high, found: rates.len(), seeds: curves.len() },
            points: curves.iter().map(|c| c.rates.len()).sum(),
            curves,
        })
    }
}
