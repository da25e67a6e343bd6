//! The folder of a search: that of the best training so far, with what led to it in `search/`.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
};

use taper_core::file::write_atomically;
use taper_recipe::Recipe;
use taper_run::{Answer, Finished, Observer, Session, write_json};

use super::{Gain, SearchReport, SearchSettings};
use crate::{Error, Result, files};

/// What a search needs to go on.
const INNER: &str = "search";
const BASE: &str = "recipe.toml";
const SETTINGS: &str = "settings.toml";
/// Which run is being moved up; it is there only for that moment.
const MOVING: &str = "moving";
/// What the search did, beside the answer of the training.
pub(crate) const REPORT: &str = "search.json";
const RESULT: &str = "result.json";
const TABLE: &str = "tried.csv";
const LOCK: &str = ".lock";
const ROUNDS: &str = "rounds.json";

/// What some trainings leave and others do not.
const NOT_OF_ALL: [&str; 13] = [
    "checkpoints",
    "curves.png",
    "curves.svg",
    "fine-tune",
    "history.csv",
    "history.jsonl",
    "lr_find.json",
    "lr_find.png",
    "lr_find.svg",
    "predictions.csv",
    "reliability.png",
    "reliability.svg",
    "report.html",
];

/// The folder of a search.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    /// Held as long as this process uses the folder.
    _lock: File,
}

/// Whether a folder is that of a search.
pub(crate) fn is_search(folder: &Path) -> bool {
    folder.join(INNER).join(SETTINGS).is_file()
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |error| taper_run::Error::io(doing, &path)(error).into()
}

/// Writes what a search begins with into its new folder.
pub(crate) fn begin(folder: &Path, base: &Recipe, settings: &SearchSettings) -> Result<()> {
    let inner = folder.join(INNER);
    fs::create_dir_all(&inner).map_err(io("make", &inner))?;
    base.located().write(&inner.join(BASE))?;
    files::write_toml(&inner.join(SETTINGS), settings)
}

impl Place {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let name = folder.join(INNER).join(LOCK);
        let file = File::create(&name).map_err(io("write", &name))?;
        // A file system without locks is no reason to refuse.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let problem = "another process is using it".into();
            return Err(taper_run::Error::Resume { path: folder.into(), problem }.into());
        }
        let place = Self { folder: folder.to_owned(), _lock: file };
        place.finish_moving()?;
        Ok(place)
    }

    pub(crate) fn read(&self) -> Result<(Recipe, SearchSettings)> {
        let inner = self.folder.join(INNER);
        Ok((Recipe::read(&inner.join(BASE))?, files::read_toml(&inner.join(SETTINGS))?))
    }

    /// Where candidates are judged.
    pub(crate) fn judged(&self) -> PathBuf {
        self.folder.join(INNER).join("judged")
    }

    /// The folder of a training on everything.
    pub(crate) fn run(&self, name: &str) -> PathBuf {
        self.folder.join(INNER).join(name)
    }

    /// A cache of features for the time of the search.
    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.join(INNER).join("cache")
    }

    /// Makes a finished run that which the folder holds.
    pub(crate) fn move_up(&self, name: &str) -> Result<()> {
        let marker = self.folder.join(INNER).join(MOVING);
        write_atomically(&marker, name.as_bytes()).map_err(io("write", &marker))?;
        self.finish_moving()
    }

    /// Moves file by file, so that it can be gone on with whenever it was interrupted.
    fn finish_moving(&self) -> Result<()> {
        let marker = self.folder.join(INNER).join(MOVING);
        let Ok(name) = fs::read_to_string(&marker) else { return Ok(()) };
        let run = self.run(&name);
        if run.is_dir() {
            move_files(&run, &self.folder)?;
            self.relocate()?;
            remove(&run)?;
        }
        remove(&marker)
    }

    /// The answer says which folder it is in.
    fn relocate(&self) -> Result<()> {
        Ok(write_json(&self.folder.join(RESULT), &self.answer()?)?)
    }

    /// The answer of the training that the folder holds, wherever that is now.
    pub(crate) fn answer(&self) -> Result<Answer> {
        let answer: Answer = files::read_json(&self.folder.join(RESULT))?;
        Ok(Answer { run: self.folder.display().to_string(), ..answer })
    }

    /// In how many folds fine-tunings were judged, and with how many epochs.
    pub(crate) fn rounds(&self) -> Vec<(usize, u32)> {
        files::read_json(&self.folder.join(INNER).join(ROUNDS)).unwrap_or_default()
    }

    /// Takes a note of another round, so that a search that goes on repeats it.
    pub(crate) fn add_round(&self, round: (usize, u32)) -> Result<()> {
        let rounds = [self.rounds(), vec![round]].concat();
        Ok(write_json(&self.folder.join(INNER).join(ROUNDS), &rounds)?)
    }

    /// Whether it holds one.
    pub(crate) fn has_answer(&self) -> bool {
        self.folder.join(RESULT).is_file()
    }

    /// What was done before.
    pub(crate) fn report(&self) -> Option<SearchReport> {
        files::read_json(&self.folder.join(REPORT)).ok()
    }

    /// Writes what was done, for programs and as a table.
    pub(crate) fn write(&self, report: &SearchReport) -> Result<()> {
        write_json(&self.folder.join(REPORT), report)?;
        let mut table = String::from(
            "name,folds,pictures,accuracy,brier,gain_brier,gain_accuracy,standard_error,accuracy_error,kept,seconds\n",
        );
        for own in &report.tried {
            let gain = own.gain.map_or(",,,".into(), |gain| {
                let Gain { brier, accuracy, standard_error, accuracy_error, .. } = gain;
                format!("{brier:.6},{accuracy:.6},{standard_error:.6},{accuracy_error:.6}")
            });
            table += &format!(
                "\"{}\",{},{},{:.6},{:.6},{gain},{},{:.1}\n",
                own.name.replace('"', "'"),
                own.folds,
                own.pictures,
                own.accuracy,
                own.brier,
                own.kept,
                own.seconds
            );
        }
        let path = self.folder.join(TABLE);
        write_atomically(&path, table.as_bytes()).map_err(io("write", &path))
    }

    /// Removes what only a search that goes on needs.
    pub(crate) fn clean(&self) -> Result<()> {
        for path in [self.cache(), self.judged().join("run")] {
            remove(&path)?;
        }
        Ok(())
    }
}

