use serde::{Deserialize, Serialize};

use crate::{Activation, Conv2d, Error, MaxPool, Op, Result, Shape, VisionTransformer};

/// The position of a layer in its graph. Layers stand in the order of computation.
pub type NodeId = usize;

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The name, unique in the graph; the prefix of its parameters' names. Those of pretrained networks are timm's.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// Where its inputs come from; all of them stand earlier.
    pub inputs: Vec<NodeId>,
}

/// What a named tensor of a network is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ParameterKind {
    /// Learned; weight decay applies.
    Weight,
    /// Learned; no weight decay. Biases.
    Bias,
    /// Learned; no weight decay. The scale of a normalisation.
    Scale,
    /// A running statistic: kept with the weights, never learned.
    RunningMean,
    /// A running statistic: kept with the weights, never learned.
    RunningVar,
}

impl ParameterKind {
    /// Whether gradients flow to it; the others are running statistics.
    pub fn is_learnable(self) -> bool {
        !matches!(self, ParameterKind::RunningMean | ParameterKind::RunningVar)
    }
}

/// A named tensor that a network needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The layer's name and the tensor's own, e.g. `layer1.0.conv1.weight`.
    pub name: String,
    /// The shape in torch's layout: `[out, in / groups, kernel, kernel]` or `[out, in]` or `[channels]`.
    pub shape: Vec<usize>,
    /// What it is for.
    pub kind: ParameterKind,
    /// The layer that it belongs to.
    pub node: NodeId,
}

/// A network: layers in the order of computation, the first of which is the input.
///
/// Built by a [`GraphBuilder`]; immutable afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) features: NodeId,
    pub(crate) output: NodeId,
}

/// How many strides of a picture are tried to find out from which size on a network takes it.
const MOST_STRIDES: usize = 32;

impl Graph {
    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All layers, inputs before users.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The layer whose output is the vector of features that a head starts from.
    pub fn features(&self) -> NodeId {
        self.features
    }

    /// The last layer: the logits if there is a classifier, else the features.
    pub fn output(&self) -> NodeId {
        self.output
    }

    /// How many features the backbone gives per picture.
    pub fn feature_width(&self) -> usize {
        self.channels(self.features)
    }

    /// The last feature map before the features are pooled (or the input, if there is no map).
    pub fn last_feature_map(&self) -> NodeId {
        (0..=self.features)
            .rev()
            .find(|&id| matches!(self.nodes[id].op, Op::GlobalAvgPool))
            .map_or(self.features, |pool| self.nodes[pool].inputs[0])
    }

    /// The same network without everything that the features do not need: "no top".
    ///
    /// Layers behind the features go; names stay, so that the same weights fit.
    pub fn without_classifier(&self) -> Graph {
        self.up_to(self.features)
    }

    /// The layers that one of them needs, which becomes features and output.
    pub(crate) fn up_to(&self, last: NodeId) -> Graph {
        let mut needed = vec![false; self.nodes.len()];
        needed[last] = true;
        for id in (0..self.nodes.len()).rev() {
            if needed[id] {
                for &input in &self.nodes[id].inputs {
                    needed[input] = true;
                }
            }
        }
        let mut new_id = vec![0; self.nodes.len()];
        let mut nodes = Vec::new();
        for (id, node) in self.nodes.iter().enumerate().filter(|(id, _)| needed[*id]) {
            new_id[id] = nodes.len();
            let inputs = node.inputs.iter().map(|&i| new_id[i]).collect();
            nodes.push(Node { inputs, ..node.clone() });
        }
        let features = new_id[last];
        Graph { name: self.name.clone(), nodes, features, output: features }
    }

