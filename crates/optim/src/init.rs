use taper_core::random::{Key, Purpose};
use taper_graph::{Parameter, ParameterKind};

const INIT: Purpose = Purpose::new("nn/init");

/// The first values of a parameter: weights Glorot-uniform, biases and running means 0, scales and
/// running variances 1 (Keras's defaults for Dense, Conv2D and BatchNormalization;
/// `keras/src/initializers/random_initializers.py`).
///
/// Each row (output unit) has its own stream, keyed by the seed and the parameter's name: neither
/// the order of layers nor the number of threads matters.
pub fn initial_values(parameter: &Parameter, seed: u64) -> Vec<f32> {
    let count: usize = parameter.shape.iter().product();
    match parameter.kind {
        ParameterKind::Bias | ParameterKind::RunningMean => vec![0.0; count],
        ParameterKind::Scale | ParameterKind::RunningVar => vec![1.0; count],
        ParameterKind::Weight => {
            let rows = parameter.shape[0];
            let row_length = count / rows;
            // Receptive field of a convolution; 1 for a fully connected layer.
            let field: usize = parameter.shape.iter().skip(2).product();
            let fans = (parameter.shape[1] * field + rows * field) as f32;
            let limit = (6.0 / fans).sqrt();
            let key = Key::new(seed, INIT).part(&parameter.name);
            let mut values = Vec::with_capacity(count);
            for row in 0..rows {
                let mut stream = key.stream(0, row as u64);
                values.extend((0..row_length).map(|_| stream.range(-limit, limit)));
            }
            values
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glorot_limits_and_independence_of_names() {
        let parameter = |name: &str| Parameter {
            name: name.into(),
            shape: vec![512, 2048],
            kind: ParameterKind::Weight,
            node: 0,
        };
        let values = initial_values(&parameter("fc1.weight"), 3);
        let limit = (6.0f32 / 2560.0).sqrt();
        assert!(values.iter().all(|v| v.abs() <= limit));
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 1e-4);
        assert!((variance / (limit * limit / 3.0) - 1.0).abs() < 0.01);
        assert_eq!(values, initial_values(&parameter("fc1.weight"), 3));
        assert_ne!(values, initial_values(&parameter("fc1.weight"), 4));
        assert_ne!(values, initial_values(&parameter("fc2.weight"), 3));
    }
}
