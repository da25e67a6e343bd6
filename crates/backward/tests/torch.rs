//! All gradients against torch's in float64 (`reference/gradients.py`).
#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{f64s, relative_error};
use serde_json::Value;
use taper_backward::{
    Affine, AttentionGradient, BatchNorm, Convolution, ConvolutionMut, DataGradient, Gradients,
    LayerNormGradient, LayerScale, NormParameters, Normalised, PoolGradient, WeightGradient,
    activate, activation_gradient, class_token_gradient, global_average_pool_gradient,
    patch_tokens_gradient,
};
use taper_kernels::{
    Activation, Algorithm, Border, Conv2dShape, Epilogue, KernelClass, PackedFilter, PoolKind,
    Team, Window,
};

fn reference() -> Value {
    serde_json::from_str(include_str!("reference/gradients.json")).unwrap()
}

/// The same numbers as in the script.
fn fill(len: usize, phase: f64) -> Vec<f32> {
    (0..len).map(|i| (0.7 * i as f64 + phase).sin() as f32).collect()
}

fn map(values: Vec<f32>, f: impl Fn(f32) -> f32) -> Vec<f32> {
    values.into_iter().map(f).collect()
}

/// Compares with what the script has stored of a result.
fn assert_near(found: &[f32], stored: &Value, name: &str) {
    assert_within(found, stored, 5e-5, name);
}

