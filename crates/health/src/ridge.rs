//! Out-of-fold ridge regression: a small learner that shows which labels and splits the features
//! contradict.

use rayon::prelude::*;

use crate::embeddings::PROJECTED;

/// Unknowns: one for each feature, and the intercept.
const N: usize = PROJECTED + 1;
/// The penalty, as a share of the mean of the features' squares over all rows. Features are scaled
/// to squared length 1.
const PENALTY: f64 = 0.3;

/// Predicts each row's targets from the rows of the other folds.
///
/// `targets` is `[rows, outputs]`; rows with a fold number beyond `folds` are predicted from all
/// others, and are not trained on. The result has the shape of `targets`. Minimises the weighted
/// squared error plus a penalty on the weights, not on the intercept.
pub(crate) fn out_of_fold(
    rows: &[[f32; PROJECTED]],
    targets: &[f32],
    outputs: usize,
    weights: &[f32],
    fold_of: &[usize],
    folds: usize,
) -> Vec<f32> {
    let sums: Vec<(Vec<f64>, Vec<f64>)> = (0..folds)
        .into_par_iter()
        .map(|fold| {
            let members = (0..rows.len()).filter(|i| fold_of[*i] == fold);
            moments(rows, targets, outputs, weights, members)
        })
        .collect();
    let mut predicted = vec![0f32; targets.len()];
    let answers: Vec<Vec<(usize, Vec<f32>)>> = (0..folds)
        .into_par_iter()
        .map(|fold| {
            let mut gram = vec![0f64; N * N];
            let mut products = vec![0f64; N * outputs];
            for (_, (g, p)) in sums.iter().enumerate().filter(|(other, _)| *other != fold) {
                gram.iter_mut().zip(g).for_each(|(sum, value)| *sum += value);
                products.iter_mut().zip(p).for_each(|(sum, value)| *sum += value);
            }
            let total = gram[N * N - 1].max(1e-9);
            for i in 0..PROJECTED {
                gram[i * N + i] += PENALTY / PROJECTED as f64 * total;
            }
            gram[N * N - 1] += 1e-9;
            if !cholesky(&mut gram, &mut products, outputs) {
                return Vec::new();
            }
            (0..rows.len())
                .filter(|i| fold_of[*i] == fold)
                .map(|i| {
                    let answer = (0..outputs)
                        .map(|k| {
                            let linear: f64 = rows[i]
                                .iter()
                                .enumerate()
                                .map(|(j, v)| f64::from(*v) * products[j * outputs + k])
                                .sum();
                            (linear + products[PROJECTED * outputs + k]) as f32
                        })
                        .collect();
                    (i, answer)
                })
                .collect()
        })
        .collect();
    for (i, answer) in answers.into_iter().flatten() {
        predicted[i * outputs..(i + 1) * outputs].copy_from_slice(&answer);
    }
    predicted
}

/// Xᵀ W X (upper triangle) and Xᵀ W Y of some rows.
fn moments(
    rows: &[[f32; PROJECTED]],
    targets: &[f32],
    outputs: usize,
    weights: &[f32],
    members: impl Iterator<Item = usize>,
) -> (Vec<f64>, Vec<f64>) {
    let mut gram = vec![0f64; N * N];
    let mut products = vec![0f64; N * outputs];
    let mut part = vec![0f32; N * N];
    let mut pending = 0;
    let flush = |part: &mut Vec<f32>, gram: &mut Vec<f64>| {
        gram.iter_mut().zip(part.iter()).for_each(|(sum, value)| *sum += f64::from(*value));
        part.fill(0.0);
    };
    let mut row = [1f32; N];
    for i in members {
        row[..PROJECTED].copy_from_slice(&rows[i]);
        for (j, value) in row.iter().enumerate() {
            let scaled = value * weights[i];
            for (sum, other) in part[j * N + j..(j + 1) * N].iter_mut().zip(&row[j..]) {
                *sum += scaled * other;
            }
            for (k, target) in targets[i * outputs..(i + 1) * outputs].iter().enumerate() {
                products[j * outputs + k] += f64::from(scaled * target);
            }
        }
        // Sums of few terms are exact enough in f32.
        pending += 1;
        if pending == 64 {
            flush(&mut part, &mut gram);
            pending = 0;
        }
    }
    flush(&mut part, &mut gram);
    (gram, products)
}

