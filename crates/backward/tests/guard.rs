//! No kernel touches a byte outside its slices: all of them are flush against guard pages, at the
//! end and at the start.
#![allow(clippy::unwrap_used)] // helpers of tests
#![cfg(unix)]

mod common;

use common::guard::Guarded;
use common::{Random, random_shape};
use taper_backward::{
    Affine, AttentionGradient, AttentionPoolGradient, BatchNorm, Convolution, ConvolutionMut,
    DataGradient, Gradients, LayerNormGradient, LayerScale, NormParameters, Normalised,
    PoolGradient, WeightGradient, activation_gradient, global_average_pool_gradient,
    patch_tokens_gradient,
};
use taper_kernels::{
    Activation, Algorithm, Border, Conv2dShape, Epilogue, KernelClass, PoolKind, Team, Window,
};

fn zeros(len: usize, at_end: bool) -> Guarded<f32> {
    Guarded::new(&vec![0.0; len], at_end)
}

fn convolve(class: KernelClass, shape: &Conv2dShape, algorithm: Algorithm, random: &mut Random) {
    let n = random.range(1, 2);
    let weights = random.values(shape.filter_len());
    let input = random.values(n * shape.input_len());
    let gradient = random.values(n * shape.output_len().unwrap());
    for at_end in [false, true] {
        let input = Guarded::new(&input, at_end);
        let gradient = Guarded::new(&gradient, at_end);
        let weights = Guarded::new(&weights, at_end);
        let kernel = WeightGradient::for_algorithm(class, shape, algorithm).unwrap();
        let mut scratch = zeros(kernel.scratch_len(), at_end);
        let mut shared = zeros(kernel.shared_len(n).unwrap(), at_end);
        let mut out = zeros(weights.len(), at_end);
        let mut bias = zeros(shape.out_channels, at_end);
        let accumulate = random.range(0, 1) == 1;
        let into = Gradients { weights: &mut out, bias: Some(&mut bias), accumulate };
        let team = &mut Team::serial(&mut scratch);
        kernel.run(team, &mut shared, n, &input, &gradient, into).unwrap();

        let kernel = DataGradient::new(class, shape, &weights).unwrap();
        let mut scratch = zeros(kernel.scratch_len(), at_end);
        let mut out = zeros(input.len(), at_end);
        let mask: Option<&[f32]> = if random.range(0, 1) == 1 { Some(&input) } else { None };
        let activation = mask.map(|_| Activation::Relu6);
        let epilogue = Epilogue { residual: mask, activation, mask };
        let team = &mut Team::serial(&mut scratch);
        kernel.run(team, n, &gradient, epilogue, &mut out).unwrap();
    }
}

#[test]
fn gradients_of_convolutions_stay_inside() {
    for class in KernelClass::available() {
        let mut random = Random(1);
        for _ in 0..150 {
            let shape = random_shape(&mut random);
            convolve(class, &shape, Algorithm::Direct, &mut random);
            if shape.is_depthwise() {
                convolve(class, &shape, Algorithm::Depthwise, &mut random);
            }
        }
        for _ in 0..40 {
            let window = Window::square(3).padding(Border::uniform(random.range(0, 2)));
            let input = [random.range(3, 9), random.range(3, 9)];
            let channels = [1, 5, 16, 24, 40];
            let shape =
                Conv2dShape::new(input, random.pick(&channels), random.pick(&channels), window);
            convolve(class, &shape, Algorithm::WinogradF4, &mut random);
        }
    }
}

