//! PTX: its text, its instructions, and threads that run them.

mod access;
mod arithmetic;
mod bits;
mod block;
mod call;
mod compare;
mod convert;
mod decode;
mod module;
mod program;
mod special;
mod text;
mod thread;
mod value;

#[cfg(test)]
mod tests;

pub use block::Grid;
pub(crate) use block::run;
pub use module::{Fault, Module};
pub(crate) use program::Function;