/// Solves G X = P in place of P, for a symmetric positive definite G given by its upper triangle.
fn cholesky(gram: &mut [f64], products: &mut [f64], outputs: usize) -> bool {
    for i in 0..N {
        let mut diagonal = gram[i * N + i];
        for k in 0..i {
            diagonal -= gram[k * N + i].powi(2);
        }
        if diagonal <= 0.0 || !diagonal.is_finite() {
            return false;
        }
        let diagonal = diagonal.sqrt();
        gram[i * N + i] = diagonal;
        // Row by row, so that memory is read in order.
        for k in 0..i {
            let factor = gram[k * N + i];
            let (above, own) = gram.split_at_mut(i * N);
            for (value, other) in own[i + 1..N].iter_mut().zip(&above[k * N + i + 1..(k + 1) * N]) {
                *value -= factor * other;
            }
        }
        for value in &mut gram[i * N + i + 1..(i + 1) * N] {
            *value /= diagonal;
        }
    }
    for o in 0..outputs {
        for i in 0..N {
            let mut value = products[i * outputs + o];
            for k in 0..i {
                value -= gram[k * N + i] * products[k * outputs + o];
            }
            products[i * outputs + o] = value / gram[i * N + i];
        }
        for i in (0..N).rev() {
            let mut value = products[i * outputs + o];
            for k in i + 1..N {
                value -= gram[i * N + k] * products[k * outputs + o];
            }
            products[i * outputs + o] = value / gram[i * N + i];
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_core::random::{Key, Purpose};

    #[test]
    fn a_linear_target_is_predicted_out_of_fold_and_noise_is_not() {
        let key = Key::new(3, Purpose::new("test/ridge"));
        let n = 800;
        let rows: Vec<[f32; PROJECTED]> = (0..n)
            .map(|i| {
                let mut stream = key.stream(0, i);
                std::array::from_fn(|_| stream.normal() / (PROJECTED as f32).sqrt())
            })
            .collect();
        let mut noise = key.stream(1, 0);
        let targets: Vec<f32> =
            rows.iter().flat_map(|row| [8.0 * (row[0] - row[3]) + 0.5, noise.normal()]).collect();
        let folds: Vec<usize> = (0..rows.len()).map(|i| i % 4).collect();
        let weights = vec![1.0; rows.len()];
        let predicted = out_of_fold(&rows, &targets, 2, &weights, &folds, 4);
        let correlation = |output: usize| {
            let pairs =
                || predicted.chunks(2).zip(targets.chunks(2)).map(|(p, t)| (p[output], t[output]));
            let mean = |of: fn((f32, f32)) -> f32| pairs().map(of).sum::<f32>() / n as f32;
            let (p, t) = (mean(|x| x.0), mean(|x| x.1));
            let c: f32 = pairs().map(|x| (x.0 - p) * (x.1 - t)).sum();
            let vp: f32 = pairs().map(|x| (x.0 - p).powi(2)).sum();
            let vt: f32 = pairs().map(|x| (x.1 - t).powi(2)).sum();
            c / (vp * vt).sqrt()
        };
        assert!(correlation(0) > 0.8, "{}", correlation(0));
        assert!(correlation(1).abs() < 0.15, "{}", correlation(1));
    }

    #[test]
    fn cholesky_solves() {
        // Diagonal plus a rank-one matrix: G = 2 I + v vᵀ with v = 1/√N; then G v = 3 v.
        let v = 1.0 / (N as f64).sqrt();
        let mut gram: Vec<f64> =
            (0..N * N).map(|i| v * v + if i / N == i % N { 2.0 } else { 0.0 }).collect();
        let mut products = vec![3.0 * v; N];
        assert!(cholesky(&mut gram, &mut products, 1));
        assert!(products.iter().all(|x| (x - v).abs() < 1e-9));
        let mut gram = vec![0.0; N * N];
        assert!(!cholesky(&mut gram, &mut products, 1));
    }
}
