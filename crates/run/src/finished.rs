use std::path::Path;

use taper_data::Dataset;
use taper_grad::Head;
use taper_model::Calibration;
use taper_train::Table;

use crate::{
    Answer, Recipe, Result, Session,
    calibrate::FinalRows,
    prepare::{Prepared, Tables},
};

/// A part of the pictures of a training: their places in the data set, and their features.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The pictures, by their places in the data set.
    pub samples: &'a [usize],
    /// Their rows, as many of each picture as there are views of it.
    pub table: &'a Table,
}

/// A training that is over: what is in memory at its end, and lost afterwards.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// The run folder, in which the model and the answer are.
    pub folder: &'a Path,
    /// Where that folder will be in the end: a search moves the best of its trainings.
    pub home: &'a Path,
    /// What was trained, and how.
    pub recipe: &'a Recipe,
    /// What it came to.
    pub answer: &'a Answer,
    /// All pictures.
    pub dataset: &'a Dataset,
    /// The training pictures, as the frozen network sees them.
    pub train: Part<'a>,
    /// The validation pictures, as the finished network sees them.
    pub val: Part<'a>,
    /// The test pictures, as the finished network sees them.
    pub test: Part<'a>,
    /// The finished head.
    pub head: &'a Head,
    /// What the model knows about its own answers.
    pub calibration: Option<&'a Calibration>,
}

/// Looks at trainings that are over, and may add files to their folders.
pub trait Observer: std::fmt::Debug + Send + Sync {
    /// A training is over, and was not interrupted.
    ///
    /// # Errors
    /// Any; the training's own files are complete by then.
    fn finished(&self, finished: &Finished<'_>, session: &Session) -> Result<()>;
}

/// Shows a training that is over to the session's observer. `rows`: features of the finished
/// network, where it was trained too.
pub(crate) fn show(
    folder: &Path,
    (prepared, tables, rows): (&Prepared, &Tables, Option<&FinalRows>),
    (answer, head, calibration): (&Answer, &Head, Option<&Calibration>),
    session: &Session,
) -> Result<()> {
    let Some(observer) = session.observer() else { return Ok(()) };
    let [val, test] = rows.map_or([&tables.val, &tables.test], |own| [&own.val, &own.test]);
    let splits = &prepared.splits;
    let finished = Finished {
        folder,
        home: folder,
        recipe: prepared.checked.recipe(),
        answer,
        dataset: &prepared.dataset,
        train: Part { samples: &splits.train, table: &tables.train },
        val: Part { samples: &splits.val, table: val },
        test: Part { samples: &splits.test, table: test },
        head,
        calibration,
    };
    observer.finished(&finished, session)
}
