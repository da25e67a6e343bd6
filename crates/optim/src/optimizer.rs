use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use taper_graph::{ParameterKind, WeightSource, Weights};

use crate::{Error, Parameters, Result, average::CHUNK};

/// Where ε stands in Adam's denominator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpsilonMode {
    /// √v + ε before the bias correction, as in `keras/src/optimizers/adam.py`.
    #[default]
    Keras,
    /// √v̂ + ε after the bias correction, as in `torch/optim/adam.py`.
    Torch,
}

/// The optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Algorithm {
    /// Adam (Kingma & Ba 2015).
    Adam {
        /// Decay of the first moment, in [0, 1). Default 0.9.
        #[serde(default = "beta1")]
        beta1: f64,
        /// Decay of the second moment, in [0, 1). Default 0.999.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Added to the denominator; above 0. Default 1e-7 (Keras's).
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// Where ε stands. Default Keras's.
        #[serde(default)]
        epsilon_mode: EpsilonMode,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019); `torch.optim.AdamW`.
    AdamW {
        /// Decay of the first moment, in [0, 1). Default 0.9.
        #[serde(default = "beta1")]
        beta1: f64,
        /// Decay of the second moment, in [0, 1). Default 0.999.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Added to the denominator; above 0. Default 1e-7 (Keras's).
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// Where ε stands. Default Keras's.
        #[serde(default)]
        epsilon_mode: EpsilonMode,
        /// Weight decay: each step shrinks the weights by this share of the rate, from 0. Default
        /// 0.01. Biases and BatchNorm do not decay.
        #[serde(default = "decay")]
        weight_decay: f64,
    },
    /// Stochastic gradient descent; `torch.optim.SGD`.
    Sgd {
        /// Momentum: the share of the previous step that is kept, in [0, 1). Default 0.9.
        #[serde(default = "momentum")]
        momentum: f64,
        /// Whether to use Nesterov momentum; needs momentum. Default false.
        #[serde(default)]
        nesterov: bool,
        /// Weight decay: this share of the weight is added to the gradient, from 0. Default 0.
        /// Biases and BatchNorm do not decay.
        #[serde(default)]
        weight_decay: f64,
    },
}

fn beta1() -> f64 {
    0.9
}
fn beta2() -> f64 {
    0.999
}
fn epsilon() -> f64 {
    1e-7
}
fn decay() -> f64 {
    0.01
}
fn momentum() -> f64 {
    0.9
}

impl Default for Algorithm {
    fn default() -> Self {
        Self::adam()
    }
}

impl Algorithm {
    /// Adam with its defaults.
    pub fn adam() -> Self {
        let epsilon_mode = EpsilonMode::Keras;
        Self::Adam { beta1: beta1(), beta2: beta2(), epsilon: epsilon(), epsilon_mode }
    }

    /// AdamW with its defaults.
    pub fn adam_w() -> Self {
        let epsilon_mode = EpsilonMode::Keras;
        let (beta1, beta2, epsilon) = (beta1(), beta2(), epsilon());
        Self::AdamW { beta1, beta2, epsilon, epsilon_mode, weight_decay: decay() }
    }

    /// SGD with its defaults.
    pub fn sgd() -> Self {
        Self::Sgd { momentum: momentum(), nesterov: false, weight_decay: 0.0 }
    }

    /// The name used in arguments: `adam`, `adamw` or `sgd`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Adam { .. } => "adam",
            Self::AdamW { .. } => "adamw",
            Self::Sgd { .. } => "sgd",
        }
    }

    fn weight_decay(&self) -> f64 {
        match *self {
            Self::Adam { .. } => 0.0,
            Self::AdamW { weight_decay, .. } | Self::Sgd { weight_decay, .. } => weight_decay,
        }
    }
}

/// Parameters that are trained differently from the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterGroup {
    /// Prefix of the parameters' names, e.g. `fc1` or `fc1.bias`.
    pub prefix: String,
    /// Factor of the learning rate, from 0; 0 freezes them. Default 1.
    #[serde(default = "one")]
    pub rate_factor: f64,
    /// Their weight decay, from 0, also for biases and BatchNorm. Default: the algorithm's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

fn one() -> f64 {
    1.0
}

/// Options of an [`Optimizer`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The optimizer. Default Adam.
    pub algorithm: Algorithm,
    /// Parameters that are trained differently. Of several groups that match, the last one counts.
    /// Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<ParameterGroup>,
}

