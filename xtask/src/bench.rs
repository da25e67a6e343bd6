//! The benchmarks: built in release mode, and run.

use std::{
    ffi::{OsStr, OsString},
    process::Command,
};

use crate::{become_command, build_release, build_taper, page};

pub(crate) fn run(arguments: &[OsString]) -> anyhow::Result<()> {
    let is = |name: &str| arguments.first().is_some_and(|given| given == OsStr::new(name));
    if is("cuda") && !arguments.iter().any(|a| a == "cpu") {
        let mut command = Command::new(crate::cuda::build(&["taper-bench"])?.join("taper-bench"));
        command.args(arguments);
        return become_command(command);
    }
    // Without peers there is no need to build candle-transformers and rten.
    let of_backbones = arguments.first().is_some_and(|name| name == OsStr::new("backbone"));
    let peers = of_backbones && arguments.iter().any(|a| a == OsStr::new("--peers"));
    let mut package = vec!["--package", "taper-bench"];
    if peers {
        package.extend(["--features", "peers"]);
    }
    let mut command = Command::new(build_release(&package)?);
    command.args(arguments);
    // These go through the program itself.
    if is("tutorial") || is("serve") || is("web") {
        command.arg("--taper").arg(build_taper()?);
    }
    if is("web")
        && let Some(chromium) = page::chromium()
    {
        command.arg("--chromium").arg(chromium);
    }
    become_command(command)
}
