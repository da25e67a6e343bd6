//! Complete training of heads against numpy in f64, and properties that must hold on their own.
#![allow(clippy::unwrap_used)] // helpers of tests

use serde_json::Value;
use taper_core::random::{Key, Purpose};
use taper_grad::Head;
use taper_graph::{Activation, BatchNorm, Graph, GraphBuilder, Op, WeightSource, Weights, heads};
use taper_optim::{Algorithm, LossConfig, Optimizer, OptimizerConfig, Targets};

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
    let mut optimizer =
        Optimizer::new(OptimizerConfig::default().check().unwrap(), head.parameters()).unwrap();
    let mut losses = Vec::new();
    for step in 0..5 {
        losses.push(pass(&mut head, &[8], step) as f32);
        optimizer.step(head.parameters_mut(), 0.01);
    }
    assert_near(&losses, &reference["losses"], 1e-5);
    let weights = head.parameters().weights();
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

/// A head of `reference/directions.py`: a layer, then the layers of a head on its output.
fn on_directions(head: &Graph) -> (Graph, Weights) {
    let (mut g, x) = GraphBuilder::features("directions", 6);
    let mut x = g.linear("fc1", x, 6, 5);
    for node in &head.nodes()[1..] {
        x = g.layer(node.name.clone(), node.op, &[x]);
    }
    let mut w = Weights::new();
    w.insert("fc1.weight", vec![5, 6], fill(30, 3.0, 0.5));
    w.insert("fc1.bias", vec![5], fill(5, 4.0, 0.5));
    w.insert("fc.weight", vec![3, 5], fill(15, 7.0, 0.5));
    w.insert("fc.bias", vec![3], fill(3, 8.0, 0.5));
    w.insert("cosine.weight", vec![3, 5], fill(15, 7.0, 0.5));
    w.insert("cosine.gamma", vec![1], vec![fill(1, 8.0, 0.5)[0] + 1.0]);
    (g.finish(0), w)
}

#[test]
fn heads_on_directions_equal_torch_and_finite_differences() {
    let text = include_str!("reference/directions.json");
    let reference: Value = serde_json::from_str(text).unwrap();
    for graph in [heads::cosine(5, 3), heads::logistic(5, 3)] {
        let expected = &reference[graph.name()];
        let (graph, weights) = on_directions(&graph);
        let mut head = Head::loaded(&graph, &weights).unwrap();
        let loss = pass(&mut head, &[8], 0);
        assert!((loss - expected["loss"].as_f64().unwrap()).abs() < 1e-4);
        let mut logits = vec![0.0; 24];
        head.evaluate(&fill(48, 9.0, 0.5), &mut logits).unwrap();
        assert_near(&logits, &expected["logits"], 4e-5);
        let mut parts = Head::loaded(&graph, &weights).unwrap();
        pass(&mut parts, &[3, 1, 4], 0);
        for (p, other) in head.parameters().iter().zip(parts.parameters().iter()) {
            assert_near(&p.gradient, &expected[&p.name], 1e-4);
            let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
            assert!(p.gradient.iter().zip(&other.gradient).all(near), "{}", p.name);
            for i in 0..p.values.len() {
                let moved = |by: f32| {
                    let mut values = p.values.clone();
                    values[i] += by;
                    let mut weights = weights.clone();
                    weights.insert(p.name.clone(), p.shape.clone(), values);
                    pass(&mut Head::loaded(&graph, &weights).unwrap(), &[8], 0)
                };
                let difference = (moved(1e-3) - moved(-1e-3)) / 2e-3;
                let error = (difference - f64::from(p.gradient[i])).abs();
                assert!(error < 2e-2, "{}[{i}]: {} {difference}", p.name, p.gradient[i]);
            }
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
    for (a, b) in whole.parameters().iter().zip(parts.parameters().iter()) {
        for (a, b) in a.gradient.iter().zip(&b.gradient) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }
    // After a step, gradients are overwritten.
    let config = OptimizerConfig::default().check().unwrap();
    let first = whole.parameters()[0].gradient.clone();
    Optimizer::new(config, whole.parameters()).unwrap().step(whole.parameters_mut(), 0.0);
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
            optimizer.step(head.parameters_mut(), 1e-2);
        }
    };
    for algorithm in [Algorithm::adam(), Algorithm::adam_w(), Algorithm::sgd()] {
        let config = OptimizerConfig { algorithm, groups: vec![] }.check().unwrap();
        let begin = || {
            let head = Head::initialised(&graph, 0).unwrap();
            let optimizer = Optimizer::new(config.clone(), head.parameters()).unwrap();
            (head, optimizer)
        };
        let mut results = Vec::new();
        for threads in [1, 2, 4, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (mut head, mut optimizer) = begin();
            pool.install(|| train(&mut head, &mut optimizer, 0..6));
            results.push(head.parameters().weights());
        }
        assert!(results.windows(2).all(|w| w[0] == w[1]), "{}", algorithm.name());

        let (mut head, mut optimizer) = begin();
        train(&mut head, &mut optimizer, 0..3);
        let (steps, state) = optimizer.state(head.parameters());
        let mut resumed = Head::loaded(&graph, &head.parameters().weights()).unwrap();
        let (_, mut other) = begin();
        other.restore(resumed.parameters(), steps, &state).unwrap();
        train(&mut resumed, &mut other, 3..6);
        assert_eq!(resumed.parameters().weights(), results[0]);
        assert!(other.restore(resumed.parameters(), 0, &Weights::new()).is_err());
    }
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
