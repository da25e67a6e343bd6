//! A network in f64, layer by layer, straight from the definitions: what a plan must agree with.
#![allow(dead_code, unreachable_pub)]

use taper_graph::{Activation, Graph, Op, Shape, WeightSource};

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
        let input = |i: usize| &values[node.inputs[i]];
        let value = match node.op {
            Op::Input { channels } => pixels
                .iter()
                .enumerate()
                .map(|(i, &x)| {
                    (f64::from(x) / 255.0 - f64::from(mean[i % channels]))
                        / f64::from(std[i % channels])
                })
                .collect(),
            Op::Conv2d(c) => {
                let Shape::Map { height: h, width: w, .. } = shapes[node.inputs[0]] else {
                    panic!()
                };
                let Shape::Map { height: oh, width: ow, .. } = shapes[id] else { panic!() };
                let kernel = tensor(weights, &node.name, "weight");
                let bias = if c.bias {
                    tensor(weights, &node.name, "bias")
                } else {
                    vec![0.0; c.out_channels]
                };
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
                            let pixel = &input(0)[(iy * w + ix) * c.in_channels..][..c.in_channels];
                            for (i, &a) in pixel.iter().enumerate() {
                                let group = i / ci;
                                let row =
                                    &packed[((t * c.groups + group) * ci + i % ci) * co..][..co];
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
            Op::BatchNorm { channels, eps, .. } => {
                let get = |name| tensor(weights, &node.name, name);
                let (gamma, beta, mean, var) =
                    (get("weight"), get("bias"), get("running_mean"), get("running_var"));
                let norm = |(i, &x): (usize, &f64)| {
                    let c = i % channels;
                    (x - mean[c]) / (var[c] + eps).sqrt() * gamma[c] + beta[c]
                };
                input(0).iter().enumerate().map(norm).collect()
            }
            Op::Activation(Activation::Relu) => input(0).iter().map(|x| x.max(0.0)).collect(),
            Op::Activation(Activation::Relu6) => {
                input(0).iter().map(|x| x.clamp(0.0, 6.0)).collect()
            }
            Op::MaxPool(p) => {
                let Shape::Map { height: h, width: w, channels } = shapes[node.inputs[0]] else {
                    panic!()
                };
                let Shape::Map { height: oh, width: ow, .. } = shapes[id] else { panic!() };
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
                                *best = best.max(input(0)[(iy * w + ix) * channels + c]);
                            }
                        }
                    }
                }
                out
            }
            Op::GlobalAvgPool => {
                let channels = shapes[id].channels();
                let pixels = input(0).len() / channels;
                (0..channels)
                    .map(|c| {
                        (0..pixels).map(|p| input(0)[p * channels + c]).sum::<f64>() / pixels as f64
                    })
                    .collect()
            }
            Op::Linear { in_features, out_features, bias } => {
                let kernel = tensor(weights, &node.name, "weight");
                let bias = if bias {
                    tensor(weights, &node.name, "bias")
                } else {
                    vec![0.0; out_features]
                };
                (0..out_features)
                    .map(|o| {
                        let row = &kernel[o * in_features..][..in_features];
                        bias[o] + row.iter().zip(input(0)).map(|(a, b)| a * b).sum::<f64>()
                    })
                    .collect()
            }
            Op::Add => input(0).iter().zip(input(1)).map(|(a, b)| a + b).collect(),
            Op::Dropout { .. } => input(0).clone(),
            ref other => panic!("no reference for {other:?}"),
        };
        values.push(value);
    }
    values.swap_remove(graph.output())
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
