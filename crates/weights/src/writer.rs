use std::{collections::BTreeMap, ops::Deref};

use serde::{Serialize, Serializer, ser::SerializeMap};
use taper_graph::{WeightSource, Weights};

use crate::{
    Error, Result,
    half::exact_f16,
    safetensors::{HEADER_LIMIT, Info, METADATA},
};

/// Collects named tensors and makes a safetensors file from them. The same tensors give the same
/// bytes.
///
/// ```
/// use taper_graph::WeightSource;
/// use taper_weights::{TensorWriter, WeightFile};
///
/// let mut tensors = TensorWriter::new();
/// tensors.f32("scale", &[2], &[1.5, -2.0]);
/// let bytes = tensors.into_bytes([("purpose", "example".into())])?;
/// let file = WeightFile::from_bytes("example", bytes)?;
/// assert_eq!(file.values("scale").as_deref(), Some(&[1.5, -2.0][..]));
/// assert_eq!(file.metadata()["purpose"], "example");
/// # Ok::<(), taper_weights::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct TensorWriter {
    tensors: Vec<Stored>,
}

/// The types that are written, in the reverse order of the file: wide numbers first, so that all
/// are aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Dtype {
    F16,
    U32,
    F32,
    I64,
}

impl Dtype {
    fn name(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::U32 => "U32",
            Self::F32 => "F32",
            Self::I64 => "I64",
        }
    }
}

#[derive(Debug)]
struct Stored {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl TensorWriter {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor as 32-bit floats; the values are in row-major order.
    pub fn f32(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.push(name.into(), Dtype::F32, shape, bytes);
    }

    /// Adds a tensor as 16-bit floats if they represent all of its values exactly, else as 32-bit
    /// floats: either way without loss.
    pub fn compact(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        match as_f16(values) {
            Some(bytes) => self.push(name.into(), Dtype::F16, shape, bytes),
            None => self.f32(name, shape, values),
        }
    }

    /// Adds a tensor of 32-bit unsigned integers.
    pub fn u32(&mut self, name: impl Into<String>, shape: &[usize], values: &[u32]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.push(name.into(), Dtype::U32, shape, bytes);
    }

    /// Adds a tensor of 64-bit integers.
    pub fn i64(&mut self, name: impl Into<String>, shape: &[usize], values: &[i64]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.push(name.into(), Dtype::I64, shape, bytes);
    }

    /// Adds all tensors of `weights` as 32-bit floats, with `prefix` before their names.
    pub fn extend(&mut self, prefix: &str, weights: &Weights) {
        for name in weights.names() {
            if let (Some(shape), Some(values)) = (weights.shape(name), weights.values(name)) {
                self.f32(format!("{prefix}{name}"), shape, values.deref());
            }
        }
    }

    fn push(&mut self, name: String, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) {
        self.tensors.push(Stored { name, dtype, shape: shape.to_vec(), bytes });
    }

