use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use taper_core::OutOfRange;

use crate::{Distribution, Error, Result, Value};

/// The parameters to tune, each with the values that it may have.
///
/// ```
/// use taper_tune::Space;
/// let space = Space::new()
///     .log_float("rate", 1e-5, 1e-1)?
///     .float("dropout", 0.0, 0.5)?
///     .int("layers", 1, 8)?
///     .choice("head", ["linear", "mlp"])?;
/// let same = Space::from_toml(r#"
///     [space.rate]
///     type = "float"
///     low = 1e-5
///     high = 1e-1
///     log = true
///
///     [space]
///     dropout = { type = "float", low = 0.0, high = 0.5 }
///     layers = { type = "int", low = 1, high = 8 }
///     head = { type = "categorical", choices = ["linear", "mlp"] }
/// "#)?;
/// assert_eq!(same.get("rate"), space.get("rate"));
/// assert_eq!(same.len(), 4);
///
/// let wrong = Space::new().log_float("rate", 0.0, 1.0).unwrap_err();
/// assert_eq!(wrong.to_string(), "space.rate.low is 0: with `log`, use a number above 0");
/// # Ok::<(), taper_tune::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Space {
    parameters: Vec<(String, Distribution)>,
}

/// The form of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    space: BTreeMap<String, Distribution>,
}

impl Space {
    /// A space without parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a space from TOML: a table `space` with a table for each parameter. Its `type` is
    /// `float` or `int`, with `low`, `high` and if wanted `log = true` or `step`, or
    /// `categorical` with `choices`: texts, numbers, booleans. Other tables are not allowed.
    ///
    /// # Errors
    /// [`Error::Space`] with the line that cannot be read; [`Error::Setting`] names the field that
    /// is out of range.
    pub fn from_toml(text: &str) -> Result<Self> {
        let File { space } = toml::from_str(text).map_err(|e| Error::Space(e.to_string()))?;
        let mut checked = Self::new();
        for (name, distribution) in space {
            checked = checked.with(name, distribution)?;
        }
        if checked.is_empty() {
            return Err(OutOfRange::new("space", "empty", "give at least one parameter").into());
        }
        Ok(checked)
    }

    /// Reads a space from a TOML file, as [`Space::from_toml`].
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, and those of [`Space::from_toml`].
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::from_toml(&text)
    }

    /// Adds a parameter, or replaces the one of this name.
    ///
    /// # Errors
    /// [`Error::Setting`] names the field of the distribution that is out of range.
    pub fn with(mut self, name: impl Into<String>, distribution: Distribution) -> Result<Self> {
        let name = name.into();
        check(&name, &distribution)?;
        self.parameters.retain(|(other, _)| *other != name);
        self.parameters.push((name, distribution));
        Ok(self)
    }

    /// Adds a number between `low` and `high`, both included.
    ///
    /// # Errors
    /// Those of [`Space::with`].
    pub fn float(self, name: &str, low: f64, high: f64) -> Result<Self> {
        self.with(name, Distribution::Float { low, high, log: false, step: None })
    }

    /// Adds a number on a logarithmic scale.
    ///
    /// # Errors
    /// Those of [`Space::with`].
    pub fn log_float(self, name: &str, low: f64, high: f64) -> Result<Self> {
        self.with(name, Distribution::Float { low, high, log: true, step: None })
    }

    /// Adds a whole number between `low` and `high`, both included.
    ///
    /// # Errors
    /// Those of [`Space::with`].
    pub fn int(self, name: &str, low: i64, high: i64) -> Result<Self> {
        self.with(name, Distribution::Int { low, high, log: false, step: 1 })
    }

    /// Adds a whole number on a logarithmic scale.
    ///
    /// # Errors
    /// Those of [`Space::with`].
    pub fn log_int(self, name: &str, low: i64, high: i64) -> Result<Self> {
        self.with(name, Distribution::Int { low, high, log: true, step: 1 })
    }

    /// Adds one of several values.
    ///
    /// # Errors
    /// Those of [`Space::with`].
    pub fn choice<V: Into<Value>>(
        self,
        name: &str,
        choices: impl IntoIterator<Item = V>,
    ) -> Result<Self> {
        let choices = choices.into_iter().map(Into::into).collect();
        self.with(name, Distribution::Categorical { choices })
    }

    /// The values that a parameter may have.
    pub fn get(&self, name: &str) -> Option<&Distribution> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, distribution)| distribution)
    }

    /// The parameters in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Distribution)> {
        self.parameters.iter().map(|(name, distribution)| (name.as_str(), distribution))
    }

    /// How many parameters there are.
    pub fn len(&self) -> usize {
        self.parameters.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }
}

