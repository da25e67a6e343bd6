use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Value, python};

/// What values a parameter may have, as one of Optuna's distributions (`optuna/distributions.py`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Distribution {
    /// A number, `FloatDistribution`.
    Float {
        /// The smallest value; finite, above 0 if `log`.
        low: f64,
        /// The largest value; finite, at least `low`, and a whole number of steps above it.
        high: f64,
        /// Whether equal ratios, rather than differences, are equally probable. Default false; not
        /// together with `step`.
        #[serde(default)]
        log: bool,
        /// The distance between neighbouring values, above 0. Default none: all numbers.
        #[serde(default)]
        step: Option<f64>,
    },
    /// A whole number, `IntDistribution`.
    Int {
        /// The smallest value; at least 1 if `log`.
        low: i64,
        /// The largest value; at least `low`, and a whole number of steps above it.
        high: i64,
        /// Whether equal ratios, rather than differences, are equally probable. Default false; only
        /// with a `step` of 1.
        #[serde(default)]
        log: bool,
        /// The distance between neighbouring values, at least 1. Default 1.
        #[serde(default = "one")]
        step: i64,
    },
    /// One of several values, `CategoricalDistribution`.
    Categorical {
        /// The values, at least one, all different.
        choices: Vec<Value>,
    },
}

fn one() -> i64 {
    1
}

impl Distribution {
    /// Whether there is only one value.
    pub fn is_single(&self) -> bool {
        match self {
            Self::Float { low, high, step, .. } => step.map_or(low == high, |s| high - low < s),
            Self::Int { low, high, log, step } => low == high || !log && high - low < *step,
            Self::Categorical { choices } => choices.len() == 1,
        }
    }

    /// The number that stands for a value in the journal: itself, or the index of the choice. None
    /// for a value of another type or an unknown choice.
    pub fn to_internal(&self, value: &Value) -> Option<f64> {
        match self {
            Self::Float { .. } | Self::Int { .. } => value.as_f64(),
            Self::Categorical { choices } => {
                let same = |choice: &Value| {
                    choice == value || choice.as_f64().is_some_and(|c| value.as_f64() == Some(c))
                };
                choices.iter().position(same).map(|index| index as f64)
            }
        }
    }

    /// The value that a number in the journal stands for; none beyond the last choice.
    pub fn to_external(&self, internal: f64) -> Option<Value> {
        match self {
            Self::Float { .. } => Some(Value::Float(internal)),
            Self::Int { .. } => Some(Value::Int(internal as i64)),
            Self::Categorical { choices } => {
                (internal >= 0.0).then(|| choices.get(internal as usize).cloned())?
            }
        }
    }

    /// Whether a number in the journal stands for one of the values.
    pub fn contains(&self, internal: f64) -> bool {
        match self {
            Self::Float { low, high, step, .. } => {
                let on_grid = |step: f64| {
                    let k = (internal - low) / step;
                    (k - k.round()).abs() < 1e-8
                };
                (*low..=*high).contains(&internal) && step.is_none_or(on_grid)
            }
            Self::Int { low, high, step, .. } => {
                let (low, high) = (*low as f64, *high as f64);
                (low..=high).contains(&internal) && (internal - low) % *step as f64 == 0.0
            }
            Self::Categorical { choices } => internal >= 0.0 && (internal as usize) < choices.len(),
        }
    }

