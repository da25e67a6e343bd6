//! Tasks of the workspace: `cargo xtask <task>`. Shells out to cargo and to the `taper` program, so
//! that it compiles in seconds.

mod bench;
mod checks;
mod cuda;
mod dist;
mod drawn;
mod emulator;
mod exports;
mod page;
mod reports;
mod repro;
mod skipped;
mod tidy;
mod web;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, bail};

const HELP: &str = include_str!("help.txt");

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let outcome = match task.to_str() {
        Some("train") => train(&rest),
        Some("test") if rest.iter().any(|argument| argument == "--cuda") => {
            let names = rest.iter().filter_map(|name| name.to_str());
            cuda::test(&names.filter(|name| *name != "--cuda").collect::<Vec<_>>())
        }
        Some("test") => test(&rest),
        Some("lint") => checks::lint(),
        Some("package") => checks::package(),
        Some("repro") => repro::run(),
        Some("web") => web::run_task(),
        Some("dist") => dist::run_task(),
        Some("page") => page::served(),
        Some("exports") => exports::run_task(&rest),
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

/// What a command prints; its messages are shown.
pub(crate) fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
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
    // One JSON object a line; the last one with an executable is the binary. Paths are escaped like
    // any JSON string, and the only escapes in a path are backslashes and quotes.
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
    let skipped = skipped::Skipped::none_yet()?;
    let outcome = run(skipped.counted_of(cargo(&["test", "--workspace"]).args(arguments)));
    skipped.tell()?;
    outcome?;
    skipped.check()
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
    web::run_task()?;
    page::served()?;
    exports::run_task(&[])
}
