//! The operations of a network as nodes of ONNX: one function for each, shared by the folded form
//! and the one that keeps every layer. `x` is the value that a layer reads, `name` the layer's.

use std::borrow::Cow;

use taper_graph::{
    Activation, Attention, AttentionPool, Conv2d, Cosine, MaxPool, Padding, PatchTokens, Shape,
    SqueezeExcite,
};

use crate::{builder::Builder, proto::Attribute};

/// A layer's name, and what its tensors and values are prefixed with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) prefix: &'static str,
    pub(crate) layer: &'a str,
}

impl Place<'_> {
    /// The name of a value or tensor of this layer.
    fn named(self, own: &str) -> String {
        format!("{}{}.{own}", self.prefix, self.layer)
    }

    /// The name of the value that the layer gives.
    fn result(self) -> String {
        format!("{}{}", self.prefix, self.layer)
    }
}

fn pads(padding: Padding, [height, width]: [usize; 2], window: (usize, usize, usize)) -> Attribute {
    let (kernel, stride, dilation) = window;
    let (top, bottom) = padding.amounts(height, kernel, stride, dilation);
    let (left, right) = padding.amounts(width, kernel, stride, dilation);
    Attribute::ints("pads", [top, left, bottom, right].map(|n| n as i64))
}

fn both(name: &str, n: usize) -> Attribute {
    Attribute::ints(name, [n as i64; 2])
}

/// A convolution over a map of these sides; `weight` in torch's layout, `bias` perhaps empty.
pub(crate) fn conv(
    b: &mut Builder,
    at: Place<'_>,
    x: &str,
    op: &Conv2d,
    sides: [usize; 2],
    (weight, bias): (&[f32], &[f32]),
) -> String {
    let shape = [op.out_channels, op.in_channels / op.groups, op.kernel, op.kernel];
    let weight = b.floats(at.named("weight"), &shape, weight);
    let mut inputs = vec![x.to_owned(), weight];
    if !bias.is_empty() {
        inputs.push(b.floats(at.named("bias"), &[op.out_channels], bias));
    }
    let attributes = vec![
        both("kernel_shape", op.kernel),
        both("strides", op.stride),
        both("dilations", op.dilation),
        Attribute::int("group", op.groups as i64),
        pads(op.padding, sides, (op.kernel, op.stride, op.dilation)),
    ];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    b.node("Conv", at.result(), &inputs, attributes)
}

/// A maximum over a window of a map of these sides.
pub(crate) fn max_pool(
    b: &mut Builder,
    at: Place<'_>,
    x: &str,
    op: &MaxPool,
    sides: [usize; 2],
) -> String {
    let attributes = vec![
        both("kernel_shape", op.kernel),
        both("strides", op.stride),
        pads(op.padding, sides, (op.kernel, op.stride, 1)),
    ];
    b.node("MaxPool", at.result(), &[x], attributes)
}

/// The mean over all positions of a map.
pub(crate) fn global_avg_pool(b: &mut Builder, at: Place<'_>, x: &str) -> String {
    let mean = b.node("GlobalAveragePool", at.named("mean"), &[x], Vec::new());
    b.node("Flatten", at.result(), &[&mean], vec![Attribute::int("axis", 1)])
}

/// A fully connected layer over a vector or over tokens; `weight` `[out, in]`, `bias` perhaps
/// empty.
pub(crate) fn linear(
    b: &mut Builder,
    at: Place<'_>,
    x: &str,
    shape: Shape,
    [outputs, inputs]: [usize; 2],
    (weight, bias): (&[f32], &[f32]),
) -> String {
    if matches!(shape, Shape::Tokens { .. }) {
        let transposed: Vec<f32> =
            (0..inputs).flat_map(|i| weight[i..].iter().step_by(inputs).copied()).collect();
        let weight = b.floats(at.named("weight"), &[inputs, outputs], &transposed);
        if bias.is_empty() {
            return b.node("MatMul", at.result(), &[x, &weight], Vec::new());
        }
        let product = b.node("MatMul", at.named("product"), &[x, &weight], Vec::new());
        let bias = b.floats(at.named("bias"), &[outputs], bias);
        return b.node("Add", at.result(), &[&product, &bias], Vec::new());
    }
    let mut operands = vec![x.to_owned(), b.floats(at.named("weight"), &[outputs, inputs], weight)];
    if !bias.is_empty() {
        operands.push(b.floats(at.named("bias"), &[outputs], bias));
    }
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    b.node("Gemm", at.result(), &operands, vec![Attribute::int("transB", 1)])
}

