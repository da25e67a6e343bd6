//! Networks with seeded weights, pictures for them, and what Taper itself answers.

use std::collections::BTreeMap;

use taper_core::{ClassNames, Fit, Interpolation, Precision, Preprocessing};
use taper_grad::Head;
use taper_graph::{Graph, WeightSource, Weights, heads};
use taper_model::{Calibration, CalibrationChange, Classifier, PlanBackbone};
use taper_onnx::{InputForm, Network, OnnxOptions, OutputForm};
use taper_plan::{Kernels, Output};

/// How many pictures each case has.
pub(crate) const PICTURES: usize = 8;
/// How many classes.
pub(crate) const CLASSES: usize = 7;

/// One file to be written: a network, what is done to it, a head, and options.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// A name for messages and files.
    pub(crate) name: String,
    network: &'static str,
    cut: Option<&'static str>,
    head: &'static str,
    /// Side of the pictures.
    pub(crate) size: usize,
    /// How it is written.
    pub(crate) options: OnnxOptions,
}

/// What is written, and what is expected of it.
#[derive(Debug)]
pub(crate) struct Written {
    /// The ONNX file.
    pub(crate) file: Vec<u8>,
    /// u8 `[PICTURES, size, size, 3]`.
    pub(crate) pixels: Vec<u8>,
    /// f32 `[PICTURES, n]`: probabilities, logits or features, as the options say.
    pub(crate) expected: Vec<f32>,
    /// Mean and deviation of each channel, which normalised pictures need.
    pub(crate) preprocessing: Preprocessing,
}

/// A whole network for pictures of this side, with a linear head.
fn case(network: &'static str, size: usize) -> Case {
    Case {
        name: network.into(),
        network,
        cut: None,
        head: "linear",
        size,
        options: OnnxOptions::default(),
    }
}

/// All networks of the zoo, each for pictures of the size that it was trained with.
#[allow(dead_code, reason = "only the example writes them: they take minutes and gigabytes")]
pub(crate) fn cases_of_own_size() -> Vec<Case> {
    let own = taper_zoo::models().iter().map(|model| {
        let size = model.preprocessing.size as usize;
        Case { name: format!("{}-{size}", model.name), ..case(model.name, size) }
    });
    own.collect()
}

/// Networks like another one, but larger, or with other weights.
const ALIKE: [&str; 15] = [
    "clip-vit-b16",
    "clip-vit-l14",
    "clip-vit-b32-datacomp",
    "dinov2-base-reg4",
    "fastvit-t12",
    "fastvit-s12",
    "fastvit-sa24",
    "fastvit-sa36",
    "fastvit-ma36",
    "mobileclip-s1",
    "mobileclip-s2",
    "mobileone-s1",
    "mobileone-s2",
    "mobileone-s3",
    "siglip2-b16",
];

/// All kinds of networks of the zoo, and each head, cut and option with some of them.
pub(crate) fn cases() -> Vec<Case> {
    // An odd number of patches, where networks round up, and one that strides divide.
    let models = taper_zoo::models().iter().map(|model| model.name);
    let mut all: Vec<Case> =
        models.filter(|name| !ALIKE.contains(name)).map(|name| case(name, 70)).collect();
    let mut more = |name: &str, case: Case| all.push(Case { name: name.into(), ..case });
    for head in ["logistic", "cosine", "tutorial", "mlp"] {
        more(&format!("lite0-{head}"), Case { head, ..case("efficientnet-lite0", 64) });
        more(&format!("dinov2-{head}"), Case { head, ..case("dinov2-small", 56) });
    }
    for (network, cut, size) in [
        ("efficientnet-lite0", "blocks.3", 96),
        ("resnet50", "layer3", 65),
        ("convnext-atto", "stages.2", 64),
        ("vit-base", "blocks.1", 48),
        ("vgg11-bn", "features.14", 64),
        ("mobilenet-v4-small", "blocks.2", 97),
    ] {
        more(&format!("{network}-cut"), Case { cut: Some(cut), ..case(network, size) });
    }
    let with = |options: OnnxOptions, network| Case { options, ..case(network, 64) };
    for network in taper_zoo::models().iter().map(|m| m.name) {
        let options = OnnxOptions { keep_batchnorm: true, ..OnnxOptions::default() };
        // Every kind of network, not every size of it.
        if ["lite0", "atto", "v2", "v4-small", "a0", "18", "11-bn", "small", "reg4", "t8", "-s0"]
            .iter()
            .any(|ending| network.ends_with(ending))
        {
            more(&format!("{network}-kept"), with(options, network));
        }
    }
    let normalised = OnnxOptions { input: InputForm::Normalised, ..OnnxOptions::default() };
    more("lite0-normalised", with(normalised, "efficientnet-lite0"));
    let logits = OnnxOptions { output: OutputForm::Logits, ..OnnxOptions::default() };
    more("lite0-logits", with(logits, "efficientnet-lite0"));
    let features = OnnxOptions { output: OutputForm::Features, ..OnnxOptions::default() };
    more("lite0-features", with(features, "efficientnet-lite0"));
    let fixed = OnnxOptions { batch: Some(3), ..OnnxOptions::default() };
    more("lite0-batch-of-3", with(fixed, "efficientnet-lite0"));
    let labels = OnnxOptions { embed_labels: true, ..OnnxOptions::default() };
    more("lite0-labels", with(labels, "efficientnet-lite0"));
    for opset in 18..=21 {
        let later = OnnxOptions { opset, ..OnnxOptions::default() };
        more(&format!("lite0-opset-{opset}"), with(later.clone(), "efficientnet-lite0"));
        let logistic = Case { head: "logistic", ..with(later, "convnext-atto") };
        more(&format!("atto-opset-{opset}"), logistic);
    }
    all
}

