//! Training steps per second of a whole network, or of its layers from one on:
//! `cargo run --release -p taper-grad --example step -- efficientnet-lite0 32 frozen [layer4]`.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use taper_core::random::{Key, Purpose};
use taper_grad::{BatchNormMode, Boundary, Network, SuffixOptions, Unfreeze};
use taper_graph::{Weights, heads};
use taper_networks as networks;
use taper_optim::{Algorithm, LossConfig, Optimizer, OptimizerConfig, Targets};

const DROPOUT: Purpose = Purpose::new("example/dropout");

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, batch, mode, rest @ ..] = &arguments[..] else {
        println!("usage: step NETWORK BATCH frozen|trained [FIRST LAYER]");
        return;
    };
    let batch: usize = batch.parse().unwrap();
    let batch_norm = if mode == "trained" { BatchNormMode::Trained } else { BatchNormMode::Frozen };
    let published = networks::published().find(|p| p.name == name).unwrap();
    let graph = (published.graph)(published.classes).without_classifier();
    let head = heads::linear(graph.feature_width(), 10);
    let unfreeze = rest.first().map_or(Unfreeze::All, |layer| Unfreeze::From(layer.clone()));
    let boundary = Boundary::find(&graph, &unfreeze).unwrap();
    let options = SuffixOptions { batch_norm, ..SuffixOptions::new([224, 224], batch) };
    let (weights, head_weights) = (Weights::seeded(&graph), Weights::seeded(&head));
    let mut network =
        Network::new((&graph, &weights), boundary, (&head, &head_weights), &options).unwrap();
    let config = OptimizerConfig { algorithm: Algorithm::adam_w(), ..OptimizerConfig::default() };
    let mut optimizer = Optimizer::new(config.check().unwrap(), network.parameters()).unwrap();
    let loss = LossConfig::default().check(&[batch; 10]).unwrap();
    let len = batch * network.suffix().input_len();
    let input: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin()).collect();
    let labels: Vec<u32> = (0..batch as u32).map(|i| i % 10).collect();
    let mut gradient = vec![0.0; batch * 10];
    let key = Key::new(1, DROPOUT);
    let mut best = [Duration::MAX; 4];
    for step in 0..6 {
        let start = Instant::now();
        let fill = |rows: &mut [f32]| rows.copy_from_slice(&input);
        let logits = network.forward(batch, fill, key, step).unwrap();
        let targets = Targets::Labels(&labels);
        loss.evaluate(logits, targets, loss.weight(targets), &mut gradient).unwrap();
        let forward = start.elapsed();
        network.backward(&gradient).unwrap();
        let backward = start.elapsed();
        optimizer.step(network.parameters_mut(), 1e-5);
        let all = start.elapsed();
        let times = [forward, backward - forward, all - backward, all];
        best.iter_mut().zip(times).for_each(|(best, time)| *best = time.min(*best));
    }
    let ms = best.map(|time| time.as_secs_f64() * 1e3);
    println!(
        "{name} {mode}, batch {batch}: {:.1} pictures/s; forward {:.0} ms, backward {:.0} ms, \
         optimizer {:.0} ms; {:.0} MiB",
        batch as f64 / best[3].as_secs_f64(),
        ms[0],
        ms[1],
        ms[2],
        network.suffix().bytes() as f64 / f64::from(1 << 20)
    );
}
