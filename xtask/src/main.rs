//! Tasks of the workspace: `cargo xtask <task>`. Shells out to cargo and to the `taper` program, so that it compiles in
//! seconds.

mod bench;
mod checks;
mod cuda;
mod emulator;
mod repro;
mod wasm;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, bail};

const HELP: &str = "\
cargo xtask TASK

  train [ARGUMENTS]   builds taper in release mode and trains; with no arguments the embedded default
  test                all tests of the workspace: unit, documentation and end to end
  lint                format, clippy with warnings denied, documentation without warnings, dependency edges
  package             what publishing needs
  repro               trains twice, and with 1, 2 and 4 threads, and compares model and history byte for byte
  wasm                builds the classifier for wasm32, runs it under Node and compares it with the native one
  ci                  everything that CI runs, in its order
  build --cuda        the program and the benchmarks with CUDA and cuDNN, into target/cuda/release (docs/cuda.md)
  check --cuda        compiles, lints and links everything with CUDA and cuDNN; needs the toolkit, but no GPU
  test --cuda         the tests that are about devices, on the GPU, or where there is none on the emulated device
  bench backbone [--peers] [--json FILE] [OPTIONS]
                      pictures per second of the frozen backbones, with --peers those of candle, rten, PyTorch, ONNX
                      Runtime and OpenVINO in the same run; bench backbone --help names the options
  bench head [--peers] [--json FILE]
                      rows per second of training the tutorial's head on features, against PyTorch
  bench tutorial [--peers] [--json FILE] [--data FOLDER]
                      the whole tutorial: its time against Keras, its accuracy against PyTorch with timm
  bench cuda [--peers] [--json FILE] [--data FOLDER] [OPTIONS]
                      pictures per second on a GPU, from memory and from JPEG files, with --peers those of PyTorch too
  bench data [--peers] [--json FILE] [OPTIONS]
                      pictures per second from JPEG files to batches, with --peers those of tf.data and torchvision too
";

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let outcome = match task.to_str() {
        Some("train") => train(&rest),
        Some("test") if rest.iter().any(|argument| argument == "--cuda") => {
            only_cuda(&rest, cuda::test)
        }
        Some("test") => test(&rest),
        Some("lint") => checks::lint(),
        Some("package") => checks::package(),
        Some("repro") => repro::run(),
        Some("wasm") => wasm::run_task(),
        Some("ci") => ci(),
        Some("bench") => bench::run(&rest),
        Some("build") => only_cuda(&rest, || cuda::build(&["taper", "taper-bench"]).map(drop)),
        Some("check") => only_cuda(&rest, cuda::check),
        Some("" | "help" | "--help" | "-h") => {
            eprint!("{HELP}");
            Ok(())
        }
        other => {
            eprint!("unknown task {:?}\n\n{HELP}", other.unwrap_or("?"));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// A cargo command in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command to its end; what it prints is shown.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    eprintln!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Builds `taper` in release mode and returns where cargo has put it.
pub(crate) fn build_taper() -> anyhow::Result<PathBuf> {
    build_release(&["--package", "taper"])
}

/// Builds one program in release mode and returns where cargo has put it.
pub(crate) fn build_release(package: &[&str]) -> anyhow::Result<PathBuf> {
    let mut build = cargo(&["build", "--release", "--message-format=json-render-diagnostics"]);
    build.args(package);
    let output =
        build.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?.wait_with_output()?;
    if !output.status.success() {
        bail!("{} does not build", package.join(" "));
    }
    // One JSON object a line; the last one with an executable is the binary. Paths are escaped like any JSON string,
    // and the only escapes in a path are backslashes and quotes.
    let text = String::from_utf8_lossy(&output.stdout);
    let path = text.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        let (path, _) = rest.split_once("\",\"")?;
        Some(path.replace("\\\\", "\\"))
    });
    Ok(path.context("cargo did not say where the program is")?.into())
}

fn train(arguments: &[OsString]) -> anyhow::Result<()> {
    let mut command = Command::new(build_taper()?);
    command.arg("train").args(arguments);
    become_command(command)
}

/// Gives the process to the command, so that Ctrl-C and the exit code are the program's own.
#[cfg(unix)]
fn become_command(mut command: Command) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;
    let shown = command.get_program().to_owned();
    Err(command.exec()).with_context(|| format!("cannot start {}", shown.display()))
}

#[cfg(not(unix))]
fn become_command(mut command: Command) -> anyhow::Result<()> {
    std::process::exit(command.status()?.code().unwrap_or(1))
}

fn test(arguments: &[OsString]) -> anyhow::Result<()> {
    run(cargo(&["test", "--workspace"]).args(arguments))
}

/// Runs a task that exists for CUDA only.
fn only_cuda(
    arguments: &[OsString],
    task: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    match arguments {
        [flag] if flag == "--cuda" => task(),
        _ => bail!(
            "say --cuda and nothing else: for the CPU there are cargo build, cargo check and cargo xtask test"
        ),
    }
}

fn ci() -> anyhow::Result<()> {
    checks::lint()?;
    test(&[])?;
    checks::package()?;
    repro::run()?;
    wasm::run_task()
}
