//! What must hold besides the tests.

use std::process::Command;

use anyhow::bail;

use crate::{cargo, root, run};

/// The crates that stay free of candle, so that they compile in seconds and can be used on their
/// own.
const CANDLE_FREE: [&str; 25] = [
    "taper",
    "taper-augment",
    "taper-callbacks",
    "taper-core",
    "taper-cuda-emulator",
    "taper-data",
    "taper-feature-cache",
    "taper-fetch",
    "taper-grad",
    "taper-graph",
    "taper-health",
    "taper-kernels",
    "taper-lr-finder",
    "taper-metrics",
    "taper-model",
    "taper-optim",
    "taper-picture",
    "taper-plan",
    "taper-plot",
    "taper-report",
    "taper-run",
    "taper-synthetic",
    "taper-train",
    "taper-weights",
    "taper-zoo",
];

pub(crate) fn lint() -> anyhow::Result<()> {
    crate::tidy::check()?;
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    format_of_transforms()?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    let peers = ["clippy", "--package", "taper-bench", "--features", "peers", "--all-targets"];
    run(cargo(&peers).args(["--", "--deny", "warnings"]))?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
    run(doc.env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private_intra_doc_links"))?;
    dependency_edges()
}

/// cargo fmt does not find modules that a macro declares.
fn format_of_transforms() -> anyhow::Result<()> {
    let files = crate::tidy::rust_files(&root().join("crates/augment/src/transforms"))?;
    let mut check = Command::new("rustfmt");
    run(check.current_dir(root()).args(["--check", "--edition", "2024"]).args(files))
}

/// No candle below the crates that do without it, and a light xtask.
fn dependency_edges() -> anyhow::Result<()> {
    for package in CANDLE_FREE.into_iter().chain(["xtask"]) {
        let folder = package.strip_prefix("taper-").unwrap_or("cli");
        if package != "xtask" && !root().join("crates").join(folder).exists() {
            bail!("{package} is in the list of candle-free crates, but there is no such crate");
        }
        let tree = cargo(&["tree", "--package", package, "--edges", "normal", "--prefix", "none"])
            .output()?;
        if !tree.status.success() {
            bail!("cargo tree {package}: {}", String::from_utf8_lossy(&tree.stderr));
        }
        let tree = String::from_utf8_lossy(&tree.stdout);
        let forbidden = |name: &str| {
            name.starts_with("candle") || package == "xtask" && name.starts_with("taper")
        };
        if let Some(line) = tree.lines().find(|l| forbidden(l.split(' ').next().unwrap_or(""))) {
            bail!("{package} must not depend on {line}: see docs/architecture.md");
        }
    }
    eprintln!("dependency edges hold");
    Ok(())
}

/// Everything that publishing needs is there.
pub(crate) fn package() -> anyhow::Result<()> {
    run(&mut cargo(&["package", "--workspace", "--no-verify", "--allow-dirty", "--quiet"]))
}
