//! From layers to the steps of a frozen network: BatchNorm is folded into the convolution before
//! it, and a residual or activation that directly follows a convolution is computed with it. The
//! frozen forms on all devices are based on this.

use std::borrow::Cow;

use crate::{
    Activation, Attention, AttentionPool, Conv2d, Error, Graph, MaxPool, NodeId, PatchTokens,
    Result, SqueezeExcite, WeightSource, op::Fusing,
};

/// Output channels up to which the first layers of a frozen network in bf16 stay in f32.
///
/// With few channels, rounding errors hardly average out, and everything that follows depends on
/// these layers: on real pictures with a white background, where whole regions round the same way,
/// the first three layers of EfficientNet-Lite0 cause two thirds of the error of bf16
/// (`docs/performance.md`). As they are thin, they cost little.
pub const THIN_CHANNELS: usize = 32;

/// What a step of a frozen network computes first.
///
/// The implementations for all devices match this exhaustively.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FusedOp {
    /// A convolution.
    Conv2d(Conv2d),
    /// A fully connected layer over a vector, or over each token.
    Linear {
        /// Length of the input vectors.
        in_features: usize,
        /// Length of the output vectors.
        out_features: usize,
    },
    /// Maximum over a sliding window.
    MaxPool(MaxPool),
    /// Mean over all positions of a map.
    GlobalAvgPool,
    /// Normalisation over the channels of each position.
    LayerNorm {
        /// Channels.
        channels: usize,
        /// Added to the variance.
        eps: f64,
    },
    /// From a map of patches to tokens.
    PatchTokens(PatchTokens),
    /// Scales each channel of a map by what follows from the means of all channels.
    SqueezeExcite(SqueezeExcite),
    /// Multi-head self-attention between its two linear layers.
    Attention(Attention),
    /// From tokens with scores and values to one token.
    AttentionPool(AttentionPool),
    /// The first token of a sequence.
    ClassToken,
}

/// A step of a frozen network: activation(scale · op(input) + shift + residual).
#[derive(Debug, Clone, PartialEq)]
pub struct FusedLayer {
    /// Its first layer.
    pub node: NodeId,
    /// The layer whose output it produces: the last one fused into it.
    pub end: NodeId,
    /// The layers after `node` that are fused into it, in order.
    pub fused: Vec<NodeId>,
    /// What it computes first.
    pub op: FusedOp,
    /// The layer whose output it reads: the graph's input, or the `end` of an earlier step.
    pub input: NodeId,
    /// The step whose output is added before the activation, by its `end`.
    pub residual: Option<NodeId>,
    /// The activation applied to each value at the end.
    pub activation: Option<Activation>,
    /// The factor of each output channel, also after a normalisation; empty for pooling.
    scale: Vec<f64>,
    /// The shift added to each output channel afterwards; empty for pooling.
    shift: Vec<f64>,
}

impl FusedLayer {
    /// Weight and bias of the convolution or linear layer, with scale and shift folded into them:
    /// in torch's layout, and `[out]`. Folded in f64 and rounded once. For a layer norm, its scale
    /// and bias, `[channels]`; both are empty for pooling.
    ///
    /// # Errors
    /// [`Error::Layer`] if the weights do not contain the layer's tensor.
    pub fn folded(
        &self,
        graph: &Graph,
        weights: &dyn WeightSource,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        if self.scale.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let shift = self.shift.iter().map(|&b| b as f32).collect();
        if matches!(self.op, FusedOp::LayerNorm { .. }) {
            return Ok((self.scale.iter().map(|&s| s as f32).collect(), shift));
        }
        let values = tensor(graph, weights, self.node, "weight")?;
        let per_channel = (values.len() / self.scale.len()).max(1);
        let mut folded = Vec::with_capacity(values.len());
        for (row, scale) in values.chunks(per_channel).zip(&self.scale) {
            folded.extend(row.iter().map(|&weight| (f64::from(weight) * scale) as f32));
        }
        Ok((folded, shift))
    }
}

