#![doc = include_str!("../README.md")]

mod mixing;
mod views;

pub use mixing::{MixChoice, MixedViews, Mixing};
pub use views::Views;
