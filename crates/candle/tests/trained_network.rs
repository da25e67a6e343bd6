//! Layers of networks in training on a candle device against `taper_grad`, whose gradients are
//! compared with torch's. With `TAPER_TEST_DEVICE=cuda` on a GPU or on the emulated device.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

use std::sync::Arc;

use candle_core::Device;
use taper_candle::DeviceNetworkLearner;
use taper_core::{
    Precision,
    random::{Key, Purpose},
};
use taper_grad::{BatchNormMode, Boundary, Network, SuffixOptions, Unfreeze, layer_decay};
use taper_graph::{
    Activation, Attention, Conv2d, Graph, GraphBuilder, LayerNorm, LayerScale, MaxPool, NodeId, Op,
    Padding, PatchTokens, SqueezeExcite, VisionTransformer, WeightSource, Weights, heads,
};
use taper_networks as networks;
use taper_optim::{Algorithm, EpsilonMode, LossConfig, OptimizerConfig, Targets};
use taper_train::{
    Learner, NetworkLearner, RowBatch, State, StepContext, Table, TrainedPart, Training,
};

const CLASSES: usize = 3;

/// The device named by `TAPER_TEST_DEVICE`; the CPU if it is not set.
fn device() -> Device {
    let choice = std::env::var("TAPER_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    taper_candle::open_device(choice.parse().unwrap()).unwrap()
}

fn normed(g: &mut GraphBuilder, name: &str, x: NodeId, conv: Conv2d) -> NodeId {
    let x = g.conv(name, x, conv);
    g.batch_norm(format!("{name}.bn"), x, conv.out_channels, 1e-3)
}

/// Residual blocks after a stem with a max pooling whose windows overlap, one with groups.
fn resnet_like() -> (Graph, [usize; 2]) {
    let (mut g, input) = GraphBuilder::pictures("resnet-like", 3);
    let stem = Conv2d::new(3, 8, 7).stride(2).padding(Padding::Symmetric(3));
    let x = normed(&mut g, "stem", input, stem);
    let x = g.activation("stem.act", x, Activation::Relu);
    let pool = MaxPool { kernel: 3, stride: 2, padding: Padding::Symmetric(1) };
    let mut x = g.max_pool("stem.pool", x, pool);
    let blocks = [(8, 8, 1, 1), (8, 16, 2, 1), (16, 16, 1, 2)];
    for (i, (from, to, stride, groups)) in blocks.into_iter().enumerate() {
        let name = |layer: &str| format!("layer{i}.{layer}");
        let same = Padding::Symmetric(1);
        let y = Conv2d::new(from, to, 3).stride(stride).padding(same).groups(groups);
        let y = normed(&mut g, &name("conv1"), x, y);
        let y = g.activation(name("act1"), y, Activation::Relu);
        let y = normed(&mut g, &name("conv2"), y, Conv2d::new(to, to, 3).padding(same));
        if (from, stride) != (to, 1) {
            x = normed(&mut g, &name("downsample"), x, Conv2d::new(from, to, 1).stride(stride));
        }
        let y = g.layer(name("add"), Op::Add, &[y, x]);
        x = g.activation(name("act2"), y, Activation::Relu);
    }
    let x = g.layer("pool", Op::GlobalAvgPool, &[x]);
    (g.finish(x), [24, 20])
}

/// Depthwise convolutions with uneven padding, and ReLU6.
fn mobilenet_like() -> (Graph, [usize; 2]) {
    let (mut g, input) = GraphBuilder::pictures("mobilenet-like", 3);
    let stem = Conv2d::new(3, 8, 3).stride(2).padding(Padding::Same);
    let x = normed(&mut g, "stem", input, stem);
    let mut x = g.activation("stem.act", x, Activation::Relu6);
    for (i, (from, to, kernel, stride)) in [(8, 8, 3, 1), (8, 12, 5, 2)].into_iter().enumerate() {
        let name = |layer: &str| format!("blocks.{i}.{layer}");
        let wide = 2 * from;
        let y = normed(&mut g, &name("pw"), x, Conv2d::new(from, wide, 1));
        let y = g.activation(name("act1"), y, Activation::Relu6);
        let dw = Conv2d::new(wide, wide, kernel).stride(stride).padding(Padding::Same);
        let y = normed(&mut g, &name("dw"), y, dw.groups(wide));
        let y = g.activation(name("act2"), y, Activation::Relu6);
        let y = normed(&mut g, &name("pwl"), y, Conv2d::new(wide, to, 1));
        x = if from == to { g.layer(name("add"), Op::Add, &[y, x]) } else { y };
    }
    let x = g.layer("pool", Op::GlobalAvgPool, &[x]);
    (g.finish(x), [18, 14])
}

fn norm(g: &mut GraphBuilder, name: String, x: NodeId, channels: usize) -> NodeId {
    g.layer(name, Op::LayerNorm(LayerNorm { channels, eps: 1e-6 }), &[x])
}

/// Large depthwise windows, layer norms over maps, GELU, layer scale.
fn convnext_like() -> (Graph, [usize; 2]) {
    let (mut g, input) = GraphBuilder::pictures("convnext-like", 3);
    let x = g.conv("stem", input, Conv2d::new(3, 8, 4).stride(4).bias());
    let mut x = norm(&mut g, "stem.norm".into(), x, 8);
    for i in 0..2 {
        let name = |layer: &str| format!("blocks.{i}.{layer}");
        let dw = Conv2d::new(8, 8, 7).padding(Padding::Symmetric(3)).groups(8).bias();
        let y = g.conv(name("dw"), x, dw);
        let y = norm(&mut g, name("norm"), y, 8);
        let y = g.conv(name("fc1"), y, Conv2d::new(8, 32, 1).bias());
        let y = g.activation(name("act"), y, Activation::Gelu);
        let y = g.conv(name("fc2"), y, Conv2d::new(32, 8, 1).bias());
        let y = g.layer(name("gamma"), Op::LayerScale(LayerScale { channels: 8 }), &[y]);
        x = g.layer(name("add"), Op::Add, &[y, x]);
    }
    let x = norm(&mut g, "downsample.norm".into(), x, 8);
    let x = g.conv("downsample.conv", x, Conv2d::new(8, 12, 2).stride(2).bias());
    let x = g.layer("pool", Op::GlobalAvgPool, &[x]);
    let x = norm(&mut g, "norm".into(), x, 12);
    (g.finish(x), [24, 32])
}

/// Tokens on another grid than the learned one, from patches that are filled up with zeros.
fn vit_like() -> (Graph, [usize; 2]) {
    let (mut g, input) = GraphBuilder::pictures("vit-like", 3);
    let width = 12;
    let patch = Conv2d::new(3, width, 4).stride(4).padding(Padding::End).bias();
    let x = g.conv("patch", input, patch);
    let tokens = PatchTokens::new([4, 4], width);
    let mut x = g.layer("tokens", Op::PatchTokens(tokens), &[x]);
    for i in 0..2 {
        let name = |layer: &str| format!("blocks.{i}.{layer}");
        let y = norm(&mut g, name("norm1"), x, width);
        let y = g.linear(name("qkv"), y, width, 3 * width);
        let y = g.layer(name("attn"), Op::Attention(Attention { width, heads: 3 }), &[y]);
        let y = g.linear(name("proj"), y, width, width);
        let y = g.layer(name("ls1"), Op::LayerScale(LayerScale { channels: width }), &[y]);
        let y = g.layer(name("add1"), Op::Add, &[y, x]);
        let z = norm(&mut g, name("norm2"), y, width);
        let z = g.linear(name("fc1"), z, width, 2 * width);
        let z = g.activation(name("act"), z, Activation::Gelu);
        let z = g.linear(name("fc2"), z, 2 * width, width);
        x = g.layer(name("add2"), Op::Add, &[z, y]);
    }
    let x = g.layer("class_token", Op::ClassToken, &[x]);
    let x = norm(&mut g, "norm".into(), x, width);
    (g.finish(x), [10, 22])
}

/// Tokens without a learned one, pooled by attention.
fn siglip_like() -> (Graph, [usize; 2]) {
    (transformer("siglip-like", 0), [10, 22])
}

/// Tokens behind a class token and registers.
fn registers_like() -> (Graph, [usize; 2]) {
    (transformer("registers-like", 4), [16, 16])
}

fn transformer(name: &str, prefix: usize) -> Graph {
    let (mut g, input) = GraphBuilder::pictures(name, 3);
    let activation = Activation::GeluTanh;
    let small = VisionTransformer::new(16, 4, [12, 2, 3]);
    let x = VisionTransformer { prefix, activation, ..small }.add(&mut g, input);
    g.finish(x)
}

/// Squeeze and excitation, attention between maps, groups with two outputs each.
fn fastvit_like() -> (Graph, [usize; 2]) {
    let (mut g, input) = GraphBuilder::pictures("fastvit-like", 3);
    let x = g.conv("stem", input, Conv2d::new(3, 8, 3).stride(2).padding(Padding::Same).bias());
    let conv = Conv2d::new(8, 16, 3).groups(8).stride(2).padding(Padding::Symmetric(1)).bias();
    let x = g.conv("down", x, conv);
    let squeeze = |channels, reduced| Op::SqueezeExcite(SqueezeExcite { channels, reduced });
    let x = g.layer("down.se", squeeze(16, 4), &[x]);
    let x = g.activation("down.act", x, Activation::Gelu);
    let y = g.conv("qkv", x, Conv2d::new(16, 48, 1).bias());
    let y = g.layer("attn", Op::Attention(Attention { width: 16, heads: 2 }), &[y]);
    let y = g.conv("proj", y, Conv2d::new(16, 16, 1).bias());
    let y = g.layer("scale", Op::LayerScale(LayerScale { channels: 16 }), &[y]);
    let x = g.layer("add", Op::Add, &[y, x]);
    let x = g.layer("se", squeeze(16, 3), &[x]);
    let x = g.activation("act", x, Activation::Relu);
    let x = g.layer("pool", Op::GlobalAvgPool, &[x]);
    (g.finish(x), [24, 32])
}

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut stream = Key::new(seed, Purpose::new("trained/values")).stream(0, 0);
    (0..count).map(|_| stream.next_u32() as u16 as f32 / 32768.0 - 1.0).collect()
}

