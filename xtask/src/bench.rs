//! The benchmarks: built in release mode, and run.

use std::{
    ffi::{OsStr, OsString},
    process::Command,
};

use crate::{become_command, build_release};

pub(crate) fn run(arguments: &[OsString]) -> anyhow::Result<()> {
    // Without peers there is no need to build candle-transformers and rten.
    let peers = arguments.iter().any(|argument| argument == OsStr::new("--peers"));
    let mut package = vec!["--package", "taper-bench"];
    if peers {
        package.extend(["--features", "peers"]);
    }
    let mut command = Command::new(build_release(&package)?);
    command.args(arguments);
    become_command(command)
}
