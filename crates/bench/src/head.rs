//! Training a head on features in memory: the tutorial's head, 2,520 rows of 2,048 numbers, batches
//! of 64.
//!
//! Taper's figure is that of its whole trainer, with metrics, callbacks and the evaluation of three
//! rows after each epoch; the peer has nothing but the training loop.

use std::{env, path::PathBuf, process::Command, sync::Arc, thread::available_parallelism};

use anyhow::{Context, bail};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_callbacks::Callbacks;
use taper_graph::heads;
use taper_train::{Table, Training, Watch, train_head};

use crate::{
    process::Process,
    protocol::{Loaded, Worker, serve},
    python,
    rounds::Rounds,
    row::{print, write_json},
};

const CASE: &str = "head";

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also measure PyTorch, in the same run.
    #[arg(long)]
    peers: bool,
    /// Write the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many turns each contestant has.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Length of a turn in seconds; a turn is at least one epoch.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
    /// Threads of each [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Work {
    rows: usize,
    width: usize,
    batch: usize,
    threads: usize,
}

/// Measures, prints a table, and writes the rows.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let threads = match options.threads {
        Some(threads) => threads as usize,
        None => available_parallelism()?.get(),
    };
    let work = serde_json::to_value(Work { rows: 2520, width: 2048, batch: 64, threads })?;
    let program = env::current_exe()?;
    let target = program.parent().and_then(|p| p.parent()).context("this program has no folder")?;
    let start = |name: &str, mut command: Command| {
        for variable in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"] {
            command.env(variable, threads.to_string());
        }
        Process::start(name, command)
    };
    let mut command = Command::new(&program);
    command.arg("work-head");
    let mut ours = start("taper", command)?;
    ours.load(work.clone())?;
    let mut peers = Vec::new();
    if options.peers {
        let mut command = Command::new(python::interpreter(&target.join("bench"))?);
        command.arg(python::HEAD);
        let mut peer = start("pytorch-eager", command)?;
        let loaded = peer.load(work)?;
        peers.push((peer, loaded));
    }
    let mut turns: Vec<_> = peers.iter_mut().map(|(p, loaded)| (p, loaded.clone())).collect();
    let rounds = Rounds {
        case: CASE,
        unit: "rows/s",
        rounds: options.rounds as usize,
        seconds: options.seconds,
        threads,
    };
    let rows = rounds.run(&mut ours, &mut turns)?;
    print(&rows)?;
    match &options.json {
        Some(path) => write_json(&rows, path),
        None => Ok(()),
    }
}

/// Works as requested on standard input.
pub(crate) fn work() -> anyhow::Result<()> {
    serve(&mut Taper(None))
}

struct Taper(Option<(Work, Arc<Table>, Table, ThreadPool)>);

impl Worker for Taper {
    fn load(&mut self, work: &Value) -> anyhow::Result<Loaded> {
        let work = Work::deserialize(work)?;
        let table = |rows: usize| Table {
            width: work.width,
            values: (0..rows * work.width).map(|i| (i * 7919 % 251) as f32 / 250.0).collect(),
            labels: (0..rows as u32).map(|row| row % 3).collect(),
            mixed: Vec::new(),
        };
        let pool = ThreadPoolBuilder::new().num_threads(work.threads).build()?;
        self.0 = Some((work, Arc::new(table(work.rows)), table(3), pool));
        let version = format!("taper {}", env!("CARGO_PKG_VERSION"));
        Ok(Loaded { version, sample: Vec::new() })
    }

    /// One epoch.
    fn pass(&mut self) -> anyhow::Result<f64> {
        let Some((work, train, val, pool)) = &self.0 else { bail!("nothing is loaded") };
        let settings = Training { epochs: 1, batch_size: work.batch, ..Training::default() };
        let settings = settings.check()?;
        let graph = heads::tutorial(work.width, 3);
        pool.install(|| {
            let (mut callbacks, watch) = (Callbacks::new(), Watch::quiet());
            train_head(&graph, Arc::clone(train), val, &settings, &mut callbacks, &watch)
        })?;
        Ok(work.rows as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_trained() {
        let mut taper = Taper(None);
        assert!(taper.pass().is_err(), "nothing is loaded yet");
        let work = Work { rows: 20, width: 8, batch: 4, threads: 1 };
        taper.load(&serde_json::to_value(work).unwrap()).unwrap();
        assert_eq!(taper.pass().unwrap(), 20.0);
    }
}
