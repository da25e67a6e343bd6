//! Every path against a naive f64 reference, over random shapes.
#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{Random, activate, convolve, random_shape, relative_error, rms_error, round, wide};
use taper_kernels::{
    Activation, Algorithm, Bf16, Border, Conv2dShape, Element, Epilogue, KernelClass, Kernels,
    LayerNorm, PackedFilter, PixelFilter, Pool, PoolKind, Team, Window, convert,
    global_average_pool,
};

/// The number of cases; Miri, which interprets every step, runs only a few of them.
fn cases(count: usize) -> usize {
    if cfg!(miri) { count.div_ceil(50) } else { count }
}

/// Every class that this machine has, and bf16 with and without its own instructions.
fn classes() -> Vec<KernelClass> {
    let mut classes: Vec<_> = KernelClass::available().collect();
    let soft = classes[0].without_bf16();
    if soft != classes[0] {
        classes.push(soft);
    }
    classes
}

/// Runs random convolutions and returns the error against f64 on the same rounded numbers.
fn conv_error<E: Element>(
    class: KernelClass,
    shape: &Conv2dShape,
    algorithm: Algorithm,
    n: usize,
    random: &mut Random,
) -> f64 {
    let fan_in = (shape.filter_len() / shape.out_channels) as f32;
    let weights: Vec<f32> = random
        .values(shape.filter_len())
        .iter()
        .map(|w| E::from_f32(w * fan_in.powf(-0.5)).to_f32())
        .collect();
    let input = round::<E>(&random.values(n * shape.input_len()));
    let out_len = n * shape.output_len().unwrap();
    let bias = random.values(shape.out_channels);
    let residual = round::<E>(&random.values(out_len));
    let residual = (random.range(0, 1) == 1).then_some(residual);
    // Those that are no clamp are rounded before them, too, except GELU in direct convolutions.
    let activations = [
        None,
        Some(Activation::Relu),
        Some(Activation::Relu6),
        Some(Activation::Gelu),
        Some(Activation::QuickGelu),
        Some(Activation::GeluTanh),
    ];
    let known = match (E::from_f32(0.1).to_f32() == 0.1, algorithm) {
        (true, _) => 6,
        (false, Algorithm::Direct) => 4,
        (false, _) => 3,
    };
    let activation = random.pick(&activations[..known]);

    let filter =
        PackedFilter::<E>::pack_for(class, shape, algorithm, &weights, Some(&bias)).unwrap();
    let mut scratch = vec![f32::NAN; filter.scratch_len()];
    let mut out = vec![E::from_f32(f32::NAN); out_len];
    let epilogue = Epilogue { residual: residual.as_deref(), activation, mask: None };
    filter.run(&mut Team::serial(&mut scratch), n, &input, epilogue, &mut out).unwrap();

    let weights: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
    let residual = residual.map(|r| wide(&r));
    let (expected, _) =
        convolve(shape, n, &wide(&input), &weights, &bias, residual.as_deref(), activation);
    relative_error(&wide(&out), &expected)
}

#[test]
fn convolutions_match_the_reference_over_random_shapes() {
    for class in classes() {
        let mut random = Random(1);
        for case in 0..cases(150) {
            let shape = random_shape(&mut random);
            let algorithm = Algorithm::for_shape(&shape);
            let n = random.range(1, 3);
            let error = conv_error::<f32>(class, &shape, algorithm, n, &mut random);
            assert!(
                error <= 1e-5,
                "case {case}: {class} f32 {algorithm}, batch {n}, {shape}: {error:e}"
            );
            let algorithm = Algorithm::for_shape(&shape);
            let error = conv_error::<Bf16>(class, &shape, algorithm, n, &mut random);
            // The output itself is rounded to 8 bits, up to 2⁻⁹ of a value that may be several
            // times the root mean square.
            assert!(
                error <= 2e-2,
                "case {case}: {class} bf16 {algorithm}, batch {n}, {shape}: {error:e}"
            );
        }
    }
}

