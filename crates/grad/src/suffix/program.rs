//! From the layers above a cut to the steps of a training pass.

use taper_graph::{
    Activation, BatchNorm, Conv2d, Graph, LayerNorm, LayerScale, Linear, MaxPool, NodeId, Op,
    Padding, PatchTokens, Shape, SqueezeExcite,
};
use taper_kernels::{Border, Conv2dShape, Window};

use super::fold::Affine;
use crate::{BatchNormMode, Boundary, Error, Result};

/// What lies between steps: the output of a step, or of the cut.
pub(crate) type ValueId = usize;

/// The output of the frozen part.
pub(crate) const CUT: ValueId = 0;

/// A map, tokens or a vector that a step computes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value {
    pub(crate) shape: Shape,
    /// Numbers for one picture.
    pub(crate) len: usize,
    /// The activation that its step ends with: its gradient is that before the activation.
    pub(crate) activation: Option<Activation>,
    /// Whether a step above the boundary that computes it, or one that it depends on, has weights
    /// that are trained.
    pub(crate) wanted: bool,
}

/// What a step computes before the residual and the activation. Indices are those of the
/// parameters; a normalisation's bias, mean and variance follow its scale.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// A convolution, or a linear layer: over tokens, each of which counts as a pixel, or over a
    /// vector.
    Conv {
        shape: Conv2dShape,
        weight: usize,
        bias: Option<usize>,
        /// What is folded into its filters.
        folded: Vec<Affine>,
    },
    /// With the statistics of the batch.
    BatchNorm {
        scale: usize,
        norm: BatchNorm,
    },
    LayerNorm {
        scale: usize,
        norm: LayerNorm,
    },
    MaxPool {
        window: Window,
    },
    GlobalAvgPool,
    /// Learned tokens come first, if there are any, then the positions.
    PatchTokens {
        first: usize,
        tokens: PatchTokens,
    },
    /// Weight and bias of the first layer, then of the second.
    SqueezeExcite {
        first: usize,
        sizes: SqueezeExcite,
    },
    Attention {
        heads: usize,
    },
    AttentionPool {
        heads: usize,
    },
    ClassToken,
    /// A function of each value whose derivative does not follow from its result.
    Smooth(Activation),
    /// Only the residual and the activation.
    Nothing,
}

/// A step: activation(kind(input) + residual).
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Its first layer's name.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) input: ValueId,
    pub(crate) residual: Option<ValueId>,
    pub(crate) output: ValueId,
    /// Whether it has weights that are trained.
    pub(crate) trains: bool,
}

/// The steps above a cut in order of computation, and the values between them.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) steps: Vec<Step>,
    pub(crate) values: Vec<Value>,
    /// The tensors of the layers above the cut, and whether they are trained.
    pub(crate) tensors: Vec<(taper_graph::Parameter, bool)>,
}

impl Program {
    /// Compiles the layers from a cut to the features, for pictures of this height and width.
    pub(crate) fn new(
        graph: &Graph,
        size: [usize; 2],
        boundary: Boundary,
        batch_norm: BatchNormMode,
    ) -> Result<Self> {
        let shapes = graph.shapes(size[0], size[1])?;
        let end = graph.features();
        let nodes = graph.nodes();
        let mut readers = vec![Vec::new(); nodes.len()];
        for (id, node) in nodes.iter().enumerate().take(end + 1) {
            node.inputs.iter().for_each(|&input| readers[input].push(id));
        }
        let tensors = graph.parameters().into_iter();
        let tensors = tensors.filter(|p| (boundary.cut + 1..=end).contains(&p.node));
        let tensors = tensors.map(|p| {
            let trained = p.kind.is_learnable() && p.node >= boundary.first;
            (p, trained)
        });
        let mut compiler = Compiler {
            graph,
            shapes,
            readers,
            batch_norm,
            first: boundary.first,
            value_of: vec![None; nodes.len()],
            done: vec![false; nodes.len()],
            program: Self { steps: Vec::new(), values: Vec::new(), tensors: tensors.collect() },
        };
        compiler.value(boundary.cut, None, false);
        for id in boundary.cut + 1..=end {
            if !compiler.done[id] {
                compiler.layer(id)?;
            }
        }
        match compiler.value_of[end] {
            Some(value) if value + 1 == compiler.program.values.len() => Ok(compiler.program),
            _ => Err(compiler.refuse(end, "no layer computes the features")),
        }
    }
}

