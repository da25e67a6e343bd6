//! From layers to steps: folding, fusing, packing.

use taper_graph::{Activation as GraphActivation, Conv2d, Graph, NodeId, Op, Shape, WeightSource};
use taper_kernels::{
    Activation, Conv2dShape, Element, KernelClass, KernelError, PackedFilter, Padding, PixelFilter,
    Pool, PoolKind, Window,
};

use crate::{PlanError, PlanOptions, Precision, Result};

pub(crate) type ValueId = usize;

/// Output channels up to which the first layers of a plan in bf16 stay in f32.
///
/// A map of few channels holds little that could average the error of another away, and all that follows rests on it: on real
/// pictures with white ground, where whole regions round the same way, the three first layers of EfficientNet-Lite0 make two
/// thirds of the error of bf16 (`docs/performance.md`). Being thin, they cost little.
const THIN: usize = 32;

/// What lies between steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// A feature map of so many values, in the plan's precision.
    Map(usize),
    /// A vector, or a thin map next to the pixels, in f32.
    Wide(usize),
}

#[derive(Debug)]
pub(crate) enum Kernel<E: Element> {
    Pixels {
        filter: PixelFilter<E>,
        activation: Activation,
    },
    Conv {
        filter: PackedFilter<E>,
        activation: Activation,
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
        activation: Activation,
    },
    /// From f32 to f32: linear layers, and convolutions of thin maps.
    Wide {
        filter: PackedFilter<f32>,
        activation: Activation,
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
            Kernel::MaxPool(_) | Kernel::GlobalAvgPool { .. } | Kernel::Round => 0,
        }
    }

    /// Scratch values (f32) that each thread needs.
    pub(crate) fn scratch_len(&self) -> usize {
        match &self.kernel {
            Kernel::Pixels { filter, .. } => filter.scratch_len(),
            Kernel::Conv { filter, .. } => filter.scratch_len(),
            Kernel::WidePixels { filter, .. } => filter.scratch_len(),
            Kernel::Wide { filter, .. } => filter.scratch_len(),
            Kernel::MaxPool(_) | Kernel::GlobalAvgPool { .. } | Kernel::Round => 0,
        }
    }

    pub(crate) fn residual(&self) -> Option<ValueId> {
        match self.kernel {
            Kernel::Conv { residual, .. } => residual,
            _ => None,
        }
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
    consumers: Vec<Vec<NodeId>>,
    /// Where a layer's output is, once a step computes it.
    value_of: Vec<Option<ValueId>>,
    done: Vec<bool>,
    lowered: Lowered<E>,
}

pub(crate) fn lower<E: Element>(
    graph: &Graph,
    weights: &dyn WeightSource,
    options: &PlanOptions,
    class: KernelClass,
) -> Result<Lowered<E>> {
    taper_graph::check_weights(graph, weights)?;
    let shapes = graph.shapes(options.size[0], options.size[1])?;
    let nodes = graph.nodes();
    let mut needed = vec![false; nodes.len()];
    needed[graph.output()] = true;
    let mut consumers = vec![Vec::new(); nodes.len()];
    for id in (0..nodes.len()).rev() {
        if needed[id] {
            for &input in &nodes[id].inputs {
                needed[input] = true;
                consumers[input].push(id);
            }
        }
    }
    let mut lowering = Lowering {
        graph,
        weights,
        options,
        class,
        shapes,
        consumers,
        value_of: vec![None; nodes.len()],
        done: vec![false; nodes.len()],
        lowered: Lowered { steps: Vec::new(), values: Vec::new(), output: 0 },
    };
    for (id, &needed) in needed.iter().enumerate() {
        if needed && !lowering.done[id] {
            lowering.layer(id)?;
        }
    }
    let is_vector = matches!(lowering.shapes[graph.output()], Shape::Vector(_));
    lowering.lowered.output = match lowering.value_of[graph.output()] {
        Some(value) if is_vector => value,
        _ => {
            return Err(lowering
                .unsupported(graph.output(), "a plan ends with a vector, not with a feature map"));
        }
    };
    Ok(lowering.lowered)
}

/// A convolution or linear layer with everything that can be fused to it.
struct Chain {
    /// Per output channel.
    scale: Vec<f64>,
    shift: Vec<f64>,
    residual: Option<ValueId>,
    activation: Activation,
    /// The last layer of the chain.
    end: NodeId,
    fused: Vec<String>,
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

