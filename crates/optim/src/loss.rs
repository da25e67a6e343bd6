use serde::{Deserialize, Serialize};

use crate::{Error, Result, error::check_length};

/// How much each class counts in the loss.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
#[non_exhaustive]
pub enum ClassWeights {
    /// All the same.
    #[default]
    None,
    /// n / (classes · n of the class), so that all classes have the same total weight
    /// (`sklearn.utils.class_weight.compute_class_weight("balanced", …)`).
    Balanced,
    /// One weight per class, in label order, each from 0.
    List(Vec<f32>),
    /// An unknown word; refused by [`LossConfig::check`].
    #[doc(hidden)]
    Unknown(String),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Word(String),
    List(Vec<f32>),
}

impl From<Written> for ClassWeights {
    fn from(written: Written) -> Self {
        match written {
            Written::List(weights) => ClassWeights::List(weights),
            Written::Word(word) => word.as_str().into(),
        }
    }
}

impl From<&str> for ClassWeights {
    /// `none`, `balanced`, or comma-separated numbers.
    fn from(word: &str) -> Self {
        match word {
            "none" => ClassWeights::None,
            "balanced" => ClassWeights::Balanced,
            other => match other.split(',').map(|w| w.trim().parse()).collect() {
                Ok(weights) => ClassWeights::List(weights),
                Err(_) => ClassWeights::Unknown(other.into()),
            },
        }
    }
}

impl From<ClassWeights> for Written {
    fn from(weights: ClassWeights) -> Self {
        match weights {
            ClassWeights::None => Written::Word("none".into()),
            ClassWeights::Balanced => Written::Word("balanced".into()),
            ClassWeights::List(weights) => Written::List(weights),
            ClassWeights::Unknown(word) => Written::Word(word),
        }
    }
}

/// Options of the loss, softmax cross-entropy with modifications.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// The share of every target that is spread over all classes, in [0, 1). Default 0 (Szegedy et
    /// al. 2016).
    pub label_smoothing: f64,
    /// γ of the focal loss (Lin et al. 2017), from 0: each term is multiplied by (1 − p)^γ, so that
    /// easy pictures count less. Default 0: plain cross-entropy.
    pub focal_gamma: f64,
    /// How much each class counts. Default `none`.
    pub class_weights: ClassWeights,
}

impl LossConfig {
    /// Checks the fields that do not depend on the training rows.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first field that is out of range.
    pub fn check_shares(&self) -> Result<()> {
        let smoothing = self.label_smoothing;
        if !(0.0..1.0).contains(&smoothing) {
            let remedy = "use a share in [0, 1), e.g. 0.1";
            return Err(Error::setting("label_smoothing", smoothing, remedy));
        }
        let gamma = self.focal_gamma;
        if !(gamma >= 0.0 && gamma.is_finite()) {
            return Err(Error::setting("focal_gamma", gamma, "use 0 or a positive number, e.g. 2"));
        }
        if let ClassWeights::Unknown(word) = &self.class_weights {
            let remedy = "use none, balanced, or one number per class, e.g. 1,2,0.5";
            return Err(Error::setting("class_weights", format!("'{word}'"), remedy));
        }
        Ok(())
    }

    /// Checks every field against the training rows: `counts[c]` of them belong to class `c`.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first field that is out of range.
    pub fn check(&self, counts: &[usize]) -> Result<Loss> {
        self.check_shares()?;
        let classes = counts.len();
        let weights = match &self.class_weights {
            ClassWeights::None => vec![1.0; classes],
            ClassWeights::Balanced => {
                let rows: usize = counts.iter().sum();
                let weight = |&n: &usize| match n {
                    // The weight of a class without rows is never used.
                    0 => 0.0,
                    n => rows as f64 / (classes * n) as f64,
                };
                counts.iter().map(weight).collect()
            }
            ClassWeights::List(list) => {
                let good = list.iter().all(|w| *w >= 0.0 && w.is_finite());
                if list.len() != classes || !good || list.iter().all(|w| *w == 0.0) {
                    let remedy = format!(
                        "give one number from 0 for each of the {classes} classes, in label order, or balanced"
                    );
                    return Err(Error::setting("class_weights", format!("{list:?}"), &remedy));
                }
                list.iter().copied().map(f64::from).collect()
            }
            // Refused above.
            ClassWeights::Unknown(_) => Vec::new(),
        };
        Ok(Loss { smoothing: self.label_smoothing, gamma: self.focal_gamma, weights })
    }
}

/// What a batch should come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Targets<'a> {
    /// The class of each row.
    Labels(&'a [u32]),
    /// A distribution over the classes for each row, `[n, classes]`; each sums to 1. Produced by
    /// MixUp and CutMix.
    Soft(&'a [f32]),
}

/// Softmax cross-entropy with class weights, label smoothing and focal weighting.
///
/// For a row with target distribution q (after smoothing: (1 − ε)·q + ε / classes) and p =
/// softmax(logits) it is Σ_c w_c · q_c · (1 − p_c)^γ · −ln p_c. The mean over a batch divides by
/// the summed weights of the labels, or by the number of rows where targets are distributions: all
/// of this as in `torch.nn.functional.cross_entropy`; the focal factor is that of
/// `keras.losses.CategoricalFocalCrossentropy` with α = 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    smoothing: f64,
    gamma: f64,
    weights: Vec<f64>,
}

