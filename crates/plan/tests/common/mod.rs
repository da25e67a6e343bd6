//! A network in f64, layer by layer, straight from the definitions: the reference for plans. Only
//! the resampling of positions is the graph's own, which `zoo_parity` compares with timm's.
#![allow(dead_code, unreachable_pub)]

use taper_graph::{
    Activation, Attention, AttentionPool, BatchNorm, Conv2d, Cosine, Graph, Input, LayerNorm,
    LayerScale, Linear, MaxPool, Op, PatchTokens, Shape, SqueezeExcite, UnitLength, WeightSource,
};

/// Pixels that differ from place to place.
pub fn pixels(len: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn tensor(weights: &dyn WeightSource, layer: &str, name: &str) -> Vec<f64> {
    let values = weights.values(&format!("{layer}.{name}")).expect("the weights hold the tensor");
    values.iter().map(|&v| f64::from(v)).collect()
}

fn activated(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Gelu => x * 0.5 * (1.0 + erf(x / 2f64.sqrt())),
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
    }
}

/// The output of the graph's last layer for one picture.
pub fn reference(
    graph: &Graph,
    weights: &dyn WeightSource,
    [height, width]: [usize; 2],
    mean: &[f32],
    std: &[f32],
    pixels: &[u8],
) -> Vec<f64> {
    let shapes = graph.shapes(height, width).expect("the size fits");
    let mut values: Vec<Vec<f64>> = Vec::new();
    for (id, node) in graph.nodes().iter().enumerate() {
        let input = |i: usize| values[node.inputs[i]].as_slice();
        let before = node.inputs.first().map(|&i| shapes[i]);
        let get = |name| tensor(weights, &node.name, name);
        let each = |f: &dyn Fn(f64) -> f64| input(0).iter().map(|&x| f(x)).collect();
        let value = match node.op {
            Op::Input(Input { channels }) => pixels
                .iter()
                .enumerate()
                .map(|(i, &x)| {
                    (f64::from(x) / 255.0 - f64::from(mean[i % channels]))
                        / f64::from(std[i % channels])
                })
                .collect(),
            Op::Features(_) => panic!("plans start from pictures"),
            Op::Conv2d(c) => convolution(&c, input(0), before, shapes[id], &get),
            Op::BatchNorm(BatchNorm { channels, eps, .. }) => {
                let (gamma, beta, mean, var) =
                    (get("weight"), get("bias"), get("running_mean"), get("running_var"));
                let norm = |(i, &x): (usize, &f64)| {
                    let c = i % channels;
                    (x - mean[c]) / (var[c] + eps).sqrt() * gamma[c] + beta[c]
                };
                input(0).iter().enumerate().map(norm).collect()
            }
            Op::Activation(activation) => each(&|x| activated(activation, x)),
            Op::MaxPool(p) => max_pool(&p, input(0), before, shapes[id]),
            Op::GlobalAvgPool => {
                let channels = shapes[id].channels();
                let pixels = input(0).len() / channels;
                let mean = |c| (0..pixels).map(|p| input(0)[p * channels + c]).sum::<f64>();
                (0..channels).map(|c| mean(c) / pixels as f64).collect()
            }
            Op::Linear(Linear { in_features, out_features, bias }) => {
                let kernel = get("weight");
                let bias = if bias { get("bias") } else { vec![0.0; out_features] };
                let of_row = |x: &[f64]| -> Vec<f64> {
                    let sum = |w: &[f64]| w.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
                    kernel.chunks(in_features).zip(&bias).map(|(w, b)| sum(w) + b).collect()
                };
                input(0).chunks(in_features).flat_map(of_row).collect()
            }
            Op::Add => input(0).iter().zip(input(1)).map(|(a, b)| a + b).collect(),
            Op::LayerNorm(LayerNorm { channels, eps }) => {
                let (scale, bias) = (get("weight"), get("bias"));
                let of_row = |x: &[f64]| -> Vec<f64> {
                    let mean = x.iter().sum::<f64>() / channels as f64;
                    let variance =
                        x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / channels as f64;
                    let norm = |(c, v): (usize, &f64)| {
                        (v - mean) / (variance + eps).sqrt() * scale[c] + bias[c]
                    };
                    x.iter().enumerate().map(norm).collect()
                };
                input(0).chunks(channels).flat_map(of_row).collect()
            }
            Op::LayerScale(LayerScale { channels }) => {
                let gamma = get("gamma");
                input(0).iter().enumerate().map(|(i, x)| x * gamma[i % channels]).collect()
            }
            Op::Dropout(_) => input(0).to_vec(),
            Op::PatchTokens(tokens) => {
                let Some(Shape::Map { height, width, .. }) = before else { panic!() };
                tokens_of(&tokens, &node.name, weights, [height, width], input(0))
            }
            Op::SqueezeExcite(own) => {
                let tensors = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"];
                squeezed(own, input(0), &tensors.map(&get))
            }
            Op::Attention(attention) => attend(attention, input(0)),
            Op::AttentionPool(pool) => pooled(pool, input(0)),
            Op::ClassToken => input(0)[..shapes[id].channels()].to_vec(),
            Op::UnitLength(UnitLength { scale }) => {
                let of_row = |x: &[f64]| -> Vec<f64> {
                    x.iter().map(|v| v * f64::from(scale) / length(x)).collect()
                };
                input(0).chunks(shapes[id].channels()).flat_map(of_row).collect()
            }
            Op::Cosine(Cosine { in_features, scale, .. }) => {
                let factor = f64::from(scale) * get("gamma")[0] / length(input(0));
                let sum = |w: &[f64]| w.iter().zip(input(0)).map(|(a, b)| a * b).sum::<f64>();
                get("weight").chunks(in_features).map(|w| sum(w) * factor / length(w)).collect()
            }
        };
        values.push(value);
    }
    values.swap_remove(graph.output())
}

