use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ActivationMemory, Graph, Op, Result, Shape, activations::receptive_fields, op::Form};

/// One row of a summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerSummary {
    /// The layer's name.
    pub name: String,
    /// The kind of layer.
    pub kind: &'static str,
    /// The output for one picture: height, width and channels, or the length of a vector.
    pub output: Vec<usize>,
    /// The layer's numbers: learnable ones and running statistics, as Keras counts them.
    pub parameters: usize,
    /// Whether the learnable ones are trained.
    pub trainable: bool,
    /// Floating-point operations for one picture (a multiply-add is two).
    pub flops: u64,
    /// The side of the square of pixels that one value depends on; none if it is the whole picture.
    pub receptive_field: Option<usize>,
}

/// How many numbers a network has.
///
/// `total` counts what can be learned (weights, scales, biases), as in papers and torch. Keras adds
/// the running statistics of BatchNorm: `total + running_statistics`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterCount {
    /// Learnable numbers, frozen or not.
    pub total: usize,
    /// Learnable numbers that are trained.
    pub trainable: usize,
    /// Learnable numbers that are frozen.
    pub non_trainable: usize,
    /// Running means and variances of BatchNorm; never learned, kept with the weights.
    pub running_statistics: usize,
}

impl ParameterCount {
    /// The counts of a graph that is trained as a whole, or frozen as a whole.
    pub fn of(graph: &Graph, trainable: bool) -> Self {
        let total = graph.learnable_parameters();
        let trained = if trainable { total } else { 0 };
        Self {
            total,
            trainable: trained,
            non_trainable: total - trained,
            running_statistics: graph.running_statistics(),
        }
    }
}

impl std::ops::Add for ParameterCount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            trainable: self.trainable + other.trainable,
            non_trainable: self.non_trainable + other.non_trainable,
            running_statistics: self.running_statistics + other.running_statistics,
        }
    }
}

/// A network at one input size: layers, shapes, counts and warnings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The network's name.
    pub model: String,
    /// The input: height and width in pixels.
    pub input: [usize; 2],
    /// Layers in the order of computation, the head's after the backbone's.
    pub layers: Vec<LayerSummary>,
    /// Totals.
    pub parameters: ParameterCount,
    /// Floating-point operations for one picture (a multiply-add is two).
    pub flops: u64,
    /// The last feature map of the backbone: height, width, channels; of a vision transformer, its
    /// patches.
    pub last_feature_map: Vec<usize>,
    /// The side of the square of pixels that one value of it depends on; none where that is the
    /// whole picture.
    pub receptive_field: Option<usize>,
    /// Memory for activations, for one picture unless [`Summary::at_batch`] was called.
    pub activations: ActivationMemory,
    /// Warnings for the user, each with its remedy.
    pub warnings: Vec<String>,
}

impl Summary {
    /// Summarises a backbone (frozen or trained) with a head (trained), if there is one, at one
    /// input size.
    ///
    /// # Errors
    /// As [`Graph::shapes`].
    pub fn new(
        backbone: &Graph,
        backbone_trainable: bool,
        head: Option<&Graph>,
        height: usize,
        width: usize,
    ) -> Result<Self> {
        let mut layers = Vec::new();
        let mut parameters = ParameterCount::of(backbone, backbone_trainable);
        let shapes = backbone.shapes(height, width)?;
        push_layers(&mut layers, backbone, &shapes, backbone_trainable, "");
        let mut of_head = None;
        if let Some(head) = head {
            parameters = parameters + ParameterCount::of(head, true);
            let shapes = head.shapes(0, 0)?;
            push_layers(&mut layers, head, &shapes, true, "head.");
            of_head = Some((head, shapes));
        }
        let of_head = of_head.as_ref().map(|(head, shapes)| (*head, shapes.as_slice()));
        let activations = ActivationMemory::of((backbone, &shapes), backbone_trainable, of_head);
        let (last, stride) = last_map(backbone, &shapes);
        let mut warnings = Vec::new();
        if let Shape::Map { height: h, width: w, .. } = last
            && h.min(w) < 4
        {
            warnings.push(format!(
                "the last feature map is only {h} × {w}: little is left of where things are; use an \
                 input of at least {0} × {0} (4 × 4), better {1} × {1} (7 × 7)",
                4 * stride,
                7 * stride
            ));
        }
        Ok(Self {
            model: backbone.name().into(),
            input: [height, width],
            flops: layers.iter().map(|l| l.flops).sum(),
            layers,
            parameters,
            last_feature_map: last.dimensions(),
            receptive_field: receptive_fields(backbone)[backbone.last_feature_map()],
            activations,
            warnings,
        })
    }

