#![doc = include_str!("../README.md")]

pub mod class_names;
pub mod folders;
pub mod multi_label;
pub mod sets;
pub mod split_columns;
pub mod splits;
mod tree;
