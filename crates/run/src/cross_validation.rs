use serde::Serialize;
use taper_picture::Finding;

use taper_core::OutOfRange;
use taper_metrics::Spread;

use crate::{
    Answer, Changes, CheckedRecipe, Error, FineTuned, OutFolder, Outcome, OwnCallbacks, Result,
    Resumed, Session, file::write_json, resume_changed, run_folder::RunFolder, train,
};

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
