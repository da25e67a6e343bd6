use std::ops::Range;

use taper_core::random::Key;
use taper_graph::{Graph, WeightSource, check_weights};
use taper_optim::Parameters;

use crate::{
    BatchNormMode, Boundary, Error, Result, Suffix, SuffixOptions, error::check_length,
    head::HeadLayers,
};

/// What the names of a network's own tensors begin with.
pub(crate) const BACKBONE: &str = "backbone.";
/// What the names of its head's tensors begin with.
const HEAD: &str = "head.";

/// A network in training: its layers above a [`Boundary`], and its head. One set of parameters
/// holds the tensors of both, named as in a saved model: `backbone.layer4.0.conv1.weight`,
/// `head.fc1.weight`.
#[derive(Debug)]
pub struct Network {
    suffix: Suffix,
    head: HeadLayers,
    graph: Graph,
    /// Where the head's tensors begin among the parameters.
    own: usize,
    parameters: Parameters,
    /// Whether the suffix has the parameters' present values.
    loaded: bool,
    /// Features, and then their gradient, of a batch that is done in parts.
    rows: Vec<f32>,
}

impl Network {
    /// The layers of `backbone` above the boundary with the values that `weights` has for them, and
    /// a head with those of `head_weights`.
    ///
    /// # Errors
    /// [`Error::Layer`] names a layer that cannot be trained or is not part of a head;
    /// [`taper_graph::Error::Weights`] lists every tensor that is missing or of the wrong shape.
    pub fn new(
        (backbone, weights): (&Graph, &dyn WeightSource),
        boundary: Boundary,
        (head, head_weights): (&Graph, &dyn WeightSource),
        options: &SuffixOptions,
    ) -> Result<Self> {
        let suffix = Suffix::new(backbone, boundary, options)?;
        let frozen = options.batch_norm == BatchNormMode::Frozen;
        let layers = HeadLayers::new(head)?.with_frozen_statistics(frozen);
        check_length("features", layers.width(), suffix.width())?;
        check_weights(head, head_weights)?;
        let named = |prefix: &str, name: &str| format!("{prefix}{name}");
        let mut tensors = suffix.tensors(backbone, weights)?;
        tensors.iter_mut().for_each(|(tensor, ..)| tensor.name = named(BACKBONE, &tensor.name));
        let own = tensors.len();
        for mut tensor in head.parameters() {
            let values = head_weights.values(&tensor.name).map(|values| values.into_owned());
            let values = values.ok_or_else(|| Error::Layer {
                network: head.name().into(),
                layer: tensor.name.clone(),
                problem: "its values cannot be read from the weights".into(),
            })?;
            tensor.name = named(HEAD, &tensor.name);
            let trained = tensor.kind.is_learnable();
            tensors.push((tensor, values, trained));
        }
        let parameters = Parameters::from_tensors(tensors);
        Ok(Self {
            suffix,
            head: layers,
            graph: head.clone(),
            own,
            parameters,
            loaded: false,
            rows: Vec::new(),
        })
    }

    /// The layers above the boundary.
    pub fn suffix(&self) -> &Suffix {
        &self.suffix
    }

    /// The head's architecture.
    pub fn head(&self) -> &Graph {
        &self.graph
    }

    /// Logits of a picture.
    pub fn classes(&self) -> usize {
        self.head.classes()
    }

