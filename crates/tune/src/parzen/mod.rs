mod normal;

use taper_core::random::Stream;

use crate::{Distribution, sampler::uniform};

/// A Parzen estimator: the density of a mixture that has one component for each observed point,
/// and one for the prior, each a product over the parameters.
///
/// Follows `_ParzenEstimator` and `_MixtureOfProductDistribution` of Optuna 5 with a prior weight
/// of 1, magic clipping of the bandwidths, without the ends of the range; of observations beyond
/// the last 25, the oldest weigh least.
///
/// ```
/// use taper_tune::{Distribution, ParzenEstimator};
/// let rate = Distribution::Float { low: 1e-5, high: 1e-1, log: true, step: None };
/// let estimator = ParzenEstimator::new(&[&rate], &[vec![1e-3], vec![2e-3]]);
/// assert!(estimator.log_density(&[1.5e-3]) > estimator.log_density(&[1e-5]));
/// ```
#[derive(Debug, Clone)]
pub struct ParzenEstimator {
    /// Of each component, adding up to 1.
    weights: Vec<f64>,
    parameters: Vec<Kernels>,
}

/// The components along one parameter.
#[derive(Debug, Clone)]
pub(crate) enum Kernels {
    /// Probabilities by component and choice.
    Choices(Vec<Vec<f64>>),
    Normal(Normals),
}

/// Truncated normal distributions, on a logarithmic scale if `log`.
#[derive(Debug, Clone)]
pub(crate) struct Normals {
    /// Centre and bandwidth of each component.
    kernels: Vec<(f64, f64)>,
    /// The logarithm of the mass of each within the range.
    log_masses: Vec<f64>,
    /// The range, half a step wider than the values', on the scale of the kernels.
    range: (f64, f64),
    /// Smallest and largest value.
    ends: (f64, f64),
    log: bool,
    step: Option<f64>,
}

impl ParzenEstimator {
    /// From the internal values of observed trials, a row for each trial in the order of their
    /// numbers, a column for each parameter. Values of categorical parameters are indices below
    /// the number of choices.
    pub fn new(space: &[&Distribution], rows: &[Vec<f64>]) -> Self {
        let mut weights = weights_by_age(rows.len());
        weights.push(1.0);
        let column = |i: usize| rows.iter().map(|row| row[i]).collect::<Vec<f64>>();
        let parameters = space.iter().enumerate().map(|(i, distribution)| match distribution {
            Distribution::Categorical { choices } => Kernels::choices(&column(i), choices.len()),
            _ => Kernels::Normal(Normals::new(&column(i), distribution)),
        });
        Self::from_kernels(weights, parameters.collect())
    }

    /// From the components along each parameter, and their weights, in any unit.
    pub(crate) fn from_kernels(mut weights: Vec<f64>, parameters: Vec<Kernels>) -> Self {
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        Self { weights, parameters }
    }

    /// The logarithm of the density at a point: internal values, one for each parameter. For
    /// parameters with steps and for choices, it is a probability.
    pub fn log_density(&self, point: &[f64]) -> f64 {
        let mut logs: Vec<f64> = self.weights.iter().map(|weight| weight.ln()).collect();
        for (kernels, value) in self.parameters.iter().zip(point) {
            match kernels {
                Kernels::Choices(probabilities) => {
                    for (log, probabilities) in logs.iter_mut().zip(probabilities) {
                        *log += probabilities.get(*value as usize).copied().unwrap_or(0.0).ln();
                    }
                }
                Kernels::Normal(normals) => normals.add_log_densities(*value, &mut logs),
            }
        }
        let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if highest == f64::NEG_INFINITY {
            return highest;
        }
        logs.iter().map(|log| (log - highest).exp()).sum::<f64>().ln() + highest
    }

