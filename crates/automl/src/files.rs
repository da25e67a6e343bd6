//! The files of a study's folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use taper_core::file::write_atomically;
use taper_recipe::Recipe;
use taper_tune::{ImportanceConfig, Space, Study, TrialState, plot_importance};

use crate::{Result, StudySettings};

/// The recipe that trials change.
pub(crate) const RECIPE: &str = "recipe.toml";
const SPACE: &str = "space.toml";
pub(crate) const SETTINGS: &str = "study.toml";
/// The Optuna journal.
pub(crate) const JOURNAL: &str = "study.journal";
/// The name of the study in it.
pub(crate) const NAME: &str = "taper";
/// The answer.
pub(crate) const ANSWER: &str = "study.json";
/// The recipe of the best trial.
pub(crate) const BEST: &str = "best.toml";

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> taper_run::Error {
    taper_run::Error::io(doing, path)
}

/// What a study is about.
pub(crate) struct Plan {
    pub(crate) recipe: Recipe,
    pub(crate) space: Space,
    pub(crate) settings: StudySettings,
}

impl Plan {
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        self.recipe.located().write(&folder.join(RECIPE))?;
        let mut parameters = toml::Table::new();
        for (name, distribution) in self.space.iter() {
            let entry = toml::Value::try_from(distribution).map_err(|e| not_toml(SPACE, &e))?;
            parameters.insert(name.to_owned(), entry);
        }
        let space = toml::Table::from_iter([("space".to_owned(), toml::Value::Table(parameters))]);
        write_toml(&folder.join(SPACE), &space)?;
        self.write_settings(folder)
    }

    pub(crate) fn write_settings(&self, folder: &Path) -> Result<()> {
        write_toml(&folder.join(SETTINGS), &self.settings)
    }

    pub(crate) fn read(folder: &Path) -> Result<Self> {
        if !folder.join(SETTINGS).is_file() {
            let problem = match folder.exists() {
                true => "it holds no study.toml, so it is not the folder of a study",
                false => "there is no such folder: give the folder of a study",
            };
            let path = folder.to_owned();
            return Err(taper_run::Error::Resume { path, problem: problem.into() }.into());
        }
        Ok(Self {
            recipe: Recipe::read(&folder.join(RECIPE))?,
            space: Space::from_file(&folder.join(SPACE))?,
            settings: read_toml(&folder.join(SETTINGS))?,
        })
    }
}

fn not_toml(path: &str, error: &toml::ser::Error) -> taper_run::Error {
    taper_run::Error::RecipeFile { path: path.into(), problem: error.to_string() }
}

pub(crate) fn write_toml(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = toml::to_string(value).map_err(|e| not_toml(SETTINGS, &e))?;
    Ok(write_atomically(path, text.as_bytes()).map_err(io("write", path))?)
}

pub(crate) fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(io("read", path))?;
    let fail = |problem| taper_run::Error::RecipeFile { path: path.into(), problem };
    Ok(toml::from_str(&text).map_err(|e| fail(e.to_string()))?)
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(io("read", path))?;
    let fail = |source| taper_run::Error::Json { path: path.into(), source };
    Ok(serde_json::from_str(&text).map_err(fail)?)
}

/// The run folder of a trial.
pub(crate) fn trial_folder(folder: &Path, number: usize) -> PathBuf {
    folder.join("trials").join(format!("{number:04}"))
}

/// Leaves weights only to the best trial and to those that may go on.
pub(crate) fn drop_weights(folder: &Path, study: &Study) {
    let best = study.best_trial().map(|best| best.number);
    for trial in study.trials().iter().filter(|trial| Some(trial.number) != best) {
        if !matches!(trial.state, TrialState::Complete | TrialState::Pruned | TrialState::Failed) {
            continue;
        }
        let own = trial_folder(folder, trial.number);
        // What cannot be removed only takes room.
        let _ = fs::remove_file(own.join("model.safetensors"));
        for part in ["checkpoints", "fine-tune/checkpoints"] {
            let _ = fs::remove_dir_all(own.join(part));
        }
    }
}

/// Removes the run of a trial that cannot be gone on with.
pub(crate) fn remove_run(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("remove", folder)(error).into())
        }
        _ => Ok(()),
    }
}

/// Draws the study and writes its trials as a table.
pub(crate) fn draw(folder: &Path, title: &str, study: &Study) -> Result<()> {
    let history = study.history();
    let table = folder.join("trials.csv");
    write_atomically(&table, history.table().csv().as_bytes()).map_err(io("write", &table))?;
    if study.best_trial().is_none() {
        return Ok(());
    }
    let save = |picture: taper_tune::Picture, name: &str| {
        let saved = picture.save(folder, name).map_err(taper_report::Error::from);
        saved.map_err(taper_run::Error::from)
    };
    save(history.plot_progress(title), "history")?;
    save(history.plot_parallel(title), "parallel")?;
    let importance = ImportanceConfig::default().check()?.of(history);
    if !importance.is_empty() {
        save(plot_importance(title, &importance), "importance")?;
    }
    for name in history.parameters() {
        if let Some(slice) = history.plot_slice(title, name) {
            save(slice, &format!("slice-{name}"))?;
        }
    }
    Ok(())
}
