//! The common form of all weight formats: named tensors at positions in bytes.

use std::{collections::BTreeMap, ops::Range};

/// A number type that weights can be stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats (IEEE half precision).
    F16,
    /// The upper 16 bits of 32-bit floats.
    Bf16,
}

/// The start of a zip archive, torch's format since 1.6.
pub(crate) const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// A tensor in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    /// In numbers, if the values are not in row-major order.
    pub(crate) strides: Option<Vec<usize>>,
    pub(crate) element: ElementType,
    /// Which of the files.
    pub(crate) file: usize,
    /// From the start of that file; for a tensor with strides, all that they can reach.
    pub(crate) range: Range<usize>,
}

/// The tensors of one file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Contents {
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// Tensors of other types, e.g. counters of batches, with the type's name: present, but not
    /// readable as floats.
    pub(crate) other: BTreeMap<String, String>,
    /// The metadata written into the file.
    pub(crate) metadata: BTreeMap<String, String>,
}
