//! Graphs as nodes of ONNX: the folded form of a frozen network, and every layer as it is.

use std::borrow::Cow;

use taper_graph::{
    BatchNorm, FusedLayer, FusedOp, Graph, NodeId, Op, PatchTokens, Shape, WeightSource, fuse,
};

use crate::{
    Error, Result,
    builder::Builder,
    layers::{self, Place},
};

/// A graph whose layers become nodes.
pub(crate) struct Lowering<'a> {
    graph: &'a Graph,
    weights: &'a dyn WeightSource,
    shapes: Vec<Shape>,
    prefix: &'static str,
    /// The value of each layer that has one.
    values: Vec<Option<String>>,
}

impl<'a> Lowering<'a> {
    /// Of a network for square pictures of this side, or of a head, for which the side is ignored.
    pub(crate) fn new(
        graph: &'a Graph,
        weights: &'a dyn WeightSource,
        size: usize,
        prefix: &'static str,
    ) -> Result<Self> {
        taper_graph::check_weights(graph, weights)?;
        let shapes = graph.shapes(size, size)?;
        let values = vec![None; graph.nodes().len()];
        Ok(Self { graph, weights, shapes, prefix, values })
    }

    /// Adds the steps of the frozen network: batch normalisation and layer scale folded into the
    /// layers before them. Gives the name of the output.
    pub(crate) fn folded(mut self, b: &mut Builder, input: &str) -> Result<String> {
        self.values[0] = Some(input.to_owned());
        let mut last = input.to_owned();
        for step in fuse(self.graph, self.weights)? {
            last = self.step(b, &step)?;
            self.values[step.end] = Some(last.clone());
        }
        Ok(last)
    }

    /// Adds every layer as it is. Gives the name of the output.
    pub(crate) fn layer_by_layer(mut self, b: &mut Builder, input: &str) -> Result<String> {
        for id in 0..=self.graph.output() {
            let value = self.layer(b, id, input)?;
            self.values[id] = Some(value);
        }
        self.value(self.graph.output())
    }

    fn step(&self, b: &mut Builder, step: &FusedLayer) -> Result<String> {
        let at = self.place(step.node);
        let x = &self.value(step.input)?;
        let shape = self.shapes[step.input];
        let (weight, bias) = step.folded(self.graph, self.weights)?;
        let tensors = (weight.as_slice(), bias.as_slice());
        let mut y = match &step.op {
            FusedOp::Conv2d(op) => {
                layers::conv(b, at, x, op, self.sides(step.node, shape)?, tensors)
            }
            FusedOp::Linear { in_features, out_features } => {
                layers::linear(b, at, x, shape, [*out_features, *in_features], tensors)
            }
            FusedOp::MaxPool(op) => layers::max_pool(b, at, x, op, self.sides(step.node, shape)?),
            FusedOp::GlobalAvgPool => layers::global_avg_pool(b, at, x),
            FusedOp::LayerNorm { eps, .. } => layers::layer_norm(b, at, x, shape, *eps, tensors),
            FusedOp::PatchTokens(op) => {
                let grid = self.sides(step.node, shape)?;
                let table = step.tokens(self.graph, self.weights, grid)?;
                layers::patch_tokens(b, at, x, op, grid, &table)
            }
            FusedOp::SqueezeExcite(op) => {
                let tensors = step.squeeze_excite(self.graph, self.weights)?;
                layers::squeeze_excite(b, at, x, op, &tensors)
            }
            FusedOp::Attention(op) => layers::attention(b, at, x, op, shape),
            FusedOp::AttentionPool(op) => {
                layers::attention_pool(b, at, x, op, self.count(step.node, shape)?)
            }
            FusedOp::ClassToken => layers::class_token(b, at, x),
        };
        // What follows has names of its own: those of the layers that were fused.
        for &id in &step.fused {
            let at = self.place(id);
            y = match self.graph.nodes()[id].op {
                Op::Add => match step.residual {
                    Some(residual) => layers::add(b, at, &y, &self.value(residual)?),
                    None => y,
                },
                Op::Activation(op) => layers::activation(b, at, &y, op),
                // In the weights, or without effect.
                Op::BatchNorm(_) | Op::LayerScale(_) | Op::Dropout(_) => y,
                Op::Input(_)
                | Op::Features(_)
                | Op::Conv2d(_)
                | Op::MaxPool(_)
                | Op::GlobalAvgPool
                | Op::Linear(_)
                | Op::LayerNorm(_)
                | Op::PatchTokens(_)
                | Op::SqueezeExcite(_)
                | Op::Attention(_)
                | Op::AttentionPool(_)
                | Op::ClassToken
                | Op::UnitLength(_)
                | Op::Cosine(_) => return Err(self.refuse(id, "it cannot be fused")),
            };
        }
        Ok(y)
    }