/// Shows trainings as what the folder of the search will hold: by then, the folder that they are in
/// is gone.
#[derive(Debug)]
pub(crate) struct AtHome {
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) home: PathBuf,
}

impl Observer for AtHome {
    fn finished(&self, finished: &Finished<'_>, session: &Session) -> taper_run::Result<()> {
        self.observer.finished(&Finished { home: &self.home, ..*finished }, session)
    }
}

/// The answer comes last: without it, the folder still holds what it held.
fn move_files(run: &Path, folder: &Path) -> Result<()> {
    let mut names = listed(run)?;
    names.sort_by_key(|name| name == RESULT);
    if run.join(RESULT).is_file() {
        // Whatever else is there is not the search's.
        for name in NOT_OF_ALL.iter().filter(|name| !names.iter().any(|own| own == *name)) {
            remove(&folder.join(name))?;
        }
    }
    for name in names.iter().filter(|name| *name != LOCK) {
        let (from, to) = (run.join(name), folder.join(name));
        if to.is_dir() {
            remove(&to)?;
        }
        fs::rename(&from, &to).map_err(io("move", &from))?;
    }
    Ok(())
}

fn listed(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(io("read", folder))?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_replaces_the_one_before_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for name in ["model.safetensors", "result.json", "curves.png", "fine-tune/history.csv"] {
            write(&format!("out/{name}"), "before");
        }
        write("out/notes.txt", "the user's own");
        write("out/search/settings.toml", "search");
        for name in ["model.safetensors", "result.json", "recipe.toml"] {
            write(&format!("run/{name}"), "after");
        }
        let (run, out) = (root.path().join("run"), root.path().join("out"));
        move_files(&run, &out).unwrap();
        let mut names = listed(&out).unwrap();
        names.sort();
        let left = ["model.safetensors", "notes.txt", "recipe.toml", "result.json", "search"];
        assert_eq!(names, left);
        assert_eq!(fs::read_to_string(out.join("model.safetensors")).unwrap(), "after");
        assert_eq!(fs::read_to_string(out.join("notes.txt")).unwrap(), "the user's own");
        assert!(listed(&run).unwrap().is_empty());
    }
}
