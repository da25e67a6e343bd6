//! Gradients of convolutions against naive ones in f64, and those against finite differences.
#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{
    Random, cases, convolution, convolve, coordinates, differences, f64s, random_shape,
    relative_error,
};
use taper_backward::{DataGradient, Gradients, WeightGradient};
use taper_kernels::{
    Activation, Algorithm, Border, Conv2dShape, Epilogue, KernelClass, Team, Window,
};

/// One convolution's values.
struct Case {
    n: usize,
    shape: Conv2dShape,
    input: Vec<f32>,
    weights: Vec<f32>,
    gradient: Vec<f32>,
}

impl Case {
    fn new(shape: Conv2dShape, n: usize, random: &mut Random) -> Self {
        let fan = (shape.filter_len() / shape.out_channels) as f32;
        Self {
            n,
            shape,
            input: random.values(n * shape.input_len()),
            weights: random.values(shape.filter_len()).iter().map(|w| w / fan.sqrt()).collect(),
            gradient: random.values(n * shape.output_len().unwrap()),
        }
    }

    fn naive(&self) -> common::Naive {
        let [input, weights, gradient] =
            [&self.input, &self.weights, &self.gradient].map(|values| f64s(values));
        convolution(&self.shape, self.n, &input, &weights, &gradient)
    }

    /// The gradients of filters and bias, on one thread, added to `start`.
    fn weights(&self, class: KernelClass, algorithm: Algorithm, start: f32) -> [Vec<f32>; 2] {
        let kernel = WeightGradient::for_algorithm(class, &self.shape, algorithm).unwrap();
        let mut scratch = vec![f32::NAN; kernel.scratch_len()];
        let mut shared = vec![f32::NAN; kernel.shared_len(self.n).unwrap()];
        let accumulate = start != 0.0;
        let start = if accumulate { start } else { f32::NAN };
        let mut weights = vec![start; self.shape.filter_len()];
        let mut bias = vec![start; self.shape.out_channels];
        let into = Gradients { weights: &mut weights, bias: Some(&mut bias), accumulate };
        let team = &mut Team::serial(&mut scratch);
        kernel.run(team, &mut shared, self.n, &self.input, &self.gradient, into).unwrap();
        [weights, bias]
    }

    /// The gradient of the input, on one thread.
    fn data(&self, class: KernelClass, epilogue: Epilogue<'_, f32>) -> Vec<f32> {
        let kernel = DataGradient::new(class, &self.shape, &self.weights).unwrap();
        let mut scratch = vec![f32::NAN; kernel.scratch_len()];
        let mut out = vec![f32::NAN; self.input.len()];
        let team = &mut Team::serial(&mut scratch);
        kernel.run(team, self.n, &self.gradient, epilogue, &mut out).unwrap();
        out
    }

    fn check_weights(&self, class: KernelClass, algorithm: Algorithm, start: f32, limit: f64) {
        let naive = self.naive();
        let wanted =
            |values: &[f64]| -> Vec<f64> { values.iter().map(|v| v + f64::from(start)).collect() };
        let [weights, bias] = self.weights(class, algorithm, start);
        let shape = &self.shape;
        let error = relative_error(&f64s(&weights), &wanted(&naive.weights));
        assert!(
            error <= limit,
            "{class} {algorithm} weights, batch {}, {shape}: {error:e}",
            self.n
        );
        let error = relative_error(&f64s(&bias), &wanted(&naive.bias));
        assert!(error <= limit, "{class} {algorithm} bias, batch {}, {shape}: {error:e}", self.n);
    }

    fn check_data(&self, class: KernelClass, limit: f64) {
        let error =
            relative_error(&f64s(&self.data(class, Epilogue::default())), &self.naive().data);
        assert!(error <= limit, "{class} data, batch {}, {}: {error:e}", self.n, self.shape);
    }
}

