//! Building and checking with CUDA.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{cargo, root, run};

/// The crates that have the feature. Always all of them together: another selection has other
/// features of dependencies, and candle's kernels would be compiled again, for ten minutes.
const PACKAGES: [&str; 10] = [
    "--package",
    "taper",
    "--package",
    "taper-run",
    "--package",
    "taper-candle",
    "--package",
    "taper-candle-ops",
    "--package",
    "taper-bench",
];

/// The features that are checked.
const FEATURES: &str =
    "taper/cudnn,taper-run/cudnn,taper-candle/cudnn,taper-candle-ops/cudnn,taper-bench/cudnn";

/// The test programs that are about devices, and which of their tests.
const TESTS: [(&str, &str); 9] = [
    ("taper_candle", ""),
    ("taper_candle_ops", ""),
    ("head", ""),
    ("trained_network", ""),
    ("waits", ""),
    ("refused", ""),
    ("training", ""),
    ("device_memory", ""),
    ("end_to_end", "cuda::"),
];

/// A cargo command that finds the toolkit, with a target folder of its own: the CPU's build stays
/// as it is.
fn cargo_with_toolkit(arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = cargo(arguments);
    command.env("CARGO_TARGET_DIR", root().join("target").join("cuda"));
    for (name, value) in toolkit()? {
        command.env(name, value);
    }
    Ok(command)
}

/// The variables that lead to a toolkit: none if there is an nvcc, else those of
/// `../shared/cuda/toolkit.sh`.
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

/// Compiles, lints and links everything with CUDA and cuDNN; needs the toolkit but no GPU. The
/// kernels are compiled too.
pub(crate) fn check() -> anyhow::Result<()> {
    let lint = [&["clippy"], &PACKAGES[..], &["--all-targets", "--features", FEATURES]].concat();
    run(cargo_with_toolkit(&lint)?.args(["--", "--deny", "warnings"]))?;
    let built = build(&["taper", "taper-bench"])?;
    without_a_device(&built)
}

/// Runs the tests that are about devices: on the GPU if there is one, else on the emulated device.
/// Those of the programs that are named, or all.
pub(crate) fn test(named: &[&str]) -> anyhow::Result<()> {
    if let Some(name) = named.iter().find(|name| !TESTS.iter().any(|(known, _)| *name == known)) {
        bail!("no test program {name} is about devices");
    }
    let tests = TESTS.iter().filter(|(name, _)| named.is_empty() || named.contains(name));
    let mut arguments = [&["test"], &PACKAGES[..], &["--features", FEATURES, "--no-run"]].concat();
    for name in named {
        // The crate's own tests have its name.
        let target: &[&str] = if *name == "taper_candle" { &["--lib"] } else { &["--test", name] };
        arguments.extend(target);
    }
    arguments.push("--message-format=json-render-diagnostics");
    let mut build = cargo_with_toolkit(&arguments)?;
    let output =
        build.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?.wait_with_output()?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let programs: Vec<TestProgram> = text.lines().filter_map(TestProgram::from_message).collect();

    let smi = Command::new("nvidia-smi").arg("-L").stderr(Stdio::null()).output();
    // The assembler is among the tools.
    let mut environment = toolkit()?;
    match smi {
        Ok(output) if output.status.success() => {
            eprint!("on {}", String::from_utf8_lossy(&output.stdout));
        }
        _ => {
            eprintln!("no GPU here: on the emulated device, which shows results but no speed");
            environment.extend(crate::emulator::prepare()?);
            environment.push(("TAPER_EMULATED_DEVICE".to_owned(), "1".to_owned()));
        }
    }
    let skipped = crate::skipped::Skipped::none_yet()?;
    for (name, tests) in tests {
        let Some(program) = programs.iter().find(|program| program.name == *name) else {
            bail!("cargo has built no test program {name}");
        };
        let mut command = Command::new(&program.path);
        command.current_dir(&program.package).envs(environment.iter().cloned());
        command.env("TAPER_TEST_DEVICE", "cuda");
        if !tests.is_empty() {
            command.arg(tests);
        }
        // Tests that run side by side would share the memory of a GPU, and candle's switch for
        // TF32.
        command.arg("--test-threads=1");
        run(skipped.counted_of(&mut command))?;
    }
    skipped.tell()
}

