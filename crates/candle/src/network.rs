use std::ops::Range;

use candle_core::{Device, Tensor, Var};
use taper_core::random::Key;
use taper_graph::{
    Activation, BatchNorm, Cosine, Dropout, Graph, LayerNorm, Linear, Op, ParameterKind,
    UnitLength, WeightSource, Weights, check_weights,
};

use crate::{
    Error, Result,
    layers::{self, Norm},
};

/// What a forward pass is for.
#[derive(Debug, Clone, Copy)]
pub enum Pass {
    /// Dropout does nothing; BatchNorm uses its running statistics.
    Evaluation,
    /// Dropout is drawn from its key; BatchNorm uses the batch's statistics and updates the running
    /// ones.
    Training {
        /// The key of all dropout in this training run.
        dropout: Key,
        /// The number of the optimization step, from 0: each has its own masks.
        step: u32,
    },
}

/// A tensor of a network.
#[derive(Debug, Clone)]
pub struct NamedParameter {
    /// The name, e.g. `fc1.weight`.
    pub name: String,
    /// What it is for.
    pub kind: ParameterKind,
    /// Whether it is trained: neither a running statistic nor frozen.
    pub trained: bool,
    /// The values, f32, in torch's layout.
    pub var: Var,
}

/// A copy of tensors.
pub(crate) fn copied(parameters: &[NamedParameter]) -> Result<Weights> {
    let mut all = Weights::new();
    for p in parameters {
        let values = p.var.flatten_all()?.to_vec1::<f32>()?;
        all.insert(p.name.clone(), p.var.dims().to_vec(), values);
    }
    Ok(all)
}

/// A network that can be trained: a [`Graph`] with its tensors on a candle device.
///
/// Parameters are always in the order of [`Graph::parameters`].
#[derive(Debug, Clone)]
pub struct Network {
    graph: Graph,
    parameters: Vec<NamedParameter>,
    of_node: Vec<Range<usize>>,
    device: Device,
}

