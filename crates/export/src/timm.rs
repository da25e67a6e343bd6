//! A model's weights under timm's names, for `timm.create_model(…, checkpoint_path=…)`.

use serde_json::{Value, json};
use taper_core::{Fit, OutOfRange};
use taper_graph::{Graph, Op, WeightSource};
use taper_onnx::OutputForm;
use taper_weights::TensorWriter;
use taper_zoo::ModelSpec;

use crate::{
    Error, Result,
    export::{Content, Port, Source, TimmOptions},
    onnx::filter,
    repvgg,
};

/// Networks whose blocks have linear layers in timm where Taper has 1 × 1 convolutions: the same
/// numbers in another shape (`conv_mlp` in `timm/models/convnext.py`).
const WITH_LINEAR_LAYERS: [&str; 3] = ["convnext-base", "convnext-small", "convnext-tiny"];
/// The layers in question.
const LINEAR_LAYERS: [&str; 2] = [".mlp.fc1.weight", ".mlp.fc2.weight"];
/// The name of a vision transformer's classifier, where the published network has none.
const VISION_TRANSFORMERS_HEAD: &str = "head";

pub(crate) fn content(source: &Source, options: TimmOptions) -> Result<Content> {
    let artefact = &source.artefact;
    let refuse = |problem: String| Error::NotOfTimm { file: source.file.clone(), problem };
    if options.output == OutputForm::Probabilities {
        let remedy = "the softmax is not part of timm's networks: use logits or features";
        return Err(OutOfRange::new("output", options.output, remedy).into());
    }
    let spec = taper_zoo::find(&artefact.model)
        .map_err(|_| refuse(format!("its network, '{}', is not timm's", artefact.model)))?;
    if artefact.backbone != spec.backbone() {
        return Err(refuse(format!(
            "it has only a part of {} (`cut`), and timm makes whole ones: use `format` onnx",
            spec.name
        )));
    }
    if spec.text.is_some() {
        return Err(refuse(format!(
            "timm has a classifier where {} has the projection that its texts are compared with: use `format` onnx",
            spec.name
        )));
    }
    if is_merged(&artefact.backbone) {
        return Err(refuse(format!(
            "tensors that timm's {} keeps apart are one after loading: use `format` onnx",
            architecture(spec)
        )));
    }
    let features = options.output == OutputForm::Features;
    let classifier = classifier_of(spec).ok_or_else(|| {
        refuse(format!(
            "timm's {} has more than one layer after the features that Taper uses: use `format` onnx",
            architecture(spec)
        ))
    })?;
    let linear = linear_of(&artefact.head).filter(|_| !features);
    if linear.is_none() && !features {
        return Err(refuse(format!(
            "timm's classifier is one linear layer, and the head `{}` is more: use `format` onnx, train with `head` linear, or use `output` features for the network without its head",
            artefact.head.name()
        )));
    }
    let missing = |name: &str| refuse(format!("tensor '{name}' is missing"));
    let mut file = TensorWriter::new();
    network(&mut file, &artefact.backbone, &source.weights.backbone()).map_err(|n| missing(&n))?;
    if let Some(layer) = linear {
        let head = source.weights.head();
        for own in ["weight", "bias"] {
            let name = format!("{layer}.{own}");
            let (shape, values) =
                head.shape(&name).zip(head.values(&name)).ok_or_else(|| missing(&name))?;
            file.f32(format!("{classifier}.{own}"), shape, &values);
        }
    }
    let classes = if features { 0 } else { artefact.classes.len() };
    let about = about(source, spec, classes).to_string();
    // PyTorch's loaders ask for the format.
    let texts = [("timm", about), ("format", "pt".to_owned())];
    let bytes = file.into_bytes(texts).map_err(|error| refuse(error.to_string()))?;
    let size = artefact.preprocessing.size as usize;
    let width = if features { artefact.backbone.feature_width() } else { classes };
    Ok(Content {
        bytes,
        input: Port::new("normalised", "float32", None, [3, size, size]),
        output: Port::new(if features { "features" } else { "logits" }, "float32", None, [width]),
        label: None,
        timm: Some((architecture(spec), classes)),
    })
}