/// What naive gradients are worth: they agree with finite differences of the naive forward pass.
#[test]
fn naive_gradients_are_those_of_the_forward_pass() {
    let mut random = Random(1);
    for case in 0..cases(60) {
        let n = random.range(1, 2);
        let case_ = Case::new(random_shape(&mut random), n, &mut random);
        let Case { shape, .. } = &case_;
        let (input, weights) = (f64s(&case_.input), f64s(&case_.weights));
        let (gradient, bias) = (f64s(&case_.gradient), vec![0.0; shape.out_channels]);
        let naive = case_.naive();
        let at = coordinates(&mut random, input.len(), 6);
        let found = differences(&input, &at, &gradient, |input| {
            convolve(shape, n, input, &weights, &bias, None, None).0
        });
        let expected: Vec<f64> = at.iter().map(|&i| naive.data[i]).collect();
        assert!(relative_error(&found, &expected) < 1e-6, "case {case}: data, {shape}");
        let at = coordinates(&mut random, weights.len(), 6);
        let found = differences(&weights, &at, &gradient, |weights| {
            convolve(shape, n, &input, weights, &bias, None, None).0
        });
        let expected: Vec<f64> = at.iter().map(|&i| naive.weights[i]).collect();
        assert!(relative_error(&found, &expected) < 1e-6, "case {case}: weights, {shape}");
    }
}

#[test]
fn gradients_match_the_reference_over_random_shapes() {
    for class in KernelClass::available() {
        let mut random = Random(2);
        for _ in 0..cases(200) {
            let shape = random_shape(&mut random);
            let n = random.range(1, 5);
            let case = Case::new(shape, n, &mut random);
            let start = random.pick(&[0.0, 0.0, 0.75]);
            case.check_weights(class, Algorithm::Direct, start, 2e-5);
            if shape.is_depthwise() {
                case.check_weights(class, Algorithm::Depthwise, start, 2e-5);
            }
            let winograd = Algorithm::for_shape(&case.shape) == Algorithm::WinogradF4;
            case.check_data(class, if winograd { 1e-4 } else { 2e-5 });
        }
    }
}

#[test]
fn depthwise_gradients_of_wide_maps_match_the_reference() {
    for class in KernelClass::available() {
        let mut random = Random(3);
        for _ in 0..cases(60) {
            let kernel = random.pick(&[3, 5, 5, 7]);
            let padding = Border {
                top: random.range(0, 3),
                bottom: random.range(0, 3),
                left: random.range(0, 3),
                right: random.range(0, 3),
            };
            let window = Window::square(kernel).stride(random.range(1, 2)).padding(padding);
            let input = [random.range(7, 21), random.range(13, 33)];
            let channels = random.pick(&[3, 8, 16, 19, 32, 40, 70]);
            let n = random.range(1, 2);
            let case = Case::new(Conv2dShape::depthwise(input, channels, window), n, &mut random);
            case.check_weights(class, Algorithm::Depthwise, 0.0, 2e-5);
            case.check_data(class, 2e-5);
        }
    }
}

#[test]
fn winograd_gradients_are_as_accurate_as_the_forward_pass() {
    for class in KernelClass::available() {
        let mut random = Random(4);
        for _ in 0..cases(40) {
            let padding = Border {
                top: random.range(0, 2),
                bottom: random.range(0, 3),
                left: random.range(0, 2),
                right: random.range(0, 3),
            };
            let window = Window::square(3).padding(padding);
            let input = [random.pick(&[3, 4, 5, 7, 8, 14]), random.pick(&[3, 4, 6, 9, 13, 16])];
            let channels = [1, 3, 8, 16, 20, 32, 45];
            let (from, to) = (random.pick(&channels), random.pick(&channels));
            let n = random.range(1, 3);
            let case = Case::new(Conv2dShape::new(input, from, to, window), n, &mut random);
            case.check_weights(class, Algorithm::WinogradF4, random.pick(&[0.0, 0.5]), 1e-4);
        }
        // More than one block of tiles.
        let window = Window::square(3).padding(Border::uniform(1));
        let case = Case::new(Conv2dShape::new([33, 31], 36, 40, window), 9, &mut random);
        case.check_weights(class, Algorithm::WinogradF4, 0.0, 1e-4);
    }
}

