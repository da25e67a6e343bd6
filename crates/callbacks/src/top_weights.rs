use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_core::{Monitor, float};

use crate::{
    Action, BestWeightsConfig, Callback, Event, Result,
    callback::{check_reported, load, monitored, save},
    early_stopping::checked_monitor,
};

/// Keeps the weights of one of the best epochs, for an average of them: as many of these callbacks
/// as epochs are wanted, one for each place. An epoch that is better than the worst of those kept
/// takes its place.
#[derive(Debug, Clone)]
pub struct TopWeights {
    name: String,
    monitor: Monitor,
    place: usize,
    count: usize,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    places: Vec<Place>,
}

/// An epoch that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    #[serde(with = "float")]
    value: f64,
    epoch: u64,
}

impl TopWeights {
    /// The callbacks for this many epochs, by the options' monitor.
    ///
    /// # Errors
    /// [`crate::Error::Monitor`] if the monitor's direction is not known.
    pub fn of(count: usize, options: &BestWeightsConfig) -> Result<Vec<Self>> {
        let own = |place| {
            let name = format!("top weights {} of {count}", place + 1);
            let monitor = checked_monitor("top weights", &options.monitor, options.mode, 0.0)?;
            let state = State { places: Vec::with_capacity(count) };
            Ok(Self { name, monitor, place, count, state })
        };
        (0..count).map(own).collect()
    }

    /// The place of an epoch, if it is good enough.
    fn take(&mut self, epoch: u64, value: f64) -> Option<usize> {
        let count = self.count;
        let places = &mut self.state.places;
        if value.is_nan() {
            return None;
        }
        if places.len() < count {
            places.push(Place { value, epoch });
            return Some(places.len() - 1);
        }
        let monitor = &self.monitor;
        let worst = (0..count).reduce(|worst, at| {
            match monitor.improves(places[worst].value, Some(places[at].value)) {
                true => at,
                false => worst,
            }
        })?;
        monitor.improves(value, Some(places[worst].value)).then(|| {
            places[worst] = Place { value, epoch };
            worst
        })
    }
}

impl Callback for TopWeights {
    fn name(&self) -> &str {
        &self.name
    }

    fn follows_batches(&self) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event<'_>, actions: &mut Vec<Action>) -> Result<()> {
        match *event {
            Event::TrainBegin { resumed, reported, .. } => {
                check_reported(&self.name, &self.monitor, reported)?;
                if !resumed {
                    self.state.places.clear();
                }
            }
            Event::EpochEnd { epoch, logs, .. } => {
                let value = monitored(&self.name, &self.monitor, logs)?;
                if self.take(epoch, value) == Some(self.place) {
                    actions.push(Action::KeepWeights { epoch });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn state(&self) -> Result<Value> {
        save(&self.state)
    }

    fn restore(&mut self, state: Value) -> Result<()> {
        self.state = load(&self.name, state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Logs;

    #[test]
    fn the_best_epochs_are_kept_one_for_each_place() {
        let mut places = TopWeights::of(3, &BestWeightsConfig::default()).unwrap();
        let mut kept = [None; 3];
        for (epoch, loss) in [0.9, f64::NAN, 0.5, 0.8, 0.95, 0.4, 0.45].into_iter().enumerate() {
            let logs: Logs = [("val_loss", loss)].into_iter().collect();
            let epoch = epoch as u64;
            let event = Event::EpochEnd { epoch, step: 0, learning_rate: 0.1, logs: &logs };
            for (own, kept) in places.iter_mut().zip(&mut kept) {
                let mut actions = Vec::new();
                own.on_event(&event, &mut actions).unwrap();
                if !actions.is_empty() {
                    assert_eq!(actions, [Action::KeepWeights { epoch }]);
                    *kept = Some(epoch);
                }
                let state = own.state().unwrap();
                own.restore(state).unwrap();
            }
        }
        let mut kept: Vec<u64> = kept.into_iter().flatten().collect();
        kept.sort_unstable();
        assert_eq!(kept, [2, 5, 6]);
    }
}
