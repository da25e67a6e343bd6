#![doc = include_str!("../README.md")]

mod evaluate;
mod explain;
mod info;
mod inputs;
#[cfg(feature = "parquet")]
mod parquet_rows;
mod path_list;
mod predict;
mod prediction_table;
mod sorter;

pub use evaluate::{Evaluated, evaluate, write_evaluation};
pub use explain::{Explainer, overlay, reduced};
pub use info::{ModelInfo, info};
pub use inputs::Inputs;
pub use predict::{Predicted, predict};
pub use prediction_table::{PredictionTable, as_json, ranked};
pub use sorter::{Sorter, UNSURE};
