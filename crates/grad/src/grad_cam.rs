//! Class activation maps: Grad-CAM on the last feature map of a network.

use taper_graph::{
    Activation, Attention, AttentionPool, Graph, LayerNorm, NodeId, Op, Shape, WeightSource,
};

use crate::{Error, Result, error::check_length, layer};

/// Grad-CAM: where in a picture a network saw what speaks for a class (Selvaraju et al., *Grad-CAM:
/// Visual explanations from deep networks via gradient-based localization*, 2017,
/// arXiv:1610.02391).
///
/// The layer looked at is the last feature map before it is pooled; for vision transformers it is
/// the first norm of the last block, without the class token, as in the documentation of
/// `pytorch-grad-cam` (`usage_examples/vit_example.py`). Holds the layers after it, for one picture
/// at a time; the layers before it are the caller's, e.g. a compiled plan's.
#[derive(Debug, Clone)]
pub struct GradCam {
    reader: String,
    layers: Vec<Layer>,
    /// Positions and channels of what [`GradCam::reader`] reads.
    input: [usize; 2],
    /// Which value is looked at: 0 is the input, i + 1 what layer i gives.
    target: usize,
    /// Positions before the map's: the class token, and registers.
    before: usize,
    grid: [usize; 2],
    covered: f32,
}

#[derive(Debug, Clone)]
struct Layer {
    op: Op,
    inputs: Vec<usize>,
    tensors: Vec<Vec<f32>>,
    /// How many positions are computed, from the first on: only one where no other is read.
    rows: usize,
    channels: usize,
}

impl GradCam {
    /// For pictures of `size` × `size` pixels. `weights` are those of the graph.
    ///
    /// # Errors
    /// [`Error::Layer`] if the network has no feature map that is pooled, or names a layer after it
    /// through which no gradient is computed here; any error of the graph.
    pub fn new(graph: &Graph, weights: &dyn WeightSource, size: usize) -> Result<Self> {
        let shapes = graph.shapes(size, size)?;
        let nodes = graph.nodes();
        let last = graph.last_feature_map();
        let fail = |id: NodeId, problem: &str| Error::Layer {
            network: graph.name().into(),
            layer: nodes[id].name.clone(),
            problem: problem.into(),
        };
        let reads = |input: NodeId| (0..nodes.len()).find(|&id| nodes[id].inputs.contains(&input));
        let none = "nothing is pooled after it, so that there is no activation map";
        let (from, target, reader, grid, covered, before) = match shapes[last] {
            Shape::Map { height, width, .. } => {
                let reader = reads(last).ok_or_else(|| fail(last, none))?;
                (last, last, reader, [height, width], 1.0, 0)
            }
            Shape::Tokens { .. } => {
                let attention =
                    (0..=last).rev().find(|&id| matches!(nodes[id].op, Op::Attention(_)));
                let attention = attention.ok_or_else(|| fail(last, none))?;
                let norm = nodes[nodes[attention].inputs[0]].inputs[0];
                let patches = (0..=last).find(|&id| matches!(nodes[id].op, Op::PatchTokens(_)));
                let map = patches.map(|id| shapes[nodes[id].inputs[0]]);
                let before = patches.map_or(0, |id| {
                    if let Op::PatchTokens(tokens) = nodes[id].op { tokens.prefix } else { 0 }
                });
                let (Some(Shape::Map { height, width, .. }), Op::LayerNorm(_)) =
                    (map, &nodes[norm].op)
                else {
                    return Err(fail(attention, none));
                };
                // Pictures are padded to whole patches on the right and at the bottom.
                let stride = graph.total_stride();
                let covered = (height * stride) as f32 / size as f32;
                (nodes[norm].inputs[0], norm, norm, [height, width], covered, before)
            }
            Shape::Vector(_) => return Err(fail(last, none)),
        };
        let (layers, target) = layers(graph, weights, &shapes, [from, target])?;
        let (rows, channels) = positions(shapes[from]);
        let (reader, input) = (nodes[reader].name.clone(), [rows, channels]);
        Ok(Self { reader, layers, input, target, before, grid, covered })
    }

    /// The layer whose input [`GradCam::map`] needs.
    pub fn reader(&self) -> &str {
        &self.reader
    }

