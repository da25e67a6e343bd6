use serde::{Deserialize, Serialize};
use taper_calibration::Calibrated;
use taper_callbacks::StopReason;
use taper_core::Precision;
use taper_graph::{Graph, ParameterCount};
use taper_metrics::Evaluation;
use taper_picture::Finding;
use taper_train::{LogisticFigures, Tried};

use crate::FineTuned;

/// A head that starts from the names of the classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FromNames {
    /// 0 is the names alone, 1 the trained head.
    pub alpha: f64,
    /// The points of the way on the validation pictures; the first is the names alone.
    pub tried: Vec<Tried>,
}

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All epochs were trained.
    Completed,
    /// A callback stopped it.
    Early,
    /// The loss became NaN.
    Nan,
    /// Somebody asked to stop.
    Interrupted,
}

impl Outcome {
    /// That of the head in answers of earlier programs, which do not say.
    fn completed() -> Self {
        Self::Completed
    }

    /// That of a training which ended for a reason, or for none.
    pub fn of(stopped: Option<&StopReason>) -> Self {
        match stopped.map(StopReason::keyword) {
            None => Self::Completed,
            Some("nan") => Self::Nan,
            Some("interrupted") => Self::Interrupted,
            Some(_) => Self::Early,
        }
    }
}

/// Parameters of the whole classifier, and of its head alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Backbone and head: `total` and so on.
    #[serde(flatten)]
    pub all: ParameterCount,
    /// The head alone.
    pub head: HeadCount,
}

impl Counted {
    /// Of a backbone, some of which may have been trained, and a trained head.
    pub fn of(backbone: &Graph, head: &Graph, tuned: Option<&FineTuned>) -> Self {
        let mut own = ParameterCount::of(backbone, false);
        own.trainable = tuned.map_or(0, |tuned| tuned.trained_parameters as usize);
        own.non_trainable -= own.trainable;
        Self {
            all: own + ParameterCount::of(head, true),
            head: HeadCount {
                total: head.learnable_parameters() + head.running_statistics(),
                trainable: head.learnable_parameters(),
            },
        }
    }
}

/// Parameters of a head as Keras counts them: `total` holds the running statistics of BatchNorm
/// too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadCount {
    /// Everything that is stored.
    pub total: usize,
    /// What is learned.
    pub trainable: usize,
}

/// The result of a training run: the answer of `taper train`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// The run folder.
    pub run: String,
    /// The network.
    pub model: String,
    /// The data set.
    pub data: String,
    /// The head.
    pub head: String,
    /// Where the backbone's weights came from.
    pub weights: String,
    /// Epochs of the head that were finished; 0 if it was solved.
    pub epochs: u64,
    /// The epoch of the head (from 0) whose weights were kept; `null` if none was finished.
    pub best_epoch: Option<u64>,
    /// How training ended: the last phase of it.
    pub stopped: Outcome,
    /// How the head's training ended.
    #[serde(default = "Outcome::completed")]
    pub head_stopped: Outcome,
    /// Loss on the validation pictures with the weights that were kept.
    pub val_loss: f64,
    /// Accuracy on the validation pictures with the weights that were kept.
    pub val_accuracy: f64,
    /// What was validated on, e.g. `val`, or `0.15 of train`.
    pub validated_on: String,
    /// The honest figures: on test pictures that were not used before. `null` if there are none.
    pub test: Option<Evaluation>,
    /// The learning rate of the head's optimizer at the end; 0 if it was solved.
    pub learning_rate: f64,
    /// The seed.
    pub seed: u64,
    /// Where it was computed.
    pub device: String,
    /// The device or kernels that the frozen backbone ran on.
    pub kernels: String,
    /// What it computed in.
    #[serde(default)]
    pub precision: Precision,
    /// Pictures that were trained on (views counted), validated on, tested on.
    pub pictures: [usize; 3],
    /// How many features came from the cache.
    pub cached: usize,
    /// Seconds for reading the pictures and computing their features.
    pub feature_seconds: f64,
    /// Seconds for training the head.
    pub head_seconds: f64,
    /// Seconds for everything.
    pub total_seconds: f64,
    /// Parameters.
    pub parameters: Counted,
    /// How the head was solved, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logistic: Option<LogisticFigures>,
    /// Where on the way from the names of the classes to the trained head it ended, if it starts
    /// from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<FromNames>,
    /// What the second phase came to, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fine_tune: Option<FineTuned>,
    /// The temperature, and what it and the other knowledge of the model about its own answers are
    /// worth; not in answers of earlier programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated: Option<Calibrated>,
    /// Pictures that could not be used and were left out.
    pub unreadable: Vec<Finding>,
    /// Remarks about pictures that were used anyway.
    pub remarks: Vec<Finding>,
    /// Figures on the validation pictures.
    pub validation: Evaluation,
}
