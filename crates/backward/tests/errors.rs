//! Calls that do not fit are refused, and the message names the buffer.
#![allow(clippy::unwrap_used)] // helpers of tests

use taper_backward::{
    Affine, AttentionGradient, AttentionPoolGradient, BatchNorm, Convolution, ConvolutionMut,
    DataGradient, Gradients, LayerNormGradient, LayerScale, NormParameters, Normalised,
    PoolGradient, WeightGradient, activate, activation_gradient, add, class_token_gradient,
    global_average_pool_gradient, multiply, patch_tokens_gradient,
};
use taper_kernels::{
    Activation, Algorithm, Conv2dShape, Epilogue, KernelClass, KernelError, PoolKind, Team, Window,
};

fn says(result: Result<(), KernelError>, expected: &str) {
    let message = result.unwrap_err().to_string();
    assert!(message.contains(expected), "{message:?} lacks {expected:?}");
}

#[test]
fn weight_gradients() {
    let class = KernelClass::best();
    let shape = Conv2dShape::new([4, 4], 3, 5, Window::square(1));
    let kernel = WeightGradient::new(class, &shape).unwrap();
    let run = |input: usize, gradient: usize, weights: usize, bias: usize, short: usize| {
        let mut scratch = vec![0.0; kernel.scratch_len()];
        let mut shared = vec![0.0; kernel.shared_len(2).unwrap() - short];
        let (mut weights, mut bias) = (vec![0.0; weights], vec![0.0; bias]);
        let into = Gradients { weights: &mut weights, bias: Some(&mut bias), accumulate: false };
        let team = &mut Team::serial(&mut scratch);
        kernel.run(team, &mut shared, 2, &vec![0.0; input], &vec![0.0; gradient], into)
    };
    assert!(run(96, 160, 15, 5, 0).is_ok());
    says(run(95, 160, 15, 5, 0), "input holds 95 values, expected 96");
    says(run(96, 161, 15, 5, 0), "gradient holds 161");
    says(run(96, 160, 14, 5, 0), "weights holds 14");
    says(run(96, 160, 15, 4, 0), "bias holds 4");
    says(run(96, 160, 15, 5, 1), "shared holds");
    let mut weights = [1.0; 15];
    let into = Gradients { weights: &mut weights, bias: None, accumulate: false };
    let team = &mut Team::serial(&mut []);
    let mut shared = vec![0.0; kernel.shared_len(2).unwrap()];
    let error = kernel.run(team, &mut shared, 2, &[0.0; 96], &[0.0; 160], into).unwrap_err();
    assert!(matches!(error, KernelError::ScratchTooSmall { .. }));
    assert_eq!(weights, [1.0; 15]);
    // No pictures: no gradient.
    let mut scratch = vec![0.0; kernel.scratch_len()];
    let into = Gradients { weights: &mut weights, bias: None, accumulate: false };
    kernel.run(&mut Team::serial(&mut scratch), &mut [0.0; 64], 0, &[], &[], into).unwrap();
    assert_eq!(weights, [0.0; 15]);
    for algorithm in [Algorithm::Depthwise, Algorithm::WinogradF4, Algorithm::WinogradF2] {
        assert!(WeightGradient::for_algorithm(class, &shape, algorithm).is_err());
    }
    assert!(WeightGradient::new(class, &Conv2dShape { groups: 2, ..shape }).is_err());
    assert!(kernel.shared_len(usize::MAX).is_err());
}