/// The names of the classes.
pub(crate) fn classes() -> ClassNames {
    let names = (0..CLASSES).map(|i| match i {
        0 => "a \"quoted\" name".to_owned(),
        1 => "naïve ✓".to_owned(),
        i => format!("class {i}"),
    });
    ClassNames::new(names.collect()).expect("names")
}

impl Case {
    /// Writes the case.
    pub(crate) fn write(&self) -> anyhow::Result<Written> {
        let spec = taper_zoo::find(self.network)?;
        let backbone = match self.cut {
            Some(layer) => spec.graph().cut(layer)?,
            None => spec.backbone(),
        };
        let weights = Weights::seeded(&backbone);
        let preprocessing = Preprocessing {
            size: self.size as u32,
            interpolation: Interpolation::Bicubic,
            fit: Fit::Squash,
            ..spec.preprocessing
        };
        let width = backbone.feature_width();
        let head = match self.head {
            "logistic" => heads::logistic(width, CLASSES),
            "cosine" => heads::cosine(width, CLASSES),
            "tutorial" => heads::tutorial(width, CLASSES),
            "mlp" => heads::mlp(width, &[64, 32], 0.1, CLASSES),
            _ => heads::linear(width, CLASSES),
        };
        let head_weights = Weights::seeded(&head);
        let pixels = pixels(self.size);
        let [features, logits] = answers(&backbone, &weights, preprocessing, &head, &pixels)?;
        // Probabilities near 0 and 1 would hide differences.
        let spread = logits.iter().fold(0f32, |most, v| most.max(v.abs()));
        let temperature = f64::from(spread.max(1.0)) / 3.0;
        let expected = match self.options.output {
            OutputForm::Features => features.clone(),
            OutputForm::Logits => logits,
            OutputForm::Probabilities => {
                let classifier = classifier(&backbone, &weights, preprocessing, &head)?;
                let classifier = classifier.with_calibration(Some(calibration(temperature)));
                let mut all = Vec::new();
                for prediction in classifier.predictions(&features) {
                    all.extend(prediction?.probabilities.iter().map(|(_, p)| *p as f32));
                }
                all
            }
        };
        let network = Network {
            backbone: &backbone,
            weights: &weights,
            preprocessing,
            head: Some(taper_onnx::Head { graph: &head, weights: &head_weights }),
            classes: &classes(),
            temperature,
        };
        let labels = serde_json::to_string(&classes())?;
        let texts = BTreeMap::from([("labels".to_owned(), labels)]);
        let file = network.encode(&self.options.clone().check()?, texts)?;
        Ok(Written { file, pixels, expected, preprocessing })
    }
}

fn calibration(temperature: f64) -> Calibration {
    let change = CalibrationChange { before: 0.0, after: 0.0 };
    Calibration {
        temperature,
        limit: None,
        pictures: 0,
        validation: change,
        test: None,
        scores: Vec::new(),
        familiarity: None,
    }
}

fn classifier(
    backbone: &Graph,
    weights: &dyn WeightSource,
    preprocessing: Preprocessing,
    head: &Graph,
) -> anyhow::Result<Classifier> {
    let plan = PlanBackbone::new(
        backbone,
        weights,
        preprocessing,
        Output::Features,
        Precision::F32,
        Kernels::Auto,
    )?;
    let head = Head::loaded(head, &Weights::seeded(head))?;
    Ok(Classifier::assemble(classes(), Box::new(plan), Some(head))?)
}

/// Features and logits, `[PICTURES, n]`.
fn answers(
    backbone: &Graph,
    weights: &dyn WeightSource,
    preprocessing: Preprocessing,
    head: &Graph,
    pixels: &[u8],
) -> anyhow::Result<[Vec<f32>; 2]> {
    let classifier = classifier(backbone, weights, preprocessing, head)?;
    let features = classifier.backbone().forward(pixels, PICTURES)?;
    let mut logits = vec![0.0; PICTURES * CLASSES];
    let head = Head::loaded(head, &Weights::seeded(head))?;
    let rows = features.chunks_exact(backbone.feature_width());
    for (row, logits) in rows.zip(logits.chunks_exact_mut(CLASSES)) {
        head.evaluate(row, logits)?;
    }
    Ok([features, logits])
}

/// Pictures that differ in colour, in the direction of a gradient, and in grain.
fn pixels(size: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut grain = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as usize
    };
    let mut all = Vec::with_capacity(PICTURES * size * size * 3);
    for picture in 0..PICTURES {
        for (y, x) in (0..size).flat_map(|y| (0..size).map(move |x| (y, x))) {
            for channel in 0..3 {
                let slope = (picture * x + (PICTURES - picture) * y) * 255 / (PICTURES * size);
                let colour = 255 * ((picture >> channel) & 1);
                all.push(((slope + colour + grain() * (picture % 3)) / 4).min(255) as u8);
            }
        }
    }
    all
}
