//! torch's checkpoints, both as zip archives (since torch 1.6) and in the old format, read without
//! executing anything.
//!
//! Follows `torch/serialization.py`: `_load` (zip) and `_legacy_load`.

use std::{collections::HashMap, io::Cursor, ops::Range};

use zip::{CompressionMethod, ZipArchive};

use crate::{Error, Result};
use crate::{
    contents::{Contents, ElementType, Tensor, ZIP_MAGIC},
    pickle::{Arena, Number, Storage, TensorView, Unpickled, Value, unpickle},
};

/// Where training scripts keep the weights in their checkpoints, in the order of timm's
/// `load_state_dict` (without `use_ema`).
const WRAPPERS: [&str; 5] = ["state_dict", "model", "state_dict_ema", "model_ema", "module"];

/// A pickle that describes weights is small; the numbers are outside it.
const LARGEST_PICKLE: u64 = 64 << 20;

/// Reads the names and positions of all tensors; `name` stands for the file in messages.
pub(crate) fn read(name: &str, data: &[u8]) -> Result<Contents> {
    let contents = if data.starts_with(ZIP_MAGIC) { read_zip(data) } else { read_old(data) };
    contents.map_err(|problem| Error::Checkpoint { file: name.to_owned(), problem })
}

type Step<T> = std::result::Result<T, String>;

fn read_zip(data: &[u8]) -> Step<Contents> {
    let broken = |e: zip::result::ZipError| format!("its archive is damaged ({e})");
    let mut archive = ZipArchive::new(Cursor::new(data)).map_err(broken)?;
    let mut entries: HashMap<String, Range<usize>> = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(format!("its entry '{name}' is compressed, which torch never does"));
        }
        let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
        let size = usize::try_from(entry.size()).ok();
        let range = start.zip(size).and_then(|(start, size)| Some(start..start.checked_add(size)?));
        let range = range.filter(|range| data.get(range.clone()).is_some());
        let range = range.ok_or_else(|| format!("its entry '{name}' lies outside the file"))?;
        // torch names the archive's folder after the original file.
        let inner = name.split_once('/').map_or(name.as_str(), |(_, inner)| inner);
        entries.insert(inner.to_owned(), range);
    }
    let pickle =
        entries.get("data.pkl").ok_or("it has no data.pkl: it is not a torch checkpoint")?;
    let order = entries.get("byteorder").map(|range| &data[range.clone()]);
    if order.is_some_and(|order| order != b"little") {
        return Err("its numbers are big-endian".into());
    }
    if pickle.len() as u64 > LARGEST_PICKLE {
        return Err(format!("its data.pkl has {} bytes: too many for weights", pickle.len()));
    }
    let pickle = &data[pickle.clone()];
    let unpickled = unpickle(pickle)?;
    collect(&unpickled, pickle, |storage, key| {
        let range = entries.get(&format!("data/{key}"));
        let range = range.ok_or_else(|| format!("its numbers 'data/{key}' are missing"))?;
        let promised = storage.count.checked_mul(storage.number.bytes() as u64);
        if promised.is_none_or(|promised| promised > range.len() as u64) {
            return Err(format!("its numbers 'data/{key}' are fewer than promised"));
        }
        Ok(range.clone())
    })
}

/// Four pickles (magic number, version, machine, object), a pickle of the storages' names, then
/// their numbers.
fn read_old(data: &[u8]) -> Step<Contents> {
    let mut at = 0;
    let mut next = |what: &str| -> Step<(Unpickled, &[u8])> {
        let rest = &data[at..];
        let rest = &rest[..rest.len().min(LARGEST_PICKLE as usize)];
        let unpickled = unpickle(rest).map_err(|problem| format!("{what}: {problem}"))?;
        at += unpickled.length;
        Ok((unpickled, rest))
    };
    for what in ["its magic number", "its version", "its description of the machine"] {
        next(what)?;
    }
    let (object, object_bytes) = next("its weights")?;
    let (keys, keys_bytes) = next("the names of its numbers")?;
    let Value::List(keys_list) = keys.value else {
        return Err("the names of its numbers are not a list".into());
    };
    // The storages' types and sizes come from the object; their positions, from the order of their
    // names.
    let mut sizes: HashMap<&str, Storage> = HashMap::new();
    for storage in &object.arena.storages {
        sizes.insert(text_of(object_bytes, storage.key), *storage);
    }
    let mut ranges: HashMap<&str, Range<usize>> = HashMap::new();
    for key in &keys.arena.lists[keys_list as usize] {
        let Value::Text(start, length) = key else {
            return Err("the names of its numbers are not strings".into());
        };
        let key = text_of(keys_bytes, (*start, *length));
        let storage = sizes.get(key).ok_or_else(|| format!("nothing uses its numbers '{key}'"))?;
        let count = data.get(at..).and_then(|rest| rest.first_chunk::<8>());
        let count = u64::from_le_bytes(*count.ok_or("it is truncated")?);
        let bytes = count.checked_mul(storage.number.bytes() as u64);
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let start = at + 8;
        let end = bytes.and_then(|bytes| start.checked_add(bytes));
        let end = end.filter(|end| *end <= data.len()).ok_or("it is truncated")?;
        if count < storage.count {
            return Err(format!("its numbers '{key}' are fewer than promised"));
        }
        ranges.insert(key, start..end);
        at = end;
    }
    collect(&object, object_bytes, |_, key| {
        ranges.get(key).cloned().ok_or_else(|| format!("its numbers '{key}' are missing"))
    })
}

