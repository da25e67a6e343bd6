//! `taper export --format web` and ONNX Runtime Web on the same model, in Node.js and in headless
//! Chromium: pictures per second, the time to the first answer, and how much a visitor loads.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::{
    python,
    row::{Compared, Row, print, write_json},
};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also measure ONNX Runtime Web, from npm, in the same run.
    #[arg(long)]
    peers: bool,
    /// Write the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often each is measured.
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// The taper program; cargo xtask bench gives it.
    #[arg(long, value_name = "FILE", hide = true)]
    taper: PathBuf,
    /// The browser, without which only Node.js is measured; cargo xtask bench gives it.
    #[arg(long, value_name = "FILE", hide = true)]
    chromium: Option<PathBuf>,
}

/// The peer, for npm.
const PEER: &str = "onnxruntime-web";
const VERSION: &str = "1.30.0";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/js/web.mjs");
const PICTURE: &str = "tests/end_to_end/photographs/chelsea.jpg";

/// The figures of a case, one for each round.
#[derive(Debug, Deserialize)]
struct Case {
    unit: String,
    taper: Vec<f64>,
    peer: Vec<f64>,
}

/// Measures, prints a table, and writes the rows.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let program = env::current_exe()?;
    let target = program.parent().and_then(|p| p.parent()).context("this program has no folder")?;
    let folder = target.join("bench").join("web");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let taper = |arguments: &[&str]| {
        let mut command = Command::new(&options.taper);
        python::run(command.current_dir(&folder).args(arguments).stdout(Stdio::null()))
    };
    taper(&["train", "--out", "hands", "-q"])?;
    taper(&["export", "hands", "--format", "web"])?;
    let mut script = Command::new(env::var_os("NODE").unwrap_or_else(|| "node".into()));
    script.arg(SCRIPT).arg(options.rounds.max(1).to_string()).arg(folder.join("hands-web"));
    script.arg(PICTURE).arg(options.chromium.as_deref().unwrap_or(Path::new("-")));
    if options.peers {
        taper(&["export", "hands", "--format", "onnx"])?;
        script.arg(folder.join("hands.onnx")).arg(modules(&target.join("bench/npm"))?);
    }
    let output = script.stderr(Stdio::inherit()).output().context("cannot start Node.js")?;
    if !output.status.success() {
        bail!("{SCRIPT}: {}", output.status);
    }
    let cases: BTreeMap<String, Case> = serde_json::from_slice(&output.stdout)?;
    let rows: Vec<Row> = cases.into_iter().map(|(name, case)| row(name, case)).collect();
    print(&rows)?;
    match &options.json {
        Some(path) => write_json(&rows, path),
        None => Ok(()),
    }
}

fn row(name: String, case: Case) -> Row {
    let units = ["pictures/s", "ms", "bytes"];
    let unit = units.into_iter().find(|unit| *unit == case.unit).unwrap_or("?");
    Row::compared(Compared {
        case: name,
        unit,
        own: &case.taper,
        peer: (!case.peer.is_empty()).then_some((PEER, &case.peer[..])),
        less_is_better: unit != "pictures/s",
        version: Some(VERSION),
        threads: 1,
    })
}

/// A folder with the peer in it.
fn modules(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let mut install = Command::new("npm");
    install.args(["install", "--silent", "--no-save", "--prefix"]).arg(folder);
    python::run(install.arg(format!("{PEER}@{VERSION}")))?;
    Ok(folder.join("node_modules"))
}
