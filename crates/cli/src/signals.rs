//! Requests to end: Ctrl-C, SIGTERM, SIGHUP.

use std::{
    io,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// What arrived so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    /// Whether any did.
    pub(crate) arrived: Arc<AtomicBool>,
    /// Its number.
    number: Arc<AtomicUsize>,
}

impl Signals {
    /// The first signal asks for a clean end, the second one ends the program immediately.
    pub(crate) fn catch() -> Self {
        let signals = Self::default();
        if let Err(error) = signals.register() {
            tracing::warn!("Ctrl-C cannot be caught ({error}): it will end the program at once");
        }
        signals
    }

    #[cfg(unix)]
    fn register(&self) -> io::Result<()> {
        use signal_hook::{
            consts::{SIGHUP, SIGINT, SIGTERM},
            flag,
        };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal only sets the flag that the second one finds.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&self.arrived))?;
            flag::register_usize(signal, Arc::clone(&self.number), signal as usize)?;
            flag::register(signal, Arc::clone(&self.arrived))?;
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn register(&self) -> io::Result<()> {
        let signals = self.clone();
        let caught = ctrlc::set_handler(move || {
            signals.number.store(2, Ordering::Relaxed);
            if signals.arrived.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        });
        caught.map_err(io::Error::other)
    }

    /// The exit code of a program that a signal ended: 128 and its number, as shells have it; none
    /// if none arrived.
    pub(crate) fn exit_code(&self) -> Option<ExitCode> {
        let number = u8::try_from(self.number.load(Ordering::Relaxed)).ok().filter(|n| *n > 0)?;
        Some(ExitCode::from(128 + number))
    }
}
