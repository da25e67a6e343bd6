//! From a network's fused layers to steps: choice of kernels, packing, and the precision of the
//! values in between.

use taper_graph::{
    Activation, Conv2d, FusedLayer, FusedOp, Graph, NodeId, Op, Shape, WeightSource,
};
use taper_kernels::{
    AlignedBuffer, Attention, AttentionPool, Border, Conv2dShape, Element, KernelClass,
    KernelError, LayerNorm, PackedFilter, PixelFilter, Pool, PoolKind, SqueezeExcite, Window,
};

use crate::rows::only_first;
use crate::{PlanError, PlanOptions, Precision, Result};

pub(crate) type ValueId = usize;

/// What lies between steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// A feature map, or tokens, of this many values, in the plan's precision.
    Map(usize),
    /// A vector, or one of the first, thin maps, in f32.
    Wide(usize),
}

#[derive(Debug)]
pub(crate) enum Kernel<E: Element> {
    Pixels {
        filter: PixelFilter<E>,
        activation: Option<Activation>,
    },
    Conv {
        filter: PackedFilter<E>,
        activation: Option<Activation>,
        residual: Option<ValueId>,
    },
    MaxPool(Pool),
    GlobalAvgPool {
        pixels: usize,
        channels: usize,
    },
    /// The pixels to a value in f32.
    WidePixels {
        filter: PixelFilter<f32>,
        activation: Option<Activation>,
    },
    LayerNorm(LayerNorm),
    /// Learned tokens before the patches, and positions.
    PatchTokens {
        /// Learned tokens, patches and width.
        shape: [usize; 3],
        /// What is added.
        table: AlignedBuffer<f32>,
    },
    SqueezeExcite {
        kernel: Box<SqueezeExcite>,
        activation: Option<Activation>,
    },
    Attention(Attention),
    /// To one token.
    AttentionPool(AttentionPool),
    /// To a vector in f32.
    ClassToken {
        /// Tokens and width.
        shape: [usize; 2],
    },
    /// A feature map, or tokens, as the plan's output: to f32.
    Output {
        /// Values.
        len: usize,
    },
    /// To a sequence of one token.
    FirstToken {
        /// Tokens and width.
        shape: [usize; 2],
    },
    /// Over vectors in f32.
    WideNorm(LayerNorm),
    /// From f32 to f32: linear layers, and convolutions of thin maps.
    Wide {
        filter: PackedFilter<f32>,
        activation: Option<Activation>,
    },
    /// From f32 to the plan's precision.
    Round,
}

#[derive(Debug)]
pub(crate) struct Step<E: Element> {
    /// The layer that it starts with.
    pub(crate) name: String,
    /// Layers fused to it.
    pub(crate) fused: Vec<String>,
    pub(crate) kernel: Kernel<E>,
    /// Nothing: the pixels.
    pub(crate) input: Option<ValueId>,
    pub(crate) output: ValueId,
    /// Per picture.
    pub(crate) flops: u64,
}

impl<E: Element> Step<E> {
    pub(crate) fn weight_bytes(&self) -> usize {
        match &self.kernel {
            Kernel::Pixels { filter, .. } => filter.bytes(),
            Kernel::Conv { filter, .. } => filter.bytes(),
            Kernel::WidePixels { filter, .. } => filter.bytes(),
            Kernel::Wide { filter, .. } => filter.bytes(),
            Kernel::LayerNorm(norm) | Kernel::WideNorm(norm) => norm.bytes(),
            Kernel::PatchTokens { table, .. } => size_of_val(&**table),
            Kernel::SqueezeExcite { kernel, .. } => kernel.bytes(),
            Kernel::MaxPool(_)
            | Kernel::GlobalAvgPool { .. }
            | Kernel::Attention(_)
            | Kernel::AttentionPool(_)
            | Kernel::ClassToken { .. }
            | Kernel::FirstToken { .. }
            | Kernel::Output { .. }
            | Kernel::Round => 0,
        }
    }