#[test]
fn data_gradients() {
    let class = KernelClass::best();
    let window = Window::square(1);
    for window in [window, window.stride(2)] {
        let shape = Conv2dShape::new([4, 4], 3, 5, window);
        let maps = shape.output_len().unwrap();
        assert!(DataGradient::new(class, &shape, &[0.0; 14]).is_err());
        let mut kernel = DataGradient::new(class, &shape, &[0.0; 15]).unwrap();
        says(kernel.repack(&mut Team::serial(&mut []), &[0.0; 16]), "weights holds 16");
        let run = |gradient: usize, epilogue: Epilogue<'_, f32>, out: usize, scratch: usize| {
            let mut scratch = vec![0.0; scratch];
            let team = &mut Team::serial(&mut scratch);
            kernel.run(team, 1, &vec![0.0; gradient], epilogue, &mut vec![0.0; out])
        };
        let scratch = kernel.scratch_len();
        let none = Epilogue::default();
        assert!(run(maps, none, 48, scratch).is_ok());
        says(run(maps + 1, none, 48, scratch), "gradient holds");
        says(run(maps, none, 47, scratch), "output holds 47");
        says(run(maps, Epilogue { residual: Some(&[0.0]), ..none }, 48, scratch), "residual holds");
        says(run(maps, Epilogue { mask: Some(&[0.0]), ..none }, 48, scratch), "mask holds");
        says(run(maps, Epilogue::activation(Activation::Relu), 48, scratch), "as a mask");
        says(run(maps, Epilogue::activation(Activation::Gelu), 48, scratch), "GELU");
        says(run(maps, none, 48, 0), "scratch holds 0");
    }
}

#[test]
fn norms() {
    let class = KernelClass::best();
    assert!(BatchNorm::new(class, 0, 1e-3).is_err());
    assert!(LayerNormGradient::new(class, 0, 1e-3).is_err());
    assert!(LayerScale::new(class, 0).is_err());
    let norm = BatchNorm::new(class, 2, 1e-3).unwrap();
    let mut shared = vec![0.0; norm.shared_len(3)];
    let team = &mut Team::serial(&mut []);
    let two = [1.0; 2];
    let parameters = NormParameters { mean: &two, variance: &two, scale: &two, bias: &two };
    let statistics = |input: &[f32], mean: &mut [f32], shared: &mut [f32]| {
        norm.statistics(&mut Team::serial(&mut []), shared, input, mean, &mut [0.0; 2])
    };
    says(statistics(&[], &mut [0.0; 2], &mut shared), "no rows");
    says(statistics(&[0.0; 5], &mut [0.0; 2], &mut shared), "input holds 5");
    says(statistics(&[0.0; 6], &mut [0.0; 3], &mut shared), "mean holds 3");
    says(statistics(&[0.0; 6], &mut [0.0; 2], &mut []), "shared holds 0");
    let mut run = |parameters, epilogue, out: usize| {
        norm.run(team, &mut shared, &[0.0; 6], &parameters, epilogue, &mut vec![0.0; out])
    };
    let none = Epilogue::default();
    says(run(parameters, none, 5), "output holds 5");
    says(run(NormParameters { scale: &[1.0], ..parameters }, none, 6), "scale holds 1");
    says(run(parameters, Epilogue { residual: Some(&two), ..none }, 6), "residual holds 2");
    says(run(parameters, Epilogue::activation(Activation::Gelu), 6), "GELU");
    let mut gradient = |mask, values: usize| {
        let of = Normalised { input: &[0.0; 6], parameters, fixed: true, mask };
        let into = Affine { scale: &mut [0.0; 2], bias: &mut [0.0; 2], accumulate: false };
        let team = &mut Team::serial(&mut []);
        norm.gradient(team, &mut shared, &of, &mut vec![0.0; values], into, None)
    };
    assert!(gradient(None, 6).is_ok());
    says(gradient(None, 7), "gradient holds 7");
    says(gradient(None, 4), "input holds 6");
    says(gradient(Some((Activation::Relu, &two)), 6), "mask holds 2");
    says(gradient(Some((Activation::Gelu, &[0.0; 6])), 6), "GELU");
    let convolution = Convolution { weights: &[0.0; 6], bias: None };
    let into = ConvolutionMut { weights: &mut [0.0; 5], bias: &mut [0.0; 2] };
    let team = &mut Team::serial(&mut []);
    says(norm.fold(team, &parameters, convolution, into), "folded weights holds 5");
    let into = ConvolutionMut { weights: &mut [0.0; 6], bias: &mut [0.0; 3] };
    says(norm.fold(team, &parameters, convolution, into), "folded bias holds 3");

    let norm = LayerNormGradient::new(class, 2, 1e-3).unwrap();
    let into = Affine { scale: &mut [0.0; 2], bias: &mut [0.0; 1], accumulate: false };
    let result = norm.run(team, &mut shared, [&[0.0; 6], &two], None, &mut [0.0; 6], into);
    says(result, "bias gradient holds 1");
    let scaled = LayerScale::new(class, 2).unwrap();
    let into: (&mut [f32], bool) = (&mut [0.0; 2], false);
    let result = scaled.gradient(team, &mut [], &two, &[0.0; 6], &mut [0.0; 6], into);
    says(result, "shared holds 0");
}

