use candle_core::{DType, Tensor, backprop::GradStore};
use taper_candle_ops::{adam_step, update_moments};
use taper_graph::{WeightSource, Weights};
use taper_optim::{Algorithm, CheckedOptimizer, EpsilonMode, Treatment};

use taper_core::OutOfRange;

use crate::{NamedParameter, Network, Result};

/// The gradients of a network's parameters, in its order; none where no gradient flows.
#[derive(Debug)]
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// Backpropagates a scalar loss.
    ///
    /// # Errors
    /// If candle cannot backpropagate.
    pub fn of(network: &Network, loss: &Tensor) -> Result<Self> {
        let store: GradStore = loss.backward()?;
        let gradient = |p: &NamedParameter| {
            let gradient = store.get(&p.var).filter(|_| p.trained);
            gradient.map(|g| Ok(g.detach().contiguous()?)).transpose()
        };
        network.parameters().iter().map(gradient).collect::<Result<_>>().map(Self)
    }

    /// None yet, for so many parameters.
    pub(crate) fn none(count: usize) -> Self {
        Self(vec![None; count])
    }

    /// Adds the gradient of one parameter.
    pub(crate) fn add_to(&mut self, index: usize, gradient: Tensor) -> Result<()> {
        let sum = &mut self.0[index];
        *sum = Some(match sum.take() {
            Some(sum) => (sum + gradient)?,
            None => gradient,
        });
        Ok(())
    }

    /// Multiplies all of them, and says whether all are then finite: reads one number back.
    pub(crate) fn unscale(&mut self, factor: f64) -> Result<bool> {
        let mut largest = Vec::new();
        for gradient in self.0.iter_mut().flatten() {
            *gradient = (&*gradient * factor)?;
            // The sum of 0 · x is 0, or not a number.
            largest.push((&*gradient * 0.0)?.sum_all()?);
        }
        if largest.is_empty() {
            return Ok(true);
        }
        Ok(Tensor::stack(&largest, 0)?.sum_all()?.to_scalar::<f32>()? == 0.0)
    }

    /// The gradient of a parameter, by its position.
    pub fn get(&self, index: usize) -> Option<&Tensor> {
        self.0.get(index)?.as_ref()
    }

    /// Adds the gradients of another part of the same step.
    ///
    /// # Errors
    /// If they belong to another network.
    pub fn add(&mut self, other: Self) -> Result<()> {
        for (sum, other) in self.0.iter_mut().zip(other.0) {
            *sum = match (sum.take(), other) {
                (Some(sum), Some(other)) => Some((sum + other)?),
                (one, other) => one.or(other),
            };
        }
        Ok(())
    }

    /// Scales them so that the norm over all of them is at most `highest`, as
    /// `torch.nn.utils.clip_grad_norm_`. The norm stays on the device.
    ///
    /// # Errors
    /// If candle fails.
    pub fn clip(&mut self, highest: f64) -> Result<()> {
        let squares = self.0.iter().flatten().map(|g| g.sqr()?.sum_all());
        let squares = squares.collect::<candle_core::Result<Vec<_>>>()?;
        if squares.is_empty() {
            return Ok(());
        }
        let norm = Tensor::stack(&squares, 0)?.sum_all()?.sqrt()?;
        let factor = ((norm + 1e-6)?.recip()? * highest)?.minimum(1.0)?;
        for gradient in self.0.iter_mut().flatten() {
            *gradient = gradient.broadcast_mul(&factor)?;
        }
        Ok(())
    }
}

/// Turns gradients into steps, on any candle device: Adam, AdamW and SGD with parameter groups, as
/// [`taper_optim::Optimizer`] does over slices.
#[derive(Debug)]
pub struct Optimizer {
    algorithm: Algorithm,
    steps: u64,
    slots: Vec<Option<Slot>>,
}

/// The state of one learnable parameter.
#[derive(Debug)]
struct Slot {
    treatment: Treatment,
    state: Moments,
}

