//! Pools, norms, attention and activations against finite differences of their definitions in f64,
//! over random shapes.
#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{Random, activate, cases, coordinates, differences, f64s, relative_error};
use taper_backward::{
    Affine, AttentionGradient, AttentionPoolGradient, BatchNorm, LayerNormGradient, NormParameters,
    Normalised, PoolGradient, SqueezeExciteGradient, SqueezeExciteTensors, activation_gradient,
    add, multiply,
};
use taper_kernels::{
    Activation, Border, Epilogue, KernelClass, PoolKind, SqueezeExcite, Team, Window,
};

/// Compares some coordinates of a gradient with finite differences of `f`.
fn check(
    found: &[f32],
    at: &[f32],
    gradient: &[f32],
    random: &mut Random,
    name: &str,
    f: impl Fn(&[f64]) -> Vec<f64>,
) {
    let some = coordinates(random, at.len(), 12);
    let expected = differences(&f64s(at), &some, &f64s(gradient), f);
    let found: Vec<f64> = some.iter().map(|&i| f64::from(found[i])).collect();
    let error = relative_error(&found, &expected);
    assert!(error < 1e-4, "{name}: {error:e}, {found:?} instead of {expected:?}");
}

/// A pool straight from the definition.
fn pool(
    kind: PoolKind,
    [h, w]: [usize; 2],
    channels: usize,
    window: &Window,
    input: &[f64],
) -> Vec<f64> {
    let [oh, ow] = window.output("pool", [h, w]).unwrap();
    let mut out = Vec::new();
    for index in 0..input.len() / (h * w * channels) * oh * ow * channels {
        let (pixel, c) = (index / channels, index % channels);
        let (picture, y, x) = (pixel / ow / oh, pixel / ow % oh, pixel % ow);
        let mut values = Vec::new();
        for tap in 0..window.kernel[0] * window.kernel[1] {
            let (ky, kx) = (tap / window.kernel[1], tap % window.kernel[1]);
            let iy =
                (y * window.stride[0] + ky * window.dilation[0]).wrapping_sub(window.padding.top);
            let ix =
                (x * window.stride[1] + kx * window.dilation[1]).wrapping_sub(window.padding.left);
            if iy < h && ix < w {
                values.push(input[((picture * h + iy) * w + ix) * channels + c]);
            }
        }
        let sum: f64 = values.iter().sum();
        out.push(match kind {
            PoolKind::Max => values.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v)),
            PoolKind::Average { count_include_pad: true } => {
                sum / (window.kernel[0] * window.kernel[1]) as f64
            }
            PoolKind::Average { count_include_pad: false } => sum / values.len() as f64,
        });
    }
    out
}

#[test]
fn pools_over_random_shapes() {
    for class in KernelClass::available() {
        let mut random = Random(1);
        for case in 0..cases(80) {
            let kernel = random.pick(&[1, 2, 3, 3, 4]);
            let mut border = || random.range(0, kernel - 1);
            let padding =
                Border { top: border(), bottom: border(), left: border(), right: border() };
            let window = Window::square(kernel).stride(random.range(1, 3)).padding(padding);
            let size = [random.range(kernel, 9), random.range(kernel, 9)];
            let channels = random.pick(&[1, 3, 16, 21, 70]);
            let kind = random.pick(&[
                PoolKind::Max,
                PoolKind::Average { count_include_pad: true },
                PoolKind::Average { count_include_pad: false },
            ]);
            let n = random.range(1, 2);
            let input = random.values(n * size[0] * size[1] * channels);
            let [oh, ow] = window.output("pool", size).unwrap();
            let gradient = random.values(n * oh * ow * channels);
            let kernel = PoolGradient::new(class, kind, size, channels, window).unwrap();
            // Another path's gradient, and the derivative of a ReLU that computed the input.
            let residual = random.values(input.len());
            let relu: Vec<f32> = input.iter().map(|x| x.max(0.0)).collect();
            let mut out = vec![f32::NAN; input.len()];
            let team = &mut Team::serial(&mut []);
            kernel.run(team, n, &input, &gradient, Epilogue::default(), &mut out).unwrap();
            let name = format!("case {case}: {class} {kind:?} {window:?} over {size:?}");
            check(&out, &input, &gradient, &mut random, &name, |input| {
                pool(kind, size, channels, &window, input)
            });
            let epilogue = Epilogue {
                residual: Some(&residual),
                activation: Some(Activation::Relu),
                mask: Some(&relu),
            };
            let mut masked = vec![f32::NAN; input.len()];
            kernel.run(team, n, &input, &gradient, epilogue, &mut masked).unwrap();
            for (i, &masked) in masked.iter().enumerate() {
                let expected = if relu[i] > 0.0 { out[i] + residual[i] } else { 0.0 };
                assert_eq!(masked, expected, "{name}");
            }
        }
    }
}

