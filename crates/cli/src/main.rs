//! The `taper` program: arguments → recipe → calls. No algorithms.

mod args;
mod commands;
mod embed;
mod errors;
mod inspect;
mod models;
mod output;
mod progress;
mod recipe_args;
mod runs;
mod summary;

use std::{
    io::IsTerminal,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Parser;

use crate::{args::Args, output::Status};

fn main() -> ExitCode {
    let args = Args::parse();
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
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Err(error) = on_signal(&interrupted) {
        tracing::warn!("Ctrl-C cannot be caught ({error}): it will end the program immediately");
    }
    match commands::run(args.command, interrupted) {
        Ok(Status::Done) => ExitCode::SUCCESS,
        Ok(Status::SomeInputUnusable) => ExitCode::from(3),
        Err(error) => {
            eprintln!("error: {}", errors::told(&error));
            ExitCode::from(if errors::is_usage(&error) { 2 } else { 1 })
        }
    }
}

/// The first signal asks for a clean end, the second one ends the program immediately.
fn on_signal(interrupted: &Arc<AtomicBool>) -> Result<(), ctrlc::Error> {
    let interrupted = Arc::clone(interrupted);
    ctrlc::set_handler(move || {
        if interrupted.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
}
