use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use taper_core::nearest;

use crate::{CheckedFactors, Error, Factors, Result};

/// The most operations of RandAugment in a row.
const MOST_OPERATIONS: u8 = 16;
/// The largest magnitude: torchvision's 31 bins are 0 to 30.
pub(crate) const MOST_MAGNITUDE: u8 = 30;

/// A named way to change pictures. As text, in arguments and recipes: `none`, `flip`, `light`,
/// `standard`, `trivial-augment`, `rand-augment:N,M` (`rand-augment` alone is `rand-augment:2,9`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Policy {
    /// Pictures stay as they are.
    #[default]
    None,
    /// Mirror images with probability 0.5.
    Flip,
    /// Small changes that hardly any subject minds: flip 0.5, rotation 0.03 (11°), shear 0.05, zoom
    /// 0.1, translation 0.05, contrast 0.1, brightness 0.05.
    Light,
    /// Flip 0.5, rotation 0.1 (36°), shear 0.1, zoom 0.2, translation 0.1, contrast 0.2, brightness
    /// 0.1.
    Standard,
    /// One operation at a random strength: TrivialAugment Wide (Müller, Hutter 2021), torchvision's
    /// `TrivialAugmentWide`.
    TrivialAugment,
    /// A number of operations, one after the other, all of the same strength: RandAugment (Cubuk et
    /// al. 2019), torchvision's `RandAugment(num_ops, magnitude)`.
    RandAugment {
        /// How many, 1 to 16. torchvision's default is 2.
        operations: u8,
        /// Strength, 0 to 30. torchvision's default is 9.
        magnitude: u8,
    },
}

impl Policy {
    /// RandAugment as torchvision has it by default.
    pub const RAND_AUGMENT: Policy = Policy::RandAugment { operations: 2, magnitude: 9 };

    /// One of each kind, from the least to the greatest change.
    pub const ALL: [Policy; 6] = [
        Policy::None,
        Policy::Flip,
        Policy::Light,
        Policy::Standard,
        Policy::TrivialAugment,
        Policy::RAND_AUGMENT,
    ];

    /// The name of its kind.
    pub fn name(self) -> &'static str {
        match self {
            Policy::None => "none",
            Policy::Flip => "flip",
            Policy::Light => "light",
            Policy::Standard => "standard",
            Policy::TrivialAugment => "trivial-augment",
            Policy::RandAugment { .. } => "rand-augment",
        }
    }

    /// The factors that the policy stands for; none for those that draw operations instead.
    pub fn factors(self) -> Option<CheckedFactors> {
        let off = Factors::default();
        Some(CheckedFactors(match self {
            Policy::None => off,
            Policy::Flip => Factors { flip: 0.5, ..off },
            Policy::Light => Factors {
                flip: 0.5,
                rotation: 0.03,
                shear: 0.05,
                zoom: 0.1,
                translation: 0.05,
                contrast: 0.1,
                brightness: 0.05,
                ..off
            },
            Policy::Standard => Factors {
                flip: 0.5,
                rotation: 0.1,
                shear: 0.1,
                zoom: 0.2,
                translation: 0.1,
                contrast: 0.2,
                brightness: 0.1,
                ..off
            },
            Policy::TrivialAugment | Policy::RandAugment { .. } => return None,
        }))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Policy::RandAugment { operations, magnitude } => {
                f.pad(&format!("rand-augment:{operations},{magnitude}"))
            }
            other => f.pad(other.name()),
        }
    }
}

impl From<Policy> for String {
    fn from(policy: Policy) -> String {
        policy.to_string()
    }
}

impl TryFrom<String> for Policy {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Policy {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if let Some(policy) = Self::ALL.into_iter().find(|p| p.name() == text) {
            return Ok(policy);
        }
        // The paper's spelling, rand-augment(2, 9), is understood too.
        if let Some(numbers) = text.strip_prefix("rand-augment") {
            let numbers = numbers
                .strip_prefix(':')
                .or_else(|| numbers.strip_prefix('(').and_then(|n| n.strip_suffix(')')));
            let parsed = numbers.and_then(|n| {
                let (operations, magnitude) = n.split_once(',')?;
                Some((operations.trim().parse().ok()?, magnitude.trim().parse().ok()?))
            });
            return match parsed {
                Some((operations @ 1..=MOST_OPERATIONS, magnitude @ 0..=MOST_MAGNITUDE)) => {
                    Ok(Policy::RandAugment { operations, magnitude })
                }
                _ => Err(Error::PolicyNumbers {
                    name: text.into(),
                    most_operations: MOST_OPERATIONS,
                    most_magnitude: MOST_MAGNITUDE,
                }),
            };
        }
        let names = Self::ALL.map(Policy::name);
        Err(Error::UnknownPolicy {
            name: text.into(),
            known: format!("{}:N,M", names.join(", ")),
            nearest: nearest(text, names, 1).first().map(|n| n.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_names_and_sound_factors() {
        for policy in Policy::ALL {
            assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
            assert_eq!(policy.name().parse::<Policy>().unwrap(), policy);
            let json = serde_json::to_string(&policy).unwrap();
            assert_eq!(json, format!("\"{policy}\""));
            assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
            assert!(policy.factors().is_none_or(|f| f.check().is_ok()));
        }
        let three = Policy::RandAugment { operations: 3, magnitude: 15 };
        assert_eq!("rand-augment:3,15".parse::<Policy>().unwrap(), three);
        assert_eq!("rand-augment(3, 15)".parse::<Policy>().unwrap(), three);
        assert_eq!(three.to_string(), "rand-augment:3,15");
    }

    #[test]
    fn errors_name_the_choices() {
        let error = "standart".parse::<Policy>().unwrap_err().to_string();
        assert!(error.contains("did you mean 'standard'?"), "{error}");
        for name in ["none", "flip", "light", "standard", "trivial-augment", "rand-augment:N,M"] {
            assert!(error.contains(name), "{error}");
        }
        for wrong in [
            "rand-augment:0,9",
            "rand-augment:2,31",
            "rand-augment:2",
            "rand-augment(2,9",
            "rand-augmentx",
            "rand-augment:2,-1",
        ] {
            let error = wrong.parse::<Policy>().unwrap_err().to_string();
            assert!(error.contains("rand-augment:2,9") && error.contains(wrong), "{error}");
        }
        assert!(serde_json::from_str::<Policy>("\"strong\"").is_err());
    }
}