/// A network to train from some layer on, with pictures' maps at the boundary.
struct Case {
    backbone: Graph,
    weights: Weights,
    boundary: Boundary,
    head: Graph,
    head_weights: Weights,
    size: [usize; 2],
    batch_norm: BatchNormMode,
    room: usize,
    table: Arc<Table>,
}

impl Case {
    fn new((backbone, size): (Graph, [usize; 2]), unfreeze: &Unfreeze, rows: usize) -> Self {
        let boundary = Boundary::find(&backbone, unfreeze).unwrap();
        let width = backbone.shapes(size[0], size[1]).unwrap()[boundary.cut].elements();
        let head = heads::mlp(backbone.feature_width(), &[6], 0.3, CLASSES);
        let labels = (0..rows as u32).map(|row| row * 7 % CLASSES as u32).collect();
        let values = numbers(rows * width, 3);
        Self {
            weights: Weights::seeded(&backbone),
            head_weights: Weights::seeded(&head),
            backbone,
            boundary,
            head,
            size,
            batch_norm: BatchNormMode::Frozen,
            room: rows,
            table: Arc::new(Table { width, values, labels, mixed: Vec::new() }),
        }
    }

    fn part(&self) -> TrainedPart<'_> {
        TrainedPart {
            backbone: &self.backbone,
            weights: &self.weights,
            boundary: self.boundary,
            head: &self.head,
            head_weights: &self.head_weights,
            size: self.size,
            batch_norm: self.batch_norm,
            room: self.room,
        }
    }

    fn counts(&self) -> Vec<usize> {
        self.table.counts(CLASSES)
    }

    fn learner(&self, training: &Training, precision: Precision) -> DeviceNetworkLearner {
        let settings = training.clone().check().unwrap();
        DeviceNetworkLearner::new(&self.part(), &self.counts(), &settings, precision, &device())
            .unwrap()
    }

    fn batch(&self, rows: std::ops::Range<u32>) -> RowBatch {
        RowBatch { all: Arc::clone(&self.table), rows: rows.collect() }
    }

    /// The gradients of the loss on all rows, on the CPU.
    fn expected(&self) -> Weights {
        let n = self.table.len();
        let options =
            SuffixOptions { batch_norm: self.batch_norm, ..SuffixOptions::new(self.size, n) };
        let (backbone, head) =
            ((&self.backbone, &self.weights as _), (&self.head, &self.head_weights as _));
        let mut network = Network::new(backbone, self.boundary, head, &options).unwrap();
        let loss = LossConfig::default().check(&self.counts()).unwrap();
        let targets = Targets::Labels(&self.table.labels);
        let read = |part: std::ops::Range<usize>, out: &mut [f32]| {
            let width = self.table.width;
            out.copy_from_slice(&self.table.values[part.start * width..part.end * width]);
            Ok(())
        };
        let context = context(0);
        let evaluate = |logits: &[f32], gradient: &mut [f32]| {
            loss.evaluate(logits, targets, loss.weight(targets), gradient).unwrap();
            Ok::<(), taper_grad::Error>(())
        };
        network.pass(n, read, (context.dropout, context.number), evaluate).unwrap();
        let mut all = Weights::new();
        for p in network.parameters().iter() {
            let values = if p.gradient.is_empty() { &p.values } else { &p.gradient };
            all.insert(p.name.clone(), p.shape.clone(), values.clone());
        }
        all
    }
}