/// The largest value of a window may be there several times, and more than one window may cover it.
#[test]
fn the_first_of_equal_values_gets_the_gradient_of_a_maximum() {
    for class in KernelClass::available() {
        let window = Window::square(2);
        let kernel = PoolGradient::new(class, PoolKind::Max, [2, 3], 1, window).unwrap();
        let mut out = [f32::NAN; 6];
        let team = &mut Team::serial(&mut []);
        let input = [0.0, 5.0, 5.0, 5.0, 0.0, 5.0];
        kernel.run(team, 1, &input, &[2.0, 3.0], Epilogue::default(), &mut out).unwrap();
        assert_eq!(out, [0.0, 5.0, 0.0, 0.0, 0.0, 0.0], "{class}");
    }
}

/// Batch norm in training: statistics of each column, then a row at a time.
fn batch_norm(rows: usize, input: &[f64], affine: [&[f64]; 2], eps: f64) -> Vec<f64> {
    let channels = affine[0].len();
    let mut out = vec![0.0; input.len()];
    for c in 0..channels {
        let column: Vec<f64> = input.iter().skip(c).step_by(channels).copied().collect();
        let mean = column.iter().sum::<f64>() / rows as f64;
        let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / rows as f64;
        for (r, x) in column.iter().enumerate() {
            out[r * channels + c] =
                (x - mean) / (variance + eps).sqrt() * affine[0][c] + affine[1][c];
        }
    }
    out
}

#[test]
fn batch_norms_over_random_shapes() {
    for class in KernelClass::available() {
        let mut random = Random(2);
        for case in 0..cases(60) {
            let channels = random.pick(&[1, 3, 16, 21, 40]);
            // Sometimes more than one part.
            let rows = random.pick(&[4, 7, 50, 33_000 / channels]);
            let rows = if cfg!(miri) { rows.min(9) } else { rows };
            let shift = random.pick(&[0.0, 5.0]);
            let input: Vec<f32> =
                random.values(rows * channels).iter().map(|x| x + shift).collect();
            let [scale, bias] = [random.values(channels), random.values(channels)];
            let norm = BatchNorm::new(class, channels, 1e-3).unwrap();
            let team = &mut Team::serial(&mut []);
            let mut shared = vec![f32::NAN; norm.shared_len(rows)];
            let (mut mean, mut variance) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
            norm.statistics(team, &mut shared, &input, &mut mean, &mut variance).unwrap();
            let parameters =
                NormParameters { mean: &mean, variance: &variance, scale: &scale, bias: &bias };
            let mut out = vec![f32::NAN; input.len()];
            let epilogue = Epilogue::default();
            norm.run(team, &mut shared, &input, &parameters, epilogue, &mut out).unwrap();
            let name = format!("case {case}: {class}, {rows} rows of {channels}");
            let affine = [f64s(&scale), f64s(&bias)];
            let expected = batch_norm(rows, &f64s(&input), [&affine[0], &affine[1]], 1e-3);
            assert!(relative_error(&f64s(&out), &expected) < 1e-4, "{name}");

            let gradient = random.values(input.len());
            let mut data = gradient.clone();
            let (mut of_scale, mut of_bias) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
            let of = Normalised { input: &input, parameters, fixed: false, mask: None };
            let into = Affine { scale: &mut of_scale, bias: &mut of_bias, accumulate: false };
            norm.gradient(team, &mut shared, &of, &mut data, into, None).unwrap();
            check(&of_scale, &scale, &gradient, &mut random, &name, |scale| {
                batch_norm(rows, &f64s(&input), [scale, &affine[1]], 1e-3)
            });
            check(&of_bias, &bias, &gradient, &mut random, &name, |bias| {
                batch_norm(rows, &f64s(&input), [&affine[0], bias], 1e-3)
            });
            if rows * channels < 3000 {
                check(&data, &input, &gradient, &mut random, &name, |input| {
                    batch_norm(rows, input, [&affine[0], &affine[1]], 1e-3)
                });
            }
        }
    }
}

