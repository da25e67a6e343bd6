use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Tensor, backprop::GradStore};
use serde::{Deserialize, Serialize};
use taper_graph::{ParameterKind, WeightSource, Weights};

use crate::{Error, Network, Result};

/// Where ε stands in Adam's denominator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpsilonMode {
    /// √v + ε before the bias correction, as `keras/src/optimizers/adam.py`.
    #[default]
    Keras,
    /// √v̂ + ε after the bias correction, as `torch/optim/adam.py`.
    Torch,
}

/// Settings of [`Adam`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamConfig {
    /// Step size; above 0. Default 1e-3.
    pub learning_rate: f64,
    /// Decay of the first moment, in [0, 1). Default 0.9.
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1). Default 0.999.
    pub beta2: f64,
    /// Added to the denominator; above 0. Default 1e-7 (Keras's).
    pub epsilon: f64,
    /// Where ε stands. Default Keras's.
    pub epsilon_mode: EpsilonMode,
    /// Decoupled weight decay (AdamW; Loshchilov & Hutter 2019), from 0. Only weights decay, never biases or scales.
    /// Default 0.
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-7,
            epsilon_mode: EpsilonMode::Keras,
            weight_decay: 0.0,
        }
    }
}

impl AdamConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first field that is out of its range.
    pub fn check(self) -> Result<CheckedAdamConfig> {
        let fail = |field, value: f64, remedy| {
            Err(Error::Setting { field, value: value.to_string(), remedy })
        };
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return fail("learning_rate", self.learning_rate, "use a positive number, e.g. 0.001");
        }
        for (field, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return fail(field, beta, "use a number in [0, 1)");
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return fail("epsilon", self.epsilon, "use a small positive number, e.g. 1e-7");
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return fail("weight_decay", self.weight_decay, "use 0 or a positive number");
        }
        Ok(CheckedAdamConfig(self))
    }
}

/// Settings of [`Adam`] that are in range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckedAdamConfig(AdamConfig);

/// Adam (Kingma & Ba 2015), with decoupled weight decay if asked for.
///
/// Moments are kept per learnable parameter, in the network's order.
#[derive(Debug)]
pub struct Adam {
    config: AdamConfig,
    steps: u64,
    moments: Vec<Option<[Tensor; 2]>>,
}

impl Adam {
    /// An optimizer for this network's learnable parameters, with all moments 0.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(config: CheckedAdamConfig, network: &Network) -> Result<Self> {
        let moments = network.parameters().iter().map(|p| {
            if !p.kind.is_learnable() {
                return Ok(None);
            }
            let zeros = || Tensor::zeros(p.var.shape(), p.var.dtype(), network.device());
            Ok(Some([zeros()?, zeros()?]))
        });
        Ok(Self { config: config.0, steps: 0, moments: moments.collect::<Result<_>>()? })
    }

    /// The current step size.
    pub fn learning_rate(&self) -> f64 {
        self.config.learning_rate
    }

    /// Sets the step size, from the next step on.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.learning_rate = learning_rate;
    }

    /// How many steps were taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Backpropagates a scalar loss and takes one step.
    ///
    /// # Errors
    /// If candle cannot backpropagate.
    pub fn step(&mut self, network: &Network, loss: &Tensor) -> Result<()> {
        self.apply(network, &loss.backward()?)
    }

    /// Takes one step with given gradients. Parameters without a gradient stay as they are.
    ///
    /// # Errors
    /// If the network is not the one that the optimizer was made for.
    pub fn apply(&mut self, network: &Network, gradients: &GradStore) -> Result<()> {
        if network.parameters().len() != self.moments.len() {
            return Err(Error::Setting {
                field: "network",
                value: network.graph().name().into(),
                remedy: "use the network that the optimizer was made for",
            });
        }
        self.steps += 1;
        let c = self.config;
        let correction1 = 1.0 - c.beta1.powi(self.steps.min(i32::MAX as u64) as i32);
        let correction2 = 1.0 - c.beta2.powi(self.steps.min(i32::MAX as u64) as i32);
        let rate = c.learning_rate * correction2.sqrt() / correction1;
        // √(v / c₂) + ε = (√v + ε·√c₂) / √c₂: torch's form is Keras's with a scaled ε.
        let epsilon = match c.epsilon_mode {
            EpsilonMode::Keras => c.epsilon,
            EpsilonMode::Torch => c.epsilon * correction2.sqrt(),
        };
        for (parameter, moments) in network.parameters().iter().zip(&self.moments) {
            let Some([first, second]) = moments else { continue };
            let Some(gradient) = gradients.get(&parameter.var) else { continue };
            let gradient = gradient.contiguous()?;
            let decays = parameter.kind == ParameterKind::Weight;
            let decay = if decays { 1.0 - c.learning_rate * c.weight_decay } else { 1.0 };
            let update = Update { rate: rate as f32, epsilon: epsilon as f32, decay: decay as f32 };
            let var = parameter.var.as_tensor();
            if var.device().is_cpu() {
                first.inplace_op2(&gradient, &Ema { beta: c.beta1 as f32, squared: false })?;
                second.inplace_op2(&gradient, &Ema { beta: c.beta2 as f32, squared: true })?;
                var.detach().inplace_op3(first, second, &update)?;
            } else {
                update.on_device(c, parameter, [first, second], &gradient)?;
            }
        }
        Ok(())
    }

    /// A copy of the state: moments by parameter name (`NAME.m`, `NAME.v`) and the number of steps.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub fn state(&self, network: &Network) -> Result<(u64, Weights)> {
        let mut all = Weights::new();
        for (parameter, moments) in network.parameters().iter().zip(&self.moments) {
            for (suffix, moment) in ["m", "v"].iter().zip(moments.iter().flatten()) {
                let values = moment.flatten_all()?.to_vec1::<f32>()?;
                let name = format!("{}.{suffix}", parameter.name);
                all.insert(name, moment.dims().to_vec(), values);
            }
        }
        Ok((self.steps, all))
    }

    /// Puts a copy of the state back.
    ///
    /// # Errors
    /// [`Error::Setting`] if a moment is missing or has another size.
    pub fn restore(&mut self, network: &Network, steps: u64, state: &Weights) -> Result<()> {
        for (parameter, moments) in network.parameters().iter().zip(&mut self.moments) {
            for (suffix, moment) in ["m", "v"].iter().zip(moments.iter_mut().flatten()) {
                let name = format!("{}.{suffix}", parameter.name);
                let values = state.values(&name).filter(|v| v.len() == moment.elem_count());
                let Some(values) = values else {
                    return Err(Error::Setting {
                        field: "optimizer state",
                        value: name,
                        remedy: "it is missing or has another size: use the state of this network",
                    });
                };
                *moment = Tensor::from_slice(&values, moment.shape(), network.device())?;
            }
        }
        self.steps = steps;
        Ok(())
    }
}