impl Network {
    /// A network with fresh weights: Keras's default initialisation, drawn from streams keyed by
    /// the seed and the names.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn initialised(graph: &Graph, seed: u64, device: &Device) -> Result<Self> {
        let values = |p: &taper_graph::Parameter| Ok(taper_optim::initial_values(p, seed));
        Self::build(graph, device, values)
    }

    /// A network with given weights.
    ///
    /// # Errors
    /// [`taper_graph::Error::Weights`] lists every tensor that is missing or of the wrong shape.
    pub fn loaded(graph: &Graph, weights: &dyn WeightSource, device: &Device) -> Result<Self> {
        check_weights(graph, weights)?;
        Self::build(graph, device, |p| {
            weights.values(&p.name).map(|v| v.into_owned()).ok_or_else(|| Error::Layer {
                network: graph.name().into(),
                layer: p.name.clone(),
                problem: "its values cannot be read from the weights".into(),
            })
        })
    }

    fn build(
        graph: &Graph,
        device: &Device,
        values: impl Fn(&taper_graph::Parameter) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let mut parameters: Vec<NamedParameter> = Vec::new();
        let mut of_node = vec![0..0; graph.nodes().len()];
        for p in graph.parameters() {
            let tensor = Tensor::from_vec(values(&p)?, p.shape.as_slice(), device)?;
            let position = parameters.len();
            if of_node[p.node].is_empty() {
                of_node[p.node] = position..position;
            }
            of_node[p.node].end = position + 1;
            let var = Var::from_tensor(&tensor)?;
            let trained = p.kind.is_learnable();
            parameters.push(NamedParameter { name: p.name, kind: p.kind, trained, var });
        }
        Ok(Self { graph: graph.clone(), parameters, of_node, device: device.clone() })
    }

    /// The architecture.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// All tensors, running statistics included, in their fixed order.
    pub fn parameters(&self) -> &[NamedParameter] {
        &self.parameters
    }

    /// Where the tensors are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A copy of all tensors.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub fn weights(&self) -> Result<Weights> {
        copied(&self.parameters)
    }

    /// Restores a copy of all tensors.
    ///
    /// # Errors
    /// [`taper_graph::Error::Weights`] if the copy belongs to another network.
    pub fn restore(&self, weights: &Weights) -> Result<()> {
        check_weights(&self.graph, weights)?;
        for p in &self.parameters {
            if let Some(values) = weights.values(&p.name) {
                p.var.set(&Tensor::from_slice(&values, p.var.shape(), &self.device)?)?;
            }
        }
        Ok(())
    }

    /// Runs the network on a batch and returns the output of its last layer: `[n, classes]` logits,
    /// or `[n, width]` features without a classifier. Gradients flow back only through a training
    /// pass.
    ///
    /// `input` is f32: normalised pictures `[n, 3, height, width]`, or `[n, width]` features for a
    /// head.
    ///
    /// # Errors
    /// [`Error::Layer`] names a layer whose input does not fit, including a BatchNorm trained on a
    /// single value per channel.
    pub fn forward(&self, input: &Tensor, pass: Pass) -> Result<Tensor> {
        let mut outputs: Vec<Option<Tensor>> = vec![None; self.graph.nodes().len()];
        let mut users = vec![0usize; outputs.len()];
        for node in self.graph.nodes() {
            for &i in &node.inputs {
                users[i] += 1;
            }
        }
        for (id, node) in self.graph.nodes().iter().enumerate() {
            let named = |problem: String| Error::Layer {
                network: self.graph.name().into(),
                layer: node.name.clone(),
                problem,
            };
            let inputs: Vec<Tensor> =
                node.inputs.iter().filter_map(|&i| outputs[i].clone()).collect();
            let y = self.layer(id, input, &inputs, pass).map_err(|error| match error {
                Error::Candle(candle) => named(candle.to_string()),
                Error::Layer { problem, .. } => named(problem),
                other => other,
            })?;
            // Without gradients, a map is dropped as soon as it is no longer needed.
            for &i in &node.inputs {
                users[i] -= 1;
                if users[i] == 0 {
                    outputs[i] = None;
                }
            }
            outputs[id] = Some(y);
        }
        outputs[self.graph.output()].take().ok_or_else(|| Error::Layer {
            network: self.graph.name().into(),
            layer: "output".into(),
            problem: "was not computed".into(),
        })
    }

    fn layer(&self, id: usize, input: &Tensor, inputs: &[Tensor], pass: Pass) -> Result<Tensor> {
        let node = &self.graph.nodes()[id];
        let own = &self.parameters[self.of_node[id].clone()];
        // Tensors computed from variables keep their history, and with it every map in memory.
        let evaluating = matches!(pass, Pass::Evaluation);
        let var = |p: &NamedParameter| {
            if evaluating { p.var.as_tensor().detach() } else { p.var.as_tensor().clone() }
        };
        let tensors: Vec<Tensor> = own.iter().map(var).collect();
        let tensor = |i: usize| &tensors[i];
        let y = match node.op {
            Op::Input(_) | Op::Features(_) => input.clone(),
            Op::Conv2d(conv) => {
                let bias = conv.bias.then(|| tensor(1));
                layers::conv2d(&inputs[0], tensor(0), bias, &conv)?
            }
            Op::Linear(Linear { bias, .. }) => {
                layers::linear(&inputs[0], tensor(0), bias.then(|| tensor(1)))?
            }
            Op::BatchNorm(BatchNorm { eps, momentum, unbiased, .. }) => {
                let norm = Norm { scale: tensor(0), bias: tensor(1), eps };
                match pass {
                    Pass::Evaluation => norm.evaluate(&inputs[0], tensor(2), tensor(3))?,
                    Pass::Training { .. } => {
                        self.train_norm(norm, &inputs[0], &own[2..], momentum, unbiased)?
                    }
                }
            }
            Op::Activation(Activation::Relu) => inputs[0].relu()?,
            Op::Activation(Activation::Relu6) => inputs[0].clamp(0f32, 6f32)?,
            Op::Activation(Activation::Gelu) => inputs[0].gelu_erf()?,
            Op::Activation(Activation::QuickGelu) => {
                let share = candle_nn::ops::sigmoid(&(&inputs[0] * 1.702)?)?;
                (&inputs[0] * share)?
            }
            Op::Activation(Activation::GeluTanh) => inputs[0].gelu()?,
            Op::MaxPool(pool) => layers::max_pool2d(&inputs[0], &pool)?,
            Op::GlobalAvgPool => layers::global_avg_pool(&inputs[0])?,
            Op::Add => (&inputs[0] + &inputs[1])?,
            Op::LayerNorm(LayerNorm { eps, .. }) => {
                layers::layer_norm(&inputs[0], tensor(0), tensor(1), eps)?
            }
            Op::LayerScale(_) => layers::layer_scale(&inputs[0], tensor(0))?,
            Op::Dropout(Dropout { p }) => match pass {
                Pass::Evaluation => inputs[0].clone(),
                Pass::Training { dropout, step } => {
                    let x = &inputs[0];
                    let key = dropout.part(&node.name);
                    (x * taper_candle_ops::dropout_mask(x.dims(), p, key, step, x.device())?)?
                }
            },
            Op::PatchTokens(tokens) => {
                let learned = usize::from(tokens.prefix > 0);
                let class = (learned > 0).then(|| tensor(0));
                layers::patch_tokens(&inputs[0], class, tensor(learned), &tokens)?
            }
            Op::SqueezeExcite(_) => {
                let x = &inputs[0];
                let means = layers::global_avg_pool(x)?;
                let factors =
                    layers::excitation(&means, [tensor(0), tensor(1), tensor(2), tensor(3)])?;
                x.broadcast_mul(&factors.unsqueeze(2)?.unsqueeze(3)?)?
            }
            Op::Attention(attention) if inputs[0].rank() == 4 => {
                let softmax =
                    if evaluating { candle_nn::ops::softmax_last_dim } else { layers::softmax };
                let (n, _, height, width) = inputs[0].dims4()?;
                let x = inputs[0].flatten_from(2)?.transpose(1, 2)?.contiguous()?;
                let y = layers::attention(&x, &attention, softmax, |a, b| a.matmul(b))?;
                let y = y.transpose(1, 2)?.contiguous()?;
                y.reshape((n, attention.width, height, width))?
            }
            Op::Attention(attention) => {
                // The faster operations for evaluation have no gradients.
                let softmax =
                    if evaluating { candle_nn::ops::softmax_last_dim } else { layers::softmax };
                layers::attention(&inputs[0], &attention, softmax, |a, b| a.matmul(b))?
            }
            Op::AttentionPool(pool) => {
                let softmax =
                    if evaluating { candle_nn::ops::softmax_last_dim } else { layers::softmax };
                layers::attention_pool(&inputs[0], &pool, softmax, |a, b| a.matmul(b))?
            }
            Op::ClassToken => layers::class_token(&inputs[0])?,
            Op::UnitLength(UnitLength { scale }) => {
                (layers::directions(&inputs[0])?.0 * f64::from(scale))?
            }
            Op::Cosine(Cosine { scale, .. }) => {
                layers::cosine(&inputs[0], tensor(0), tensor(1), scale)?
            }
        };
        Ok(y)
    }

    fn train_norm(
        &self,
        norm: Norm<'_>,
        x: &Tensor,
        running: &[NamedParameter],
        momentum: f64,
        unbiased: bool,
    ) -> Result<Tensor> {
        let per_channel = x.elem_count() / x.dim(1)?;
        if per_channel < 2 {
            return Err(Error::Layer {
                network: String::new(),
                layer: String::new(),
                problem: "BatchNorm cannot be trained on one value per channel: use batches of at \
                          least 2"
                    .into(),
            });
        }
        let (y, mean, variance) = norm.train(x)?;
        let variance = if unbiased {
            (variance * (per_channel as f64 / (per_channel - 1) as f64))?
        } else {
            variance
        };
        for (running, batch) in running.iter().zip([mean, variance]) {
            let old = running.var.as_tensor().detach();
            running.var.set(&((old * (1.0 - momentum))? + (batch * momentum)?)?)?;
        }
        Ok(y)
    }
}