fn assert_within(found: &[f32], stored: &Value, limit: f64, name: &str) {
    let step = stored["step"].as_u64().unwrap() as usize;
    let expected: Vec<f64> =
        stored["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let found: Vec<f64> = f64s(found).into_iter().step_by(step).collect();
    assert_eq!(found.len(), expected.len(), "{name}");
    let error = relative_error(&found, &expected);
    assert!(error < limit, "{name}: {error:e}");
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn pair(value: &Value) -> [usize; 2] {
    [0, 1].map(|i| number(&value[i]))
}

#[test]
fn convolutions() {
    for case in reference()["convolutions"].as_array().unwrap() {
        let [top, bottom, left, right] = [0, 1, 2, 3].map(|i| number(&case["padding"][i]));
        let window = Window {
            kernel: pair(&case["kernel"]),
            stride: pair(&case["stride"]),
            dilation: pair(&case["dilation"]),
            padding: Border { top, bottom, left, right },
        };
        let (from, to) = (number(&case["in"]), number(&case["out"]));
        let shape = Conv2dShape {
            groups: number(&case["groups"]),
            ..Conv2dShape::new(pair(&case["size"]), from, to, window)
        };
        let n = number(&case["n"]);
        let input = fill(n * shape.input_len(), 0.1);
        let weights = fill(shape.filter_len(), 0.2);
        let gradient = fill(n * shape.output_len().unwrap(), 0.4);
        for class in KernelClass::available() {
            let name = format!("{class} {shape}");
            let kernel = DataGradient::new(class, &shape, &weights).unwrap();
            let mut scratch = vec![f32::NAN; kernel.scratch_len()];
            let mut out = vec![f32::NAN; input.len()];
            let team = &mut Team::serial(&mut scratch);
            kernel.run(team, n, &gradient, Epilogue::default(), &mut out).unwrap();
            // Winograd's algorithm loses about a digit, in both directions.
            let winograd = Algorithm::for_shape(&shape) == Algorithm::WinogradF4;
            let limit = if winograd { 3e-4 } else { 5e-5 };
            assert_within(&out, &case["data"], limit, &name);

            let kernel = WeightGradient::new(class, &shape).unwrap();
            let mut scratch = vec![f32::NAN; kernel.scratch_len()];
            let mut shared = vec![f32::NAN; kernel.shared_len(n).unwrap()];
            let mut out = [vec![f32::NAN; weights.len()], vec![f32::NAN; to]];
            let [weights, bias] = &mut out;
            let into = Gradients { weights, bias: Some(bias), accumulate: false };
            let team = &mut Team::serial(&mut scratch);
            kernel.run(team, &mut shared, n, &input, &gradient, into).unwrap();
            assert_within(&out[0], &case["weights"], limit, &name);
            assert_near(&out[1], &case["bias"], &name);
        }
    }
}

#[test]
fn pools() {
    for case in reference()["pools"].as_array().unwrap() {
        let size = pair(&case["size"]);
        let mut input = fill(2 * size[0] * size[1] * 5, 0.5);
        if case["ties"].as_bool().unwrap() {
            input = map(input, |x| x.max(0.3));
        }
        let kind = match case["kind"].as_str().unwrap() {
            "max" => PoolKind::Max,
            kind => PoolKind::Average { count_include_pad: kind == "average" },
        };
        let window = Window::square(number(&case["kernel"]))
            .stride(number(&case["stride"]))
            .padding(Border::uniform(number(&case["padding"])));
        let [oh, ow] = window.output("pool", size).unwrap();
        let gradient = fill(2 * oh * ow * 5, 0.6);
        for class in KernelClass::available() {
            let kernel = PoolGradient::new(class, kind, size, 5, window).unwrap();
            let mut out = vec![f32::NAN; input.len()];
            let team = &mut Team::serial(&mut []);
            kernel.run(team, 2, &input, &gradient, Epilogue::default(), &mut out).unwrap();
            assert_near(&out, &case["data"], &format!("{class} {case}"));
        }
    }
}

#[test]
fn batch_norms() {
    let (rows, channels) = (60, 5);
    let input = map(fill(rows * channels, 0.7), |x| 3.0 * x + 2.0);
    let residual = fill(rows * channels, 1.2);
    for case in reference()["batch_norms"].as_array().unwrap() {
        let [training, added] = ["training", "residual"].map(|key| case[key].as_bool().unwrap());
        let factor = case["factor"].as_f64().unwrap() as f32;
        let scale = map(fill(channels, 0.8), |x| factor * (x + 1.5));
        let bias = map(fill(channels, 0.9), |x| factor * x);
        let activation = match (added, training) {
            (true, _) => Some(Activation::Relu),
            (false, true) => Some(Activation::Relu6),
            (false, false) => None,
        };
        let running = [fill(channels, 1.0), map(fill(channels, 1.1), |x| x.abs() + 0.5)];
        for class in KernelClass::available() {
            let norm = BatchNorm::new(class, channels, 1e-3).unwrap();
            let team = &mut Team::serial(&mut []);
            let mut shared = vec![f32::NAN; norm.shared_len(rows)];
            let [mut mean, mut variance] = running.clone();
            if training {
                norm.statistics(team, &mut shared, &input, &mut mean, &mut variance).unwrap();
                let unbiased = rows as f32 / (rows - 1) as f32;
                for c in 0..channels {
                    let mean = 0.9 * running[0][c] + 0.1 * mean[c];
                    assert_near_one(mean, &case["running_mean"], c);
                    let variance = 0.9 * running[1][c] + 0.1 * variance[c] * unbiased;
                    assert_near_one(variance, &case["running_variance"], c);
                }
            }
            let parameters =
                NormParameters { mean: &mean, variance: &variance, scale: &scale, bias: &bias };
            let residual = added.then_some(&*residual);
            let epilogue = Epilogue { residual, activation, mask: None };
            let mut out = vec![f32::NAN; input.len()];
            norm.run(team, &mut shared, &input, &parameters, epilogue, &mut out).unwrap();
            assert_near(&out, &case["out"], "out");

            let mut gradient = fill(rows * channels, 1.3);
            let mut data = vec![f32::NAN; input.len()];
            let (mut of_scale, mut of_bias) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
            let of = Normalised {
                input: &input,
                parameters,
                fixed: !training,
                mask: activation.map(|activation| (activation, &*out)),
            };
            let into = Affine { scale: &mut of_scale, bias: &mut of_bias, accumulate: false };
            let mut in_place = gradient.clone();
            norm.gradient(team, &mut shared, &of, &mut gradient, into, Some(&mut data)).unwrap();
            assert_near(&data, &case["data"], "data");
            assert_near(&of_scale, &case["scale"], "scale");
            assert_near(&of_bias, &case["bias"], "bias");
            if added {
                assert_near(&gradient, &case["added"], "residual");
            }
            let into = Affine { scale: &mut of_scale, bias: &mut of_bias, accumulate: true };
            norm.gradient(team, &mut shared, &of, &mut in_place, into, None).unwrap();
            assert_eq!(in_place, data);
            assert_near(&map(of_scale, |x| x / 2.0), &case["scale"], "scale, twice");
        }
    }
}

fn assert_near_one(found: f32, stored: &Value, at: usize) {
    let expected = stored["values"][at].as_f64().unwrap();
    assert!((f64::from(found) - expected).abs() < 1e-6, "{found} instead of {expected}");
}

#[test]
fn folded_batch_norms() {
    let window = Window::square(3).padding(Border::uniform(1));
    let shape = Conv2dShape::new([5, 4], 3, 4, window);
    let (input, weights) = (fill(2 * shape.input_len(), 0.1), fill(shape.filter_len(), 0.2));
    let bias = fill(4, 0.3);
    let [mean, variance] = [fill(4, 1.0), map(fill(4, 1.1), |x| x.abs() + 0.5)];
    let [scale, shift] = [map(fill(4, 0.8), |x| x + 1.5), fill(4, 0.9)];
    let parameters =
        NormParameters { mean: &mean, variance: &variance, scale: &scale, bias: &shift };
    let gradient = fill(2 * shape.output_len().unwrap(), 0.4);
    for case in reference()["folded"].as_array().unwrap() {
        let with_bias = case["with_bias"].as_bool().unwrap();
        let convolution = Convolution { weights: &weights, bias: with_bias.then_some(&*bias) };
        for class in KernelClass::available() {
            let norm = BatchNorm::new(class, 4, 1e-3).unwrap();
            let team = &mut Team::serial(&mut []);
            let (mut folded, mut term) = (vec![0.0; weights.len()], vec![0.0; 4]);
            let into = ConvolutionMut { weights: &mut folded, bias: &mut term };
            norm.fold(team, &parameters, convolution, into).unwrap();
            let filter = PackedFilter::<f32>::pack(class, &shape, &folded, Some(&term)).unwrap();
            let mut scratch = vec![0.0; filter.scratch_len()];
            let mut out = vec![0.0; gradient.len()];
            let of = &mut Team::serial(&mut scratch);
            filter.run(of, 2, &input, Epilogue::default(), &mut out).unwrap();
            assert_near(&out, &case["out"], "out");

            let kernel = WeightGradient::new(class, &shape).unwrap();
            let mut scratch = vec![0.0; kernel.scratch_len()];
            let mut shared = vec![0.0; kernel.shared_len(2).unwrap()];
            let (mut of_weights, mut of_bias) = (vec![0.0; weights.len()], vec![0.0; 4]);
            let into =
                Gradients { weights: &mut of_weights, bias: Some(&mut of_bias), accumulate: false };
            let of = &mut Team::serial(&mut scratch);
            kernel.run(of, &mut shared, 2, &input, &gradient, into).unwrap();
            let (mut of_scale, mut of_shift) = (vec![1.0; 4], vec![1.0; 4]);
            let gradients = ConvolutionMut { weights: &mut of_weights, bias: &mut of_bias };
            let into = Affine { scale: &mut of_scale, bias: &mut of_shift, accumulate: true };
            norm.unfold(team, &parameters, convolution, gradients, into).unwrap();
            assert_near(&of_weights, &case["weights"], "weights");
            if with_bias {
                assert_near(&of_bias, &case["conv_bias"], "bias of the convolution");
            }
            assert_near(&map(of_scale, |x| x - 1.0), &case["scale"], "scale");
            assert_near(&map(of_shift, |x| x - 1.0), &case["bias"], "bias");
        }
    }
}

#[test]
fn layer_norms() {
    for case in reference()["layer_norms"].as_array().unwrap() {
        let (rows, channels) = (number(&case["rows"]), number(&case["channels"]));
        let input = map(fill(rows * channels, 0.1), |x| 2.0 * x + 1.0);
        let scale = map(fill(channels, 0.8), |x| x + 1.5);
        for class in KernelClass::available() {
            let norm = LayerNormGradient::new(class, channels, 1e-6).unwrap();
            let mut gradient = fill(rows * channels, 0.4);
            let mut shared = vec![f32::NAN; norm.shared_len(rows)];
            let (mut of_scale, mut of_bias) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
            let into = Affine { scale: &mut of_scale, bias: &mut of_bias, accumulate: false };
            let team = &mut Team::serial(&mut []);
            norm.run(team, &mut shared, [&input, &scale], None, &mut gradient, into).unwrap();
            assert_near(&gradient, &case["data"], "data");
            assert_near(&of_scale, &case["scale"], "scale");
            assert_near(&of_bias, &case["bias"], "bias");
        }
    }
}

#[test]
fn activations() {
    let input: Vec<f32> = (-40..=40).map(|i| i as f32 / 4.0).collect();
    for (key, activation) in [
        ("relu", Activation::Relu),
        ("relu6", Activation::Relu6),
        ("gelu", Activation::Gelu),
        ("quick_gelu", Activation::QuickGelu),
        ("gelu_tanh", Activation::GeluTanh),
    ] {
        let case = &reference()[key];
        for class in KernelClass::available() {
            let team = &mut Team::serial(&mut []);
            let mut out = vec![f32::NAN; input.len()];
            activate(class, team, activation, &input, &mut out).unwrap();
            assert_near(&out, &case["out"], key);
            let mut gradient = fill(81, 0.4);
            let kept = if activation.is_clamp() { &out } else { &input };
            activation_gradient(class, team, activation, kept, &mut gradient).unwrap();
            assert_near(&gradient, &case["data"], key);
        }
    }
}

#[test]
fn attention() {
    for case in reference()["attention"].as_array().unwrap() {
        let [n, tokens, width, heads, queries] =
            ["n", "tokens", "width", "heads", "queries"].map(|key| number(&case[key]));
        let input = map(fill(n * tokens * 3 * width, 0.1), |x| 2.0 * x);
        let gradient = fill(n * queries * width, 0.4);
        for class in KernelClass::available() {
            let kernel = AttentionGradient::new(class, tokens, width, heads).unwrap();
            let kernel = kernel.queries(queries);
            let mut scratch = vec![f32::NAN; kernel.scratch_len()];
            let mut out = vec![f32::NAN; input.len()];
            let team = &mut Team::serial(&mut scratch);
            kernel.run(team, n, &input, &gradient, &mut out).unwrap();
            assert_near(&out, &case["data"], &format!("{class}, {tokens} tokens"));
        }
    }
}

#[test]
fn tokens_and_layer_scale() {
    let case = &reference()["tokens"];
    let (n, patches, width) = (2, 6, 5);
    let scale = map(fill(width, 0.8), |x| x + 1.5);
    for class in KernelClass::available() {
        let team = &mut Team::serial(&mut []);
        // What layer scale reads.
        let positions = fill((1 + patches) * width, 0.3);
        let mut table = positions.clone();
        table.iter_mut().zip(fill(width, 0.2)).for_each(|(t, c)| *t += c);
        let mut input = vec![0.0; n * table.len()];
        let patch = fill(n * patches * width, 0.1);
        let shape = [1, patches, width];
        taper_kernels::patch_tokens(class, team, n, shape, &table, &patch, &mut input).unwrap();

        let scaled = LayerScale::new(class, width).unwrap();
        let mut gradient = fill(input.len(), 0.4);
        let mut shared = vec![f32::NAN; scaled.shared_len(n * (1 + patches))];
        let mut of_scale = vec![f32::NAN; width];
        let into = (&mut *of_scale, false);
        scaled.gradient(team, &mut shared, &scale, &input, &mut gradient, into).unwrap();
        assert_near(&gradient, &case["tokens"], "tokens");
        assert_near(&of_scale, &case["scale"], "scale");

        let mut of_table = vec![f32::NAN; table.len()];
        let mut data = vec![f32::NAN; patch.len()];
        let into = Some((&mut *of_table, false));
        patch_tokens_gradient(class, team, n, shape, &gradient, into, Some(&mut data)).unwrap();
        assert_near(&data, &case["data"], "patches");
        assert_near(&of_table, &case["positions"], "positions");
        assert_near(&of_table[..width], &case["class"], "class token");
    }
}

#[test]
fn ends_of_networks() {
    let case = &reference()["ends"];
    let relu = map(fill(2 * 12 * 5, 0.1), |x| x.max(0.0));
    let gradient = fill(10, 0.4);
    for class in KernelClass::available() {
        let mut out = vec![f32::NAN; relu.len()];
        let epilogue = Epilogue { mask: Some(&relu), ..Epilogue::activation(Activation::Relu) };
        let team = &mut Team::serial(&mut []);
        global_average_pool_gradient(class, team, 2, [12, 5], &gradient, epilogue, &mut out)
            .unwrap();
        assert_near(&out, &case["pool"], "pool");
    }
    let mut out = vec![f32::NAN; 40];
    class_token_gradient(2, [4, 5], &gradient, &mut out).unwrap();
    assert_near(&out, &case["class"], "class token");
}
