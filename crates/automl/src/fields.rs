//! Parameters of a study are fields of a recipe.

use taper_core::{Fault, OutOfRange};
use taper_optim::Algorithm;
use taper_recipe::Recipe;
use taper_tune::{Space, Value};
use toml::{Table, Value as Toml};

use crate::Result;

/// The recipe with other values for some fields, by their names in a recipe file; those of its
/// tables with dots, e.g. `fine_tune.layer_decay`.
///
/// # Errors
/// [`OutOfRange`] names the field that a recipe does not have, or that does not take the value.
pub fn with_fields<'a>(
    recipe: &Recipe,
    fields: impl IntoIterator<Item = (&'a str, Value)>,
) -> Result<Recipe> {
    let mut table: Table = toml::from_str(&recipe.to_toml()?).map_err(|e| unreadable(&e))?;
    for (name, value) in fields {
        let shown = value.to_string();
        let Some(value) = as_toml(value) else {
            let remedy = "a recipe has no such values: use a text, a number or a boolean";
            return Err(OutOfRange::new(format!("space.{name}"), shown, remedy).into());
        };
        set(&mut table, name, value)?;
        if let Err(problem) = table.clone().try_into::<Recipe>() {
            let remedy = format!("no such value or field in a recipe ({})", problem.message());
            return Err(OutOfRange::new(format!("space.{name}"), shown, remedy).into());
        }
    }
    Ok(table.try_into().map_err(|e| unreadable(&e))?)
}

fn unreadable(error: &toml::de::Error) -> taper_recipe::Error {
    taper_recipe::Error::RecipeFile { path: "recipe".into(), problem: error.to_string() }
}

fn as_toml(value: Value) -> Option<Toml> {
    Some(match value {
        Value::Int(value) => Toml::Integer(value),
        Value::Float(value) => Toml::Float(value),
        Value::Bool(value) => Toml::Boolean(value),
        Value::Text(value) => Toml::String(value),
        _ => return None,
    })
}

fn set(table: &mut Table, name: &str, value: Toml) -> Result<()> {
    let (tables, field) = name.rsplit_once('.').unwrap_or(("", name));
    let mut inner = table;
    for part in tables.split('.').filter(|part| !part.is_empty()) {
        inner = match inner.get_mut(part) {
            Some(Toml::Table(next)) => next,
            _ => {
                let remedy = format!(
                    "the recipe has no table `{part}`: use a field that the recipe has, or give that table in it"
                );
                return Err(OutOfRange::new("space", format!("'{name}'"), remedy).into());
            }
        };
    }
    inner.insert(field.to_owned(), value);
    Ok(())
}

/// What is tuned unless told otherwise: rates, regularisation and the head, and with fine-tuning
/// what steers that.
///
/// # Errors
/// None in fact: a test makes it for every recipe that has a name.
pub fn default_space(recipe: &Recipe) -> Result<Space> {
    let mut space = Space::new();
    if recipe.epochs > 0 && !recipe.solves_head() {
        space = space
            .log_float("learning_rate", 1e-5, 1e-2)?
            .float("dropout", 0.0, 0.5)?
            .choice("head", ["linear", "cosine", "tutorial", "mlp:512"])?;
    }
    if !recipe.solves_head() || recipe.trains_network() {
        space = space.choice("loss.label_smoothing", [0.0, 0.05, 0.1])?;
    }
    if matches!(recipe.optimizer.algorithm, Algorithm::AdamW { .. }) {
        let decays = [0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1];
        space = space.choice("optimizer.algorithm.weight_decay", decays)?;
    }
    if !recipe.fresh_views {
        space = space
            .choice("views", [1, 2, 4])?
            .choice("augment", ["light", "standard", "trivial-augment"])?;
    }
    if let Some(own) = recipe.fine_tune.as_ref().filter(|own| own.unfreeze().is_some()) {
        space = space.log_float("fine_tune.learning_rate", 1e-5, 1e-2)?;
        if own.lowest_rate.is_none() {
            space = space.choice("fine_tune.layer_decay", [1.0, 0.65, 0.75, 0.85])?;
        }
        if matches!(own.optimizer.algorithm, Algorithm::AdamW { .. }) {
            let decays = [0.0, 1e-4, 1e-2, 1e-1];
            space = space.choice("fine_tune.optimizer.algorithm.weight_decay", decays)?;
        }
    }
    Ok(space)
}