#[derive(Debug)]
enum Moments {
    /// Both of Adam's, `[2, values]`.
    Adam(Tensor),
    /// SGD's momentum, in the parameter's shape.
    Sgd(Tensor),
}

impl Moments {
    /// The tensors by their suffixes.
    fn parts(&self) -> Result<Vec<(&'static str, Tensor)>> {
        Ok(match self {
            Self::Adam(both) => vec![("m", both.get(0)?), ("v", both.get(1)?)],
            Self::Sgd(momentum) => vec![("m", momentum.clone())],
        })
    }
}

impl Optimizer {
    /// An optimizer for those of these parameters that are trained, with empty state.
    ///
    /// # Errors
    /// If a group fits no parameter, or the device has no room.
    pub fn new(config: &CheckedOptimizer, parameters: &[NamedParameter]) -> Result<Self> {
        let algorithm = config.config().algorithm;
        let named = parameters.iter().map(|p| (p.name.as_str(), p.kind));
        let slots = parameters.iter().zip(config.treatments(named)?);
        let slots = slots.map(|(p, treatment)| {
            if !p.trained {
                return Ok(None);
            }
            let values = p.var.as_tensor();
            let state = match algorithm {
                Algorithm::Sgd { .. } => Moments::Sgd(values.zeros_like()?.detach()),
                _ => {
                    let shape = (2, values.elem_count());
                    Moments::Adam(Tensor::zeros(shape, DType::F32, values.device())?)
                }
            };
            Ok(Some(Slot { treatment, state }))
        });
        Ok(Self { algorithm, steps: 0, slots: slots.collect::<Result<_>>()? })
    }

