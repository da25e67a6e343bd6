//! Draws the range test of a recorded or made-up curve, to look at: `cargo run -p taper-lr-finder
//! --example plot FOLDER`.

use std::{env, error::Error, fs, path::PathBuf};

use taper_lr_finder::{RangeTestConfig, StepError, Trainee, find};

/// Logistic regression on two noisy classes, trained by plain gradient steps.
struct Logistic {
    weights: [f64; 3],
    state: u64,
}

impl Logistic {
    fn uniform(&mut self) -> f64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 40) as f64 / (1u64 << 24) as f64
    }
}

impl Trainee for Logistic {
    type Snapshot = ([f64; 3], u64);

    fn snapshot(&mut self) -> Result<Self::Snapshot, StepError> {
        Ok((self.weights, self.state))
    }

    fn restore(&mut self, (weights, state): Self::Snapshot) -> Result<(), StepError> {
        (self.weights, self.state) = (weights, state);
        Ok(())
    }

    fn reseed(&mut self, seed: u64) -> Result<(), StepError> {
        self.state = seed + 1;
        Ok(())
    }

    fn step(&mut self, rate: f64) -> Result<f64, StepError> {
        let (mut gradient, mut loss) = ([0.0; 3], 0.0);
        for _ in 0..32 {
            let label = f64::from(self.uniform() < 0.5);
            let side = 2.0 * label - 1.0;
            let x = [
                1.0,
                side + 3.0 * (self.uniform() - 0.5),
                0.7 * side + 4.0 * (self.uniform() - 0.5),
            ];
            let z: f64 = x.iter().zip(self.weights).map(|(x, w)| x * w).sum();
            loss += (z.abs().mul_add(-1.0, 0.0).exp().ln_1p() + z.max(0.0) - label * z) / 32.0;
            let error = 1.0 / (1.0 + (-z).exp()) - label;
            for (g, x) in gradient.iter_mut().zip(x) {
                *g += error * x / 32.0;
            }
        }
        for (w, g) in self.weights.iter_mut().zip(gradient) {
            *w -= rate * g;
        }
        Ok(loss)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args().nth(1).unwrap_or_else(|| "pictures".into()));
    fs::create_dir_all(&folder)?;
    let mut model = Logistic { weights: [0.0; 3], state: 1 };
    for (name, seeds) in [("lr_find", vec![0]), ("lr_find-seeds", vec![0, 1, 2])] {
        let config =
            RangeTestConfig { start: 1e-4, end: 100.0, steps: 200, seeds, ..Default::default() };
        let finding = find(&config.check()?, &mut model)?;
        finding.plot("Learning-rate range test").save(&folder, name)?;
    }
    Ok(())
}
