use std::collections::BTreeMap;

use prost::Message;
use taper_core::{ClassNames, Preprocessing};
use taper_graph::{Graph, WeightSource};

use crate::{
    CheckedOptions, Error, InputForm, OutputForm, Result,
    builder::{Builder, entries},
    lower::Lowering,
    proto::{self, Attribute, DataType, Dimension, OperatorSet, Value},
};

/// The version of the format itself that opset 17 came with; files of it may name any opset.
const IR_VERSION: i64 = 8;
/// What a protocol buffer may have at most.
const LARGEST: usize = i32::MAX as usize;
const BACKBONE: &str = "backbone.";
const HEAD: &str = "head.";
/// The name of the dimension of pictures where their number is open.
const BATCH: &str = "batch";

/// A network to be written, with all that its file says.
#[derive(Clone, Copy)]
pub struct Network<'a> {
    /// From pictures to features, or to logits if there is no head.
    pub backbone: &'a Graph,
    /// Its weights.
    pub weights: &'a dyn WeightSource,
    /// How it wants its pictures.
    pub preprocessing: Preprocessing,
    /// From features to logits; none if the backbone itself gives logits.
    pub head: Option<Head<'a>>,
    /// What it can tell apart, in the order of the logits.
    pub classes: &'a ClassNames,
    /// Logits are divided by it before the softmax; above 0.
    pub temperature: f64,
}

/// From features to one logit per class.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// Its layers.
    pub graph: &'a Graph,
    /// Their weights.
    pub weights: &'a dyn WeightSource,
}

impl Network<'_> {
    /// The content of the ONNX file, with these texts by their keys as its `metadata_props`. The
    /// same network gives the same bytes.
    ///
    /// The input is `pixels`, u8 `[batch, size, size, 3]`, or `normalised`, f32 `[batch, 3, size,
    /// size]`; the output is f32 `[batch, n]` and has the name of its form.
    ///
    /// # Errors
    /// [`Error::Graph`] if size or weights do not fit, [`Error::Unsupported`] names a layer that
    /// cannot be written, [`Error::TooLarge`] beyond 2 GiB.
    pub fn encode(
        &self,
        options: &CheckedOptions,
        texts: BTreeMap<String, String>,
    ) -> Result<Vec<u8>> {
        let model = proto::Model {
            ir_version: IR_VERSION,
            producer_name: "taper".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: format!("{} for {} classes", self.backbone.name(), self.classes.len()),
            graph: Some(self.graph(options)?),
            opset_import: vec![OperatorSet {
                domain: String::new(),
                version: i64::from(options.options().opset),
            }],
            metadata_props: entries(texts),
        };
        match model.encoded_len() {
            bytes if bytes > LARGEST => Err(Error::TooLarge { bytes }),
            _ => Ok(model.encode_to_vec()),
        }
    }

    fn graph(&self, options: &CheckedOptions) -> Result<proto::Graph> {
        let options = options.options();
        let size = self.preprocessing.size as usize;
        let batch = || match options.batch {
            Some(n) => Dimension::of(n as usize),
            None => Dimension { value: None, parameter: Some(BATCH.into()) },
        };
        let mut b = Builder::default();
        let input = options.input.name();
        let (kind, sides) = match options.input {
            InputForm::Pixels => (DataType::Uint8, [size, size, 3]),
            InputForm::Normalised => (DataType::Float, [3, size, size]),
        };
        let dims = std::iter::once(batch()).chain(sides.map(Dimension::of)).collect();
        let described = Value::new(input, kind, dims);
        let x = match options.input {
            InputForm::Pixels => normalise(&mut b, &self.preprocessing, input),
            InputForm::Normalised => input.to_owned(),
        };
        let network = Lowering::new(self.backbone, self.weights, size, BACKBONE)?;
        let width = self.backbone.shapes(size, size)?[self.backbone.output()].channels();
        let mut y = match options.keep_batchnorm {
            true => network.layer_by_layer(&mut b, &x)?,
            false => network.folded(&mut b, &x)?,
        };
        let name = options.output.name();
        let mut outputs = Vec::new();
        let width = match options.output {
            OutputForm::Features => width,
            OutputForm::Logits | OutputForm::Probabilities => self.classes.len(),
        };
        if options.output != OutputForm::Features {
            if let Some(head) = &self.head {
                let layers = Lowering::new(head.graph, head.weights, 0, HEAD)?;
                y = layers.layer_by_layer(&mut b, &y)?;
            }
            if options.embed_labels {
                label(&mut b, self.classes, &y);
                outputs.push(Value::new("label", DataType::String, vec![batch()]));
            }
        }
        if options.output == OutputForm::Probabilities {
            y = tempered(&mut b, &y, self.temperature);
            b.node("Softmax", name, &[&y], vec![Attribute::int("axis", 1)]);
        } else {
            b.node("Identity", name, &[&y], Vec::new());
        }
        outputs.insert(0, Value::new(name, DataType::Float, vec![batch(), Dimension::of(width)]));
        Ok(b.finish(self.backbone.name(), described, outputs))
    }
}

/// From u8 `[batch, height, width, 3]` to what the network takes.
fn normalise(b: &mut Builder, preprocessing: &Preprocessing, pixels: &str) -> String {
    let (scale, shift) = preprocessing.affine();
    let perm = Attribute::ints("perm", [0, 3, 1, 2]);
    let planes = b.node("Transpose", "preprocessing.planes", &[pixels], vec![perm]);
    let to = Attribute::int("to", DataType::Float as i64);
    let floats = b.node("Cast", "preprocessing.floats", &[&planes], vec![to]);
    let scale = b.floats("preprocessing.scale", &[1, 3, 1, 1], &scale);
    let shift = b.floats("preprocessing.shift", &[1, 3, 1, 1], &shift);
    let scaled = b.node("Mul", "preprocessing.scaled", &[&floats, &scale], Vec::new());
    b.node("Add", "preprocessing.normalised", &[&scaled, &shift], Vec::new())
}

/// Logits at a temperature.
fn tempered(b: &mut Builder, logits: &str, temperature: f64) -> String {
    if temperature == 1.0 {
        return logits.to_owned();
    }
    let temperature = b.number("temperature", temperature as f32);
    b.node("Div", "tempered", &[logits, &temperature], Vec::new())
}

/// The name of the class with the largest logit, as the value `label`.
fn label(b: &mut Builder, classes: &ClassNames, logits: &str) {
    let names = b.texts("labels", classes.iter());
    let attributes = vec![Attribute::int("axis", 1), Attribute::int("keepdims", 0)];
    let best = b.node("ArgMax", "best", &[logits], attributes);
    b.node("Gather", "label", &[&names, &best], vec![Attribute::int("axis", 0)]);
}