/// The shapes whose loops are unrolled: 3 × 3 and 5 × 5, at least 7 columns wide.
#[test]
fn wide_depthwise_convolutions_match_the_reference() {
    for class in classes() {
        let mut random = Random(2);
        for case in 0..cases(60) {
            let kernel = random.pick(&[3, 5]);
            let padding = Border {
                top: random.range(0, 2),
                bottom: random.range(0, 2),
                left: random.range(0, 2),
                right: random.range(0, 2),
            };
            let window = Window::square(kernel).stride(random.range(1, 2)).padding(padding);
            let input = [random.range(5, 9), random.range(13, 33)];
            let shape = Conv2dShape::depthwise(input, random.pick(&[3, 8, 16, 19, 32, 40]), window);
            let error = conv_error::<f32>(class, &shape, Algorithm::Depthwise, 2, &mut random);
            assert!(error <= 1e-5, "case {case}: {class} {shape}: {error:e}");
            let error = conv_error::<Bf16>(class, &shape, Algorithm::Depthwise, 2, &mut random);
            assert!(error <= 2e-2, "case {case}: {class} bf16 {shape}: {error:e}");
        }
    }
}

#[test]
fn depthwise_is_also_computed_as_grouped() {
    let window = Window::square(3).padding(Border::uniform(1));
    let shape = Conv2dShape::depthwise([9, 7], 20, window);
    for class in classes() {
        for algorithm in [Algorithm::Direct, Algorithm::Depthwise] {
            let error = conv_error::<f32>(class, &shape, algorithm, 2, &mut Random(3));
            assert!(error <= 1e-5, "{class} {algorithm}: {error:e}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "hours of interpretation")]
fn layers_larger_than_a_block_match_the_reference() {
    // Several blocks, many panels, a long sum.
    let shapes = [
        Conv2dShape::new([40, 40], 24, 40, Window::square(1)),
        Conv2dShape::new([7, 7], 600, 70, Window::square(1)),
        Conv2dShape::new([20, 20], 70, 33, Window::square(3).padding(Border::uniform(1))),
        Conv2dShape::linear(1000, 130),
        // Pixels a multiple of 4 KiB apart.
        Conv2dShape::new([5, 5], 1024, 140, Window::square(1)),
        Conv2dShape::new([6, 9], 512, 140, Window::square(1).stride(2)),
    ];
    for class in classes() {
        for shape in &shapes {
            let algorithm = Algorithm::for_shape(shape);
            let error = conv_error::<f32>(class, shape, algorithm, 3, &mut Random(4));
            let limit = if algorithm == Algorithm::WinogradF4 { 1e-4 } else { 1e-5 };
            assert!(error <= limit, "{class} {shape}: {error:e}");
            let error = conv_error::<Bf16>(class, shape, Algorithm::Direct, 3, &mut Random(4));
            assert!(error <= 2e-2, "{class} bf16 {shape}: {error:e}");
        }
    }
}

#[test]
fn every_algorithm_is_as_accurate_as_promised() {
    use Algorithm::{Direct, WinogradF2, WinogradF4};
    let mut random = Random(8);
    for class in classes() {
        for case in 0..cases(40) {
            let padding = Border {
                top: random.range(0, 2),
                bottom: random.range(0, 3),
                left: random.range(0, 2),
                right: random.range(0, 3),
            };
            let window = Window::square(3).padding(padding);
            let input = [random.pick(&[3, 4, 5, 7, 8, 14]), random.pick(&[3, 4, 6, 9, 13, 16])];
            let channels = [1, 3, 8, 16, 20, 32, 45];
            let shape =
                Conv2dShape::new(input, random.pick(&channels), random.pick(&channels), window);
            let n = random.range(1, 3);
            for (algorithm, limit) in [(Direct, 1e-5), (WinogradF2, 1e-4), (WinogradF4, 1e-3)] {
                let error = conv_error::<f32>(class, &shape, algorithm, n, &mut random);
                assert!(
                    error <= limit,
                    "case {case}: {class} {algorithm}, batch {n}, {shape}: {error:e}"
                );
            }
        }
        if cfg!(miri) {
            continue;
        }
        // A sum as long as networks have, over more than one block.
        let window = Window::square(3).padding(Border::uniform(1));
        let shape = Conv2dShape::new([14, 14], 512, 40, window);
        for (algorithm, limit) in [(Direct, 1e-4), (WinogradF2, 1e-4), (WinogradF4, 1e-3)] {
            let error = conv_error::<f32>(class, &shape, algorithm, 2, &mut random);
            assert!(error <= limit, "{class} {algorithm}, {shape}: {error:e}");
            let error = conv_error::<Bf16>(class, &shape, algorithm, 2, &mut random);
            assert!(error <= 2e-2, "{class} {algorithm} bf16, {shape}: {error:e}");
        }
    }
}

fn pixels_error<E: Element>(
    class: KernelClass,
    shape: &Conv2dShape,
    n: usize,
    random: &mut Random,
) -> (f64, f64) {
    let weights = random.values(shape.filter_len());
    let bias = random.values(shape.out_channels);
    let pixels = random.pixels(n * shape.input_len());
    let (mean, std) = ([0.485, 0.456, 0.406, 0.5], [0.229, 0.224, 0.225, 0.5]);
    let (mean, std) = (&mean[..shape.in_channels], &std[..shape.in_channels]);
    let filter = PixelFilter::<E>::pack(class, shape, &weights, Some(&bias), mean, std).unwrap();
    let mut out = vec![E::from_f32(f32::NAN); n * shape.output_len().unwrap()];
    let mut scratch = vec![f32::NAN; filter.scratch_len()];
    filter
        .run(&mut Team::serial(&mut scratch), n, &pixels, Some(Activation::Relu), &mut out)
        .unwrap();
    let normalised: Vec<f64> = pixels
        .iter()
        .enumerate()
        .map(|(i, &x)| {
            let c = i % shape.in_channels;
            (f64::from(x) / 255.0 - f64::from(mean[c])) / f64::from(std[c])
        })
        .collect();
    let weights: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
    let (expected, _) =
        convolve(shape, n, &normalised, &weights, &bias, None, Some(Activation::Relu));
    let out = wide(&out);
    (relative_error(&out, &expected), rms_error(&out, &expected))
}

#[test]
fn pixels_are_normalised_exactly_up_to_the_border() {
    let mut random = Random(5);
    for class in classes() {
        for case in 0..cases(30) {
            let channels = random.pick(&[1, 3, 3, 3, 4]);
            let kernel = random.pick(&[1, 3, 3, 7]);
            let window = Window {
                stride: [random.range(1, 2), random.range(1, 2)],
                dilation: [random.pick(&[1, 1, 2]), 1],
                padding: Border {
                    top: random.range(0, kernel - 1),
                    bottom: random.range(0, kernel),
                    left: random.range(0, kernel - 1),
                    right: random.range(0, kernel),
                },
                ..Window::square(kernel)
            };
            let input = [random.range(13, 30), random.range(7, 40)];
            let shape = Conv2dShape::new(input, channels, random.pick(&[1, 16, 32, 35]), window);
            let n = random.range(1, 2);
            let (error, _) = pixels_error::<f32>(class, &shape, n, &mut random);
            assert!(error <= 1e-5, "case {case}: {class} {shape}: {error:e}");
            // The filters themselves are rounded here, so single values may be off by more.
            let (_, error) = pixels_error::<Bf16>(class, &shape, n, &mut random);
            assert!(error <= 1e-2, "case {case}: {class} bf16 {shape}: {error:e}");
        }
    }
}

/// A pool straight from the definition.
fn naive_pool(
    kind: PoolKind,
    [h, w]: [usize; 2],
    channels: usize,
    window: &Window,
    input: &[f64],
) -> Vec<f64> {
    let Window { kernel, stride, dilation, padding } = *window;
    let size = |i: usize, before: usize, after: usize, len: usize| {
        (len + before + after - (kernel[i] - 1) * dilation[i] - 1) / stride[i] + 1
    };
    let (oh, ow) =
        (size(0, padding.top, padding.bottom, h), size(1, padding.left, padding.right, w));
    let mut out = Vec::new();
    for y in 0..oh {
        for x in 0..ow {
            for c in 0..channels {
                let (mut largest, mut sum, mut count) = (f64::NEG_INFINITY, 0.0, 0.0);
                for ky in 0..kernel[0] {
                    for kx in 0..kernel[1] {
                        let iy = (y * stride[0] + ky * dilation[0]) as isize - padding.top as isize;
                        let ix =
                            (x * stride[1] + kx * dilation[1]) as isize - padding.left as isize;
                        if iy < 0 || ix < 0 || iy >= h as isize || ix >= w as isize {
                            continue;
                        }
                        let value = input[(iy as usize * w + ix as usize) * channels + c];
                        largest = largest.max(value);
                        sum += value;
                        count += 1.0;
                    }
                }
                out.push(match kind {
                    PoolKind::Max => largest,
                    PoolKind::Average { count_include_pad: true } => {
                        sum / (kernel[0] * kernel[1]) as f64
                    }
                    PoolKind::Average { count_include_pad: false } => sum / count,
                });
            }
        }
    }
    out
}

fn pool_error<E: Element>(class: KernelClass, random: &mut Random) -> f64 {
    let kernel = random.pick(&[1, 2, 3, 3]);
    let window = Window::square(kernel).stride(random.range(1, 3)).padding(Border {
        top: random.range(0, kernel - 1),
        bottom: random.range(0, kernel - 1),
        left: random.range(0, kernel - 1),
        right: random.range(0, kernel - 1),
    });
    let input = [random.range(kernel, 9), random.range(kernel, 9)];
    let channels = random.pick(&[1, 3, 16, 21, 64]);
    let kind = random.pick(&[
        PoolKind::Max,
        PoolKind::Average { count_include_pad: true },
        PoolKind::Average { count_include_pad: false },
    ]);
    let n = random.range(1, 2);
    let size = input[0] * input[1] * channels;
    let values = round::<E>(&random.values(n * size));
    let pool = Pool::new(class, kind, input, channels, window).unwrap();
    let [oh, ow] = pool.output();
    let mut out = vec![E::from_f32(f32::NAN); n * oh * ow * channels];
    pool.run(&mut Team::serial(&mut []), n, &values, &mut out).unwrap();
    let expected: Vec<f64> = values
        .chunks(size)
        .flat_map(|picture| naive_pool(kind, input, channels, &window, &wide(picture)))
        .collect();
    relative_error(&wide(&out), &expected)
}

#[test]
fn pools_match_the_reference() {
    let mut random = Random(6);
    for class in classes() {
        for case in 0..cases(60) {
            let error = pool_error::<f32>(class, &mut random);
            assert!(error <= 1e-5, "case {case}: {class}: {error:e}");
            let error = pool_error::<Bf16>(class, &mut random);
            assert!(error <= 2e-2, "case {case}: {class} bf16: {error:e}");
        }
        for [pixels, channels] in [[1, 1], [49, 37], [64, 128]] {
            let values = random.values(2 * pixels * channels);
            let mut out = vec![f32::NAN; 2 * channels];
            let shape = [pixels, channels];
            global_average_pool(class, &mut Team::serial(&mut []), 2, shape, &values, &mut out)
                .unwrap();
            for (i, &mean) in out.iter().enumerate() {
                let (picture, channel) = (i / channels, i % channels);
                let sum: f64 = (0..pixels)
                    .map(|p| f64::from(values[(picture * pixels + p) * channels + channel]))
                    .sum();
                assert!((f64::from(mean) - sum / pixels as f64).abs() < 1e-6, "{class}");
            }
        }
    }
}

#[test]
fn gelu_and_its_approximations_are_exact_to_a_millionth() {
    for activation in [Activation::Gelu, Activation::QuickGelu, Activation::GeluTanh] {
        exact_to_a_millionth(activation);
    }
}

fn exact_to_a_millionth(activation: Activation) {
    // A convolution with a single weight of 1: the output is the activation of the input.
    let values: Vec<f32> = (-40_000..=40_000).map(|i| i as f32 / 4000.0).collect();
    for class in classes() {
        let shape = Conv2dShape::new([1, values.len()], 1, 1, Window::square(1));
        let filter = PackedFilter::<f32>::pack(class, &shape, &[1.0], None).unwrap();
        let mut scratch = vec![0.0; filter.scratch_len()];
        let mut out = vec![f32::NAN; values.len()];
        let epilogue = Epilogue::activation(activation);
        filter.run(&mut Team::serial(&mut scratch), 1, &values, epilogue, &mut out).unwrap();
        for (&x, &y) in values.iter().zip(&out) {
            let expected = activate(Some(activation), f64::from(x));
            let bound =
                if x.abs() < 1.0 { 6e-7 * expected.abs() } else { 1e-6_f64.max(2e-7 * expected) };
            assert!((f64::from(y) - expected).abs() <= bound, "{class}: {x} → {y}, not {expected}");
        }
        let mut ends = [f32::NEG_INFINITY, f32::INFINITY, -1e30, 1e30];
        let shape = Conv2dShape::new([1, 4], 1, 1, Window::square(1));
        let filter = PackedFilter::<f32>::pack(class, &shape, &[1.0], None).unwrap();
        let input = ends;
        filter.run(&mut Team::serial(&mut scratch), 1, &input, epilogue, &mut ends).unwrap();
        assert!(ends[0].abs() < 1e-6 && ends[2].abs() < 1e-6, "{class}: {ends:?}");
        assert!(
            ends[1] == f32::INFINITY && (ends[3] / 1e30 - 1.0).abs() < 1e-6,
            "{class}: {ends:?}"
        );
    }
}

fn norm_error<E: Element>(class: KernelClass, random: &mut Random) -> f64 {
    let (rows, channels) = (random.range(0, 70), random.range(1, 70));
    let input = round::<E>(&random.values(rows * channels));
    let (scale, bias) = (random.values(channels), random.values(channels));
    let norm = LayerNorm::new(class, &scale, &bias, 1e-6).unwrap();
    let mut out = vec![E::from_f32(f32::NAN); rows * channels];
    norm.run(&mut Team::new(random.range(1, 3), &mut []), rows, &input, &mut out).unwrap();
    let mut expected = Vec::new();
    for row in wide(&input).chunks(channels) {
        let mean = row.iter().sum::<f64>() / channels as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / channels as f64;
        expected.extend(row.iter().zip(scale.iter().zip(&bias)).map(|(x, (scale, bias))| {
            (x - mean) / (variance + 1e-6).sqrt() * f64::from(*scale) + f64::from(*bias)
        }));
    }
    relative_error(&wide(&out), &expected)
}

#[test]
fn layer_norms_match_the_reference() {
    let mut random = Random(7);
    for class in classes() {
        for case in 0..cases(100) {
            let error = norm_error::<f32>(class, &mut random);
            assert!(error <= 1e-5, "case {case}: {class}: {error:e}");
            let error = norm_error::<Bf16>(class, &mut random);
            assert!(error <= 2e-2, "case {case}: {class} bf16: {error:e}");
        }
    }
}

#[test]
fn a_nan_survives_and_does_not_spread() {
    let shape = Conv2dShape::new([3, 3], 16, 16, Window::square(1));
    let mut weights = vec![0.0; 256];
    (0..16).for_each(|i| weights[i * 17] = 1.0);
    for class in classes() {
        let filter = PackedFilter::<f32>::pack(class, &shape, &weights, None).unwrap();
        let mut scratch = vec![0.0; filter.scratch_len()];
        let mut input = vec![1.0; 144];
        input[4 * 16] = f32::NAN;
        let mut out = vec![0.0; 144];
        let epilogue = Epilogue::activation(Activation::Relu6);
        filter.run(&mut Team::serial(&mut scratch), 1, &input, epilogue, &mut out).unwrap();
        for (i, value) in out.iter().enumerate() {
            assert_eq!(value.is_nan(), i / 16 == 4, "{class}: value {i}");
        }
    }
}

/// 1, 2 and 3 threads, and pictures one at a time or together: the same bits.
#[test]
#[cfg_attr(miri, ignore = "rayon's own use of pointers is not what is tested here")]
fn results_do_not_depend_on_threads_or_batch() {
    let windows = Window::square(3).padding(Border::uniform(1));
    let shapes = [
        Conv2dShape::new([13, 11], 40, 72, Window::square(1)),
        Conv2dShape::new([9, 10], 20, 40, windows),
        Conv2dShape::new([17, 12], 33, 40, windows),
        Conv2dShape::new([2, 2], 40, 70, windows),
        Conv2dShape::new([4, 4], 300, 200, Window::square(1)),
        Conv2dShape::depthwise([14, 15], 40, windows.stride(2)),
    ];
    fn check<E: Element>(shape: &Conv2dShape) {
        let mut random = Random(7);
        let class = Kernels::Auto.resolve().unwrap();
        let weights = random.values(shape.filter_len());
        let filter = PackedFilter::<E>::pack(class, shape, &weights, None).unwrap();
        let n = 5;
        let input = round::<E>(&random.values(n * shape.input_len()));
        let len = shape.output_len().unwrap();
        let run = |threads: usize, n: usize, input: &[E]| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut scratch = vec![0.0; threads * filter.scratch_len()];
            let mut out = vec![E::default(); n * len];
            pool.install(|| {
                filter.run(
                    &mut Team::current(&mut scratch),
                    n,
                    input,
                    Epilogue::default(),
                    &mut out,
                )
            })
            .unwrap();
            out
        };
        let one = run(1, n, &input);
        for threads in [2, 3] {
            assert_eq!(one, run(threads, n, &input), "{threads} threads, {shape}");
        }
        for picture in 0..n {
            let alone = run(2, 1, &input[picture * shape.input_len()..][..shape.input_len()]);
            assert_eq!(one[picture * len..][..len], alone, "picture {picture}, {shape}");
        }
    }
    for shape in &shapes {
        check::<f32>(shape);
        check::<Bf16>(shape);
    }
}

#[test]
fn whole_maps_are_rounded_as_single_values_are() {
    for class in classes() {
        for len in [0, 1, 15, 16, 37, if cfg!(miri) { 50 } else { 40_000 }] {
            let values = Random(9).values(len);
            let mut out = vec![Bf16::default(); len];
            convert(class, &mut Team::serial(&mut []), &values, &mut out).unwrap();
            assert_eq!(out, round::<Bf16>(&values), "{class}, {len} values");
        }
        let mut short = [0.0_f32; 2];
        assert!(convert(class, &mut Team::serial(&mut []), &[1.0; 3], &mut short).is_err());
    }
}

#[test]
fn bf16_rounds_to_nearest_even() {
    for (value, expected) in [
        (1.0, 1.0),
        (1.003_906_2, 1.0),       // halfway: to even, down
        (1.011_718_8, 1.015_625), // halfway: to even, up
        (1.003_906_4, 1.007_812_5),
        (-2.3, -2.296_875),
        (f32::INFINITY, f32::INFINITY),
        (f32::MAX, f32::INFINITY),
    ] {
        assert_eq!(Bf16::from_f32(value).to_f32(), expected, "{value}");
    }
    assert!(Bf16::from_f32(f32::NAN).to_f32().is_nan());
    assert!(Bf16::from_f32(f32::from_bits(0x7f80_0001)).to_f32().is_nan());
}