    /// Whether one study may use both for the same parameter: Optuna allows other limits, but not
    /// another kind, another scale or other choices.
    pub fn is_compatible(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float { log: a, .. }, Self::Float { log: b, .. })
            | (Self::Int { log: a, .. }, Self::Int { log: b, .. }) => a == b,
            (Self::Categorical { .. }, Self::Categorical { .. }) => self == other,
            _ => false,
        }
    }

    /// The distribution as Optuna's journals contain it, a JSON text.
    pub fn to_json(&self) -> String {
        let (name, attributes) = match self {
            Self::Float { low, high, log, step } => {
                let attributes = json!({ "step": step, "low": low, "high": high, "log": log });
                ("FloatDistribution", attributes)
            }
            Self::Int { low, high, log, step } => {
                let attributes = json!({ "log": log, "step": step, "low": low, "high": high });
                ("IntDistribution", attributes)
            }
            Self::Categorical { choices } => {
                ("CategoricalDistribution", json!({ "choices": choices }))
            }
        };
        json!({ "name": name, "attributes": attributes }).to_string()
    }

    /// Reads what Optuna writes, in this and earlier versions.
    pub(crate) fn from_json(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
            attributes: serde_json::Value,
        }
        #[derive(Deserialize)]
        struct Floats {
            low: f64,
            high: f64,
            #[serde(default)]
            log: bool,
            #[serde(default, alias = "q")]
            step: Option<f64>,
        }
        #[derive(Deserialize)]
        struct Ints {
            low: f64,
            high: f64,
            #[serde(default)]
            log: bool,
            step: Option<f64>,
        }
        #[derive(Deserialize)]
        struct Choices {
            choices: Vec<Value>,
        }
        let problem = |e: serde_json::Error| format!("has a distribution that is wrong: {e}");
        let Named { name, attributes } =
            python::from_json(text).and_then(serde_json::from_value).map_err(problem)?;
        match name.as_str() {
            "FloatDistribution"
            | "UniformDistribution"
            | "LogUniformDistribution"
            | "DiscreteUniformDistribution" => {
                let Floats { low, high, log, step } =
                    serde_json::from_value(attributes).map_err(problem)?;
                Ok(Self::Float { low, high, log: log || name == "LogUniformDistribution", step })
            }
            "IntDistribution" | "IntUniformDistribution" | "IntLogUniformDistribution" => {
                let Ints { low, high, log, step } =
                    serde_json::from_value(attributes).map_err(problem)?;
                Ok(Self::Int {
                    low: low as i64,
                    high: high as i64,
                    log: log || name == "IntLogUniformDistribution",
                    step: step.map_or(1, |step| step as i64),
                })
            }
            "CategoricalDistribution" => {
                let Choices { choices } = serde_json::from_value(attributes).map_err(problem)?;
                Ok(Self::Categorical { choices })
            }
            _ => Err(format!("has a distribution of the unknown kind {name}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_of_every_version_are_read_and_written() {
        let float = Distribution::Float { low: 0.0, high: 0.5, log: false, step: Some(0.1) };
        let json = float.to_json();
        assert_eq!(Distribution::from_json(&json).unwrap(), float);
        let old = r#"{"name": "DiscreteUniformDistribution", "attributes": {"low": 0, "high": 0.5, "q": 0.1}}"#;
        assert_eq!(Distribution::from_json(old).unwrap(), float);
        let old =
            r#"{"name": "LogUniformDistribution", "attributes": {"low": 1e-05, "high": 1.0}}"#;
        let log = Distribution::Float { low: 1e-5, high: 1.0, log: true, step: None };
        assert_eq!(Distribution::from_json(old).unwrap(), log);
        let old = r#"{"name": "IntLogUniformDistribution", "attributes": {"low": 1, "high": 8, "step": 1}}"#;
        let int = Distribution::Int { low: 1, high: 8, log: true, step: 1 };
        assert_eq!(Distribution::from_json(old).unwrap(), int);
        assert!(!int.is_compatible(&log) && float.is_compatible(&float));
        let error = Distribution::from_json(r#"{"name": "Odd", "attributes": {}}"#).unwrap_err();
        assert!(error.contains("Odd"), "{error}");
    }

    #[test]
    fn values_go_in_and_come_out() {
        let choices = vec![Value::Null, true.into(), 3.into(), 0.5.into(), "mlp".into()];
        let choice = Distribution::Categorical { choices: choices.clone() };
        for (i, value) in choices.iter().enumerate() {
            assert_eq!(choice.to_internal(value), Some(i as f64));
            assert_eq!(choice.to_external(i as f64).as_ref(), Some(value));
        }
        assert_eq!(choice.to_internal(&3.0.into()), Some(2.0));
        assert_eq!(choice.to_external(5.0), None);
        let steps = Distribution::Float { low: 0.0, high: 0.5, log: false, step: Some(0.1) };
        assert!(steps.contains(0.1 + 0.2) && !steps.contains(0.35) && !steps.contains(0.6));
        assert!(!steps.is_single());
    }
}
