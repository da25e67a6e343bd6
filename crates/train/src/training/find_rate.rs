use taper_lr_finder::{CheckedRangeTest, Finding, StepError, Trainee, find};

use super::{HeadTrainer, engine::State};
use crate::{Error, Result, Session};

impl HeadTrainer<'_> {
    /// Finds a learning rate: trains with rates that grow, on the training rows in their order, and puts everything back
    /// to the bit. The first sweep has the training's own seed, further ones have the seeds after it.
    ///
    /// # Errors
    /// [`Error::Finder`] if no rate can be read off, [`Error::Interrupted`] if somebody asked to stop.
    pub fn find_rate(&mut self, test: &CheckedRangeTest, session: &Session) -> Result<Finding> {
        let config = test.config();
        let total = config.steps * config.seeds.len();
        session.progress().begin("learning-rate finder", total as u64, "steps");
        let mut sweep = Sweep { trainer: self, session, seed: 0, steps: 0 };
        let found = find(test, &mut sweep);
        session.progress().end();
        if session.interrupted() {
            return Err(Error::Interrupted);
        }
        Ok(found?)
    }
}

/// A trainer in a range test.
struct Sweep<'t, 'a> {
    trainer: &'t mut HeadTrainer<'a>,
    session: &'t Session,
    seed: u64,
    steps: usize,
}

fn failed(error: Error) -> StepError {
    Box::new(error)
}

impl Trainee for Sweep<'_, '_> {
    type Snapshot = State;

    fn snapshot(&mut self) -> std::result::Result<State, StepError> {
        self.trainer.engine.state().map_err(failed)
    }

    fn restore(&mut self, snapshot: State) -> std::result::Result<(), StepError> {
        self.trainer.engine.restore(&snapshot).map_err(failed)
    }

    fn reseed(&mut self, seed: u64) -> std::result::Result<(), StepError> {
        let settings = &self.trainer.settings;
        self.seed = settings.seed.wrapping_add(seed);
        self.steps = 0;
        self.trainer.engine.reseed(settings, self.seed).map_err(failed)
    }

    fn step(&mut self, rate: f64) -> std::result::Result<f64, StepError> {
        if self.session.interrupted() {
            return Err(failed(Error::Interrupted));
        }
        let per_epoch = self.trainer.steps_per_epoch();
        let (epoch, within) = (self.steps / per_epoch, self.steps % per_epoch);
        let order = self.trainer.order(self.seed, epoch as u32).map_err(failed)?;
        let rows = &order[self.trainer.step_rows(within)];
        let key = HeadTrainer::dropout(self.seed);
        let engine = &mut self.trainer.engine;
        engine.step(rows, rate, key, self.steps as u32).map_err(failed)?;
        let outcomes = engine.outcomes().map_err(failed)?;
        self.steps += 1;
        self.session.progress().advance(1);
        Ok(outcomes.last().map_or(f64::NAN, |stepped| stepped.loss))
    }
}
