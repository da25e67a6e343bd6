//! What a candidate will take, from what was measured on this machine.

/// Seconds for one picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Costs {
    /// To decode it and compute its features with the frozen network.
    pub(crate) features: f64,
    /// Of that, the network.
    pub(crate) forward: f64,
    /// To train all layers on it in one epoch.
    pub(crate) step: f64,
}

/// Seconds of a fine-tuning that do not depend on the number of pictures.
const FIXED: f64 = 1.5;

/// A burst is shorter than a training, and nothing else disturbs it.
const SAFETY: f64 = 1.2;

/// How often validation pictures are measured beside the epochs: before the fine-tuning, after it,
/// and with the finished model.
const MEASURED: f64 = 3.0;

/// How many pictures a training has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sizes {
    pub(crate) train: f64,
    pub(crate) val: f64,
    pub(crate) test: f64,
}

impl Sizes {
    /// Without one of so many folds, on which it is tested.
    pub(crate) fn without_fold(self, folds: usize) -> Self {
        let left = 1.0 - 1.0 / folds.max(1) as f64;
        let judged = (self.train + self.val) * (1.0 - left);
        // It is measured once in the run, and once more for the scores.
        Self { train: self.train * left, val: self.val * left, test: 2.0 * judged }
    }
}

impl Costs {
    /// The same after a training that took so many times as long as planned.
    pub(crate) fn corrected(self, factor: f64) -> Self {
        // The margin stays.
        let factor = (SAFETY * factor).clamp(0.2, 5.0);
        Self { step: self.step * factor, forward: self.forward * factor, ..self }
    }

    /// The same for a network or an input that takes so many seconds for a picture.
    pub(crate) fn scaled(self, forward: f64) -> Self {
        let step = self.step * forward / self.forward.max(f64::MIN_POSITIVE);
        Self { features: self.features - self.forward + forward, forward, step }
    }

    /// Seconds of a training with so many epochs of fine-tuning.
    pub(crate) fn fine_tuning(&self, sizes: Sizes, epochs: u32) -> f64 {
        let epochs = f64::from(epochs);
        let measured = sizes.val * (epochs + MEASURED) + sizes.test;
        SAFETY * (FIXED + epochs * sizes.train * self.step + 1.5 * measured * self.forward)
    }
}

/// Steps of the optimizer after which a fine-tuning has done most of what it can, with batches of
/// 32: on rock-paper-scissors, three epochs of 57 steps.
const STEPS: f64 = 200.0;

/// Epochs of a fine-tuning for this many training pictures: enough steps, 3 to 10, which leaves
/// time for more folds.
fn enough(train: f64) -> u32 {
    let per_epoch = (train / 32.0).ceil().max(1.0);
    (STEPS / per_epoch).ceil().clamp(3.0, 10.0) as u32
}

/// The largest effort that fits into so many seconds, with the training on everything at its end:
/// in how many folds a fine-tuning is judged, its epochs, and how long it takes.
pub(crate) fn effort(
    costs: &Costs,
    sizes: Sizes,
    folds: usize,
    seconds: f64,
) -> Option<(usize, u32, f64)> {
    let epochs = enough(sizes.train);
    let (more, fewer) = ((2 * epochs).min(10), epochs.div_ceil(2));
    // One fold has too few groups: on rock-paper-scissors, a single epoch was better in one of five
    // (0.012 ± 0.007), and 1.6 points worse on the test pictures.
    let efforts = [(5, more), (5, epochs), (3, epochs), (2, epochs), (3, fewer), (2, fewer)];
    efforts.into_iter().filter(|(judged, _)| *judged <= folds).find_map(|(judged, epochs)| {
        let each = costs.fine_tuning(sizes.without_fold(folds), epochs);
        let all = judged as f64 * each + costs.fine_tuning(sizes, epochs);
        (all <= seconds).then_some((judged, epochs, all))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effort_grows_with_the_time() {
        let costs = Costs { features: 0.005, forward: 0.004, step: 0.018 };
        let sizes = Sizes { train: 1800.0, val: 320.0, test: 372.0 };
        let effort = |seconds| effort(&costs, sizes, 5, seconds);
        assert_eq!(effort(100.0), None);
        let mut before = 0;
        for seconds in [300.0, 400.0, 600.0, 2000.0, 10_000.0] {
            let (folds, epochs, all) = effort(seconds).unwrap();
            assert!(all <= seconds);
            let trained = folds * epochs as usize;
            assert!(trained >= before, "{seconds}: {folds} folds, {epochs} epochs");
            before = trained;
        }
        assert_eq!(effort(10_000.0).map(|own| (own.0, own.1)), Some((5, 8)));
        // Few pictures are few steps in an epoch.
        assert_eq!([100.0, 500.0, 2000.0].map(enough), [10, 10, 4]);
    }
}
