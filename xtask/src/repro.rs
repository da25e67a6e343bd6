//! The reproducibility run: the same recipe gives the same bytes.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, bail};

use crate::{build_taper, root};

/// What must be equal.
const FILES: [&str; 2] = ["model.safetensors", "history.csv"];

/// Small enough for CI: few epochs, the head with dropout and BatchNorm, augmented views.
const RECIPE: [&str; 13] = [
    "train",
    "--data",
    "synthetic",
    "--head",
    "tutorial",
    "--epochs",
    "3",
    "--views",
    "2",
    "--size",
    "96",
    "--quiet",
    // What one run has computed must not make the others equal.
    "--cache=off",
];

pub(crate) fn run() -> anyhow::Result<()> {
    let taper = build_taper()?;
    let folder = root().join("target").join("repro");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let runs = [("first", "2"), ("again", "2"), ("threads-1", "1"), ("threads-4", "4")];
    for (name, threads) in runs {
        let mut command = Command::new(&taper);
        command.args(RECIPE).arg("--out").arg(folder.join(name));
        let status = command.env("RAYON_NUM_THREADS", threads).current_dir(root()).status()?;
        if !status.success() {
            bail!("the run '{name}' failed: {status}");
        }
    }
    // The recipe that a run has written must repeat it.
    let recipe = folder.join("first").join("recipe.toml");
    let mut command = Command::new(&taper);
    command
        .arg("train")
        .arg(recipe)
        .args(["--quiet", "--cache=off", "--out"])
        .arg(folder.join("from-recipe"));
    if !command.current_dir(root()).status()?.success() {
        bail!("the written recipe cannot be run");
    }
    let mut different = Vec::new();
    for name in ["again", "threads-1", "threads-4", "from-recipe"] {
        for file in FILES {
            let read = |run: &str| {
                let path = folder.join(run).join(file);
                fs::read(&path).with_context(|| path.display().to_string())
            };
            let (first, other) = (read("first")?, read(name)?);
            if first.is_empty() {
                bail!("{file} is empty");
            }
            if first != other {
                different.push(format!("{} differs", Path::new(name).join(file).display()));
            }
        }
    }
    if !different.is_empty() {
        bail!("not reproducible: {} (kept in {})", different.join(", "), folder.display());
    }
    fs::remove_dir_all(&folder)?;
    eprintln!("reproducible: twice, with 1, 2 and 4 threads, and from the written recipe");
    Ok(())
}
