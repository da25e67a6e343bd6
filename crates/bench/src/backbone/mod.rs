//! Pictures per second of the frozen backbones, with everything from bytes to features.
//!
//! Taper's figure includes work that its peers are spared: it starts from 8-bit pixels, while they
//! get normalised floats in their preferred layout.

mod case;
#[cfg(feature = "peers")]
mod crates;
mod work;
mod worker;

use std::{env, path::PathBuf, process::Command, thread::available_parallelism};

use anyhow::{Context, bail};
use taper_plan::Kernels;

pub(crate) use case::{NETWORKS, PLAIN};
pub(crate) use work::{graph, pixels};
pub(crate) use worker::{WorkerOptions, work};

use self::{case::Case, work::Work};
use crate::{
    process::Process,
    protocol::Loaded,
    python,
    rounds::Rounds,
    row::{Row, print, write_json},
};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also measure the peers, in the same run: candle, rten, PyTorch, ONNX Runtime, OpenVINO.
    #[arg(long)]
    peers: bool,
    /// Write the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only cases with this in their name, e.g. resnet50, or lite0-224-bf16; may be given several
    /// times.
    #[arg(long, value_name = "SUBSTRING")]
    cases: Vec<String>,
    /// Pictures that go through the network together.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 8, 32],
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: Vec<u32>,
    /// Only peers with this in their name; may be given several times.
    #[arg(long, value_name = "SUBSTRING", requires = "peers")]
    only: Vec<String>,
    /// How many turns each contestant has.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Length of a turn.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = positive)]
    seconds: f64,
    /// Threads of each [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Which instructions Taper uses: auto, avx512, avx2 or portable.
    #[arg(long, value_name = "KERNELS", default_value = "auto")]
    kernels: Kernels,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(seconds),
        _ => Err("use a number of seconds above 0, at most 3600".into()),
    }
}

/// Measures, prints a table, and writes the rows.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if options.peers && cfg!(not(feature = "peers")) {
        bail!("built without the peers: use cargo xtask bench, or --features peers");
    }
    let cases = Case::all(&options.batch);
    let chosen = |case: &Case| {
        options.cases.is_empty() || options.cases.iter().any(|c| case.name().contains(c))
    };
    let cases: Vec<Case> = cases.into_iter().filter(chosen).collect();
    if cases.is_empty() {
        let names: Vec<String> = Case::all(&options.batch).iter().map(Case::name).collect();
        bail!("no case is called like that: there are {}", names.join(", "));
    }
    let threads = match options.threads {
        Some(threads) => threads as usize,
        None => available_parallelism()?.get(),
    };
    // Where cargo has put this program: target/release.
    let program = env::current_exe()?;
    let target = program.parent().and_then(|p| p.parent()).context("this program has no folder")?;
    let folder = target.join("bench");
    let mut contestants =
        Contestants { folder, program, threads, running: Vec::new(), python: None };
    let mut rows = Vec::new();
    // Find out before the work, not after it, that a file cannot be written.
    if let Some(path) = &options.json {
        write_json(&rows, path)?;
    }
    let measured = measure(options, &cases, threads, &mut contestants, &mut rows);
    // What was measured before something failed is not lost.
    print(&rows)?;
    if let Some(path) = &options.json {
        write_json(&rows, path)?;
    }
    measured
}

