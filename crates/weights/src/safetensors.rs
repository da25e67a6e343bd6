//! The safetensors format: a header in JSON, then the numbers.
//!
//! Follows `safetensors/src/tensor.rs` of the format's own crate, whose bytes the writer produces
//! and whose checks the reader makes.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};

use crate::contents::{Contents, ElementType, Tensor};
use crate::{Error, Result};

/// The format's own limit, a guard against attacks on the reader's memory.
pub(crate) const HEADER_LIMIT: usize = 100_000_000;
/// The key of the metadata in the header.
pub(crate) const METADATA: &str = "__metadata__";

/// A tensor in the header.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Info {
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) data_offsets: (usize, usize),
}

/// A consistent header: the tensors fill the bytes from 0 to `length` without gaps or overlaps, and
/// each has the size of its shape.
#[derive(Debug, Default)]
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Info>,
    length: usize,
}

/// Bits of one number of each type of the format.
fn bits(dtype: &str) -> Option<usize> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ"
        | "F8_E5M2FNUZ" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "C64" | "F64" | "I64" | "U64" => 64,
        _ => return None,
    })
}

impl Info {
    /// Bytes that the shape asks for.
    pub(crate) fn size(&self) -> std::result::Result<usize, String> {
        let bits =
            bits(&self.dtype).ok_or_else(|| format!("unknown type of number '{}'", self.dtype))?;
        let count = self.shape.iter().try_fold(1, |n: usize, side| n.checked_mul(*side));
        let size = count.and_then(|n| n.checked_mul(bits)).filter(|bits| bits % 8 == 0);
        size.map(|bits| bits / 8).ok_or_else(|| format!("impossible shape {:?}", self.shape))
    }
}

impl Header {
    fn check(&mut self) -> std::result::Result<(), String> {
        let mut tensors: Vec<(&String, &Info)> = self.tensors.iter().collect();
        tensors.sort_by_key(|(_, info)| info.data_offsets);
        let mut position = 0;
        for (name, info) in tensors {
            let size = info.size().map_err(|problem| format!("tensor '{name}': {problem}"))?;
            let (from, to) = info.data_offsets;
            if from != position || to.checked_sub(from) != Some(size) {
                return Err(format!(
                    "tensor '{name}': its {size} bytes should begin at {position}, \
                     the header says {from} to {to}"
                ));
            }
            position = to;
        }
        self.length = position;
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tensors by name")
            }
            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Header, A::Error> {
                let mut header = Header::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        header.metadata = map.next_value::<Option<_>>()?.unwrap_or_default();
                        continue;
                    }
                    let info = map.next_value()?;
                    if header.tensors.contains_key(&name) {
                        return Err(A::Error::custom(format!("tensor '{name}' occurs twice")));
                    }
                    header.tensors.insert(name, info);
                }
                header.check().map_err(A::Error::custom)?;
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

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
    let begins = rest.first().is_none_or(|byte| *byte == b'{');
    if length > HEADER_LIMIT as u64 && !begins {
        return Err(Error::Format {
            file: name.to_owned(),
            found: "a file of another kind",
            remedy: "give a file that holds weights",
        });
    }
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let Some(header) = header else {
        return Err(damaged(format!(
            "its header claims {length} bytes, but only {} follow: \
             it is truncated or no safetensors file",
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
    let parsed: Header = serde_json::from_slice(header).map_err(|error| Error::Damaged {
        file: name.to_owned(),
        problem: "its header cannot be parsed".into(),
        source: Some(error),
    })?;
    let promised = parsed.length;
    let start = 8 + header.len();
    let present = data.len() - start;
    if promised != present {
        let problem =
            if present < promised { "it is truncated" } else { "it has data after its end" };
        return Err(damaged(format!(
            "{problem}: the header promises {promised} bytes of tensors, {present} are there"
        )));
    }

    let mut contents = Contents::default();
    for (tensor, Info { dtype, shape, data_offsets: (from, to) }) in parsed.tensors {
        let element = match dtype.as_str() {
            "F32" => ElementType::F32,
            "F16" => ElementType::F16,
            "BF16" => ElementType::Bf16,
            _ => {
                contents.other.insert(tensor, dtype);
                continue;
            }
        };
        let range = start + from..start + to;
        contents.tensors.insert(tensor, Tensor { shape, strides: None, element, file: 0, range });
    }
    contents.metadata = parsed.metadata;
    Ok(contents)
}
