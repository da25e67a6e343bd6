use super::Study;
use crate::{Error, Result, Space, Trial, Value};

/// Any error of an objective.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How the evaluation of a trial ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// With a value; NaN counts as a failure.
    Complete(f64),
    /// It was stopped, since [`ActiveTrial::should_prune`] said so.
    Pruned,
    /// Without a value, for this reason.
    Failed(String),
    /// From outside, e.g. by Ctrl-C: it goes on after its last step when somebody asks for a trial.
    Interrupted,
}

impl From<f64> for Outcome {
    fn from(value: f64) -> Self {
        Self::Complete(value)
    }
}

/// A trial that the objective is to evaluate.
pub struct ActiveTrial<'a> {
    study: &'a mut Study,
    number: usize,
}

impl ActiveTrial<'_> {
    /// Its number in the study, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// All that is known of it.
    ///
    /// # Errors
    /// [`Error::Trial`] if the study was deleted.
    pub fn trial(&self) -> Result<&Trial> {
        self.study.trial(self.number)
    }

    /// The value of a parameter.
    ///
    /// # Errors
    /// [`Error::Parameter`] if there is none of this name.
    pub fn get(&self, name: &str) -> Result<Value> {
        self.trial()?.get(name).ok_or_else(|| wrong(name, "is not in the search space".into()))
    }

    /// The value of a parameter that is a number.
    ///
    /// # Errors
    /// [`Error::Parameter`] if there is none of this name, or it is something else.
    pub fn float(&self, name: &str) -> Result<f64> {
        let value = self.get(name)?;
        value.as_f64().ok_or_else(|| wrong(name, format!("is '{value}', which is no number")))
    }

    /// The value of a parameter that is a whole number.
    ///
    /// # Errors
    /// [`Error::Parameter`] if there is none of this name, or it is something else.
    pub fn int(&self, name: &str) -> Result<i64> {
        match self.get(name)? {
            Value::Int(value) => Ok(value),
            value => Err(wrong(name, format!("is '{value}', which is no whole number"))),
        }
    }

    /// The value of a parameter that is a text.
    ///
    /// # Errors
    /// [`Error::Parameter`] if there is none of this name, or it is something else.
    pub fn text(&self, name: &str) -> Result<String> {
        match self.get(name)? {
            Value::Text(value) => Ok(value),
            value => Err(wrong(name, format!("is '{value}', which is no text"))),
        }
    }

    /// The last step with an intermediate value, after which the trial goes on; none if it begins.
    /// What the objective has kept may be older: steps may be reported again.
    ///
    /// # Errors
    /// [`Error::Trial`] if the study was deleted.
    pub fn resumes_after(&self) -> Result<Option<i64>> {
        Ok(self.trial()?.last_step().map(|(step, _)| step))
    }

    /// Notes an intermediate value: see [`Study::report`].
    ///
    /// # Errors
    /// Those of [`Study::report`].
    pub fn report(&mut self, step: i64, value: f64) -> Result<()> {
        self.study.report(self.number, step, value)
    }

    /// Whether to stop and return [`Outcome::Pruned`]: see [`Study::should_prune`].
    ///
    /// # Errors
    /// [`Error::Trial`] if the study was deleted.
    pub fn should_prune(&self) -> Result<bool> {
        self.study.should_prune(self.number)
    }

    /// Notes something about it.
    ///
    /// # Errors
    /// Those of [`Study::note`].
    pub fn note(&mut self, key: &str, value: serde_json::Value) -> Result<()> {
        self.study.note(self.number, key, value)
    }
}

fn wrong(name: &str, problem: String) -> Error {
    Error::Parameter { name: name.to_owned(), problem }
}

impl Study {
    /// Evaluates `trials` further trials, and all that wait or are promoted meanwhile. Ends earlier
    /// if the sampler is a grid of which all points have been taken, or a trial is interrupted.
    ///
    /// With ASHA, trials that were not promoted stay paused; further calls may still promote them,
    /// until [`Study::finish`].
    ///
    /// # Errors
    /// [`Error::Objective`] if the objective fails, after its trial was told as failed; to go on
    /// after failures, the objective returns [`Outcome::Failed`]. Those of [`Study::ask`].
    pub fn optimize(
        &mut self,
        space: &Space,
        trials: usize,
        mut objective: impl FnMut(&mut ActiveTrial<'_>) -> std::result::Result<Outcome, BoxError>,
    ) -> Result<()> {
        let mut begun = 0;
        loop {
            let next = match self.next(space, begun < trials) {
                Err(Error::GridExhausted(_)) => self.next(space, false)?,
                next => next?,
            };
            let Some((number, begins)) = next else { return Ok(()) };
            begun += usize::from(begins);
            let mut active = ActiveTrial { study: self, number };
            match objective(&mut active) {
                Ok(outcome) => {
                    let interrupted = outcome == Outcome::Interrupted;
                    self.tell(number, outcome)?;
                    if interrupted {
                        return Ok(());
                    }
                }
                Err(source) => {
                    self.tell(number, Outcome::Failed(source.to_string()))?;
                    return Err(Error::Objective { number, source });
                }
            }
        }
    }
}
