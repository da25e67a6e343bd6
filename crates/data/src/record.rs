//! What a data set was, picture by picture: how data that have moved or changed are recognised.

use std::collections::{BTreeMap, HashSet};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use taper_core::Split;

use crate::Dataset;

/// How many differences of a kind are named.
const NAMED: usize = 3;

/// A data set as it was at one time. Serialisable, to be kept in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// [`Dataset::fingerprint`].
    fingerprint: String,
    classes: Vec<String>,
    /// By id.
    pictures: BTreeMap<String, Recorded>,
    /// By id: the beginning of the digest of the content. Empty until all features are there, and
    /// in runs from before contents were recorded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    contents: BTreeMap<String, String>,
}

/// What is recorded of a picture: class, split, size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded(u32, Option<String>, Option<u64>);

impl DataRecord {
    /// The data set as it is now, without the contents of the pictures.
    pub fn of(dataset: &Dataset) -> Self {
        let pictures = dataset.samples().iter().enumerate().map(|(index, sample)| {
            let split = sample.split.map(|split: Split| split.name().to_owned());
            (sample.id.clone(), Recorded(sample.label, split, dataset.bytes(index)))
        });
        Self {
            fingerprint: dataset.fingerprint(),
            classes: dataset.classes().iter().map(str::to_owned).collect(),
            pictures: pictures.collect(),
            contents: BTreeMap::new(),
        }
    }

    /// Adds the contents of the pictures, unless they are there. Those whose pixels have been read
    /// are known; the others are read.
    #[must_use]
    pub fn with_contents(self, dataset: &Dataset) -> Self {
        match self.contents.is_empty() {
            true => Self { contents: contents(dataset), ..self },
            false => self,
        }
    }

    /// What is different in `now`, in one sentence; none if the fingerprints agree.
    pub fn differences(&self, now: &Self) -> Option<String> {
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
            parts.extend(named(&ids, what));
        }
        if parts.is_empty() {
            parts.push("their source or the order of the classes".into());
        }
        Some(parts.join("; "))
    }

    /// How many of these pictures are in the record, other than in a test or validation split that
    /// the source assigned. By contents, wherever they lie.
    pub fn shared(&self, dataset: &Dataset, indices: &[usize]) -> usize {
        let of_training = self.contents.iter().filter(|(id, _)| {
            let split = self.pictures.get(*id).and_then(|Recorded(_, split, _)| split.as_deref());
            split.is_none_or(|split| split == Split::Train.name())
        });
        let known: HashSet<&str> = of_training.map(|(_, content)| content.as_str()).collect();
        let among = |index: &&usize| {
            content(dataset, **index).is_some_and(|own| known.contains(own.as_str()))
        };
        indices.par_iter().filter(among).count()
    }

    /// Which pictures have other contents, in a few words; those that have none are known to be
    /// broken. They are read for this.
    pub fn other_contents(&self, dataset: &Dataset) -> Option<String> {
        if self.contents.is_empty() {
            return None;
        }
        let now = contents(dataset);
        let other = self.contents.iter().filter(|(id, content)| now.get(*id) != Some(*content));
        let ids: Vec<String> = other.map(|(id, _)| id.clone()).collect();
        named(&ids, "with other contents")
    }
}

/// The first few pictures, and what is the matter with them.
fn named(ids: &[String], what: &str) -> Option<String> {
    let more = if ids.len() > NAMED { ", …" } else { "" };
    let shown = ids[..ids.len().min(NAMED)].join(", ");
    (!ids.is_empty()).then(|| format!("{} picture(s) {what} ({shown}{more})", ids.len()))
}

/// The beginnings of the digests of what can be read, by id.
fn contents(dataset: &Dataset) -> BTreeMap<String, String> {
    let of = |index: usize| -> Option<(String, String)> {
        Some((dataset.samples()[index].id.clone(), content(dataset, index)?))
    };
    (0..dataset.len()).into_par_iter().filter_map(of).collect::<Vec<_>>().into_iter().collect()
}

/// The beginning of the digest of a picture; none if it cannot be read.
fn content(dataset: &Dataset, index: usize) -> Option<String> {
    let digest = dataset.picture_digest(index).ok()?;
    let beginning = u64::from_be_bytes(*digest.first_chunk()?);
    Some(format!("{beginning:016x}"))
}
