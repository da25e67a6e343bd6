//! The same rates as PyTorch's and Keras's schedules, step by step.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use serde::Deserialize;
use taper_optim::{ScheduleConfig, Shape, Span, Warmup};

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    source: String,
    config: ScheduleConfig,
    epochs: u64,
    steps_per_epoch: u64,
    base: f64,
    rates: Vec<f64>,
    tolerance: f64,
}

#[test]
fn rates_are_those_of_pytorch_and_keras() {
    let reference: Reference = serde_json::from_str(include_str!("reference/rates.json")).unwrap();
    assert_eq!(reference.cases.len(), 15);
    for case in reference.cases {
        let schedule = case.config.check(case.epochs, case.steps_per_epoch).unwrap();
        assert_eq!(schedule.steps(), case.epochs * case.steps_per_epoch);
        assert!(case.rates.len() as u64 >= schedule.steps(), "{} rates", case.rates.len());
        let moves = case.rates.iter().any(|r| *r != case.rates[0]);
        assert!(moves, "a constant reference proves nothing");
        for (step, &theirs) in case.rates.iter().enumerate() {
            let ours = schedule.rate(case.base, step as u64);
            // Relative to the base rate: the end of a cosine is a difference of almost equal
            // numbers.
            assert!(
                (ours - theirs).abs() <= case.tolerance * case.base,
                "{} {:?}, step {step}: {ours} instead of {theirs}",
                case.source,
                case.config
            );
        }
    }
}

fn check(shape: Shape) -> taper_optim::Result<taper_optim::Schedule> {
    ScheduleConfig { shape, warmup: None }.check(3, 10)
}

#[test]
fn beyond_the_end_the_rate_stays() {
    for shape in [
        Shape::Cosine { end_factor: 0.1 },
        Shape::Polynomial { power: 2.0, end_factor: 0.1 },
        Shape::OneCycle { rise: 0.3, div_factor: 25.0, final_div_factor: 10.0 },
    ] {
        let schedule = check(shape).unwrap();
        assert_eq!(schedule.factor(30), schedule.factor(31));
        assert_eq!(schedule.factor(30), schedule.factor(u64::MAX));
        assert!(schedule.factor(30) < 0.11);
    }
}

#[test]
fn very_short_trainings_give_finite_rates() {
    for steps in 1..6 {
        for shape in [
            Shape::Constant {},
            Shape::Step { every: Span::Steps(1), factor: 0.5 },
            Shape::Cosine { end_factor: 0.0 },
            Shape::OneCycle { rise: 0.3, div_factor: 25.0, final_div_factor: 1e4 },
            Shape::OneCycle { rise: 0.999, div_factor: 25.0, final_div_factor: 1e4 },
            Shape::Polynomial { power: 1.0, end_factor: 0.0 },
        ] {
            let schedule = ScheduleConfig { shape, warmup: None }.check(1, steps).unwrap();
            for step in 0..=steps {
                let factor = schedule.factor(step);
                assert!((0.0..=1.0).contains(&factor), "{shape:?}, {step} of {steps}: {factor}");
            }
        }
    }
}

#[test]
fn every_field_is_checked() {
    let nan = f64::NAN;
    for (bad, field) in [
        (Shape::Step { every: Span::Steps(0), factor: 0.1 }, "every"),
        (Shape::Step { every: Span::Epochs(0.01), factor: 0.1 }, "every"),
        (Shape::Step { every: Span::Epochs(nan), factor: 0.1 }, "every"),
        (Shape::Step { every: Span::Steps(1), factor: 0.0 }, "factor"),
        (Shape::Step { every: Span::Steps(1), factor: nan }, "factor"),
        (Shape::Cosine { end_factor: 1.1 }, "end_factor"),
        (Shape::OneCycle { rise: 0.0, div_factor: 25.0, final_div_factor: 1e4 }, "rise"),
        (Shape::OneCycle { rise: 0.3, div_factor: 0.5, final_div_factor: 1e4 }, "div_factor"),
        (Shape::OneCycle { rise: 0.3, div_factor: 2.0, final_div_factor: nan }, "final_div_factor"),
        (Shape::Polynomial { power: 0.0, end_factor: 0.0 }, "power"),
        (Shape::Polynomial { power: 1.0, end_factor: -0.1 }, "end_factor"),
    ] {
        let said = check(bad).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{field} is")), "{said}");
    }
    let warm = |over, start_factor| {
        let warmup = Some(Warmup { over, start_factor });
        ScheduleConfig { warmup, ..Default::default() }.check(3, 10)
    };
    assert!(warm(Span::Steps(29), 0.0).is_ok());
    assert!(warm(Span::Steps(30), 0.0).is_err());
    assert!(warm(Span::Steps(0), 0.0).is_err());
    assert!(warm(Span::Fraction(1.5), 0.0).is_err());
    assert!(warm(Span::Steps(5), 2.0).is_err());
    assert!(ScheduleConfig::default().check(0, 10).is_err());
    assert!(ScheduleConfig::default().check(u64::MAX, 10).is_err());
    for typo in [
        r#"{"shape":{"kind":"cosine","end":0.1}}"#,
        r#"{"shape":{"kind":"constant","factor":0.1}}"#,
        r#"{"shape":{"kind":"cosin"}}"#,
        r#"{"form":{"kind":"cosine"}}"#,
    ] {
        assert!(serde_json::from_str::<ScheduleConfig>(typo).is_err(), "{typo}");
    }
}
