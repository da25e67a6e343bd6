//! The `taper` program: arguments → recipe → calls. No algorithms.

mod commands;
mod compare;
mod completions;
mod embed;
mod errors;
mod evaluate;
mod export;
mod info;
mod inspect;
mod models;
mod output;
mod predict;
mod runs;
mod search;
#[cfg(feature = "serve")]
mod serve;
mod signals;
mod summary;
mod train;
mod tune;

use std::{io::IsTerminal, process::ExitCode};

use clap::FromArgMatches;
use taper_args::{Args, Given};

use crate::{output::Status, signals::Signals};

fn main() -> ExitCode {
    let matches = taper_args::command()
        .try_get_matches()
        .unwrap_or_else(|error| errors::refuse_arguments(&error));
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let (name, given) = match matches.subcommand() {
        Some((name, own)) => (name, Given::of(own)),
        None => ("", Given::of(&matches)),
    };
    errors::called(name, &given);
    let filter = tracing_subscriber::EnvFilter::try_from_env("TAPER_LOG")
        // Refused certificates are in the error itself; damaged fonts are nobody's concern here.
        .unwrap_or_else(|_| "warn,rustls_platform_verifier=off,fontdb=off,rustybuzz=off".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .init();
    let signals = Signals::catch();
    let outcome = commands::run(args.command, &given, signals.arrived.clone());
    // Once for all figures of the command.
    if let Some(remark) = taper_plot::unshown() {
        eprintln!("warning: {remark}");
    }
    match outcome.map_err(errors::of_runs) {
        Ok(Status::Done) => ExitCode::SUCCESS,
        Ok(Status::SomeInputUnusable) => ExitCode::from(3),
        Ok(Status::Interrupted) => signals.exit_code().unwrap_or(ExitCode::FAILURE),
        Err(error) => {
            eprintln!("error: {}", errors::told(&error));
            let usage = errors::is_usage(&error);
            // An error after a signal is the signal's, whatever it broke off.
            let failed = if usage { ExitCode::from(2) } else { ExitCode::FAILURE };
            signals.exit_code().filter(|_| !usage).unwrap_or(failed)
        }
    }
}
