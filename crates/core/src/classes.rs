use std::{collections::HashSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The classes of a data set, in label order: label `i` is the `i`-th name.
///
/// Never empty, without duplicates or blank names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct ClassNames(Vec<String>);

impl ClassNames {
    /// Takes the names in label order.
    ///
    /// # Errors
    /// [`Error::ClassNames`] if there are none, or one is blank or occurs twice.
    pub fn new(names: Vec<String>) -> Result<Self> {
        if names.is_empty() {
            return Err(Error::ClassNames("there are none".into()));
        }
        let mut seen = HashSet::new();
        for name in &names {
            if name.trim().is_empty() {
                return Err(Error::ClassNames("one of them is blank".into()));
            }
            if !seen.insert(name) {
                return Err(Error::ClassNames(format!("'{name}' occurs twice")));
            }
        }
        Ok(Self(names))
    }

    /// How many classes there are: the K of a K-way classifier.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The name of a label, if it is in range.
    pub fn name(&self, label: u32) -> Option<&str> {
        self.0.get(label as usize).map(String::as_str)
    }

    /// The label of a name, if it is one of the classes.
    pub fn label(&self, name: &str) -> Option<u32> {
        self.0.iter().position(|n| n == name).map(|i| i as u32)
    }

    /// All names in label order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl TryFrom<Vec<String>> for ClassNames {
    type Error = Error;
    fn try_from(names: Vec<String>) -> Result<Self> {
        Self::new(names)
    }
}

impl From<ClassNames> for Vec<String> {
    fn from(names: ClassNames) -> Self {
        names.0
    }
}

/// What a picture is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The weights are fitted to it.
    Train,
    /// Decides when to stop and which weights to keep.
    Val,
    /// Untouched until the end: gives the honest figure.
    Test,
}

impl Split {
    /// All splits, in the order train, val, test.
    pub const ALL: [Split; 3] = [Split::Train, Split::Val, Split::Test];

    /// The name used in folders, arguments and answers: `train`, `val` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Split {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "train" => Ok(Split::Train),
            "val" | "valid" | "validation" => Ok(Split::Val),
            "test" => Ok(Split::Test),
            other => Err(Error::UnknownSplit(other.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_names_are_checked() {
        let names = |n: &[&str]| ClassNames::new(n.iter().map(|s| s.to_string()).collect());
        assert!(names(&[]).is_err());
        assert!(names(&["a", " "]).is_err());
        assert!(names(&["a", "b", "a"]).is_err());
        let classes = names(&["paper", "rock"]).unwrap();
        assert_eq!(classes.label("rock"), Some(1));
        assert_eq!(classes.name(2), None);
        let json = serde_json::to_string(&classes).unwrap();
        assert_eq!(json, r#"["paper","rock"]"#);
        assert_eq!(serde_json::from_str::<ClassNames>(&json).unwrap(), classes);
        assert!(serde_json::from_str::<ClassNames>("[]").is_err());
    }

    #[test]
    fn splits_have_one_name_and_a_few_aliases() {
        for split in Split::ALL {
            assert_eq!(split.name().parse::<Split>().unwrap(), split);
        }
        assert_eq!("validation".parse::<Split>().unwrap(), Split::Val);
        assert_eq!("dev".parse::<Split>(), Err(Error::UnknownSplit("dev".into())));
    }
}