    fn layer(&self, b: &mut Builder, id: NodeId, input: &str) -> Result<String> {
        let node = &self.graph.nodes()[id];
        let at = self.place(id);
        let Some(&before) = node.inputs.first() else {
            return match node.op {
                Op::Input(_) | Op::Features(_) => Ok(input.to_owned()),
                _ => Err(self.refuse(id, "it reads nothing")),
            };
        };
        let (x, shape) = (&self.value(before)?, self.shapes[before]);
        let read = |own| self.tensor(id, own);
        Ok(match node.op {
            Op::Input(_) | Op::Features(_) | Op::Dropout(_) => x.clone(),
            Op::Conv2d(op) => {
                let bias = self.bias(id, op.bias)?;
                layers::conv(b, at, x, &op, self.sides(id, shape)?, (&read("weight")?, &bias))
            }
            Op::BatchNorm(op) => self.batch_norm(b, id, x, shape, &op)?,
            Op::Activation(op) => layers::activation(b, at, x, op),
            Op::MaxPool(op) => layers::max_pool(b, at, x, &op, self.sides(id, shape)?),
            Op::GlobalAvgPool => layers::global_avg_pool(b, at, x),
            Op::Linear(op) => {
                let (weight, bias) = (read("weight")?, self.bias(id, op.bias)?);
                let sizes = [op.out_features, op.in_features];
                layers::linear(b, at, x, shape, sizes, (&weight, &bias))
            }
            Op::Add => layers::add(b, at, x, &self.value(node.inputs[1])?),
            Op::LayerNorm(op) => {
                layers::layer_norm(b, at, x, shape, op.eps, (&read("weight")?, &read("bias")?))
            }
            Op::LayerScale(_) => layers::per_channel(b, at, x, shape, (&read("gamma")?, &[])),
            Op::PatchTokens(op) => {
                let grid = self.sides(id, shape)?;
                let [class, positions] = PatchTokens::names(&node.name);
                let class = match op.prefix {
                    0 => Cow::Borrowed(&[][..]),
                    _ => self.named(id, &class)?,
                };
                let table = op.table(&class, &self.named(id, &positions)?, grid);
                layers::patch_tokens(b, at, x, &op, grid, &table)
            }
            Op::SqueezeExcite(op) => {
                let tensors = [
                    read("fc1.weight")?,
                    read("fc1.bias")?,
                    read("fc2.weight")?,
                    read("fc2.bias")?,
                ];
                layers::squeeze_excite(b, at, x, &op, &tensors)
            }
            Op::Attention(op) => layers::attention(b, at, x, &op, shape),
            Op::AttentionPool(op) => layers::attention_pool(b, at, x, &op, self.count(id, shape)?),
            Op::ClassToken => layers::class_token(b, at, x),
            Op::UnitLength(op) => layers::unit_length(b, at, x, op.scale),
            Op::Cosine(op) => {
                let gamma = read("gamma")?.first().copied().unwrap_or(1.0);
                layers::cosine(b, at, x, &op, (&read("weight")?, gamma))
            }
        })
    }

    /// A layer of its own over a map; over a vector, as in heads, a factor and a sum, since not
    /// every runtime normalises vectors.
    fn batch_norm(
        &self,
        b: &mut Builder,
        id: NodeId,
        x: &str,
        shape: Shape,
        op: &BatchNorm,
    ) -> Result<String> {
        let (weight, bias) = (self.tensor(id, "weight")?, self.tensor(id, "bias")?);
        let (mean, var) = (self.tensor(id, "running_mean")?, self.tensor(id, "running_var")?);
        let at = self.place(id);
        if matches!(shape, Shape::Map { .. }) {
            return Ok(layers::batch_norm(b, at, x, op.eps, [&weight, &bias, &mean, &var]));
        }
        let scales: Vec<f64> = (weight.iter().zip(var.iter()))
            .map(|(w, v)| f64::from(*w) / (f64::from(*v) + op.eps).sqrt())
            .collect();
        let shift = (bias.iter().zip(mean.iter())).zip(&scales);
        let shift: Vec<f32> = shift
            .map(|((bias, mean), scale)| (f64::from(*bias) - f64::from(*mean) * scale) as f32)
            .collect();
        let scale: Vec<f32> = scales.iter().map(|scale| *scale as f32).collect();
        Ok(layers::per_channel(b, at, x, shape, (&scale, &shift)))
    }

    fn place(&self, id: NodeId) -> Place<'a> {
        Place { prefix: self.prefix, layer: &self.graph.nodes()[id].name }
    }

    fn value(&self, id: NodeId) -> Result<String> {
        self.values[id].clone().ok_or_else(|| self.refuse(id, "nothing computes it"))
    }

    fn sides(&self, id: NodeId, shape: Shape) -> Result<[usize; 2]> {
        match shape {
            Shape::Map { height, width, .. } => Ok([height, width]),
            Shape::Tokens { .. } | Shape::Vector(_) => Err(self.refuse(id, "it reads no map")),
        }
    }

    fn count(&self, id: NodeId, shape: Shape) -> Result<usize> {
        match shape {
            Shape::Tokens { count, .. } => Ok(count),
            Shape::Map { .. } | Shape::Vector(_) => Err(self.refuse(id, "it reads no tokens")),
        }
    }

    fn bias(&self, id: NodeId, has: bool) -> Result<Cow<'a, [f32]>> {
        if has { self.tensor(id, "bias") } else { Ok(Cow::Borrowed(&[])) }
    }

    fn tensor(&self, id: NodeId, own: &str) -> Result<Cow<'a, [f32]>> {
        self.named(id, &format!("{}.{own}", self.graph.nodes()[id].name))
    }

    fn named(&self, id: NodeId, name: &str) -> Result<Cow<'a, [f32]>> {
        let values = self.weights.values(name);
        values.ok_or_else(|| self.refuse(id, &format!("the weights do not contain '{name}'")))
    }

    fn refuse(&self, id: NodeId, reason: &str) -> Error {
        let node = &self.graph.nodes()[id];
        let (layer, kind) = (node.name.clone(), node.op.kind());
        Error::Unsupported { layer, kind, reason: reason.into() }
    }
}
