use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use taper_core::OutOfRange;

use super::{Draw, History, Sampler, spread};
use crate::{Distribution, Error, Result, Space};

/// Settings of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GridConfig {
    /// How many values to try of a parameter that has more, evenly over its range, ends included.
    /// Default 5, at least 2. Categorical parameters are tried with all choices.
    pub points: usize,
}

impl Default for GridConfig {
    fn default() -> Self {
        Self { points: 5 }
    }
}

impl GridConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first field that is out of range.
    pub fn check(self) -> Result<Grid> {
        if self.points < 2 {
            return Err(OutOfRange::new("points", self.points, "use 2 or more").into());
        }
        Ok(Grid(self))
    }
}

/// Tries all combinations of some values of each parameter, each once; the last parameter of the
/// space changes fastest. Combinations of failed trials are not tried again.
///
/// Notes the same as Optuna's `GridSampler`, which takes the study for one of its own if it is
/// given the same values.
#[derive(Debug, Clone, Copy)]
pub struct Grid(GridConfig);

impl Grid {
    /// How many combinations there are.
    pub fn len(&self, space: &Space) -> usize {
        space.iter().map(|(_, d)| self.values(d).len()).fold(1, usize::saturating_mul)
    }

    /// Whether there are none.
    pub fn is_empty(&self, space: &Space) -> bool {
        self.len(space) == 0
    }

    /// The internal values to try.
    fn values(&self, distribution: &Distribution) -> Vec<f64> {
        let points = self.0.points;
        let spaced = |count: usize, value: &dyn Fn(f64) -> f64| {
            (0..count).map(|i| value(i as f64 / (count.max(2) - 1) as f64)).collect::<Vec<f64>>()
        };
        let mut values = match distribution {
            Distribution::Categorical { choices } => (0..choices.len()).map(|i| i as f64).collect(),
            Distribution::Float { low, high, step: None, .. } => spaced(points, &|u| match u {
                0.0 => *low,
                1.0 => *high,
                _ => spread(distribution, u),
            }),
            Distribution::Float { low, high, step: Some(step), .. } => {
                let steps = ((high - low) / step).round();
                let count = points.min(steps as usize + 1);
                spaced(count, &|u| (low + (u * steps).round() * step).min(*high))
            }
            Distribution::Int { low, high, log: true, .. } => {
                let (low, high) = (*low as f64, *high as f64);
                let count = points.min((high - low) as usize + 1);
                spaced(count, &|u| (low.ln() + u * (high / low).ln()).exp().round())
            }
            Distribution::Int { low, high, step, .. } => {
                let (low, step, steps) = (*low as f64, *step as f64, (high - low) / step);
                let count = points.min(steps as usize + 1);
                spaced(count, &|u| low + (u * steps as f64).round() * step)
            }
        };
        values.dedup();
        values
    }
}

impl Sampler for Grid {
    fn sample(&self, history: History<'_>, space: &Space, _: usize) -> Result<Draw> {
        let axes: Vec<_> = space.iter().map(|(name, d)| (name, d, self.values(d))).collect();
        let external = |d: &Distribution, values: &[f64]| {
            values.iter().map(|value| d.to_external(*value)).collect::<Vec<_>>()
        };
        let grid: Map<_, _> = axes
            .iter()
            .map(|(name, d, values)| ((*name).to_owned(), json!(external(d, values))))
            .collect();
        let grid = serde_json::Value::Object(grid);
        let notes = history.trials.iter().map(|trial| &trial.system_attributes);
        let taken: BTreeSet<u64> = notes
            .filter(|notes| notes.get("search_space") == Some(&grid))
            .filter_map(|notes| notes.get("grid_id")?.as_u64())
            .collect();
        let all = self.len(space);
        let free = (0..all as u64).find(|id| !taken.contains(id));
        let id = free.ok_or(Error::GridExhausted(all))?;
        let mut draw = Draw::default();
        let mut rest = id as usize;
        for (name, _, values) in axes.iter().rev() {
            draw.values.insert((*name).to_owned(), values[rest % values.len()]);
            rest /= values.len();
        }
        draw.attributes.insert("grid_id".into(), id.into());
        draw.attributes.insert("search_space".into(), grid);
        Ok(draw)
    }
}

#[cfg(test)]
mod tests {
    use taper_core::Direction;

    use super::*;

    #[test]
    fn values_are_even_and_include_the_ends() {
        let grid = GridConfig { points: 3 }.check().unwrap();
        let of = |distribution: Distribution| grid.values(&distribution);
        assert_eq!(
            of(Distribution::Float { low: 1.0, high: 2.0, log: false, step: None }),
            [1.0, 1.5, 2.0]
        );
        let log = of(Distribution::Float { low: 1e-4, high: 1.0, log: true, step: None });
        assert!((log[1] - 1e-2).abs() < 1e-12 && log[0] == 1e-4 && log[2] == 1.0);
        assert_eq!(of(Distribution::Int { low: 1, high: 9, log: false, step: 2 }), [1.0, 5.0, 9.0]);
        assert_eq!(of(Distribution::Int { low: 1, high: 2, log: true, step: 1 }), [1.0, 2.0]);
        assert_eq!(of(Distribution::Int { low: 4, high: 4, log: false, step: 1 }), [4.0]);
        assert_eq!(
            of(Distribution::Float { low: 0.0, high: 0.5, log: false, step: Some(0.25) }),
            [0.0, 0.25, 0.5]
        );
        assert!(GridConfig { points: 1 }.check().is_err());
    }

    #[test]
    fn all_combinations_come_once() {
        let space = Space::new().int("a", 0, 1).unwrap().choice("b", ["x", "y", "z"]).unwrap();
        let grid = GridConfig::default().check().unwrap();
        assert_eq!(grid.len(&space), 6);
        let history = History { direction: Direction::Min, trials: &[] };
        let draw = grid.sample(history, &space, 9).unwrap();
        assert_eq!(draw.values.into_values().collect::<Vec<_>>(), [0.0, 0.0]);
        assert_eq!(draw.attributes["search_space"]["b"], json!(["x", "y", "z"]));
    }
}