impl OptimizerConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first field that is out of range.
    pub fn check(self) -> Result<CheckedOptimizer> {
        let share = |field, value: f64| {
            if (0.0..1.0).contains(&value) {
                Ok(())
            } else {
                Err(Error::setting(field, value, "use a number in [0, 1)"))
            }
        };
        let from_zero = |field, value: f64| {
            if value >= 0.0 && value.is_finite() {
                Ok(())
            } else {
                Err(Error::setting(field, value, "use 0 or a positive number"))
            }
        };
        match self.algorithm {
            Algorithm::Adam { beta1, beta2, epsilon, .. }
            | Algorithm::AdamW { beta1, beta2, epsilon, .. } => {
                share("beta1", beta1)?;
                share("beta2", beta2)?;
                if !(epsilon > 0.0 && epsilon.is_finite()) {
                    let remedy = "use a small positive number, e.g. 1e-7";
                    return Err(Error::setting("epsilon", epsilon, remedy));
                }
            }
            Algorithm::Sgd { momentum, nesterov, .. } => {
                share("momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    return Err(Error::setting("nesterov", true, "it needs momentum, e.g. 0.9"));
                }
            }
        }
        from_zero("weight_decay", self.algorithm.weight_decay())?;
        for group in &self.groups {
            from_zero("rate_factor", group.rate_factor)?;
            from_zero("weight_decay", group.weight_decay.unwrap_or(0.0))?;
        }
        Ok(CheckedOptimizer(self))
    }
}

/// An [`OptimizerConfig`] with all fields in range.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedOptimizer(OptimizerConfig);

impl CheckedOptimizer {
    /// The options.
    pub fn config(&self) -> &OptimizerConfig {
        &self.0
    }

    /// How each of these parameters is trained, given by name and kind.
    ///
    /// # Errors
    /// [`Error::Setting`] if a group fits no parameter.
    pub fn treatments<'p>(
        &self,
        parameters: impl Iterator<Item = (&'p str, ParameterKind)> + Clone,
    ) -> Result<Vec<Treatment>> {
        let OptimizerConfig { algorithm, groups } = &self.0;
        let learnable =
            || parameters.clone().filter(|(_, kind)| kind.is_learnable()).map(|(name, _)| name);
        for group in groups {
            if !learnable().any(|name| name.starts_with(&group.prefix)) {
                let names: Vec<&str> = learnable().collect();
                let remedy = format!(
                    "no parameter's name begins with it; the names are {}",
                    names.join(", ")
                );
                return Err(Error::setting("prefix", format!("'{}'", group.prefix), &remedy));
            }
        }
        let treatment = |(name, kind): (&str, ParameterKind)| {
            let group = groups.iter().rev().find(|g| name.starts_with(&g.prefix));
            let own = if kind == ParameterKind::Weight { algorithm.weight_decay() } else { 0.0 };
            Treatment {
                rate_factor: group.map_or(1.0, |g| g.rate_factor),
                weight_decay: group.and_then(|g| g.weight_decay).unwrap_or(own),
            }
        };
        Ok(parameters.clone().map(treatment).collect())
    }
}

/// How one parameter is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Treatment {
    /// Factor of the learning rate; 0 freezes it.
    pub rate_factor: f64,
    /// Its weight decay.
    pub weight_decay: f64,
}

/// Turns gradients into steps, and keeps the state that this needs.
#[derive(Debug, Clone)]
pub struct Optimizer {
    algorithm: Algorithm,
    steps: u64,
    slots: Vec<Slot>,
}

/// The state of one parameter.
#[derive(Debug, Clone)]
struct Slot {
    treatment: Treatment,
    /// Adam's first moment, or SGD's momentum; empty if nothing is learned.
    first: Vec<f32>,
    /// Adam's second moment.
    second: Vec<f32>,
}

impl Optimizer {
    /// An optimizer for the learnable ones of these parameters, with empty state.
    ///
    /// # Errors
    /// [`Error::Setting`] if a group fits no parameter.
    pub fn new(config: CheckedOptimizer, parameters: &Parameters) -> Result<Self> {
        let algorithm = config.0.algorithm;
        let treatments = config.treatments(parameters.iter().map(|p| (p.name.as_str(), p.kind)))?;
        let slots = parameters.iter().zip(treatments).map(|(p, treatment)| {
            let n = p.gradient.len();
            Slot {
                treatment,
                first: vec![0.0; n],
                second: vec![0.0; if matches!(algorithm, Algorithm::Sgd { .. }) { 0 } else { n }],
            }
        });
        Ok(Self { algorithm, steps: 0, slots: slots.collect() })
    }

