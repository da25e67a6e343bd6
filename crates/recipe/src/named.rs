use std::path::Path;

use taper_core::OutOfRange;

use crate::{Error, FineTune, Recipe, Result};

/// A recipe that has a name.
#[derive(Debug, Clone, Copy)]
pub struct NamedRecipe {
    /// The name, as given to `--recipe`.
    pub name: &'static str,
    /// What it does, in a line.
    pub description: &'static str,
    /// The recipe as TOML, with comments.
    pub toml: &'static str,
}

/// All recipes that have a name.
pub const NAMED_RECIPES: [NamedRecipe; 6] = [
    NamedRecipe {
        name: "fast",
        description: "the default: a head that is solved, on the frozen network's features",
        toml: include_str!("../recipes/fast.toml"),
    },
    NamedRecipe {
        name: "lp-ft",
        description: "the head, then all layers gently, kept as far as validation improves",
        toml: include_str!("../recipes/lp-ft.toml"),
    },
    NamedRecipe {
        name: "fastai",
        description: "fastai's fine_tune: one epoch of the head, then one-cycle over groups of layers",
        toml: include_str!("../recipes/fastai.toml"),
    },
    NamedRecipe {
        name: "bit",
        description: "BiT-HyperRule: 500 steps of SGD from a head of zeros",
        toml: include_str!("../recipes/bit.toml"),
    },
    NamedRecipe {
        name: "keras",
        description: "the Keras guide: the head, then all layers at 1e-5",
        toml: include_str!("../recipes/keras.toml"),
    },
    NamedRecipe {
        name: "autogluon",
        description: "AutoGluon: all layers at once, new views in every epoch, a soup of three",
        toml: include_str!("../recipes/autogluon.toml"),
    },
];

impl NamedRecipe {
    /// The recipe of this name.
    ///
    /// # Errors
    /// [`Error::Setting`] lists the names.
    pub fn find(name: &str) -> Result<&'static Self> {
        NAMED_RECIPES.iter().find(|recipe| recipe.name == name).ok_or_else(|| {
            let names: Vec<&str> = NAMED_RECIPES.iter().map(|recipe| recipe.name).collect();
            let remedy = format!("the recipes are {}", names.join(", "));
            OutOfRange::new("recipe", format!("'{name}'"), remedy).into()
        })
    }
}

impl Recipe {
    /// The recipe of a name.
    ///
    /// # Errors
    /// [`Error::Setting`] lists the names.
    pub fn named(name: &str) -> Result<Self> {
        let found = NamedRecipe::find(name)?;
        Self::parse(found.toml, Path::new(found.name))
    }
}

impl FineTune {
    /// That of the recipe `lp-ft`.
    ///
    /// # Errors
    /// None in fact: a test reads all named recipes.
    pub fn lp_ft() -> Result<Self> {
        let problem = "it has no table [fine_tune]".to_owned();
        Recipe::named("lp-ft")?
            .fine_tune
            .ok_or_else(|| Error::RecipeFile { path: "lp-ft".into(), problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_recipe_is_valid_and_survives_toml() {
        for named in NAMED_RECIPES {
            let recipe = Recipe::named(named.name).unwrap();
            recipe.clone().check().unwrap();
            let again: Recipe = toml::from_str(&recipe.to_toml().unwrap()).unwrap();
            assert_eq!(again, recipe, "{}", named.name);
            assert_eq!(recipe.trains_network(), named.name != "fast");
        }
        let error = Recipe::named("lpft").unwrap_err().to_string();
        assert!(
            error.contains("recipe is 'lpft'") && error.contains("fast, lp-ft, fastai"),
            "{error}"
        );
    }
}
