use std::f64::consts::PI;

use crate::Shape;

/// The learning rate as a pure function of the step: a [`crate::ScheduleConfig`] with all fields in
/// range.
///
/// It has no state: a resumed training run needs only the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    pub(crate) shape: Shape,
    /// Of [`Shape::Step`].
    pub(crate) every: u64,
    /// Number of steps, and the initial factor.
    pub(crate) warmup: (u64, f64),
    /// Steps left for the shape.
    pub(crate) steps: u64,
}

impl Schedule {
    /// The factor of each parameter group's base rate in a step, counted from 0 over the whole
    /// training.
    pub fn factor(&self, step: u64) -> f64 {
        let (warmup, start) = self.warmup;
        match step.checked_sub(warmup) {
            None => start + (1.0 - start) * step as f64 / warmup as f64,
            Some(step) => self.shaped(step),
        }
    }

    /// `base` times [`Schedule::factor`].
    pub fn rate(&self, base: f64, step: u64) -> f64 {
        base * self.factor(step)
    }

    /// Number of steps of the whole training, warm-up included.
    pub fn steps(&self) -> u64 {
        self.warmup.0 + self.steps
    }

    fn shaped(&self, step: u64) -> f64 {
        let t = step.min(self.steps) as f64;
        let total = self.steps as f64;
        match self.shape {
            Shape::Constant {} => 1.0,
            Shape::Step { factor, .. } => factor.powf((step / self.every) as f64),
            Shape::Cosine { end_factor } => cosine(1.0, end_factor, t / total),
            Shape::Polynomial { power, end_factor } => {
                (1.0 - end_factor) * (1.0 - t / total).powf(power) + end_factor
            }
            Shape::OneCycle { rise, div_factor, final_div_factor } => {
                let begin = 1.0 / div_factor;
                let end = begin / final_div_factor;
                // As in PyTorch: the peak is at rise·T − 1, the end at T − 1. With few steps the
                // peak is at the start.
                let last = total - 1.0;
                let peak = (rise * total - 1.0).clamp(0.0, last);
                let t = t.min(last);
                if t <= peak && peak > 0.0 {
                    cosine(begin, 1.0, t / peak)
                } else if last > peak {
                    cosine(1.0, end, (t - peak) / (last - peak))
                } else {
                    1.0
                }
            }
        }
    }
}

/// From one value to another along half a cosine.
fn cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) / 2.0 * (1.0 + (PI * share).cos())
}
