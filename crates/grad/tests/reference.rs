//! Losses, optimizers and whole trainings against torch and Keras, and what must hold without them.
#![allow(clippy::unwrap_used)] // helpers of tests

use serde_json::Value;
use taper_core::random::{Key, Purpose};
use taper_grad::{
    Algorithm, Average, ClassWeights, EpsilonMode, Head, LossConfig, Optimizer, OptimizerConfig,
    ParameterGroup, Targets,
};
use taper_graph::{Activation, BatchNorm, Graph, GraphBuilder, Op, WeightSource, Weights, heads};

const KEY: Key = Key::new(1, Purpose::new("test/dropout"));

fn fill(n: usize, phase: f64, scale: f64) -> Vec<f32> {
    (0..n).map(|i| ((0.7 * i as f64 + phase).sin() * scale) as f32).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[track_caller]
fn assert_near(actual: &[f32], expected: &Value, tolerance: f64) {
    let expected = numbers(expected);
    assert_eq!(actual.len(), expected.len());
    for (a, e) in actual.iter().zip(&expected) {
        assert!((f64::from(*a) - e).abs() <= tolerance, "{actual:?} instead of {expected:?}");
    }
}

fn reference() -> Value {
    serde_json::from_str(include_str!("reference/losses_and_optimizers.json")).unwrap()
}

#[test]
fn losses_are_those_of_torch_and_keras() {
    let reference = reference();
    let logits = fill(20, 0.3, 3.0);
    let labels = [0, 3, 1, 1, 2];
    let soft: Vec<f32> = fill(20, 1.1, 1.0)
        .chunks(4)
        .flat_map(|row| {
            let sum: f32 = row.iter().map(|v| v.exp()).sum();
            row.iter().map(move |v| v.exp() / sum).collect::<Vec<_>>()
        })
        .collect();
    let weights = || ClassWeights::List(vec![1.0, 0.5, 2.0, 0.25]);
    let config = |label_smoothing, focal_gamma, class_weights| LossConfig {
        label_smoothing,
        focal_gamma,
        class_weights,
    };
    let none = || ClassWeights::None;
    let cases = [
        ("plain", config(0.0, 0.0, none()), false),
        ("smoothing", config(0.1, 0.0, none()), false),
        ("weights", config(0.0, 0.0, weights()), false),
        ("weights_smoothing", config(0.2, 0.0, weights()), false),
        ("soft", config(0.0, 0.0, none()), true),
        ("soft_weights_smoothing", config(0.1, 0.0, weights()), true),
        ("focal", config(0.0, 2.0, none()), false),
        ("focal_fraction", config(0.1, 0.5, none()), false),
    ];
    for (name, config, is_soft) in cases {
        let loss = config.check(&[1; 4]).unwrap();
        let targets = if is_soft { Targets::Soft(&soft) } else { Targets::Labels(&labels) };
        let mut gradient = vec![0.0; 20];
        let value = loss.evaluate(&logits, targets, loss.weight(targets), &mut gradient).unwrap();
        let expected = &reference["losses"][name];
        assert!((value - expected["loss"].as_f64().unwrap()).abs() < 1e-6, "{name}: {value}");
        assert_near(&gradient, &expected["gradient"], 1e-6);
    }
}

#[test]
fn balanced_class_weights_and_bad_losses() {
    // sklearn.utils.class_weight.compute_class_weight("balanced", classes=[0, 1, 2], y=[0]*6 + [1]*3 + [2]) is
    // [0.5556, 1.1111, 3.3333]: the loss of one row of a class is its weight over itself, so compare two rows.
    let config = LossConfig { class_weights: ClassWeights::Balanced, ..LossConfig::default() };
    let loss = config.check(&[6, 3, 1]).unwrap();
    let weight = |label| loss.weight(Targets::Labels(&[label]));
    for (label, expected) in [(0, 0.5556), (1, 1.1111), (2, 3.3333)] {
        assert!((weight(label) - expected).abs() < 1e-4);
    }
    let bad = [
        (LossConfig { label_smoothing: 1.0, ..LossConfig::default() }, "label_smoothing"),
        (LossConfig { focal_gamma: f64::NAN, ..LossConfig::default() }, "focal_gamma"),
        (LossConfig { class_weights: "even".into(), ..LossConfig::default() }, "'even'"),
        (LossConfig { class_weights: "1,2".into(), ..LossConfig::default() }, "3 classes"),
        (LossConfig { class_weights: "1,2,-1".into(), ..LossConfig::default() }, "class_weights"),
    ];
    for (config, word) in bad {
        let error = config.check(&[6, 3, 1]).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let mut gradient = [0.0; 3];
    let plain = LossConfig::default().check(&[1; 3]).unwrap();
    let label = [7];
    assert!(plain.evaluate(&[0.0; 3], Targets::Labels(&label), 1.0, &mut gradient).is_err());
    // A logit that is not a number makes the loss one too: it must not pass unseen.
    let label = [0];
    let logits = [f32::NAN, 0.0, 0.0];
    assert!(plain.evaluate(&logits, Targets::Labels(&label), 1.0, &mut gradient).unwrap().is_nan());
}

/// A layer of two inputs and three outputs whose gradients are what we say: with logits' gradient d and one row x = 1,
/// d_bias = d; for the weights, rows are chosen so that the sum comes out.
fn linear_head() -> Head {
    let mut weights = Weights::new();
    weights.insert("fc.weight", vec![3, 2], fill(6, 0.5, 1.0));
    weights.insert("fc.bias", vec![3], fill(3, 0.9, 1.0));
    Head::loaded(&heads::linear(2, 3), &weights).unwrap()
}

/// Sets the gradients of [`linear_head`] by one backward pass: rows e₀, e₁ and 0 with the right outputs.
fn set_gradients(head: &mut Head, t: usize) {
    let weight = fill(6, 2.0 + t as f64, 1.0);
    let bias = fill(3, 3.0 + t as f64, 0.1);
    let rows = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
    let mut d = vec![0.0; 9];
    for o in 0..3 {
        d[o] = weight[2 * o];
        d[3 + o] = weight[2 * o + 1];
        d[6 + o] = bias[o] - d[o] - d[3 + o];
    }
    head.forward(3, |x| x.copy_from_slice(&rows), KEY, 0).unwrap();
    head.backward(&d).unwrap();
}

#[test]
fn optimizers_are_those_of_torch_and_keras() {
    let reference = reference();
    let adam =
        |epsilon, epsilon_mode| Algorithm::Adam { beta1: 0.9, beta2: 0.999, epsilon, epsilon_mode };
    let sgd =
        |momentum, nesterov, weight_decay| Algorithm::Sgd { momentum, nesterov, weight_decay };
    let group = |prefix: &str, rate_factor, weight_decay| ParameterGroup {
        prefix: prefix.into(),
        rate_factor,
        weight_decay,
    };
    let cases = [
        ("adam_keras", adam(1e-7, EpsilonMode::Keras), vec![]),
        ("adam_torch", adam(1e-3, EpsilonMode::Torch), vec![]),
        (
            "adamw",
            Algorithm::AdamW {
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                epsilon_mode: EpsilonMode::Torch,
                weight_decay: 0.1,
            },
            vec![],
        ),
        ("sgd", sgd(0.0, false, 0.0), vec![]),
        ("sgd_momentum", sgd(0.9, false, 0.05), vec![]),
        ("sgd_nesterov", sgd(0.8, true, 0.0), vec![]),
        (
            "groups",
            sgd(0.9, false, 0.0),
            vec![group("fc", 0.1, None), group("fc.bias", 1.0, Some(0.2))],
        ),
    ];
    for (name, algorithm, groups) in cases {
        let mut head = linear_head();
        let config = OptimizerConfig { algorithm, groups };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<OptimizerConfig>(&text).unwrap(), config);
        let mut optimizer = Optimizer::new(config.check().unwrap(), &head).unwrap();
        for t in 0..6 {
            set_gradients(&mut head, t);
            optimizer.step(&mut head, if t < 3 { 0.1 } else { 0.05 });
        }
        let expected = &reference["optimizers"][name];
        assert_near(&head.parameters()[0].values, &expected["weight"], 1e-5);
        assert_near(&head.parameters()[1].values, &expected["bias"], 1e-5);
    }
}

#[test]
fn clipping_is_torchs_and_bad_optimizers_are_named() {
    let mut head = linear_head();
    set_gradients(&mut head, 0);
    let before: Vec<f32> = head.parameters()[0].gradient.clone();
    let norm = reference()["norm"].as_f64().unwrap();
    assert!((head.clip_gradients(1e9) - norm).abs() < 1e-5);
    assert_eq!(head.parameters()[0].gradient, before, "nothing to clip");
    head.clip_gradients(0.5);
    for (after, before) in head.parameters()[0].gradient.iter().zip(&before) {
        assert!((f64::from(*after) - f64::from(*before) * 0.5 / norm).abs() < 1e-6);
    }
    assert!((head.clip_gradients(9.0) - 0.5).abs() < 1e-5);

    let with =
        |algorithm| OptimizerConfig { algorithm, groups: vec![] }.check().unwrap_err().to_string();
    let error = with(Algorithm::Sgd { momentum: 0.0, nesterov: true, weight_decay: 0.0 });
    assert!(error.contains("nesterov"), "{error}");
    let error = with(Algorithm::Sgd { momentum: 1.0, nesterov: false, weight_decay: 0.0 });
    assert!(error.contains("momentum"), "{error}");
    let group = ParameterGroup { prefix: "fc9".into(), rate_factor: 1.0, weight_decay: None };
    let config = OptimizerConfig { groups: vec![group], ..OptimizerConfig::default() };
    let error = Optimizer::new(config.check().unwrap(), &head).unwrap_err().to_string();
    assert!(error.contains("'fc9'") && error.contains("fc.weight"), "{error}");
}

/// The tutorial's head at a small size, without dropout.
fn small_head() -> Graph {
    let (mut g, x) = GraphBuilder::features("small", 6);
    let norm = |channels| {
        Op::BatchNorm(BatchNorm { channels, eps: 1e-3, momentum: 0.01, unbiased: false })
    };
    let x = g.layer("bn1", norm(6), &[x]);
    let x = g.linear("fc1", x, 6, 5);
    let x = g.activation("act1", x, Activation::Relu);
    let x = g.layer("bn2", norm(5), &[x]);
    g.linear("fc2", x, 5, 3);
    g.finish(0)
}

fn small_weights() -> Weights {
    let near_one = |n, phase| fill(n, phase, 0.5).into_iter().map(|v| v + 1.0).collect();
    let mut w = Weights::new();
    w.insert("bn1.weight", vec![6], near_one(6, 1.0));
    w.insert("bn1.bias", vec![6], fill(6, 2.0, 0.5));
    w.insert("fc1.weight", vec![5, 6], fill(30, 3.0, 0.5));
    w.insert("fc1.bias", vec![5], fill(5, 4.0, 0.5));
    w.insert("bn2.weight", vec![5], near_one(5, 5.0));
    w.insert("bn2.bias", vec![5], fill(5, 6.0, 0.5));
    w.insert("fc2.weight", vec![3, 5], fill(15, 7.0, 0.5));
    w.insert("fc2.bias", vec![3], fill(3, 8.0, 0.5));
    for (name, n) in [("bn1", 6), ("bn2", 5)] {
        w.insert(format!("{name}.running_mean"), vec![n], vec![0.0; n]);
        w.insert(format!("{name}.running_var"), vec![n], vec![1.0; n]);
    }
    w
}

const LABELS: [u32; 8] = [0, 1, 2, 0, 1, 2, 0, 1];

/// One pass over eight rows in parts of these sizes; gives the loss.
fn pass(head: &mut Head, parts: &[usize], step: u32) -> f64 {
    let rows = fill(48, 9.0, 0.5);
    let loss = LossConfig::default().check(&[3, 3, 2]).unwrap();
    let (mut start, mut sum) = (0, 0.0);
    for &n in parts {
        let own = &rows[6 * start..6 * (start + n)];
        let logits = head.forward(n, |x| x.copy_from_slice(own), KEY, step).unwrap().to_vec();
        let mut gradient = vec![0.0; logits.len()];
        let targets = Targets::Labels(&LABELS[start..start + n]);
        sum += loss.evaluate(&logits, targets, 8.0, &mut gradient).unwrap();
        head.backward(&gradient).unwrap();
        start += n;
    }
    sum
}

#[test]
fn five_steps_equal_the_reference() {
    let reference: Value = serde_json::from_str(include_str!("reference/head.json")).unwrap();
    let mut head = Head::loaded(&small_head(), &small_weights()).unwrap();
    let mut optimizer = Optimizer::new(OptimizerConfig::default().check().unwrap(), &head).unwrap();
    let mut losses = Vec::new();
    for step in 0..5 {
        losses.push(pass(&mut head, &[8], step) as f32);
        optimizer.step(&mut head, 0.01);
    }
    assert_near(&losses, &reference["losses"], 1e-5);
    let weights = head.weights();
    assert_near(&weights.values("fc1.weight").unwrap(), &reference["fc1.weight"], 1e-4);
    assert_near(&weights.values("bn2.running_var").unwrap(), &reference["bn2.running_var"], 1e-5);
    let mut logits = vec![0.0; 24];
    head.evaluate(&fill(48, 9.0, 0.5), &mut logits).unwrap();
    assert_near(&logits, &reference["logits"], 1e-3);
}

#[test]
fn gradients_equal_finite_differences() {
    let mut head = Head::loaded(&small_head(), &small_weights()).unwrap();
    pass(&mut head, &[8], 0);
    for p in head.parameters().iter().filter(|p| p.kind.is_learnable()) {
        for i in 0..p.values.len() {
            let moved = |by: f32| {
                let mut weights = small_weights();
                let mut values = p.values.clone();
                values[i] += by;
                weights.insert(p.name.clone(), p.shape.clone(), values);
                pass(&mut Head::loaded(&small_head(), &weights).unwrap(), &[8], 0)
            };
            let h = 5e-3;
            let difference = (moved(h) - moved(-h)) / f64::from(2.0 * h);
            let error = (difference - f64::from(p.gradient[i])).abs();
            assert!(error < 2e-3, "{}[{i}]: {} instead of {difference}", p.name, p.gradient[i]);
        }
    }
}

#[test]
fn parts_of_a_batch_add_up_to_the_whole() {
    // Without BatchNorm, whose statistics depend on the part.
    let graph = heads::mlp(6, &[5], 0.0, 3);
    let mut whole = Head::initialised(&graph, 4).unwrap();
    let mut parts = whole.clone();
    let losses = [pass(&mut whole, &[8], 0), pass(&mut parts, &[3, 1, 4], 0)];
    assert!((losses[0] - losses[1]).abs() < 1e-6);
    for (a, b) in whole.parameters().iter().zip(parts.parameters()) {
        for (a, b) in a.gradient.iter().zip(&b.gradient) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }
    // After a step, gradients begin anew.
    let config = OptimizerConfig::default().check().unwrap();
    let first = whole.parameters()[0].gradient.clone();
    Optimizer::new(config, &whole).unwrap().step(&mut whole, 0.0);
    pass(&mut whole, &[8], 0);
    assert_eq!(whole.parameters()[0].gradient, first);
}

#[test]
fn threads_change_no_bit_and_a_saved_optimizer_continues_to_the_same_bits() {
    let graph = heads::tutorial(200, 3);
    let rows = fill(64 * 200, 0.4, 1.0);
    let labels: Vec<u32> = (0..64).map(|i| i % 3).collect();
    let loss = LossConfig::default().check(&[1; 3]).unwrap();
    let train = |head: &mut Head, optimizer: &mut Optimizer, steps: std::ops::Range<u32>| {
        for step in steps {
            let logits = head.forward(64, |x| x.copy_from_slice(&rows), KEY, step).unwrap();
            let mut gradient = vec![0.0; logits.len()];
            loss.evaluate(logits, Targets::Labels(&labels), 64.0, &mut gradient).unwrap();
            head.backward(&gradient).unwrap();
            optimizer.step(head, 1e-2);
        }
    };
    for algorithm in [Algorithm::adam(), Algorithm::adam_w(), Algorithm::sgd()] {
        let config = OptimizerConfig { algorithm, groups: vec![] }.check().unwrap();
        let begin = || {
            let head = Head::initialised(&graph, 0).unwrap();
            let optimizer = Optimizer::new(config.clone(), &head).unwrap();
            (head, optimizer)
        };
        let mut results = Vec::new();
        for threads in [1, 2, 4, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (mut head, mut optimizer) = begin();
            pool.install(|| train(&mut head, &mut optimizer, 0..6));
            results.push(head.weights());
        }
        assert!(results.windows(2).all(|w| w[0] == w[1]), "{}", algorithm.name());

        let (mut head, mut optimizer) = begin();
        train(&mut head, &mut optimizer, 0..3);
        let (steps, state) = optimizer.state(&head);
        let mut resumed = Head::loaded(&graph, &head.weights()).unwrap();
        let (_, mut other) = begin();
        other.restore(&resumed, steps, &state).unwrap();
        train(&mut resumed, &mut other, 3..6);
        assert_eq!(resumed.weights(), results[0]);
        assert!(other.restore(&resumed, 0, &Weights::new()).is_err());
    }
}

#[test]
fn the_average_follows_the_weights() {
    let mut head = linear_head();
    let start = head.parameters()[0].values.clone();
    let mut average = Average::new(0.75, &head).unwrap();
    let mut weights = head.weights();
    weights.insert("fc.weight", vec![3, 2], start.iter().map(|v| v + 4.0).collect());
    head.restore(&weights).unwrap();
    average.update(&head);
    average.update(&head);
    // 4 · (1 − 0.75²)
    average.swap(&mut head);
    for (v, s) in head.parameters()[0].values.iter().zip(&start) {
        assert!((v - s - 1.75).abs() < 1e-5);
    }
    average.swap(&mut head);
    assert_eq!(head.weights(), weights);
    assert!(Average::new(1.0, &head).is_err());
    assert!(average.restore(vec![vec![0.0; 6]]).is_err());
}

#[test]
fn what_is_not_a_head_and_what_does_not_fit_is_named() {
    let mut head = Head::initialised(&heads::tutorial(8, 3), 0).unwrap();
    let error = head.forward(1, |_| {}, KEY, 0).unwrap_err().to_string();
    assert!(error.contains("'bn1'") && error.contains("at least 2"), "{error}");
    assert!(head.evaluate(&[0.0; 8], &mut [0.0; 3]).is_ok());
    assert!(head.evaluate(&[0.0; 8], &mut [0.0; 2]).is_err());
    head.forward(2, |_| {}, KEY, 0).unwrap();
    assert!(head.backward(&[0.0; 5]).is_err());
    let (mut g, x) = GraphBuilder::features("odd", 4);
    let a = g.linear("a", x, 4, 4);
    g.layer("sum", Op::Add, &[a, x]);
    let error = Head::initialised(&g.finish(0), 0).unwrap_err().to_string();
    assert!(error.contains("'sum'"), "{error}");
    assert!(Head::loaded(&small_head(), &Weights::new()).is_err());
}
