use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use taper_data::Sampling;

use crate::{Error, Result};

/// How often the training pictures of each class come in an epoch, which always has as many rows as there are. Written
/// `shuffled`, `balanced`, `weighted`, or `weighted:W,W,…` with one weight per class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SamplingChoice {
    /// Every row once.
    #[default]
    Shuffled,
    /// Every class as often as any other; of a class, every row equally often, up to one time more or less.
    Balanced,
    /// Drawn with replacement, as PyTorch's `WeightedRandomSampler`: each row with a probability in proportion to the
    /// weight of its class, from 0, in label order; without weights, to 1 / rows of its class.
    Weighted(Option<Vec<f64>>),
}

impl fmt::Display for SamplingChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shuffled => f.pad("shuffled"),
            Self::Balanced => f.pad("balanced"),
            Self::Weighted(None) => f.pad("weighted"),
            Self::Weighted(Some(weights)) => {
                let weights: Vec<String> = weights.iter().map(f64::to_string).collect();
                f.pad(&format!("weighted:{}", weights.join(",")))
            }
        }
    }
}

impl From<SamplingChoice> for String {
    fn from(choice: SamplingChoice) -> String {
        choice.to_string()
    }
}

impl TryFrom<String> for SamplingChoice {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for SamplingChoice {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "shuffled" => return Ok(Self::Shuffled),
            "balanced" => return Ok(Self::Balanced),
            "weighted" => return Ok(Self::Weighted(None)),
            _ => {}
        }
        let weights = text
            .strip_prefix("weighted:")
            .and_then(|list| list.split(',').map(|w| w.trim().parse().ok()).collect());
        match weights {
            Some(weights) => Self::Weighted(Some(weights)).check(),
            None => Err(wrong(text)),
        }
    }
}

fn wrong(value: &str) -> Error {
    Error::Setting {
        field: "sampling",
        value: format!("'{value}'"),
        remedy: "use shuffled, balanced, weighted, or weighted: with one number from 0 per class, e.g. weighted:1,2,0.5"
            .into(),
    }
}

impl SamplingChoice {
    /// The choice, if its weights are finite, not below 0 and not all 0.
    pub(crate) fn check(self) -> Result<Self> {
        match &self {
            Self::Weighted(Some(weights))
                if weights.iter().any(|w| !(*w >= 0.0 && w.is_finite()))
                    || weights.iter().sum::<f64>() <= 0.0 =>
            {
                Err(wrong(&self.to_string()))
            }
            _ => Ok(self),
        }
    }

    /// What it means for rows with these labels.
    ///
    /// # Errors
    /// [`Error::Setting`] unless there is one weight for each of the classes, and one above 0 among those that have rows.
    pub(crate) fn of(&self, labels: &[u32], classes: usize) -> Result<Sampling> {
        let by_class = match self {
            Self::Shuffled => return Ok(Sampling::Shuffled),
            Self::Balanced => return Ok(Sampling::Balanced),
            Self::Weighted(None) => {
                let mut counts = vec![0.0f64; classes];
                for label in labels {
                    counts[*label as usize] += 1.0;
                }
                counts.into_iter().map(|n| if n > 0.0 { 1.0 / n } else { 0.0 }).collect()
            }
            Self::Weighted(Some(weights)) => weights.clone(),
        };
        let weights: Vec<f64> =
            labels.iter().filter_map(|label| by_class.get(*label as usize)).copied().collect();
        if by_class.len() != classes || weights.iter().sum::<f64>() <= 0.0 {
            return Err(Error::Setting {
                field: "sampling",
                value: self.to_string(),
                remedy: format!(
                    "give one weight for each of the {classes} classes, in label order, and one above 0 for a class that has pictures"
                ),
            });
        }
        Ok(Sampling::Weighted(weights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_have_names_and_nonsense_is_refused() {
        for text in ["shuffled", "balanced", "weighted", "weighted:1,2.5,0"] {
            assert_eq!(text.parse::<SamplingChoice>().unwrap().to_string(), text);
        }
        for text in ["", "balance", "weighted:", "weighted:1,x", "weighted:-1,2", "weighted:0,0"] {
            let error = text.parse::<SamplingChoice>().unwrap_err();
            assert!(error.is_usage() && error.to_string().contains("--sampling"), "{text}");
        }
        let choice: SamplingChoice = "weighted:1,2".parse().unwrap();
        assert!(choice.of(&[0, 1, 2], 3).is_err());
        assert!("weighted:0,1".parse::<SamplingChoice>().unwrap().of(&[0, 0], 2).is_err());
    }

    #[test]
    fn weights_without_a_list_make_up_for_rare_classes() {
        let labels = [0, 0, 0, 1];
        let sampling = SamplingChoice::Weighted(None).of(&labels, 3).unwrap();
        assert_eq!(sampling, Sampling::Weighted(vec![1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 1.0]));
    }
}
