//! The objective and its gradient: Σ wᵢ ℓᵢ / S + ‖W‖² / (2 C S) with S = Σ wᵢ, scikit-learn's
//! divided by C · S, so that tolerances do not depend on the number of rows.
//!
//! Parameters are f64: the weight `[classes, padded width]`, then the biases for rows from which
//! the mean was taken. What pads the width stays 0.

use rayon::prelude::*;

use crate::{Error, Model, Result, Rows};

/// Numbers that are added side by side: sums do not depend on the processor.
const LANES: usize = 8;
/// Rows that are computed together.
const TILE: usize = 4;
/// Rows that a thread takes at a time, at least, and how many such blocks there are, at most.
const BLOCK: usize = 128;
const BLOCKS: usize = 64;

/// What is to be minimised.
pub(crate) struct Objective<'a> {
    rows: &'a Rows<'a>,
    /// The rows that count.
    selected: Vec<u32>,
    /// The weighted mean of the selected rows, padded.
    mean: Vec<f64>,
    /// The sum of their weights.
    total: f64,
    /// 1 / (C · S).
    penalty: f64,
}

/// The sums over a block of rows.
struct Sums {
    loss: f64,
    /// Of residual · row, `[classes, padded width]`.
    products: Vec<f64>,
    /// Of the residuals, `[classes]`.
    residuals: Vec<f64>,
}

fn padded(width: usize) -> usize {
    width.next_multiple_of(LANES)
}

impl<'a> Objective<'a> {
    /// # Errors
    /// [`Error::NoRows`] if the selected rows have no weight.
    pub(crate) fn new(rows: &'a Rows<'a>, selected: Vec<u32>, strength: f64) -> Result<Self> {
        let total: f64 = selected.iter().map(|&row| rows.weight(row as usize)).sum();
        if total <= 0.0 {
            return Err(Error::NoRows);
        }
        let mut mean = vec![0.0; padded(rows.width())];
        for &row in &selected {
            let weight = rows.weight(row as usize) / total;
            for (sum, &x) in mean.iter_mut().zip(rows.row(row as usize)) {
                *sum += weight * f64::from(x);
            }
        }
        Ok(Self { rows, selected, mean, total, penalty: 1.0 / (strength * total) })
    }

    pub(crate) fn set_strength(&mut self, strength: f64) {
        self.penalty = 1.0 / (strength * self.total);
    }

    /// How far the value is above its minimum, at most, where the gradient's square is `steepness`:
    /// the penalty makes the objective strongly convex, apart from the biases.
    pub(crate) fn excess(&self, steepness: f64) -> f64 {
        0.5 * steepness / self.penalty
    }

    /// The value of scikit-learn's objective where this one's is `value`.
    pub(crate) fn unscaled(&self, value: f64) -> f64 {
        value / self.penalty
    }

    /// How many parameters there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.classes() * (self.mean.len() + 1)
    }

    fn shift(&self, parameters: &[f64], class: usize) -> f64 {
        let weight = &parameters[class * self.mean.len()..][..self.mean.len()];
        weight.iter().zip(&self.mean).map(|(w, m)| w * m).sum()
    }

    /// The model with these parameters.
    pub(crate) fn model(&self, parameters: &[f64]) -> Model {
        let (width, classes) = (self.rows.width(), self.rows.classes());
        let (weight, bias) = parameters.split_at(classes * self.mean.len());
        let bias = bias.iter().enumerate().map(|(c, b)| b - self.shift(parameters, c));
        let weight = weight.chunks_exact(self.mean.len().max(1)).flat_map(|w| &w[..width]);
        Model { bias: bias.collect(), weight: weight.copied().collect() }
    }

    /// The parameters of a model.
    pub(crate) fn parameters(&self, model: &Model) -> Vec<f64> {
        let (width, stride) = (self.rows.width(), self.mean.len());
        let mut parameters = vec![0.0; self.len()];
        for (class, bias) in model.bias.iter().enumerate() {
            parameters[class * stride..][..width]
                .copy_from_slice(&model.weight[class * width..][..width]);
            parameters[model.bias.len() * stride + class] = bias + self.shift(&parameters, class);
        }
        parameters
    }

    /// The value at these parameters; its gradient goes into `gradient`.
    pub(crate) fn evaluate(&self, parameters: &[f64], gradient: &mut [f64]) -> f64 {
        let (classes, stride) = (self.rows.classes(), self.mean.len());
        let (weight, bias) = parameters.split_at(classes * stride);
        let shift: Vec<f64> =
            bias.iter().enumerate().map(|(c, b)| b - self.shift(parameters, c)).collect();
        let block = self.selected.len().div_ceil(BLOCKS).max(BLOCK).next_multiple_of(TILE);
        let blocks: Vec<Sums> = self
            .selected
            .par_chunks(block)
            .map(|block| pulp::Arch::new().dispatch(|| self.sums(weight, &shift, block)))
            .collect();
        gradient.fill(0.0);
        let mut loss = 0.0;
        let (of_weight, of_bias) = gradient.split_at_mut(classes * stride);
        for sums in blocks {
            loss += sums.loss;
            of_weight.iter_mut().zip(&sums.products).for_each(|(g, s)| *g += s);
            of_bias.iter_mut().zip(&sums.residuals).for_each(|(g, s)| *g += s);
        }
        let share = 1.0 / self.total;
        let mut squares = 0.0;
        for (class, of_bias) in of_bias.iter_mut().enumerate() {
            let own = class * stride..(class + 1) * stride;
            for ((g, w), m) in of_weight[own.clone()].iter_mut().zip(&weight[own]).zip(&self.mean) {
                *g = (*g - *of_bias * m) * share + self.penalty * w;
                squares += w * w;
            }
            *of_bias *= share;
        }
        loss * share + 0.5 * self.penalty * squares
    }

    #[inline(always)]
    fn sums(&self, weight: &[f64], shift: &[f64], block: &[u32]) -> Sums {
        let (classes, stride) = (shift.len(), self.mean.len());
        let mut sums =
            Sums { loss: 0.0, products: vec![0.0; weight.len()], residuals: vec![0.0; classes] };
        let mut tile = vec![0.0; TILE * stride];
        let mut logits = vec![0.0; TILE * classes];
        for rows in block.chunks(TILE) {
            // Rows that are missing in the last tile keep older values: their residuals are 0.
            for (x, &row) in tile.chunks_exact_mut(stride.max(1)).zip(rows) {
                x.iter_mut().zip(self.rows.row(row as usize)).for_each(|(x, v)| *x = f64::from(*v));
            }
            for class in 0..classes {
                let products = dots(&weight[class * stride..][..stride], &tile);
                for (t, product) in products.into_iter().enumerate() {
                    logits[t * classes + class] = product + shift[class];
                }
            }
            for (t, own) in logits.chunks_exact_mut(classes.max(1)).enumerate() {
                match rows.get(t) {
                    Some(&row) => sums.loss += self.residuals(row as usize, own),
                    None => own.fill(0.0),
                }
            }
            for class in 0..classes {
                let residuals: [f64; TILE] = std::array::from_fn(|t| logits[t * classes + class]);
                sums.residuals[class] += residuals.iter().sum::<f64>();
                add_rows(&mut sums.products[class * stride..][..stride], residuals, &tile);
            }
        }
        sums
    }

    /// The loss of a row; its logits become the loss's gradient.
    fn residuals(&self, row: usize, logits: &mut [f64]) -> f64 {
        let (weight, label) = (self.rows.weight(row), self.rows.labels()[row] as usize);
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let own = logits[label];
        let mut sum = 0.0;
        for z in logits.iter_mut() {
            *z = libm::exp(*z - largest);
            sum += *z;
        }
        let factor = weight / sum;
        logits.iter_mut().for_each(|z| *z *= factor);
        logits[label] -= weight;
        weight * (libm::log(sum) + largest - own)
    }
}

