//! The trained part of a network on any candle device, forward and backward. Nothing of it goes
//! through candle's automatic differentiation, which adds every gradient to zeros, keeps every map,
//! and is wrong for overlapping windows of a max pooling.

mod directions;
mod layer;
mod tokens;

use std::ops::Range;

use candle_core::{Device, Tensor, Var};
use taper_core::{Precision, random::Key};
use taper_grad::{BatchNormMode, Boundary};
use taper_graph::{Graph, NodeId, Op, Shape, WeightSource, Weights, check_weights};
use taper_train::TrainedPart;

use crate::{
    Error, Gradients, NamedParameter, Pass, Result,
    device::free_memory,
    frozen::{out_of_memory, stored_as},
};
use layer::{Kept, Layer};

/// A network in training on a candle device: its layers above a [`Boundary`], and its head; the
/// counterpart of [`taper_grad::Network`], with the same names of tensors.
///
/// The tensors are f32. Maps, tokens, filters and their gradients have the type of the precision;
/// sums, normalisations' statistics, attention, and everything after the last mean are f32.
#[derive(Debug)]
pub struct TrainedNetwork {
    name: String,
    layers: Vec<Layer>,
    /// The last layer that reads each value.
    last_use: Vec<usize>,
    /// The number of the head's first layer.
    head: usize,
    graph: Graph,
    parameters: Vec<NamedParameter>,
    /// The shape of what the frozen part gives for a picture.
    input: Vec<usize>,
    classes: usize,
    room: usize,
    batch_norm: BatchNormMode,
    precision: Precision,
    device: Device,
}

/// What the network is made of: see [`taper_train::TrainedPart`].
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) backbone: (&'a Graph, &'a dyn WeightSource),
    pub(crate) boundary: Boundary,
    pub(crate) head: (&'a Graph, &'a dyn WeightSource),
    pub(crate) size: [usize; 2],
    pub(crate) batch_norm: BatchNormMode,
    pub(crate) room: usize,
}

/// Writes what the frozen part gives for some pictures.
pub(crate) type Read<'a> = &'a mut dyn FnMut(Range<usize>, &mut [f32]) -> Result<()>;

/// The values of a pass, by the number of the layer that reads them or gives them.
#[derive(Debug, Default)]
struct Tape {
    values: Vec<Option<Tensor>>,
    kept: Vec<Kept>,
}

impl TrainedNetwork {
    /// The layers above the boundary and the head, each with the values that its weights have.
    ///
    /// # Errors
    /// [`taper_graph::Error::Weights`] lists every tensor that is missing or of the wrong shape;
    /// [`Error::Layer`] names a layer that cannot be trained; a candle error if the device has no
    /// room.
    pub(crate) fn new(parts: &Parts<'_>, precision: Precision, device: &Device) -> Result<Self> {
        let (backbone, weights) = parts.backbone;
        let (head, head_weights) = parts.head;
        let [height, width] = parts.size;
        let shapes = backbone.shapes(height, width)?;
        let (end, cut) = (backbone.features(), parts.boundary.cut);
        let input = match shapes[cut] {
            Shape::Map { channels, height, width } => vec![height, width, channels],
            Shape::Tokens { count, width } => vec![count, width],
            Shape::Vector(width) => vec![width],
        };
        let mut new = Self {
            name: backbone.name().into(),
            layers: Vec::new(),
            last_use: Vec::new(),
            head: 0,
            graph: head.clone(),
            parameters: Vec::new(),
            input,
            classes: shape_of(head)?,
            room: parts.room.max(1),
            batch_norm: parts.batch_norm,
            precision,
            device: device.clone(),
        };
        check_weights(backbone, weights)?;
        check_weights(head, head_weights)?;
        // The value that each layer gives: 0 is the cut's.
        let mut of_node: Vec<Option<usize>> = vec![None; backbone.nodes().len()];
        of_node[cut] = Some(0);
        let above = |id: NodeId| (id >= parts.boundary.first, parts.batch_norm);
        new.add((backbone, weights, "backbone."), cut + 1..end + 1, above, &mut of_node)?;
        new.head = new.layers.len();
        let features = of_node[end];
        let mut of_node: Vec<Option<usize>> = vec![None; head.nodes().len()];
        of_node[0] = features;
        let all = |_| (true, BatchNormMode::Trained);
        new.add((head, head_weights, "head."), 1..head.output() + 1, all, &mut of_node)?;
        new.connect();
        Ok(new)
    }

