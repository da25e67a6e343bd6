#![doc = include_str!("../README.md")]

mod calibrate;
mod data_record;
mod early;
mod error;
mod features;
mod find_rate;
mod fine_tune;
mod finished;
mod head;
mod maps;
mod names;
mod open;
mod origin;
mod place;
mod precision;
mod prepare;
mod quick_check;
mod repeated;
mod resume;
mod run;
mod run_folder;
mod session;
mod source;
mod tuned_learner;

pub use error::{Error, Result};
pub use features::{Features, NamedViews, extract};
pub use find_rate::{FoundRate, find_rate};
pub use finished::{Finished, Observer, Part};
pub use names::{NamedHead, named_head};
pub use open::{about_memorised, model_file, open_classifier};
pub use origin::Published;
pub use place::{BackboneSpec, Place, WITH_CANDLE};
pub use precision::{resolve_precision, seconds_per_picture};
pub use prepare::Drawn;
pub use repeated::{HeadAlone, Repeated, train_repeatedly};
pub use resume::{Changes, Resumed, resume, resume_changed, resume_with};
pub use run::{OwnCallbacks, train, train_on, train_with};
pub use session::Session;
pub use source::{data_name, open_data, open_data_with, remark, remarks_of};
pub use taper_answer::{Answer, Counted, FineTuned, FromNames, HeadCount, Outcome};
pub use taper_calibration::{Calibrated, Judged};
pub use taper_metrics::Spread;
pub use taper_mixing::{Mixing, Views};
pub use taper_outputs::{OutFolder, write_json};
pub use taper_recipe::{
    BatchNormChoice, CheckedRecipe, CheckpointSettings, Error as RecipeError, FineTune, FitChoice,
    HeadChoice, KNOWN_DATASETS, KnownDataset, LearningRate, LrFinderSettings, MapPrecision,
    MixChoice, NAMED_RECIPES, NamedRecipe, PrecisionChoice, PromptChoice, Recipe, UnfreezeChoice,
    check_present,
};