fn layer_norm(input: &[f64], scale: &[f64], bias: &[f64]) -> Vec<f64> {
    let channels = scale.len();
    let mut out = Vec::new();
    for row in input.chunks(channels) {
        let mean = row.iter().sum::<f64>() / channels as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / channels as f64;
        out.extend(
            row.iter()
                .zip(scale.iter().zip(bias))
                .map(|(x, (scale, bias))| (x - mean) / (variance + 1e-3).sqrt() * scale + bias),
        );
    }
    out
}

#[test]
fn layer_norms_over_random_shapes() {
    for class in KernelClass::available() {
        let mut random = Random(3);
        for case in 0..cases(60) {
            let (rows, channels) = (random.range(1, 140), random.range(2, 70));
            let input = random.values(rows * channels);
            let [scale, bias] = [random.values(channels), random.values(channels)];
            let gradient = random.values(input.len());
            let norm = LayerNormGradient::new(class, channels, 1e-3).unwrap();
            let mut shared = vec![f32::NAN; norm.shared_len(rows)];
            let (mut of_scale, mut of_bias) = (vec![0.25; channels], vec![0.25; channels]);
            let mut data = gradient.clone();
            let residual = random.values(input.len());
            let into = Affine { scale: &mut of_scale, bias: &mut of_bias, accumulate: true };
            let team = &mut Team::serial(&mut []);
            norm.run(team, &mut shared, [&input, &scale], Some(&residual), &mut data, into)
                .unwrap();
            let name = format!("case {case}: {class}, {rows} rows of {channels}");
            let wide = [f64s(&input), f64s(&scale), f64s(&bias)];
            let data: Vec<f32> = data.iter().zip(&residual).map(|(d, r)| d - r).collect();
            check(&data, &input, &gradient, &mut random, &name, |input| {
                layer_norm(input, &wide[1], &wide[2])
            });
            let [of_scale, of_bias]: [Vec<f32>; 2] =
                [of_scale, of_bias].map(|values| values.iter().map(|v| v - 0.25).collect());
            check(&of_scale, &scale, &gradient, &mut random, &name, |scale| {
                layer_norm(&wide[0], scale, &wide[2])
            });
            check(&of_bias, &bias, &gradient, &mut random, &name, |bias| {
                layer_norm(&wide[0], &wide[1], bias)
            });
        }
    }
}

/// Attention of each head of each sequence, by its definition.
fn attention(shape: [usize; 5], input: &[f64]) -> Vec<f64> {
    let [n, tokens, width, heads, queries] = shape;
    let depth = width / heads;
    let mut out = vec![0.0; n * queries * width];
    for (index, out) in out.chunks_mut(depth).enumerate() {
        let (head, row) = (index % heads, index / heads);
        let (picture, query) = (row / queries, row % queries);
        let at = |token: usize, part: usize, d: usize| {
            input[((picture * tokens + token) * 3 + part) * width + head * depth + d]
        };
        let scores: Vec<f64> = (0..tokens)
            .map(|key| {
                let sum: f64 = (0..depth).map(|d| at(query, 0, d) * at(key, 1, d)).sum();
                (sum / (depth as f64).sqrt()).exp()
            })
            .collect();
        let total: f64 = scores.iter().sum();
        for (d, out) in out.iter_mut().enumerate() {
            *out = (0..tokens).map(|key| scores[key] / total * at(key, 2, d)).sum();
        }
    }
    out
}

