//! What people install: a wheel and a tarball, each tried in an empty environment.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{root, run};

/// Builds wheels; from PyPI.
const MATURIN: &str = "maturin==1.16.0";
/// The largest wheel.
const LARGEST: u64 = 25_000_000;
const SHELLS: [(&str, &str); 3] =
    [("bash", "taper.bash"), ("zsh", "_taper"), ("fish", "taper.fish")];
/// A training that takes seconds.
const TRAINING: [&str; 6] = ["train", "--size", "64", "-q", "--out", "hands"];

pub(crate) fn run_task() -> anyhow::Result<()> {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder));
    let out = target.join("dist-files");
    match fs::remove_dir_all(&out) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)?,
        _ => fs::create_dir_all(&out)?,
    }
    let tools = out.join("tools");
    let python = venv(&tools)?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", MATURIN]))?;
    // The program that the wheel is made from is what the tarball has, too.
    let mut build = Command::new(tools.join("bin/maturin"));
    build.arg("build").arg("--manifest-path").arg(root().join("crates/cli/Cargo.toml"));
    run(build.arg("--out").arg(&out).env("CARGO_TARGET_DIR", &target).current_dir(root()))?;
    let wheel = only(&out, ".whl")?;
    let bytes = fs::metadata(&wheel)?.len();
    eprintln!("{}: {:.1} MB", wheel.display(), bytes as f64 / 1e6);
    if bytes > LARGEST {
        bail!("the wheel has {bytes} bytes, and should have at most {LARGEST}");
    }
    let tarball = tarball(&target, &out)?;
    fs::remove_dir_all(&tools)?;

    let empty = out.join("empty");
    fs::create_dir_all(&empty)?;
    let own = venv(&empty.join("venv"))?;
    let mut install = Command::new(own);
    run(install.args(["-m", "pip", "install", "--quiet", "--no-index"]).arg(&wheel))?;
    try_out(&empty.join("venv/bin/taper"), &empty.join("of-wheel"))?;
    run(Command::new("tar").arg("xzf").arg(&tarball).arg("-C").arg(&empty))?;
    let folder = only(&empty, "-linux-gnu").or_else(|_| only(&empty, "-darwin"))?;
    try_out(&folder.join("taper"), &empty.join("of-tarball"))?;
    for file in ["completions/taper.bash", "man/taper.1", "LICENSE-MIT", "README.md"] {
        if !folder.join(file).is_file() {
            bail!("the tarball lacks {file}");
        }
    }
    run(Command::new("bash").arg("-n").arg(folder.join("completions/taper.bash")))?;
    fs::remove_dir_all(&empty)?;
    eprintln!("{}\n{}", wheel.display(), tarball.display());
    Ok(())
}

/// A new environment of Python without packages.
fn venv(folder: &Path) -> anyhow::Result<PathBuf> {
    let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    run(Command::new(python).args(["-m", "venv"]).arg(folder))?;
    Ok(folder.join("bin/python"))
}

/// The only file or folder with such an ending.
fn only(folder: &Path, ending: &str) -> anyhow::Result<PathBuf> {
    let names = fs::read_dir(folder)?.filter_map(|file| Some(file.ok()?.path()));
    let mut all = names.filter(|path| path.to_string_lossy().ends_with(ending));
    all.next().with_context(|| format!("{} has no {ending}", folder.display()))
}

/// The program with completions, manual, licences and README.
fn tarball(target: &Path, out: &Path) -> anyhow::Result<PathBuf> {
    let taper = target.join("dist/taper");
    let version = output(Command::new(&taper).arg("--version"))?;
    let version = version.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    let host = output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let name = format!("taper-{version}-{}", host.trim());
    let folder = out.join(&name);
    fs::create_dir_all(folder.join("completions"))?;
    fs::copy(&taper, folder.join("taper"))?;
    for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
        fs::copy(root().join(file), folder.join(file))?;
    }
    for (shell, file) in SHELLS {
        let text = output(Command::new(&taper).args(["completions", shell]))?;
        fs::write(folder.join("completions").join(file), text)?;
    }
    run(Command::new(&taper).arg("man").arg(folder.join("man")).stdout(Stdio::null()))?;
    let tarball = out.join(format!("{name}.tar.gz"));
    run(Command::new("tar").arg("czf").arg(&tarball).arg("-C").arg(out).arg(&name))?;
    fs::remove_dir_all(folder)?;
    Ok(tarball)
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Trains and predicts with nothing around: no variables, no folders, no network that is needed.
fn try_out(taper: &Path, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let picture = root().join("tests/end_to_end/photographs/chelsea.jpg");
    let bare = || {
        let mut command = Command::new(taper);
        command.env_clear().env("HOME", folder).current_dir(folder);
        command
    };
    run(bare().args(TRAINING).stdout(Stdio::null()))?;
    let said = output(bare().args(["predict", "hands", "--json", "-q"]).arg(picture))?;
    if !said.contains("\"probability\"") {
        bail!("{} predicts nothing: {said}", taper.display());
    }
    Ok(())
}