    /// All tensors above the boundary, those of the head last.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The same, for optimizers and averages.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        self.loaded = false;
        &mut self.parameters
    }

    fn load(&mut self) -> Result<()> {
        if !self.loaded {
            self.suffix.load(&self.parameters)?;
            self.loaded = true;
        }
        Ok(())
    }

    /// The training pass over `n` pictures: `fill` writes what the frozen part gives for them, f32
    /// `[n, input_len]`. Dropout is drawn from the streams of `dropout` and `step`. Returns the
    /// logits, `[n, classes]`.
    ///
    /// # Errors
    /// [`Error::Length`] for more pictures than the suffix has room for; [`Error::Layer`] if
    /// BatchNorm would see a single value of each channel.
    pub fn forward(
        &mut self,
        n: usize,
        fill: impl FnOnce(&mut [f32]),
        dropout: Key,
        step: u32,
    ) -> Result<&[f32]> {
        self.load()?;
        let features = self.suffix.forward(&mut self.parameters, n, fill)?;
        let fill = |rows: &mut [f32]| rows.copy_from_slice(features);
        self.head.forward(&mut self.parameters[self.own..], n, fill, dropout, step)
    }

    /// The backward pass of the last [`Network::forward`] from the loss's gradient with respect to
    /// its logits. The parameters' gradients are set by the first backward pass after a step of the
    /// optimizer, and added to by further ones.
    ///
    /// # Errors
    /// [`Error::Length`] if the gradient does not fit the last pass.
    pub fn backward(&mut self, gradient: &[f32]) -> Result<()> {
        let add = self.parameters.begin_backward();
        let own = &mut self.parameters[self.own..];
        let features = self.head.backward(own, gradient, add, true)?;
        self.suffix.backward(&mut self.parameters, features, add)
    }

    /// A training pass over `n` pictures, however many: forward, the loss, and backward. `read`
    /// writes what the frozen part gives for some of them, f32 `[part, input_len]`; `loss` gets the
    /// logits of all, `[n, classes]`, and writes its gradient with respect to them.
    ///
    /// More pictures than the suffix has room for go through it in parts, most of them twice: first
    /// for the features of all, from which the head is computed in one piece, and again for their
    /// gradients. The result is that of one piece but for rounding, since sums over pictures are
    /// then sums of sums; it does not depend on the number of threads.
    ///
    /// # Errors
    /// Those of `read` and `loss`; [`Error::Length`] if a batch in parts meets a BatchNorm whose
    /// statistics are trained, as it needs all pictures at once.
    pub fn pass<E: From<Error>>(
        &mut self,
        n: usize,
        mut read: impl FnMut(Range<usize>, &mut [f32]) -> std::result::Result<(), E>,
        (dropout, step): (Key, u32),
        loss: impl FnOnce(&[f32], &mut [f32]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.load()?;
        let room = self.suffix.batch();
        if n > room && self.suffix.batch_norm() == BatchNormMode::Trained {
            return Err(Error::Length { what: "batch", found: n, needed: room }.into());
        }
        let parts: Vec<Range<usize>> =
            (0..n).step_by(room).map(|start| start..n.min(start + room)).collect();
        let width = self.suffix.width();
        self.rows.resize(n * width, 0.0);
        // The last part goes first in the backward pass: what it keeps is still there.
        for part in &parts {
            let mut outcome = Ok(());
            let fill = |rows: &mut [f32]| outcome = read(part.clone(), rows);
            let features = self.suffix.forward(&mut self.parameters, part.len(), fill)?;
            self.rows[part.start * width..part.end * width].copy_from_slice(features);
            outcome?;
        }
        let add = self.parameters.begin_backward();
        let own = &mut self.parameters[self.own..];
        let fill = |rows: &mut [f32]| rows.copy_from_slice(&self.rows);
        let logits = self.head.forward(own, n, fill, dropout, step)?;
        let mut gradient = vec![0.0; logits.len()];
        loss(logits, &mut gradient)?;
        self.rows.copy_from_slice(self.head.backward(own, &gradient, add, true)?);
        for (i, part) in parts.iter().rev().enumerate() {
            if i > 0 {
                let mut outcome = Ok(());
                let fill = |rows: &mut [f32]| outcome = read(part.clone(), rows);
                self.suffix.forward(&mut self.parameters, part.len(), fill)?;
                outcome?;
            }
            let rows = &self.rows[part.start * width..part.end * width];
            self.suffix.backward(&mut self.parameters, rows, add || i > 0)?;
        }
        Ok(())
    }

    /// Restores a copy of all tensors.
    ///
    /// # Errors
    /// [`Error::Layer`] names a tensor that the copy lacks, or has with another length.
    pub fn restore(&mut self, weights: &dyn WeightSource) -> Result<()> {
        for parameter in self.parameters.iter() {
            let values = weights.values(&parameter.name);
            if values.is_none_or(|values| values.len() != parameter.values.len()) {
                return Err(Error::Layer {
                    network: self.graph.name().into(),
                    layer: parameter.name.clone(),
                    problem: "it is missing in these weights, or of another size".into(),
                });
            }
        }
        self.parameters_mut().restore(weights);
        Ok(())
    }

    /// The logits of `n` pictures, `[n, classes]`: dropout does nothing, BatchNorm uses its running
    /// statistics.
    ///
    /// # Errors
    /// [`Error::Length`] for more pictures than the suffix has room for, or an output of another
    /// length.
    pub fn evaluate(
        &mut self,
        n: usize,
        fill: impl FnOnce(&mut [f32]),
        out: &mut [f32],
    ) -> Result<()> {
        self.load()?;
        let features = self.suffix.evaluate(&mut self.parameters, n, fill)?;
        self.head.evaluate(&self.parameters[self.own..], features, out)
    }
}
