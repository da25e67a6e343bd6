//! What packages of the program bring along.

use std::path::PathBuf;

use clap_complete::Shell;

/// The arguments of `taper completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// The arguments of `taper man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The folder to make, with taper.1 and a page for each command.
    #[arg(value_name = "FOLDER")]
    pub out: PathBuf,
}
