//! Milliseconds per step of training a head on features in memory.
//!
//! `cargo run --release -p taper-grad --example speed -- [linear|tutorial] [rows] [width] [batch]`
#![allow(clippy::print_stdout)]

use std::time::Instant;

use taper_core::random::{Key, Purpose};
use taper_grad::Head;
use taper_graph::heads;
use taper_optim::{LossConfig, Optimizer, OptimizerConfig, Targets};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| args.get(i).map_or(Ok(default), |a| a.parse());
    let (rows, width, batch) = (number(1, 2520)?, number(2, 2048)?, number(3, 64)?);
    let graph = match args.first().map(String::as_str) {
        Some("linear") => heads::linear(width, 3),
        _ => heads::tutorial(width, 3),
    };
    let mut stream = Key::new(0, Purpose::new("example")).stream(0, 0);
    let features: Vec<f32> = (0..rows * width).map(|_| stream.uniform()).collect();
    let labels: Vec<u32> = (0..rows).map(|_| stream.below(3)).collect();
    let mut head = Head::initialised(&graph, 0)?;
    let mut optimizer = Optimizer::new(OptimizerConfig::default().check()?, head.parameters())?;
    let loss = LossConfig::default().check(&[1, 1, 1])?;
    let dropout = Key::new(0, Purpose::new("dropout"));
    let mut step = 0;
    let mut gradient = vec![0.0; 3 * batch];
    let mut order: Vec<u32> = (0..rows as u32).collect();
    for epoch in 0..8 {
        let start = Instant::now();
        let mut parts = [0.0; 3];
        let mut sum = 0.0;
        stream.shuffle(&mut order);
        for rows in order.chunks(batch) {
            let t = Instant::now();
            let labels: Vec<u32> = rows.iter().map(|&i| labels[i as usize]).collect();
            let gather = |x: &mut [f32]| {
                for (x, &row) in x.chunks_exact_mut(width).zip(rows) {
                    x.copy_from_slice(&features[row as usize * width..][..width]);
                }
            };
            let logits = head.forward(rows.len(), gather, dropout, step)?;
            parts[0] += t.elapsed().as_secs_f64();
            let t = Instant::now();
            let gradient = &mut gradient[..logits.len()];
            let targets = Targets::Labels(&labels);
            sum += loss.evaluate(logits, targets, rows.len() as f64, gradient)?;
            head.backward(gradient)?;
            parts[1] += t.elapsed().as_secs_f64();
            let t = Instant::now();
            optimizer.step(head.parameters_mut(), 1e-3);
            parts[2] += t.elapsed().as_secs_f64();
            step += 1;
        }
        let seconds = start.elapsed().as_secs_f64();
        let steps = order.chunks(batch).len() as f64;
        let per = |s: f64| 1e3 * s / steps;
        println!(
            "epoch {epoch}: {seconds:.3} s, {:.2} ms a step (forward {:.2}, backward {:.2}, update {:.2}), loss {:.4}",
            per(seconds),
            per(parts[0]),
            per(parts[1]),
            per(parts[2]),
            sum / steps,
        );
    }
    Ok(())
}