/// A function of each value.
pub(crate) fn activation(b: &mut Builder, at: Place<'_>, x: &str, op: Activation) -> String {
    match op {
        Activation::Relu => b.node("Relu", at.result(), &[x], Vec::new()),
        Activation::Relu6 => {
            let (low, high) = (b.number(at.named("low"), 0.0), b.number(at.named("high"), 6.0));
            b.node("Clip", at.result(), &[x, &low, &high], Vec::new())
        }
        Activation::Gelu => {
            // x · (1 + erf(x / √2)) / 2: the form that runtimes recognise; the operator Gelu exists
            // from version 20 on only.
            let root = b.number(at.named("root"), std::f32::consts::SQRT_2);
            let one = b.number(at.named("one"), 1.0);
            let half = b.number(at.named("half"), 0.5);
            let scaled = b.node("Div", at.named("scaled"), &[x, &root], Vec::new());
            let erf = b.node("Erf", at.named("erf"), &[&scaled], Vec::new());
            let sum = b.node("Add", at.named("sum"), &[&erf, &one], Vec::new());
            let product = b.node("Mul", at.named("product"), &[x, &sum], Vec::new());
            b.node("Mul", at.result(), &[&product, &half], Vec::new())
        }
        Activation::QuickGelu => {
            let factor = b.number(at.named("factor"), 1.702);
            let scaled = b.node("Mul", at.named("scaled"), &[x, &factor], Vec::new());
            let share = b.node("Sigmoid", at.named("share"), &[&scaled], Vec::new());
            b.node("Mul", at.result(), &[x, &share], Vec::new())
        }
        Activation::GeluTanh => {
            // x · σ(x · (a + b x²)), which is x · (1 + tanh(…)) / 2.
            let (first, third) = (1.595_769_2, 1.595_769_2 * 0.044_715);
            let (first, third) =
                (b.number(at.named("first"), first), b.number(at.named("third"), third));
            let square = b.node("Mul", at.named("square"), &[x, x], Vec::new());
            let growing = b.node("Mul", at.named("growing"), &[&square, &third], Vec::new());
            let factor = b.node("Add", at.named("factor"), &[&growing, &first], Vec::new());
            let scaled = b.node("Mul", at.named("scaled"), &[x, &factor], Vec::new());
            let share = b.node("Sigmoid", at.named("share"), &[&scaled], Vec::new());
            b.node("Mul", at.result(), &[x, &share], Vec::new())
        }
    }
}

/// The sum of two values.
pub(crate) fn add(b: &mut Builder, at: Place<'_>, x: &str, y: &str) -> String {
    b.node("Add", at.result(), &[x, y], Vec::new())
}

/// Normalisation over the channels of each position of a map, of tokens, or of a vector.
pub(crate) fn layer_norm(
    b: &mut Builder,
    at: Place<'_>,
    x: &str,
    shape: Shape,
    eps: f64,
    (scale, bias): (&[f32], &[f32]),
) -> String {
    let scale = b.floats(at.named("weight"), &[scale.len()], scale);
    let bias = b.floats(at.named("bias"), &[bias.len()], bias);
    let attributes = vec![Attribute::int("axis", -1), Attribute::float("epsilon", eps)];
    if !matches!(shape, Shape::Map { .. }) {
        return b.node("LayerNormalization", at.result(), &[x, &scale, &bias], attributes);
    }
    let last = b.node("Transpose", at.named("last"), &[x], vec![perm([0, 2, 3, 1])]);
    let normed = at.named("normed");
    let normed = b.node("LayerNormalization", normed, &[&last, &scale, &bias], attributes);
    b.node("Transpose", at.result(), &[&normed], vec![perm([0, 3, 1, 2])])
}

