use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use taper_core::OutOfRange;
use taper_data::Dataset;
use taper_names::{columns::Wanted, group_columns::Choice};
use taper_picture::DecodeOptions;

use crate::{Error, Result};

/// The value of [`SourceOptions::group_column`] for pictures that are independent.
pub const NO_GROUPS: &str = "none";

/// What a source is opened for. This decides which irregularities are errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderUse {
    /// To train on: there must be training pictures of at least two classes, of every class that
    /// occurs in another split, and in every class folder.
    Train,
    /// To evaluate a trained model on, or to inspect: any split will do, and so will a single
    /// class.
    Evaluate,
    /// To classify the pictures of a folder or an archive: labels and splits do not count, and all
    /// pictures have the same label, `unlabelled`.
    Classify,
}

/// What the topmost folders of a data set are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayoutChoice {
    /// Told by their names and by what is in them; where this cannot be told, opening fails.
    #[default]
    Auto,
    /// Classes, whatever their names.
    Classes,
    /// Splits, with class folders in them.
    Splits,
}

impl FromStr for LayoutChoice {
    type Err = OutOfRange;
    fn from_str(text: &str) -> std::result::Result<Self, OutOfRange> {
        match text {
            "auto" => Ok(Self::Auto),
            "classes" => Ok(Self::Classes),
            "splits" => Ok(Self::Splits),
            other => {
                Err(OutOfRange::new("layout", format!("'{other}'"), "use auto, classes or splits"))
            }
        }
    }
}

impl fmt::Display for LayoutChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Classes => "classes",
            Self::Splits => "splits",
        })
    }
}

/// How a source is to be read where it leaves a choice. The default leaves every choice to the
/// source; an option that a kind of source does not have is an error, not ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct SourceOptions {
    /// For folders and archives: what the topmost folders are.
    #[serde(skip_serializing_if = "is_auto")]
    pub layout: LayoutChoice,
    /// For folders and archives: a regular expression that is matched against ids such as
    /// `train/cat.0.jpg`; its first pair of parentheses (without any, the whole match) is the
    /// label. Folders then only say the split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_from: Option<String>,
    /// For manifests and Parquet: the column with pictures, or with their paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_column: Option<String>,
    /// For manifests and Parquet: the column with labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// For manifests and Parquet: the column that says the split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_column: Option<String>,
    /// For manifests, Parquet and shards: the column that says which pictures are never drawn into
    /// different splits; `none` if they are independent whatever the columns say. By default the
    /// one with a name such as `patient_id`, if it keeps pictures together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_column: Option<String>,
    /// For all: the largest number of pixels that a picture may have; larger ones count as
    /// unreadable. Default 178,956,970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pixels: Option<u64>,
}

fn is_auto(layout: &LayoutChoice) -> bool {
    *layout == LayoutChoice::Auto
}

/// Kinds of sources, for messages about options that they do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Names in folders say what a picture is.
    Folders,
    /// Columns say it.
    Table,
}

impl SourceOptions {
    /// Whether every choice is left to the source.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The data set with these limits for its pictures.
    #[must_use]
    pub fn limits(&self, dataset: Dataset) -> Dataset {
        match self.max_pixels {
            Some(max_pixels) => {
                dataset.with_decode_options(DecodeOptions { max_pixels, ..Default::default() })
            }
            None => dataset,
        }
    }

    /// Refuses options for data that are part of the program or otherwise leave no choice.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first option that is given.
    pub fn refuse_all(&self, place: &str) -> Result<()> {
        let given = self.given_for(Kind::Folders).or_else(|| self.given_for(Kind::Table));
        given.map_or(Ok(()), |(field, value)| {
            let remedy = format!("{place} leaves no such choice: leave the option out");
            Err(Error::Setting(OutOfRange::new(field, value, remedy)))
        })
    }

    /// Refuses options that this kind of source does not have.
    pub(crate) fn check(&self, kind: Kind, place: &str) -> Result<()> {
        let (other, what) = match kind {
            Kind::Folders => (Kind::Table, "is for manifests and Parquet, which have columns"),
            Kind::Table => (Kind::Folders, "is for folders and archives, not for tables"),
        };
        self.given_for(other).map_or(Ok(()), |(field, value)| {
            let remedy = format!("this option {what}: leave it out for {place}");
            Err(Error::Setting(OutOfRange::new(field, value, remedy)))
        })
    }

    fn given_for(&self, kind: Kind) -> Option<(&'static str, String)> {
        let quoted = |text: &Option<String>| text.as_ref().map(|text| format!("'{text}'"));
        match kind {
            Kind::Folders => {
                let layout = (!is_auto(&self.layout)).then(|| ("layout", self.layout.to_string()));
                layout.or_else(|| quoted(&self.label_from).map(|value| ("label_from", value)))
            }
            Kind::Table => [
                ("image_column", &self.image_column),
                ("label_column", &self.label_column),
                ("split_column", &self.split_column),
                ("group_column", &self.group_column),
            ]
            .into_iter()
            .find_map(|(field, value)| quoted(value).map(|value| (field, value))),
        }
    }
}

/// A purpose and options: what every function that opens a source takes. A [`FolderUse`] alone has
/// the default options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What for.
    pub purpose: FolderUse,
    /// How.
    pub options: SourceOptions,
    /// Whether something else than a column says the groups.
    pub grouped: bool,
}

impl Reading {
    /// For this purpose, with these options.
    pub fn new(purpose: FolderUse, options: SourceOptions) -> Self {
        Self { purpose, options, grouped: false }
    }

    /// The same where something else than a column may say the groups, such as
    /// [`Dataset::group_by`].
    #[must_use]
    pub fn grouped(mut self, grouped: bool) -> Self {
        self.grouped = grouped;
        self
    }

    /// The column of groups that was asked for.
    pub(crate) fn group_column(&self) -> Option<&str> {
        self.options.group_column.as_deref().filter(|name| *name != NO_GROUPS)
    }

    /// The columns that were asked for.
    pub(crate) fn wanted(&self) -> Wanted<'_> {
        let options = &self.options;
        Wanted {
            path: options.image_column.as_deref(),
            label: options.label_column.as_deref(),
            split: options.split_column.as_deref(),
            group: self.group_column(),
        }
    }

    /// Which column says the groups.
    pub(crate) fn groups(&self) -> Choice<'_> {
        match (self.group_column(), &self.options.group_column) {
            (Some(name), _) => Choice::Column(name),
            (None, Some(_)) => Choice::Off,
            (None, None) if self.grouped => Choice::Elsewhere,
            (None, None) => Choice::Auto,
        }
    }
}

impl From<FolderUse> for Reading {
    fn from(purpose: FolderUse) -> Self {
        Self::new(purpose, SourceOptions::default())
    }
}
