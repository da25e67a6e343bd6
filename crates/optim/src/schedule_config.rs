use serde::{Deserialize, Serialize};

use crate::{Error, Result, Schedule};

/// A length of training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// Steps of the optimizer.
    Steps(u64),
    /// Epochs, fractions allowed; rounded to steps.
    Epochs(f64),
    /// A share of the whole training, 0…1; rounded to steps.
    Fraction(f64),
}

impl Span {
    fn steps(self, field: &'static str, epochs: u64, steps_per_epoch: u64) -> Result<u64> {
        let fail = |value: f64, remedy| Err(Error::setting(field, value, remedy));
        match self {
            Span::Steps(steps) => Ok(steps),
            Span::Epochs(e) if !(e >= 0.0 && e.is_finite()) => {
                fail(e, "use a finite number of epochs of at least 0")
            }
            Span::Epochs(e) => Ok((e * steps_per_epoch as f64).round() as u64),
            Span::Fraction(f) if !(0.0..=1.0).contains(&f) => fail(f, "use a fraction in [0, 1]"),
            Span::Fraction(f) => Ok((f * (epochs * steps_per_epoch) as f64).round() as u64),
        }
    }
}

/// The shape of the schedule after any warm-up. All factors multiply the base rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// Always the base rate.
    Constant {},
    /// `factor^⌊t / every⌋`. Follows `torch.optim.lr_scheduler.StepLR`.
    Step {
        /// After how long the rate changes; at least one step.
        every: Span,
        /// The factor applied then. Default 0.1, in (0, 1].
        #[serde(default = "tenth")]
        factor: f64,
    },
    /// Half a cosine from 1 to `end_factor`. Follows `keras.optimizers.schedules.CosineDecay` and
    /// `torch.optim.lr_scheduler.CosineAnnealingLR`; stays at the end.
    Cosine {
        /// The share of the base rate at the end. Default 0, in [0, 1].
        #[serde(default)]
        end_factor: f64,
    },
    /// Up to the base rate and down to almost nothing, each along half a cosine. Follows
    /// `torch.optim.lr_scheduler.OneCycleLR` in two phases (Smith and Topin, 2018); the base rate
    /// is its `max_lr`.
    OneCycle {
        /// The share of training that rises. Default 0.3, in (0, 1).
        #[serde(default = "three_tenths")]
        rise: f64,
        /// The initial rate is 1 / this. Default 25, at least 1.
        #[serde(default = "twenty_five")]
        div_factor: f64,
        /// The final rate is 1 / this of the initial one. Default 1e4, at least 1.
        #[serde(default = "ten_thousand")]
        final_div_factor: f64,
    },
    /// `(1 − end_factor)·(1 − t/T)^power + end_factor`. Follows
    /// `keras.optimizers.schedules.PolynomialDecay` and `torch.optim.lr_scheduler.PolynomialLR`;
    /// stays at the end.
    Polynomial {
        /// 1 is a straight line. Default 1, above 0.
        #[serde(default = "one")]
        power: f64,
        /// The share of the base rate at the end. Default 0, in [0, 1].
        #[serde(default)]
        end_factor: f64,
    },
}

impl Shape {
    /// [`Shape::OneCycle`] with its defaults.
    pub fn one_cycle() -> Self {
        Self::OneCycle {
            rise: three_tenths(),
            div_factor: twenty_five(),
            final_div_factor: ten_thousand(),
        }
    }
}

fn tenth() -> f64 {
    0.1
}
fn three_tenths() -> f64 {
    0.3
}
fn twenty_five() -> f64 {
    25.0
}
fn ten_thousand() -> f64 {
    1e4
}
fn one() -> f64 {
    1.0
}

/// A linear warm-up before the schedule's own shape begins.
///
/// Follows `torch.optim.lr_scheduler.LinearLR` before a `SequentialLR`'s milestone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warmup {
    /// How long it takes. At least one step, shorter than training.
    pub over: Span,
    /// The share of the base rate at the start. Default 0, in [0, 1].
    #[serde(default)]
    pub start_factor: f64,
}

/// Options of a [`Schedule`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// The shape. Default constant.
    pub shape: Shape,
    /// A warm-up before it; the shape then covers the rest of training. Default none.
    pub warmup: Option<Warmup>,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { shape: Shape::Constant {}, warmup: None }
    }
}

impl ScheduleConfig {
    /// Whether the rate of a step depends on how long the whole training is: then a longer
    /// training differs from its first step on.
    pub fn depends_on_length(&self) -> bool {
        let share = |span: Span| matches!(span, Span::Fraction(_));
        let shape = match self.shape {
            Shape::Constant {} => false,
            Shape::Step { every, .. } => share(every),
            Shape::Cosine { .. } | Shape::OneCycle { .. } | Shape::Polynomial { .. } => true,
        };
        shape || self.warmup.is_some_and(|warmup| share(warmup.over))
    }

    /// Checks every field against a training of `epochs` times `steps_per_epoch` steps.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first field that is out of range.
    pub fn check(self, epochs: u64, steps_per_epoch: u64) -> Result<Schedule> {
        let total = epochs.checked_mul(steps_per_epoch).filter(|t| (1..1 << 53).contains(t));
        let Some(total) = total else {
            let value = format!("{epochs} · {steps_per_epoch}");
            let remedy = "train for at least one step";
            return Err(Error::setting("epochs · steps per epoch", value, remedy));
        };
        let within = |field, value: f64, good: bool, remedy| {
            if good { Ok(()) } else { Err(Error::setting(field, value, remedy)) }
        };
        let share = |field, value: f64| {
            within(field, value, (0.0..=1.0).contains(&value), "use a share in [0, 1]")
        };
        let mut every = 1;
        match self.shape {
            Shape::Constant {} => {}
            Shape::Step { every: span, factor } => {
                every = span.steps("every", epochs, steps_per_epoch)?;
                within("every", every as f64, every > 0, "use at least one step")?;
                let good = factor > 0.0 && factor <= 1.0;
                within("factor", factor, good, "use a number in (0, 1]")?;
            }
            Shape::Cosine { end_factor } => share("end_factor", end_factor)?,
            Shape::OneCycle { rise, div_factor, final_div_factor } => {
                within("rise", rise, rise > 0.0 && rise < 1.0, "use a number between 0 and 1")?;
                let good = |v: f64| v >= 1.0 && v.is_finite();
                within("div_factor", div_factor, good(div_factor), "use at least 1")?;
                let good = good(final_div_factor);
                within("final_div_factor", final_div_factor, good, "use at least 1")?;
            }
            Shape::Polynomial { power, end_factor } => {
                let good = power > 0.0 && power.is_finite();
                within("power", power, good, "use a number above 0")?;
                share("end_factor", end_factor)?;
            }
        }
        let warmup = match self.warmup {
            None => (0, 1.0),
            Some(warmup) => {
                let steps = warmup.over.steps("warmup.over", epochs, steps_per_epoch)?;
                let good = steps > 0 && steps < total;
                within(
                    "warmup.over",
                    steps as f64,
                    good,
                    "use at least one step and less than the whole training",
                )?;
                share("warmup.start_factor", warmup.start_factor)?;
                (steps, warmup.start_factor)
            }
        };
        Ok(Schedule { shape: self.shape, every, warmup, steps: total - warmup.0 })
    }
}