/// A test program that cargo has built.
struct TestProgram {
    name: String,
    path: PathBuf,
    /// The folder of its package, where cargo would start it.
    package: PathBuf,
}

impl TestProgram {
    /// From one of cargo's messages: JSON, of which a few strings are all that is needed.
    fn from_message(line: &str) -> Option<Self> {
        let string = |after: &str, text: &str| {
            let (_, rest) = text.split_once(after)?;
            let (value, _) = rest.split_once('"')?;
            Some(value.replace("\\\\", "\\"))
        };
        if !line.contains("\"test\":true") {
            return None;
        }
        let (_, target) = line.split_once("\"target\":")?;
        let manifest = PathBuf::from(string("\"manifest_path\":\"", line)?);
        Some(Self {
            name: string("\"name\":\"", target)?,
            path: PathBuf::from(string("\"executable\":\"", line)?),
            package: manifest.parent()?.to_owned(),
        })
    }
}

/// Whether a program with CUDA says the right things on a machine that has a driver, but no device:
/// with a driver of our own, all of whose functions say so.
fn without_a_device(built: &Path) -> anyhow::Result<()> {
    let folder = root().join("target").join("cuda").join("no-device");
    let libraries = library_folders()?;
    let Some(stub) = libraries.iter().map(|l| l.join("libcuda.so")).find(|path| path.exists())
    else {
        eprintln!("skipped: no libcuda.so to link against, so no driver without a device");
        return Ok(());
    };
    let symbols = Command::new("nm").args(["-D", "--defined-only"]).arg(&stub).output()?;
    let mut source = String::from(
        "int cuGetErrorName(int e, const char **s) { *s = \"CUDA_ERROR_NO_DEVICE\"; return 0; }\n\
         int cuGetErrorString(int e, const char **s) { *s = \"no device\"; return 0; }\n",
    );
    for line in String::from_utf8_lossy(&symbols.stdout).lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [_, _, "cuGetErrorName" | "cuGetErrorString"] => {}
            [_, "T", name] => writeln!(source, "int {name}(void) {{ return 100; }}")?,
            _ => {}
        }
    }
    fs::create_dir_all(&folder)?;
    let code = folder.join("driver.c");
    fs::write(&code, source)?;
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"]);
    run(compile.arg(folder.join("libcuda.so.1")).arg(&code))?;

    let search = env::join_paths([folder.clone()].into_iter().chain(libraries))?;
    let runs = folder.join("runs");
    let _ = fs::remove_dir_all(&runs);
    let train = |device: &str| {
        let mut command = Command::new(built.join("taper"));
        command.env("LD_LIBRARY_PATH", &search).env("RUST_BACKTRACE", "0");
        command.args(["train", "--data", "synthetic", "--epochs", "1", "--head", "linear"]);
        command.args(["--device", device, "--json", "--out"]).arg(runs.join(device)).output()
    };
    for device in ["cuda", "cuda:3"] {
        let output = train(device)?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || !said.contains("no usable CUDA device") {
            bail!("--device {device} without a device: {}, {said}", output.status);
        }
        eprint!("{said}");
    }
    let output = train("auto")?;
    let answer = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !answer.contains("\"device\":\"cpu\"") {
        bail!(
            "--device auto without a device: {}, {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    eprintln!("--device auto without a device trains on the CPU");
    Ok(())
}

/// Where the toolkit's libraries lie, to link against and to run with.
pub(crate) fn library_folders() -> anyhow::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    let own = ["CUDA_HOME", "CUDA_PATH", "LIBRARY_PATH"].into_iter();
    let own = own.filter_map(|name| Some((name.to_owned(), env::var(name).ok()?)));
    for (name, value) in toolkit()?.into_iter().chain(own) {
        match name.as_str() {
            "LIBRARY_PATH" => folders.extend(env::split_paths(&value)),
            "CUDA_HOME" | "CUDA_PATH" => {
                let home = Path::new(&value);
                folders.extend(["lib64", "lib64/stubs", "lib"].map(|lib| home.join(lib)));
                // PyPI's wheels lie side by side.
                let beside = home.parent().and_then(|parent| fs::read_dir(parent).ok());
                folders
                    .extend(beside.into_iter().flatten().flatten().map(|e| e.path().join("lib")));
            }
            _ => {}
        }
    }
    folders.retain(|folder| folder.is_dir());
    folders.dedup();
    Ok(folders)
}
