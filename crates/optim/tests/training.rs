//! Losses, optimizers and averages against torch and Keras, and properties that must hold on their
//! own.
#![allow(clippy::unwrap_used)] // helpers of tests

use serde_json::Value;
use taper_graph::heads;
use taper_optim::{
    Algorithm, Average, ClassWeights, EpsilonMode, Error, LossConfig, Optimizer, OptimizerConfig,
    ParameterGroup, Parameters, Targets,
};

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
    // sklearn.utils.class_weight.compute_class_weight("balanced", classes=[0, 1, 2], y=[0]*6 +
    // [1]*3 + [2]) is
    // [0.5556, 1.1111, 3.3333]: the loss of one row of a class is its weight over itself, so
    // compare two rows.
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
    // A NaN logit makes the loss NaN too: it must not go unnoticed.
    let label = [0];
    let logits = [f32::NAN, 0.0, 0.0];
    assert!(plain.evaluate(&logits, Targets::Labels(&label), 1.0, &mut gradient).unwrap().is_nan());
}

/// A layer of two inputs and three outputs.
fn linear() -> Parameters {
    let values = |p: &taper_graph::Parameter| {
        Ok::<_, Error>(match p.name.as_str() {
            "fc.weight" => fill(6, 0.5, 1.0),
            _ => fill(3, 0.9, 1.0),
        })
    };
    Parameters::of(&heads::linear(2, 3), values).unwrap()
}

fn set_gradients(parameters: &mut Parameters, t: usize) {
    assert!(!parameters.begin_backward());
    parameters[0].gradient.copy_from_slice(&fill(6, 2.0 + t as f64, 1.0));
    parameters[1].gradient.copy_from_slice(&fill(3, 3.0 + t as f64, 0.1));
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
        let mut head = linear();
        let config = OptimizerConfig { algorithm, groups };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<OptimizerConfig>(&text).unwrap(), config);
        let mut optimizer = Optimizer::new(config.check().unwrap(), &head).unwrap();
        for t in 0..6 {
            set_gradients(&mut head, t);
            optimizer.step(&mut head, if t < 3 { 0.1 } else { 0.05 });
        }
        let expected = &reference["optimizers"][name];
        assert_near(&head[0].values, &expected["weight"], 1e-5);
        assert_near(&head[1].values, &expected["bias"], 1e-5);
    }
}

#[test]
fn clipping_is_torchs_and_bad_optimizers_are_named() {
    let mut head = linear();
    set_gradients(&mut head, 0);
    let before: Vec<f32> = head[0].gradient.clone();
    let norm = reference()["norm"].as_f64().unwrap();
    assert!((head.clip_gradients(1e9) - norm).abs() < 1e-5);
    assert_eq!(head[0].gradient, before, "nothing to clip");
    head.clip_gradients(0.5);
    for (after, before) in head[0].gradient.iter().zip(&before) {
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

#[test]
fn the_average_follows_the_weights() {
    let mut head = linear();
    let start = head[0].values.clone();
    let mut average = Average::new(0.75, &head).unwrap();
    let mut weights = head.weights();
    weights.insert("fc.weight", vec![3, 2], start.iter().map(|v| v + 4.0).collect());
    head.restore(&weights);
    average.update(&head);
    average.update(&head);
    // 4 · (1 − 0.75²)
    average.swap(&mut head);
    for (v, s) in head[0].values.iter().zip(&start) {
        assert!((v - s - 1.75).abs() < 1e-5);
    }
    average.swap(&mut head);
    assert_eq!(head.weights(), weights);
    assert!(Average::new(1.0, &head).is_err());
    assert!(average.restore(vec![vec![0.0; 6]]).is_err());
}
