//! What must hold besides the tests.

use std::{collections::BTreeSet, process::Command};

use anyhow::bail;

use crate::{cargo, root, run};

/// The crates that stay free of candle, so that they compile in seconds and can be used on their
/// own.
const CANDLE_FREE: [&str; 55] = [
    "taper",
    "taper-answer",
    "taper-archive",
    "taper-args",
    "taper-augment",
    "taper-augment-sheet",
    "taper-automl",
    "taper-backward",
    "taper-browser",
    "taper-calibration",
    "taper-callbacks",
    "taper-compare",
    "taper-console",
    "taper-core",
    "taper-cuda-emulator",
    "taper-data",
    "taper-export",
    "taper-feature-cache",
    "taper-fetch",
    "taper-grad",
    "taper-graph",
    "taper-health",
    "taper-hub-data",
    "taper-kernels",
    "taper-logistic",
    "taper-lr-finder",
    "taper-metrics",
    "taper-mixing",
    "taper-model",
    "taper-names",
    "taper-networks",
    "taper-onnx",
    "taper-optim",
    "taper-outputs",
    "taper-parquet",
    "taper-path-lists",
    "taper-picture",
    "taper-plan",
    "taper-plot",
    "taper-predict",
    "taper-pretrained",
    "taper-recipe",
    "taper-report",
    "taper-run",
    "taper-run-report",
    "taper-serve",
    "taper-simd",
    "taper-sources",
    "taper-synthetic",
    "taper-text",
    "taper-train",
    "taper-tune",
    "taper-web",
    "taper-weights",
    "taper-zoo",
];

pub(crate) fn lint() -> anyhow::Result<()> {
    crate::tidy::check()?;
    crate::web::check_modules()?;
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

/// What the crate that deployment needs must not bring along, by the beginning of a package's name.
const NOT_IN_MODEL: [&str; 8] =
    ["candle", "cudarc", "hf-hub", "hyper", "reqwest", "rustls", "tokio", "ureq"];
/// The most packages that it stands on, itself and what is needed to build it included.
const MODEL_PACKAGES: usize = 60;

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
    let packages = model_packages()?;
    eprintln!("dependency edges hold; taper-model stands on {packages} packages");
    Ok(())
}

/// `taper-model` alone: no candle, no network, few packages. Gives their number.
fn model_packages() -> anyhow::Result<usize> {
    let tree = cargo(&["tree", "--package", "taper-model", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .output()?;
    if !tree.status.success() {
        bail!("cargo tree taper-model: {}", String::from_utf8_lossy(&tree.stderr));
    }
    let tree = String::from_utf8_lossy(&tree.stdout);
    // A package that was shown before ends in a mark.
    let packages: BTreeSet<&str> =
        tree.lines().map(|line| line.trim_end_matches(" (*)")).filter(|l| !l.is_empty()).collect();
    let forbidden = |line: &&&str| NOT_IN_MODEL.iter().any(|name| line.starts_with(name));
    if let Some(line) = packages.iter().find(forbidden) {
        bail!("taper-model must not depend on {line}: see docs/architecture.md");
    }
    if packages.len() > MODEL_PACKAGES {
        bail!(
            "taper-model stands on {} packages, more than {MODEL_PACKAGES}: cargo tree --package \
             taper-model --edges normal,build shows them",
            packages.len()
        );
    }
    Ok(packages.len())
}

/// Everything that publishing needs is there.
pub(crate) fn package() -> anyhow::Result<()> {
    run(&mut cargo(&["package", "--workspace", "--no-verify", "--allow-dirty", "--quiet"]))
}
