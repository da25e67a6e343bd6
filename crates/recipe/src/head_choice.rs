use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use taper_graph::{Graph, heads};

use taper_core::OutOfRange;

use crate::{Error, Result};

/// Which head is trained on the features: `linear`, `logistic`, `cosine`, `zero-shot`, `tutorial`
/// or `mlp:512,256`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HeadChoice {
    /// One fully connected layer ([`heads::linear`]).
    Linear,
    /// Logistic regression on features of one length, solved to convergence ([`heads::logistic`]).
    Logistic,
    /// Cosines with a direction for each class ([`heads::cosine`]).
    Cosine,
    /// The same, from the names of the classes on: for networks that were trained with texts.
    ZeroShot,
    /// BatchNorm, dropout and a hidden layer of 512 ([`heads::tutorial`]).
    #[default]
    Tutorial,
    /// Hidden layers of these widths, ReLU and dropout 0.5 after each ([`heads::mlp`]).
    Mlp(Vec<usize>),
}

impl HeadChoice {
    /// The head for this many features and classes.
    pub fn graph(&self, width: usize, classes: usize) -> Graph {
        match self {
            HeadChoice::Linear => heads::linear(width, classes),
            HeadChoice::Logistic => heads::logistic(width, classes),
            HeadChoice::Cosine | HeadChoice::ZeroShot => heads::cosine(width, classes),
            HeadChoice::Tutorial => heads::tutorial(width, classes),
            HeadChoice::Mlp(hidden) => heads::mlp(width, hidden, 0.5, classes),
        }
    }
}

impl fmt::Display for HeadChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadChoice::Linear => f.write_str("linear"),
            HeadChoice::Logistic => f.write_str("logistic"),
            HeadChoice::Cosine => f.write_str("cosine"),
            HeadChoice::ZeroShot => f.write_str("zero-shot"),
            HeadChoice::Tutorial => f.write_str("tutorial"),
            HeadChoice::Mlp(hidden) => {
                let widths: Vec<String> = hidden.iter().map(usize::to_string).collect();
                write!(f, "mlp:{}", widths.join(","))
            }
        }
    }
}

impl FromStr for HeadChoice {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let remedy = "use linear, logistic, cosine, zero-shot, tutorial, or mlp: with the widths of its hidden layers (1 to 65536), e.g. mlp:512,256";
            Error::from(OutOfRange::new("head", format!("'{text}'"), remedy))
        };
        match text {
            "linear" => Ok(HeadChoice::Linear),
            "logistic" => Ok(HeadChoice::Logistic),
            "cosine" => Ok(HeadChoice::Cosine),
            "zero-shot" => Ok(HeadChoice::ZeroShot),
            "tutorial" => Ok(HeadChoice::Tutorial),
            other => {
                let widths = other.strip_prefix("mlp:").ok_or_else(wrong)?;
                let widths = widths.split(',').map(|w| w.trim().parse::<usize>().ok());
                let widths: Option<Vec<usize>> =
                    widths.map(|w| w.filter(|w| (1..=65_536).contains(w))).collect();
                widths.filter(|w| w.len() <= 16).map(HeadChoice::Mlp).ok_or_else(wrong)
            }
        }
    }
}

impl TryFrom<String> for HeadChoice {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<HeadChoice> for String {
    fn from(choice: HeadChoice) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_parsed_and_written_alike() {
        for text in ["linear", "logistic", "cosine", "zero-shot", "tutorial", "mlp:512,256"] {
            assert_eq!(text.parse::<HeadChoice>().unwrap().to_string(), text);
        }
        for text in ["", "mlp", "mlp:", "mlp:0", "mlp:a", "mlp:512,", "dense"] {
            let error = text.parse::<HeadChoice>().unwrap_err().to_string();
            assert!(error.contains("head is") && error.contains("mlp:512,256"), "{error}");
        }
    }
}