fn context(number: u32) -> StepContext {
    let dropout = Key::new(5, Purpose::new("trained/dropout"));
    StepContext { rate: 0.05, dropout, number }
}

fn norm_of(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// The largest deviation of a tensor, as a share of its norm; tensors that are nearly 0 are
/// measured by `floor` times the largest one's.
fn apart(ours: &Weights, theirs: &Weights, floor: f64) -> (f64, String) {
    let norms =
        ours.names().into_iter().map(|n| norm_of(theirs.values(n).unwrap().iter().copied()));
    let largest = norms.fold(0.0, f64::max);
    let mut worst = (0.0, String::new());
    for name in ours.names() {
        assert_eq!(ours.shape(name), theirs.shape(name), "{name}");
        let (a, b) = (ours.values(name).unwrap(), theirs.values(name).unwrap());
        let off = norm_of(a.iter().zip(b.iter()).map(|(a, b)| a - b));
        let off = off / norm_of(b.iter().copied()).max(floor * largest);
        if off.is_nan() || off > worst.0 {
            worst = (off, name.to_owned());
        }
    }
    worst
}

/// The deviation of all tensors together, as a share of their norm.
fn altogether(ours: &Weights, theirs: &Weights) -> f64 {
    let (mut off, mut all) = (0.0, 0.0);
    for name in ours.names() {
        let (a, b) = (ours.values(name).unwrap(), theirs.values(name).unwrap());
        off += norm_of(a.iter().zip(b.iter()).map(|(a, b)| a - b)).powi(2);
        all += norm_of(b.iter().copied()).powi(2);
    }
    (off / all).sqrt()
}

fn cases(rows: usize) -> Vec<Case> {
    let mut all = Vec::new();
    for (graph, layer) in [
        (resnet_like as fn() -> (Graph, [usize; 2]), "layer1"),
        (mobilenet_like, "blocks.1.dw"),
        (convnext_like, "blocks.1"),
        (vit_like, "blocks.1"),
        (siglip_like, "blocks.1"),
        (registers_like, "blocks.1"),
        (fastvit_like, "down.se"),
    ] {
        for unfreeze in [Unfreeze::All, Unfreeze::From(layer.into())] {
            all.push(Case::new(graph(), &unfreeze, rows));
        }
    }
    all
}

fn check_gradients(mut case: Case, precision: Precision, bound: f64) {
    let has_norms = case.backbone.nodes().iter().any(|n| matches!(n.op, Op::BatchNorm(_)));
    for mode in [BatchNormMode::Frozen, BatchNormMode::Trained] {
        if mode == BatchNormMode::Trained && !has_norms {
            continue;
        }
        case.batch_norm = mode;
        let mut learner = case.learner(&Training::default(), precision);
        let ours = learner.gradients(&case.batch(0..case.table.len() as u32), context(0)).unwrap();
        let theirs = case.expected();
        let trained = theirs.names().into_iter().filter(|name| {
            let first = &case.backbone.nodes()[case.boundary.first].name;
            let at = theirs.names().iter().position(|n| n.contains(first.as_str()));
            let own = theirs.names().iter().position(|n| n == name);
            !name.contains("running_") && own >= at
        });
        let missing: Vec<&str> = trained.filter(|name| ours.shape(name).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let (off, name) = match precision {
            // A shift before a normalisation with the batch's statistics has a gradient of 0.
            Precision::F32 => apart(&ours, &theirs, 1e-2),
            // Where rounding switches a ReLU, single tensors move far.
            _ => (altogether(&ours, &theirs), "all of them".into()),
        };
        let graph = case.backbone.name();
        let first = &case.backbone.nodes()[case.boundary.first].name;
        println!("{graph} from {first} {mode:?} {precision}: {off:.1e} ({name})");
        assert!(off <= bound, "{graph} from {first} {mode:?} {precision}: {off:.1e} ({name})");
        // Statistics that moved, among them.
        let weights = learner.weights().unwrap();
        for name in weights.names().into_iter().filter(|name| name.contains("running_")) {
            let (a, b) = (weights.values(name).unwrap(), theirs.values(name).unwrap());
            let off = norm_of(a.iter().zip(b.iter()).map(|(a, b)| a - b));
            assert!(
                off <= bound * norm_of(b.iter().copied()),
                "{graph} {mode:?} {name}: {off:.1e}"
            );
        }
    }
}

#[test]
fn gradients_are_those_over_slices() {
    for case in cases(5) {
        check_gradients(case, Precision::F32, 2e-5);
    }
    for head in [heads::logistic, heads::cosine] {
        let mut case = Case::new(resnet_like(), &Unfreeze::From("layer1".into()), 5);
        case.head = head(case.backbone.feature_width(), CLASSES);
        case.head_weights = Weights::seeded(&case.head);
        check_gradients(case, Precision::F32, 2e-5);
    }
}

#[test]
fn gradients_in_half_precision_are_near() {
    for (precision, bound) in [(Precision::Bf16, 0.15), (Precision::F16, 0.05)] {
        for mut case in cases(12).into_iter().step_by(2) {
            // Without a ReLU, which rounding would switch for single rows.
            case.head = heads::linear(case.backbone.feature_width(), CLASSES);
            case.head_weights = Weights::seeded(&case.head);
            check_gradients(case, precision, bound);
        }
    }
}

/// Published networks; too much for the emulated device.
#[test]
fn gradients_of_published_networks_are_those_over_slices() {
    if !device().is_cpu() && std::env::var_os("TAPER_EMULATED_DEVICE").is_some() {
        taper_testing::skip("published networks take too long on the emulated device");
        return;
    }
    for (graph, layer, side) in [
        (networks::resnet18(10), "layer4", 64),
        (networks::efficientnet_lite0(10), "blocks.5", 64),
        (networks::convnext_atto(10), "stages.3", 64),
        (networks::dinov2_small(0), "blocks.11", 42),
        (networks::clip_vit_b32(0), "blocks.11", 64),
    ] {
        let graph = if layer == "blocks.11" { graph } else { graph.without_classifier() };
        check_gradients(
            Case::new((graph, [side; 2]), &Unfreeze::From(layer.into()), 3),
            Precision::F32,
            1e-4,
        );
    }
}

/// Every option at once.
fn training(algorithm: Algorithm) -> Training {
    Training {
        batch_size: 4,
        accumulate: 2,
        clip_norm: Some(0.5),
        ema: Some(0.8),
        loss: LossConfig { label_smoothing: 0.1, ..LossConfig::default() },
        optimizer: OptimizerConfig { algorithm, ..OptimizerConfig::default() },
        ..Training::default()
    }
}

fn adamw() -> Algorithm {
    // A large ε, since Adam otherwise divides noise by itself where gradients vanish.
    let (beta1, beta2, epsilon, weight_decay) = (0.9, 0.99, 1e-3, 0.05);
    Algorithm::AdamW { beta1, beta2, epsilon, weight_decay, epsilon_mode: EpsilonMode::Torch }
}

#[test]
fn steps_are_those_over_slices() {
    let sgd = Algorithm::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.01 };
    for (graph, layer, batch_norm, algorithm, room) in [
        (resnet_like(), "layer1", BatchNormMode::Trained, sgd, 8),
        (mobilenet_like(), "blocks.0", BatchNormMode::Frozen, adamw(), 3),
        (vit_like(), "blocks.1", BatchNormMode::Frozen, adamw(), 8),
    ] {
        let mut case = Case::new(graph, &Unfreeze::From(layer.into()), 12);
        (case.batch_norm, case.room) = (batch_norm, room);
        let mut table = Table::clone(&case.table);
        table.mixed = (0..12).map(|row| (row % 3, row as f32 / 24.0)).collect();
        case.table = Arc::new(table);
        let mut training = training(algorithm);
        training.optimizer.groups = layer_decay(&case.backbone, case.boundary, 0.7);
        let settings = training.clone().check().unwrap();
        let mut theirs: NetworkLearner =
            NetworkLearner::new(&case.part(), &case.counts(), &settings).unwrap();
        let mut ours = case.learner(&training, Precision::F32);
        for step in 0..4 {
            let batch = case.batch(step % 2 * 4..step % 2 * 4 + 8);
            theirs.step(&batch, context(step)).unwrap();
            ours.step(&batch, context(step)).unwrap();
        }
        let name = case.backbone.name();
        let (our, their) = (ours.outcomes().unwrap(), theirs.outcomes().unwrap());
        assert_eq!(our.len(), 4);
        for (a, b) in our.iter().zip(&their) {
            assert!((a.loss - b.loss).abs() < 1e-4 * b.loss, "{name}: {} {}", a.loss, b.loss);
            assert_eq!((a.logits.len(), &a.labels), (b.logits.len(), &b.labels));
        }
        for kept in [false, true] {
            let of = |state: State| if kept { state.network } else { state.average.unwrap() };
            let (a, b) = (of(ours.state().unwrap()), of(theirs.state().unwrap()));
            let (off, tensor) = apart(&a, &b, 1e-3);
            println!("{name}: {off:.1e} ({tensor})");
            assert!(off < 1e-4, "{name}: {off:.1e} ({tensor})");
        }
        // The average is what is evaluated.
        let (a, b) = (ours.measure(&case.table).unwrap(), theirs.measure(&case.table).unwrap());
        let (a, b) = (a.loss().unwrap(), b.loss().unwrap());
        assert!((a - b).abs() < 1e-4 * b, "{name}: {a} {b}");
        // Its tensors are the other's.
        let weights = theirs.weights().unwrap();
        ours.set_weights(&weights).unwrap();
        assert_eq!(ours.weights().unwrap(), weights);
        let again = ours.measure_with(&weights, &case.table).unwrap().loss().unwrap();
        assert!((again - b).abs() < 1e-4 * b, "{name}: {again} {b}");
    }
}

fn bits(weights: &Weights) -> Vec<u32> {
    let values = |name: &str| weights.values(name).unwrap().into_owned();
    weights.names().into_iter().flat_map(values).map(f32::to_bits).collect()
}

#[test]
fn a_state_that_is_put_back_goes_on_bit_for_bit() {
    for precision in [Precision::F32, Precision::F16] {
        let mut case = Case::new(mobilenet_like(), &Unfreeze::From("blocks.1".into()), 12);
        case.batch_norm = BatchNormMode::Trained;
        let training = training(adamw());
        let step = |learner: &mut DeviceNetworkLearner, number: u32| {
            learner.step(&case.batch(number % 2 * 4..number % 2 * 4 + 8), context(number)).unwrap();
        };
        let mut whole = case.learner(&training, precision);
        (0..2).for_each(|number| step(&mut whole, number));
        let state = whole.state().unwrap();
        (2..4).for_each(|number| step(&mut whole, number));
        let mut resumed = case.learner(&training, precision);
        resumed.restore(&state).unwrap();
        (2..4).for_each(|number| step(&mut resumed, number));
        let (a, b) = (whole.state().unwrap(), resumed.state().unwrap());
        assert_eq!(bits(&a.network), bits(&b.network), "{precision}");
        assert_eq!(bits(&a.optimizer), bits(&b.optimizer), "{precision}");
        assert_eq!(bits(&a.average.unwrap()), bits(&b.average.unwrap()), "{precision}");
        // And once more from the beginning.
        resumed.reseed(1).unwrap();
        (0..4).for_each(|number| step(&mut resumed, number));
        assert_eq!(bits(&resumed.weights().unwrap()), bits(&whole.weights().unwrap()));
    }
}

/// Gradients beyond f16's range leave the step out and halve the scale.
#[test]
fn steps_that_overflow_are_left_out() {
    let case = Case::new(mobilenet_like(), &Unfreeze::From("blocks.1".into()), 8);
    let mut learner = case.learner(&Training::default(), Precision::F16);
    let mut state = learner.state().unwrap();
    assert_eq!(&*state.optimizer.values("loss_scale").unwrap(), [65536.0, 0.0]);
    state.optimizer.insert("loss_scale", vec![2], vec![2f32.powi(40), 5.0]);
    learner.restore(&state).unwrap();
    let before = bits(&learner.weights().unwrap());
    learner.step(&case.batch(0..8), context(0)).unwrap();
    assert_eq!(bits(&learner.weights().unwrap()), before);
    let state = learner.state().unwrap();
    assert_eq!(&*state.optimizer.values("loss_scale").unwrap(), [2f32.powi(39), 0.0]);
    assert_eq!(state.optimizer_steps, 0);
    assert!(learner.outcomes().unwrap()[0].loss.is_finite());
}

#[test]
fn what_does_not_fit_is_named() {
    let mut case = Case::new(resnet_like(), &Unfreeze::From("layer2".into()), 5);
    let settings = Training::default().check().unwrap();
    let other = Weights::seeded(&mobilenet_like().0);
    case.weights = other;
    let error: taper_candle::Error = DeviceNetworkLearner::<Table>::new(
        &case.part(),
        &case.counts(),
        &settings,
        Precision::F32,
        &device(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("'stem.weight' is [8, 3, 3, 3]"), "{error}");
}