    /// How many steps were taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes one step along the gradients at this learning rate. Parameters without a gradient stay
    /// unchanged.
    ///
    /// # Errors
    /// If the parameters are not those that the optimizer was made for.
    pub fn step(
        &mut self,
        parameters: &[NamedParameter],
        gradients: &Gradients,
        rate: f64,
    ) -> Result<()> {
        if parameters.len() != self.slots.len() {
            let remedy = "use those that the optimizer was made for";
            return Err(OutOfRange::new("parameters", parameters.len(), remedy).into());
        }
        self.steps += 1;
        let t = self.steps.min(i32::MAX as u64) as i32;
        let each = parameters.iter().zip(&mut self.slots).zip(&gradients.0);
        for ((parameter, slot), gradient) in each {
            let (Some(slot), Some(gradient)) = (slot, gradient) else { continue };
            let Treatment { rate_factor, weight_decay: decay } = slot.treatment;
            if rate_factor == 0.0 {
                continue;
            }
            let rate = rate * rate_factor;
            let values = parameter.var.as_tensor().detach();
            match (self.algorithm, &mut slot.state) {
                (
                    Algorithm::Adam { beta1, beta2, epsilon, epsilon_mode }
                    | Algorithm::AdamW { beta1, beta2, epsilon, epsilon_mode, .. },
                    Moments::Adam(moments),
                ) => {
                    let (correction1, correction2) = (1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
                    // √(v / c₂) + ε = (√v + ε·√c₂) / √c₂: torch's form is Keras's with a scaled ε.
                    let epsilon = match epsilon_mode {
                        EpsilonMode::Keras => epsilon,
                        EpsilonMode::Torch => epsilon * correction2.sqrt(),
                    };
                    let shares = [1.0 - beta1 as f32, 1.0 - beta2 as f32];
                    update_moments(moments, &gradient.contiguous()?, shares)?;
                    let step = rate * correction2.sqrt() / correction1;
                    let numbers = [1.0 - rate * decay, step, epsilon].map(|v| v as f32);
                    adam_step(&values, moments, numbers)?;
                }
                (Algorithm::Sgd { momentum, nesterov, .. }, Moments::Sgd(kept)) => {
                    let gradient = (gradient + (&values * decay)?)?;
                    *kept = ((&*kept * momentum)? + &gradient)?;
                    let step = match nesterov {
                        true => (gradient + (&*kept * momentum)?)?,
                        false => kept.clone(),
                    };
                    parameter.var.set(&(values - (step * rate)?)?)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A copy of its state, by parameter name (`NAME.m`, `NAME.v`), and the number of steps.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub fn state(&self, parameters: &[NamedParameter]) -> Result<(u64, Weights)> {
        let mut all = Weights::new();
        for (parameter, slot) in parameters.iter().zip(&self.slots) {
            let Some(slot) = slot else { continue };
            for (suffix, moment) in slot.state.parts()? {
                let values = moment.flatten_all()?.to_vec1::<f32>()?;
                let shape = parameter.var.dims().to_vec();
                all.insert(format!("{}.{suffix}", parameter.name), shape, values);
            }
        }
        Ok((self.steps, all))
    }

    /// Puts such a copy back.
    ///
    /// # Errors
    /// [`taper_optim::Error::State`] if a part of it is missing or has another size.
    pub fn restore(
        &mut self,
        parameters: &[NamedParameter],
        steps: u64,
        state: &dyn WeightSource,
    ) -> Result<()> {
        for (parameter, slot) in parameters.iter().zip(&mut self.slots) {
            let Some(slot) = slot else { continue };
            let (shape, device) = (parameter.var.shape(), parameter.var.device());
            let mut parts = Vec::new();
            for (suffix, moment) in slot.state.parts()? {
                let name = format!("{}.{suffix}", parameter.name);
                let values = state.values(&name).filter(|v| v.len() == moment.elem_count());
                let Some(values) = values else {
                    return Err(taper_optim::Error::State { name }.into());
                };
                parts.extend_from_slice(&values);
            }
            slot.state = match slot.state {
                Moments::Adam(_) => {
                    let both = (2, shape.elem_count());
                    Moments::Adam(Tensor::from_slice(&parts, both, device)?)
                }
                Moments::Sgd(_) => Moments::Sgd(Tensor::from_slice(&parts, shape, device)?),
            };
        }
        self.steps = steps;
        Ok(())
    }
}

/// An exponential moving average of a network's tensors, running statistics included: average ←
/// decay · average + (1 − decay) · current, after each step; [`taper_optim::Average`] on any candle
/// device.
#[derive(Debug)]
pub struct Average {
    decay: f64,
    values: Vec<Tensor>,
}

impl Average {
    /// Starts from the current tensors.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) unless the decay is in [0, 1).
    pub fn new(decay: f64, parameters: &[NamedParameter]) -> Result<Self> {
        if !(0.0..1.0).contains(&decay) {
            let remedy = "use a decay in [0, 1), e.g. 0.99";
            return Err(OutOfRange::new("ema", decay, remedy).into());
        }
        let copies = parameters.iter().map(|p| p.var.as_tensor().detach().copy());
        Ok(Self { decay, values: copies.collect::<candle_core::Result<_>>()? })
    }

    /// Updates the average with the current tensors.
    ///
    /// # Errors
    /// If candle fails.
    pub fn update(&mut self, parameters: &[NamedParameter]) -> Result<()> {
        for (average, parameter) in self.values.iter_mut().zip(parameters) {
            let step = ((parameter.var.as_tensor().detach() - &*average)? * (1.0 - self.decay))?;
            *average = (&*average + step)?;
        }
        Ok(())
    }

    /// Swaps the average and the tensors themselves: evaluate, then swap back.
    ///
    /// # Errors
    /// If candle fails.
    pub fn swap(&mut self, parameters: &[NamedParameter]) -> Result<()> {
        for (average, parameter) in self.values.iter_mut().zip(parameters) {
            let own = parameter.var.as_tensor().detach().copy()?;
            parameter.var.set(average)?;
            *average = own;
        }
        Ok(())
    }

    /// Starts again from the current tensors.
    ///
    /// # Errors
    /// If candle fails.
    pub fn reset(&mut self, parameters: &[NamedParameter]) -> Result<()> {
        *self = Self::new(self.decay, parameters)?;
        Ok(())
    }
}