    /// How many pictures should go through the layers of a part together: as many as half of the
    /// device's free memory holds in training; all, where that is not known. An estimate: twice the
    /// values that the layers give.
    ///
    /// # Errors
    /// If the size does not fit, or the device does not answer.
    pub fn fits(part: &TrainedPart<'_>, precision: Precision, device: &Device) -> Result<usize> {
        let Some(free) = free_memory(device)? else { return Ok(usize::MAX) };
        let [height, width] = part.size;
        let shapes = part.backbone.shapes(height, width)?;
        let trained = part.boundary.cut..part.backbone.features() + 1;
        let values: usize = shapes[trained].iter().map(|shape| shape.elements()).sum();
        let bytes = 2 * values * stored_as(precision).size_in_bytes();
        Ok(free / 2 / bytes.max(1))
    }

    /// Adds layers of a graph, with their tensors. `mode` says of each whether it is trained, and
    /// what its BatchNorm does if it is.
    fn add(
        &mut self,
        (graph, weights, prefix): (&Graph, &dyn WeightSource, &str),
        nodes: Range<NodeId>,
        mode: impl Fn(NodeId) -> (bool, BatchNormMode),
        of_node: &mut [Option<usize>],
    ) -> Result<()> {
        let tensors = graph.parameters();
        for id in nodes {
            let node = &graph.nodes()[id];
            let refuse = |problem: &str| Error::Layer {
                network: graph.name().into(),
                layer: node.name.clone(),
                problem: problem.into(),
            };
            let inputs: Option<Vec<usize>> = node.inputs.iter().map(|&i| of_node[i]).collect();
            let inputs = inputs.ok_or_else(|| refuse("it reads what lies below the boundary"))?;
            if matches!(node.op, Op::Input(_) | Op::Features(_)) {
                return Err(refuse("it can only be the first layer"));
            }
            let (trained, batch_norm) = mode(id);
            let first = self.parameters.len();
            for tensor in tensors.iter().filter(|tensor| tensor.node == id) {
                let values = weights.values(&tensor.name).map(|values| values.into_owned());
                let values = values.ok_or_else(|| refuse("its weights cannot be read"))?;
                let values = Tensor::from_vec(values, tensor.shape.as_slice(), &self.device)?;
                self.parameters.push(NamedParameter {
                    name: format!("{prefix}{}", tensor.name),
                    kind: tensor.kind,
                    trained: trained && tensor.kind.is_learnable(),
                    var: Var::from_tensor(&values)?,
                });
            }
            let own = first..self.parameters.len();
            // Below the boundary, statistics never move.
            let batch_norm = if trained { batch_norm } else { BatchNormMode::Frozen };
            let trains = self.parameters[own.clone()].iter().any(|p| p.trained);
            of_node[id] = Some(self.layers.len() + 1);
            self.layers.push(Layer {
                name: node.name.clone(),
                op: node.op,
                inputs,
                own,
                trains,
                batch_norm,
                wanted: false,
                is_kept: false,
            });
        }
        Ok(())
    }

    /// Finds out which gradients are wanted, and how long each value is.
    fn connect(&mut self) {
        for at in 0..self.layers.len() {
            let layer = &self.layers[at];
            let wanted = layer.inputs.iter().any(|&input| self.is_wanted(input));
            let (trains, keeps_input) = (layer.trains, layer.op_keeps_input());
            let inputs = layer.inputs.clone();
            self.layers[at].wanted = wanted || trains;
            self.layers[at].is_kept = self.layers[at].op_keeps_output();
            self.last_use.push(at);
            for input in inputs {
                self.last_use[input] = at;
                if input > 0 {
                    self.layers[input - 1].is_kept |= keeps_input && (wanted || trains);
                }
            }
        }
    }

    /// Whether the gradient of a value is needed.
    fn is_wanted(&self, value: usize) -> bool {
        value > 0 && self.layers[value - 1].wanted
    }

    /// All tensors above the boundary, those of the head last.
    pub fn parameters(&self) -> &[NamedParameter] {
        &self.parameters
    }

    /// The head's architecture.
    pub fn head(&self) -> &Graph {
        &self.graph
    }

    /// Logits of a picture.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Numbers for a picture where the frozen part ends.
    pub fn input_len(&self) -> usize {
        self.input.iter().product()
    }

    /// The most pictures that go through the layers of the network together.
    pub fn room(&self) -> usize {
        self.room
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
        crate::network::copied(&self.parameters)
    }

