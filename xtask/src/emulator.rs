//! The emulated CUDA device: libraries with the sonames of NVIDIA's, that take what they can from
//! `taper-cuda-emulator`.

use std::{collections::BTreeSet, env, fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, bail};

use crate::{cargo, cuda::library_folders, root, run};

/// The libraries that stubs are made of: as they are found to link against, and as programs ask for
/// them.
const LIBRARIES: [(&str, &str); 5] = [
    ("libcuda.so", "libcuda.so.1"),
    ("libcublas.so", "libcublas.so.13"),
    ("libcublasLt.so", "libcublasLt.so.13"),
    ("libcurand.so", "libcurand.so.10"),
    ("libcudnn.so", "libcudnn.so.9"),
];

const EMULATOR: &str = "libtaper_cuda_emulator.so";

/// Builds the emulator and the libraries around it, in `target/cuda/emulator`; the environment that
/// a program with CUDA runs on it in.
pub(crate) fn prepare() -> anyhow::Result<Vec<(String, String)>> {
    // For this machine only, in a folder of its own: interpreting is slow enough.
    let target = root().join("target").join("cuda").join("emulator-build");
    let mut build = cargo(&["build", "--release", "--package", "taper-cuda-emulator"]);
    build.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", "-C target-cpu=native");
    run(&mut build)?;
    let folder = root().join("target").join("cuda").join("emulator");
    fs::create_dir_all(&folder)?;
    let emulator = folder.join(EMULATOR);
    let built = target.join("release").join(EMULATOR);
    // In its place at once: a program may be running on the old one.
    let fresh = folder.join("fresh");
    fs::copy(&built, &fresh).with_context(|| built.display().to_string())?;
    fs::rename(&fresh, &emulator)?;

    let libraries = library_folders()?;
    let own = symbols(&emulator)?.names;
    for (name, soname) in LIBRARIES {
        let Some(real) = libraries.iter().map(|l| l.join(name)).find(|path| path.exists()) else {
            bail!("no {name} to take the names of its functions from");
        };
        stub(&folder, soname, symbols(&real)?, &own)?;
    }
    let search = env::join_paths([folder].into_iter().chain(libraries))?;
    let search = search.into_string().map_err(|path| anyhow::anyhow!("{}", path.display()))?;
    Ok(vec![("LD_LIBRARY_PATH".to_owned(), search)])
}

/// What a library exports.
struct Symbols {
    names: BTreeSet<String>,
    /// The version of its symbols, which programs ask for when they are loaded.
    version: Option<String>,
}

fn symbols(library: &Path) -> anyhow::Result<Symbols> {
    let output = Command::new("nm")
        .args(["-D", "--defined-only", "--with-symbol-versions"])
        .arg(library)
        .output()
        .context("cannot start nm")?;
    if !output.status.success() {
        bail!("nm {}: {}", library.display(), output.status);
    }
    let (mut names, mut version) = (BTreeSet::new(), None);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let [_, "T" | "W", symbol] = line.split_whitespace().collect::<Vec<_>>()[..] {
            let (name, of) = symbol.split_once('@').unwrap_or((symbol, ""));
            names.insert(name.to_owned());
            let of = of.trim_start_matches('@');
            if !of.is_empty() {
                version = Some(of.to_owned());
            }
        }
    }
    Ok(Symbols { names, version })
}

/// A library of this name: all that the emulator does not have says so and aborts; the rest comes
/// from the emulator.
fn stub(folder: &Path, soname: &str, real: Symbols, own: &BTreeSet<String>) -> anyhow::Result<()> {
    let mut source = String::from(
        "#include <stdio.h>\n#include <stdlib.h>\n\
         static void missing(const char *name) {\n\
         fprintf(stderr, \"taper-cuda-emulator: %s is not emulated\\n\", name);\n\
         abort();\n}\n",
    );
    for name in real.names.difference(own) {
        writeln!(source, "void {name}(void) {{ missing(\"{name}\"); }}")?;
    }
    let code = folder.join(format!("{soname}.c"));
    fs::write(&code, source)?;
    let fresh = folder.join(format!("{soname}.fresh"));
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-w"]).arg(format!("-Wl,-soname,{soname}"));
    if let Some(version) = real.version {
        let script = folder.join(format!("{soname}.map"));
        fs::write(&script, format!("{version} {{ global: *; }};\n"))?;
        compile.arg(format!("-Wl,--version-script={}", script.display()));
    }
    compile.args(["-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed", "-o"]).arg(&fresh).arg(&code);
    compile.arg("-L").arg(folder).arg(format!("-l:{EMULATOR}"));
    run(&mut compile)?;
    fs::rename(&fresh, folder.join(soname))?;
    Ok(())
}
