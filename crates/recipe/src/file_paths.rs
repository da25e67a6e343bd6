//! Where the files of a recipe are: as given, and absolute.

use std::path::{Path, absolute};

use taper_core::OutOfRange;

use crate::{KNOWN_DATASETS, Recipe, Result};

impl Recipe {
    /// The same recipe with the absolute paths of its data and weights, as it is written into a run
    /// folder: it can then be run from any folder.
    pub fn located(&self) -> Self {
        Self {
            data_path: full_path(self.data_place()).filter(|_| is_path(&self.data)),
            weights_path: full_path(self.weights_place()).filter(|_| is_file(&self.weights)),
            ..self.clone()
        }
    }

    /// The same recipe without absolute paths, as it is written into a model: models go elsewhere,
    /// and the same training gives the same bytes in any folder.
    pub fn anywhere(&self) -> Self {
        Self { data_path: None, weights_path: None, ..self.clone() }
    }

    /// Where the data are.
    pub fn data_place(&self) -> &str {
        place(&self.data, self.data_path.as_deref())
    }

    /// Where the weights are, or the word for them.
    pub fn weights_place(&self) -> &str {
        place(&self.weights, self.weights_path.as_deref())
    }
}

/// Finds out before any work whether data on this machine exist.
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) if there is nothing at the path.
pub fn check_present(data: &str) -> Result<()> {
    // What a pattern finds is for the source to say.
    let pattern = data.contains(['*', '?', '[', '{']);
    if !is_path(data) || pattern || Path::new(data).symlink_metadata().is_ok() {
        return Ok(());
    }
    let remedy = "there is no such folder or file: check the spelling, or give a name that `taper datasets` lists";
    Err(OutOfRange::new("data", format!("'{data}'"), remedy).into())
}

/// The recorded place where it still exists, unless it is the given one anyway.
fn place<'a>(given: &'a str, recorded: Option<&'a str>) -> &'a str {
    match recorded {
        Some(path) if Path::new(path).exists() && full_path(given).as_deref() != Some(path) => path,
        _ => given,
    }
}

/// Whether data are a path, rather than a name.
fn is_path(data: &str) -> bool {
    !data.starts_with("hf:") && KNOWN_DATASETS.iter().all(|known| known.name != data)
}

fn is_file(weights: &str) -> bool {
    !matches!(weights, "pretrained" | "random")
}

/// The absolute path, if it can be written in a recipe.
fn full_path(given: &str) -> Option<String> {
    absolute(given).ok()?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_path_is_used_where_it_exists() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().to_str().unwrap();
        let recipe = Recipe { data: "elsewhere/photos".into(), ..Recipe::default() };
        assert_eq!(recipe.data_place(), "elsewhere/photos");
        let located = recipe.located();
        assert!(Path::new(located.data_path.as_deref().unwrap()).is_absolute());
        assert_eq!(located.data, "elsewhere/photos");
        assert_eq!(located.weights_path, None);
        assert_eq!(located.anywhere(), recipe);
        let recorded = Recipe { data_path: Some(here.into()), ..recipe.clone() };
        assert_eq!(recorded.data_place(), here);
        assert_eq!(recorded.located().data_path.as_deref(), Some(here));
        let gone = Recipe { data_path: Some(format!("{here}/gone")), ..recipe };
        assert_eq!(gone.data_place(), "elsewhere/photos");
        for name in ["synthetic", "hf:owner/name"] {
            let recipe = Recipe { data: name.into(), ..Recipe::default() };
            assert_eq!(recipe.located(), recipe);
        }
    }
}