    /// Restores a copy of all tensors.
    ///
    /// # Errors
    /// [`Error::Layer`] names a tensor that the copy lacks, or has with another length.
    pub fn restore(&self, weights: &dyn WeightSource) -> Result<()> {
        let values = |p: &NamedParameter| {
            let values = weights.values(&p.name).filter(|v| v.len() == p.var.elem_count());
            values.ok_or_else(|| Error::Layer {
                network: self.name.clone(),
                layer: p.name.clone(),
                problem: "it is missing in these weights, or of another size".into(),
            })
        };
        let all = self.parameters.iter().map(values).collect::<Result<Vec<_>>>()?;
        for (p, values) in self.parameters.iter().zip(all) {
            p.var.set(&Tensor::from_slice(&values, p.var.shape(), &self.device)?)?;
        }
        Ok(())
    }

    /// What the frozen part gave for some pictures, f32 `[n, input_len]`, on the device.
    fn sent(&self, rows: &[f32]) -> Result<Tensor> {
        let mut shape = vec![rows.len() / self.input_len().max(1)];
        shape.extend(&self.input);
        let x = Tensor::from_slice(rows, shape.as_slice(), &self.device)?;
        Ok(if self.input.len() == 1 { x } else { x.to_dtype(stored_as(self.precision))? })
    }

    /// Runs some of the layers; gives the value of the last one, and what the backward pass needs
    /// if there will be one.
    fn forward(
        &self,
        layers: Range<usize>,
        x: Tensor,
        pass: Pass,
        keeps: bool,
    ) -> Result<(Tensor, Tape)> {
        let mut tape = Tape::default();
        tape.values.resize(self.layers.len() + 1, None);
        tape.kept.resize_with(self.layers.len(), Kept::default);
        tape.values[layers.start] = Some(x);
        for at in layers.clone() {
            let layer = &self.layers[at];
            let inputs: Option<Vec<Tensor>> =
                layer.inputs.iter().map(|&input| tape.values[input].clone()).collect();
            let inputs = inputs.ok_or_else(|| self.named(layer, "its input is gone".into()))?;
            let own = &self.parameters[layer.own.clone()];
            let (y, kept) = layer
                .forward(&inputs, own, pass, self.precision)
                .map_err(|error| self.of_layer(layer, error))?;
            tape.values[at + 1] = Some(y);
            if keeps {
                tape.kept[at] = kept;
            }
            for &input in &layer.inputs {
                let given = input.checked_sub(1).map(|giver| &self.layers[giver]);
                let is_kept = keeps && given.is_none_or(|giver| giver.is_kept);
                if !is_kept && self.last_use[input] <= at {
                    tape.values[input] = None;
                }
            }
        }
        match tape.values[layers.end].clone() {
            Some(y) => Ok((y, tape)),
            None => Err(Error::Layer {
                network: self.name.clone(),
                layer: "output".into(),
                problem: "was not computed".into(),
            }),
        }
    }

    /// The backward pass of some of the layers, from the gradient of the last one's value; gives
    /// that of the first one's input, if it is wanted.
    fn backward(
        &self,
        layers: Range<usize>,
        mut tape: Tape,
        gradient: Tensor,
        sums: &mut Gradients,
    ) -> Result<Option<Tensor>> {
        let mut slopes: Vec<Option<Tensor>> = vec![None; self.layers.len() + 1];
        slopes[layers.end] = Some(gradient);
        for at in layers.clone().rev() {
            let layer = &self.layers[at];
            let output = tape.values[at + 1].take();
            let Some(dy) = slopes[at + 1].take().filter(|_| layer.wanted) else { continue };
            let inputs: Vec<Option<Tensor>> =
                layer.inputs.iter().map(|&input| tape.values[input].clone()).collect();
            let wanted: Vec<bool> = layer
                .inputs
                .iter()
                .map(|&input| self.is_wanted(input) || input == layers.start && input > 0)
                .collect();
            let given = layer::Backward {
                inputs: &inputs,
                output: output.as_ref(),
                kept: std::mem::take(&mut tape.kept[at]),
                wanted: &wanted,
                precision: self.precision,
            };
            let own = &self.parameters[layer.own.clone()];
            let (of_inputs, of_tensors) =
                layer.backward(&dy, own, given).map_err(|error| self.of_layer(layer, error))?;
            for (&input, own) in layer.inputs.iter().zip(of_inputs) {
                slopes[input] = match (slopes[input].take(), own) {
                    (Some(sum), Some(own)) => Some((sum + own)?),
                    (one, other) => one.or(other),
                };
            }
            for (index, own) in of_tensors {
                sums.add_to(layer.own.start + index, own)?;
            }
        }
        Ok(slopes[layers.start].take())
    }