fn text_of(bytes: &[u8], (start, length): (u32, u32)) -> &str {
    let bytes = bytes.get(start as usize..).and_then(|rest| rest.get(..length as usize));
    bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// The named tensors of an unpickled object.
fn collect(
    unpickled: &Unpickled,
    pickle: &[u8],
    mut place: impl FnMut(&Storage, &str) -> Step<Range<usize>>,
) -> Step<Contents> {
    let arena = &unpickled.arena;
    let items = state_dict(unpickled.value, arena, pickle)?;
    let mut contents = Contents::default();
    for (key, value) in items {
        let (Value::Text(start, length), Value::Tensor(tensor)) = (*key, *value) else { continue };
        let name = text_of(pickle, (start, length)).to_owned();
        let view = &arena.tensors[tensor as usize];
        let storage = &view.storage;
        let element = match storage.number {
            Number::F32 => ElementType::F32,
            Number::F16 => ElementType::F16,
            Number::Bf16 => ElementType::Bf16,
            other => {
                contents.other.insert(name, other.name().to_owned());
                continue;
            }
        };
        let range = place(storage, text_of(pickle, storage.key))?;
        let tensor = located(view, element, range)
            .ok_or_else(|| format!("its tensor '{name}' reaches beyond its numbers"))?;
        contents.tensors.insert(name, tensor);
    }
    if contents == Contents::default() {
        return Err("it contains no named tensors".into());
    }
    Ok(contents)
}

/// The dictionary of weights: the object itself, or an entry of it if a training script has wrapped
/// it.
fn state_dict<'a>(value: Value, arena: &'a Arena, pickle: &[u8]) -> Step<&'a [(Value, Value)]> {
    let Value::Dict(dict) = value else {
        return Err("it contains no dictionary of tensors".into());
    };
    let items = &arena.dicts[dict as usize];
    for wrapper in WRAPPERS {
        let inner = items.iter().rev().find_map(|(key, value)| match (key, value) {
            (Value::Text(start, length), Value::Dict(inner))
                if text_of(pickle, (*start, *length)) == wrapper =>
            {
                Some(*inner)
            }
            _ => None,
        });
        if let Some(inner) = inner {
            return Ok(&arena.dicts[inner as usize]);
        }
    }
    Ok(items)
}

/// The position of a view, if all of it is inside its storage.
fn located(view: &TensorView, element: ElementType, storage: Range<usize>) -> Option<Tensor> {
    let size = view.storage.number.bytes();
    let all = |values: &[u64]| -> Option<Vec<usize>> {
        values.iter().map(|v| usize::try_from(*v).ok()).collect()
    };
    let (shape, strides) = (all(&view.shape)?, all(&view.strides)?);
    if shape.len() != strides.len() || shape.len() > 8 {
        return None;
    }
    let count = shape.iter().try_fold(1usize, |n, side| n.checked_mul(*side))?;
    // The last value that the view reaches, and the row-major strides.
    let (mut reach, mut row_major, mut contiguous) = (1usize, 1usize, true);
    for (side, stride) in shape.iter().zip(&strides).rev() {
        if *side > 1 {
            contiguous &= *stride == row_major;
            reach = reach.checked_add((side - 1).checked_mul(*stride)?)?;
        }
        row_major = row_major.checked_mul((*side).max(1))?;
    }
    // A view that repeats numbers (strides of 0) could expand to any size.
    if count > reach {
        return None;
    }
    let reach = if count == 0 { 0 } else { reach };
    let start = usize::try_from(view.offset).ok()?.checked_mul(size)?.checked_add(storage.start)?;
    let end = start.checked_add(reach.checked_mul(size)?)?;
    (end <= storage.end).then_some(Tensor {
        shape,
        strides: (!contiguous).then_some(strides),
        element,
        file: 0,
        range: start..end,
    })
}