    /// By how much the network shrinks a picture's sides until the last feature map.
    pub fn total_stride(&self) -> usize {
        let mut strides: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let before = node.inputs.iter().map(|&i| strides[i]).max().unwrap_or(1);
            strides.push(match node.op {
                Op::Conv2d(c) => before * c.stride,
                Op::MaxPool(p) => before * p.stride,
                _ => before,
            });
        }
        strides[self.last_feature_map()]
    }

    /// The output shape of every layer for an input of this height and width (ignored by a head, which starts from
    /// features).
    ///
    /// # Errors
    /// [`Error::InputTooSmall`] below the network's total stride; [`Error::LayerInputTooSmall`] where a larger picture helps a
    /// layer, e.g. VGG's classifier; [`Error::Layer`] names the first layer that gets something else that it cannot take.
    pub fn shapes(&self, height: usize, width: usize) -> Result<Vec<Shape>> {
        if matches!(self.nodes[0].op, Op::Input { .. }) {
            let stride = self.total_stride();
            if height.min(width) < stride {
                return Err(Error::InputTooSmall {
                    network: self.name.clone(),
                    height,
                    width,
                    stride,
                    comfortable: 4 * stride,
                });
            }
            return self.shapes_of_layers(height, width).map_err(|error| {
                let mut larger = (1..=MOST_STRIDES).map(|n| n * stride);
                let least = larger.find(|&side| self.shapes_of_layers(side, side).is_ok());
                match (error, least) {
                    (Error::Layer { layer, problem, .. }, Some(least)) => {
                        let network = self.name.clone();
                        Error::LayerInputTooSmall { network, layer, problem, least }
                    }
                    (error, _) => error,
                }
            });
        }
        self.shapes_of_layers(height, width)
    }

    fn shapes_of_layers(&self, height: usize, width: usize) -> Result<Vec<Shape>> {
        let mut shapes = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let shape = match node.op {
                Op::Input { channels } => Shape::Map { height, width, channels },
                Op::Features { width } => Shape::Vector(width),
                op => {
                    let inputs: Vec<Shape> = node.inputs.iter().map(|&i| shapes[i]).collect();
                    op.output(&inputs).map_err(|problem| Error::Layer {
                        layer: node.name.clone(),
                        kind: op.kind(),
                        problem,
                    })?
                }
            };
            shapes.push(shape);
        }
        Ok(shapes)
    }

    /// Every named tensor, in the order of the layers; within a layer weight, bias, running mean, running variance.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut all = Vec::new();
        for (id, node) in self.nodes.iter().enumerate() {
            if let Op::VisionTransformer(transformer) = node.op {
                let tensors = transformer.tensors().into_iter();
                all.extend(tensors.map(|(name, shape, kind)| Parameter {
                    name,
                    shape,
                    kind,
                    node: id,
                }));
                continue;
            }
            let mut push = |suffix: &str, shape: Vec<usize>, kind| {
                let name = format!("{}.{suffix}", node.name);
                all.push(Parameter { name, shape, kind, node: id });
            };
            match node.op {
                Op::Conv2d(c) => {
                    let shape = vec![c.out_channels, c.in_channels / c.groups, c.kernel, c.kernel];
                    push("weight", shape, ParameterKind::Weight);
                    if c.bias {
                        push("bias", vec![c.out_channels], ParameterKind::Bias);
                    }
                }
                Op::Linear { in_features, out_features, bias } => {
                    push("weight", vec![out_features, in_features], ParameterKind::Weight);
                    if bias {
                        push("bias", vec![out_features], ParameterKind::Bias);
                    }
                }
                Op::BatchNorm { channels, .. } => {
                    push("weight", vec![channels], ParameterKind::Scale);
                    push("bias", vec![channels], ParameterKind::Bias);
                    push("running_mean", vec![channels], ParameterKind::RunningMean);
                    push("running_var", vec![channels], ParameterKind::RunningVar);
                }
                Op::LayerNorm { channels, .. } => {
                    push("weight", vec![channels], ParameterKind::Scale);
                    push("bias", vec![channels], ParameterKind::Bias);
                }
                Op::LayerScale { channels } => {
                    push("gamma", vec![channels], ParameterKind::Scale);
                }
                _ => {}
            }
        }
        all
    }

    /// Whether a frozen plan can compute it; candle can compute all.
    pub fn has_plan(&self) -> bool {
        !self.nodes.iter().any(|node| matches!(node.op, Op::VisionTransformer(_)))
    }

    /// How many learnable numbers the network has: weights, scales and biases, as published counts go.
    pub fn learnable_parameters(&self) -> usize {
        self.count(true)
    }

    /// How many running statistics the network keeps.
    pub fn running_statistics(&self) -> usize {
        self.count(false)
    }

    fn count(&self, learnable: bool) -> usize {
        self.parameters()
            .iter()
            .filter(|p| p.kind.is_learnable() == learnable)
            .map(|p| p.shape.iter().product::<usize>())
            .sum()
    }

    /// The number of channels that a layer gives; does not depend on the input's size.
    fn channels(&self, id: NodeId) -> usize {
        let node = &self.nodes[id];
        match node.op {
            Op::Input { channels }
            | Op::BatchNorm { channels, .. }
            | Op::LayerNorm { channels, .. }
            | Op::LayerScale { channels } => channels,
            Op::Features { width } | Op::VisionTransformer(VisionTransformer { width, .. }) => {
                width
            }
            Op::Conv2d(c) => c.out_channels,
            Op::Linear { out_features, .. } => out_features,
            _ => self.channels(node.inputs[0]),
        }
    }
}