    /// Draws a point: internal values, one for each parameter, each within its range.
    pub(crate) fn sample(&self, stream: &mut Stream) -> Vec<f64> {
        let component = pick(&self.weights, uniform(stream));
        let draw = |kernels: &Kernels| match kernels {
            Kernels::Choices(probabilities) => {
                pick(&probabilities[component], uniform(stream)) as f64
            }
            Kernels::Normal(normals) => normals.sample(component, uniform(stream)),
        };
        self.parameters.iter().map(draw).collect()
    }
}

/// The index whose share of the weights contains `u` in [0, 1).
fn pick(weights: &[f64], u: f64) -> usize {
    let mut sum = 0.0;
    let found = weights.iter().position(|weight| {
        sum += weight;
        u < sum
    });
    found.unwrap_or(weights.len() - 1)
}

/// `default_weights`: 1 for the last 25, and for those before them less, the older they are.
fn weights_by_age(n: usize) -> Vec<f64> {
    let ramp = n.saturating_sub(25);
    let first = 1.0 / n.max(1) as f64;
    (0..n)
        .map(|i| match i {
            _ if i >= ramp => 1.0,
            0 => first,
            _ if i + 1 == ramp => 1.0,
            _ => first + i as f64 * ((1.0 - first) / (ramp - 1) as f64),
        })
        .collect()
}

impl Kernels {
    /// One component for each observed index, which favours it, and the uniform prior.
    pub(crate) fn choices(observed: &[f64], choices: usize) -> Self {
        if observed.is_empty() {
            return Self::Choices(vec![vec![1.0 / choices as f64; choices]]);
        }
        let prior = 1.0 / (observed.len() + 1) as f64;
        let indices = observed.iter().map(|index| Some(*index as usize)).chain([None]);
        let kernels = indices.map(|observed| {
            let mut row = vec![prior; choices];
            if let Some(index) = observed {
                row[index] += 1.0;
            }
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= sum);
            row
        });
        Self::Choices(kernels.collect())
    }

    /// Truncated normal distributions over the whole numbers from 0 below `count`, from centres and
    /// bandwidths.
    pub(crate) fn over_grid(kernels: Vec<(f64, f64)>, count: usize) -> Self {
        let last = count as f64 - 1.0;
        Self::Normal(Normals::from_kernels(
            kernels,
            (-0.5, last + 0.5),
            (0.0, last),
            false,
            Some(1.0),
        ))
    }
}

/// Limits of a number, whether it is logarithmic, and its step.
fn numeric(distribution: &Distribution) -> ((f64, f64), bool, Option<f64>) {
    match distribution {
        Distribution::Float { low, high, log, step } => ((*low, *high), *log, *step),
        Distribution::Int { low, high, log, step } => {
            ((*low as f64, *high as f64), *log, Some(*step as f64))
        }
        Distribution::Categorical { choices } => ((0.0, choices.len() as f64), false, None),
    }
}