impl Loss {
    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.weights.len()
    }

    /// The divisor of the mean over these rows.
    pub fn weight(&self, targets: Targets<'_>) -> f64 {
        match targets {
            Targets::Labels(labels) => {
                labels.iter().filter_map(|&y| self.weights.get(y as usize)).sum()
            }
            Targets::Soft(soft) => (soft.len() / self.classes().max(1)) as f64,
        }
    }

    /// γ of the focal factor; 0 without one.
    pub fn focal_gamma(&self) -> f64 {
        self.gamma
    }

    /// The factor of each term −ln p_c · (1 − p_c)^γ of each row, `[n, classes]`: class weight
    /// times smoothed target, over `weight`. For a loss that is computed elsewhere.
    ///
    /// # Errors
    /// As [`Loss::evaluate`].
    pub fn factors(&self, targets: Targets<'_>, weight: f64) -> Result<Vec<f32>> {
        let classes = self.classes();
        let share = if weight > 0.0 { 1.0 / weight } else { 0.0 };
        let smoothed = |c: usize, target: f64| {
            let q = (1.0 - self.smoothing) * target + self.smoothing / classes as f64;
            (self.weights[c] * q * share) as f32
        };
        match targets {
            Targets::Labels(labels) => {
                let mut all = Vec::with_capacity(labels.len() * classes);
                for &label in labels {
                    if label as usize >= classes {
                        let remedy = format!("labels are below {classes}");
                        return Err(Error::setting("label", label, &remedy));
                    }
                    let target = |c: usize| f64::from(u8::from(c == label as usize));
                    all.extend((0..classes).map(|c| smoothed(c, target(c))));
                }
                Ok(all)
            }
            Targets::Soft(soft) => {
                check_length("targets", soft.len() % classes.max(1), 0)?;
                let place = |(i, &q): (usize, &f32)| smoothed(i % classes, f64::from(q));
                Ok(soft.iter().enumerate().map(place).collect())
            }
        }
    }

    /// The summed loss of the rows divided by `weight`, and its gradient with respect to the
    /// logits, both `[n, classes]`. `weight` is [`Loss::weight`] of all rows of the step.
    ///
    /// # Errors
    /// [`Error::Length`] if the buffers disagree, [`Error::Setting`] if a label is out of range.
    pub fn evaluate(
        &self,
        logits: &[f32],
        targets: Targets<'_>,
        weight: f64,
        gradient: &mut [f32],
    ) -> Result<f64> {
        let classes = self.classes();
        let rows = match targets {
            Targets::Labels(labels) => labels.len(),
            Targets::Soft(soft) => soft.len() / classes,
        };
        check_length("logits", logits.len(), rows * classes)?;
        check_length("gradient", gradient.len(), rows * classes)?;
        if let Targets::Soft(soft) = targets {
            check_length("targets", soft.len(), rows * classes)?;
        }
        // All rows may have weight 0; then there is nothing to learn from them.
        let share = if weight > 0.0 { 1.0 / weight } else { 0.0 };
        let mut total = 0.0;
        let mut log_p = vec![0.0f64; classes];
        let mut target = vec![0.0f64; classes];
        for row in 0..rows {
            let z = &logits[row * classes..][..classes];
            let g = &mut gradient[row * classes..][..classes];
            match targets {
                Targets::Labels(labels) => {
                    let label = labels[row] as usize;
                    if label >= classes {
                        let remedy = format!("labels are below {classes}");
                        return Err(Error::setting("label", label, &remedy));
                    }
                    target.fill(0.0);
                    target[label] = 1.0;
                }
                Targets::Soft(soft) => {
                    for (t, s) in target.iter_mut().zip(&soft[row * classes..]) {
                        *t = f64::from(*s);
                    }
                }
            }
            let highest = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = z.iter().map(|v| f64::from(v - highest).exp()).sum();
            let log_sum = f64::from(highest) + sum.ln();
            for (l, v) in log_p.iter_mut().zip(z) {
                *l = f64::from(*v) - log_sum;
            }
            // d loss / d z_k = s_k − p_k · Σ s, where s_c is p_c times the derivative of term c
            // with respect to p_c.
            let mut slopes = 0.0;
            for c in 0..classes {
                let q = (1.0 - self.smoothing) * target[c] + self.smoothing / classes as f64;
                let factor = self.weights[c] * q;
                // 0 · ∞ must not turn a class of weight 0 into NaN.
                if factor == 0.0 {
                    target[c] = 0.0;
                    continue;
                }
                let p = log_p[c].exp();
                let (value, slope) = if self.gamma == 0.0 {
                    (-log_p[c], -1.0)
                } else {
                    let rest = -log_p[c].exp_m1(); // 1 − p, exact near 0
                    let focus = rest.powf(self.gamma);
                    let bend = if rest > 0.0 {
                        self.gamma * rest.powf(self.gamma - 1.0) * p * log_p[c]
                    } else {
                        0.0
                    };
                    (-focus * log_p[c], bend - focus)
                };
                total += factor * value;
                target[c] = factor * slope;
                slopes += target[c];
            }
            for c in 0..classes {
                g[c] = ((target[c] - log_p[c].exp() * slopes) * share) as f32;
            }
        }
        Ok(total * share)
    }
}