/// Whether tensors were merged that cannot be taken apart again: branches of convolutions other
/// than RepVGG's, and registers.
fn is_merged(graph: &Graph) -> bool {
    let repvgg = graph.name().starts_with("repvgg");
    graph.nodes().iter().any(|node| {
        !repvgg && node.name.ends_with(repvgg::FUSED)
            || matches!(node.op, Op::PatchTokens(tokens) if tokens.prefix > 1)
    })
}

/// Adds the tensors of a network; the name of the first that is missing otherwise.
fn network(
    file: &mut TensorWriter,
    graph: &Graph,
    weights: &dyn WeightSource,
) -> std::result::Result<(), String> {
    for parameter in graph.parameters() {
        let node = &graph.nodes()[parameter.node];
        if let (Some(block), Op::Conv2d(conv)) = (node.name.strip_suffix(repvgg::FUSED), &node.op) {
            // All of a block's tensors come with its weight.
            if parameter.name.ends_with(".weight") {
                repvgg::branches(file, block, conv, weights).ok_or(parameter.name)?;
            }
            continue;
        }
        let values = weights.values(&parameter.name).ok_or_else(|| parameter.name.clone())?;
        let linear = WITH_LINEAR_LAYERS.contains(&graph.name())
            && LINEAR_LAYERS.iter().any(|own| parameter.name.ends_with(own));
        let shape = if linear { &parameter.shape[..2] } else { &parameter.shape[..] };
        file.f32(&parameter.name, shape, &values);
    }
    Ok(())
}

/// The layer of a published network that gives logits, if it directly follows the features.
fn classifier_of(spec: &ModelSpec) -> Option<String> {
    let graph = spec.graph();
    match &graph.nodes()[graph.features() + 1..] {
        [] => Some(VISION_TRANSFORMERS_HEAD.into()),
        [only] if matches!(only.op, Op::Linear(_)) => Some(only.name.clone()),
        _ => None,
    }
}

/// The name of the only layer of a head, if it is linear.
fn linear_of(head: &Graph) -> Option<&str> {
    let mut computing = head.nodes().iter().filter(|node| match node.op {
        Op::Features(_) | Op::Dropout(_) => false,
        Op::Input(_)
        | Op::Conv2d(_)
        | Op::BatchNorm(_)
        | Op::Activation(_)
        | Op::MaxPool(_)
        | Op::GlobalAvgPool
        | Op::Linear(_)
        | Op::Add
        | Op::LayerNorm(_)
        | Op::LayerScale(_)
        | Op::PatchTokens(_)
        | Op::SqueezeExcite(_)
        | Op::Attention(_)
        | Op::AttentionPool(_)
        | Op::ClassToken
        | Op::UnitLength(_)
        | Op::Cosine(_) => true,
    });
    match (computing.next(), computing.next()) {
        (Some(only), None) if matches!(only.op, Op::Linear(_)) => Some(&only.name),
        _ => None,
    }
}

/// The network's name in timm, without the tag of its weights.
fn architecture(spec: &ModelSpec) -> String {
    let name = spec.hub.repository.rsplit('/').next().unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// What timm's own files on the Hub say in `config.json`.
fn about(source: &Source, spec: &ModelSpec, classes: usize) -> Value {
    let artefact = &source.artefact;
    let preprocessing = &artefact.preprocessing;
    let (crop, mode) = match preprocessing.fit {
        Fit::Crop { fraction } => (fraction, "center"),
        Fit::Squash => (1.0, "squash"),
    };
    json!({
        "architecture": architecture(spec),
        "num_classes": classes,
        "num_features": artefact.backbone.feature_width(),
        "label_names": artefact.classes,
        "pretrained_cfg": {
            "input_size": [3, preprocessing.size, preprocessing.size],
            "interpolation": filter(preprocessing.interpolation),
            "crop_pct": crop,
            "crop_mode": mode,
            "mean": preprocessing.mean,
            "std": preprocessing.std,
            "num_classes": classes,
            "license": source.published.as_ref().map(|own| own.licence.clone()),
        },
        "model_sha256": source.sha256,
    })
}
