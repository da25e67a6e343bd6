//! Steps of fine-tuning on pictures in memory: forward, backward and AdamW, by the learner that
//! `taper train` uses.
//!
//! `step` trains all layers. `stage` trains the last stage on maps that were computed before, as in
//! every epoch after the first one of fixed views, where the peer computes the layers below without
//! gradients. Every step is also compared with a forward pass of Taper's own frozen plan over the
//! same batch.

use std::{env, path::PathBuf, process::Command, sync::Arc, thread::available_parallelism};

use anyhow::{Context, bail};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_core::{
    Preprocessing,
    random::{Key, Purpose},
};
use taper_grad::{BatchNormMode, Boundary, Unfreeze};
use taper_graph::{Weights, heads};
use taper_networks as networks;
use taper_optim::{Algorithm, OptimizerConfig};
use taper_plan::{FrozenPlan, PlanOptions, Workspace};
use taper_train::{Learner, NetworkLearner, RowBatch, StepContext, Table, TrainedPart, Training};

use crate::{
    backbone::pixels,
    process::Process,
    protocol::{Loaded, Worker, serve},
    python,
    rounds::Rounds,
    row::{Row, print, write_json},
};

const DROPOUT: Purpose = Purpose::new("bench/dropout");

/// The networks, with the batch of a step and the last stage, where it is measured.
const NETWORKS: [(&str, usize, Option<&str>); 4] = [
    ("efficientnet-lite0", 32, Some("blocks.6")),
    ("resnet50", 32, Some("layer4")),
    ("vgg16", 16, None),
    ("mobilenet-v2", 32, None),
];

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also measure PyTorch, eager and with channels last, in the same run.
    #[arg(long)]
    peers: bool,
    /// Write the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only cases with this in their name, e.g. resnet50, step or frozen; may be given several
    /// times.
    #[arg(long, value_name = "SUBSTRING")]
    cases: Vec<String>,
    /// How many turns each contestant has.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Length of a turn in seconds; a turn is at least one step.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    seconds: f64,
    /// Threads of each [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Work {
    network: String,
    size: usize,
    batch: usize,
    /// `frozen` or `train`.
    batch_norm: String,
    /// The group of layers that training begins with; all of them without.
    from: Option<String>,
    /// The frozen plan's forward pass instead of a step.
    forward: bool,
    threads: usize,
}

impl Work {
    fn all(threads: usize) -> Vec<Self> {
        let mut all = Vec::new();
        for (network, batch, stage) in NETWORKS {
            let modes: &[&str] =
                if network == "vgg16" { &["frozen"] } else { &["frozen", "train"] };
            let step = Self {
                network: network.into(),
                size: 224,
                batch,
                batch_norm: "frozen".into(),
                from: None,
                forward: false,
                threads,
            };
            let with = |mode: &&str| Self { batch_norm: (*mode).into(), ..step.clone() };
            all.extend(modes.iter().map(with));
            all.extend(stage.map(|stage| Self { from: Some(stage.into()), ..step.clone() }));
        }
        all
    }

    fn name(&self) -> String {
        let part = match &self.from {
            Some(stage) => format!("stage-{}-{stage}", self.network),
            None => format!("step-{}", self.network),
        };
        format!("{part}-{}-{}-b{}", self.size, self.batch_norm, self.batch)
    }
}

/// Measures, prints a table, and writes the rows.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let threads = match options.threads {
        Some(threads) => threads as usize,
        None => available_parallelism()?.get(),
    };
    let mut cases = Work::all(threads);
    cases.retain(|work| {
        options.cases.is_empty() || options.cases.iter().any(|case| work.name().contains(case))
    });
    if cases.is_empty() {
        bail!("no case is called like that, e.g. step-resnet50-224-frozen-b32");
    }
    let mut rows = Vec::new();
    for work in &cases {
        eprintln!("{}", work.name());
        measure(work, options, &mut rows)?;
        // What was measured before something fails is not lost.
        if let Some(path) = &options.json {
            write_json(&rows, path)?;
        }
    }
    print(&rows)
}

/// One case, in processes of its own: their memory then belongs to it.
fn measure(work: &Work, options: &Options, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let program = env::current_exe()?;
    let target = program.parent().and_then(|p| p.parent()).context("this program has no folder")?;
    let start = |name: &str, mut command: Command| {
        for variable in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"] {
            command.env(variable, work.threads.to_string());
        }
        Process::start(name, command)
    };
    let own = || {
        let mut command = Command::new(&program);
        command.arg("work-finetune");
        command
    };
    let mut ours = start("taper", own())?;
    ours.load(serde_json::to_value(work)?)?;
    let mut others = Vec::new();
    if options.peers {
        for form in ["eager", "channels-last"] {
            let mut command = Command::new(python::interpreter(&target.join("bench"))?);
            command.args([python::FINETUNE, form]);
            let mut peer = start(&format!("pytorch-{form}"), command)?;
            let loaded = peer.load(serde_json::to_value(work)?)?;
            others.push((peer, loaded));
        }
    }
    if work.from.is_none() {
        let mut forward = start("own-forward-pass", own())?;
        let work = Work { forward: true, ..work.clone() };
        let loaded = forward.load(serde_json::to_value(work)?)?;
        others.push((forward, loaded));
    }
    let name = work.name();
    let rounds = Rounds {
        case: &name,
        unit: "pictures/s",
        rounds: options.rounds as usize,
        seconds: options.seconds,
        threads: work.threads,
    };
    let mut turns: Vec<_> = others.iter_mut().map(|(p, loaded)| (p, loaded.clone())).collect();
    rows.extend(rounds.run(&mut ours, &mut turns)?);
    drop(turns);
    // The most memory that each of them had.
    let memory =
        |process: &Process| process.peak_memory().map(|bytes| bytes as f64 / f64::from(1 << 20));
    for (peer, loaded) in others.iter().filter(|(peer, _)| peer.name() != "own-forward-pass") {
        if let (Some(own), Some(theirs)) = (memory(&ours), memory(peer)) {
            rows.push(Row {
                case: format!("{name}-memory"),
                peer: Some(peer.name().into()),
                taper: own,
                peer_value: Some(theirs),
                unit: "MiB",
                ratio: Some(own / theirs),
                taper_rounds: vec![own],
                peer_rounds: vec![theirs],
                peer_version: Some(loaded.version.clone()),
                threads: work.threads,
            });
        }
    }
    Ok(())
}