    /// How many steps were taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes one step along the gradients at this learning rate. Afterwards the gradients count as
    /// used.
    pub fn step(&mut self, parameters: &mut Parameters, rate: f64) {
        self.steps += 1;
        let t = self.steps.min(i32::MAX as u64) as i32;
        for (slot, parameter) in self.slots.iter_mut().zip(parameters.iter_mut()) {
            // Frozen, or nothing to learn.
            let Treatment { rate_factor, weight_decay: decay } = slot.treatment;
            if slot.first.is_empty() || rate_factor == 0.0 {
                continue;
            }
            let rate = rate * rate_factor;
            match self.algorithm {
                Algorithm::Adam { beta1, beta2, epsilon, epsilon_mode }
                | Algorithm::AdamW { beta1, beta2, epsilon, epsilon_mode, .. } => {
                    let (correction1, correction2) = (1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
                    // √(v / c₂) + ε = (√v + ε·√c₂) / √c₂: torch's form is Keras's with a scaled ε.
                    let epsilon = match epsilon_mode {
                        EpsilonMode::Keras => epsilon,
                        EpsilonMode::Torch => epsilon * correction2.sqrt(),
                    } as f32;
                    let step = (rate * correction2.sqrt() / correction1) as f32;
                    let kept = (1.0 - rate * decay) as f32;
                    let (share1, share2) = (1.0 - beta1 as f32, 1.0 - beta2 as f32);
                    slot.second.resize(slot.first.len(), 0.0);
                    parameter
                        .values
                        .par_chunks_mut(CHUNK)
                        .zip(parameter.gradient.par_chunks(CHUNK))
                        .zip(slot.first.par_chunks_mut(CHUNK))
                        .zip(slot.second.par_chunks_mut(CHUNK))
                        .for_each(|(((p, g), m), v)| {
                            for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                                *m += (g - *m) * share1;
                                *v += (g * g - *v) * share2;
                                *p = *p * kept - step * *m / (v.sqrt() + epsilon);
                            }
                        });
                }
                Algorithm::Sgd { momentum, nesterov, .. } => {
                    let (rate, decay, momentum) = (rate as f32, decay as f32, momentum as f32);
                    parameter
                        .values
                        .par_chunks_mut(CHUNK)
                        .zip(parameter.gradient.par_chunks(CHUNK))
                        .zip(slot.first.par_chunks_mut(CHUNK))
                        .for_each(|((p, g), b)| {
                            for ((p, g), b) in p.iter_mut().zip(g).zip(b) {
                                let g = g + decay * *p;
                                *b = momentum * *b + g;
                                *p -= rate * if nesterov { g + momentum * *b } else { *b };
                            }
                        });
                }
            }
        }
        parameters.gradients_used();
    }

    /// A copy of its state, by parameter name (`NAME.m`, `NAME.v`), and the number of steps.
    pub fn state(&self, parameters: &Parameters) -> (u64, Weights) {
        let mut all = Weights::new();
        for (slot, p) in self.slots.iter().zip(parameters.iter()) {
            for (suffix, values) in [("m", &slot.first), ("v", &slot.second)] {
                if !values.is_empty() {
                    all.insert(format!("{}.{suffix}", p.name), p.shape.clone(), values.clone());
                }
            }
        }
        (self.steps, all)
    }

    /// Puts such a copy back.
    ///
    /// # Errors
    /// [`Error::State`] if a part of it is missing or has another size.
    pub fn restore(
        &mut self,
        parameters: &Parameters,
        steps: u64,
        state: &dyn WeightSource,
    ) -> Result<()> {
        for (slot, p) in self.slots.iter_mut().zip(parameters.iter()) {
            for (suffix, own) in [("m", &mut slot.first), ("v", &mut slot.second)] {
                if own.is_empty() {
                    continue;
                }
                let name = format!("{}.{suffix}", p.name);
                match state.values(&name).filter(|v| v.len() == own.len()) {
                    Some(values) => own.copy_from_slice(&values),
                    None => return Err(Error::State { name }),
                }
            }
        }
        self.steps = steps;
        Ok(())
    }
}
