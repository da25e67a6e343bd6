//! `taper-model` for wasm32: built, run under Node, and compared with the native program.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{cargo, root, run};

const TARGET: &str = "wasm32-unknown-unknown";
/// Photographs that the tests have anyway.
const PICTURES: [&str; 3] = ["chelsea.jpg", "coffee.jpg", "rocket.jpg"];
/// Of Debian; its toolchain builds the standard library from its sources.
const DEBIAN: [&str; 2] = ["/usr/bin/rustc", "/usr/bin/cargo"];

/// Builds the module and compares its answers with native ones.
pub(crate) fn run_task() -> anyhow::Result<()> {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder));
    let folder = target.join("wasm");
    let module = build(&folder)?;
    let size = fs::metadata(&module)?.len();
    eprintln!("{}: {} KiB", module.display(), size.div_ceil(1 << 10));

    let (model, reference) = (folder.join("model.safetensors"), folder.join("reference.json"));
    let pictures = PICTURES.map(|name| root().join("tests/end_to_end/photographs").join(name));
    let mut native =
        cargo(&["run", "--quiet", "--release", "--package", "taper-web", "--example", "reference"]);
    // One thread, as the module has.
    native.env("RAYON_NUM_THREADS", "1").arg("--").arg(&model).args(&pictures);
    eprintln!("$ {native:?}");
    let output = native.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("the native side fails: {}", output.status);
    }
    fs::write(&reference, output.stdout)?;

    let node = env::var_os("NODE").unwrap_or_else(|| "node".into());
    let script = root().join("tests/wasm/classify.mjs");
    run(Command::new(node).arg(script).args([&module, &model, &reference]))
        .context("the module needs Node.js 18 or later to be tried")
}

/// Builds the module; gives its file.
fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut build = compiler()?;
    build.args(["build", "--profile", "wasm", "--package", "taper-web", "--target", TARGET]);
    let features = "-C target-feature=+simd128";
    build.env("RUSTFLAGS", features).env("CARGO_TARGET_DIR", folder).current_dir(root());
    run(&mut build)?;
    let module = folder.join(TARGET).join("wasm/taper_web.wasm");
    if !module.exists() {
        bail!("the build has not left {}", module.display());
    }
    Ok(module)
}

/// Cargo with a standard library for wasm32: rustup's, or Debian's with its sources.
fn compiler() -> anyhow::Result<Command> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = Command::new(rustc).args(["--print", "sysroot"]).output()?.stdout;
    let sysroot = PathBuf::from(String::from_utf8(sysroot)?.trim());
    if sysroot.join("lib/rustlib").join(TARGET).join("lib").exists() {
        return Ok(cargo(&[]));
    }
    let linker = linker(Path::new("/usr/bin"));
    let sources = Path::new("/usr/src").read_dir().is_ok_and(|mut folders| {
        let of_rust = |name: &str| name.starts_with("rustc-");
        folders.any(|f| f.is_ok_and(|f| f.file_name().to_str().is_some_and(of_rust)))
    });
    let (Some(linker), true, true) =
        (linker, sources, DEBIAN.iter().all(|file| Path::new(file).exists()))
    else {
        bail!(
            "there is no standard library for {TARGET}: run 'rustup target add {TARGET}', or on \
             Debian 'apt-get install rustc-web cargo-web rust-web-src lld-22'"
        );
    };
    let [rustc, cargo] = DEBIAN;
    let mut command = Command::new(cargo);
    command.arg("-Zbuild-std=std,panic_abort").env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    // Those of the toolchain that runs this.
    for name in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"]
    {
        command.env_remove(name);
    }
    Ok(command)
}

/// `wasm-ld`, or the newest `wasm-ld-N` of a folder.
fn linker(folder: &Path) -> Option<PathBuf> {
    let plain = folder.join("wasm-ld");
    if plain.exists() {
        return Some(plain);
    }
    let names = folder.read_dir().ok()?.flatten().filter_map(|f| f.file_name().into_string().ok());
    let version = |name: &String| name.strip_prefix("wasm-ld-")?.parse::<u32>().ok();
    let newest = names.filter(|name| version(name).is_some()).max_by_key(version)?;
    Some(folder.join(newest))
}