#[test]
fn everything_else() {
    let class = KernelClass::best();
    let team = &mut Team::serial(&mut []);
    let gelu = Activation::Gelu;
    says(activate(class, team, gelu, &[0.0; 2], &mut [0.0; 3]), "output holds 3");
    says(activation_gradient(class, team, gelu, &[0.0; 2], &mut [0.0; 3]), "kept holds 2");
    says(add(class, team, &[0.0; 2], &mut [0.0; 3]), "addend holds 2");
    says(multiply(class, team, &[0.0; 2], &mut [0.0; 3]), "factors holds 2");
    says(class_token_gradient(1, [2, 2], &[0.0; 2], &mut [0.0; 3]), "output holds 3");
    let none = Epilogue::default();
    let mean = |shape, gradient: &[f32], out: &mut [f32]| {
        global_average_pool_gradient(
            class,
            &mut Team::serial(&mut []),
            1,
            shape,
            gradient,
            none,
            out,
        )
    };
    says(mean([0, 2], &[0.0; 2], &mut []), "0 pixels");
    says(mean([2, 2], &[0.0; 3], &mut [0.0; 4]), "gradient holds 3");
    let table: &mut [f32] = &mut [0.0; 5];
    let result =
        patch_tokens_gradient(class, team, 1, [1, 2, 2], &[0.0; 6], Some((table, false)), None);
    says(result, "table holds 5");
    assert!(AttentionGradient::new(class, 3, 5, 2).is_err());
    let attention = AttentionGradient::new(class, 3, 4, 2).unwrap();
    let mut scratch = vec![0.0; attention.scratch_len()];
    let mut attend = |gradient: &[f32], out: &mut [f32]| {
        attention.run(&mut Team::serial(&mut scratch), 1, &[0.0; 36], gradient, out)
    };
    says(attend(&[0.0; 11], &mut [0.0; 36]), "gradient holds 11");
    says(attend(&[0.0; 12], &mut [0.0; 35]), "output holds 35");
    assert!(AttentionPoolGradient::new(class, 3, 5, 2).is_err());
    let pool = AttentionPoolGradient::new(class, 3, 4, 2).unwrap();
    let mut scratch = vec![0.0; pool.scratch_len()];
    let mut back = |input: &[f32], gradient: &[f32]| {
        pool.run(&mut Team::serial(&mut scratch), 1, input, gradient, &mut [0.0; 18])
    };
    says(back(&[0.0; 17], &[0.0; 4]), "input holds 17");
    says(back(&[0.0; 18], &[0.0; 5]), "gradient holds 5");
    let window = Window::square(2);
    assert!(PoolGradient::new(class, PoolKind::Max, [1, 4], 3, window).is_err());
    let pool = PoolGradient::new(class, PoolKind::Max, [4, 4], 3, window).unwrap();
    let result = pool.run(team, 1, &[0.0; 48], &[0.0; 26], none, &mut [0.0; 48]);
    says(result, "gradient holds 26 values, expected 27");
}