/// The length of a vector.
fn length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// By its series, which is accurate to 1e-8 where the result is not 1 anyway.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.2 {
        return x.signum();
    }
    let (mut sum, mut term) = (0.0, x);
    for n in 1..200 {
        sum += term / f64::from(2 * n - 1);
        term *= -x * x / f64::from(n);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

/// Learned tokens, then patches, with their positions.
fn tokens_of(
    tokens: &PatchTokens,
    name: &str,
    weights: &dyn WeightSource,
    grid: [usize; 2],
    input: &[f64],
) -> Vec<f64> {
    let [class, positions] = PatchTokens::names(name);
    let read = |name: &str| weights.values(name).expect("the weights hold it");
    let class = if tokens.prefix > 0 { read(&class).into_owned() } else { Vec::new() };
    let table = tokens.table(&class, &read(&positions), grid);
    let front = vec![0.0; tokens.prefix * tokens.width];
    let patches = front.into_iter().chain(input.iter().copied());
    table.iter().zip(patches).map(|(&a, b)| f64::from(a) + b).collect()
}

/// Each channel times what two layers make of the means.
fn squeezed(op: SqueezeExcite, input: &[f64], [w1, b1, w2, b2]: &[Vec<f64>; 4]) -> Vec<f64> {
    let (channels, pixels) = (op.channels, input.len() / op.channels);
    let mean = |c| (0..pixels).map(|p| input[p * channels + c]).sum::<f64>();
    let means: Vec<f64> = (0..channels).map(|c| mean(c) / pixels as f64).collect();
    let layer = |weight: &[f64], bias: &[f64], x: &[f64]| -> Vec<f64> {
        let sum = |w: &[f64]| w.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
        weight.chunks(x.len()).zip(bias).map(|(w, b)| sum(w) + b).collect()
    };
    let between: Vec<f64> = layer(w1, b1, &means).iter().map(|v| v.max(0.0)).collect();
    assert_eq!(between.len(), op.reduced);
    let factors: Vec<f64> = layer(w2, b2, &between);
    let scaled = input.iter().enumerate();
    scaled.map(|(i, x)| x / (1.0 + (-factors[i % channels]).exp())).collect()
}

/// One token from tokens with scores and values.
fn pooled(AttentionPool { width, heads }: AttentionPool, input: &[f64]) -> Vec<f64> {
    let (row, depth) = (heads + width, width / heads);
    let mut out = vec![0.0; width];
    for (head, out) in out.chunks_mut(depth).enumerate() {
        let weights: Vec<f64> = input.chunks(row).map(|token| token[head].exp()).collect();
        let sum: f64 = weights.iter().sum();
        for (token, weight) in input.chunks(row).zip(weights) {
            let values = &token[heads + head * depth..][..depth];
            out.iter_mut().zip(values).for_each(|(o, v)| *o += weight / sum * v);
        }
    }
    out
}

fn attend(Attention { width, heads }: Attention, input: &[f64]) -> Vec<f64> {
    let depth = width / heads;
    let tokens = input.len() / (3 * width);
    let part = |token: usize, which: usize, head: usize| {
        &input[(3 * token + which) * width + head * depth..][..depth]
    };
    let mut out = vec![0.0; tokens * width];
    for (query, row) in out.chunks_mut(width).enumerate() {
        for (head, out) in row.chunks_mut(depth).enumerate() {
            let score = |key: usize| {
                let pairs = part(query, 0, head).iter().zip(part(key, 1, head));
                pairs.map(|(a, b)| a * b).sum::<f64>() / (depth as f64).sqrt()
            };
            let scores: Vec<f64> = (0..tokens).map(score).collect();
            let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - highest).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for (key, weight) in weights.iter().enumerate() {
                let value = part(key, 2, head);
                out.iter_mut().zip(value).for_each(|(o, v)| *o += weight / sum * v);
            }
        }
    }
    out
}

