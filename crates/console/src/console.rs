use std::{
    collections::HashSet,
    io::IsTerminal,
    sync::Mutex,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use taper_train::{EpochReport, Progress};

/// Progress on standard error: bars on a terminal, plain lines elsewhere.
pub struct Console {
    terminal: bool,
    quiet: bool,
    /// What becomes of a line before it is shown.
    worded: fn(&str) -> String,
    current: Mutex<Option<Work>>,
    /// The warnings so far.
    warned: Mutex<HashSet<String>>,
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
    /// With `quiet`, only warnings are shown. `worded` turns what libraries say into what the
    /// program's user knows.
    pub fn new(quiet: bool, worded: fn(&str) -> String) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { terminal, quiet, worded, current: Mutex::new(None), warned: Mutex::default() }
    }

    fn line(&self, text: &str) {
        let text = (self.worded)(text);
        let current = self.current.lock();
        match current.ok().as_ref().and_then(|c| c.as_ref()).and_then(|w| w.bar.as_ref()) {
            Some(bar) => bar.println(&text),
            None => eprintln!("{text}"),
        }
    }
}

/// `104/s`, `3.2/s`, `0.05/s`: further digits are noise. What is counted has been named already,
/// unless it is a unit of measurement: `3.2 MiB/s`.
fn per_second(rate: f64, unit: &str) -> String {
    let unit = if unit.ends_with("iB") { format!(" {unit}") } else { String::new() };
    match rate {
        rate if !rate.is_finite() => format!("–{unit}/s"),
        rate if rate >= 10.0 => format!("{rate:.0}{unit}/s"),
        rate if rate >= 1.0 => format!("{rate:.1}{unit}/s"),
        rate => format!("{rate:.2}{unit}/s"),
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
        // The folds of a cross-validation have the same data, and would all say the same.
        let new = self.warned.lock().map_or(true, |mut warned| warned.insert(line.to_owned()));
        if new {
            self.line(&format!("warning: {line}"));
        }
    }

    fn begin(&self, work: &str, total: u64, unit: &'static str) {
        if self.quiet {
            return;
        }
        let bar = self.terminal.then(|| {
            let bar = ProgressBar::new(total);
            let template = "{msg:9} {wide_bar} {pos}/{len} {prefix}, {rate}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                let rate = move |state: &ProgressState, w: &mut dyn std::fmt::Write| {
                    // Writing to the bar's line cannot fail.
                    let _ = w.write_str(&per_second(state.per_sec(), unit));
                };
                bar.set_style(style.with_key("rate", rate).progress_chars("━━ "));
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
                    "{}: {}/{} {}, {}, {left:.0} s left",
                    work.name,
                    work.done,
                    work.total,
                    work.unit,
                    per_second(work.rate(), work.unit),
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
        // Interrupted, or broken off by an error.
        let part = work.done < work.total;
        let of_all = if part { format!(" of {}", work.total) } else { String::new() };
        eprintln!(
            "{}: {}{of_all} {} in {seconds:.1} s ({})",
            work.name,
            work.done,
            work.unit,
            per_second(work.rate(), work.unit),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::per_second;

    #[test]
    fn rates_are_short() {
        for (rate, text) in [
            (104.326_234_234, "104/s"),
            (12_345.6, "12346/s"),
            (9.96, "10.0/s"),
            (3.21, "3.2/s"),
            (0.051, "0.05/s"),
            (f64::INFINITY, "–/s"),
        ] {
            assert_eq!(per_second(rate, "pictures"), text);
        }
        assert_eq!(per_second(3.21, "MiB"), "3.2 MiB/s");
    }
}
