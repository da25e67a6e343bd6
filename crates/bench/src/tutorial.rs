//! The whole tutorial: train six epochs, look for a learning rate over ten, train up to twenty with
//! early stopping, on rock-paper-scissors with ResNet-50 at 256 × 256 and random weights, since
//! only time counts; and the accuracy of the same recipe with real weights, EfficientNet-Lite0's.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{
    protocol::median,
    python,
    row::{Row, print, write_json},
};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also measure Keras (time) and PyTorch with timm (accuracy), in the same run.
    #[arg(long)]
    peers: bool,
    /// Write the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The folder of rock-paper-scissors, with train/ and test/.
    #[arg(long, value_name = "FOLDER", default_value = "../shared/data/rock-paper-scissors")]
    data: PathBuf,
    /// Only the time, or only the accuracy.
    #[arg(long, value_name = "time|accuracy")]
    only: Option<Half>,
    /// The taper program; cargo xtask bench gives it.
    #[arg(long, value_name = "FILE", hide = true)]
    taper: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Half {
    Time,
    Accuracy,
}

/// Measures, prints a table, and writes the rows.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let data = options
        .data
        .canonicalize()
        .with_context(|| format!("no {}: say where with --data", options.data.display()))?;
    let program = env::current_exe()?;
    let target = program.parent().and_then(|p| p.parent()).context("this program has no folder")?;
    let folder = target.join("bench").join("tutorial");
    let python = match options.peers {
        true => Some(python::interpreter(&target.join("bench"))?),
        false => None,
    };
    let bench = Tutorial { taper: &options.taper, data: &data, folder: &folder, python };
    let mut rows = Vec::new();
    if options.only != Some(Half::Accuracy) {
        rows.push(bench.time()?);
    }
    if options.only != Some(Half::Time) {
        rows.push(bench.accuracy()?);
    }
    print(&rows)?;
    match &options.json {
        Some(path) => write_json(&rows, path),
        None => Ok(()),
    }
}

struct Tutorial<'a> {
    taper: &'a Path,
    data: &'a Path,
    folder: &'a Path,
    python: Option<PathBuf>,
}

impl Tutorial<'_> {
    /// Runs taper and reads the JSON object that it answers with.
    fn taper(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut command = Command::new(self.taper);
        command.args(arguments).arg("--data").arg(self.data).args(["--quiet", "--json"]);
        command.current_dir(self.folder).env("TAPER_CACHE", self.folder.join("features"));
        answer(&mut command)
    }

    fn peer(&self, what: &str) -> anyhow::Result<Option<Value>> {
        let Some(python) = &self.python else { return Ok(None) };
        let mut command = Command::new(python);
        command.args([python::TUTORIAL, what]).arg(self.data);
        answer(&mut command).map(Some)
    }

    /// The time from scratch, without any cached feature, to the end, in minutes.
    fn once(&self) -> anyhow::Result<f64> {
        if self.folder.exists() {
            fs::remove_dir_all(self.folder)?;
        }
        fs::create_dir_all(self.folder)?;
        let start = Instant::now();
        let common = [
            "--model",
            "resnet50",
            "--weights",
            "random",
            "--size",
            "256",
            "--fit",
            "squash",
            "--val",
            "test",
            "--head",
            "tutorial",
        ];
        let with = |arguments: &[&'static str]| [arguments, &common[..]].concat();
        self.taper(&with(&["train", "--epochs", "6", "--out", "six"]))?;
        let arguments = with(&["lr-find", "--passes", "10", "--method", "sma", "--out", "rate"]);
        let found = self.taper(&arguments)?;
        let rate = found["chosen"].as_f64().context("no rate was chosen")?.to_string();
        let mut arguments = with(&["train", "--epochs", "20", "--patience", "2"]);
        arguments.extend(["--min-delta", "1e-4", "--out", "twenty", "--learning-rate", &rate]);
        self.taper(&arguments)?;
        Ok(start.elapsed().as_secs_f64() / 60.0)
    }

    fn time(&self) -> anyhow::Result<Row> {
        eprintln!("tutorial: taper");
        let mut minutes = vec![self.once()?];
        let mut peer = None;
        if self.python.is_some() {
            eprintln!("tutorial: keras, two epochs and a validation");
            peer = self.peer("keras")?;
            // Once more afterwards, to see whether the machine has become slower or faster in
            // between.
            eprintln!("tutorial: taper");
            minutes.push(self.once()?);
        }
        let taper = median(&mut minutes.clone());
        let theirs = peer.as_ref().map(|value| figure(value, "minutes")).transpose()?;
        Ok(Row {
            case: "tutorial".into(),
            peer: peer.as_ref().map(|_| "keras".into()),
            taper,
            peer_value: theirs,
            unit: "minutes",
            ratio: theirs.map(|theirs| theirs / taper),
            taper_rounds: minutes,
            peer_rounds: theirs.into_iter().collect(),
            peer_version: peer.as_ref().and_then(|p| Some(p["version"].as_str()?.to_owned())),
            threads: std::thread::available_parallelism()?.get(),
        })
    }

    /// The best epoch's accuracy on the test hands, five seeds: the same frozen network, pixels,
    /// head, optimizer, rate and early stopping on both sides.
    fn accuracy(&self) -> anyhow::Result<Row> {
        fs::create_dir_all(self.folder)?;
        eprintln!("tutorial-accuracy: taper");
        let mut ours = Vec::new();
        for seed in 0..5 {
            let out = self.folder.join(format!("accuracy-{seed}"));
            if out.exists() {
                fs::remove_dir_all(&out)?;
            }
            let (seed, out) = (seed.to_string(), out.display().to_string());
            let arguments = "train --model efficientnet-lite0 --val test --head tutorial \
                             --epochs 20 --patience 2 --min-delta 1e-4 --learning-rate 1e-3";
            let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
            arguments.extend(["--seed", &seed, "--out", &out]);
            ours.push(figure(&self.taper(&arguments)?, "val_accuracy")?);
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let mut peer = None;
        let mut theirs: Vec<f64> = Vec::new();
        if self.python.is_some() {
            eprintln!("tutorial-accuracy: PyTorch with timm");
            peer = self.peer("timm")?;
            let found = peer.as_ref().and_then(|p| p["accuracies"].as_array());
            theirs = found.into_iter().flatten().filter_map(Value::as_f64).collect();
            if theirs.len() != ours.len() {
                bail!("PyTorch has given {} accuracies", theirs.len());
            }
        }
        let other = (!theirs.is_empty()).then(|| mean(&theirs));
        Ok(Row {
            case: "tutorial-accuracy".into(),
            peer: peer.as_ref().map(|_| "pytorch+timm".into()),
            taper: mean(&ours),
            peer_value: other,
            unit: "accuracy",
            ratio: other.map(|other| mean(&ours) / other),
            taper_rounds: ours,
            peer_rounds: theirs,
            peer_version: peer.as_ref().and_then(|p| Some(p["version"].as_str()?.to_owned())),
            threads: std::thread::available_parallelism()?.get(),
        })
    }
}

fn figure(value: &Value, name: &str) -> anyhow::Result<f64> {
    value[name].as_f64().with_context(|| format!("no {name} in {value}"))
}

/// The JSON object on the last line of what a command prints.
fn answer(command: &mut Command) -> anyhow::Result<Value> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {shown}"))?;
    if !output.status.success() {
        bail!("{shown}: {}", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().with_context(|| format!("{shown}: no answer"))?;
    serde_json::from_str(last).with_context(|| format!("{shown}: {last}"))
}
