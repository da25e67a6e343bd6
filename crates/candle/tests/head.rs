//! Training a head: against torch's autograd with Keras's rules, and against finite differences.
#![allow(clippy::unwrap_used)] // helpers of tests

use candle_core::{Device, Tensor};
use serde_json::Value;
use taper_candle::{
    Average, Gradients, Network, Optimizer, Pass, cross_entropy, weighted_cross_entropy,
};
use taper_core::random::{Key, Purpose};
use taper_graph::{BatchNorm, Dropout, Graph, GraphBuilder, Op, WeightSource, Weights, heads};
use taper_optim::{
    Algorithm, ClassWeights, EpsilonMode, LossConfig, OptimizerConfig, ParameterGroup,
};

const KEY: Key = Key::new(1, Purpose::new("test/dropout"));

/// The tutorial's head at a small size, without dropout. The device named by `TAPER_TEST_DEVICE`;
/// the CPU if it is not set.
fn device() -> Device {
    let choice = std::env::var("TAPER_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    taper_candle::open_device(choice.parse().unwrap()).unwrap()
}

fn small_head() -> Graph {
    let (mut g, x) = GraphBuilder::features("small", 6);
    let norm = |channels| {
        Op::BatchNorm(BatchNorm { channels, eps: 1e-3, momentum: 0.01, unbiased: false })
    };
    let x = g.layer("bn1", norm(6), &[x]);
    let x = g.linear("fc1", x, 6, 5);
    let x = g.activation("act1", x, taper_graph::Activation::Relu);
    let x = g.layer("bn2", norm(5), &[x]);
    g.linear("fc2", x, 5, 3);
    g.finish(0)
}

/// The formula of `reference/head.py`.
fn fill(n: usize, phase: f64) -> Vec<f32> {
    (0..n).map(|i| ((0.7 * i as f64 + phase).sin() * 0.5) as f32).collect()
}

fn small_weights() -> Weights {
    let plus_one = |values: Vec<f32>| values.into_iter().map(|v| v + 1.0).collect();
    let mut w = Weights::new();
    w.insert("bn1.weight", vec![6], plus_one(fill(6, 1.0)));
    w.insert("bn1.bias", vec![6], fill(6, 2.0));
    w.insert("fc1.weight", vec![5, 6], fill(30, 3.0));
    w.insert("fc1.bias", vec![5], fill(5, 4.0));
    w.insert("bn2.weight", vec![5], plus_one(fill(5, 5.0)));
    w.insert("bn2.bias", vec![5], fill(5, 6.0));
    w.insert("fc2.weight", vec![3, 5], fill(15, 7.0));
    w.insert("fc2.bias", vec![3], fill(3, 8.0));
    for (name, n) in [("bn1", 6), ("bn2", 5)] {
        w.insert(format!("{name}.running_mean"), vec![n], vec![0.0; n]);
        w.insert(format!("{name}.running_var"), vec![n], vec![1.0; n]);
    }
    w
}

fn batch() -> (Tensor, Tensor) {
    let x = Tensor::from_vec(fill(48, 9.0), (8, 6), &device()).unwrap();
    let y = Tensor::new(&[0u32, 1, 2, 0, 1, 2, 0, 1], &device()).unwrap();
    (x, y)
}

#[track_caller]
fn assert_near(actual: &[f32], expected: &Value, tolerance: f64) {
    let expected: Vec<f64> =
        expected.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(actual.len(), expected.len());
    for (a, e) in actual.iter().zip(&expected) {
        assert!((f64::from(*a) - e).abs() <= tolerance, "{actual:?} instead of {expected:?}");
    }
}

#[test]
fn five_steps_equal_the_reference() {
    let reference: Value =
        serde_json::from_str(include_str!("../../grad/tests/reference/head.json")).unwrap();
    let network = Network::loaded(&small_head(), &small_weights(), &device()).unwrap();
    let mut adam =
        Optimizer::new(&OptimizerConfig::default().check().unwrap(), network.parameters()).unwrap();
    let (x, y) = batch();
    let mut losses = Vec::new();
    for step in 0..5 {
        let logits = network.forward(&x, Pass::Training { dropout: KEY, step }).unwrap();
        let loss = cross_entropy(&logits, &y).unwrap();
        losses.push(loss.to_scalar::<f32>().unwrap());
        adam.step(network.parameters(), &Gradients::of(&network, &loss).unwrap(), 0.01).unwrap();
    }
    assert_near(&losses, &reference["losses"], 1e-5);
    let weights = network.weights().unwrap();
    assert_near(&weights.values("fc1.weight").unwrap(), &reference["fc1.weight"], 1e-4);
    assert_near(&weights.values("bn2.running_var").unwrap(), &reference["bn2.running_var"], 1e-5);
    let logits = network.forward(&x, Pass::Evaluation).unwrap().flatten_all().unwrap();
    assert_near(&logits.to_vec1::<f32>().unwrap(), &reference["logits"], 1e-3);
}

#[test]
fn gradients_equal_finite_differences() {
    let graph = small_head();
    let (x, y) = batch();
    let pass = Pass::Training { dropout: KEY, step: 0 };
    let loss_of = |weights: &Weights| {
        let network = Network::loaded(&graph, weights, &device()).unwrap();
        let logits = network.forward(&x, pass).unwrap();
        (cross_entropy(&logits, &y).unwrap(), network)
    };
    let (loss, network) = loss_of(&small_weights());
    let gradients = loss.backward().unwrap();
    for p in network.parameters().iter().filter(|p| p.kind.is_learnable()) {
        let gradient =
            gradients.get(&p.var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for i in 0..gradient.len() {
            let moved = |by: f32| {
                let mut weights = small_weights();
                let mut values = weights.values(&p.name).unwrap().into_owned();
                values[i] += by;
                weights.insert(p.name.clone(), p.var.dims().to_vec(), values);
                f64::from(loss_of(&weights).0.to_scalar::<f32>().unwrap())
            };
            let h = 5e-3;
            let difference = (moved(h) - moved(-h)) / f64::from(2.0 * h);
            let error = (difference - f64::from(gradient[i])).abs();
            assert!(error < 2e-3, "{}[{i}]: {} instead of {difference}", p.name, gradient[i]);
        }
    }
}

#[test]
fn heads_on_directions_equal_torch() {
    let text = include_str!("../../grad/tests/reference/directions.json");
    let reference: Value = serde_json::from_str(text).unwrap();
    for own in [heads::cosine(5, 3), heads::logistic(5, 3)] {
        let (mut g, x) = GraphBuilder::features("directions", 6);
        let mut last = g.linear("fc1", x, 6, 5);
        for node in &own.nodes()[1..] {
            last = g.layer(node.name.clone(), node.op, &[last]);
        }
        let mut weights = small_weights();
        weights.insert("fc.weight", vec![3, 5], fill(15, 7.0));
        weights.insert("fc.bias", vec![3], fill(3, 8.0));
        weights.insert("cosine.weight", vec![3, 5], fill(15, 7.0));
        weights.insert("cosine.gamma", vec![1], vec![fill(1, 8.0)[0] + 1.0]);
        let network = Network::loaded(&g.finish(0), &weights, &device()).unwrap();
        let (x, y) = batch();
        let logits = network.forward(&x, Pass::Training { dropout: KEY, step: 0 }).unwrap();
        let expected = &reference[own.name()];
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_near(&flat(&logits), &expected["logits"], 4e-5);
        let gradients = cross_entropy(&logits, &y).unwrap().backward().unwrap();
        for p in network.parameters() {
            assert_near(&flat(gradients.get(&p.var).unwrap()), &expected[&p.name], 1e-4);
        }
        // A row of zeros has no direction, and no gradient; long and short ones have one.
        let rows = [[0.0; 6], [f32::MAX; 6], [1e-40; 6]];
        let rows = candle_core::Var::new(&rows, &device()).unwrap();
        let head = Network::initialised(&own_of(&own), 0, &device());
        let logits = head.unwrap().forward(&rows, Pass::Training { dropout: KEY, step: 0 });
        let logits = logits.unwrap();
        assert!(flat(&logits).iter().all(|z| z.is_finite()));
        let gradients = logits.sum_all().unwrap().backward().unwrap();
        let slopes = flat(gradients.get(&rows).unwrap());
        assert_eq!(slopes[..6], [0.0; 6]);
    }
}

/// The same kind of head on six features.
fn own_of(head: &Graph) -> Graph {
    if head.name() == "cosine" { heads::cosine(6, 3) } else { heads::logistic(6, 3) }
}

#[test]
fn dropout_is_keyed_by_step_and_row_and_keeps_the_mean() {
    let (mut g, x) = GraphBuilder::features("dropout", 1000);
    g.layer("drop", Op::Dropout(Dropout { p: 0.5 }), &[x]);
    let network = Network::initialised(&g.finish(0), 0, &device()).unwrap();
    let ones = |rows| Tensor::ones((rows, 1000), candle_core::DType::F32, &device()).unwrap();
    let draw = |rows, step| {
        let pass = Pass::Training { dropout: KEY, step };
        network.forward(&ones(rows), pass).unwrap().to_vec2::<f32>().unwrap()
    };
    let first = draw(4, 0);
    assert!(first.iter().flatten().all(|v| *v == 0.0 || *v == 2.0));
    let mean = first.iter().flatten().sum::<f32>() / 4000.0;
    assert!((mean - 1.0).abs() < 0.05, "{mean}");
    assert_eq!(first, draw(4, 0));
    assert_eq!(first[..2], draw(2, 0)[..], "a row's mask does not depend on the batch's size");
    assert_ne!(first, draw(4, 1));
    assert_ne!(first[0], first[1]);
    let evaluated = network.forward(&ones(1), Pass::Evaluation).unwrap();
    assert_eq!(evaluated.to_vec2::<f32>().unwrap(), [[1.0; 1000]]);
}

#[test]
fn a_batch_of_one_is_an_error_that_names_the_layer() {
    let network = Network::initialised(&heads::tutorial(8, 3), 0, &device()).unwrap();
    let one = Tensor::zeros((1, 8), candle_core::DType::F32, &device()).unwrap();
    let pass = Pass::Training { dropout: KEY, step: 0 };
    let error = network.forward(&one, pass).unwrap_err().to_string();
    assert!(error.contains("'bn1'") && error.contains("at least 2"), "{error}");
    assert!(network.forward(&one, Pass::Evaluation).is_ok());
}

#[test]
fn an_evaluation_keeps_no_maps_for_gradients() {
    let network = Network::initialised(&heads::tutorial(8, 3), 0, &device()).unwrap();
    let x = Tensor::zeros((4, 8), candle_core::DType::F32, &device()).unwrap();
    assert!(!network.forward(&x, Pass::Evaluation).unwrap().track_op());
    assert!(network.forward(&x, Pass::Training { dropout: KEY, step: 0 }).unwrap().track_op());
}

#[test]
fn a_saved_optimizer_continues_to_the_same_bits() {
    let (x, y) = batch();
    for algorithm in [Algorithm::adam_w(), Algorithm::sgd()] {
        let config = OptimizerConfig { algorithm, ..OptimizerConfig::default() }.check().unwrap();
        let step = |network: &Network, optimizer: &mut Optimizer, step| {
            let logits = network.forward(&x, Pass::Training { dropout: KEY, step }).unwrap();
            let loss = cross_entropy(&logits, &y).unwrap();
            optimizer
                .step(network.parameters(), &Gradients::of(network, &loss).unwrap(), 0.01)
                .unwrap();
        };
        let network = Network::loaded(&small_head(), &small_weights(), &device()).unwrap();
        let mut optimizer = Optimizer::new(&config, network.parameters()).unwrap();
        (0..3).for_each(|i| step(&network, &mut optimizer, i));
        let (steps, state) = optimizer.state(network.parameters()).unwrap();
        let saved = network.weights().unwrap();
        (3..6).for_each(|i| step(&network, &mut optimizer, i));

        let resumed = Network::loaded(&small_head(), &saved, &device()).unwrap();
        let mut other = Optimizer::new(&config, resumed.parameters()).unwrap();
        other.restore(resumed.parameters(), steps, &state).unwrap();
        (3..6).for_each(|i| step(&resumed, &mut other, i));
        assert_eq!(network.weights().unwrap(), resumed.weights().unwrap());
        assert!(other.restore(resumed.parameters(), 0, &Weights::new()).is_err());
    }
}

/// Four steps of a head on candle and over slices, with the same options; their weights and
/// averages must agree.
fn in_step(config: &OptimizerConfig, loss: &LossConfig, clip: Option<f64>) {
    let graph = heads::tutorial(40, 3);
    let network = Network::initialised(&graph, 2, &device()).unwrap();
    let config = config.clone().check().unwrap();
    let mut ours = Optimizer::new(&config, network.parameters()).unwrap();
    let mut average = Average::new(0.7, network.parameters()).unwrap();
    let mut head = taper_grad::Head::initialised(&graph, 2).unwrap();
    let mut theirs = taper_optim::Optimizer::new(config, head.parameters()).unwrap();
    let mut other_average = taper_optim::Average::new(0.7, head.parameters()).unwrap();
    let loss = loss.check(&[6, 5, 5]).unwrap();
    let rows = fill(16 * 40, 0.3);
    let x = Tensor::from_slice(&rows, (16, 40), &device()).unwrap();
    let labels: Vec<u32> = (0..16).map(|i| i % 3).collect();
    let targets = taper_optim::Targets::Labels(&labels);
    let weight = loss.weight(targets);
    let factors = loss.factors(targets, weight).unwrap();
    let factors = Tensor::from_vec(factors, (16, 3), &device()).unwrap();
    for step in 0..4 {
        let logits = network.forward(&x, Pass::Training { dropout: KEY, step }).unwrap();
        let value = weighted_cross_entropy(&logits, &factors, loss.focal_gamma()).unwrap();
        let mut gradients = Gradients::of(&network, &value).unwrap();
        clip.iter().for_each(|&norm| gradients.clip(norm).unwrap());
        ours.step(network.parameters(), &gradients, 1e-3).unwrap();
        average.update(network.parameters()).unwrap();

        let logits = head.forward(16, |x| x.copy_from_slice(&rows), KEY, step).unwrap();
        let mut gradient = vec![0.0; logits.len()];
        let other = loss.evaluate(logits, targets, weight, &mut gradient).unwrap();
        head.backward(&gradient).unwrap();
        clip.iter().for_each(|&norm| {
            head.parameters_mut().clip_gradients(norm);
        });
        theirs.step(head.parameters_mut(), 1e-3);
        other_average.update(head.parameters());
        assert!((f64::from(value.to_scalar::<f32>().unwrap()) - other).abs() < 1e-5);
    }
    for averaged in [false, true] {
        let (theirs, ours) = (network.weights().unwrap(), head.parameters().weights());
        for p in head.parameters().iter() {
            let (a, b) = (theirs.values(&p.name).unwrap(), ours.values(&p.name).unwrap());
            // Adam divides by the gradient's own size, so that rounding counts where gradients
            // nearly vanish.
            let far = a.iter().zip(b.iter()).filter(|(a, b)| (*a - *b).abs() > 1e-5).count();
            assert!(far * 100 <= a.len(), "{} {averaged}: {far} of {}", p.name, a.len());
        }
        average.swap(network.parameters()).unwrap();
        other_average.swap(head.parameters_mut());
    }
}

#[test]
fn candle_and_the_slices_of_taper_head_take_the_same_steps() {
    let plain = LossConfig::default();
    let with = |algorithm| OptimizerConfig { algorithm, groups: Vec::new() };
    in_step(&with(Algorithm::adam()), &plain, None);
    in_step(&with(Algorithm::adam_w()), &plain, Some(0.5));
    in_step(&with(Algorithm::sgd()), &plain, None);
    let nesterov = Algorithm::Sgd { momentum: 0.8, nesterov: true, weight_decay: 0.05 };
    let focal = LossConfig {
        label_smoothing: 0.1,
        focal_gamma: 2.0,
        class_weights: ClassWeights::Balanced,
    };
    in_step(&with(nesterov), &focal, Some(0.1));
    let epsilon_mode = EpsilonMode::Torch;
    let torch = Algorithm::Adam { beta1: 0.8, beta2: 0.99, epsilon: 1e-3, epsilon_mode };
    let group = |prefix: &str, rate_factor| {
        let (prefix, weight_decay) = (prefix.to_owned(), Some(0.2));
        ParameterGroup { prefix, rate_factor, weight_decay }
    };
    let groups = vec![group("fc1", 0.5), group("bn1", 0.0)];
    in_step(&OptimizerConfig { algorithm: torch, groups }, &focal, None);
}

#[test]
fn parts_of_a_step_add_up() {
    let network = Network::initialised(&heads::linear(4, 3), 2, &device()).unwrap();
    let rows = fill(6 * 4, 0.2);
    let x = Tensor::from_slice(&rows, (6, 4), &device()).unwrap();
    let y = Tensor::new(&[0u32, 1, 2, 2, 1, 0], &device()).unwrap();
    let part = |from, n| {
        let pass = Pass::Training { dropout: KEY, step: 0 };
        let logits = network.forward(&x.narrow(0, from, n).unwrap(), pass).unwrap();
        let loss = cross_entropy(&logits, &y.narrow(0, from, n).unwrap()).unwrap();
        Gradients::of(&network, &(loss * (n as f64 / 6.0)).unwrap()).unwrap()
    };
    let after = |gradients: &Gradients| {
        let network = Network::initialised(&heads::linear(4, 3), 2, &device()).unwrap();
        let config = OptimizerConfig { algorithm: Algorithm::sgd(), groups: Vec::new() };
        let mut sgd = Optimizer::new(&config.check().unwrap(), network.parameters()).unwrap();
        sgd.step(network.parameters(), gradients, 0.1).unwrap();
        network.weights().unwrap().values("fc.weight").unwrap().into_owned()
    };
    let whole = after(&part(0, 6));
    let before = network.weights().unwrap().values("fc.weight").unwrap().into_owned();
    assert!(whole.iter().zip(&before).all(|(a, b)| (a - b).abs() > 1e-6));
    let mut sum = part(0, 4);
    sum.add(part(4, 2)).unwrap();
    assert!(whole.iter().zip(after(&sum)).all(|(a, b)| (a - b).abs() < 1e-6));
}