    fn tensor(&self, id: NodeId, suffix: &str) -> Result<std::borrow::Cow<'_, [f32]>> {
        let name = format!("{}.{suffix}", self.graph.nodes()[id].name);
        let values = self.weights.values(&name);
        values.ok_or_else(|| self.unsupported(id, format!("the weights do not hold '{name}'")))
    }

    fn layer(&mut self, id: NodeId) -> Result<()> {
        let node = &self.graph.nodes()[id];
        match node.op {
            Op::Input { .. } => Ok(()),
            Op::Conv2d(conv) => self.conv(id, conv),
            Op::Linear { in_features, out_features, bias } => {
                self.linear(id, in_features, out_features, bias)
            }
            Op::MaxPool(pool) => {
                let input = self.map_input(id)?;
                let Shape::Map { height, width, channels } = self.shapes[node.inputs[0]] else {
                    return Err(self.unsupported(id, "it needs a feature map"));
                };
                let window = Window::square(pool.kernel).stride(pool.stride).padding(padding(
                    pool.padding,
                    [height, width],
                    pool.kernel,
                    pool.stride,
                    1,
                ));
                let kernel =
                    Pool::new(self.class, PoolKind::Max, [height, width], channels, window)
                        .map_err(self.kernel_error(id))?;
                let taps = (pool.kernel * pool.kernel) as u64;
                let flops = self.shapes[id].elements() as u64 * taps;
                self.push(id, id, Vec::new(), Kernel::MaxPool(kernel), Some(input), flops)
            }
            Op::GlobalAvgPool => {
                let input = self.map_input(id)?;
                let Shape::Map { height, width, channels } = self.shapes[node.inputs[0]] else {
                    return Err(self.unsupported(id, "it needs a feature map"));
                };
                let kernel = Kernel::GlobalAvgPool { pixels: height * width, channels };
                self.push(
                    id,
                    id,
                    Vec::new(),
                    kernel,
                    Some(input),
                    (height * width * channels) as u64,
                )
            }
            Op::Dropout { .. } => {
                // Nothing happens at inference.
                self.value_of[id] = self.value_of[node.inputs[0]];
                self.done[id] = true;
                if self.value_of[id].is_none() {
                    return Err(self.unsupported(id, "its input is not computed by a plan"));
                }
                Ok(())
            }
            Op::BatchNorm { .. } | Op::Activation(_) => Err(self.unsupported(
                id,
                "it does not directly follow a convolution that nothing else reads",
            )),
            Op::Add => Err(self
                .unsupported(id, "neither of its inputs is a convolution that nothing else reads")),
            _ => Err(self.unsupported(id, "plans do not know this kind of layer")),
        }
    }

    /// The value that a layer reads: the output of an earlier step, in whatever precision it is.
    fn input(&self, id: NodeId) -> Result<ValueId> {
        let input = self.graph.nodes()[id].inputs[0];
        self.value_of[input]
            .ok_or_else(|| self.unsupported(id, "it reads the pixels, which only convolutions can"))
    }

    /// The map that a layer reads, in the plan's precision.
    fn map_input(&mut self, id: NodeId) -> Result<ValueId> {
        let value = self.input(id)?;
        self.rounded(self.graph.nodes()[id].inputs[0], value)
    }

    /// The output of a layer in the plan's precision; it is rounded once for all that read it.
    fn rounded(&mut self, node: NodeId, value: ValueId) -> Result<ValueId> {
        let Value::Wide(_) = self.lowered.values[value] else { return Ok(value) };
        self.push(node, node, Vec::new(), Kernel::Round, Some(value), 0)?;
        Ok(self.lowered.steps.last().map_or(value, |step| step.output))
    }

    /// The only layer that reads this one's output, if there is just one.
    fn only_consumer(&self, id: NodeId) -> Option<NodeId> {
        match self.consumers[id][..] {
            [only] if id != self.graph.output() => Some(only),
            _ => None,
        }
    }

    /// Follows the layers behind `id` as far as they can be fused to it.
    fn chain(&mut self, id: NodeId, channels: usize, bias: bool) -> Result<Chain> {
        let shift = if bias {
            self.tensor(id, "bias")?.iter().map(|&b| f64::from(b)).collect()
        } else {
            vec![0.0; channels]
        };
        let mut chain = Chain {
            scale: vec![1.0; channels],
            shift,
            residual: None,
            activation: Activation::None,
            end: id,
            fused: Vec::new(),
        };
        self.done[id] = true;
        while let Some(next) = self.only_consumer(chain.end) {
            let node = &self.graph.nodes()[next];
            match node.op {
                Op::BatchNorm { eps, .. } if chain.residual.is_none() => {
                    let read = |suffix| self.tensor(next, suffix);
                    let (gamma, beta) = (read("weight")?, read("bias")?);
                    let (mean, var) = (read("running_mean")?, read("running_var")?);
                    for c in 0..channels {
                        let factor = f64::from(gamma[c]) / (f64::from(var[c]) + eps).sqrt();
                        chain.scale[c] *= factor;
                        chain.shift[c] =
                            (chain.shift[c] - f64::from(mean[c])) * factor + f64::from(beta[c]);
                    }
                }
                Op::Add if chain.residual.is_none() => {
                    let other =
                        if node.inputs[0] == chain.end { node.inputs[1] } else { node.inputs[0] };
                    if other == chain.end {
                        break;
                    }
                    // The other side must exist when this convolution runs; else the other side takes the sum.
                    let Some(value) = self.value_of[other] else { break };
                    chain.residual = Some(self.rounded(other, value)?);
                }
                Op::Activation(activation) => {
                    chain.activation = match activation {
                        GraphActivation::Relu => Activation::Relu,
                        GraphActivation::Relu6 => Activation::Relu6,
                    };
                    chain.end = next;
                    chain.fused.push(node.name.clone());
                    self.done[next] = true;
                    break;
                }
                Op::Dropout { .. } => {}
                _ => break,
            }
            chain.end = next;
            chain.fused.push(node.name.clone());
            self.done[next] = true;
        }
        Ok(chain)
    }

    fn conv(&mut self, id: NodeId, conv: Conv2d) -> Result<()> {
        let node = &self.graph.nodes()[id];
        let Shape::Map { height, width, .. } = self.shapes[node.inputs[0]] else {
            return Err(self.unsupported(id, "it needs a feature map"));
        };
        let window =
            Window::square(conv.kernel).stride(conv.stride).dilation(conv.dilation).padding(
                padding(conv.padding, [height, width], conv.kernel, conv.stride, conv.dilation),
            );
        let shape = Conv2dShape {
            groups: conv.groups,
            ..Conv2dShape::new([height, width], conv.in_channels, conv.out_channels, window)
        };
        let flops = shape.flops().map_err(self.kernel_error(id))?;
        let chain = self.chain(id, conv.out_channels, conv.bias)?;
        let weights = self.tensor(id, "weight")?;
        let per_channel = weights.len() / conv.out_channels.max(1);
        let folded: Vec<f32> = weights
            .iter()
            .enumerate()
            .map(|(i, &w)| (f64::from(w) * chain.scale[i / per_channel]) as f32)
            .collect();
        drop(weights);
        let bias: Vec<f32> = chain.shift.iter().map(|&b| b as f32).collect();
        let activation = chain.activation;
        let is_pixels = matches!(self.graph.nodes()[node.inputs[0]].op, Op::Input { .. });
        let is_thin = self.options.precision == Precision::Bf16 && conv.out_channels <= THIN;
        let is_wide = |input| matches!(self.lowered.values[input], Value::Wide(_));
        let (kernel, input) = if is_pixels {
            if chain.residual.is_some() {
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
        } else if is_thin && chain.residual.is_none() && is_wide(self.input(id)?) {
            let filter = PackedFilter::pack(self.class, &shape, &folded, Some(&bias))
                .map_err(self.kernel_error(id))?;
            (Kernel::Wide { filter, activation }, Some(self.input(id)?))
        } else {
            let filter = PackedFilter::pack(self.class, &shape, &folded, Some(&bias))
                .map_err(self.kernel_error(id))?;
            (
                Kernel::Conv { filter, activation, residual: chain.residual },
                Some(self.map_input(id)?),
            )
        };
        self.push(id, chain.end, chain.fused, kernel, input, flops)
    }

    fn linear(
        &mut self,
        id: NodeId,
        in_features: usize,
        out_features: usize,
        bias: bool,
    ) -> Result<()> {
        let input = self.input(id)?;
        let chain = self.chain(id, out_features, bias)?;
        if chain.residual.is_some() {
            return Err(self.unsupported(id, "a residual cannot be added to a linear layer"));
        }
        let shape = Conv2dShape::linear(in_features, out_features);
        let weights = self.tensor(id, "weight")?;
        let folded: Vec<f32> = weights
            .iter()
            .enumerate()
            .map(|(i, &w)| (f64::from(w) * chain.scale[i / in_features]) as f32)
            .collect();
        drop(weights);
        let bias: Vec<f32> = chain.shift.iter().map(|&b| b as f32).collect();
        let filter = PackedFilter::pack(self.class, &shape, &folded, Some(&bias))
            .map_err(self.kernel_error(id))?;
        let flops = shape.flops().map_err(self.kernel_error(id))?;
        self.push(
            id,
            chain.end,
            chain.fused,
            Kernel::Wide { filter, activation: chain.activation },
            Some(input),
            flops,
        )
    }

    fn push(
        &mut self,
        id: NodeId,
        end: NodeId,
        fused: Vec<String>,
        kernel: Kernel<E>,
        input: Option<ValueId>,
        flops: u64,
    ) -> Result<()> {
        let output = self.lowered.values.len();
        let is_wide = matches!(kernel, Kernel::WidePixels { .. } | Kernel::Wide { .. });
        self.lowered.values.push(match self.shapes[end] {
            shape @ Shape::Map { .. } if is_wide => Value::Wide(shape.elements()),
            shape @ Shape::Map { .. } => Value::Map(shape.elements()),
            Shape::Vector(len) => Value::Wide(len),
        });
        self.value_of[end] = Some(output);
        self.done[id] = true;
        let name = self.graph.nodes()[id].name.clone();
        self.lowered.steps.push(Step { name, fused, kernel, input, output, flops });
        Ok(())
    }
}

fn padding(
    padding: taper_graph::Padding,
    [height, width]: [usize; 2],
    kernel: usize,
    stride: usize,
    dilation: usize,
) -> Padding {
    let (top, bottom) = padding.amounts(height, kernel, stride, dilation);
    let (left, right) = padding.amounts(width, kernel, stride, dilation);
    Padding { top, bottom, left, right }
}