    /// Scratch values (f32) that each thread needs.
    pub(crate) fn scratch_len(&self) -> usize {
        match &self.kernel {
            Kernel::Pixels { filter, .. } => filter.scratch_len(),
            Kernel::Conv { filter, .. } => filter.scratch_len(),
            Kernel::WidePixels { filter, .. } => filter.scratch_len(),
            Kernel::Wide { filter, .. } => filter.scratch_len(),
            Kernel::Attention(attention) => attention.scratch_len(),
            Kernel::AttentionPool(pool) => pool.scratch_len(),
            Kernel::SqueezeExcite { kernel, .. } => kernel.scratch_len(),
            Kernel::MaxPool(_)
            | Kernel::GlobalAvgPool { .. }
            | Kernel::PatchTokens { .. }
            | Kernel::ClassToken { .. }
            | Kernel::FirstToken { .. }
            | Kernel::Output { .. }
            | Kernel::LayerNorm(_)
            | Kernel::WideNorm(_)
            | Kernel::Round => 0,
        }
    }

    /// How it is computed, and a description of the shape.
    pub(crate) fn described(&self) -> (&'static str, String) {
        match &self.kernel {
            Kernel::Pixels { filter, .. } => ("pixels", filter.shape().to_string()),
            Kernel::WidePixels { filter, .. } => ("pixels", format!("{}, in f32", filter.shape())),
            Kernel::Conv { filter, .. } => (filter.algorithm().name(), filter.shape().to_string()),
            Kernel::MaxPool(pool) => {
                let [height, width] = pool.output();
                ("max pool", format!("to {height}×{width}"))
            }
            Kernel::LayerNorm(norm) => ("layer norm", format!("{} channels", norm.channels())),
            Kernel::WideNorm(norm) => ("layer norm", format!("{} features", norm.channels())),
            Kernel::GlobalAvgPool { pixels, channels } => {
                ("mean", format!("{pixels} pixels × {channels}"))
            }
            Kernel::Wide { filter, .. } if filter.shape().input == [1, 1] => {
                let shape = filter.shape();
                ("linear", format!("{} → {}", shape.in_channels, shape.out_channels))
            }
            Kernel::Wide { filter, .. } => {
                (filter.algorithm().name(), format!("{}, in f32", filter.shape()))
            }
            Kernel::PatchTokens { shape: [prefix, patches, width], .. } => {
                ("tokens", format!("{} × {width}", prefix + patches))
            }
            Kernel::Attention(attention) => {
                let (tokens, width) = (attention.tokens(), attention.width());
                ("attention", format!("{tokens} × {width}, {} heads", attention.heads()))
            }
            Kernel::SqueezeExcite { kernel, .. } => {
                let (channels, reduced) = (kernel.channels(), kernel.reduced());
                ("squeeze", format!("{channels} → {reduced} → {channels}"))
            }
            Kernel::AttentionPool(pool) => {
                let (tokens, width) = (pool.tokens(), pool.width());
                ("attention pool", format!("{tokens} × {width}, {} heads", pool.heads()))
            }
            Kernel::ClassToken { shape: [tokens, width] }
            | Kernel::FirstToken { shape: [tokens, width] } => {
                ("first token", format!("of {tokens} × {width}"))
            }
            Kernel::Output { len } => ("output", format!("of {len} values")),
            Kernel::Round => ("round", "to bf16".to_owned()),
        }
    }

    pub(crate) fn residual(&self) -> Option<ValueId> {
        if let Kernel::Conv { residual, .. } = self.kernel { residual } else { None }
    }
}

/// The steps of a network in order of computation, and the values between them.
#[derive(Debug)]
pub(crate) struct Lowered<E: Element> {
    pub(crate) steps: Vec<Step<E>>,
    pub(crate) values: Vec<Value>,
    pub(crate) output: ValueId,
}

struct Lowering<'a, E: Element> {
    graph: &'a Graph,
    weights: &'a dyn WeightSource,
    options: &'a PlanOptions,
    class: KernelClass,
    shapes: Vec<Shape>,
    /// Where a layer's output is, once a step computes it.
    value_of: Vec<Option<ValueId>>,
    /// Where the first token of a layer's output is, if a step has taken it.
    first_of: Vec<Option<ValueId>>,
    lowered: Lowered<E>,
}