    fn named(&self, layer: &Layer, problem: String) -> Error {
        Error::Layer { network: self.name.clone(), layer: layer.name.clone(), problem }
    }

    fn of_layer(&self, layer: &Layer, error: Error) -> Error {
        match error {
            // Reported as such, so that the caller can say what helps.
            Error::Candle(error) if !out_of_memory(&error) => self.named(layer, error.to_string()),
            Error::Layer { problem, .. } => self.named(layer, problem),
            other => other,
        }
    }

    /// A training pass over `n` pictures, however many: forward, the loss, and backward; adds to
    /// `sums`. `read` writes what the frozen part gives for some of them, f32 `[part, input_len]`;
    /// `loss` gets the logits of all, f32 `[n, classes]`, and gives the loss's gradient with
    /// respect to them.
    ///
    /// More pictures than there is room for go through the network's layers in parts, most of them
    /// twice, as in [`taper_grad::Network::pass`].
    ///
    /// # Errors
    /// Those of `read` and `loss`; [`Error::Setting`] if a batch in parts meets a BatchNorm whose
    /// statistics are trained, as it needs all pictures at once.
    pub(crate) fn pass(
        &self,
        n: usize,
        read: Read<'_>,
        (dropout, step): (Key, u32),
        loss: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
        sums: &mut Gradients,
    ) -> Result<()> {
        if n > self.room && self.batch_norm == BatchNormMode::Trained {
            let remedy = format!("statistics of a batch need all of it, and {} fit", self.room);
            return Err(taper_core::OutOfRange::new("batch_size", n, remedy).into());
        }
        let parts: Vec<Range<usize>> =
            (0..n).step_by(self.room).map(|start| start..n.min(start + self.room)).collect();
        let pass = Pass::Training { dropout, step };
        let mut rows = Vec::new();
        let mut begin = |part: &Range<usize>, keeps: bool| {
            rows.resize(part.len() * self.input_len(), 0.0);
            read(part.clone(), &mut rows)?;
            self.forward(0..self.head, self.sent(&rows)?, pass, keeps)
        };
        // The last part goes first in the backward pass: what it keeps is still there.
        let mut features = Vec::new();
        let mut last = Tape::default();
        for (i, part) in parts.iter().enumerate() {
            let (of_part, tape) = begin(part, i + 1 == parts.len())?;
            features.push(of_part);
            last = tape;
        }
        let features = match features.len() {
            1 => features.remove(0),
            _ => Tensor::cat(&features, 0)?,
        };
        let head = self.head..self.layers.len();
        let (logits, tape) = self.forward(head.clone(), features, pass, true)?;
        let gradient = loss(&logits)?;
        let Some(rows) = self.backward(head, tape, gradient, sums)? else { return Ok(()) };
        if self.head == 0 {
            return Ok(());
        }
        let mut kept = Some(last);
        for part in parts.iter().rev() {
            let tape = match kept.take() {
                Some(tape) => tape,
                None => begin(part, true)?.1,
            };
            let own = match part.len() == n {
                true => rows.clone(),
                false => rows.narrow(0, part.start, part.len())?.contiguous()?,
            };
            self.backward(0..self.head, tape, own, sums)?;
        }
        Ok(())
    }

    /// The logits of pictures, f32 `[n, classes]`: dropout does nothing, BatchNorm uses its running
    /// statistics. `rows` is what the frozen part gives for them, f32 `[n, input_len]`, at most as
    /// many as there is room for.
    ///
    /// # Errors
    /// If they do not fit, or the device has no room.
    pub fn evaluate(&self, rows: &[f32]) -> Result<Tensor> {
        let all = 0..self.layers.len();
        Ok(self.forward(all, self.sent(rows)?, Pass::Evaluation, false)?.0)
    }
}

/// Classes of a head.
fn shape_of(head: &Graph) -> Result<usize> {
    let shapes = head.shapes(1, 1)?;
    match shapes[head.output()] {
        Shape::Vector(classes) => Ok(classes),
        _ => Err(Error::Layer {
            network: head.name().into(),
            layer: head.nodes()[head.output()].name.clone(),
            problem: "a head ends with a vector".into(),
        }),
    }
}
