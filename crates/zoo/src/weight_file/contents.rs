//! What every format of weights comes to: named tensors that lie somewhere in bytes.

use std::{collections::BTreeMap, ops::Range};

use super::ElementType;

/// A tensor in a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) shape: Vec<usize>,
    /// In numbers, if the values do not lie in row-major order.
    pub(super) strides: Option<Vec<usize>>,
    pub(super) element: ElementType,
    /// Which of the files.
    pub(super) file: usize,
    /// From the start of that file; of a tensor with strides, all that they can reach.
    pub(super) range: Range<usize>,
}

/// The tensors of one file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Contents {
    pub(super) tensors: BTreeMap<String, Tensor>,
    /// Tensors of other types, e.g. counters of batches, with the type's name: there, but not to be had as floats.
    pub(super) other: BTreeMap<String, String>,
    /// Texts that the file's writer put into it.
    pub(super) metadata: BTreeMap<String, String>,
}
