use std::ops::{Deref, DerefMut};

use taper_graph::{Graph, ParameterKind, WeightSource, Weights};

/// A tensor that is trained, or a running statistic beside such tensors.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The name, e.g. `fc1.weight`.
    pub name: String,
    /// What it is for.
    pub kind: ParameterKind,
    /// Its shape, in torch's layout.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
    /// The loss's gradient with respect to the values; empty for running statistics
    /// and whatever else is not trained.
    pub gradient: Vec<f32>,
}

/// All tensors of a network in training, in the order of its graph, with their gradients.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    all: Vec<Parameter>,
    /// Whether the next backward pass adds to the gradients.
    adding: bool,
}

impl Parameters {
    /// The parameters of a graph, with values from `values`, and gradients of 0.
    ///
    /// # Errors
    /// That of `values`.
    pub fn of<E>(
        graph: &Graph,
        values: impl Fn(&taper_graph::Parameter) -> Result<Vec<f32>, E>,
    ) -> Result<Self, E> {
        let tensors = graph.parameters().into_iter().map(|p| {
            let (values, trained) = (values(&p)?, p.kind.is_learnable());
            Ok((p, values, trained))
        });
        Ok(Self::from_tensors(tensors.collect::<Result<Vec<_>, E>>()?))
    }

    /// Tensors with their values, and whether they are trained; those that are not have no
    /// gradient, and an optimizer leaves them alone.
    pub fn from_tensors(
        tensors: impl IntoIterator<Item = (taper_graph::Parameter, Vec<f32>, bool)>,
    ) -> Self {
        let all = tensors.into_iter().map(|(p, values, trained)| {
            let gradient = if trained { vec![0.0; values.len()] } else { Vec::new() };
            Parameter { name: p.name, kind: p.kind, shape: p.shape, values, gradient }
        });
        Self { all: all.collect(), adding: false }
    }

    /// Whether a backward pass adds to the gradients (true), or sets them, as the first one after a
    /// step of the optimizer does. From now on, further passes add.
    pub fn begin_backward(&mut self) -> bool {
        std::mem::replace(&mut self.adding, true)
    }

    /// The gradients have been used: the next backward pass overwrites them.
    pub fn gradients_used(&mut self) {
        self.adding = false;
    }

    /// Scales the gradients so that the norm over all of them is at most `highest`, as in
    /// `torch.nn.utils.clip_grad_norm_`. Returns the norm before scaling.
    pub fn clip_gradients(&mut self, highest: f64) -> f64 {
        let square = |g: &[f32]| g.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>();
        let norm = self.all.iter().map(|p| square(&p.gradient)).sum::<f64>().sqrt();
        let factor = highest / (norm + 1e-6);
        if factor < 1.0 {
            for p in &mut self.all {
                p.gradient.iter_mut().for_each(|g| *g *= factor as f32);
            }
        }
        norm
    }

    /// A copy of all values.
    pub fn weights(&self) -> Weights {
        let mut all = Weights::new();
        for p in &self.all {
            all.insert(p.name.clone(), p.shape.clone(), p.values.clone());
        }
        all
    }

    /// Restores a copy of all values. The caller must check against the graph that it is complete.
    pub fn restore(&mut self, weights: &dyn WeightSource) {
        for p in &mut self.all {
            if let Some(values) = weights.values(&p.name).filter(|v| v.len() == p.values.len()) {
                p.values.copy_from_slice(&values);
            }
        }
    }
}

impl Deref for Parameters {
    type Target = [Parameter];

    fn deref(&self) -> &[Parameter] {
        &self.all
    }
}

impl DerefMut for Parameters {
    fn deref_mut(&mut self) -> &mut [Parameter] {
        &mut self.all
    }
}
