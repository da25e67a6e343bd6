//! PTX: its text, its instructions, and threads that run them.

mod access;
mod access_check;
mod arithmetic;
mod bits;
mod block;
mod call;
mod compare;
mod convert;
mod decode;
mod exchange;
mod fault;
mod module;
mod program;
mod special;
mod text;
mod value;
mod warp;

#[cfg(test)]
mod tests;

pub use block::Grid;
pub(crate) use block::run;
pub use fault::Fault;
pub use module::Module;
pub(crate) use program::Function;
