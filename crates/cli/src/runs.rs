//! Names of run folders, and how to resume a run.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// How to continue an interrupted run.
pub(crate) fn go_on(run: &Path) -> String {
    format!("continue with: taper train --resume {}", run.display())
}

/// The first of `runs/DATA-MODEL-1`, `-2`, … that does not exist.
pub(crate) fn next_run(data: &str, model: &str, kind: &str) -> anyhow::Result<PathBuf> {
    let data = Path::new(data).file_name().map_or("data".into(), |name| name.to_string_lossy());
    let data: String = data
        .chars()
        .map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    for n in 1..100_000 {
        let path = PathBuf::from(format!("runs/{data}-{model}-{kind}{n}"));
        if path.symlink_metadata().is_err() {
            return Ok(path);
        }
    }
    bail!("there are 100,000 runs of {data} in runs/: choose a folder with --out")
}
