//! No trace, no false answers, errors with a remedy, and a plot that shows what it should.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use taper_lr_finder::{
    Curve, Error, Method, RangeTestConfig, RangeTestResult, StepError, Trainee, find, suggest,
};

/// A loss as a function of step, rate and seed; fails where told to.
struct Toy<F: Fn(usize, f64, u64) -> f64> {
    loss: F,
    state: (u64, usize),
    snapshots: usize,
    fails_at: Option<usize>,
}

fn toy<F: Fn(usize, f64, u64) -> f64>(loss: F) -> Toy<F> {
    Toy { loss, state: (99, 7), snapshots: 0, fails_at: None }
}

impl<F: Fn(usize, f64, u64) -> f64> Trainee for Toy<F> {
    type Snapshot = (u64, usize);
    fn snapshot(&mut self) -> Result<Self::Snapshot, StepError> {
        self.snapshots += 1;
        Ok(self.state)
    }
    fn restore(&mut self, snapshot: Self::Snapshot) -> Result<(), StepError> {
        self.state = snapshot;
        Ok(())
    }
    fn reseed(&mut self, seed: u64) -> Result<(), StepError> {
        self.state = (seed, 0);
        Ok(())
    }
    fn step(&mut self, rate: f64) -> Result<f64, StepError> {
        let step = self.state.1;
        self.state.1 += 1;
        if self.fails_at == Some(step) {
            return Err("the disk is full".into());
        }
        Ok((self.loss)(step, rate, self.state.0))
    }
}

/// Falls around a rate of 1e-3, a little to either side of it with the seed, and rises from 0.1 on.
fn typical(_: usize, rate: f64, seed: u64) -> f64 {
    let shift = seed as f64 * 0.2;
    let u = rate.log10() + 3.0 - shift;
    1.2 - 1.0 / (1.0 + (-3.0 * u).exp()) + 30.0 * (rate.log10() + 1.0).max(0.0).powi(2)
}

fn test() -> RangeTestConfig {
    RangeTestConfig::default()
}

#[test]
fn rates_are_geometric_and_meet_both_ends() {
    let checked = RangeTestConfig { start: 1e-7, end: 10.0, ..test() }.check().unwrap();
    assert_eq!(checked.rate(0), 1e-7);
    assert_eq!(checked.rate(99), 10.0);
    for t in 1..100 {
        let ratio = checked.rate(t) / checked.rate(t - 1);
        assert!((ratio - 1e8f64.powf(1.0 / 99.0)).abs() < 1e-9);
    }
}

#[test]
fn it_leaves_no_trace_also_after_an_error() {
    let mut trainee = toy(typical);
    let config = RangeTestConfig { seeds: vec![1, 2, 3], ..test() };
    let finding = find(&config.clone().check().unwrap(), &mut trainee).unwrap();
    assert_eq!((trainee.state, trainee.snapshots), ((99, 7), 3));
    assert_eq!(finding.curves.iter().map(|c| c.seed).collect::<Vec<_>>(), [1, 2, 3]);

    trainee.fails_at = Some(30);
    let error = find(&config.check().unwrap(), &mut trainee).unwrap_err();
    assert_eq!(trainee.state, (99, 7));
    assert_eq!(error.to_string(), "range test, seed 1, step 30: the disk is full");
}

#[test]
fn several_seeds_give_a_median_and_a_spread() {
    // Not the valley: without noise it depends only on the length of the descent, which a shift
    // does not change.
    let one = |seed| {
        let config = RangeTestConfig { seeds: vec![seed], method: Method::Steep, ..test() };
        find(&config.check().unwrap(), &mut toy(typical)).unwrap().chosen
    };
    let all = |seeds: &[u64]| {
        let config = RangeTestConfig { seeds: seeds.to_vec(), method: Method::Steep, ..test() };
        find(&config.check().unwrap(), &mut toy(typical)).unwrap()
    };
    let (a, b, c) = (one(0), one(2), one(4));
    assert!(a < b && b < c, "{a} {b} {c}");
    let three = all(&[4, 0, 2]);
    assert_eq!((three.chosen, three.spread.low, three.spread.high), (b, a, c));
    assert_eq!((three.spread.found, three.spread.seeds), (3, 3));
    let two = all(&[0, 4]);
    assert!((two.chosen - (a * c).sqrt()).abs() < 1e-15);
    assert_eq!(three.points, three.curves.iter().map(|c| c.losses.len()).sum::<usize>());
}