#[test]
fn attention_over_random_shapes() {
    for class in KernelClass::available() {
        let mut random = Random(4);
        for case in 0..cases(60) {
            let heads = random.range(1, 3);
            let width = heads * random.pick(&[1, 4, 7, 16, 33, 64]);
            let tokens = random.pick(&[1, 2, 9, 16, 17, 33, 60]);
            let queries = random.pick(&[tokens, tokens, 1, 0]);
            let shape = [random.range(1, 2), tokens, width, heads, queries];
            let input: Vec<f32> =
                random.values(shape[0] * tokens * 3 * width).iter().map(|x| 2.0 * x).collect();
            let gradient = random.values(shape[0] * queries * width);
            let kernel = AttentionGradient::new(class, tokens, width, heads).unwrap();
            let kernel = kernel.queries(queries);
            let mut scratch = vec![f32::NAN; kernel.scratch_len()];
            let mut out = vec![f32::NAN; input.len()];
            let team = &mut Team::serial(&mut scratch);
            kernel.run(team, shape[0], &input, &gradient, &mut out).unwrap();
            let name = format!("case {case}: {class} {shape:?}");
            check(&out, &input, &gradient, &mut random, &name, |input| attention(shape, input));
        }
    }
}

/// Pooling of each head of each sequence, by its definition.
fn attention_pool([n, tokens, width, heads]: [usize; 4], input: &[f64]) -> Vec<f64> {
    let (row, depth) = (heads + width, width / heads);
    let mut out = vec![0.0; n * width];
    for (index, out) in out.chunks_mut(depth).enumerate() {
        let (picture, head) = (index / heads, index % heads);
        let tokens = input[picture * tokens * row..][..tokens * row].chunks(row);
        let total: f64 = tokens.clone().map(|token| token[head].exp()).sum();
        for (d, out) in out.iter_mut().enumerate() {
            let weighted = |token: &[f64]| token[head].exp() * token[heads + head * depth + d];
            *out = tokens.clone().map(weighted).sum::<f64>() / total;
        }
    }
    out
}

#[test]
fn attention_pooling_over_random_shapes() {
    for class in KernelClass::available() {
        let mut random = Random(6);
        for case in 0..cases(60) {
            let heads = random.range(1, 3);
            let width = heads * random.pick(&[1, 4, 7, 16, 33, 64]);
            let tokens = random.pick(&[1, 2, 9, 16, 17, 33, 60]);
            let shape = [random.range(1, 2), tokens, width, heads];
            let count = shape[0] * tokens * (heads + width);
            let input: Vec<f32> = random.values(count).iter().map(|x| 2.0 * x).collect();
            let gradient = random.values(shape[0] * width);
            let kernel = AttentionPoolGradient::new(class, tokens, width, heads).unwrap();
            let mut scratch = vec![f32::NAN; kernel.scratch_len()];
            let mut out = vec![f32::NAN; input.len()];
            let team = &mut Team::serial(&mut scratch);
            kernel.run(team, shape[0], &input, &gradient, &mut out).unwrap();
            let name = format!("case {case}: {class} {shape:?}");
            check(&out, &input, &gradient, &mut random, &name, |input| {
                attention_pool(shape, input)
            });
        }
    }
}

/// Squeeze and excitation from the definition; `all`: weight and bias of both layers, the maps.
fn squeeze([n, pixels, channels]: [usize; 3], all: [&[f64]; 5]) -> Vec<f64> {
    let [w1, b1, w2, b2, maps] = all;
    let layer = |w: &[f64], b: &[f64], x: &[f64]| -> Vec<f64> {
        let sum = |w: &[f64]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
        w.chunks(x.len()).zip(b).map(|(w, b)| sum(w) + b).collect()
    };
    let mut out = Vec::with_capacity(n * pixels * channels);
    for map in maps.chunks(pixels * channels) {
        let mean = |c| map.iter().skip(c).step_by(channels).sum::<f64>() / pixels as f64;
        let means: Vec<f64> = (0..channels).map(mean).collect();
        let between: Vec<f64> = layer(w1, b1, &means).iter().map(|v| v.max(0.0)).collect();
        let factors = layer(w2, b2, &between);
        let scaled = map.iter().enumerate();
        out.extend(scaled.map(|(i, x)| x / (1.0 + (-factors[i % channels]).exp())));
    }
    out
}

