use std::{fs, path::Path, time::Instant};

use taper_core::OutOfRange;
use taper_data::{DataRecord, Dataset};
use taper_sources::FolderUse;

use crate::{
    Answer, Error, Outcome, OwnCallbacks, Recipe, Repeated, Result, Session, check_present,
    data_record,
    fine_tune::FINE_TUNE,
    open_data_with,
    prepare::Prepared,
    repeated::go_on,
    run::{RESULT, Run},
    run_folder::RunFolder,
};

/// What may be different when a run goes on. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Where the data are now: the same pictures under the same names.
    pub data: Option<String>,
    /// How many epochs the run has in all, at least as many as it had. A run that was complete is
    /// prolonged.
    pub epochs: Option<u32>,
}

/// What resuming a run came to.
#[derive(Debug)]
pub enum Resumed {
    /// It went on to its end.
    Trained(Box<Answer>),
    /// It had already finished: its earlier answer.
    Complete(Box<Answer>),
    /// It stands for several trainings: all of them are finished, now or before.
    Repeated(Box<Repeated>),
}

/// Continues a run that was interrupted, in whatever way; the result is byte for byte that of an
/// uninterrupted run. In the folder of a cross-validation, complete folds are kept as they are.
///
/// # Errors
/// [`Error::Resume`] if the folder is not a run folder or another process is using it,
/// [`Error::Setting`] if the pictures have changed since, [`taper_train::Error::Checkpoint`] if
/// weights or settings have, and everything that [`train`](crate::train()) can fail with.
pub fn resume(run: &Path, session: &Session) -> Result<Resumed> {
    resume_with(run, OwnCallbacks::new(), session)
}

/// As [`resume`], for a run that [`train_with`](crate::train_with) began with these callbacks. A
/// cross-validation has none.
///
/// # Errors
/// As [`resume`].
pub fn resume_with(run: &Path, own: OwnCallbacks, session: &Session) -> Result<Resumed> {
    resume_changed(run, &Changes::default(), own, session)
}

/// As [`resume_with`], with data that have moved or with more epochs. The result is byte for byte
/// that of a run that had this many epochs from the start: where the schedule's rates depend on
/// the number of epochs, the head is therefore trained again from its beginning.
///
/// # Errors
/// As [`resume`]; [`Error::Setting`] for fewer epochs than the run had, or if the data are not the
/// same pictures, which names what differs.
pub fn resume_changed(
    run: &Path,
    changes: &Changes,
    own: OwnCallbacks,
    session: &Session,
) -> Result<Resumed> {
    let start = Instant::now();
    let (folder, before) = RunFolder::open(run)?;
    let recipe = changes.apply(&before)?;
    if changes.data.is_none() && check_present(recipe.data_place()).is_err() {
        let remedy =
            "the data of the run are no longer there: if they have moved, say where to with `data`";
        return Err(OutOfRange::new("data", format!("'{}'", recipe.data), remedy).into());
    }
    let prolonged = recipe.epochs > before.epochs;
    if recipe.is_repeated() {
        let whole = go_on(&recipe.check()?, folder, changes, session)?;
        return Ok(Resumed::Repeated(Box::new(whole)));
    }
    if let Some(result) = complete(&folder)
        && !prolonged
    {
        if changes.data.is_some() {
            check_present(recipe.data_place())?;
            let dataset =
                open_data_with(recipe.data_place(), recipe.reading(FolderUse::Train), session)?;
            same_pictures(&folder, &recipe, &dataset)?;
            folder.write_recipe(&recipe)?;
        }
        return Ok(Resumed::Complete(Box::new(result)));
    }
    let prepared = Prepared::new(recipe.check()?, session)?;
    let recipe = prepared.checked.recipe();
    same_pictures(&folder, recipe, &prepared.dataset)?;
    if prolonged {
        prolong(&folder, &before, recipe, session)?;
    }
    if before != *recipe {
        folder.write_recipe(recipe)?;
    }
    if data_record::read(folder.path()).is_none() {
        data_record::write(&DataRecord::of(&prepared.dataset), folder.path())?;
    }
    let run = Run { folder, start, session };
    run.carry_out(prepared, own).map(|answer| Resumed::Trained(Box::new(answer)))
}

impl Changes {
    /// The recipe of the run that goes on.
    fn apply(&self, before: &Recipe) -> Result<Recipe> {
        let mut recipe = before.clone();
        if let Some(data) = &self.data {
            recipe.data = data.clone();
            recipe.data_path = None;
        }
        if let Some(epochs) = self.epochs {
            if epochs < before.epochs {
                let remedy = format!(
                    "the run has {}, and can only be given more: use more than that, or train into a new folder without `resume`",
                    before.epochs
                );
                return Err(OutOfRange::new("epochs", epochs, remedy).into());
            }
            if recipe.solves_head() {
                let remedy = "the head `logistic` is solved, not trained in epochs: there is nothing to prolong; leave it out";
                return Err(OutOfRange::new("epochs", epochs, remedy).into());
            }
            recipe.epochs = epochs;
        }
        Ok(recipe)
    }
}

/// The answer of a run that went to its end.
fn complete(folder: &RunFolder) -> Option<Answer> {
    let text = fs::read_to_string(folder.file(RESULT)).ok()?;
    let result: Answer = serde_json::from_str(&text).ok()?;
    (result.stopped != Outcome::Interrupted).then_some(result)
}

/// Refuses data that are not those of the run.
fn same_pictures(folder: &RunFolder, recipe: &Recipe, dataset: &Dataset) -> Result<()> {
    // A run from before there were records has its checkpoints, which know their features.
    let Some(before) = data_record::read(folder.path()) else { return Ok(()) };
    let differences = before.differences(&DataRecord::of(dataset));
    match differences.or_else(|| before.other_contents(dataset)) {
        None => Ok(()),
        Some(differences) => {
            let remedy = format!(
                "these are not the pictures of the run: {differences}; give the folder with the same pictures, or train into a new folder without `resume`"
            );
            Err(OutOfRange::new("data", format!("'{}'", recipe.data), remedy).into())
        }
    }
}

/// Makes a run one that is not complete yet.
fn prolong(folder: &RunFolder, before: &Recipe, now: &Recipe, session: &Session) -> Result<()> {
    let progress = session.progress();
    let (from, to) = (before.epochs, now.epochs);
    if now.schedule.depends_on_length() {
        progress.warn(&format!(
            "the schedule of the learning rate spreads over all epochs, so that {to} epochs differ from {from} from the first step on: the head is trained again from its beginning"
        ));
        remove(fs::remove_dir_all(folder.file("checkpoints")), &folder.file("checkpoints"))?;
    } else {
        progress.say(&format!("the run goes on from {from} to {to} epochs"));
    }
    // What came after the head began with another head.
    let tuned = folder.file(FINE_TUNE);
    remove(fs::remove_dir_all(&tuned), &tuned)?;
    // From here on the run counts as interrupted.
    remove(fs::remove_file(folder.file(RESULT)), &folder.file(RESULT))
}

fn remove(outcome: std::io::Result<()>, path: &Path) -> Result<()> {
    match outcome {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
