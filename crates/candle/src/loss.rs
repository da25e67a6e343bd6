use candle_core::{D, Tensor};

use crate::Result;

/// The mean softmax cross-entropy: −log softmax(logits)\[label\], averaged over the batch.
///
/// `logits`: `[n, classes]`, f32; `labels`: `[n]`, u32, below the number of classes. Returns a
/// scalar. Follows Keras's `sparse_categorical_crossentropy(from_logits=True)` and torch's
/// `cross_entropy`.
///
/// # Errors
/// If the shapes or types disagree.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let log_probabilities = candle_nn::ops::log_softmax(logits, D::Minus1)?;
    Ok(candle_nn::loss::nll(&log_probabilities, labels)?)
}

/// Softmax cross-entropy with class weights, label smoothing and focal weighting: Σ factors · (1 −
/// p)^γ · −ln p over all rows and classes, a scalar.
///
/// `logits` and `factors`: `[n, classes]`, f32. The factors are [`taper_optim::Loss::factors`],
/// `gamma` is [`taper_optim::Loss::focal_gamma`]: value and gradient are then those of
/// [`taper_optim::Loss::evaluate`]. Nothing is read back from the device.
///
/// # Errors
/// If the shapes disagree.
pub fn weighted_cross_entropy(logits: &Tensor, factors: &Tensor, gamma: f64) -> Result<Tensor> {
    let log_p = candle_nn::ops::log_softmax(logits, D::Minus1)?;
    let terms = (factors * &log_p)?;
    let terms = if gamma == 0.0 {
        terms
    } else {
        // The slope of x^γ is infinite at 0 for γ below 1.
        let rest = (log_p.exp()?.affine(-1.0, 1.0)?).maximum(1e-7)?;
        (terms * rest.powf(gamma)?)?
    };
    Ok(terms.sum_all()?.neg()?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use taper_optim::{ClassWeights, LossConfig, Targets};

    use super::*;

    #[test]
    fn value_and_gradient_are_the_textbooks() {
        let logits = Var::new(&[[2f32, 1., 0.], [1000., 0., -1000.]], &Device::Cpu).unwrap();
        let labels = Tensor::new(&[0u32, 1], &Device::Cpu).unwrap();
        let loss = cross_entropy(&logits, &labels).unwrap();
        let z: f64 = [2f64, 1., 0.].iter().map(|x| x.exp()).sum();
        let expected = (z.ln() - 2.0 + 1000.0) / 2.0;
        assert!((f64::from(loss.to_scalar::<f32>().unwrap()) - expected).abs() < 1e-3);
        let grads = loss.backward().unwrap();
        let gradient = grads.get(&logits).unwrap().to_vec2::<f32>().unwrap();
        let p0 = (2f64.exp() / z) as f32;
        assert!((gradient[0][0] - (p0 - 1.0) / 2.0).abs() < 1e-6);
        assert_eq!(gradient[1], [0.5, -0.5, 0.0]);
    }

    #[test]
    fn all_options_agree_with_the_loss_over_slices() {
        let rows = [2f32, 1., 0., -1., 0.5, 3., 0.1, 0.2, 0.3, -4., 2., 2.];
        let labels = [0u32, 2, 1, 2];
        for (label_smoothing, focal_gamma, class_weights) in [
            (0.0, 0.0, ClassWeights::None),
            (0.1, 0.0, ClassWeights::Balanced),
            (0.0, 2.0, ClassWeights::List(vec![1.0, 0.5, 2.0])),
            (0.2, 1.5, ClassWeights::Balanced),
        ] {
            let config = LossConfig { label_smoothing, focal_gamma, class_weights };
            let loss = config.check(&[1, 1, 2]).unwrap();
            let targets = Targets::Labels(&labels);
            let weight = loss.weight(targets);
            let mut expected = vec![0.0; rows.len()];
            let value = loss.evaluate(&rows, targets, weight, &mut expected).unwrap();

            let logits = Var::from_slice(&rows, (4, 3), &Device::Cpu).unwrap();
            let factors = loss.factors(targets, weight).unwrap();
            let factors = Tensor::from_vec(factors, (4, 3), &Device::Cpu).unwrap();
            let ours = weighted_cross_entropy(&logits, &factors, loss.focal_gamma()).unwrap();
            assert!((f64::from(ours.to_scalar::<f32>().unwrap()) - value).abs() < 1e-5 * value);
            let gradients = ours.backward().unwrap();
            let gradient = gradients.get(&logits).unwrap().flatten_all().unwrap();
            for (a, b) in gradient.to_vec1::<f32>().unwrap().iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5, "{config:?}: {a} {b}");
            }
        }
    }
}