/// Writes a [`Graph`] layer by layer. Each method takes the name and the input and returns the new layer's id.
#[derive(Debug)]
pub struct GraphBuilder {
    name: String,
    nodes: Vec<Node>,
}

impl GraphBuilder {
    /// Starts a network that takes pictures of `channels` channels (3 for RGB).
    pub fn pictures(name: impl Into<String>, channels: usize) -> (Self, NodeId) {
        Self::start(name.into(), "input", Op::Input { channels })
    }

    /// Starts a head that takes vectors of features.
    pub fn features(name: impl Into<String>, width: usize) -> (Self, NodeId) {
        Self::start(name.into(), "features", Op::Features { width })
    }

    fn start(name: String, input: &str, op: Op) -> (Self, NodeId) {
        let nodes = vec![Node { name: input.into(), op, inputs: Vec::new() }];
        (Self { name, nodes }, 0)
    }

    /// Adds any layer.
    ///
    /// # Panics
    /// If an input does not exist yet, the number of inputs is wrong or the name is taken: mistakes of the author of a
    /// network, not of its user.
    pub fn layer(&mut self, name: impl Into<String>, op: Op, inputs: &[NodeId]) -> NodeId {
        let name = name.into();
        assert_eq!(inputs.len(), op.arity(), "layer '{name}' has a wrong number of inputs");
        assert!(inputs.iter().all(|&i| i < self.nodes.len()), "layer '{name}' precedes its input");
        assert!(self.nodes.iter().all(|n| n.name != name), "the name '{name}' is taken");
        self.nodes.push(Node { name, op, inputs: inputs.to_vec() });
        self.nodes.len() - 1
    }

    /// Adds a convolution.
    pub fn conv(&mut self, name: impl Into<String>, input: NodeId, conv: Conv2d) -> NodeId {
        self.layer(name, Op::Conv2d(conv), &[input])
    }

    /// Adds a batch normalisation with torch's update rule (momentum 0.1, unbiased variance).
    pub fn batch_norm(
        &mut self,
        name: impl Into<String>,
        input: NodeId,
        channels: usize,
        eps: f64,
    ) -> NodeId {
        let op = Op::BatchNorm { channels, eps, momentum: 0.1, unbiased: true };
        self.layer(name, op, &[input])
    }

    /// Adds an activation.
    pub fn activation(
        &mut self,
        name: impl Into<String>,
        input: NodeId,
        activation: Activation,
    ) -> NodeId {
        self.layer(name, Op::Activation(activation), &[input])
    }

    /// Adds a max pooling.
    pub fn max_pool(&mut self, name: impl Into<String>, input: NodeId, pool: MaxPool) -> NodeId {
        self.layer(name, Op::MaxPool(pool), &[input])
    }

    /// Adds a fully connected layer with a bias.
    pub fn linear(
        &mut self,
        name: impl Into<String>,
        input: NodeId,
        in_features: usize,
        out_features: usize,
    ) -> NodeId {
        self.layer(name, Op::Linear { in_features, out_features, bias: true }, &[input])
    }

    /// Ends the network: its output is the last layer, its features come out of `features`.
    pub fn finish(self, features: NodeId) -> Graph {
        let output = self.nodes.len() - 1;
        Graph { name: self.name, nodes: self.nodes, features, output }
    }
}