fn measure(
    options: &Options,
    cases: &[Case],
    threads: usize,
    contestants: &mut Contestants,
    rows: &mut Vec<Row>,
) -> anyhow::Result<()> {
    for case in cases {
        let mut peers = if options.peers { case.peers() } else { Vec::new() };
        peers.retain(|p| options.only.is_empty() || options.only.iter().any(|o| p.contains(o)));
        eprintln!(
            "{}: taper{}",
            case.name(),
            peers.iter().map(|p| format!(", {p}")).collect::<String>()
        );
        let model = match peers.iter().any(|peer| reads_onnx(peer)) {
            true => Some(contestants.onnx(case.network)?),
            false => None,
        };
        let work = Work { model, kernels: options.kernels.to_string(), ..Work::new(case, threads) };
        let work = serde_json::to_value(work)?;
        let mut ours = contestants.take("taper")?;
        let reference = ours.load(work.clone())?;
        let mut ready = Vec::new();
        for peer in peers {
            let mut process = contestants.take(peer)?;
            let loaded = process.load(work.clone())?;
            agree(case, peer, &reference, &loaded)?;
            ready.push((process, loaded));
        }
        let rounds = Rounds {
            case: &case.name(),
            unit: "pictures/s",
            rounds: options.rounds as usize,
            seconds: options.seconds,
            threads,
        };
        let mut turns: Vec<_> =
            ready.iter_mut().map(|(process, loaded)| (process, loaded.clone())).collect();
        rows.extend(rounds.run(&mut ours, &mut turns)?);
        contestants.running.push(ours);
        contestants.running.extend(ready.into_iter().map(|(process, _)| process));
    }
    Ok(())
}

/// Whether a peer computes the same features as Taper: otherwise its figure would mean nothing.
fn agree(case: &Case, peer: &str, ours: &Loaded, theirs: &Loaded) -> anyhow::Result<()> {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let (a, b) = (&ours.sample, &theirs.sample);
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    // Roundings of bf16 differ from one implementation to the next.
    let least = if case.is_f32() { 0.999_99 } else { 0.99 };
    if a.len() != b.len() || cosine.is_nan() || cosine < least {
        bail!(
            "{}: {peer} gives other features ({} of them, cosine {cosine:.6}) than Taper ({})",
            case.name(),
            b.len(),
            a.len()
        );
    }
    Ok(())
}

fn is_crate(peer: &str) -> bool {
    matches!(peer, "taper" | "candle" | "candle-transformers" | "rten")
}

fn reads_onnx(peer: &str) -> bool {
    peer == "rten" || peer.starts_with("onnxruntime") || peer.starts_with("openvino")
}

/// All contestants; each is started when it is first needed and then stays.
struct Contestants {
    folder: PathBuf,
    program: PathBuf,
    threads: usize,
    running: Vec<Process>,
    python: Option<PathBuf>,
}

impl Contestants {
    /// The contestant of this name, from the waiting ones.
    fn take(&mut self, name: &str) -> anyhow::Result<Process> {
        if let Some(place) = self.running.iter().position(|process| process.name() == name) {
            return Ok(self.running.swap_remove(place));
        }
        let mut command = if is_crate(name) {
            let mut command = Command::new(&self.program);
            command.args(["work", name]);
            command
        } else {
            let mut command = Command::new(self.python()?);
            command.args([python::PEERS, name]);
            command
        };
        for variable in ["RAYON_NUM_THREADS", "RTEN_NUM_THREADS", "OMP_NUM_THREADS"] {
            command.env(variable, self.threads.to_string());
        }
        Process::start(name, command)
    }

    fn python(&mut self) -> anyhow::Result<PathBuf> {
        match &self.python {
            Some(python) => Ok(python.clone()),
            None => Ok(self.python.insert(python::interpreter(&self.folder)?).clone()),
        }
    }

    /// The network as an ONNX file, written where it is missing.
    fn onnx(&mut self, network: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(format!("{network}.onnx"));
        if !path.exists() {
            std::fs::create_dir_all(&self.folder)?;
            let mut command = Command::new(self.python()?);
            command.args([python::PEERS, "export", network]).arg(&path);
            python::run(&mut command)?;
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_features_are_refused() {
        let case = &Case::all(&[8])[0];
        let loaded = |sample: &[f32]| Loaded { version: String::new(), sample: sample.to_vec() };
        let ours = loaded(&[1.0, 2.0, 3.0]);
        agree(case, "p", &ours, &loaded(&[1.0, 2.0, 3.0])).unwrap();
        for other in [&[1.0, 2.0][..], &[3.0, 2.0, 1.0], &[f32::NAN, 2.0, 3.0], &[0.0; 3]] {
            let error = agree(case, "p", &ours, &loaded(other)).unwrap_err().to_string();
            assert!(error.contains("p gives other features"), "{error}");
        }
    }
}
