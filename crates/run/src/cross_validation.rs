use serde::Serialize;
use taper_picture::Finding;

use taper_core::OutOfRange;

use crate::{
    Answer, Changes, CheckedRecipe, Error, FineTuned, OutFolder, Outcome, OwnCallbacks, Result,
    Resumed, Session, file::write_json, resume_changed, run_folder::RunFolder, train,
};

/// A figure over several training runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation: of n figures, with n − 1.
    pub std: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of figures; NaN if there are none.
    pub fn of(figures: &[f64]) -> Self {
        let n = figures.len() as f64;
        let mean = figures.iter().sum::<f64>() / n;
        let squares: f64 = figures.iter().map(|x| (x - mean).powi(2)).sum();
        Self {
            mean,
            std: if figures.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 },
            min: figures.iter().copied().fold(f64::NAN, f64::min),
            max: figures.iter().copied().fold(f64::NAN, f64::max),
        }
    }
}

/// The result of a cross-validation: the answer of `taper train --folds K --json`.
#[derive(Debug, Clone, Serialize)]
pub struct CrossValidation {
    /// The folder, with a run folder for each fold in it.
    pub run: String,
    /// Over the folds, each on its own validation pictures.
    pub val_accuracy: Spread,
    /// Over the folds, each on its own validation pictures.
    pub val_loss: Spread,
    /// Over the folds, all on the same untouched test pictures; `null` if there are none.
    pub test_accuracy: Option<Spread>,
    /// The same figures before fine-tuning, with the head alone; `null` without fine-tuning.
    pub head_alone: Option<HeadAlone>,
    /// Pictures that could not be used and were left out.
    pub unreadable: Vec<Finding>,
    /// The trainings, by fold.
    pub folds: Vec<Answer>,
}

/// Figures of heads over the folds, before their networks were trained too.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HeadAlone {
    /// On each fold's own validation pictures.
    pub val_accuracy: Spread,
    /// On each fold's own validation pictures.
    pub val_loss: Spread,
    /// On the same untouched test pictures; `null` if there are none.
    pub test_accuracy: Option<Spread>,
}

impl HeadAlone {
    fn of(answers: &[Answer]) -> Option<Self> {
        let phases: Vec<&FineTuned> =
            answers.iter().map(|answer| answer.fine_tune.as_ref()).collect::<Option<_>>()?;
        let over = |of: fn(&FineTuned) -> f64| {
            Spread::of(&phases.iter().map(|phase| of(phase)).collect::<Vec<_>>())
        };
        let tests: Option<Vec<f64>> = phases.iter().map(|own| own.probe_test_accuracy).collect();
        Some(Self {
            val_accuracy: over(|own| own.probe_val_accuracy),
            val_loss: over(|own| own.probe_val_loss),
            test_accuracy: tests.filter(|tests| !tests.is_empty()).map(|t| Spread::of(&t)),
        })
    }
}

/// Trains with each fold of a recipe in turn, into `out/fold-0` and so on, and writes
/// `out/folds.json`.
///
/// The backbone sees every picture once if the session has a cache; without one, once per fold.
///
/// # Errors
/// Everything that [`train`](crate::train()) can fail with; folds that are already trained stay.
/// [`Error::InterruptedRun`] if interrupted: the cross-validation can then be
/// [resumed](crate::resume()).
pub fn cross_validate(
    checked: CheckedRecipe,
    out: impl Into<OutFolder>,
    session: &Session,
) -> Result<CrossValidation> {
    let folder = RunFolder::create(&out.into(), checked.recipe(), None)?;
    go_on(checked, folder, &Changes::default(), session)
}

/// Trains the folds that are not there yet; the interrupted ones continue.
pub(crate) fn go_on(
    checked: CheckedRecipe,
    mut folder: RunFolder,
    changes: &Changes,
    session: &Session,
) -> Result<CrossValidation> {
    if *changes != Changes::default() {
        folder.write_recipe(checked.recipe())?;
    }
    let Some(folds) = checked.recipe().folds else {
        return Err(Error::from(OutOfRange::new(
            "folds",
            "missing",
            "a cross-validation needs `folds`",
        )));
    };
    let out = folder.path().to_path_buf();
    let mut answers: Vec<Answer> = Vec::with_capacity(folds);
    for fold in 0..folds {
        let own_folder = out.join(format!("fold-{fold}"));
        session.progress().say(&format!("fold {fold} of {folds}, from 0"));
        let answered = if own_folder.exists() {
            match resume_changed(&own_folder, changes, OwnCallbacks::new(), session) {
                Ok(Resumed::Trained(answer) | Resumed::Complete(answer)) => Ok(*answer),
                Ok(Resumed::CrossValidated(_)) => Err(Error::Resume {
                    path: own_folder.clone(),
                    problem: "a fold cannot be a cross-validation: remove it".into(),
                }),
                Err(error) => Err(error),
            }
        } else {
            let mut own = checked.clone();
            own = own.with_fold(fold);
            train(own, own_folder.as_path(), session)
        };
        if own_folder.exists() {
            folder.keep();
        }
        match answered {
            Ok(answer) if answer.stopped != Outcome::Interrupted => answers.push(answer),
            Ok(_) | Err(Error::InterruptedRun { .. }) => {
                return Err(Error::InterruptedRun { run: out });
            }
            Err(Error::Interrupted) if fold > 0 => return Err(Error::InterruptedRun { run: out }),
            Err(error) => return Err(error),
        }
    }
    let spread = |of: fn(&Answer) -> f64| Spread::of(&answers.iter().map(of).collect::<Vec<_>>());
    let tests: Vec<f64> =
        answers.iter().filter_map(|a| a.test.as_ref()).map(|test| test.accuracy).collect();
    let whole = CrossValidation {
        run: out.display().to_string(),
        val_accuracy: spread(|a| a.val_accuracy),
        val_loss: spread(|a| a.val_loss),
        test_accuracy: (!tests.is_empty()).then(|| Spread::of(&tests)),
        head_alone: HeadAlone::of(&answers),
        unreadable: answers.first().map(|a| a.unreadable.clone()).unwrap_or_default(),
        folds: answers,
    };
    write_json(&out.join("folds.json"), &whole)?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_that_of_the_sample() {
        // statistics.stdev([0.9, 0.95, 0.97]) = 0.036055512754639885
        let spread = Spread::of(&[0.9, 0.95, 0.97]);
        assert!((spread.mean - 0.94).abs() < 1e-12);
        assert!((spread.std - 0.036_055_512_754_64).abs() < 1e-12);
        assert_eq!((spread.min, spread.max), (0.9, 0.97));
        assert_eq!(Spread::of(&[0.5]).std, 0.0);
    }
}
