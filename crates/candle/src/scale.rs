use taper_core::Precision;
use taper_graph::{WeightSource, Weights};

/// What the loss is multiplied by, so that gradients stay within f16's range: the rule of
/// `torch.amp.GradScaler` with its defaults. It begins at 2¹⁶. A step whose gradients are not all
/// finite is left out, and the scale is halved; after 2,000 steps in a row that were taken it is
/// doubled. Other precisions have f32's range and need none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LossScale {
    scale: f32,
    /// Steps that were taken since it last changed.
    taken: u32,
}

const INTERVAL: u32 = 2000;
const NAME: &str = "loss_scale";

impl LossScale {
    /// That of a precision, if it needs one.
    pub(crate) fn of(precision: Precision) -> Option<Self> {
        (precision == Precision::F16).then_some(Self { scale: 65536.0, taken: 0 })
    }

    pub(crate) fn get(self) -> f64 {
        f64::from(self.scale)
    }

    /// After a step, which was taken or not.
    pub(crate) fn update(&mut self, taken: bool) {
        if !taken {
            *self = Self { scale: self.scale / 2.0, taken: 0 };
            return;
        }
        self.taken += 1;
        if self.taken == INTERVAL {
            *self = Self { scale: self.scale * 2.0, taken: 0 };
        }
    }

    /// Adds it to the state of an optimizer.
    pub(crate) fn store(self, state: &mut Weights) {
        state.insert(NAME, vec![2], vec![self.scale, self.taken as f32]);
    }

    /// Puts it back.
    pub(crate) fn restore(&mut self, state: &Weights) -> taper_optim::Result<()> {
        match state.values(NAME).as_deref() {
            Some(&[scale, taken]) => {
                *self = Self { scale, taken: taken as u32 };
                Ok(())
            }
            _ => Err(taper_optim::Error::State { name: NAME.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_torchs_rule() {
        assert_eq!(LossScale::of(Precision::Bf16), None);
        let mut scale = LossScale::of(Precision::F16).unwrap();
        scale.update(false);
        assert_eq!(scale.get(), 32768.0);
        (0..1999).for_each(|_| scale.update(true));
        assert_eq!(scale.get(), 32768.0);
        let mut state = Weights::new();
        scale.store(&mut state);
        let mut other = LossScale::of(Precision::F16).unwrap();
        other.restore(&state).unwrap();
        assert_eq!(other, scale);
        other.update(true);
        assert_eq!(other.get(), 65536.0);
    }
}
