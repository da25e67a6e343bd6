//! The benchmarks: built in release mode, and run.

use std::{
    ffi::{OsStr, OsString},
    process::Command,
};

use crate::{become_command, build_release};

pub(crate) fn run(arguments: &[OsString]) -> anyhow::Result<()> {
    // Only the backbones have peers that are crates; otherwise there is no need to build candle-transformers and rten.
    let backbone = arguments.first().is_some_and(|argument| argument == OsStr::new("backbone"));
    let peers = backbone && arguments.iter().any(|argument| argument == OsStr::new("--peers"));
    let mut package = vec!["--package", "taper-bench"];
    if peers {
        package.extend(["--features", "peers"]);
    }
    let mut command = Command::new(build_release(&package)?);
    command.args(arguments);
    become_command(command)
}
