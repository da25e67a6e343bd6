//! The safetensors format: a header in JSON, then the numbers.

use ::safetensors::{Dtype, SafeTensorError, tensor::Metadata};

use crate::{
    ElementType,
    contents::{Contents, Tensor},
};
use crate::{Error, Result};

/// The format's own limit: more is an attack on the reader's memory.
const HEADER_LIMIT: usize = 100_000_000;

/// Reads and checks the header; `name` stands for the file in messages.
pub(crate) fn read(name: &str, data: &[u8]) -> Result<Contents> {
    let damaged = |problem: String| Error::Damaged { file: name.to_owned(), problem, source: None };
    let Some((length, rest)) = data.split_first_chunk::<8>() else {
        return Err(damaged(format!(
            "it has {} bytes, not even the 8 of the header's length",
            data.len()
        )));
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let Some(header) = header else {
        return Err(damaged(format!(
            "its header claims {length} bytes, but only {} follow: it is truncated or no safetensors file",
            rest.len()
        )));
    };
    if header.len() > HEADER_LIMIT {
        return Err(damaged(format!(
            "its header has {} bytes; the format allows {HEADER_LIMIT}",
            header.len()
        )));
    }
    // The parser checks offsets, gaps, overlaps and sizes; what is left to check is the file's own
    // length.
    let parsed: Metadata = serde_json::from_slice(header).map_err(|error| Error::Damaged {
        file: name.to_owned(),
        problem: "its header makes no sense".into(),
        source: Some(SafeTensorError::InvalidHeaderDeserialization(error)),
    })?;
    let promised = parsed.data_len();
    let start = 8 + header.len();
    let present = data.len() - start;
    if promised != present {
        let problem =
            if present < promised { "it is truncated" } else { "it goes on after its end" };
        return Err(damaged(format!(
            "{problem}: the header promises {promised} bytes of tensors, {present} are there"
        )));
    }

    let mut contents = Contents::default();
    for (tensor, info) in parsed.tensors() {
        let element = match info.dtype {
            Dtype::F32 => ElementType::F32,
            Dtype::F16 => ElementType::F16,
            Dtype::BF16 => ElementType::Bf16,
            dtype => {
                contents.other.insert(tensor, format!("{dtype:?}"));
                continue;
            }
        };
        let (from, to) = info.data_offsets;
        let range = start + from..start + to;
        let shape = info.shape.clone();
        contents.tensors.insert(tensor, Tensor { shape, strides: None, element, file: 0, range });
    }
    contents.metadata = parsed.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(contents)
}