    /// With the memory for batches of this size.
    #[must_use]
    pub fn at_batch(self, batch: usize) -> Self {
        Self { activations: self.activations.at_batch(batch), ..self }
    }
}

/// The last feature map, and how many times smaller it is than the picture. For tokens, the patches
/// that they were made from.
fn last_map(backbone: &Graph, shapes: &[Shape]) -> (Shape, usize) {
    let forms = backbone.forms();
    let mut map = backbone.last_feature_map();
    while forms[map] == Form::Tokens {
        map = backbone.nodes()[map].inputs[0];
    }
    (shapes[map], backbone.total_stride())
}

fn push_layers(
    layers: &mut Vec<LayerSummary>,
    graph: &Graph,
    shapes: &[Shape],
    trainable: bool,
    prefix: &str,
) {
    let fields = receptive_fields(graph);
    let mut counts = vec![0; shapes.len()];
    for parameter in graph.parameters() {
        counts[parameter.node] += parameter.shape.iter().product::<usize>();
    }
    for (id, node) in graph.nodes().iter().enumerate() {
        if matches!(node.op, Op::Features(_)) {
            continue;
        }
        let inputs: Vec<Shape> = node.inputs.iter().map(|&i| shapes[i]).collect();
        layers.push(LayerSummary {
            name: format!("{prefix}{}", node.name),
            kind: node.op.kind(),
            output: shapes[id].dimensions(),
            parameters: counts[id],
            trainable: trainable && counts[id] > 0,
            flops: node.op.operation().flops(&inputs, shapes[id]),
            receptive_field: fields[id],
        });
    }
}

/// 25557032 → "25,557,032".
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape =
            |dims: &[usize]| dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
        let [height, width] = self.input;
        writeln!(f, "{} at {height} × {width}", self.model)?;
        let name_width = self.layers.iter().map(|l| l.name.len()).max().unwrap_or(0).max(5);
        writeln!(
            f,
            "{:name_width$}  {:15}  {:>18}  {:>12}  {:>9}  {:>5}  trained",
            "layer", "kind", "output", "parameters", "MFLOP", "field"
        )?;
        for layer in &self.layers {
            let trained = match (layer.parameters, layer.trainable) {
                (0, _) => "",
                (_, true) => "yes",
                (_, false) => "frozen",
            };
            writeln!(
                f,
                "{:name_width$}  {:15}  {:>18}  {:>12}  {:>9.1}  {:>5}  {trained}",
                layer.name,
                layer.kind,
                shape(&layer.output),
                grouped(layer.parameters as u64),
                layer.flops as f64 / 1e6,
                layer.receptive_field.map_or("all".into(), |side| side.to_string()),
            )?;
        }
        let p = self.parameters;
        writeln!(
            f,
            "parameters: {} ({} trainable, {} frozen); running statistics of BatchNorm: {} \
             (Keras counts both together: {})",
            grouped(p.total as u64),
            grouped(p.trainable as u64),
            grouped(p.non_trainable as u64),
            grouped(p.running_statistics as u64),
            grouped((p.total + p.running_statistics) as u64),
        )?;
        writeln!(f, "{:.2} GFLOP per picture", self.flops as f64 / 1e9)?;
        let field = self.receptive_field;
        let field =
            field.map_or("the whole picture".into(), |side| format!("{side} × {side} pixels"));
        writeln!(
            f,
            "last feature map: {}; each value sees {field}",
            shape(&self.last_feature_map)
        )?;
        let memory = self.activations;
        writeln!(
            f,
            "activations of {} picture(s) in f32: {:.1} MiB for inference, {:.1} MiB for training",
            memory.batch,
            memory.inference_bytes as f64 / f64::from(1 << 20),
            memory.training_bytes as f64 / f64::from(1 << 20),
        )?;
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}