/// Checks every field of a distribution.
fn check(name: &str, distribution: &Distribution) -> Result<()> {
    let within = |field: &str, value: String, good: bool, remedy: &'static str| {
        let field = if field.is_empty() {
            format!("space.{name}")
        } else {
            format!("space.{name}.{field}")
        };
        if good { Ok(()) } else { Err(Error::from(OutOfRange::new(field, value, remedy))) }
    };
    within("", "without a name".into(), !name.is_empty(), "give the parameter a name")?;
    match distribution {
        Distribution::Float { low, high, log, step } => {
            within("low", low.to_string(), low.is_finite(), "use a finite number")?;
            within("high", high.to_string(), high.is_finite(), "use a finite number")?;
            within("high", high.to_string(), high >= low, "use a number that is at least `low`")?;
            within("low", low.to_string(), !log || *low > 0.0, "with `log`, use a number above 0")?;
            let Some(step) = step else { return Ok(()) };
            within("step", step.to_string(), !log, "leave it out, or `log`")?;
            let good = *step > 0.0 && step.is_finite();
            within("step", step.to_string(), good, "use a number above 0")?;
            let steps = (high - low) / step;
            let whole = (steps - steps.round()).abs() < 1e-8;
            within("high", high.to_string(), whole, "use `low` and a whole number of steps")
        }
        Distribution::Int { low, high, log, step } => {
            within("high", high.to_string(), high >= low, "use a number that is at least `low`")?;
            within("low", low.to_string(), !log || *low >= 1, "with `log`, use 1 or more")?;
            // Beyond 2⁵³, f64 has no more all whole numbers, and journals contain f64.
            let exact = low.unsigned_abs().max(high.unsigned_abs()) <= 1 << 53;
            within("high", high.to_string(), exact, "use numbers up to 2⁵³")?;
            within("step", step.to_string(), *step >= 1, "use 1 or more")?;
            within("step", step.to_string(), !log || *step == 1, "with `log`, leave it out")?;
            let whole = (high - low) % step == 0;
            within("high", high.to_string(), whole, "use `low` and a whole number of steps")
        }
        Distribution::Categorical { choices } => {
            within("choices", "empty".into(), !choices.is_empty(), "give at least one")?;
            for (i, choice) in choices.iter().enumerate() {
                let finite = !matches!(choice, Value::Float(value) if !value.is_finite());
                within("choices", format!("{choice}"), finite, "use finite numbers")?;
                let first = distribution.to_internal(choice) == Some(i as f64);
                within("choices", format!("{choice} twice"), first, "give each choice once")?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |toml: &str, words: &str| {
            let error = Space::from_toml(toml).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused("", "missing field `space`");
        refused("[space]", "space is empty");
        refused("[space.a]\ntype = 'float'\nlow = 1", "missing field `high`");
        refused("[space.a]\ntype = 'floating'\nlow = 1", "floating");
        refused("[space.a]\ntype = 'float'\nlow = 1\nhigh = 2\nlogs = true", "logs");
        refused("[space.a]\ntype = 'float'\nlow = 2\nhigh = 1", "space.a.high is 1");
        refused("[space.a]\ntype = 'float'\nlow = nan\nhigh = 1", "space.a.low is NaN");
        let steps = "[space.a]\ntype = 'float'\nlow = 0\nhigh = 0.35\nstep = 0.1";
        refused(steps, "space.a.high is 0.35");
        let both = "[space.a]\ntype = 'float'\nlow = 1\nhigh = 2\nstep = 1.0\nlog = true";
        refused(both, "space.a.step is 1: leave it out");
        refused("[space.a]\ntype = 'int'\nlow = 0\nhigh = 9\nlog = true", "space.a.low is 0");
        refused("[space.a]\ntype = 'int'\nlow = 0\nhigh = 9\nstep = 2", "space.a.high is 9");
        refused("[space.a]\ntype = 'int'\nlow = 0\nhigh = 9\nstep = 0", "space.a.step is 0");
        refused("[space.a]\ntype = 'categorical'\nchoices = []", "space.a.choices is empty");
        refused("[space.a]\ntype = 'categorical'\nchoices = [1, 2, 1.0]", "space.a.choices is 1");
    }
}
