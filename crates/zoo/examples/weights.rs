//! Finds a model's weights and says what they are:
//! `cargo run -p taper-zoo --features hub --example weights -- resnet50`, with a safetensors file
//! or `random` as second argument instead of the pretrained ones.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use taper_zoo::{WeightsChoice, find, resolve};

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => 0.into(),
        Err(error) => {
            eprintln!("{error}");
            1.into()
        }
    }
}

fn run() -> Result<(), taper_zoo::Error> {
    let mut arguments = std::env::args().skip(1);
    let model = find(&arguments.next().unwrap_or_else(|| "efficientnet-lite0".into()))?;
    let choice = match arguments.next().as_deref() {
        None => WeightsChoice::Pretrained,
        Some("random") => WeightsChoice::Random,
        Some(path) => WeightsChoice::File(path.into()),
    };
    let start = Instant::now();
    let weights = resolve(model, &choice)?;
    println!("{}: {}, {} features", model.name, model.licence, model.feature_width);
    println!("weights: {}", weights.origin);
    println!("SHA-256: {}", weights.digest);
    let classifier = weights.check(&model.graph());
    println!("with its ImageNet classifier: {}", classifier.is_ok());
    println!("{:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