impl FusedLayer {
    /// The tensors of squeeze and excitation: weight and bias of the first layer, then of the
    /// second.
    ///
    /// # Errors
    /// [`Error::Layer`] if the weights do not contain them.
    pub fn squeeze_excite<'w>(
        &self,
        graph: &Graph,
        weights: &'w dyn WeightSource,
    ) -> Result<[Cow<'w, [f32]>; 4]> {
        let read = |suffix: &str| tensor(graph, weights, self.node, suffix);
        Ok([read("fc1.weight")?, read("fc1.bias")?, read("fc2.weight")?, read("fc2.bias")?])
    }

    /// The values added to the tokens of a grid of patches: [`PatchTokens::table`] of this layer's
    /// tensors.
    ///
    /// # Errors
    /// [`Error::Layer`] if this is not a layer of patches, or the weights do not contain its
    /// tensors.
    pub fn tokens(
        &self,
        graph: &Graph,
        weights: &dyn WeightSource,
        grid: [usize; 2],
    ) -> Result<Vec<f32>> {
        let FusedOp::PatchTokens(tokens) = self.op else {
            return Err(problem(graph, self.node, "it produces no tokens"));
        };
        let [class, positions] = PatchTokens::names(&graph.nodes()[self.node].name);
        let read = |name: &str| named(graph, weights, self.node, name);
        let class = if tokens.prefix > 0 { read(&class)? } else { Cow::Borrowed(&[][..]) };
        Ok(tokens.table(&class, &read(&positions)?, grid))
    }
}

/// The steps of a frozen network in order of computation, up to the graph's output; layers that it
/// does not need are left out, and dropout does nothing.
///
/// # Errors
/// [`Error::Weights`] if the weights do not fit; [`Error::Layer`] names a layer that cannot be
/// fused into a convolution and is not a kind of step.
pub fn fuse(graph: &Graph, weights: &dyn WeightSource) -> Result<Vec<FusedLayer>> {
    crate::check_weights(graph, weights)?;
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
    let mut fusing = Fuser {
        graph,
        weights,
        consumers,
        value_of: vec![None; nodes.len()],
        done: vec![false; nodes.len()],
        layers: Vec::new(),
    };
    for (id, &needed) in needed.iter().enumerate() {
        if needed && !fusing.done[id] {
            fusing.layer(id)?;
        }
    }
    Ok(fusing.layers)
}

fn problem(graph: &Graph, id: NodeId, problem: impl Into<String>) -> Error {
    let node = &graph.nodes()[id];
    Error::Layer { layer: node.name.clone(), kind: node.op.kind(), problem: problem.into() }
}

fn tensor<'w>(
    graph: &Graph,
    weights: &'w dyn WeightSource,
    id: NodeId,
    suffix: &str,
) -> Result<Cow<'w, [f32]>> {
    named(graph, weights, id, &format!("{}.{suffix}", graph.nodes()[id].name))
}

fn named<'w>(
    graph: &Graph,
    weights: &'w dyn WeightSource,
    id: NodeId,
    name: &str,
) -> Result<Cow<'w, [f32]>> {
    weights
        .values(name)
        .ok_or_else(|| problem(graph, id, format!("the weights do not contain '{name}'")))
}

struct Fuser<'a> {
    graph: &'a Graph,
    weights: &'a dyn WeightSource,
    consumers: Vec<Vec<NodeId>>,
    /// Which layer's output equals this one's, once a step computes it.
    value_of: Vec<Option<NodeId>>,
    done: Vec<bool>,
    layers: Vec<FusedLayer>,
}

