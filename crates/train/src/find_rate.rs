use taper_lr_finder::{CheckedRangeTest, RangeTestResult, StepError, Trainee, find};

use crate::{
    Batches, Error, Learner, Result, State, StepContext, Trainer, Watch, trainer::dropout,
};

impl<L, B> Trainer<'_, L, B>
where
    L: Learner,
    B: Batches<Batch = L::Batch>,
{
    /// Finds a learning rate: trains with growing rates, on the training rows in their order, and
    /// restores everything bit for bit. The first sweep uses the training's own seed, further ones
    /// the seeds after it.
    ///
    /// # Errors
    /// [`Error::Finder`] if no rate can be read off, [`Error::Interrupted`] if interrupted.
    pub fn find_rate(&mut self, test: &CheckedRangeTest, watch: &Watch) -> Result<RangeTestResult> {
        let config = test.config();
        let total = config.steps * config.seeds.len();
        watch.progress().begin("learning-rate finder", total as u64, "steps");
        let mut sweep = Sweep { trainer: self, watch, seed: 0, steps: 0 };
        let found = find(test, &mut sweep);
        watch.progress().end();
        if watch.interrupted() {
            return Err(Error::Interrupted);
        }
        Ok(found?)
    }
}

/// A trainer in a range test.
struct Sweep<'t, 'v, L: Learner, B> {
    trainer: &'t mut Trainer<'v, L, B>,
    watch: &'t Watch,
    seed: u64,
    steps: usize,
}

fn failed(error: Error) -> StepError {
    Box::new(error)
}

impl<L, B> Trainee for Sweep<'_, '_, L, B>
where
    L: Learner,
    B: Batches<Batch = L::Batch>,
{
    type Snapshot = State;

    fn snapshot(&mut self) -> std::result::Result<State, StepError> {
        self.trainer.learner.state().map_err(failed)
    }

    fn restore(&mut self, snapshot: State) -> std::result::Result<(), StepError> {
        self.trainer.learner.restore(&snapshot).map_err(failed)
    }

    fn reseed(&mut self, seed: u64) -> std::result::Result<(), StepError> {
        let settings = &self.trainer.settings;
        self.seed = settings.seed.wrapping_add(seed);
        self.steps = 0;
        self.trainer.learner.reseed(self.seed).map_err(failed)
    }

    fn step(&mut self, rate: f64) -> std::result::Result<f64, StepError> {
        if self.watch.interrupted() {
            return Err(failed(Error::Interrupted));
        }
        let per_epoch = self.trainer.steps_per_epoch();
        let (epoch, within) = (self.steps / per_epoch, self.steps % per_epoch);
        let batch = self.trainer.batches.batch(self.seed, epoch as u32, within).map_err(failed)?;
        let number = self.steps as u32;
        let context = StepContext { rate, dropout: dropout(self.seed), number };
        let learner = &mut self.trainer.learner;
        learner.step(&batch, context).map_err(failed)?;
        let outcomes = learner.outcomes().map_err(failed)?;
        self.steps += 1;
        self.watch.progress().advance(1);
        Ok(outcomes.last().map_or(f64::NAN, |stepped| stepped.loss))
    }
}