pub(crate) fn lower<E: Element>(
    graph: &Graph,
    weights: &dyn WeightSource,
    options: &PlanOptions,
    class: KernelClass,
) -> Result<Lowered<E>> {
    let mut shapes = graph.shapes(options.size[0], options.size[1])?;
    let layers = taper_graph::fuse(graph, weights).map_err(|error| match error {
        taper_graph::Error::Layer { layer, kind, problem } => {
            PlanError::Unsupported { layer, kind, reason: problem }
        }
        other => other.into(),
    })?;
    // Values that are not read are not computed.
    let only_first = only_first(&layers, &shapes, graph.output());
    for (shape, only_first) in shapes.iter_mut().zip(only_first) {
        if let (Shape::Tokens { count, .. }, true) = (shape, only_first) {
            *count = 1;
        }
    }
    let mut lowering = Lowering {
        graph,
        weights,
        options,
        class,
        shapes,
        value_of: vec![None; graph.nodes().len()],
        first_of: vec![None; graph.nodes().len()],
        lowered: Lowered { steps: Vec::new(), values: Vec::new(), output: 0 },
    };
    for layer in &layers {
        lowering.layer(layer)?;
    }
    // If the graph ends with a dropout, the output is that of the layer before it.
    let end = layers.last().map_or(graph.output(), |layer| layer.end);
    let Some(value) = lowering.value_of[end] else {
        return Err(lowering.unsupported(graph.output(), "no layer computes the output"));
    };
    lowering.lowered.output = match lowering.shapes[graph.output()] {
        Shape::Vector(_) => value,
        shape @ (Shape::Map { .. } | Shape::Tokens { .. }) => {
            // The last map in f32 is thin and wide; it is rounded as if a layer followed.
            let value = lowering.rounded(end, value);
            let len = shape.elements();
            let name = graph.nodes()[end].name.clone();
            lowering.emit(
                name,
                Vec::new(),
                Value::Wide(len),
                Kernel::Output { len },
                Some(value),
                0,
            )
        }
    };
    Ok(lowering.lowered)
}

