//! What a run was trained on, picture by picture: how data that have moved are recognised.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};
use taper_core::Split;
use taper_data::Dataset;

use crate::{Error, Result, file::write_atomically};

/// Its file in a run folder.
pub(crate) const RECORD: &str = "dataset.json";

/// How many differences of a kind are named.
const NAMED: usize = 3;

/// A data set as it was when a run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataRecord {
    /// [`Dataset::fingerprint`].
    fingerprint: String,
    classes: Vec<String>,
    /// By id.
    pictures: BTreeMap<String, Recorded>,
}

/// What is recorded of a picture: class, split, size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded(u32, Option<String>, Option<u64>);

impl DataRecord {
    pub(crate) fn of(dataset: &Dataset) -> Self {
        let pictures = dataset.samples().iter().enumerate().map(|(index, sample)| {
            let split = sample.split.map(|split: Split| split.name().to_owned());
            (sample.id.clone(), Recorded(sample.label, split, dataset.bytes(index)))
        });
        Self {
            fingerprint: dataset.fingerprint(),
            classes: dataset.classes().iter().map(str::to_owned).collect(),
            pictures: pictures.collect(),
        }
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(RECORD);
        let text = serde_json::to_string(self)
            .map_err(|source| Error::Json { path: path.clone(), source })?;
        write_atomically(&path, text.as_bytes())
    }

    /// The record in a run folder; none in runs from before there were any.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()
    }

    /// What is different in `now`, in one sentence; none if the fingerprints agree.
    pub(crate) fn differences(&self, now: &Self) -> Option<String> {
        if self.fingerprint == now.fingerprint {
            return None;
        }
        let mut parts = Vec::new();
        if self.classes != now.classes {
            parts.push(format!(
                "the classes are {} instead of {}",
                now.classes.join(", "),
                self.classes.join(", ")
            ));
        }
        let only = |a: &Self, b: &Self| -> Vec<String> {
            a.pictures.keys().filter(|id| !b.pictures.contains_key(*id)).cloned().collect()
        };
        let changed = |field: fn(&Recorded) -> String| -> Vec<String> {
            let both =
                self.pictures.iter().filter_map(|(id, a)| Some((id, a, now.pictures.get(id)?)));
            both.filter(|(_, a, b)| field(a) != field(b)).map(|(id, ..)| id.clone()).collect()
        };
        for (ids, what) in [
            (only(self, now), "missing"),
            (only(now, self), "new"),
            (changed(|Recorded(_, _, bytes)| format!("{bytes:?}")), "of another size"),
            (changed(|Recorded(_, split, _)| format!("{split:?}")), "in another split"),
        ] {
            if let Some(first) = ids.first() {
                let named = if ids.len() == 1 {
                    first.clone()
                } else {
                    ids[..ids.len().min(NAMED)].join(", ")
                };
                let more = if ids.len() > NAMED { ", …" } else { "" };
                parts.push(format!("{} picture(s) {what} ({named}{more})", ids.len()));
            }
        }
        if parts.is_empty() {
            parts.push("their source or the order of the classes".into());
        }
        Some(parts.join("; "))
    }
}
