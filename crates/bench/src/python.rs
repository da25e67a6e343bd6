//! The Python environment of the peers.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

/// What the peers need, for `pip`.
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/requirements.txt");

/// The script that answers for the peers written in Python.
pub(crate) const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/peers.py");

/// The script that trains heads with PyTorch.
pub(crate) const HEAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/head.py");

/// The script that trains networks with PyTorch and timm.
pub(crate) const FINETUNE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/finetune.py");

/// The script that goes through the tutorial with Keras, and with PyTorch and timm.
pub(crate) const TUTORIAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/tutorial.py");

/// The script that goes through networks on a GPU with PyTorch.
pub(crate) const CUDA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/cuda.py");

/// The server of LitServe with ONNX Runtime.
pub(crate) const SERVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/serve.py");

/// A Python interpreter that has the peers: the one that `TAPER_BENCH_PYTHON` names, else one in
/// `folder`, which is created if it is missing (some gigabytes from the package index that `pip` is
/// configured for).
pub(crate) fn interpreter(folder: &Path) -> anyhow::Result<PathBuf> {
    if let Some(python) = env::var_os("TAPER_BENCH_PYTHON") {
        return Ok(python.into());
    }
    let environment = folder.join("python");
    let bin = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
    let python = environment.join(bin);
    // Written last: an environment without it was interrupted half-way, and pip continues where it
    // stopped.
    let complete = environment.join("requirements.txt");
    let wanted = fs::read(REQUIREMENTS).with_context(|| REQUIREMENTS.to_owned())?;
    if fs::read(&complete).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    eprintln!("making a Python environment in {}", environment.display());
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    }
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r", REQUIREMENTS]))?;
    fs::write(&complete, wanted)?;
    Ok(python)
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}
