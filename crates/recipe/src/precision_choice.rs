use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use taper_core::{OutOfRange, Precision};

/// The precision of a frozen backbone: a given one, or the faster one on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PrecisionChoice {
    /// Measures f32 and bf16 with the network at hand, and takes bf16 if it is faster by a tenth or
    /// more.
    Auto,
    /// This one.
    Fixed(Precision),
}

impl Default for PrecisionChoice {
    fn default() -> Self {
        Self::Fixed(Precision::default())
    }
}

impl fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Fixed(precision) => precision.fmt(f),
        }
    }
}

impl FromStr for PrecisionChoice {
    type Err = OutOfRange;

    fn from_str(text: &str) -> std::result::Result<Self, OutOfRange> {
        match text {
            "auto" => Ok(Self::Auto),
            other => other.parse().map(Self::Fixed).map_err(|_: OutOfRange| {
                let remedy = "use f32, bf16 or auto, or f16 or tf32 on CUDA";
                OutOfRange::new("precision", format!("'{other}'"), remedy)
            }),
        }
    }
}

impl TryFrom<String> for PrecisionChoice {
    type Error = OutOfRange;
    fn try_from(text: String) -> std::result::Result<Self, OutOfRange> {
        text.parse()
    }
}

impl From<PrecisionChoice> for String {
    fn from(choice: PrecisionChoice) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_parsed_and_written_alike() {
        for text in ["auto", "f32", "bf16", "f16", "tf32"] {
            assert_eq!(text.parse::<PrecisionChoice>().unwrap().to_string(), text);
        }
        let error = "f8".parse::<PrecisionChoice>().unwrap_err().to_string();
        assert!(error.contains("precision is 'f8'") && error.contains("auto"), "{error}");
    }
}