/// Works as requested on standard input.
pub(crate) fn work() -> anyhow::Result<()> {
    serve(&mut Taper(None))
}

struct Taper(Option<(Work, Doing, ThreadPool)>);

enum Doing {
    Step(Box<NetworkLearner>, RowBatch, u32),
    Forward(Box<FrozenPlan>, Workspace, Vec<u8>, Vec<f32>),
}

impl Worker for Taper {
    fn load(&mut self, work: &Value) -> anyhow::Result<Loaded> {
        let work = Work::deserialize(work)?;
        let published = networks::published().find(|own| own.name == work.network);
        let published = published.with_context(|| format!("unknown network {}", work.network))?;
        let graph = (published.graph)(published.classes).without_classifier();
        let weights = Weights::seeded(&graph);
        let size = [work.size; 2];
        let pool = ThreadPoolBuilder::new().num_threads(work.threads).build()?;
        let doing = if work.forward {
            let (mean, std) = (Preprocessing::IMAGENET_MEAN, Preprocessing::IMAGENET_STD);
            let plan = FrozenPlan::compile(&graph, &weights, &PlanOptions::new(size, mean, std))?;
            let workspace = plan.workspace(work.threads);
            let out = vec![0.0; work.batch * plan.output_width()];
            Doing::Forward(Box::new(plan), workspace, pixels(work.batch, work.size), out)
        } else {
            let head = heads::linear(graph.feature_width(), 10);
            let unfreeze = work.from.clone().map_or(Unfreeze::All, Unfreeze::From);
            let boundary = Boundary::find(&graph, &unfreeze)?;
            let part = TrainedPart {
                backbone: &graph,
                weights: &weights,
                boundary,
                head: &head,
                head_weights: &Weights::seeded(&head),
                size,
                batch_norm: match work.batch_norm.as_str() {
                    "train" => BatchNormMode::Trained,
                    _ => BatchNormMode::Frozen,
                },
                room: work.batch,
            };
            let optimizer =
                OptimizerConfig { algorithm: Algorithm::adam_w(), ..OptimizerConfig::default() };
            let settings =
                Training { batch_size: work.batch, optimizer, ..Training::default() }.check()?;
            let labels: Vec<u32> = (0..work.batch as u32).map(|row| row % 10).collect();
            let learner = NetworkLearner::new(&part, &[work.batch; 10], &settings)?;
            let width = learner.network().suffix().input_len();
            let values = (0..work.batch * width).map(|i| (i as f32 * 0.37).sin()).collect();
            let table = Table { width, values, labels, mixed: Vec::new() };
            let rows = (0..work.batch as u32).collect();
            Doing::Step(Box::new(learner), RowBatch { all: Arc::new(table), rows }, 0)
        };
        self.0 = Some((work, doing, pool));
        let version = format!("taper {}", env!("CARGO_PKG_VERSION"));
        Ok(Loaded { version, sample: Vec::new() })
    }

    /// One batch.
    fn pass(&mut self) -> anyhow::Result<f64> {
        let Some((work, doing, pool)) = &mut self.0 else { bail!("nothing is loaded") };
        pool.install(|| match doing {
            Doing::Step(learner, batch, number) => {
                *number += 1;
                let dropout = Key::new(0, DROPOUT);
                learner.step(batch, StepContext { rate: 1e-5, dropout, number: *number })?;
                learner.outcomes()?;
                anyhow::Ok(())
            }
            Doing::Forward(plan, workspace, pixels, out) => {
                Ok(plan.forward(workspace, pixels, work.batch, out)?)
            }
        })?;
        Ok(work.batch as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_and_a_forward_pass_are_made() {
        for forward in [false, true] {
            let mut taper = Taper(None);
            assert!(taper.pass().is_err(), "nothing is loaded yet");
            let work = Work {
                network: "efficientnet-lite0".into(),
                size: 32,
                batch: 2,
                batch_norm: "train".into(),
                from: (!forward).then(|| "blocks.6".into()),
                forward,
                threads: 1,
            };
            taper.load(&serde_json::to_value(work).unwrap()).unwrap();
            assert_eq!(taper.pass().unwrap(), 2.0);
        }
    }
}