    /// The file's content, with these keys and texts in its header, in the order of the keys.
    ///
    /// # Errors
    /// [`Error::Write`] if shape and values of a tensor disagree, or two have the same name.
    pub fn into_bytes<'a>(
        self,
        texts: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<Vec<u8>> {
        let texts: BTreeMap<&str, String> = texts.into_iter().collect();
        let mut tensors = self.tensors;
        tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
        let mut infos = Vec::with_capacity(tensors.len());
        let mut end = 0;
        for Stored { name, dtype, shape, bytes } in &tensors {
            let fail = |problem: &str| Error::Write(format!("tensor '{name}': {problem}"));
            let start = end;
            end += bytes.len();
            let dtype = dtype.name().to_owned();
            let info = Info { dtype, shape: shape.clone(), data_offsets: (start, end) };
            if info.size().map_err(|problem| fail(&problem))? != bytes.len() {
                return Err(fail(&format!("{} bytes for shape {shape:?}", bytes.len())));
            }
            if name == METADATA {
                return Err(fail("the format reserves this name for metadata"));
            }
            infos.push((name.as_str(), info));
        }
        let names: std::collections::BTreeSet<&str> = infos.iter().map(|(name, _)| *name).collect();
        if names.len() != infos.len() {
            return Err(Error::Write("two tensors have the same name".into()));
        }

        let header = Header { texts, infos };
        let mut header =
            serde_json::to_vec(&header).map_err(|error| Error::Write(error.to_string()))?;
        header.resize(header.len().next_multiple_of(8), b' ');
        if header.len() > HEADER_LIMIT {
            return Err(Error::Write(format!("the header has {} bytes", header.len())));
        }
        let mut file = Vec::with_capacity(8 + header.len() + end);
        file.extend((header.len() as u64).to_le_bytes());
        file.extend(header);
        tensors.iter().for_each(|tensor| file.extend(&tensor.bytes));
        Ok(file)
    }
}

struct Header<'a> {
    texts: BTreeMap<&'a str, String>,
    infos: Vec<(&'a str, Info)>,
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.texts.is_empty() {
            map.serialize_entry(METADATA, &self.texts)?;
        }
        for (name, info) in &self.infos {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}

/// The bytes of the values as 16-bit floats, if they can all be represented exactly.
fn as_f16(values: &[f32]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(2 * values.len());
    for &value in values {
        bytes.extend_from_slice(&exact_f16(value)?.to_le_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use ::safetensors::tensor::{Dtype as Theirs, TensorView, serialize};

    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_formats_own_crate() {
        let (a, b, c) = ([1.0f32, 0.1, f32::NAN], [0.5f32, -2.0], [7u32, u32::MAX]);
        let bytes = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let halves = [0x3800u16, 0xc000].map(u16::to_le_bytes).concat();
        let integers: Vec<u8> = c.iter().flat_map(|v| v.to_le_bytes()).collect();
        let (wide, wider) = (bytes(&a), bytes(&b));
        for text in [None, Some("a \"text\"\n")] {
            let mut ours = TensorWriter::new();
            ours.compact("b.half", &[2, 1], &b);
            ours.f32("b.wide", &[2], &b);
            ours.u32("integers", &[2], &c);
            ours.compact("a \"wide\"", &[1, 3], &a);
            ours.f32("scalar", &[], &[1.0]);
            ours.f32("empty", &[0, 4], &[]);
            let ours = ours.into_bytes(text.map(|text| ("key", text.to_owned()))).unwrap();
            let one = 1.0f32.to_le_bytes();
            let view = |dtype, shape: &[usize], bytes| {
                TensorView::new(dtype, shape.to_vec(), bytes).unwrap()
            };
            let theirs = [
                ("a \"wide\"", view(Theirs::F32, &[1, 3], &wide)),
                ("b.half", view(Theirs::F16, &[2, 1], &halves)),
                ("b.wide", view(Theirs::F32, &[2], &wider)),
                ("scalar", view(Theirs::F32, &[], &one)),
                ("empty", view(Theirs::F32, &[0, 4], &[])),
                ("integers", view(Theirs::U32, &[2], &integers)),
            ];
            let text = text.map(|text| HashMap::from([("key".to_owned(), text.to_owned())]));
            assert_eq!(ours, serialize(theirs, text).unwrap());
        }
    }

    #[test]
    fn what_would_not_be_read_again_is_not_written() {
        let refusal = |write: &dyn Fn(&mut TensorWriter)| {
            let mut tensors = TensorWriter::new();
            write(&mut tensors);
            tensors.into_bytes(None).unwrap_err().to_string()
        };
        assert!(refusal(&|t| t.f32("a", &[3], &[0.0; 2])).contains("8 bytes for shape [3]"));
        let twice = refusal(&|t| {
            t.f32("a", &[1], &[0.0]);
            t.u32("a", &[1], &[0]);
        });
        assert!(twice.contains("same name"), "{twice}");
        assert!(refusal(&|t| t.f32(METADATA, &[1], &[0.0])).contains("reserves this name"));
    }
}
