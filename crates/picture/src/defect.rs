use serde::{Deserialize, Serialize};

/// What kind of thing is wrong with a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DefectKind {
    /// A file of zero bytes.
    Empty,
    /// The content is not a picture at all, whatever the name says.
    NotAPicture,
    /// The content ends before the picture does.
    Truncated,
    /// The content is damaged.
    Corrupt,
    /// More pixels or bytes than the limits allow.
    TooLarge,
    /// A picture, but in a format or variant that is not supported.
    Unsupported,
    /// The file could not be read.
    Io,
    /// A readable picture of a different format from what its name says. It is used anyway, except
    /// in strict mode.
    Misnamed,
    /// Not about a picture: something about the data set as a whole that may surprise.
    Remark,
}

/// Why a picture's bytes cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Defect {
    /// What kind of defect it is.
    pub kind: DefectKind,
    /// What was found, and the remedy if it is known; one sentence without the path.
    pub reason: String,
}

impl Defect {
    /// A defect with its reason.
    pub fn new(kind: DefectKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }

    /// The same defect, at a place.
    pub fn at(self, sample: Option<usize>, path: impl Into<String>) -> Finding {
        Finding { path: path.into(), kind: self.kind, reason: self.reason, sample }
    }
}

/// A picture about which something must be said: it is left out, or (if
/// [`usable`](Finding::usable)) used with a remark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The picture's id: its path relative to the data set, with forward slashes.
    pub path: String,
    /// What kind of finding it is.
    pub kind: DefectKind,
    /// What was found, for humans to read.
    pub reason: String,
    /// Its index in the data set; none if it is not one of the samples.
    #[serde(skip)]
    pub sample: Option<usize>,
}

impl Finding {
    /// Whether the picture is used anyway.
    pub fn usable(&self) -> bool {
        matches!(self.kind, DefectKind::Misnamed | DefectKind::Remark)
    }
}
