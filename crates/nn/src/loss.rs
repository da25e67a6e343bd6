use candle_core::{D, Tensor};

use crate::Result;

/// The mean softmax cross-entropy: −log softmax(logits)\[label\], averaged over the batch.
///
/// `logits`: `[n, classes]`, f32; `labels`: `[n]`, u32, below the number of classes. Returns a scalar.
/// Follows Keras's `sparse_categorical_crossentropy(from_logits=True)` and torch's `cross_entropy`.
///
/// # Errors
/// If the shapes or types disagree.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let log_probabilities = candle_nn::ops::log_softmax(logits, D::Minus1)?;
    Ok(candle_nn::loss::nll(&log_probabilities, labels)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

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
}