#[test]
fn gradients_of_norms_stay_inside() {
    for class in KernelClass::available() {
        let mut random = Random(2);
        for _ in 0..40 {
            let (rows, channels) = (random.range(1, 90), random.range(1, 40));
            let [input, gradient] = [(); 2].map(|()| random.values(rows * channels));
            let values = random.values(channels);
            for at_end in [false, true] {
                let input = Guarded::new(&input, at_end);
                let mut data = Guarded::new(&gradient, at_end);
                let values = Guarded::new(&values, at_end);
                let variance = Guarded::new(&vec![1.0; channels], at_end);
                let (mut scale, mut bias) = (zeros(channels, at_end), zeros(channels, at_end));
                let team = &mut Team::serial(&mut []);
                let norm = BatchNorm::new(class, channels, 1e-3).unwrap();
                let mut shared = zeros(norm.shared_len(rows), at_end);
                norm.statistics(team, &mut shared, &input, &mut scale, &mut bias).unwrap();
                let parameters = NormParameters {
                    mean: &values,
                    variance: &variance,
                    scale: &values,
                    bias: &values,
                };
                let mut out = zeros(input.len(), at_end);
                let epilogue =
                    Epilogue { residual: Some(&input), ..Epilogue::activation(Activation::Relu) };
                norm.run(team, &mut shared, &input, &parameters, epilogue, &mut out).unwrap();
                let mask = Some((Activation::Relu, &*out));
                let of = Normalised { input: &input, parameters, fixed: false, mask };
                let into = Affine { scale: &mut scale, bias: &mut bias, accumulate: true };
                norm.gradient(team, &mut shared, &of, &mut data, into, None).unwrap();
                // The rows as the filters of as many channels.
                let convolution = Convolution { weights: &input, bias: Some(&values) };
                let mut term = zeros(channels, at_end);
                let into = ConvolutionMut { weights: &mut out, bias: &mut term };
                norm.fold(team, &parameters, convolution, into).unwrap();
                let gradients = ConvolutionMut { weights: &mut data, bias: &mut term };
                let into = Affine { scale: &mut scale, bias: &mut bias, accumulate: true };
                norm.unfold(team, &parameters, convolution, gradients, into).unwrap();

                let norm = LayerNormGradient::new(class, channels, 1e-3).unwrap();
                let mut shared = zeros(norm.shared_len(rows), at_end);
                let into = Affine { scale: &mut scale, bias: &mut bias, accumulate: true };
                let read = [&*input, &*values];
                norm.run(team, &mut shared, read, Some(&input), &mut data, into).unwrap();
                let scaled = LayerScale::new(class, channels).unwrap();
                let mut shared = zeros(scaled.shared_len(rows), at_end);
                let into = (&mut *scale, true);
                scaled.gradient(team, &mut shared, &values, &input, &mut data, into).unwrap();
            }
        }
    }
}

#[test]
fn gradients_of_attention_and_tokens_stay_inside() {
    for class in KernelClass::available() {
        let mut random = Random(3);
        for _ in 0..40 {
            let heads = random.range(1, 3);
            let width = heads * random.pick(&[1, 4, 7, 16, 33]);
            let tokens = random.range(1, 40);
            let kernel = AttentionGradient::new(class, tokens, width, heads).unwrap();
            let input = random.values(tokens * 3 * width);
            let pool = AttentionPoolGradient::new(class, tokens, width, heads).unwrap();
            let scored = random.values(tokens * (heads + width));
            for at_end in [false, true] {
                let gradient = Guarded::new(&input[..tokens * width], at_end);
                let input = Guarded::new(&input, at_end);
                let mut out = zeros(input.len(), at_end);
                let mut scratch = zeros(kernel.scratch_len(), at_end);
                let team = &mut Team::serial(&mut scratch);
                kernel.run(team, 1, &input, &gradient, &mut out).unwrap();
                let scored = Guarded::new(&scored, at_end);
                let of_token = Guarded::new(&gradient[..width], at_end);
                let mut out = zeros(scored.len(), at_end);
                let mut scratch = zeros(pool.scratch_len(), at_end);
                let serial = &mut Team::serial(&mut scratch);
                pool.run(serial, 1, &scored, &of_token, &mut out).unwrap();
                let mut table = zeros(gradient.len(), at_end);
                let mut data = zeros(gradient.len() - width, at_end);
                let shape = [1, tokens - 1, width];
                let into = Some((&mut *table, true));
                patch_tokens_gradient(class, team, 1, shape, &gradient, into, Some(&mut data))
                    .unwrap();
            }
        }
    }
}

#[test]
fn gradients_of_pools_and_activations_stay_inside() {
    for class in KernelClass::available() {
        let mut random = Random(4);
        for _ in 0..40 {
            let channels = random.pick(&[1, 3, 8, 16, 21, 70]);
            let window = Window::square(3).stride(2).padding(Border::uniform(random.range(0, 1)));
            let kind = random.pick(&[PoolKind::Max, PoolKind::Average { count_include_pad: true }]);
            let kernel = PoolGradient::new(class, kind, [6, 5], channels, window).unwrap();
            let [oh, ow] = window.output("pool", [6, 5]).unwrap();
            let input = random.values(30 * channels);
            for at_end in [false, true] {
                let gradient = Guarded::new(&input[..oh * ow * channels], at_end);
                let input = Guarded::new(&input, at_end);
                let mut out = zeros(input.len(), at_end);
                let epilogue = Epilogue {
                    residual: Some(&input),
                    activation: Some(Activation::Relu),
                    mask: Some(&input),
                };
                let team = &mut Team::serial(&mut []);
                kernel.run(team, 1, &input, &gradient, epilogue, &mut out).unwrap();
                activation_gradient(class, team, Activation::Gelu, &input, &mut out).unwrap();
                let gradient = Guarded::new(&gradient[..channels], at_end);
                let shape = [30, channels];
                global_average_pool_gradient(class, team, 1, shape, &gradient, epilogue, &mut out)
                    .unwrap();
            }
        }
    }
}
