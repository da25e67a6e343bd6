//! How the benchmark talks to the measured processes: one JSON object per line, a request on
//! standard input, an answer on standard output. `python/peers.py` speaks it too.

use std::{
    io::{self, BufRead, Write},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Request {
    /// Get ready for this work, whose format is up to the benchmark.
    Load(Value),
    /// Work for about this long.
    Burst {
        /// Seconds; a single pass that takes longer is a burst too.
        seconds: f64,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// Ready.
    Loaded(Loaded),
    /// The burst is over.
    Measured(Measured),
    /// It cannot be done, and why.
    Error(String),
}

/// The worker is ready, with a sample of its results, which the benchmark uses to check that all do
/// the same work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// Name and version of what does the work.
    pub(crate) version: String,
    /// Numbers that all must agree on; empty if there are none.
    pub(crate) sample: Vec<f32>,
}

/// What a burst came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Units of work per second, from the median of the passes' times.
    pub(crate) value: f64,
    /// Passes that were timed.
    pub(crate) passes: usize,
}

/// Something that can be measured.
pub(crate) trait Worker {
    /// Gets ready for the work.
    fn load(&mut self, work: &Value) -> anyhow::Result<Loaded>;

    /// Works once; returns the number of units of work.
    fn pass(&mut self) -> anyhow::Result<f64>;
}

/// Answers requests until standard input ends.
pub(crate) fn serve(worker: &mut dyn Worker) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Request::Load(work) => worker.load(&work).map(Answer::Loaded),
            Request::Burst { seconds } => burst(worker, seconds).map(Answer::Measured),
        };
        let answer = answer.unwrap_or_else(|error| Answer::Error(format!("{error:#}")));
        writeln!(output, "{}", serde_json::to_string(&answer)?)?;
        output.flush()?;
    }
    Ok(())
}

/// The first pass finds the caches filled by other processes, and does not count, unless there is
/// only time for one.
fn burst(worker: &mut dyn Worker, seconds: f64) -> anyhow::Result<Measured> {
    let begin = Instant::now();
    let mut timed = || -> anyhow::Result<(f64, f64)> {
        let start = Instant::now();
        let units = worker.pass()?;
        Ok((start.elapsed().as_secs_f64(), units))
    };
    let (first, units) = timed()?;
    let mut times = Vec::new();
    if first >= seconds {
        times.push(first);
    }
    while first < seconds && (times.len() < 2 || begin.elapsed().as_secs_f64() < seconds) {
        times.push(timed()?.0);
    }
    Ok(Measured { value: units / median(&mut times), passes: times.len() })
}

/// The median; the mean of the middle two of an even number of values. NaN for no values.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use std::{thread::sleep, time::Duration};

    use super::*;

    struct Sleeper {
        passes: usize,
        milliseconds: u64,
    }

    impl Worker for Sleeper {
        fn load(&mut self, _: &Value) -> anyhow::Result<Loaded> {
            anyhow::bail!("nothing to load")
        }

        fn pass(&mut self) -> anyhow::Result<f64> {
            self.passes += 1;
            sleep(Duration::from_millis(self.milliseconds));
            Ok(8.0)
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn a_burst_leaves_out_its_first_pass_unless_it_is_the_only_one() {
        let mut short = Sleeper { passes: 0, milliseconds: 5 };
        let measured = burst(&mut short, 0.05).unwrap();
        assert_eq!(measured.passes + 1, short.passes);
        assert!(measured.passes >= 2);
        // A sleep is never shorter than asked for: 8 units in at least 5 ms.
        assert!(measured.value <= 8.0 / 0.005, "{measured:?}");
        let mut long = Sleeper { passes: 0, milliseconds: 20 };
        let measured = burst(&mut long, 0.01).unwrap();
        assert_eq!((measured.passes, long.passes), (1, 1));
    }

    #[test]
    fn requests_and_answers_look_as_the_python_side_expects_them() {
        let text = |value: &Request| serde_json::to_string(value).unwrap();
        assert_eq!(text(&Request::Burst { seconds: 1.5 }), r#"{"burst":{"seconds":1.5}}"#);
        assert_eq!(text(&Request::Load(serde_json::json!({"a": 1}))), r#"{"load":{"a":1}}"#);
        let answer = |text: &str| serde_json::from_str::<Answer>(text).unwrap();
        assert_eq!(
            answer(r#"{"measured": {"value": 2.0, "passes": 3}}"#),
            Answer::Measured(Measured { value: 2.0, passes: 3 })
        );
        assert_eq!(answer(r#"{"error": "no"}"#), Answer::Error("no".into()));
    }
}
