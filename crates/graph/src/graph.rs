use serde::{Deserialize, Serialize};

use crate::{
    Activation, BatchNorm, Conv2d, Error, Features, Input, Linear, MaxPool, Op, Result, Shape,
    op::{Form, View},
    stored::StoredGraph,
};

/// The position of a layer in its graph. Layers are in the order of computation.
pub type NodeId = usize;

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The name, unique in the graph; the prefix of its parameters' names. Those of pretrained
    /// networks are timm's.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// The layers that it reads; all of them come earlier.
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
    /// The shape in torch's layout: `[out, in / groups, kernel, kernel]` or `[out, in]` or
    /// `[channels]`.
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
#[serde(try_from = "StoredGraph")]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) features: NodeId,
    pub(crate) output: NodeId,
}

/// How many multiples of the stride are tried to find the smallest size that a network accepts.
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

    /// How many features the backbone computes per picture.
    pub fn feature_width(&self) -> usize {
        self.channels(self.features)
    }

    /// The last feature map, or the last tokens, before the features are pooled; the features
    /// themselves if nothing is pooled.
    pub fn last_feature_map(&self) -> NodeId {
        let forms = self.forms();
        let pools = |id: &NodeId| match self.nodes[*id].inputs.first() {
            Some(&input) => forms[*id] == Form::Vector && forms[input] != Form::Vector,
            None => false,
        };
        (0..=self.features)
            .rev()
            .find(pools)
            .map_or(self.features, |pool| self.nodes[pool].inputs[0])
    }

    /// The same network without everything that the features do not need ("no top").
    ///
    /// Removes the layers after the features; names are kept, so that the same weights fit.
    pub fn without_classifier(&self) -> Graph {
        self.up_to(self.features)
    }

    /// The layers that the given one depends on; it becomes features and output. Names are kept, so
    /// that the same weights fit.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn up_to(&self, last: NodeId) -> Graph {
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

    /// The factor by which the network shrinks a picture's sides up to the last feature map.
    pub fn total_stride(&self) -> usize {
        let mut strides: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let before = node.inputs.iter().map(|&i| strides[i]).max().unwrap_or(1);
            strides.push(match node.op.operation().view() {
                View::Window { stride, .. } => before * stride,
                View::Position | View::Everything => before,
            });
        }
        strides[self.last_feature_map()]
    }

    /// The output shape of every layer for an input of this height and width (ignored by a head,
    /// which starts from features).
    ///
    /// # Errors
    /// [`Error::InputTooSmall`] below the network's total stride; [`Error::LayerInputTooSmall`]
    /// where a layer, e.g. VGG's classifier, needs a larger picture; [`Error::Layer`] names the
    /// first layer whose input does not fit for another reason.
    pub fn shapes(&self, height: usize, width: usize) -> Result<Vec<Shape>> {
        if matches!(self.nodes[0].op, Op::Input(_)) {
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
            let inputs: Vec<Shape> = node.inputs.iter().map(|&i| shapes[i]).collect();
            let shape = node.op.operation().output(&inputs, [height, width]);
            let shape = shape.map_err(|problem| Error::Layer {
                layer: node.name.clone(),
                kind: node.op.kind(),
                problem,
            })?;
            shapes.push(shape);
        }
        Ok(shapes)
    }

    /// Every named tensor, in the order of the layers; within a layer weight, bias, running mean,
    /// running variance.
    pub fn parameters(&self) -> Vec<Parameter> {
        let tensors_of = |(id, node): (NodeId, &Node)| {
            let tensors = node.op.operation().tensors(&node.name).into_iter();
            tensors.map(move |(name, shape, kind)| Parameter { name, shape, kind, node: id })
        };
        self.nodes.iter().enumerate().flat_map(tensors_of).collect()
    }

    /// How many learnable numbers the network has: weights, scales and biases, as in published
    /// counts.
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

    /// The number of channels of a layer's output; does not depend on the input's size.
    fn channels(&self, id: NodeId) -> usize {
        let mut channels: Vec<usize> = Vec::with_capacity(id + 1);
        for node in &self.nodes[..=id] {
            let inputs: Vec<usize> = node.inputs.iter().map(|&i| channels[i]).collect();
            channels.push(node.op.operation().channels(&inputs));
        }
        channels[id]
    }

    /// The form of each layer's output; does not depend on the input's size.
    pub(crate) fn forms(&self) -> Vec<Form> {
        let mut forms: Vec<Form> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let inputs: Vec<Form> = node.inputs.iter().map(|&i| forms[i]).collect();
            forms.push(node.op.operation().form(&inputs));
        }
        forms
    }
}

/// Writes a [`Graph`] layer by layer. Each method takes the name and the input and returns the new
/// layer's id.
#[derive(Debug)]
pub struct GraphBuilder {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
}

impl GraphBuilder {
    /// Starts a network that takes pictures of `channels` channels (3 for RGB).
    pub fn pictures(name: impl Into<String>, channels: usize) -> (Self, NodeId) {
        Self::start(name.into(), "input", Op::Input(Input { channels }))
    }

    /// Starts a head that takes vectors of features.
    pub fn features(name: impl Into<String>, width: usize) -> (Self, NodeId) {
        Self::start(name.into(), "features", Op::Features(Features { width }))
    }

    fn start(name: String, input: &str, op: Op) -> (Self, NodeId) {
        let nodes = vec![Node { name: input.into(), op, inputs: Vec::new() }];
        (Self { name, nodes }, 0)
    }

    /// Adds any layer.
    ///
    /// # Panics
    /// If an input does not exist yet, the number of inputs is wrong or the name is taken: mistakes
    /// by the author of a network, not by its user.
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
        let norm = BatchNorm { channels, eps, momentum: 0.1, unbiased: true };
        self.layer(name, Op::BatchNorm(norm), &[input])
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

    /// Adds a fully connected layer with a bias, over a vector or over each token.
    pub fn linear(
        &mut self,
        name: impl Into<String>,
        input: NodeId,
        in_features: usize,
        out_features: usize,
    ) -> NodeId {
        let linear = Linear { in_features, out_features, bias: true };
        self.layer(name, Op::Linear(linear), &[input])
    }

    /// Finishes the network: its output is the last layer, its features are the output of
    /// `features`.
    pub fn finish(self, features: NodeId) -> Graph {
        let output = self.nodes.len() - 1;
        Graph { name: self.name, nodes: self.nodes, features, output }
    }
}
