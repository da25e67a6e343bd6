//! The same suggestions as fastai, beringresearch's LRFinder and Lightning's smoothing on recorded
//! curves.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;

use serde::Deserialize;
use taper_lr_finder::{RangeTestConfig, StepError, Trainee, find, suggest};

#[derive(Deserialize)]
struct Recorded {
    name: String,
    start: f64,
    end: f64,
    losses: Vec<f64>,
    smoothed: Vec<f64>,
    stopped: Option<usize>,
    suggestions: BTreeMap<String, BTreeMap<String, Option<f64>>>,
}

fn curves() -> Vec<Recorded> {
    let curves: Vec<Recorded> =
        serde_json::from_str(include_str!("reference/curves.json")).unwrap();
    assert_eq!(curves.len(), 11);
    curves
}

impl Recorded {
    fn config(&self) -> RangeTestConfig {
        RangeTestConfig {
            start: self.start,
            end: self.end,
            steps: self.losses.len(),
            ..Default::default()
        }
    }

    fn rates(&self) -> Vec<f64> {
        let test = self.config().check().unwrap();
        (0..self.losses.len()).map(|t| test.rate(t)).collect()
    }
}

fn close(what: &str, ours: Option<f64>, theirs: Option<f64>) {
    match (ours, theirs) {
        (None, None) => {}
        (Some(ours), Some(theirs)) if (ours - theirs).abs() <= 1e-12 * theirs => {}
        _ => panic!("{what}: {ours:?} instead of {theirs:?}"),
    }
}

#[test]
fn every_method_reads_what_its_source_reads() {
    for curve in curves() {
        let rates = curve.rates();
        for (what, losses) in [("raw", &curve.losses), ("smoothed", &curve.smoothed)] {
            let theirs = &curve.suggestions[what];
            let inner = losses.len() / 10..losses.len() - 5;
            let (r, l) = (&rates[inner.clone()], &losses[inner]);
            for (name, ours) in [
                ("valley", suggest::valley(r, l)),
                ("minimum", suggest::minimum(r, l)),
                ("steep", suggest::steep(r, l)),
                ("slide", suggest::slide(r, l)),
                ("sma10", suggest::sma(&rates, losses, 10)),
                ("sma20", suggest::sma(&rates, losses, 20)),
            ] {
                close(&format!("{}, {what}, {name}", curve.name), ours, theirs[name]);
            }
        }
    }
}

/// Plays back recorded losses, and records how it was called.
struct Replay<'a> {
    losses: &'a [f64],
    step: usize,
}

impl Trainee for Replay<'_> {
    type Snapshot = usize;
    fn snapshot(&mut self) -> Result<usize, StepError> {
        Ok(self.step)
    }
    fn restore(&mut self, step: usize) -> Result<(), StepError> {
        self.step = step;
        Ok(())
    }
    fn step(&mut self, _: f64) -> Result<f64, StepError> {
        self.step += 1;
        Ok(self.losses[self.step - 1])
    }
}

#[test]
fn a_sweep_smooths_stops_and_suggests_as_they_do() {
    let mut stops = 0;
    for curve in curves() {
        let test = curve.config().check().unwrap();
        let mut replay = Replay { losses: &curve.losses, step: 0 };
        let finding = find(&test, &mut replay).unwrap();
        assert_eq!(replay.step, 0, "restored");
        let ours = &finding.curves[0];
        let points = curve.stopped.map_or(curve.losses.len(), |last| last + 1);
        assert_eq!(ours.rates.len(), points, "{}", curve.name);
        assert_eq!(ours.diverged, curve.stopped.is_some());
        assert_eq!(finding.points, points);
        stops += usize::from(ours.diverged);
        for (t, (ours, theirs)) in ours.smoothed.iter().zip(&curve.smoothed).enumerate() {
            assert!((ours - theirs).abs() < 1e-12, "{}, step {t}: {ours} {theirs}", curve.name);
        }
        assert_eq!(Some(finding.chosen), finding.suggestions.valley);
        if curve.stopped.is_none() {
            let theirs = &curve.suggestions["smoothed"];
            for (name, ours) in [
                ("valley", finding.suggestions.valley),
                ("minimum", finding.suggestions.minimum),
                ("steep", finding.suggestions.steep),
                ("slide", finding.suggestions.slide),
                ("sma20", finding.suggestions.sma),
            ] {
                close(&format!("{}, {name}", curve.name), ours, theirs[name]);
            }
        }
    }
    assert!(stops > 0);
}
