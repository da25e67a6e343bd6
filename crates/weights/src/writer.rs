use std::{collections::HashMap, ops::Deref};

use half::f16;
use safetensors::tensor::{Dtype, TensorView, serialize};
use taper_graph::{WeightSource, Weights};

use crate::{Error, Result};

/// Collects named tensors and makes a safetensors file of them. The same tensors give the same
/// bytes.
///
/// ```
/// use taper_graph::WeightSource;
/// use taper_weights::{TensorWriter, WeightFile};
///
/// let mut tensors = TensorWriter::new();
/// tensors.f32("scale", &[2], &[1.5, -2.0]);
/// let bytes = tensors.into_bytes(Some(("purpose", "example".into())))?;
/// let file = WeightFile::from_bytes("example", bytes)?;
/// assert_eq!(file.values("scale").as_deref(), Some(&[1.5, -2.0][..]));
/// assert_eq!(file.metadata()["purpose"], "example");
/// # Ok::<(), taper_weights::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct TensorWriter {
    tensors: Vec<Stored>,
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

    /// Adds a tensor as 16-bit floats if each of its values is one, else as 32-bit floats: no bit
    /// is lost either way.
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

    /// The file's content. `text` is a key and a text for its header: one at most, since the
    /// format's map has no order and the bytes must be the same every time.
    ///
    /// # Errors
    /// [`Error::Write`] if shape and values of a tensor disagree.
    pub fn into_bytes(self, text: Option<(&str, String)>) -> Result<Vec<u8>> {
        let views = self.tensors.iter().map(|Stored { name, dtype, shape, bytes }| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(Error::Write)?;
            Ok((name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let text = text.map(|(key, text)| HashMap::from([(key.to_owned(), text)]));
        serialize(views, text).map_err(Error::Write)
    }
}

/// The bytes of the values as 16-bit floats if each of them is one.
fn as_f16(values: &[f32]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(2 * values.len());
    for &value in values {
        let compact = f16::from_f32(value);
        if compact.to_f32().to_bits() != value.to_bits() {
            return None;
        }
        bytes.extend_from_slice(&compact.to_le_bytes());
    }
    Some(bytes)
}