/// The products of a vector with the rows of a tile.
#[inline(always)]
fn dots(weight: &[f64], tile: &[f64]) -> [f64; TILE] {
    let stride = weight.len();
    let rows: [&[f64]; TILE] = std::array::from_fn(|t| &tile[t * stride..][..stride]);
    let mut sums = [[0.0; LANES]; TILE];
    let (weight, _) = weight.as_chunks::<LANES>();
    let rows = rows.map(|row| row.as_chunks::<LANES>().0);
    for (i, w) in weight.iter().enumerate() {
        for t in 0..TILE {
            for lane in 0..LANES {
                sums[t][lane] += w[lane] * rows[t][i][lane];
            }
        }
    }
    sums.map(|lanes| lanes.iter().sum())
}

/// out ← out + Σ factor · row of the tile.
#[inline(always)]
fn add_rows(out: &mut [f64], factors: [f64; TILE], tile: &[f64]) {
    let stride = out.len();
    let [a, b, c, d]: [&[f64]; TILE] = std::array::from_fn(|t| &tile[t * stride..][..stride]);
    for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *out += (factors[0] * a + factors[1] * b) + (factors[2] * c + factors[3] * d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let values: Vec<f32> = (0..7 * 11).map(|i| ((i * 37 % 19) as f32 - 6.0) / 7.0).collect();
        let labels = [0, 1, 2, 1, 0, 2, 2];
        let weights = [1.0, 0.5, 2.0, 0.0, 1.0, 3.0, 1.0];
        let rows = Rows::new(&values, 11, &labels, 3).unwrap().weighted(&weights).unwrap();
        let objective = Objective::new(&rows, vec![0, 1, 2, 3, 5, 6], 0.3).unwrap();
        let model = Model {
            weight: (0..33).map(|i| ((i * 5 % 13) as f64 - 6.0) / 9.0).collect(),
            bias: vec![0.3, -0.1, 0.2],
        };
        let mut parameters = objective.parameters(&model);
        let again = objective.model(&parameters);
        assert!(again.bias.iter().zip(&model.bias).all(|(a, b)| (a - b).abs() < 1e-12));
        assert_eq!(again.weight, model.weight);
        let mut gradient = vec![0.0; objective.len()];
        let value = objective.evaluate(&parameters, &mut gradient);
        // From the definition.
        let loss: f64 = [0, 1, 2, 3, 5, 6]
            .map(|row: usize| {
                let loss =
                    crate::model::cross_entropy(&model.logits(rows.row(row)), labels[row] as usize);
                weights[row] * loss
            })
            .iter()
            .sum();
        let squares: f64 = model.weight.iter().map(|w| w * w).sum();
        let expected = 0.3 * loss + 0.5 * squares;
        assert!((objective.unscaled(value) - expected).abs() < 1e-10);
        for at in 0..parameters.len() {
            let moved = |parameters: &mut Vec<f64>, by: f64| {
                parameters[at] += by;
                objective.evaluate(parameters, &mut vec![0.0; gradient.len()])
            };
            if at < 48 && at % 16 >= 11 {
                assert_eq!(gradient[at], 0.0, "what pads the width");
                continue;
            }
            let up = moved(&mut parameters, 1e-5);
            let down = moved(&mut parameters, -2e-5);
            moved(&mut parameters, 1e-5);
            let difference = (up - down) / 2e-5;
            assert!((difference - gradient[at]).abs() < 1e-8, "{at}: {difference}");
        }
    }
}