fn convolution(
    c: &Conv2d,
    input: &[f64],
    before: Option<Shape>,
    after: Shape,
    tensor: &dyn Fn(&'static str) -> Vec<f64>,
) -> Vec<f64> {
    let Some(Shape::Map { height: h, width: w, .. }) = before else { panic!() };
    let Shape::Map { height: oh, width: ow, .. } = after else { panic!() };
    let kernel = tensor("weight");
    let bias = if c.bias { tensor("bias") } else { vec![0.0; c.out_channels] };
    let (top, _) = c.padding.amounts(h, c.kernel, c.stride, c.dilation);
    let (left, _) = c.padding.amounts(w, c.kernel, c.stride, c.dilation);
    let (ci, co) = (c.in_channels / c.groups, c.out_channels / c.groups);
    // [tap][input][output of the group], so that the inner loop runs over neighbours.
    let taps = c.kernel * c.kernel;
    let mut out = Vec::with_capacity(oh * ow * c.out_channels);
    let mut packed = vec![0.0; kernel.len()];
    for o in 0..c.out_channels {
        for i in 0..ci {
            for t in 0..taps {
                packed[((t * c.groups + o / co) * ci + i) * co + o % co] =
                    kernel[(o * ci + i) * taps + t];
            }
        }
    }
    for y in 0..oh {
        for x in 0..ow {
            let mut sums = bias.clone();
            for t in 0..taps {
                let iy = (y * c.stride + t / c.kernel * c.dilation).wrapping_sub(top);
                let ix = (x * c.stride + t % c.kernel * c.dilation).wrapping_sub(left);
                if iy >= h || ix >= w {
                    continue;
                }
                let pixel = &input[(iy * w + ix) * c.in_channels..][..c.in_channels];
                for (i, &a) in pixel.iter().enumerate() {
                    let group = i / ci;
                    let row = &packed[((t * c.groups + group) * ci + i % ci) * co..][..co];
                    for (sum, b) in sums[group * co..][..co].iter_mut().zip(row) {
                        *sum += a * b;
                    }
                }
            }
            out.extend(sums);
        }
    }
    out
}

fn max_pool(p: &MaxPool, input: &[f64], before: Option<Shape>, after: Shape) -> Vec<f64> {
    let Some(Shape::Map { height: h, width: w, channels }) = before else { panic!() };
    let Shape::Map { height: oh, width: ow, .. } = after else { panic!() };
    let (top, _) = p.padding.amounts(h, p.kernel, p.stride, 1);
    let (left, _) = p.padding.amounts(w, p.kernel, p.stride, 1);
    let mut out = vec![f64::NEG_INFINITY; oh * ow * channels];
    for y in 0..oh {
        for x in 0..ow {
            for t in 0..p.kernel * p.kernel {
                let iy = (y * p.stride + t / p.kernel).wrapping_sub(top);
                let ix = (x * p.stride + t % p.kernel).wrapping_sub(left);
                if iy >= h || ix >= w {
                    continue;
                }
                for c in 0..channels {
                    let best = &mut out[(y * ow + x) * channels + c];
                    *best = best.max(input[(iy * w + ix) * channels + c]);
                }
            }
        }
    }
    out
}

/// Root mean square of the difference, relative to that of the reference.
pub fn relative_error(actual: &[f32], reference: &[f64]) -> f64 {
    assert_eq!(actual.len(), reference.len());
    let pairs = || actual.iter().map(|&a| f64::from(a)).zip(reference);
    let difference: f64 = pairs().map(|(a, r)| (a - r) * (a - r)).sum();
    let size: f64 = reference.iter().map(|r| r * r).sum();
    if difference.is_nan() { f64::INFINITY } else { (difference / size).sqrt() }
}

/// Cosine of the angle between two vectors.
pub fn cosine(a: &[f32], b: &[f64]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(&a, b)| f64::from(a) * b).sum();
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    dot / norm(&mut a.iter().map(|&x| f64::from(x))) / norm(&mut b.iter().copied())
}
