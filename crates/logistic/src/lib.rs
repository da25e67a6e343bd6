#![doc = include_str!("../README.md")]

mod choose;
mod error;
mod folds;
mod lbfgs;
mod model;
mod objective;
mod rows;
mod solver;

pub use choose::{CheckedSearch, Chosen, Search, Tried, choose};
pub use error::{Error, Result};
pub use folds::folds;
pub use model::Model;
pub use rows::Rows;
pub use solver::{CheckedSolver, Solved, Solver, never, solve};