impl<E: Element> Lowering<'_, E> {
    fn unsupported(&self, id: NodeId, reason: impl Into<String>) -> PlanError {
        let node = &self.graph.nodes()[id];
        PlanError::Unsupported {
            layer: node.name.clone(),
            kind: node.op.kind(),
            reason: reason.into(),
        }
    }

    fn kernel_error(&self, id: NodeId) -> impl FnOnce(KernelError) -> PlanError + use<E> {
        let layer = self.graph.nodes()[id].name.clone();
        move |source| PlanError::Layer { layer, source }
    }

    fn layer(&mut self, layer: &FusedLayer) -> Result<()> {
        match layer.op {
            FusedOp::Conv2d(conv) => self.conv(layer, conv),
            FusedOp::Linear { in_features, out_features } => {
                self.linear(layer, in_features, out_features)
            }
            FusedOp::MaxPool(pool) => {
                let input = self.map_input(layer)?;
                let [height, width, channels] = self.map(layer)?;
                let window = Window::square(pool.kernel).stride(pool.stride).padding(padding(
                    pool.padding,
                    [height, width],
                    pool.kernel,
                    pool.stride,
                    1,
                ));
                let kernel =
                    Pool::new(self.class, PoolKind::Max, [height, width], channels, window)
                        .map_err(self.kernel_error(layer.node))?;
                let taps = (pool.kernel * pool.kernel) as u64;
                let flops = self.shapes[layer.end].elements() as u64 * taps;
                self.push(layer, Kernel::MaxPool(kernel), Some(input), flops)
            }
            FusedOp::GlobalAvgPool => {
                let input = self.map_input(layer)?;
                let [height, width, channels] = self.map(layer)?;
                let kernel = Kernel::GlobalAvgPool { pixels: height * width, channels };
                self.push(layer, kernel, Some(input), (height * width * channels) as u64)
            }
            FusedOp::LayerNorm { eps, .. } => {
                let (scale, bias) = layer.folded(self.graph, self.weights)?;
                let norm = LayerNorm::new(self.class, &scale, &bias, eps as f32)
                    .map_err(self.kernel_error(layer.node))?;
                let flops = 8 * self.shapes[layer.end].elements() as u64;
                if matches!(self.shapes[layer.input], Shape::Vector(_)) {
                    let input = self.input(layer)?;
                    return self.push(layer, Kernel::WideNorm(norm), Some(input), flops);
                }
                let value = self.map_input(layer)?;
                let input = self.tokens_for(layer, layer.input, value);
                self.push(layer, Kernel::LayerNorm(norm), Some(input), flops)
            }
            FusedOp::PatchTokens(tokens) => {
                let input = self.map_input(layer)?;
                let [height, width, channels] = self.map(layer)?;
                let values = layer.tokens(self.graph, self.weights, [height, width])?;
                let mut table = AlignedBuffer::new(values.len());
                table.copy_from_slice(&values);
                let shape = [tokens.prefix, height * width, channels];
                let kernel = Kernel::PatchTokens { shape, table };
                self.push(layer, kernel, Some(input), values.len() as u64)
            }
            FusedOp::Attention(attention) => {
                let input = self.map_input(layer)?;
                let tokens = self.shapes[layer.input].positions();
                let mut attention =
                    Attention::new(self.class, tokens, attention.width, attention.heads)
                        .map_err(self.kernel_error(layer.node))?;
                if let Shape::Tokens { count, .. } = self.shapes[layer.end] {
                    attention = attention.queries(count);
                }
                self.push(layer, Kernel::Attention(attention), Some(input), attention.flops())
            }
            FusedOp::SqueezeExcite(own) => {
                let input = self.map_input(layer)?;
                let sizes = [self.shapes[layer.input].positions(), own.channels, own.reduced];
                let [first, first_bias, second, second_bias] =
                    layer.squeeze_excite(self.graph, self.weights)?;
                let (squeeze, excite) = ((&*first, &*first_bias), (&*second, &*second_bias));
                let kernel = SqueezeExcite::new(self.class, sizes, squeeze, excite)
                    .map_err(self.kernel_error(layer.node))?;
                let (flops, activation) = (kernel.flops(), layer.activation);
                let kernel = Kernel::SqueezeExcite { kernel: Box::new(kernel), activation };
                self.push(layer, kernel, Some(input), flops)
            }
            FusedOp::AttentionPool(pool) => {
                let input = self.map_input(layer)?;
                let [tokens, _] = self.tokens(layer)?;
                let pool = AttentionPool::new(self.class, tokens, pool.width, pool.heads)
                    .map_err(self.kernel_error(layer.node))?;
                self.push(layer, Kernel::AttentionPool(pool), Some(input), pool.flops())
            }
            FusedOp::ClassToken => {
                let input = self.map_input(layer)?;
                let shape = self.tokens(layer)?;
                self.push(layer, Kernel::ClassToken { shape }, Some(input), 0)
            }
        }
    }

    /// Height, width and channels of the feature map that a layer reads.
    fn map(&self, layer: &FusedLayer) -> Result<[usize; 3]> {
        match self.shapes[layer.input] {
            Shape::Map { height, width, channels } => Ok([height, width, channels]),
            Shape::Tokens { .. } | Shape::Vector(_) => {
                Err(self.unsupported(layer.node, "it needs a feature map"))
            }
        }
    }

    /// How many tokens a layer reads, and their width.
    fn tokens(&self, layer: &FusedLayer) -> Result<[usize; 2]> {
        match self.shapes[layer.input] {
            Shape::Tokens { count, width } => Ok([count, width]),
            Shape::Map { .. } | Shape::Vector(_) => {
                Err(self.unsupported(layer.node, "it needs tokens"))
            }
        }
    }

    /// The value that a layer reads: the output of an earlier step, in whatever precision it is.
    fn input(&self, layer: &FusedLayer) -> Result<ValueId> {
        self.value_of[layer.input].ok_or_else(|| {
            self.unsupported(layer.node, "it reads the pixels, which only convolutions can")
        })
    }

    /// The map that a layer reads, in the plan's precision.
    fn map_input(&mut self, layer: &FusedLayer) -> Result<ValueId> {
        let value = self.input(layer)?;
        Ok(self.rounded(layer.input, value))
    }

    /// The tokens that a layer reads from another layer: all of them, or the first one if only that
    /// is computed.
    fn tokens_for(&mut self, layer: &FusedLayer, node: NodeId, value: ValueId) -> ValueId {
        let (Shape::Tokens { count: from, width }, Shape::Tokens { count: to, .. }) =
            (self.shapes[node], self.shapes[layer.end])
        else {
            return value;
        };
        if from == to {
            return value;
        }
        if let Some(first) = self.first_of[node] {
            return first;
        }
        let name = self.graph.nodes()[node].name.clone();
        let kernel = Kernel::FirstToken { shape: [from, width] };
        let first = self.emit(name, Vec::new(), Value::Map(width), kernel, Some(value), 0);
        self.first_of[node] = Some(first);
        first
    }

    /// The output of a layer in the plan's precision; it is rounded once for all readers.
    fn rounded(&mut self, node: NodeId, value: ValueId) -> ValueId {
        let Value::Wide(_) = self.lowered.values[value] else { return value };
        let name = self.graph.nodes()[node].name.clone();
        self.step(name, Vec::new(), node, Kernel::Round, Some(value), 0)
    }

    fn residual(&mut self, layer: &FusedLayer) -> Result<Option<ValueId>> {
        let Some(residual) = layer.residual else { return Ok(None) };
        match self.value_of[residual] {
            Some(value) => Ok(Some(self.rounded(residual, value))),
            None => Err(self.unsupported(layer.node, "it adds the pixels themselves")),
        }
    }

    fn conv(&mut self, layer: &FusedLayer, conv: Conv2d) -> Result<()> {
        let id = layer.node;
        let [height, width, _] = self.map(layer)?;
        let window =
            Window::square(conv.kernel).stride(conv.stride).dilation(conv.dilation).padding(
                padding(conv.padding, [height, width], conv.kernel, conv.stride, conv.dilation),
            );
        let shape = Conv2dShape {
            groups: conv.groups,
            ..Conv2dShape::new([height, width], conv.in_channels, conv.out_channels, window)
        };
        let flops = shape.flops().map_err(self.kernel_error(id))?;
        let residual = self.residual(layer)?;
        let (folded, bias) = layer.folded(self.graph, self.weights)?;
        let activation = layer.activation;
        let is_pixels = matches!(self.graph.nodes()[layer.input].op, Op::Input { .. });
        let is_thin = self.options.precision == Precision::Bf16
            && conv.out_channels <= taper_graph::THIN_CHANNELS;
        let is_wide = |input| matches!(self.lowered.values[input], Value::Wide(_));
        let (kernel, input) = if is_pixels {
            if residual.is_some() {
                return Err(
                    self.unsupported(id, "a residual cannot be added to a convolution of pixels")
                );
            }
            let PlanOptions { mean, std, .. } = self.options;
            let kernel = if is_thin {
                PixelFilter::pack(self.class, &shape, &folded, Some(&bias), mean, std)
                    .map(|filter| Kernel::WidePixels { filter, activation })
            } else {
                PixelFilter::pack(self.class, &shape, &folded, Some(&bias), mean, std)
                    .map(|filter| Kernel::Pixels { filter, activation })
            };
            (kernel.map_err(self.kernel_error(id))?, None)
        } else if is_thin && residual.is_none() && is_wide(self.input(layer)?) {
            let filter = PackedFilter::pack(self.class, &shape, &folded, Some(&bias))
                .map_err(self.kernel_error(id))?;
            (Kernel::Wide { filter, activation }, Some(self.input(layer)?))
        } else {
            let filter = PackedFilter::pack(self.class, &shape, &folded, Some(&bias))
                .map_err(self.kernel_error(id))?;
            (Kernel::Conv { filter, activation, residual }, Some(self.map_input(layer)?))
        };
        self.push(layer, kernel, input, flops)
    }

    fn linear(
        &mut self,
        layer: &FusedLayer,
        in_features: usize,
        out_features: usize,
    ) -> Result<()> {
        let id = layer.node;
        if let Shape::Tokens { count, .. } = self.shapes[layer.end] {
            // One pixel is one token.
            let window = Window::square(1);
            let shape = Conv2dShape::new([count, 1], in_features, out_features, window);
            let flops = shape.flops().map_err(self.kernel_error(id))?;
            let (folded, bias) = layer.folded(self.graph, self.weights)?;
            let filter = PackedFilter::pack(self.class, &shape, &folded, Some(&bias))
                .map_err(self.kernel_error(id))?;
            let residual = self.residual(layer)?;
            let residual = layer.residual.zip(residual);
            let residual = residual.map(|(node, value)| self.tokens_for(layer, node, value));
            let kernel = Kernel::Conv { filter, activation: layer.activation, residual };
            let value = self.map_input(layer)?;
            let input = self.tokens_for(layer, layer.input, value);
            return self.push(layer, kernel, Some(input), flops);
        }
        let input = self.input(layer)?;
        if layer.residual.is_some() {
            return Err(self.unsupported(id, "a residual cannot be added to a linear layer"));
        }
        let shape = Conv2dShape::linear(in_features, out_features);
        let (folded, bias) = layer.folded(self.graph, self.weights)?;
        let filter = PackedFilter::pack(self.class, &shape, &folded, Some(&bias))
            .map_err(self.kernel_error(id))?;
        let flops = shape.flops().map_err(self.kernel_error(id))?;
        let activation = layer.activation;
        self.push(layer, Kernel::Wide { filter, activation }, Some(input), flops)
    }

    fn push(
        &mut self,
        layer: &FusedLayer,
        kernel: Kernel<E>,
        input: Option<ValueId>,
        flops: u64,
    ) -> Result<()> {
        let name = |id: NodeId| self.graph.nodes()[id].name.clone();
        let fused = layer.fused.iter().map(|&id| name(id)).collect();
        self.step(name(layer.node), fused, layer.end, kernel, input, flops);
        Ok(())
    }

    fn step(
        &mut self,
        name: String,
        fused: Vec<String>,
        end: NodeId,
        kernel: Kernel<E>,
        input: Option<ValueId>,
        flops: u64,
    ) -> ValueId {
        let is_wide = matches!(kernel, Kernel::WidePixels { .. } | Kernel::Wide { .. });
        let value = match self.shapes[end] {
            shape @ Shape::Map { .. } if is_wide => Value::Wide(shape.elements()),
            shape @ (Shape::Map { .. } | Shape::Tokens { .. }) => Value::Map(shape.elements()),
            Shape::Vector(len) => Value::Wide(len),
        };
        let output = self.emit(name, fused, value, kernel, input, flops);
        self.value_of[end] = Some(output);
        output
    }

    fn emit(
        &mut self,
        name: String,
        fused: Vec<String>,
        value: Value,
        kernel: Kernel<E>,
        input: Option<ValueId>,
        flops: u64,
    ) -> ValueId {
        let output = self.lowered.values.len();
        self.lowered.values.push(value);
        self.lowered.steps.push(Step { name, fused, kernel, input, output, flops });
        output
    }
}

fn padding(
    padding: taper_graph::Padding,
    [height, width]: [usize; 2],
    kernel: usize,
    stride: usize,
    dilation: usize,
) -> Border {
    let (top, bottom) = padding.amounts(height, kernel, stride, dilation);
    let (left, right) = padding.amounts(width, kernel, stride, dilation);
    Border { top, bottom, left, right }
}
