//! Building and checking with CUDA.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{cargo, root, run};

/// The crates that have the feature, and the features that are checked.
const FEATURES: &str = "taper/cudnn,taper-train/cudnn,taper-nn/cudnn,taper-bench/cudnn";

/// A cargo command that finds the toolkit, with a target folder of its own: the CPU's build stays as it is.
fn cargo_with_toolkit(arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = cargo(arguments);
    command.env("CARGO_TARGET_DIR", root().join("target").join("cuda"));
    for (name, value) in toolkit()? {
        command.env(name, value);
    }
    Ok(command)
}

/// The variables that lead to a toolkit: none if there is an nvcc, else those of `../shared/cuda/toolkit.sh`.
fn toolkit() -> anyhow::Result<Vec<(String, String)>> {
    let named =
        ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"].iter().any(|name| env::var_os(name).is_some());
    let quiet =
        |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if named || quiet(Command::new("nvcc").arg("--version")).is_ok_and(|status| status.success()) {
        return Ok(Vec::new());
    }
    let script = root().join("../shared/cuda/toolkit.sh");
    if !script.exists() {
        bail!(
            "no CUDA toolkit: put nvcc on the PATH, or set CUDA_HOME to where it is (docs/cuda.md)"
        );
    }
    let output = Command::new("bash")
        .args(["-c", "set -e; script=$(\"$0\"); eval \"$script\"; env"])
        .arg(&script)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| script.display().to_string())?;
    if !output.status.success() {
        bail!("{}: {}", script.display(), output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let variables = text.lines().filter_map(|line| line.split_once('='));
    let wanted = |name: &str| name.starts_with("CUDA_") || matches!(name, "PATH" | "LIBRARY_PATH");
    Ok(variables
        .filter(|(name, _)| wanted(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// Builds the program with CUDA and cuDNN, and says where it is.
pub(crate) fn build(packages: &[&str]) -> anyhow::Result<PathBuf> {
    let mut arguments = vec!["build", "--release"];
    for package in packages {
        arguments.extend(["--package", package]);
    }
    let features: Vec<String> = packages.iter().map(|package| format!("{package}/cudnn")).collect();
    let features = features.join(",");
    arguments.extend(["--features", &features]);
    run(&mut cargo_with_toolkit(&arguments)?)?;
    let place = root().join("target").join("cuda").join("release");
    eprintln!("built in {}", place.display());
    Ok(place)
}

/// Compiles, lints and links everything with CUDA and cuDNN; needs the toolkit but no GPU. The kernels are compiled too.
pub(crate) fn check() -> anyhow::Result<()> {
    let packages = [
        "--package",
        "taper",
        "--package",
        "taper-train",
        "--package",
        "taper-nn",
        "--package",
        "taper-bench",
    ];
    let lint = [&["clippy"], &packages[..], &["--all-targets", "--features", FEATURES]].concat();
    run(cargo_with_toolkit(&lint)?.args(["--", "--deny", "warnings"]))?;
    build(&["taper", "taper-bench"]).map(drop)
}
