//! Pictures per second of a compiled network with seeded weights.
//!
//! `cargo run --release -p taper-plan --example speed --
//! [resnet50|vgg16|efficientnet-lite0|convnext-tiny|vit-base|dinov2-small] [f32|bf16] [batch]
//! [kernels] [threads] [group] [early MiB] [layers]`
#![allow(clippy::print_stdout)]

use std::time::Instant;

use taper_graph::Weights;
use taper_networks as networks;
use taper_plan::{FrozenPlan, PlanOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg =
        |i: usize, default: &str| args.get(i).map_or_else(|| default.to_owned(), String::clone);
    let (graph, size) = match arg(0, "resnet50").as_str() {
        "resnet50" => (networks::resnet50(1000), 256),
        "vgg16" => (networks::vgg16(1000), 224),
        "efficientnet-lite0" => (networks::efficientnet_lite0(1000), 224),
        "convnext-tiny" => (networks::convnext_tiny(1000), 224),
        "vit-base" => (networks::vit_base(1000), 224),
        "dinov2-small" => (networks::dinov2_small(0), 224),
        other => return Err(format!("unknown network {other}").into()),
    };
    let graph = graph.without_classifier();
    let mut options = PlanOptions::new([size; 2], [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        .precision(arg(1, "f32").parse()?)
        .kernels(arg(3, "auto").parse()?);
    let batch: usize = arg(2, "8").parse()?;
    let threads = std::thread::available_parallelism()?.get();
    let threads: usize = arg(4, &threads.to_string()).parse()?;
    options.group = arg(5, &options.group.to_string()).parse()?;
    if let Some(mebibytes) = args.get(6) {
        options.early_bytes = mebibytes.parse::<usize>()? << 20;
    }
    let plan = FrozenPlan::compile(&graph, &Weights::seeded(&graph), &options)?;
    let mut workspace = plan.workspace(threads);
    let pixels: Vec<u8> = (0..batch * plan.picture_len()).map(|i| (i * 7919 % 251) as u8).collect();
    let mut out = vec![0.0; batch * plan.output_width()];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let seconds: f64 = std::env::var("SECS").map_or(Ok(3.0), |s| s.parse())?;
    let mut times = Vec::new();
    pool.install(|| -> Result<(), taper_plan::PlanError> {
        plan.forward(&mut workspace, &pixels, batch, &mut out)?;
        let begin = Instant::now();
        while times.len() < 3 || begin.elapsed().as_secs_f64() < seconds {
            let start = Instant::now();
            plan.forward(&mut workspace, &pixels, batch, &mut out)?;
            times.push(start.elapsed().as_secs_f64());
        }
        Ok(())
    })?;
    times.sort_by(f64::total_cmp);
    if args.get(7).is_some() {
        // The least of a few runs on one thread, per layer.
        let layers = plan.layers();
        let mut least = vec![std::time::Duration::MAX; layers.len()];
        for _ in 0..5 {
            let times = plan.profile(&mut workspace, &pixels, batch, &mut out)?;
            least.iter_mut().zip(times).for_each(|(least, time)| *least = time.min(*least));
        }
        for (layer, time) in layers.iter().zip(&least) {
            let seconds = time.as_secs_f64();
            println!(
                "{:>9.3} ms {:>6.1} GFLOP/s  {:<14} group {}  {:<26} {}",
                seconds * 1e3,
                (layer.flops * batch as u64) as f64 / seconds / 1e9,
                layer.algorithm,
                layer.group,
                layer.name,
                layer.shape
            );
        }
    }
    let (best, median) = (times[0], times[times.len() / 2]);
    let rate = |seconds: f64| batch as f64 / seconds;
    println!(
        "{} {} batch {batch}, {threads} threads, group {}: {:.1} pictures/s (median), {:.1} (best), \
         {:.0} GFLOP/s (best), workspace {:.1} MiB, weights {:.1} MiB",
        graph.name(),
        plan.precision(),
        options.group,
        rate(median),
        rate(best),
        plan.flops() as f64 * rate(best) / 1e9,
        workspace.bytes() as f64 / (1 << 20) as f64,
        plan.weight_bytes() as f64 / (1 << 20) as f64,
    );
    Ok(())
}