struct Compiler<'a> {
    graph: &'a Graph,
    shapes: Vec<Shape>,
    /// The layers that read each layer.
    readers: Vec<Vec<NodeId>>,
    batch_norm: BatchNormMode,
    /// The first layer that is trained.
    first: NodeId,
    value_of: Vec<Option<ValueId>>,
    done: Vec<bool>,
    program: Program,
}

impl Compiler<'_> {
    fn refuse(&self, id: NodeId, problem: &str) -> Error {
        Error::Layer {
            network: self.graph.name().into(),
            layer: self.graph.nodes()[id].name.clone(),
            problem: problem.into(),
        }
    }

    /// A new value: the output of a layer.
    fn value(&mut self, id: NodeId, activation: Option<Activation>, wanted: bool) -> ValueId {
        let shape = self.shapes[id];
        let len = shape.elements();
        self.program.values.push(Value { shape, len, activation, wanted });
        let value = self.program.values.len() - 1;
        self.value_of[id] = Some(value);
        value
    }

    /// What a BatchNorm does: below the boundary, statistics never move.
    fn mode(&self, id: NodeId) -> BatchNormMode {
        if id < self.first { BatchNormMode::Frozen } else { self.batch_norm }
    }

    /// The index of the first tensor of a layer.
    fn tensor(&self, id: NodeId) -> usize {
        self.program.tensors.iter().position(|(p, _)| p.node == id).unwrap_or_default()
    }

    fn layer(&mut self, id: NodeId) -> Result<()> {
        let node = &self.graph.nodes()[id];
        let kind = match node.op {
            Op::Conv2d(conv) => {
                let shape = self.convolution(id, conv)?;
                self.product(id, shape, conv.bias)
            }
            Op::Linear(Linear { in_features, out_features, bias }) => {
                let shape = match self.shapes[id] {
                    Shape::Tokens { count, .. } => {
                        Conv2dShape::new([count, 1], in_features, out_features, Window::square(1))
                    }
                    Shape::Map { .. } | Shape::Vector(_) => {
                        Conv2dShape::linear(in_features, out_features)
                    }
                };
                self.product(id, shape, bias)
            }
            Op::BatchNorm(norm) => match self.mode(id) {
                BatchNormMode::Trained => Kind::BatchNorm { scale: self.tensor(id), norm },
                BatchNormMode::Frozen => {
                    return Err(self.refuse(
                        id,
                        "it does not directly follow a convolution that nothing else reads: its \
                         statistics cannot be frozen; train them",
                    ));
                }
            },
            Op::Activation(activation) if !activation.is_clamp() => Kind::Smooth(activation),
            Op::Activation(_) | Op::Add => Kind::Nothing,
            Op::MaxPool(pool) => Kind::MaxPool { window: self.pool(id, pool)? },
            Op::GlobalAvgPool => Kind::GlobalAvgPool,
            Op::LayerNorm(norm) => Kind::LayerNorm { scale: self.tensor(id), norm },
            Op::PatchTokens(tokens) => Kind::PatchTokens { first: self.tensor(id), tokens },
            Op::SqueezeExcite(sizes) => Kind::SqueezeExcite { first: self.tensor(id), sizes },
            Op::Attention(attention) => Kind::Attention { heads: attention.heads },
            Op::AttentionPool(pool) => Kind::AttentionPool { heads: pool.heads },
            Op::ClassToken => Kind::ClassToken,
            Op::LayerScale(_) => {
                return Err(self
                    .refuse(id, "it does not directly follow a product that nothing else reads"));
            }
            Op::Dropout(_) => {
                return Err(self.refuse(id, "dropout is part of heads, not of what they read"));
            }
            Op::UnitLength(_) | Op::Cosine(_) => {
                return Err(self.refuse(id, "it is part of heads, not of what they read"));
            }
            Op::Input(_) | Op::Features(_) => {
                return Err(self.refuse(id, "it can only be the first layer"));
            }
        };
        self.chain(id, kind)
    }

    fn convolution(&self, id: NodeId, conv: Conv2d) -> Result<Conv2dShape> {
        let Shape::Map { height, width, .. } = self.shapes[self.graph.nodes()[id].inputs[0]] else {
            return Err(self.refuse(id, "it needs a feature map"));
        };
        let border =
            border(conv.padding, [height, width], [conv.kernel, conv.stride, conv.dilation]);
        let window = Window::square(conv.kernel).stride(conv.stride).dilation(conv.dilation);
        Ok(Conv2dShape {
            groups: conv.groups,
            ..Conv2dShape::new(
                [height, width],
                conv.in_channels,
                conv.out_channels,
                window.padding(border),
            )
        })
    }

    fn pool(&self, id: NodeId, pool: MaxPool) -> Result<Window> {
        let Shape::Map { height, width, .. } = self.shapes[self.graph.nodes()[id].inputs[0]] else {
            return Err(self.refuse(id, "it needs a feature map"));
        };
        let border = border(pool.padding, [height, width], [pool.kernel, pool.stride, 1]);
        Ok(Window::square(pool.kernel).stride(pool.stride).padding(border))
    }

    fn product(&self, id: NodeId, shape: Conv2dShape, bias: bool) -> Kind {
        let weight = self.tensor(id);
        Kind::Conv { shape, weight, bias: bias.then_some(weight + 1), folded: Vec::new() }
    }

    /// The only layer that reads this one's output, if there is just one.
    fn only_reader(&self, id: NodeId) -> Option<NodeId> {
        match self.readers[id][..] {
            [only] if id != self.graph.features() => Some(only),
            _ => None,
        }
    }

    /// Adds a step, with as many of the following layers as can be computed with it.
    fn chain(&mut self, id: NodeId, mut kind: Kind) -> Result<()> {
        let nodes = self.graph.nodes();
        let read = |own: &Self, id: NodeId| {
            own.value_of[id].ok_or_else(|| own.refuse(id, "what reads it comes before it"))
        };
        let input = read(self, nodes[id].inputs[0])?;
        let mut trains = self.trains(id);
        let (mut residual, mut activation, mut end) = (None, None, id);
        match nodes[id].op {
            Op::Add => residual = Some(read(self, nodes[id].inputs[1])?),
            Op::Activation(own) if own.is_clamp() => activation = Some(own),
            _ => {}
        }
        // The gradient before these follows from the results; what comes after them does not fit.
        let open = matches!(kind, Kind::Conv { .. } | Kind::BatchNorm { .. } | Kind::Nothing);
        while let Some(next) = self.only_reader(end).filter(|_| open && activation.is_none()) {
            match nodes[next].op {
                Op::BatchNorm(BatchNorm { eps, .. })
                    if self.mode(next) == BatchNormMode::Frozen && residual.is_none() =>
                {
                    let Kind::Conv { folded, .. } = &mut kind else { break };
                    folded.push(Affine::BatchNorm { scale: self.tensor(next), eps });
                }
                Op::LayerScale(LayerScale { .. }) if residual.is_none() => {
                    let Kind::Conv { folded, .. } = &mut kind else { break };
                    folded.push(Affine::Scale { gamma: self.tensor(next) });
                }
                Op::Add if residual.is_none() => {
                    let inputs = &nodes[next].inputs;
                    let other = if inputs[0] == end { inputs[1] } else { inputs[0] };
                    // Otherwise the sum belongs to the step that computes the other input.
                    let Some(value) = self.value_of[other].filter(|_| other != end) else { break };
                    residual = Some(value);
                }
                Op::Activation(own) if own.is_clamp() => activation = Some(own),
                Op::Input(_)
                | Op::Features(_)
                | Op::Conv2d(_)
                | Op::BatchNorm(_)
                | Op::Activation(_)
                | Op::MaxPool(_)
                | Op::GlobalAvgPool
                | Op::Linear(_)
                | Op::Add
                | Op::LayerNorm(_)
                | Op::LayerScale(_)
                | Op::Dropout(_)
                | Op::PatchTokens(_)
                | Op::SqueezeExcite(_)
                | Op::Attention(_)
                | Op::AttentionPool(_)
                | Op::ClassToken
                | Op::UnitLength(_)
                | Op::Cosine(_) => break,
            }
            trains |= self.trains(next);
            self.done[next] = true;
            end = next;
        }
        self.done[id] = true;
        let wanted = |value: ValueId| self.program.values[value].wanted;
        let wanted = trains || wanted(input) || residual.is_some_and(wanted);
        let output = self.value(end, activation, wanted);
        let name = nodes[id].name.clone();
        self.program.steps.push(Step { name, kind, input, residual, output, trains });
        Ok(())
    }

    fn trains(&self, id: NodeId) -> bool {
        self.program.tensors.iter().any(|(p, trained)| *trained && p.node == id)
    }
}

fn border(padding: Padding, [height, width]: [usize; 2], window: [usize; 3]) -> Border {
    let [kernel, stride, dilation] = window;
    let (top, bottom) = padding.amounts(height, kernel, stride, dilation);
    let (left, right) = padding.amounts(width, kernel, stride, dilation);
    Border { top, bottom, left, right }
}