#[test]
#[cfg_attr(miri, ignore = "hours of interpretation")]
fn gradients_of_layers_larger_than_a_block_match_the_reference() {
    let same = Window::square(3).padding(Border::uniform(1));
    // Several blocks of channels, several parts of the pixels, many panels, a first layer.
    let shapes = [
        (3, Conv2dShape::new([40, 40], 24, 40, Window::square(1))),
        (3, Conv2dShape::new([7, 7], 600, 530, Window::square(1))),
        (2, Conv2dShape::new([20, 20], 70, 33, same.stride(2))),
        (40, Conv2dShape::linear(1000, 130)),
        (2, Conv2dShape::new([14, 14], 512, 140, Window::square(1).stride(2))),
        (
            2,
            Conv2dShape::new(
                [62, 62],
                3,
                64,
                Window::square(7).stride(2).padding(Border::uniform(3)),
            ),
        ),
        (2, Conv2dShape { groups: 4, ..Conv2dShape::new([17, 17], 64, 48, same) }),
    ];
    for class in KernelClass::available() {
        for (n, shape) in shapes {
            let case = Case::new(shape, n, &mut Random(5));
            case.check_weights(class, Algorithm::Direct, 0.0, 3e-5);
            case.check_data(class, 3e-5);
        }
    }
}

/// The derivative of the activation that made the input, and another path's gradient.
#[test]
fn masks_and_residuals_are_fused_as_they_would_be_applied_afterwards() {
    for class in KernelClass::available() {
        let mut random = Random(6);
        for _ in 0..cases(120) {
            let shape = match random.range(0, 3) {
                0 => {
                    let channels = random.pick(&[32, 40]);
                    let window = Window::square(3).padding(Border::uniform(1));
                    Conv2dShape::new([9, random.range(6, 12)], channels, channels, window)
                }
                1 => {
                    let window = Window::square(random.pick(&[3, 5])).stride(random.range(1, 2));
                    let window = window.padding(Border::uniform(1));
                    Conv2dShape::depthwise([9, random.range(8, 19)], random.pick(&[19, 48]), window)
                }
                _ => random_shape(&mut random),
            };
            let case = Case::new(shape, random.range(1, 2), &mut random);
            let (activation, high) =
                random.pick(&[(Activation::Relu, f32::INFINITY), (Activation::Relu6, 6.0)]);
            // Outputs of the activation, many of them at its limits.
            let mask: Vec<f32> = random
                .values(case.input.len())
                .iter()
                .map(|v| (v * 8.0).clamp(0.0, high))
                .collect();
            let residual = random.values(case.input.len());
            let with = random.range(0, 1) == 1;
            let epilogue = Epilogue {
                residual: with.then_some(&residual),
                activation: Some(activation),
                mask: Some(&mask),
            };
            let out = case.data(class, epilogue);
            let plain = case.data(class, Epilogue::default());
            for (i, &out) in out.iter().enumerate() {
                let sum = plain[i] + if with { residual[i] } else { 0.0 };
                let expected = if mask[i] > 0.0 && mask[i] < high { sum } else { 0.0 };
                assert!((out - expected).abs() <= 1e-6 * sum.abs().max(1.0), "{class} {shape}");
            }
        }
    }
}

#[test]
fn repacked_filters_are_as_good_as_new() {
    let mut random = Random(7);
    for class in KernelClass::available() {
        for _ in 0..cases(60) {
            let shape = random_shape(&mut random);
            let case = Case::new(shape, 1, &mut random);
            let other = random.values(shape.filter_len());
            let mut kernel = DataGradient::new(class, &shape, &other).unwrap();
            kernel.repack(&mut Team::serial(&mut []), &case.weights).unwrap();
            let mut scratch = vec![f32::NAN; kernel.scratch_len()];
            let mut out = vec![f32::NAN; case.input.len()];
            let team = &mut Team::serial(&mut scratch);
            kernel.run(team, 1, &case.gradient, Epilogue::default(), &mut out).unwrap();
            assert_eq!(out, case.data(class, Epilogue::default()), "{class} {shape}");
        }
    }
}