fn perm<const N: usize>(axes: [i64; N]) -> Attribute {
    Attribute::ints("perm", axes)
}

/// A factor for each channel, and what is added to it, unless empty.
pub(crate) fn per_channel(
    b: &mut Builder,
    at: Place<'_>,
    x: &str,
    shape: Shape,
    (scale, shift): (&[f32], &[f32]),
) -> String {
    let dims: Vec<usize> = match shape {
        Shape::Map { .. } => vec![scale.len(), 1, 1],
        Shape::Tokens { .. } | Shape::Vector(_) => vec![scale.len()],
    };
    let scale = b.floats(at.named("scale"), &dims, scale);
    if shift.is_empty() {
        return b.node("Mul", at.result(), &[x, &scale], Vec::new());
    }
    let product = b.node("Mul", at.named("product"), &[x, &scale], Vec::new());
    let shift = b.floats(at.named("shift"), &dims, shift);
    b.node("Add", at.result(), &[&product, &shift], Vec::new())
}

/// Batch normalisation over a map, as a layer of its own: weight, bias, mean, variance.
pub(crate) fn batch_norm(
    b: &mut Builder,
    at: Place<'_>,
    x: &str,
    eps: f64,
    tensors: [&[f32]; 4],
) -> String {
    let names = ["weight", "bias", "running_mean", "running_var"];
    let mut inputs = vec![x.to_owned()];
    for (name, values) in names.into_iter().zip(tensors) {
        inputs.push(b.floats(at.named(name), &[values.len()], values));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let attributes = vec![Attribute::float("epsilon", eps)];
    b.node("BatchNormalization", at.result(), &inputs, attributes)
}

/// From a map of patches, `[batch, width, rows, columns]`, to tokens `[batch, 1 + rows · columns,
/// width]`. `table` is what is added to them: the class token with its position, then the
/// positions.
pub(crate) fn patch_tokens(
    b: &mut Builder,
    at: Place<'_>,
    x: &str,
    op: &PatchTokens,
    [rows, columns]: [usize; 2],
    table: &[f32],
) -> String {
    let &PatchTokens { width, prefix, .. } = op;
    let flat = b.integers(at.named("flat"), &[0, width as i64, (rows * columns) as i64]);
    let line = b.node("Reshape", at.named("line"), &[x, &flat], Vec::new());
    let patches = b.node("Transpose", at.named("patches"), &[&line], vec![perm([0, 2, 1])]);
    let padded = match prefix {
        0 => patches,
        // Tokens of zeros at the front of each picture, without asking for the size of the batch.
        _ => {
            let front = b.integers(at.named("front"), &[0, prefix as i64, 0, 0, 0, 0]);
            b.node("Pad", at.named("padded"), &[&patches, &front], Vec::new())
        }
    };
    let table = b.floats(at.named("positions"), &[1, prefix + rows * columns, width], table);
    b.node("Add", at.result(), &[&padded, &table], Vec::new())
}

/// Squeeze and excitation: the tensors are weight and bias of the first layer and of the second.
pub(crate) fn squeeze_excite(
    b: &mut Builder,
    at: Place<'_>,
    x: &str,
    op: &SqueezeExcite,
    [w1, b1, w2, b2]: &[Cow<'_, [f32]>; 4],
) -> String {
    let &SqueezeExcite { channels, reduced } = op;
    let layer = |name: &'static str, in_channels: usize, out_channels: usize| {
        (format!("{}.{name}", at.layer), Conv2d::new(in_channels, out_channels, 1))
    };
    let (first, squeeze) = layer("fc1", channels, reduced);
    let (second, excite) = layer("fc2", reduced, channels);
    let means = b.node("GlobalAveragePool", at.named("means"), &[x], Vec::new());
    let between = conv(b, Place { layer: &first, ..at }, &means, &squeeze, [1, 1], (w1, b1));
    let between = b.node("Relu", at.named("act"), &[&between], Vec::new());
    let factors = conv(b, Place { layer: &second, ..at }, &between, &excite, [1, 1], (w2, b2));
    let factors = b.node("Sigmoid", at.named("gate"), &[&factors], Vec::new());
    b.node("Mul", at.result(), &[x, &factors], Vec::new())
}

/// Multi-head self-attention over tokens, or the positions of a map, which hold queries, keys and
/// values.
pub(crate) fn attention(
    b: &mut Builder,
    at: Place<'_>,
    x: &str,
    op: &Attention,
    shape: Shape,
) -> String {
    let count = shape.positions();
    let Shape::Map { height, width, channels } = shape else {
        return attention_of_tokens(b, at, at.result(), x, op, count);
    };
    let flat = b.integers(at.named("flat"), &[0, channels as i64, count as i64]);
    let line = b.node("Reshape", at.named("line"), &[x, &flat], Vec::new());
    let x = b.node("Transpose", at.named("positions"), &[&line], vec![perm([0, 2, 1])]);
    let y = attention_of_tokens(b, at, at.named("mixed_positions"), &x, op, count);
    let line = b.node("Transpose", at.named("channels"), &[&y], vec![perm([0, 2, 1])]);
    let map = b.integers(at.named("map"), &[0, op.width as i64, height as i64, width as i64]);
    b.node("Reshape", at.result(), &[&line, &map], Vec::new())
}

fn attention_of_tokens(
    b: &mut Builder,
    at: Place<'_>,
    result: String,
    x: &str,
    op: &Attention,
    count: usize,
) -> String {
    let each = op.width / op.heads;
    let parts = [0, count as i64, 3, op.heads as i64, each as i64];
    let parts = b.integers(at.named("parts"), &parts);
    let split = b.node("Reshape", at.named("split"), &[x, &parts], Vec::new());
    let heads = b.node("Transpose", at.named("heads"), &[&split], vec![perm([2, 0, 3, 1, 4])]);
    let [queries, keys, values] = [("queries", 0), ("keys", 1), ("values", 2)].map(|(name, i)| {
        let index = b.index(at.named(&format!("{name}.index")), i);
        b.node("Gather", at.named(name), &[&heads, &index], vec![Attribute::int("axis", 0)])
    });
    let scale = b.number(at.named("scale"), (1.0 / (each as f64).sqrt()) as f32);
    let queries = b.node("Mul", at.named("scaled"), &[&queries, &scale], Vec::new());
    let keys = b.node("Transpose", at.named("transposed"), &[&keys], vec![perm([0, 1, 3, 2])]);
    let scores = b.node("MatMul", at.named("scores"), &[&queries, &keys], Vec::new());
    let shares =
        b.node("Softmax", at.named("shares"), &[&scores], vec![Attribute::int("axis", -1)]);
    let mixed = b.node("MatMul", at.named("mixed"), &[&shares, &values], Vec::new());
    let tokens = b.node("Transpose", at.named("tokens"), &[&mixed], vec![perm([0, 2, 1, 3])]);
    let whole = b.integers(at.named("whole"), &[0, count as i64, op.width as i64]);
    b.node("Reshape", result, &[&tokens, &whole], Vec::new())
}

/// One token from `count` tokens, which hold a score for each head and the values of all heads.
pub(crate) fn attention_pool(
    b: &mut Builder,
    at: Place<'_>,
    x: &str,
    op: &AttentionPool,
    count: usize,
) -> String {
    let (heads, width, count) = (op.heads as i64, op.width as i64, count as i64);
    let axis = b.integers(at.named("axis"), &[2]);
    let mut part = |name: &str, from: i64, to: i64| {
        let [start, end] = [("from", from), ("to", to)]
            .map(|(edge, place)| b.integers(at.named(&format!("{name}.{edge}")), &[place]));
        b.node("Slice", at.named(name), &[x, &start, &end, &axis], Vec::new())
    };
    let (scores, values) = (part("scores", 0, heads), part("values", heads, heads + width));
    let scores = b.node("Transpose", at.named("by_head"), &[&scores], vec![perm([0, 2, 1])]);
    let shares =
        b.node("Softmax", at.named("shares"), &[&scores], vec![Attribute::int("axis", -1)]);
    let one = b.integers(at.named("one"), &[0, heads, 1, count]);
    let shares = b.node("Reshape", at.named("rows"), &[&shares, &one], Vec::new());
    let parts = b.integers(at.named("parts"), &[0, count, heads, width / heads]);
    let values = b.node("Reshape", at.named("split"), &[&values, &parts], Vec::new());
    let values = b.node("Transpose", at.named("heads"), &[&values], vec![perm([0, 2, 1, 3])]);
    let mixed = b.node("MatMul", at.named("mixed"), &[&shares, &values], Vec::new());
    let whole = b.integers(at.named("whole"), &[0, 1, width]);
    b.node("Reshape", at.result(), &[&mixed, &whole], Vec::new())
}

/// The first token.
pub(crate) fn class_token(b: &mut Builder, at: Place<'_>, x: &str) -> String {
    let first = b.index(at.named("first"), 0);
    b.node("Gather", at.result(), &[x, &first], vec![Attribute::int("axis", 1)])
}

/// Vectors at one length; a vector of zeros stays zeros.
pub(crate) fn unit_length(b: &mut Builder, at: Place<'_>, x: &str, length: f32) -> String {
    // x · length / max(‖x‖, tiny). ReduceL2 takes its axes in another way from version 18 on.
    let squares = b.node("Mul", at.named("squares"), &[x, x], Vec::new());
    let axes = b.integers(at.named("axes"), &[-1]);
    let keep = vec![Attribute::int("keepdims", 1)];
    let sum = b.node("ReduceSum", at.named("sum"), &[&squares, &axes], keep);
    let norm = b.node("Sqrt", at.named("norm"), &[&sum], Vec::new());
    let tiny = b.number(at.named("tiny"), f32::MIN_POSITIVE);
    let norm = b.node("Max", at.named("divisor"), &[&norm, &tiny], Vec::new());
    let unit = b.node("Div", at.named("unit"), &[x, &norm], Vec::new());
    if length == 1.0 {
        return b.node("Identity", at.result(), &[&unit], Vec::new());
    }
    let length = b.number(at.named("length"), length);
    b.node("Mul", at.result(), &[&unit, &length], Vec::new())
}

/// The cosines with learned directions, `weight` `[out, in]`, times a factor.
pub(crate) fn cosine(
    b: &mut Builder,
    at: Place<'_>,
    x: &str,
    op: &Cosine,
    (weight, gamma): (&[f32], f32),
) -> String {
    let factor = f64::from(op.scale) * f64::from(gamma);
    let mut directions = Vec::with_capacity(weight.len());
    for row in weight.chunks_exact(op.in_features) {
        let norm = row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
        let factor = if norm > 0.0 { factor / norm } else { 0.0 };
        directions.extend(row.iter().map(|w| (f64::from(*w) * factor) as f32));
    }
    let unit = Place { prefix: at.prefix, layer: &format!("{}.input", at.layer) };
    let unit = unit_length(b, unit, x, 1.0);
    let shape = [op.out_features, op.in_features];
    linear(b, at, &unit, Shape::Vector(op.in_features), shape, (&directions, &[]))
}
