//! Exported models in other programs' runtimes, which come from PyPI.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::{build_taper, cargo, root, run};

/// Runs the files of every network, and those of a model that the program trains, elsewhere. With
/// `--own-size`, only those of every network at its own size, which takes gigabytes of memory; with
/// `--timm`, files with timm's names in PyTorch's timm, which takes gigabytes of packages.
pub(crate) fn run_task(arguments: &[OsString]) -> anyhow::Result<()> {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder));
    let scripts = root().join("tests/exports");
    match arguments {
        [] | [_] if arguments.iter().all(|flag| flag == "--own-size") => {
            let list = scripts.join("requirements.txt");
            let Some(python) = python(&target.join("exports-python"), &list)? else {
                return Ok(());
            };
            let cases = example(&target, "taper-onnx", "cases")?;
            let mut networks = Command::new(&python);
            run(networks.arg(scripts.join("networks.py")).arg(cases).args(arguments))?;
            if !arguments.is_empty() {
                return Ok(());
            }
            let folder = target.join("exports");
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)?,
                _ => fs::create_dir_all(&folder)?,
            }
            run(Command::new(&python).arg(scripts.join("model.py")).arg(build_taper()?).arg(folder))
        }
        [flag] if flag == "--timm" => {
            let list = scripts.join("requirements-timm.txt");
            let Some(python) = python(&target.join("timm-python"), &list)? else { return Ok(()) };
            let networks = example(&target, "taper-export", "timm")?;
            run(Command::new(python).arg(scripts.join("timm_networks.py")).arg(networks))
        }
        _ => bail!("say nothing more than 'exports', 'exports --own-size' or 'exports --timm'"),
    }
}

/// Builds an example and says where it is.
fn example(target: &Path, package: &str, name: &str) -> anyhow::Result<PathBuf> {
    run(&mut cargo(&["build", "--package", package, "--example", name]))?;
    Ok(target.join("debug/examples").join(name))
}

/// The Python of an environment with these packages, which is made the first time. None where there
/// is no Python, or its packages cannot be had, which is said.
fn python(folder: &Path, list: &Path) -> anyhow::Result<Option<PathBuf>> {
    let own = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let python = folder.join("bin/python");
    let done = folder.join("requirements.txt");
    let wanted = fs::read(list).with_context(|| format!("cannot read {}", list.display()))?;
    if fs::read(&done).is_ok_and(|had| had == wanted) {
        return Ok(Some(python));
    }
    let steps = || -> anyhow::Result<()> {
        run(Command::new(own).args(["-m", "venv"]).arg(folder))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(list))
    };
    if let Err(error) = steps() {
        eprintln!(
            "skipped: exported models in other programs, without Python's packages: {error:#}"
        );
        return Ok(None);
    }
    fs::write(done, wanted)?;
    Ok(Some(python))
}