/// moment ← β·moment + (1 − β)·gradient (or its square), in place.
struct Ema {
    beta: f32,
    squared: bool,
}

impl InplaceOp2 for Ema {
    fn name(&self) -> &'static str {
        "adam-moment"
    }

    fn cpu_fwd(
        &self,
        moment: &mut CpuStorage,
        moment_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let moment = slice_mut(moment, moment_layout)?;
        let gradient = slice(gradient, gradient_layout)?;
        let share = 1.0 - self.beta;
        for (m, g) in moment.iter_mut().zip(gradient) {
            let g = if self.squared { g * g } else { *g };
            *m += (g - *m) * share;
        }
        Ok(())
    }
}

/// parameter ← decay·parameter − rate·m / (√v + ε), in place.
struct Update {
    rate: f32,
    epsilon: f32,
    decay: f32,
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "adam-update"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        first: &CpuStorage,
        first_layout: &Layout,
        second: &CpuStorage,
        second_layout: &Layout,
    ) -> candle_core::Result<()> {
        let parameter = slice_mut(parameter, parameter_layout)?;
        let moments = slice(first, first_layout)?.iter().zip(slice(second, second_layout)?);
        for (p, (m, v)) in parameter.iter_mut().zip(moments) {
            *p = *p * self.decay - self.rate * m / (v.sqrt() + self.epsilon);
        }
        Ok(())
    }
}

impl Update {
    /// The same step in candle's own operations, for devices other than the CPU.
    fn on_device(
        &self,
        config: AdamConfig,
        parameter: &crate::NamedParameter,
        [first, second]: [&Tensor; 2],
        gradient: &Tensor,
    ) -> Result<()> {
        let m = ((first * config.beta1)? + (gradient * (1.0 - config.beta1))?)?;
        let v = ((second * config.beta2)? + (gradient.sqr()? * (1.0 - config.beta2))?)?;
        let step = ((&m * f64::from(self.rate))? / (v.sqrt()? + f64::from(self.epsilon))?)?;
        first.slice_set(&m, 0, 0)?;
        second.slice_set(&v, 0, 0)?;
        let decayed = (parameter.var.as_tensor().detach() * f64::from(self.decay))?;
        Ok(parameter.var.set(&(decayed - step)?)?)
    }
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => Err(candle_core::Error::Msg("the optimizer needs contiguous tensors".into())),
    }
}

fn slice_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a mut [f32]> {
    match (layout.contiguous_offsets(), storage) {
        (Some((start, end)), CpuStorage::F32(values)) => Ok(&mut values[start..end]),
        _ => Err(candle_core::Error::Msg("the optimizer needs contiguous f32 tensors".into())),
    }
}
