use std::{
    io::IsTerminal,
    sync::Mutex,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use taper_train::{EpochReport, Progress};

use crate::errors::in_flags;

/// Progress on standard error: bars on a terminal, plain lines elsewhere.
pub(crate) struct Console {
    terminal: bool,
    quiet: bool,
    current: Mutex<Option<Work>>,
}

struct Work {
    name: String,
    total: u64,
    done: u64,
    unit: &'static str,
    started: Instant,
    /// When the last plain line was written.
    told: Instant,
    bar: Option<ProgressBar>,
}

/// Between two plain lines about the same work.
const INTERVAL: Duration = Duration::from_secs(5);

impl Console {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), quiet, current: Mutex::new(None) }
    }

    fn line(&self, text: &str) {
        let text = in_flags(text);
        let current = self.current.lock();
        match current.ok().as_ref().and_then(|c| c.as_ref()).and_then(|w| w.bar.as_ref()) {
            Some(bar) => bar.println(&text),
            None => eprintln!("{text}"),
        }
    }
}

impl Work {
    fn rate(&self) -> f64 {
        self.done as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }
}

impl Progress for Console {
    fn say(&self, line: &str) {
        if !self.quiet {
            self.line(line);
        }
    }

    fn warn(&self, line: &str) {
        self.line(&format!("warning: {line}"));
    }

    fn begin(&self, work: &str, total: u64, unit: &'static str) {
        if self.quiet {
            return;
        }
        let bar = self.terminal.then(|| {
            let bar = ProgressBar::new(total);
            let template = "{msg:9} {wide_bar} {pos}/{len} {prefix}, {per_sec}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━━ "));
            }
            bar.set_message(work.to_owned());
            bar.set_prefix(unit);
            bar
        });
        let now = Instant::now();
        if let Ok(mut current) = self.current.lock() {
            *current = Some(Work {
                name: work.into(),
                total,
                done: 0,
                unit,
                started: now,
                told: now,
                bar,
            });
        }
    }

    fn advance(&self, n: u64) {
        let Ok(mut current) = self.current.lock() else { return };
        let Some(work) = current.as_mut() else { return };
        work.done += n;
        match &work.bar {
            Some(bar) => bar.inc(n),
            None if work.told.elapsed() >= INTERVAL && work.done < work.total => {
                work.told = Instant::now();
                let left = (work.total - work.done) as f64 / work.rate().max(1e-9);
                eprintln!(
                    "{}: {}/{} {}, {:.1} {}/s, {left:.0} s left",
                    work.name,
                    work.done,
                    work.total,
                    work.unit,
                    work.rate(),
                    work.unit
                );
            }
            None => {}
        }
    }

    fn epoch(&self, r: &EpochReport) {
        self.say(&format!(
            "epoch {:>3}/{}  loss {:.4}  accuracy {:.4}  val_loss {:.4}  val_accuracy {:.4}{}",
            // People count from 1; files keep their numbers.
            r.epoch + 1,
            r.epochs,
            r.loss,
            r.accuracy,
            r.val_loss,
            r.val_accuracy,
            if r.best { "  best" } else { "" }
        ));
    }

    fn end(&self) {
        let work = self.current.lock().ok().and_then(|mut current| current.take());
        let Some(work) = work else { return };
        if let Some(bar) = &work.bar {
            bar.finish_and_clear();
        }
        let seconds = work.started.elapsed().as_secs_f64();
        eprintln!(
            "{}: {} {} in {seconds:.1} s ({:.1} {}/s)",
            work.name,
            work.done,
            work.unit,
            work.rate(),
            work.unit
        );
    }
}
