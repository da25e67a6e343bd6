#![doc = include_str!("../README.md")]

pub mod class_names;
pub mod columns;
pub mod companions;
pub mod folders;
pub mod group_columns;
mod inner;
pub mod multi_label;
pub mod paths;
pub mod sets;
pub mod split_columns;
pub mod splits;
mod tree;
mod values;