impl Fuser<'_> {
    fn layer(&mut self, id: NodeId) -> Result<()> {
        let node = &self.graph.nodes()[id];
        let fail = |text: &str| Err(problem(self.graph, id, text));
        match node.op.operation().fusing() {
            Fusing::Source => {
                self.value_of[id] = Some(id);
                self.done[id] = true;
                Ok(())
            }
            Fusing::Nothing => {
                self.value_of[id] = Some(self.input(id)?);
                self.done[id] = true;
                Ok(())
            }
            Fusing::Step { op, channels, bias, open } => self.chain(id, op, channels, bias, open),
            Fusing::BatchNorm { .. } | Fusing::Activation(_) | Fusing::LayerScale => {
                fail("it does not directly follow a convolution that nothing else reads")
            }
            Fusing::HeadOnly => fail("it is part of heads, not of what they read"),
            Fusing::Add => fail("neither of its inputs is a convolution that nothing else reads"),
        }
    }

    fn input(&self, id: NodeId) -> Result<NodeId> {
        let input = self.graph.nodes()[id].inputs[0];
        self.value_of[input]
            .ok_or_else(|| problem(self.graph, id, "its input is not computed by any step"))
    }

    /// The only layer that reads this one's output, if there is just one.
    fn only_consumer(&self, id: NodeId) -> Option<NodeId> {
        match self.consumers[id][..] {
            [only] if id != self.graph.output() => Some(only),
            _ => None,
        }
    }

    /// Adds a step, with as many of the following layers as can be fused into it.
    fn chain(
        &mut self,
        id: NodeId,
        op: FusedOp,
        channels: usize,
        bias: bool,
        open: bool,
    ) -> Result<()> {
        let shift = if bias {
            let bias = tensor(self.graph, self.weights, id, "bias")?;
            bias.iter().map(|&b| f64::from(b)).collect()
        } else {
            vec![0.0; channels]
        };
        let mut layer = FusedLayer {
            node: id,
            end: id,
            fused: Vec::new(),
            op,
            input: self.input(id)?,
            residual: None,
            activation: None,
            scale: vec![1.0; channels],
            shift,
        };
        if matches!(op, FusedOp::LayerNorm { .. }) {
            let weight = tensor(self.graph, self.weights, id, "weight")?;
            layer.scale = weight.iter().map(|&w| f64::from(w)).collect();
        }
        self.done[id] = true;
        while let Some(next) = self.only_consumer(layer.end).filter(|_| open) {
            let node = &self.graph.nodes()[next];
            match node.op.operation().fusing() {
                // What has no scale of its own takes an activation only.
                Fusing::BatchNorm { .. } | Fusing::LayerScale | Fusing::Add if channels == 0 => {
                    break;
                }
                Fusing::BatchNorm { eps } if layer.residual.is_none() => {
                    let read = |suffix| tensor(self.graph, self.weights, next, suffix);
                    let (gamma, beta) = (read("weight")?, read("bias")?);
                    let (mean, var) = (read("running_mean")?, read("running_var")?);
                    for c in 0..channels {
                        let factor = f64::from(gamma[c]) / (f64::from(var[c]) + eps).sqrt();
                        layer.scale[c] *= factor;
                        layer.shift[c] =
                            (layer.shift[c] - f64::from(mean[c])) * factor + f64::from(beta[c]);
                    }
                }
                Fusing::LayerScale if layer.residual.is_none() => {
                    let gamma = tensor(self.graph, self.weights, next, "gamma")?;
                    for c in 0..channels {
                        layer.scale[c] *= f64::from(gamma[c]);
                        layer.shift[c] *= f64::from(gamma[c]);
                    }
                }
                Fusing::Add if layer.residual.is_none() => {
                    let other =
                        if node.inputs[0] == layer.end { node.inputs[1] } else { node.inputs[0] };
                    if other == layer.end {
                        break;
                    }
                    // The other input must exist when this convolution runs; otherwise the sum is
                    // fused into the step of the other input.
                    let Some(value) = self.value_of[other] else { break };
                    layer.residual = Some(value);
                }
                Fusing::Activation(activation) => {
                    layer.activation = Some(activation);
                    layer.end = next;
                    layer.fused.push(next);
                    self.done[next] = true;
                    break;
                }
                Fusing::Nothing => {}
                // Nothing is folded after a residual.
                Fusing::BatchNorm { .. } | Fusing::LayerScale | Fusing::Add => break,
                Fusing::Source | Fusing::Step { .. } | Fusing::HeadOnly => break,
            }
            layer.end = next;
            layer.fused.push(next);
            self.done[next] = true;
        }
        self.value_of[layer.end] = Some(layer.end);
        self.layers.push(layer);
        Ok(())
    }
}
