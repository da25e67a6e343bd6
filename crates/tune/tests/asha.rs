//! Successive halving finds the best trial in a fraction of the epochs, each computed once.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{collections::BTreeMap, path::Path};

use taper_tune::{
    ActiveTrial, AshaConfig, BoxError, CheckedAsha, Direction, Outcome, Pruning, Random, Space,
    Study, TrialState,
};

const EPOCHS: i64 = 27;

fn asha() -> CheckedAsha {
    AshaConfig { max_resource: EPOCHS as u64, ..AshaConfig::default() }.check().unwrap()
}

fn space() -> Space {
    let space = Space::new().log_float("rate", 1e-5, 1e-1).unwrap();
    space.float("decay", 0.0, 1.0).unwrap()
}

/// A learning curve: where it ends and how fast it falls depend on the parameters, and the order of
/// the curves changes over the first epochs.
fn loss(rate: f64, decay: f64, epoch: i64) -> f64 {
    let end = 0.1 * (rate.log10() + 2.5).powi(2) + 0.3 * (decay - 0.4).powi(2);
    let speed = 0.4 + 0.3 * decay;
    let wave = 0.02 * (rate.log10() * 40.0 + epoch as f64).sin() / epoch as f64;
    end + (-speed * epoch as f64).exp() + wave
}

/// What the objective keeps of each trial between calls: its weights, here only the epoch.
type Checkpoints = BTreeMap<usize, i64>;

fn train(
    trial: &mut ActiveTrial<'_>,
    kept: &mut Checkpoints,
    computed: &mut i64,
    sign: f64,
) -> Result<Outcome, BoxError> {
    let (rate, decay) = (trial.float("rate")?, trial.float("decay")?);
    let begin = kept.get(&trial.number()).copied().unwrap_or(0);
    assert_eq!(trial.resumes_after()?.unwrap_or(0), begin);
    for epoch in begin + 1..=EPOCHS {
        *computed += 1;
        trial.report(epoch, sign * loss(rate, decay, epoch))?;
        kept.insert(trial.number(), epoch);
        if trial.should_prune()? {
            return Ok(Outcome::Pruned);
        }
    }
    Ok((sign * loss(rate, decay, EPOCHS)).into())
}

fn open(path: &Path, name: &str, direction: Direction) -> Study {
    let study = Study::open(path, name, direction).unwrap();
    study.with_sampler(Random::new(5)).with_pruning(Pruning::Asha(asha()))
}

#[test]
fn survivors_go_on_and_the_best_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.journal");
    for direction in [Direction::Min, Direction::Max] {
        let sign = if direction == Direction::Min { 1.0 } else { -1.0 };
        let mut computed = 0;
        let mut kept = Checkpoints::new();
        let name = format!("{direction:?}");
        let mut study = open(&path, &name, direction);
        study.optimize(&space(), 81, |trial| train(trial, &mut kept, &mut computed, sign)).unwrap();
        assert_eq!(study.trials().len(), 81);
        let all: Vec<(usize, f64)> = study
            .trials()
            .iter()
            .map(|trial| {
                let value = |name: &str| trial.get(name).unwrap().as_f64().unwrap();
                (trial.number, loss(value("rate"), value("decay"), EPOCHS))
            })
            .collect();
        let best = all.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        let found = study.best_trial().unwrap();
        assert_eq!((found.number, found.value()), (best.0, Some(sign * best.1)));
        let steps: usize = study.trials().iter().map(|trial| trial.steps.len()).sum();
        assert_eq!(computed, steps as i64, "an epoch was computed twice");
        let share = computed as f64 / (81 * EPOCHS) as f64;
        println!("{direction:?}: {computed} epochs, {share:.3} of all");
        assert!(share <= 0.4, "{share}");
        let paused = study.trials().iter().filter(|trial| trial.is_paused()).count();
        assert!(paused > 50);
        assert_eq!(study.finish().unwrap(), paused);
        assert!(study.trials().iter().all(|trial| trial.state.is_finished()));
        let pruned = study.trials().iter().find(|t| t.state == TrialState::Pruned).unwrap();
        assert_eq!(pruned.value(), pruned.last_step().map(|(_, value)| value));
    }
}

/// A study that is interrupted after every few epochs, and opened again, ends as one that is not.
#[test]
fn interruptions_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.journal");
    let (mut kept, mut computed) = (Checkpoints::new(), 0);
    let mut whole = open(&path, "whole", Direction::Min);
    whole.optimize(&space(), 20, |trial| train(trial, &mut kept, &mut computed, 1.0)).unwrap();

    let (mut kept, mut again) = (Checkpoints::new(), 0);
    loop {
        let mut study = open(&path, "parts", Direction::Min);
        let left = 20 - study.trials().len();
        let mut epochs = 0;
        let mut interrupted = false;
        study
            .optimize(&space(), left, |trial| {
                let (rate, decay) = (trial.float("rate")?, trial.float("decay")?);
                for epoch in trial.resumes_after()?.unwrap_or(0) + 1..=EPOCHS {
                    if epochs == 3 {
                        interrupted = true;
                        return Ok(Outcome::Interrupted);
                    }
                    (epochs, again) = (epochs + 1, again + 1);
                    trial.report(epoch, loss(rate, decay, epoch))?;
                    kept.insert(trial.number(), epoch);
                    if trial.should_prune()? {
                        return Ok(Outcome::Pruned);
                    }
                }
                Ok(loss(rate, decay, EPOCHS).into())
            })
            .unwrap();
        if !interrupted {
            break;
        }
    }
    let parts = open(&path, "parts", Direction::Min);
    assert_eq!(again, computed);
    for (a, b) in whole.trials().iter().zip(parts.trials()) {
        assert_eq!((a.state, &a.steps, &a.parameters), (b.state, &b.steps, &b.parameters));
    }
}

#[test]
fn few_trials_still_give_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.journal");
    for (trials, name) in [(1, "one"), (2, "two"), (3, "three")] {
        let mut study = open(&path, name, Direction::Min);
        let (mut kept, mut computed) = (Checkpoints::new(), 0);
        study
            .optimize(&space(), trials, |trial| train(trial, &mut kept, &mut computed, 1.0))
            .unwrap();
        let complete = study.trials().iter().filter(|t| t.state == TrialState::Complete).count();
        assert_eq!(complete, 1, "{name}");
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let refused = |config: AshaConfig| config.check().unwrap_err().to_string();
    let default = AshaConfig::default();
    assert!(refused(AshaConfig { reduction: 1, ..default }).contains("reduction is 1"));
    assert!(refused(AshaConfig { min_resource: 0, ..default }).contains("min_resource is 0"));
    assert!(refused(AshaConfig { max_resource: 0, ..default }).contains("max_resource is 0"));
    let asha = AshaConfig { min_resource: 2, reduction: 4, max_resource: 50 }.check().unwrap();
    let budgets: Vec<i64> = (0..4).map(|rung| asha.budget(rung)).collect();
    assert_eq!(budgets, [2, 8, 32, 50]);
    assert!(asha.is_last(3) && !asha.is_last(2) && asha.is_last(1000));
}