    /// How many numbers that input has: positions × channels.
    pub fn input_len(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Height and width of the maps.
    pub fn grid(&self) -> [usize; 2] {
        self.grid
    }

    /// The side of the square that the map covers, as a multiple of the picture's: above 1 if the
    /// picture is padded.
    pub fn covered(&self) -> f32 {
        self.covered
    }

    /// The activation map, f32 `[height, width]`, at least 0: ReLU(Σ α A) over the channels, where
    /// α is the mean gradient of the channel.
    ///
    /// `input`: f32 `[positions, channels]`, what [`GradCam::reader`] reads. `gradient`: that of a
    /// class's logit with respect to the features, f32 `[features]`
    /// ([`Head::input_gradient`](crate::Head::input_gradient)).
    ///
    /// # Errors
    /// [`Error::Length`] if one of them has another length.
    pub fn map(&self, input: &[f32], gradient: &[f32]) -> Result<Vec<f32>> {
        check_length("input", input.len(), self.input_len())?;
        let width = self.layers.last().map_or(self.input_len(), |l| l.rows * l.channels);
        check_length("gradient", gradient.len(), width)?;
        let mut values = vec![input.to_vec()];
        for layer in &self.layers {
            let next = layer.forward(&values, &|value| self.channels(value))?;
            values.push(next);
        }
        let mut gradients: Vec<Vec<f32>> = values.iter().map(|v| vec![0.0; v.len()]).collect();
        if let Some(last) = gradients.last_mut() {
            last.copy_from_slice(gradient);
        }
        for (at, layer) in self.layers.iter().enumerate().rev() {
            let from = std::mem::take(&mut gradients[at + 1]);
            layer.backward(&values, &from, &mut gradients);
            gradients[at + 1] = from;
        }
        let channels = self.channels(self.target);
        let skip = self.before * channels;
        let (seen, slope) = (&values[self.target][skip..], &gradients[self.target][skip..]);
        let mut alpha = vec![0.0_f64; channels];
        for row in slope.chunks_exact(channels) {
            alpha.iter_mut().zip(row).for_each(|(sum, g)| *sum += f64::from(*g));
        }
        let n = (seen.len() / channels).max(1) as f64;
        let weighted = |row: &[f32]| row.iter().zip(&alpha).map(|(a, g)| f64::from(*a) * g).sum();
        let map = seen.chunks_exact(channels).map(|row| {
            let sum: f64 = weighted(row);
            (sum / n).max(0.0) as f32
        });
        Ok(map.collect())
    }

    fn channels(&self, value: usize) -> usize {
        value.checked_sub(1).map_or(self.input[1], |at| self.layers[at].channels)
    }
}

/// Positions and channels.
fn positions(shape: Shape) -> (usize, usize) {
    match shape {
        Shape::Map { height, width, channels } => (height * width, channels),
        Shape::Tokens { count, width } => (count, width),
        Shape::Vector(width) => (1, width),
    }
}

/// The layers between a value and the features, and which value is looked at.
fn layers(
    graph: &Graph,
    weights: &dyn WeightSource,
    shapes: &[Shape],
    [from, target]: [NodeId; 2],
) -> Result<(Vec<Layer>, usize)> {
    let nodes = graph.nodes();
    let parameters = graph.parameters();
    let mut place = vec![None; nodes.len()];
    place[from] = Some(0);
    let mut layers: Vec<Layer> = Vec::new();
    for id in from + 1..=graph.features() {
        let node = &nodes[id];
        let inputs: Option<Vec<usize>> = node.inputs.iter().map(|&input| place[input]).collect();
        let Some(inputs) = inputs else { continue };
        let fail = |problem: String| Error::Layer {
            network: graph.name().into(),
            layer: node.name.clone(),
            problem,
        };
        if !passes(&node.op) {
            let kind = node.op.kind();
            return Err(fail(format!(
                "no gradient is computed through {kind} for activation maps"
            )));
        }
        let own = parameters.iter().filter(|p| p.node == id);
        let tensors = own.map(|p| {
            let missing = || fail(format!("'{}' is missing in the weights", p.name));
            weights.values(&p.name).map(|v| v.into_owned()).ok_or_else(missing)
        });
        let (tensors, (rows, channels)) = (tensors.collect::<Result<_>>()?, positions(shapes[id]));
        layers.push(Layer { op: node.op, inputs, tensors, rows, channels });
        place[id] = Some(layers.len());
    }
    // What is not read is not computed.
    let mut all = vec![false; layers.len() + 1];
    for at in (0..layers.len()).rev() {
        let whole = match layers[at].op {
            Op::GlobalAvgPool | Op::Attention(_) | Op::AttentionPool(_) => true,
            Op::ClassToken => false,
            _ => all[at + 1],
        };
        layers[at].inputs.iter().for_each(|&input| all[input] |= whole);
        if !all[at + 1] {
            layers[at].rows = 1;
        }
    }
    Ok((layers, place[target].unwrap_or_default()))
}

fn passes(op: &Op) -> bool {
    match op {
        Op::GlobalAvgPool
        | Op::ClassToken
        | Op::Add
        | Op::Linear(_)
        | Op::LayerNorm(_)
        | Op::LayerScale(_)
        | Op::Activation(_)
        | Op::Attention(_)
        | Op::AttentionPool(_)
        | Op::Dropout(_) => true,
        Op::Input(_)
        | Op::Features(_)
        | Op::Conv2d(_)
        | Op::BatchNorm(_)
        | Op::MaxPool(_)
        | Op::SqueezeExcite(_)
        | Op::PatchTokens(_)
        | Op::UnitLength(_)
        | Op::Cosine(_) => false,
    }
}

impl Layer {
    fn forward(&self, values: &[Vec<f32>], width: &dyn Fn(usize) -> usize) -> Result<Vec<f32>> {
        let (x, n) = (&values[self.inputs[0]], self.rows * self.channels);
        Ok(match self.op {
            Op::GlobalAvgPool => {
                let rows = x.len() / self.channels;
                let mut sums = vec![0.0; self.channels];
                for row in x.chunks_exact(self.channels) {
                    sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
                sums.iter().map(|sum| sum / rows as f32).collect()
            }
            Op::Add => {
                let other = &values[self.inputs[1]];
                x.iter().zip(other).take(n).map(|(a, b)| a + b).collect()
            }
            Op::Linear(_) => {
                let inputs = width(self.inputs[0]);
                let bias = self.tensors.get(1).map(Vec::as_slice);
                let dims = [self.rows, inputs, self.channels];
                let mut y = vec![0.0; n];
                layer::linear(&x[..self.rows * inputs], &self.tensors[0], bias, dims, &mut y)?;
                y
            }
            Op::LayerNorm(LayerNorm { eps, .. }) => {
                let normal = x[..n].chunks_exact(self.channels).flat_map(|row| normal(row, eps).0);
                let affine = self.tensors[0].iter().zip(&self.tensors[1]).cycle();
                normal.zip(affine).map(|(x, (scale, bias))| x * scale + bias).collect()
            }
            Op::LayerScale(_) => {
                x[..n].iter().zip(self.tensors[0].iter().cycle()).map(|(x, s)| x * s).collect()
            }
            Op::Activation(activation) => x[..n].iter().map(|x| act(activation, *x).0).collect(),
            Op::Attention(attention) => attend(attention, x, self.rows),
            Op::AttentionPool(pool) => pooled(pool, x),
            _ => x[..n].to_vec(),
        })
    }

    /// Adds to the gradients of the inputs what comes from the output's.
    fn backward(&self, values: &[Vec<f32>], from: &[f32], gradients: &mut [Vec<f32>]) {
        let x = &values[self.inputs[0]];
        let into = |gradients: &mut [Vec<f32>], of: &mut dyn Iterator<Item = f32>| {
            gradients[self.inputs[0]].iter_mut().zip(of).for_each(|(to, g)| *to += g);
        };
        match self.op {
            Op::GlobalAvgPool => {
                let rows = (x.len() / self.channels) as f32;
                let each = from.iter().map(|g| g / rows);
                into(gradients, &mut each.cycle().take(x.len()));
            }
            Op::Add => {
                for &input in &self.inputs {
                    gradients[input].iter_mut().zip(from).for_each(|(to, g)| *to += g);
                }
            }
            Op::Linear(_) => {
                let inputs = self.tensors[0].len() / self.channels;
                let to = gradients[self.inputs[0]].chunks_exact_mut(inputs);
                for (to, from) in to.zip(from.chunks_exact(self.channels)) {
                    let weights = self.tensors[0].chunks_exact(inputs);
                    for (weight, g) in weights.zip(from).filter(|(_, g)| **g != 0.0) {
                        to.iter_mut().zip(weight).for_each(|(to, w)| *to += w * g);
                    }
                }
            }
            Op::LayerNorm(LayerNorm { eps, .. }) => {
                let rows = x.chunks_exact(self.channels).zip(from.chunks_exact(self.channels));
                let mut each = rows.flat_map(|(x, g)| norm_gradient(x, g, &self.tensors[0], eps));
                into(gradients, &mut each);
            }
            Op::LayerScale(_) => {
                let mut each = from.iter().zip(self.tensors[0].iter().cycle()).map(|(g, s)| g * s);
                into(gradients, &mut each);
            }
            Op::Activation(activation) => {
                into(gradients, &mut x.iter().zip(from).map(|(x, g)| act(activation, *x).1 * g));
            }
            Op::Attention(attention) => {
                attend_backward(attention, x, from, &mut gradients[self.inputs[0]]);
            }
            Op::AttentionPool(pool) => {
                pooled_backward(pool, x, from, &mut gradients[self.inputs[0]]);
            }
            _ => into(gradients, &mut from.iter().copied()),
        }
    }
}

/// A row with mean 0 and variance 1, and 1 / √(variance + ε).
fn normal(row: &[f32], eps: f64) -> (Vec<f32>, f64) {
    let n = row.len() as f64;
    let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
    let inverse = 1.0 / (variance + eps).sqrt();
    (row.iter().map(|x| ((f64::from(*x) - mean) * inverse) as f32).collect(), inverse)
}

fn norm_gradient(x: &[f32], from: &[f32], scale: &[f32], eps: f64) -> Vec<f32> {
    let (normal, inverse) = normal(x, eps);
    let scaled: Vec<f64> =
        from.iter().zip(scale).map(|(g, s)| f64::from(*g) * f64::from(*s)).collect();
    let n = x.len() as f64;
    let mean = scaled.iter().sum::<f64>() / n;
    let along = scaled.iter().zip(&normal).map(|(g, x)| g * f64::from(*x)).sum::<f64>() / n;
    let each = scaled.iter().zip(&normal);
    each.map(|(g, x)| (inverse * (g - mean - f64::from(*x) * along)) as f32).collect()
}

/// A function of a value, and its derivative there.
fn act(activation: Activation, x: f32) -> (f32, f32) {
    let clamped = |most: f32| (x.clamp(0.0, most), f32::from(x > 0.0 && x < most));
    match activation {
        Activation::Relu => clamped(f32::INFINITY),
        Activation::Relu6 => clamped(6.0),
        Activation::QuickGelu => sigmoid_unit(f64::from(x), [1.702, 0.0]),
        Activation::GeluTanh => {
            let factor = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
            sigmoid_unit(f64::from(x), [factor, 0.044715 * factor])
        }
        Activation::Gelu => {
            let x = f64::from(x);
            let (below, density) =
                (cumulative(x), (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt());
            ((x * below) as f32, (below + x * density) as f32)
        }
    }
}

/// x · σ(a x + b x³), and its derivative.
fn sigmoid_unit(x: f64, [a, b]: [f64; 2]) -> (f32, f32) {
    let share = 1.0 / (1.0 + (-(a * x + b * x.powi(3))).exp());
    let slope = share + (a * x + 3.0 * b * x.powi(3)) * share * (1.0 - share);
    ((x * share) as f32, slope as f32)
}

/// The normal distribution's cumulative function, to 1e-7 (Abramowitz and Stegun, *Handbook of
/// Mathematical Functions*, 7.1.26).
fn cumulative(x: f64) -> f64 {
    let z = x.abs() * std::f64::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let coefficients =
        [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let polynomial = coefficients.iter().fold(0.0, |sum, c| sum * t + c) * t;
    let tail = 0.5 * polynomial * (-z * z).exp();
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// Queries, keys and values of a head at a position, within its row.
fn parts(own: Attention, head: usize) -> [std::ops::Range<usize>; 3] {
    let d = own.width / own.heads;
    [0, 1, 2].map(|part| part * own.width + head * d..part * own.width + (head + 1) * d)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// How much a head's query at a position takes from each position.
fn shares(own: Attention, head: usize, query: usize, x: &[f32]) -> Vec<f32> {
    let [q, k, _] = parts(own, head);
    let factor = 1.0 / ((own.width / own.heads) as f32).sqrt();
    let row = 3 * own.width;
    let query = &x[query * row..][q];
    softmax(x.chunks_exact(row).map(|x| factor * dot(query, &x[k.clone()])).collect())
}

fn softmax(scores: Vec<f32>) -> Vec<f32> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponents: Vec<f32> = scores.iter().map(|s| (s - most).exp()).collect();
    let sum: f32 = exponents.iter().sum();
    exponents.iter().map(|e| e / sum).collect()
}

/// The first `queries` positions of an attention.
fn attend(own: Attention, x: &[f32], queries: usize) -> Vec<f32> {
    let mut out = vec![0.0; queries * own.width];
    for (query, out) in out.chunks_exact_mut(own.width).enumerate() {
        for head in 0..own.heads {
            let [q, _, v] = parts(own, head);
            let shares = shares(own, head, query, x);
            for (x, share) in x.chunks_exact(3 * own.width).zip(shares) {
                let to = out[q.clone()].iter_mut().zip(&x[v.clone()]);
                to.for_each(|(to, value)| *to += share * value);
            }
        }
    }
    out
}

fn attend_backward(own: Attention, x: &[f32], from: &[f32], to: &mut [f32]) {
    let factor = 1.0 / ((own.width / own.heads) as f32).sqrt();
    let row = 3 * own.width;
    for (query, from) in from.chunks_exact(own.width).enumerate() {
        for head in 0..own.heads {
            let [q, k, v] = parts(own, head);
            let (from, shares) = (&from[q.clone()], shares(own, head, query, x));
            let rows = x.chunks_exact(row);
            let of_share: Vec<f32> = rows.map(|x| dot(from, &x[v.clone()])).collect();
            let mean = dot(&shares, &of_share);
            let asked = x[query * row..][q.clone()].to_vec();
            let mut of_query = vec![0.0; asked.len()];
            for (at, (share, of_share)) in shares.iter().zip(&of_share).enumerate() {
                let score = factor * share * (of_share - mean);
                let (x, to) = (&x[at * row..][..row], &mut to[at * row..][..row]);
                to[v.clone()].iter_mut().zip(from).for_each(|(to, g)| *to += share * g);
                to[k.clone()].iter_mut().zip(&asked).for_each(|(to, q)| *to += score * q);
                of_query.iter_mut().zip(&x[k.clone()]).for_each(|(to, k)| *to += score * k);
            }
            to[query * row..][q].iter_mut().zip(&of_query).for_each(|(to, g)| *to += g);
        }
    }
}

/// What attention pooling makes of tokens: one.
fn pooled(own: AttentionPool, x: &[f32]) -> Vec<f32> {
    let (row, d) = (own.heads + own.width, own.width / own.heads);
    let mut out = vec![0.0; own.width];
    for (head, out) in out.chunks_exact_mut(d).enumerate() {
        let shares = softmax(x.chunks_exact(row).map(|x| x[head]).collect());
        for (x, share) in x.chunks_exact(row).zip(shares) {
            let values = &x[own.heads + head * d..][..d];
            out.iter_mut().zip(values).for_each(|(to, value)| *to += share * value);
        }
    }
    out
}

fn pooled_backward(own: AttentionPool, x: &[f32], from: &[f32], to: &mut [f32]) {
    let (row, d) = (own.heads + own.width, own.width / own.heads);
    for (head, from) in from.chunks_exact(d).enumerate() {
        let first = own.heads + head * d;
        let shares = softmax(x.chunks_exact(row).map(|x| x[head]).collect());
        let slopes: Vec<f32> = x.chunks_exact(row).map(|x| dot(from, &x[first..][..d])).collect();
        let mean = dot(&shares, &slopes);
        for (to, (share, slope)) in to.chunks_exact_mut(row).zip(shares.iter().zip(&slopes)) {
            to[head] += share * (slope - mean);
            to[first..][..d].iter_mut().zip(from).for_each(|(to, g)| *to += share * g);
        }
    }
}
