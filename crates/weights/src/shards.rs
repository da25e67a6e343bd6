//! Weights in several safetensors files with an index (`model.safetensors.index.json`), as
//! `transformers` writes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
};

use serde::Deserialize;

use crate::{Error, Result};

/// Where each tensor is.
#[derive(Debug, PartialEq)]
pub(crate) struct Index {
    /// The files beside the index, in order.
    pub(crate) files: Vec<String>,
    /// For each tensor, the index of its file.
    pub(crate) tensors: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Written {
    weight_map: BTreeMap<String, String>,
}

/// More files than any network is split into.
const MOST_FILES: usize = 1000;

/// Reads an index; `name` stands for it in messages.
pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<Index> {
    let damaged = |problem: String| Error::Damaged { file: name.to_owned(), problem, source: None };
    let written: Written = serde_json::from_slice(bytes)
        .map_err(|e| damaged(format!("the index cannot be read ({e})")))?;
    let files: BTreeSet<&String> = written.weight_map.values().collect();
    for file in &files {
        let mut parts = Path::new(file.as_str()).components();
        let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        if !plain {
            return Err(damaged(format!("the index names '{file}', which is not beside it")));
        }
    }
    if files.is_empty() || files.len() > MOST_FILES {
        return Err(damaged(format!("the index names {} files", files.len())));
    }
    let files: Vec<String> = files.into_iter().cloned().collect();
    let position = |file: &String| files.binary_search(file).unwrap_or_default();
    let tensors = written.weight_map.iter().map(|(tensor, file)| (tensor.clone(), position(file)));
    Ok(Index { tensors: tensors.collect(), files })
}