#[test]
fn no_descent_is_an_error_that_says_what_to_change() {
    for loss in [
        (|_, rate: f64, _| 1.0 + rate) as fn(usize, f64, u64) -> f64,
        |_, _, _| 1.0,
        |step, _, _| 1.0 + 1e-3 * (step as f64 * 1.7).sin(),
        |step, _, _| 2.0 + 0.01 * step as f64,
    ] {
        let error = find(&test().check().unwrap(), &mut toy(loss)).unwrap_err();
        assert!(matches!(error, Error::NoDescent { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains("no descent found") && said.contains("lower `start`"), "{said}");
    }
    // One seed of two sees a descent: an answer that says so.
    let config = RangeTestConfig { seeds: vec![0, 1], ..test() };
    let half = |s: usize, rate, seed| if seed == 1 { 1.0 + rate } else { typical(s, rate, seed) };
    let finding = find(&config.check().unwrap(), &mut toy(half)).unwrap();
    assert_eq!((finding.spread.found, finding.spread.seeds), (1, 2));
}

/// Whatever its level, noise is rarely taken for a descent; a real descent of the same size is
/// seen.
#[test]
fn noise_is_not_a_descent() {
    use taper_core::random::{Key, Purpose};
    for (steps, level) in [(100, 0.02), (100, 0.5), (400, 0.1)] {
        let config = RangeTestConfig { steps, ..test() };
        let (mut flat, mut falling) = (0, 0);
        for seed in 0..200 {
            let noise = |step: usize| {
                let mut stream = Key::new(seed, Purpose::new("noise")).stream(0, step as u64);
                level * f64::from(stream.normal())
            };
            let answers = |fall: f64| {
                let loss = |step: usize, rate: f64, _: u64| {
                    2.0 + noise(step) - fall * (1.0 + rate.log10() / 6.0).powi(2)
                };
                find(&config.clone().check().unwrap(), &mut toy(loss)).is_ok()
            };
            flat += usize::from(answers(0.0));
            falling += usize::from(answers(8.0 * level));
        }
        assert!(flat <= 20, "{steps} steps, noise {level}: {flat} of 200 answers on nothing");
        assert!(
            falling >= 190,
            "{steps} steps, noise {level}: only {falling} of 200 descents seen"
        );
    }
}

#[test]
fn too_few_points_are_an_error_before_and_after_the_sweep() {
    let error = RangeTestConfig { steps: 25, ..test() }.check().unwrap_err().to_string();
    assert!(error.contains("25 usable points and needs 26"), "{error}");
    assert!(RangeTestConfig { steps: 26, ..test() }.check().is_ok());
    assert!(RangeTestConfig { steps: 26, skip_begin: Some(20), ..test() }.check().is_err());

    let nan_at = |at: usize| {
        move |step: usize, rate, seed| if step == at { f64::NAN } else { typical(step, rate, seed) }
    };
    let error = find(&test().check().unwrap(), &mut toy(nan_at(12))).unwrap_err();
    assert!(
        matches!(error, Error::TooFewPoints { found: 12, needed: 26, diverged: true }),
        "{error}"
    );
    assert!(error.to_string().contains("lower `start`"), "{error}");
    // NaN within the patience does not end the sweep, but nothing after it can be used.
    let mut trainee = toy(nan_at(0));
    assert!(find(&test().check().unwrap(), &mut trainee).is_err());
    // A late NaN or infinity only shortens the curve.
    for broken in [f64::NAN, f64::INFINITY] {
        let late =
            |step: usize, rate, seed| if step == 80 { broken } else { typical(step, rate, seed) };
        let finding = find(&test().check().unwrap(), &mut toy(late)).unwrap();
        assert_eq!(finding.curves[0].usable(), 80);
        assert_eq!(finding.curves[0].losses.len(), 81);
        assert!(finding.curves[0].diverged);
        let json = serde_json::to_string(&finding).unwrap();
        let back: RangeTestResult = serde_json::from_str(&json).unwrap();
        assert_eq!(back.chosen, finding.chosen);
        assert_eq!(back.curves[0].usable(), 80);
    }
}

#[test]
fn the_sweep_ends_at_divergence_but_not_at_once() {
    let wild = |step: usize, _: f64, _: u64| if step < 3 { 1.0 } else { 1e6 };
    let config = RangeTestConfig { smoothing: 0.0, ..test() };
    let curve_of = |patience| {
        let mut trainee = toy(wild);
        let config = RangeTestConfig { patience, ..config.clone() };
        let error = find(&config.check().unwrap(), &mut trainee).unwrap_err();
        let Error::TooFewPoints { found, .. } = error else { panic!("{error}") };
        found
    };
    assert_eq!(curve_of(5), 7);
    assert_eq!(curve_of(0), 4);
}

/// Where fine-tuning begins, the loss is small, and that of a batch many times that of another.
#[test]
fn chance_does_not_end_the_sweep() {
    let noisy = |step: usize, rate: f64, seed| {
        let chance = (step * 7919 % 13) as f64 / 6.0 - 1.0;
        0.1 * typical(step, rate, seed) * (1.0 + 0.95 * chance)
    };
    let mut trainee = toy(noisy);
    // The first batch has a 20th of the mean loss, and the next ones push the average above 4 times
    // that.
    let curve = match find(&test().check().unwrap(), &mut trainee) {
        Ok(found) => found.curves[0].clone(),
        Err(error) => panic!("{error}"),
    };
    assert!(curve.smoothed[..20].iter().any(|loss| *loss > 4.0 * curve.smoothed[0]));
    assert!(curve.diverged && curve.losses.len() > 85, "{} steps", curve.losses.len());
}

#[test]
fn every_field_is_checked() {
    let nan = f64::NAN;
    for (bad, field) in [
        (RangeTestConfig { start: 0.0, ..test() }, "start"),
        (RangeTestConfig { start: nan, ..test() }, "start"),
        (RangeTestConfig { end: 1e-6, ..test() }, "end"),
        (RangeTestConfig { end: f64::INFINITY, ..test() }, "end"),
        (RangeTestConfig { smoothing: 1.0, ..test() }, "smoothing"),
        (RangeTestConfig { smoothing: nan, ..test() }, "smoothing"),
        (RangeTestConfig { divergence: 1.0, ..test() }, "divergence"),
        (RangeTestConfig { sma: 0, ..test() }, "sma"),
        (RangeTestConfig { min_descent: nan, ..test() }, "min_descent"),
        (RangeTestConfig { seeds: vec![], ..test() }, "seeds"),
        (RangeTestConfig { steps: usize::MAX, ..test() }, "steps"),
    ] {
        let said = bad.check().unwrap_err().to_string();
        assert!(said.starts_with(&format!("{field} is")), "{said}");
    }
    assert!(serde_json::from_str::<RangeTestConfig>(r#"{"begin":1e-6}"#).is_err());
    assert_eq!("slide".parse::<Method>().unwrap(), Method::Slide);
    assert!("steepest".parse::<Method>().unwrap_err().to_string().contains("valley, sma"));
}

#[test]
fn degenerate_curves_do_not_panic() {
    for n in 0..40 {
        let rates: Vec<f64> = (0..n).map(|i| 1e-6 * 1.3f64.powi(i)).collect();
        let rising: Vec<f64> = (0..n).map(f64::from).collect();
        let falling: Vec<f64> = (0..n).map(|i| -f64::from(i)).collect();
        for (losses, falls) in [(&rising, false), (&falling, n > 1)] {
            assert_eq!(suggest::valley(&rates, losses).is_some(), falls, "{n}");
            assert_eq!(suggest::minimum(&rates, losses).is_some(), falls, "{n}");
            assert_eq!(suggest::steep(&rates, losses).is_some(), falls, "{n}");
            assert_eq!(suggest::slide(&rates, losses).is_some(), falls && n > 15, "{n}");
            assert_eq!(suggest::sma(&rates, losses, 20).is_some(), falls && n > 25, "{n}");
        }
    }
}

#[cfg(feature = "plot")]
#[test]
fn the_plot_shows_the_chosen_rate_and_the_others() {
    let config = RangeTestConfig { seeds: vec![0, 1], ..test() };
    let finding = find(&config.check().unwrap(), &mut toy(typical)).unwrap();
    let picture = finding.plot("A <toy>");
    let svg = picture.svg();
    for text in [
        "A &lt;toy&gt;",
        "chosen (valley)",
        ">sma ",
        ">minimum ",
        ">steep ",
        ">slide ",
        "loss of the step",
        "smoothed",
        "2 of 2 seeds",
    ] {
        assert!(svg.contains(text), "{text} is missing");
    }
    let red = svg.lines().find(|l| l.starts_with("<line") && l.contains("#cc2f36")).unwrap();
    assert!(red.contains("stroke-dasharray=\"8 3 1.5 3\""), "{red}");
    assert_eq!(picture.png(1.0).unwrap(), finding.plot("A <toy>").png(1.0).unwrap());
    // Curves that end in NaN can be drawn as well.
    let mut broken = finding;
    let Curve { losses, smoothed, .. } = &mut broken.curves[0];
    losses[60..].fill(f64::NAN);
    smoothed[60..].fill(f64::NAN);
    let svg = broken.plot("broken");
    assert!(!svg.svg().contains("NaN"));
}
