use serde::Serialize;
use taper_picture::Finding;

use taper_core::OutOfRange;
use taper_metrics::{Evaluation, Spread};

use crate::{
    Answer, Changes, CheckedRecipe, Error, FineTuned, OutFolder, Outcome, OwnCallbacks, Recipe,
    Result, Resumed, Session, resume_changed, run_folder::RunFolder, train, write_json,
};

/// The result of several trainings: the answer of `taper train --folds K --json`, and of `--seeds
/// N`.
#[derive(Debug, Clone, Serialize)]
pub struct Repeated {
    /// The folder, with a run folder for each training in it.
    pub run: String,
    /// Each on its own validation pictures.
    pub val_accuracy: Spread,
    /// Each on its own validation pictures.
    pub val_loss: Spread,
    /// All on the same untouched test pictures, unless these are drawn too; `null` if there are
    /// none.
    pub test_accuracy: Option<Spread>,
    /// As [`Self::test_accuracy`].
    pub test_loss: Option<Spread>,
    /// The same figures before fine-tuning, with the head alone; `null` without fine-tuning.
    pub head_alone: Option<HeadAlone>,
    /// Pictures that could not be used and were left out.
    pub unreadable: Vec<Finding>,
    /// The trainings by fold, if these differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub folds: Vec<Answer>,
    /// The trainings by seed, if these differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<Answer>,
}

/// In what the trainings differ.
#[derive(Debug, Clone, Copy)]
enum Parts {
    Folds(usize),
    /// How many seeds, and the first.
    Seeds(usize, u64),
}

impl Parts {
    fn of(recipe: &Recipe) -> Result<Self> {
        match (recipe.seeds, recipe.folds) {
            (Some(seeds), _) => Ok(Self::Seeds(seeds, recipe.seed)),
            (None, Some(folds)) => Ok(Self::Folds(folds)),
            (None, None) => {
                let remedy = "several trainings need `folds` or `seeds`";
                Err(OutOfRange::new("folds", "missing", remedy).into())
            }
        }
    }

    fn count(self) -> usize {
        match self {
            Self::Folds(count) | Self::Seeds(count, _) => count,
        }
    }

    /// The folder of one of them.
    fn name(self, number: usize) -> String {
        match self {
            Self::Folds(_) => format!("fold-{number}"),
            Self::Seeds(_, first) => format!("seed-{}", first.wrapping_add(number as u64)),
        }
    }

    fn said(self, number: usize) -> String {
        match self {
            Self::Folds(folds) => format!("fold {number} of {folds}, from 0"),
            Self::Seeds(seeds, first) => {
                let seed = first.wrapping_add(number as u64);
                format!("seed {seed}, {} of {seeds}", number + 1)
            }
        }
    }

    fn recipe(self, whole: &CheckedRecipe, number: usize) -> CheckedRecipe {
        match self {
            Self::Folds(_) => whole.clone().with_fold(number),
            Self::Seeds(..) => whole.clone().with_seed(number),
        }
    }

    /// The file with the answer.
    fn file(self) -> &'static str {
        match self {
            Self::Folds(_) => "folds.json",
            Self::Seeds(..) => "seeds.json",
        }
    }
}

/// Figures of heads, before their networks were trained too.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HeadAlone {
    /// Each on its own validation pictures.
    pub val_accuracy: Spread,
    /// Each on its own validation pictures.
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
/// `out/folds.json`; or with several seeds, into `out/seed-0` and so on, and writes
/// `out/seeds.json`.
///
/// The backbone sees every picture once if the session has a cache; without one, once per training.
///
/// # Errors
/// Everything that [`train`](crate::train()) can fail with; what is trained already stays.
/// [`Error::InterruptedRun`] if interrupted: it can then be [resumed](crate::resume()).
pub fn train_repeatedly(
    checked: CheckedRecipe,
    out: impl Into<OutFolder>,
    session: &Session,
) -> Result<Repeated> {
    let folder = RunFolder::create(&out.into(), checked.recipe(), None)?;
    go_on(&checked, folder, &Changes::default(), session)
}

/// Carries out the trainings that are not there yet; the interrupted ones continue.
pub(crate) fn go_on(
    checked: &CheckedRecipe,
    mut folder: RunFolder,
    changes: &Changes,
    session: &Session,
) -> Result<Repeated> {
    if *changes != Changes::default() {
        folder.write_recipe(checked.recipe())?;
    }
    let parts = Parts::of(checked.recipe())?;
    let out = folder.path().to_path_buf();
    let mut answers: Vec<Answer> = Vec::with_capacity(parts.count());
    for number in 0..parts.count() {
        let own_folder = out.join(parts.name(number));
        session.progress().say(&parts.said(number));
        let answered = if own_folder.exists() {
            match resume_changed(&own_folder, changes, OwnCallbacks::new(), session) {
                Ok(Resumed::Trained(answer) | Resumed::Complete(answer)) => Ok(*answer),
                Ok(Resumed::Repeated(_)) => Err(Error::Resume {
                    path: own_folder.clone(),
                    problem: "it cannot itself stand for several trainings: remove it".into(),
                }),
                Err(error) => Err(error),
            }
        } else {
            train(parts.recipe(checked, number), own_folder.as_path(), session)
        };
        if own_folder.exists() {
            folder.keep();
        }
        match answered {
            Ok(answer) if answer.stopped != Outcome::Interrupted => answers.push(answer),
            Ok(_) | Err(Error::InterruptedRun { .. }) => {
                return Err(Error::InterruptedRun { run: out });
            }
            Err(Error::Interrupted) if number > 0 => {
                return Err(Error::InterruptedRun { run: out });
            }
            Err(error) => return Err(error),
        }
    }
    let spread = |of: fn(&Answer) -> f64| Spread::of(&answers.iter().map(of).collect::<Vec<_>>());
    let tested = |of: fn(&Evaluation) -> f64| {
        let tests: Vec<f64> =
            answers.iter().filter_map(|answer| answer.test.as_ref()).map(of).collect();
        (!tests.is_empty()).then(|| Spread::of(&tests))
    };
    let mut whole = Repeated {
        run: out.display().to_string(),
        val_accuracy: spread(|a| a.val_accuracy),
        val_loss: spread(|a| a.val_loss),
        test_accuracy: tested(|test| test.accuracy),
        test_loss: tested(|test| test.loss),
        head_alone: HeadAlone::of(&answers),
        unreadable: answers.first().map(|a| a.unreadable.clone()).unwrap_or_default(),
        folds: Vec::new(),
        seeds: Vec::new(),
    };
    match parts {
        Parts::Folds(_) => whole.folds = answers,
        Parts::Seeds(..) => whole.seeds = answers,
    }
    write_json(&out.join(parts.file()), &whole)?;
    Ok(whole)
}
