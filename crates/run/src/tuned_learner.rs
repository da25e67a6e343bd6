//! The layers of a network in training, on the CPU or on a device.

use taper_core::{Identity, OutOfRange, Precision};
use taper_grad::BatchNormMode;
use taper_graph::Weights;
use taper_metrics::Metrics;
use taper_train::{
    CheckedTraining, Learner, NetworkLearner, RowBatch, State, StepContext, StepOutcome,
    TrainedPart,
};

use crate::{Result, maps::Maps, place::Place};

/// The layers of a network with their optimizer, where the run's device is.
pub(crate) enum TunedLearner {
    Cpu(Box<NetworkLearner<Maps>>),
    #[cfg(feature = "candle")]
    Gpu(Box<taper_candle::DeviceNetworkLearner<Maps>>),
}

/// Evaluates an expression with whichever learner it is.
macro_rules! with {
    ($learner:expr, $own:ident => $work:expr) => {
        match $learner {
            TunedLearner::Cpu($own) => $work,
            #[cfg(feature = "candle")]
            TunedLearner::Gpu($own) => $work,
        }
    };
}

impl TunedLearner {
    /// The learner for this place, at the weights of the part.
    ///
    /// # Errors
    /// If the part or the settings do not fit, or the device has no room.
    pub(crate) fn new(
        part: &TrainedPart<'_>,
        counts: &[usize],
        settings: &CheckedTraining,
        place: &Place,
        precision: Precision,
    ) -> Result<Self> {
        match place {
            Place::Cpu => {
                debug_assert_eq!(precision, Precision::F32);
                Ok(Self::Cpu(Box::new(NetworkLearner::new(part, counts, settings)?)))
            }
            #[cfg(feature = "candle")]
            Place::Gpu(device, _) => {
                let own = taper_candle::DeviceNetworkLearner::new(
                    part, counts, settings, precision, device,
                )?;
                Ok(Self::Gpu(Box::new(own)))
            }
        }
    }

    /// Parameters that are trained, without the head's.
    pub(crate) fn trained(&self) -> u64 {
        let of_backbone = |name: &str| name.starts_with("backbone.");
        match self {
            Self::Cpu(own) => {
                let parameters = own.network().parameters().iter();
                parameters.filter(|p| of_backbone(&p.name)).map(|p| p.gradient.len() as u64).sum()
            }
            #[cfg(feature = "candle")]
            Self::Gpu(own) => {
                let parameters = own.network().parameters().iter();
                let parameters = parameters.filter(|p| of_backbone(&p.name) && p.trained);
                parameters.map(|p| p.var.elem_count() as u64).sum()
            }
        }
    }

    /// The same learner at other weights, for evaluating them.
    ///
    /// # Errors
    /// If they are another network's, or the device fails.
    pub(crate) fn measure_with(
        &mut self,
        weights: &Weights,
        rows: &Maps,
    ) -> taper_train::Result<Metrics> {
        with!(self, own => own.measure_with(weights, rows))
    }
}

/// For how many pictures of a batch there is memory on the device at a time; none for the CPU,
/// whose memory is the recipe's.
///
/// # Errors
/// If the statistics of a batch are trained, and it has no room; if the device does not answer.
pub(crate) fn device_room(
    place: &Place,
    part: &TrainedPart<'_>,
    batch: usize,
    precision: Precision,
) -> Result<Option<usize>> {
    let Some(room) = fits(place, part, precision)? else { return Ok(None) };
    if part.batch_norm == BatchNormMode::Trained && room < batch {
        let remedy = format!(
            "about {room} pictures at a time fit into the device's memory, and statistics that are trained need the whole batch: use a smaller batch, or `batch_norm` frozen"
        );
        return Err(OutOfRange::new("fine_tune.batch_size", batch, remedy).into());
    }
    Ok(Some(room.max(1)))
}

/// How many pictures fit into the device's memory.
fn fits(place: &Place, part: &TrainedPart<'_>, precision: Precision) -> Result<Option<usize>> {
    match place {
        Place::Cpu => {
            // Only devices have a use for them.
            let _ = (part, precision);
            Ok(None)
        }
        #[cfg(feature = "candle")]
        Place::Gpu(device, _) => {
            Ok(Some(taper_candle::TrainedNetwork::fits(part, precision, device)?))
        }
    }
}

impl Learner for TunedLearner {
    type Batch = RowBatch<Maps>;
    type Validation = Maps;

    fn classes(&self) -> usize {
        with!(self, own => own.classes())
    }

    fn step(&mut self, batch: &RowBatch<Maps>, context: StepContext) -> taper_train::Result<()> {
        with!(self, own => own.step(batch, context))
    }

    fn outcomes(&mut self) -> taper_train::Result<Vec<StepOutcome>> {
        with!(self, own => own.outcomes())
    }

    fn waiting(&self) -> usize {
        with!(self, own => own.waiting())
    }

    fn is_prompt(&self) -> bool {
        with!(self, own => own.is_prompt())
    }

    fn measure(&mut self, validation: &Maps) -> taper_train::Result<Metrics> {
        with!(self, own => own.measure(validation))
    }

    fn weights(&mut self) -> taper_train::Result<Weights> {
        with!(self, own => own.weights())
    }

    fn set_weights(&mut self, weights: &Weights) -> taper_train::Result<()> {
        with!(self, own => own.set_weights(weights))
    }

    fn state(&mut self) -> taper_train::Result<State> {
        with!(self, own => own.state())
    }

    fn restore(&mut self, state: &State) -> taper_train::Result<()> {
        with!(self, own => own.restore(state))
    }

    fn reseed(&mut self, seed: u64) -> taper_train::Result<()> {
        with!(self, own => own.reseed(seed))
    }

    fn identify(&self, validation: &Maps, identity: Identity) -> Identity {
        with!(self, own => own.identify(validation, identity))
    }
}