#[test]
fn squeeze_and_excitation_over_random_shapes() {
    for class in KernelClass::available() {
        let mut random = Random(7);
        for case in 0..cases(40) {
            let shape = [random.range(1, 3), random.range(1, 12), random.pick(&[1, 4, 17, 32])];
            let [n, pixels, channels] = shape;
            let reduced = random.pick(&[1, 3, 8]);
            // No kink lies within the step of a difference.
            let [w1, w2] = [channels, 4].map(|part| {
                let values = random.values(channels * reduced);
                values.iter().map(|w| w / part as f32).collect::<Vec<f32>>()
            });
            let b1: Vec<f32> = random.values(reduced).iter().map(|b| b.signum() * 1.5).collect();
            let b2 = random.values(channels);
            let maps = random.values(n * pixels * channels);
            let gradient = random.values(maps.len());
            let sizes = [pixels, channels, reduced];
            let kernel = SqueezeExcite::new(class, sizes, (&w1, &b1), (&w2, &b2)).unwrap();
            let mut shared = vec![f32::NAN; SqueezeExciteGradient::shared_len(&kernel, n)];
            let mut found = [&w1, &b1, &w2, &b2].map(|own| vec![0.25f32; own.len()]);
            let mut out = vec![f32::NAN; maps.len()];
            let tensors = SqueezeExciteTensors {
                tensors: found.each_mut().map(Vec::as_mut_slice),
                accumulate: true,
            };
            let (of, weights) = ([&*maps, &*gradient], [&*w1, &*w2]);
            SqueezeExciteGradient::run(
                &mut Team::serial(&mut []),
                &mut shared,
                &kernel,
                n,
                of,
                weights,
                Some(tensors),
                Some(&mut out),
            )
            .unwrap();
            let name = format!("case {case}: {class} {shape:?}, {reduced}");
            let wide = [&w1, &b1, &w2, &b2, &maps].map(|own| f64s(own));
            for (at, own) in [&w1, &b1, &w2, &b2, &maps].into_iter().enumerate() {
                let found: Vec<f32> = match found.get(at) {
                    Some(found) => found.iter().map(|v| v - 0.25).collect(),
                    None => out.clone(),
                };
                check(&found, own, &gradient, &mut random, &format!("{name}: {at}"), |own| {
                    let mut all = wide.each_ref().map(Vec::as_slice);
                    all[at] = own;
                    squeeze(shape, all)
                });
            }
        }
    }
}

#[test]
fn activations_of_many_values() {
    for class in KernelClass::available() {
        let mut random = Random(5);
        for len in [0, 1, 15, 16, 37, if cfg!(miri) { 50 } else { 40_000 }] {
            let input: Vec<f32> = random.values(len).iter().map(|x| 5.9 * x).collect();
            let gradient = random.values(len);
            let team = &mut Team::serial(&mut []);
            let mut out = gradient.clone();
            activation_gradient(class, team, Activation::Gelu, &input, &mut out).unwrap();
            for activation in [Activation::QuickGelu, Activation::GeluTanh] {
                let mut out = gradient.clone();
                activation_gradient(class, team, activation, &input, &mut out).unwrap();
                for (i, &out) in out.iter().enumerate() {
                    let (x, step) = (f64::from(input[i]), 1e-5);
                    let at = |x: f64| activate(Some(activation), x);
                    let slope = (at(x + step) - at(x - step)) / (2.0 * step);
                    let error = f64::from(out) - f64::from(gradient[i]) * slope;
                    assert!(error.abs() < 2e-6, "{class}: {activation:?} at {x}: {error:e}");
                }
            }
            for (i, &out) in out.iter().enumerate() {
                // Φ(x) + x · φ(x): differences would divide the error of erf by their step.
                let x = f64::from(input[i]);
                let normal = if x == 0.0 { 0.5 } else { activate(Some(Activation::Gelu), x) / x };
                let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
                let slope = normal + x * density;
                let error = f64::from(out) - f64::from(gradient[i]) * slope;
                assert!(error.abs() < 1e-6, "{class}: GELU at {x}: off by {error:e}");
            }
            let (mut sum, mut product) = (gradient.clone(), gradient.clone());
            add(class, team, &input, &mut sum).unwrap();
            multiply(class, team, &input, &mut product).unwrap();
            for (i, (x, g)) in input.iter().zip(&gradient).enumerate() {
                assert_eq!((sum[i], product[i]), (x + g, x * g), "{class}");
            }
        }
    }
}
