//! The modules for browsers: built, kept with a digest of their sources, and tried in Node.js and
//! in headless Chromium.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::{cargo, output_of, page, root, run, tidy::rust_files};

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "wasm";
/// Of Debian; its toolchain builds the standard library from its sources.
const DEBIAN: [&str; 2] = ["/usr/bin/rustc", "/usr/bin/cargo"];
/// The modules that the program carries, with their instructions.
const MODULES: [(&str, &str); 2] = [
    ("crates/browser/assets/taper.wasm", "+simd128"),
    ("crates/browser/assets/taper-relaxed.wasm", "+simd128,+relaxed-simd"),
];
/// What they were built from.
const DIGEST: &str = "crates/browser/assets/modules.digest";
const REMEDY: &str = "run 'cargo xtask web', and commit crates/browser/assets";

/// Builds the modules, and tries what is exported with them.
pub(crate) fn run_task() -> anyhow::Result<()> {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder));
    renew(&target.join("wasm"))?;
    page::exported(&target.join("web"))
}

/// Builds the modules. If they are others than those of the repository, they take their place, or
/// with `CI` in the environment this is an error.
fn renew(folder: &Path) -> anyhow::Result<()> {
    let (_, rustc) = compiler()?;
    let compiler = output_of(Command::new(rustc).arg("--version"))?;
    let mut digest = format!("sources {}\ncompiler {}\n", sources()?, compiler.trim());
    let mut built = Vec::new();
    for (module, features) in MODULES {
        // A folder for each: other instructions are another compilation of everything.
        let own = Path::new(module).file_stem().context("a name")?;
        let content = build(&folder.join(own), features)?;
        eprintln!("{module}: {} KiB", content.len().div_ceil(1 << 10));
        digest += &format!("{module} {}\n", hex(&Sha256::digest(&content)));
        built.push((module, content));
    }
    let before = fs::read_to_string(root().join(DIGEST)).unwrap_or_default();
    if before == digest {
        eprintln!("the modules are as they were committed");
        return Ok(());
    }
    if env::var_os("CI").is_some() {
        if before.lines().nth(1) == digest.lines().nth(1) {
            bail!("{DIGEST} does not say what is built from the sources: {REMEDY}");
        }
        eprintln!("the committed modules are from another compiler: their bytes are not compared");
        return Ok(());
    }
    for (module, content) in built {
        fs::write(root().join(module), content)?;
    }
    fs::write(root().join(DIGEST), digest)?;
    eprintln!("the modules were built anew: commit crates/browser/assets");
    Ok(())
}

/// An error if the modules of the repository are not from the sources of the repository.
pub(crate) fn check_modules() -> anyhow::Result<()> {
    let known = fs::read_to_string(root().join(DIGEST)).context(DIGEST)?;
    if known.lines().next() != Some(&format!("sources {}", sources()?)) {
        bail!("the modules for browsers are older than their sources: {REMEDY}");
    }
    for (at, (module, _)) in MODULES.into_iter().enumerate() {
        let content = fs::read(root().join(module)).context(module)?;
        if known.lines().nth(2 + at) != Some(&format!("{module} {}", hex(&Sha256::digest(content))))
        {
            bail!("{module} is not the one of {DIGEST}: {REMEDY}");
        }
    }
    eprintln!("the modules for browsers are from their sources");
    Ok(())
}

/// A digest of all that the module is built from: the sources of the workspace's crates in it, the
/// versions and features of the others, and how it is built.
fn sources() -> anyhow::Result<String> {
    let mut tree = cargo(&["tree", "--package", "taper-web", "--target", TARGET, "--locked"]);
    tree.args(["--edges", "normal,build", "--prefix", "none", "--format", "{p} {f}"]);
    let tree = output_of(&mut tree)?;
    let mut sum = Sha256::new();
    let mut crates = BTreeSet::new();
    for line in tree.lines().map(|line| line.trim_end_matches(" (*)")) {
        match line.split(' ').next() {
            Some(name) if name.starts_with("taper-") => {
                crates.insert(name.trim_start_matches("taper-").to_owned());
            }
            _ => crates.extend([format!("={line}")]),
        }
    }
    for name in &crates {
        if let Some(line) = name.strip_prefix('=') {
            sum.update(line.as_bytes());
            continue;
        }
        let folder = root().join("crates").join(name);
        let files = rust_files(&folder.join("src"))?.into_iter().chain([folder.join("Cargo.toml")]);
        for file in files {
            let named = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
            sum.update(named.as_bytes());
            sum.update(fs::read(&file).with_context(|| file.display().to_string())?);
        }
    }
    sum.update(FEATURES);
    MODULES.iter().for_each(|(_, features)| sum.update(features.as_bytes()));
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let profile = manifest.split("\n[profile.").filter(|part| part.starts_with(PROFILE));
    profile.for_each(|part| sum.update(part.as_bytes()));
    Ok(hex(&sum.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of what is not in the first version of WebAssembly, only what every browser with SIMD has: not
/// the reference types of the compiler's default.
const FEATURES: &str = "+bulk-memory,+mutable-globals,+nontrapping-fptoint,+sign-ext";

/// Builds a module with these instructions, beside those of [`FEATURES`].
fn build(folder: &Path, features: &str) -> anyhow::Result<Vec<u8>> {
    let (mut build, _) = compiler()?;
    build.args(["build", "--profile", PROFILE, "--package", "taper-web", "--target", TARGET]);
    // No path of this machine is in it, so that every machine builds the same bytes.
    let mut paths = vec![(root().to_owned(), "/taper"), (folder.to_owned(), "/target")];
    let home = PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo");
    let home = env::var_os("CARGO_HOME").map_or(home, PathBuf::from);
    // A folder for each registry.
    for registry in fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten() {
        paths.push((registry.path(), "/crates"));
    }
    let mut flags = ["-C", "target-cpu=mvp", "-C"].map(str::to_owned).to_vec();
    flags.push(format!("target-feature={FEATURES},{features}"));
    for (path, name) in paths {
        flags.push(format!("--remap-path-prefix={}={name}", path.display()));
    }
    // The separator of this variable, which paths do not have.
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    build.env("CARGO_TARGET_DIR", folder).env_remove("RUSTFLAGS").current_dir(root());
    run(&mut build)?;
    let module = folder.join(TARGET).join(PROFILE).join("taper_web.wasm");
    if !module.exists() {
        bail!("the build has not left {}", module.display());
    }
    fs::read(&module).context("the module")
}

/// Cargo with a standard library for wasm32, and its compiler: rustup's, or Debian's with its
/// sources.
fn compiler() -> anyhow::Result<(Command, PathBuf)> {
    let rustc = PathBuf::from(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let sysroot = Command::new(&rustc).args(["--print", "sysroot"]).output()?.stdout;
    let sysroot = PathBuf::from(String::from_utf8(sysroot)?.trim());
    if sysroot.join("lib/rustlib").join(TARGET).join("lib").exists() {
        return Ok((cargo(&[]), rustc));
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
    Ok((command, rustc.into()))
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