impl Normals {
    /// Bandwidths from the distances to the neighbours (`_calculate_numerical_distributions`).
    fn new(observed: &[f64], distribution: &Distribution) -> Self {
        let (ends, log, step) = numeric(distribution);
        let half = step.unwrap_or(0.0) / 2.0;
        let scaled = |value: f64| if log { value.ln() } else { value };
        let (low, high) = (scaled(ends.0 - half), scaled(ends.1 + half));
        let centres: Vec<f64> = observed.iter().map(|value| scaled(*value)).collect();
        let n = centres.len();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| centres[*a].total_cmp(&centres[*b]));
        let narrowest = (high - low) / (n as f64 + 2.0).min(100.0);
        let mut kernels = vec![(0.0, 0.0); n];
        for (place, index) in order.iter().enumerate() {
            let centre = centres[*index];
            let gap = |other: usize| (centre - centres[order[other]]).abs();
            let before = if place > 0 { gap(place - 1) } else { centre - low };
            let after = if place + 1 < n { gap(place + 1) } else { high - centre };
            // The ends of the range count only for a single observation.
            let width = match place {
                0 if n > 1 => after,
                _ if n > 1 && place + 1 == n => before,
                _ => before.max(after),
            };
            kernels[*index] = (centre, width.clamp(narrowest, high - low));
        }
        kernels.push((0.5 * (low + high), high - low));
        Self::from_kernels(kernels, (low, high), ends, log, step)
    }

    /// From centres and bandwidths.
    fn from_kernels(
        kernels: Vec<(f64, f64)>,
        range: (f64, f64),
        ends: (f64, f64),
        log: bool,
        step: Option<f64>,
    ) -> Self {
        let mass = |(centre, width): &(f64, f64)| {
            normal::log_mass((range.0 - centre) / width, (range.1 - centre) / width)
        };
        let log_masses = kernels.iter().map(mass).collect();
        Self { kernels, log_masses, range, ends, log, step }
    }

    fn add_log_densities(&self, value: f64, logs: &mut [f64]) {
        let scaled = |value: f64| if self.log { value.ln() } else { value };
        let components = logs.iter_mut().zip(&self.kernels).zip(&self.log_masses);
        if let Some(step) = self.step {
            let (from, to) = (scaled(value - step / 2.0), scaled(value + step / 2.0));
            for ((log, (centre, width)), mass) in components {
                *log += normal::log_mass((from - centre) / width, (to - centre) / width) - mass;
            }
            return;
        }
        let value = scaled(value);
        let inside = (self.range.0..=self.range.1).contains(&value);
        for ((log, (centre, width)), mass) in components {
            let density = normal::log_density((value - centre) / width) - mass - width.ln();
            *log += if inside { density } else { f64::NEG_INFINITY };
        }
    }

    /// The value of a component at a quantile in (0, 1).
    fn sample(&self, component: usize, q: f64) -> f64 {
        let (centre, width) = self.kernels[component];
        let (a, b) = ((self.range.0 - centre) / width, (self.range.1 - centre) / width);
        let value = centre + width * normal::quantile(q, a, b);
        let value = if self.log { value.exp() } else { value };
        let (low, high) = self.ends;
        match self.step {
            Some(step) => low + ((value - low) / step).round_ties_even() * step,
            None => value,
        }
        .clamp(low, high)
    }
}

#[cfg(test)]
mod tests {
    use taper_core::random::{Key, Purpose};

    use super::*;

    #[test]
    fn weights_fall_with_age() {
        assert_eq!(weights_by_age(3), [1.0; 3]);
        assert_eq!(weights_by_age(26), [vec![1.0 / 26.0], vec![1.0; 25]].concat());
        let weights = weights_by_age(30);
        assert_eq!((weights[0], weights[4], weights[29]), (1.0 / 30.0, 1.0, 1.0));
        assert!(weights.is_sorted());
    }

    #[test]
    fn what_is_drawn_has_the_density() {
        let layers = Distribution::Int { low: 1, high: 9, log: false, step: 2 };
        let head = Distribution::Categorical { choices: vec![1.into(), 2.into(), 3.into()] };
        let rows = [vec![3.0, 0.0], vec![5.0, 0.0], vec![3.0, 2.0]];
        let estimator = ParzenEstimator::new(&[&layers, &head], &rows);
        let mut stream = Key::new(1, Purpose::new("test")).stream(0, 0);
        let n = 40_000;
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..n {
            let point = estimator.sample(&mut stream);
            *counts.entry((point[0] as i64, point[1] as i64)).or_insert(0u32) += 1;
        }
        let mut sum = 0.0;
        for layers in [1, 3, 5, 7, 9] {
            for head in 0..3 {
                let p = estimator.log_density(&[f64::from(layers), f64::from(head)]).exp();
                let seen = counts.get(&(layers.into(), head.into())).copied().unwrap_or(0);
                assert!((f64::from(seen) / f64::from(n) - p).abs() < 0.008, "{layers} {head}");
                sum += p;
            }
        }
        assert!((sum - 1.0).abs() < 1e-12);
    }
}