/// Fields and tables that all trials of a study share: which pictures there are, what they are for,
/// and by which of them trials are compared.
const SHARED: [&str; 10] =
    ["data", "data_path", "val", "group_by", "folds", "fold", "seeds", "seed", "strict", "source"];

/// Checks that each value of each parameter, the others as the recipe has them, is one that the
/// recipe can have.
///
/// # Errors
/// [`OutOfRange`] names the parameter.
pub(crate) fn check_space(recipe: &Recipe, space: &Space) -> Result<()> {
    for (name, distribution) in space.iter() {
        let table = name.split('.').next().unwrap_or(name);
        if SHARED.contains(&table) {
            let remedy = "trials are compared by the same pictures, split and seed: leave it out, or set it in the recipe";
            let field = format!("space.{name}");
            return Err(OutOfRange::new(field, "set", remedy).into());
        }
        for value in ends(distribution) {
            let shown = value.to_string();
            let changed = with_fields(recipe, [(name, value)])?;
            // What one field alone contradicts, others may put right.
            if let Err(error) = changed.check()
                && let Some(setting) = error.setting()
                && name.ends_with(setting.field.as_ref())
            {
                let field = format!("space.{name}");
                return Err(OutOfRange::new(field, shown, setting.remedy.clone()).into());
            }
        }
    }
    Ok(())
}

/// The smallest and the largest value, or all choices.
fn ends(distribution: &taper_tune::Distribution) -> Vec<Value> {
    use taper_tune::Distribution as Of;
    match distribution {
        Of::Float { low, high, .. } => vec![Value::Float(*low), Value::Float(*high)],
        Of::Int { low, high, .. } => vec![Value::Int(*low), Value::Int(*high)],
        Of::Categorical { choices } => choices.clone(),
    }
}

#[cfg(test)]
mod tests {
    use taper_recipe::NAMED_RECIPES;

    use super::*;

    #[test]
    fn fields_of_tables_are_set() {
        let recipe = Recipe::named("lp-ft").unwrap();
        let fields = [
            ("learning_rate", Value::Float(0.5)),
            ("head", Value::Text("cosine".into())),
            ("fine_tune.layer_decay", Value::Int(1)),
        ];
        let changed = with_fields(&recipe, fields).unwrap();
        assert_eq!(changed.head.to_string(), "cosine");
        assert_eq!(changed.fine_tune.unwrap().layer_decay, 1.0);
        for (name, value, words) in [
            ("learning_rat", Value::Float(0.5), "space.learning_rat is 0.5: no such"),
            ("head", Value::Text("lineer".into()), "space.head is lineer"),
            ("tune.rate", Value::Float(0.5), "space is 'tune.rate': the recipe has no table"),
        ] {
            let error = with_fields(&recipe, [(name, value)]).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_default_space_fits_every_named_recipe() {
        for named in NAMED_RECIPES {
            let recipe = Recipe::named(named.name).unwrap();
            check_space(&recipe, &default_space(&recipe).unwrap()).unwrap();
        }
        let solved = with_fields(&Recipe::default(), [("head", Value::Text("logistic".into()))]);
        let solved = solved.unwrap();
        check_space(&solved, &default_space(&solved).unwrap()).unwrap();
        let space = Space::new().choice("val", ["0.2", "test"]).unwrap();
        let error = check_space(&Recipe::default(), &space).unwrap_err().to_string();
        assert!(error.contains("space.val is set: trials are compared by"), "{error}");
        let space = Space::new().float("dropout", 0.0, 1.5).unwrap();
        let error = check_space(&Recipe::default(), &space).unwrap_err().to_string();
        assert!(error.contains("space.dropout is 1.5"), "{error}");
    }
}
