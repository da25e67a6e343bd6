use taper_core::random::{Key, Purpose};
use taper_graph::{
    Activation, BatchNorm, Cosine, Dropout, Graph, Linear, Op, UnitLength, WeightSource,
    check_weights,
};
use taper_optim::{Parameter, Parameters, initial_values};

use crate::{
    Error, Result,
    directions::{self, Directions},
    error::check_length,
    layer::{self, BatchStatistics, LinearGradients},
};

/// A head in training: a chain of fully connected layers, BatchNorm, ReLU, dropout, vectors of one
/// length and cosines with its values, its gradients and the memory that a step needs. After the
/// first step of a size, steps allocate next to nothing.
#[derive(Debug, Clone)]
pub struct Head {
    layers: HeadLayers,
    parameters: Parameters,
}

/// The layers of a head, without their tensors: those are handed to every pass, in the graph's
/// order.
#[derive(Debug, Clone)]
pub(crate) struct HeadLayers {
    graph: Graph,
    width: usize,
    classes: usize,
    layers: Vec<Layer>,
    /// The output of each layer in the last training pass, `[n, its width]`.
    maps: Vec<Vec<f32>>,
    /// The rows of the last training pass.
    rows: usize,
    /// The gradient being propagated, and the buffer for the next one.
    gradients: [Vec<f32>; 2],
    /// Whether BatchNorm keeps its running statistics and normalises with them.
    frozen: bool,
}

#[derive(Debug, Clone)]
struct Layer {
    name: String,
    width: usize,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Linear { inputs: usize, weight: usize, bias: Option<usize> },
    BatchNorm { scale: usize, eps: f64, momentum: f64, unbiased: bool, batch: BatchStatistics },
    Relu { limit: f32 },
    Dropout { p: f32, mask: Vec<f32> },
    UnitLength { scale: f32, inverse: Vec<f64> },
    Cosine { op: Cosine, weight: usize, kept: Directions },
}

impl Head {
    /// A head with fresh weights ([`initial_values`]).
    ///
    /// # Errors
    /// As [`Head::loaded`].
    pub fn initialised(graph: &Graph, seed: u64) -> Result<Self> {
        Self::build(graph, |p| Ok(initial_values(p, seed)))
    }

    /// A head with given weights.
    ///
    /// # Errors
    /// [`taper_graph::Error::Weights`] lists every tensor that is missing or of the wrong shape,
    /// [`Error::Layer`] names a layer that is not part of a head.
    pub fn loaded(graph: &Graph, weights: &dyn WeightSource) -> Result<Self> {
        check_weights(graph, weights)?;
        Self::build(graph, |p| {
            weights.values(&p.name).map(|v| v.into_owned()).ok_or_else(|| Error::Layer {
                network: graph.name().into(),
                layer: p.name.clone(),
                problem: "its values cannot be read from the weights".into(),
            })
        })
    }

    fn build(
        graph: &Graph,
        values: impl Fn(&taper_graph::Parameter) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        Ok(Self { layers: HeadLayers::new(graph)?, parameters: Parameters::of(graph, values)? })
    }

    /// The architecture.
    pub fn graph(&self) -> &Graph {
        &self.layers.graph
    }

    /// Numbers per row of features.
    pub fn width(&self) -> usize {
        self.layers.width
    }

    /// Logits per row.
    pub fn classes(&self) -> usize {
        self.layers.classes
    }

    /// All tensors, running statistics included, in the graph's order.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The same, for optimizers and averages.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// Restores a copy of all tensors.
    ///
    /// # Errors
    /// [`taper_graph::Error::Weights`] if the copy belongs to another network.
    pub fn restore(&mut self, weights: &dyn WeightSource) -> Result<()> {
        check_weights(&self.layers.graph, weights)?;
        self.parameters.restore(weights);
        Ok(())
    }

    /// The training pass over `n` rows of features, which `fill` writes into the slice that it is
    /// given, f32 `[n, width]`: dropout is drawn from the streams of `dropout` and `step`,
    /// BatchNorm uses the batch's statistics and updates the running ones. Returns the logits,
    /// `[n, classes]`.
    ///
    /// # Errors
    /// [`Error::Layer`] if BatchNorm would see a single row.
    pub fn forward(
        &mut self,
        n: usize,
        fill: impl FnOnce(&mut [f32]),
        dropout: Key,
        step: u32,
    ) -> Result<&[f32]> {
        self.layers.forward(&mut self.parameters, n, fill, dropout, step)
    }

    /// The backward pass of the last [`Head::forward`] from the loss's gradient with respect to its
    /// logits. The parameters' gradients are set by the first backward pass after a step of the
    /// optimizer, and added to by further ones.
    ///
    /// # Errors
    /// [`Error::Length`] if the gradient does not fit the last pass.
    pub fn backward(&mut self, gradient: &[f32]) -> Result<()> {
        let add = self.parameters.begin_backward();
        self.layers.backward(&mut self.parameters, gradient, add, false)?;
        Ok(())
    }

    /// The gradient of a class's logit with respect to a row of features, f32 `[width]`, evaluated
    /// as by [`Head::evaluate`].
    ///
    /// # Errors
    /// [`Error::Length`] if the row has another length, or there is no such class.
    pub fn input_gradient(&self, row: &[f32], class: usize) -> Result<Vec<f32>> {
        check_length("row", row.len(), self.width())?;
        let mut gradient = vec![0.0; self.classes()];
        let (classes, needed) = (gradient.len(), class + 1);
        *gradient.get_mut(class).ok_or(Error::Length {
            what: "logits",
            found: classes,
            needed,
        })? = 1.0;
        let mut layers = self.layers.clone();
        layers.frozen = true;
        for layer in &mut layers.layers {
            if let Kind::Dropout { p, .. } = &mut layer.kind {
                *p = 0.0;
            }
        }
        let mut parameters = self.parameters.clone();
        let key = Key::new(0, Purpose::new("grad/none"));
        layers.forward(&mut parameters, 1, |x| x.copy_from_slice(row), key, 0)?;
        Ok(layers.backward(&mut parameters, &gradient, false, true)?.to_vec())
    }

    /// The logits of rows of features, `[n, width]` in, `[n, classes]` out: dropout does nothing,
    /// BatchNorm uses its running statistics.
    ///
    /// # Errors
    /// [`Error::Length`] if a buffer has the wrong length.
    pub fn evaluate(&self, rows: &[f32], out: &mut [f32]) -> Result<()> {
        self.layers.evaluate(&self.parameters, rows, out)
    }
}

impl HeadLayers {
    /// # Errors
    /// [`Error::Layer`] names a layer that is not part of a head.
    pub(crate) fn new(graph: &Graph) -> Result<Self> {
        let shapes = graph.shapes(0, 0)?;
        let mut first = vec![None; graph.nodes().len()];
        for (position, p) in graph.parameters().iter().enumerate() {
            first[p.node].get_or_insert(position);
        }
        let first = |id: usize| first[id].unwrap_or_default();
        let mut width = 0;
        let mut layers = Vec::new();
        for (id, node) in graph.nodes().iter().enumerate() {
            let refuse = |problem: &str| Error::Layer {
                network: graph.name().into(),
                layer: node.name.clone(),
                problem: problem.into(),
            };
            if id > 0 && node.inputs != [id - 1] {
                return Err(refuse(
                    "a head is a chain: each layer takes what the one before gives",
                ));
            }
            let kind = match node.op {
                Op::Features(_) => {
                    width = shapes[id].channels();
                    continue;
                }
                Op::Linear(Linear { bias, .. }) => Kind::Linear {
                    inputs: shapes[id - 1].channels(),
                    weight: first(id),
                    bias: bias.then(|| first(id) + 1),
                },
                Op::BatchNorm(BatchNorm { eps, momentum, unbiased, .. }) => Kind::BatchNorm {
                    scale: first(id),
                    eps,
                    momentum,
                    unbiased,
                    batch: BatchStatistics::default(),
                },
                Op::Activation(Activation::Relu) => Kind::Relu { limit: f32::INFINITY },
                Op::Activation(Activation::Relu6) => Kind::Relu { limit: 6.0 },
                Op::Dropout(Dropout { p }) => Kind::Dropout { p, mask: Vec::new() },
                Op::UnitLength(UnitLength { scale }) => {
                    Kind::UnitLength { scale, inverse: Vec::new() }
                }
                Op::Cosine(op) => {
                    Kind::Cosine { op, weight: first(id), kept: Directions::default() }
                }
                Op::Activation(Activation::Gelu | Activation::QuickGelu | Activation::GeluTanh)
                | Op::Input(_)
                | Op::Conv2d(_)
                | Op::MaxPool(_)
                | Op::GlobalAvgPool
                | Op::Add
                | Op::LayerNorm(_)
                | Op::LayerScale(_)
                | Op::PatchTokens(_)
                | Op::SqueezeExcite(_)
                | Op::Attention(_)
                | Op::AttentionPool(_)
                | Op::ClassToken => {
                    return Err(refuse(&format!("{} is not part of a head", node.op.kind())));
                }
            };
            layers.push(Layer { name: node.name.clone(), width: shapes[id].channels(), kind });
        }
        Ok(Self {
            graph: graph.clone(),
            width,
            classes: shapes[graph.output()].channels(),
            maps: vec![Vec::new(); layers.len() + 1],
            layers,
            rows: 0,
            gradients: Default::default(),
            frozen: false,
        })
    }

    /// The same, with BatchNorm that keeps its running statistics and normalises with them.
    #[cfg(feature = "network")]
    pub(crate) fn with_frozen_statistics(self, frozen: bool) -> Self {
        Self { frozen, ..self }
    }

    #[cfg(feature = "network")]
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    #[cfg(feature = "network")]
    pub(crate) fn classes(&self) -> usize {
        self.classes
    }

    /// As [`Head::forward`].
    pub(crate) fn forward(
        &mut self,
        parameters: &mut [Parameter],
        n: usize,
        fill: impl FnOnce(&mut [f32]),
        dropout: Key,
        step: u32,
    ) -> Result<&[f32]> {
        self.rows = n;
        self.maps[0].resize(n * self.width, 0.0);
        fill(&mut self.maps[0]);
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let (before, after) = self.maps.split_at_mut(i + 1);
            let (x, y) = (before[i].as_slice(), &mut after[0]);
            y.resize(n * layer.width, 0.0);
            match &mut layer.kind {
                Kind::Linear { inputs, weight, bias } => {
                    let bias = bias.map(|b| parameters[b].values.as_slice());
                    let weight = &parameters[*weight].values;
                    layer::linear(x, weight, bias, [n, *inputs, layer.width], y)?;
                }
                Kind::BatchNorm { scale, eps, batch, .. } if self.frozen => {
                    let [scale, bias, mean, variance] =
                        [0, 1, 2, 3].map(|i| parameters[*scale + i].values.as_slice());
                    let running = (mean, variance);
                    layer::batch_norm_frozen(x, (scale, bias), running, *eps, batch, y);
                }
                Kind::BatchNorm { scale, eps, momentum, unbiased, batch } => {
                    if n < 2 {
                        return Err(Error::Layer {
                            network: self.graph.name().into(),
                            layer: layer.name.clone(),
                            problem:
                                "BatchNorm cannot be trained on one row: use batches of at least 2"
                                    .into(),
                        });
                    }
                    let own = &mut parameters[*scale..*scale + 4];
                    layer::batch_norm(x, (&own[0].values, &own[1].values), *eps, batch, y);
                    let correction =
                        if *unbiased { (n as f64 / (n - 1) as f64) as f32 } else { 1.0 };
                    let momentum = *momentum as f32;
                    for (running, (of_batch, correction)) in
                        own[2..].iter_mut().zip([(&batch.mean, 1.0), (&batch.variance, correction)])
                    {
                        for (r, b) in running.values.iter_mut().zip(of_batch) {
                            *r = *r * (1.0 - momentum) + b * correction * momentum;
                        }
                    }
                }
                Kind::Relu { limit } => {
                    for (y, x) in y.iter_mut().zip(x) {
                        // Unlike f32::max, this lets NaN through: diverged training must not be
                        // hidden.
                        *y = if *x < 0.0 {
                            0.0
                        } else if *x > *limit {
                            *limit
                        } else {
                            *x
                        };
                    }
                }
                Kind::Dropout { p, mask } => {
                    mask.resize(y.len(), 0.0);
                    layer::dropout_mask(mask, layer.width, *p, dropout.part(&layer.name), step);
                    layer::multiply(x, mask, y);
                }
                Kind::UnitLength { scale, inverse } => {
                    directions::unit_length(x, layer.width, *scale, y, inverse);
                }
                Kind::Cosine { op, weight, kept } => {
                    directions::cosine(x, &parameters[*weight..], op, kept, y)?;
                }
            }
        }
        Ok(&self.maps[self.layers.len()])
    }

    /// As [`Head::backward`]; with `wanted` it returns the gradient of the rows of features too,
    /// `[n, width]`.
    pub(crate) fn backward(
        &mut self,
        parameters: &mut [Parameter],
        gradient: &[f32],
        add: bool,
        wanted: bool,
    ) -> Result<&[f32]> {
        let n = self.rows;
        check_length("gradient", gradient.len(), n * self.classes)?;
        let [mut d_y, mut d_x] = std::mem::take(&mut self.gradients);
        d_y.clear();
        d_y.extend_from_slice(gradient);
        let lowest = self.layers.iter().position(|l| {
            !matches!(l.kind, Kind::Relu { .. } | Kind::Dropout { .. } | Kind::UnitLength { .. })
        });
        for (i, layer) in self.layers.iter_mut().enumerate().rev() {
            // Below the lowest layer with parameters, no gradient is needed.
            let wanted = wanted || lowest.is_some_and(|lowest| i > lowest);
            let x = self.maps[i].as_slice();
            if wanted {
                d_x.resize(x.len(), 0.0);
            }
            let into = wanted.then_some(d_x.as_mut_slice());
            match &mut layer.kind {
                Kind::Linear { inputs, weight, bias } => {
                    let dims = [n, *inputs, layer.width];
                    let (before, own) = parameters.split_at_mut(*weight);
                    debug_assert_eq!(before.len(), *weight);
                    let (w, rest) = own.split_at_mut(1);
                    let gradients = LinearGradients {
                        d_weight: &mut w[0].gradient,
                        d_bias: bias
                            .and_then(|_| rest.first_mut())
                            .map(|b| b.gradient.as_mut_slice()),
                        d_x: into,
                        add,
                    };
                    layer::linear_backward(x, &w[0].values, &d_y, dims, gradients)?;
                }
                Kind::BatchNorm { scale, batch, .. } => {
                    let (s, rest) = parameters[*scale..].split_at_mut(1);
                    let gradients = (s[0].gradient.as_mut_slice(), rest[0].gradient.as_mut_slice());
                    let statistics = (&*batch, self.frozen);
                    layer::batch_norm_backward(x, &d_y, statistics, gradients, into, add);
                }
                Kind::Relu { limit } => {
                    if let Some(d_x) = into {
                        for ((d_x, d_y), x) in d_x.iter_mut().zip(&d_y).zip(x) {
                            *d_x = if *x > 0.0 && *x < *limit { *d_y } else { 0.0 };
                        }
                    }
                }
                Kind::Dropout { mask, .. } => {
                    if let Some(d_x) = into {
                        layer::multiply(&d_y, mask, d_x);
                    }
                }
                Kind::UnitLength { scale, inverse } => {
                    if let Some(d_x) = into {
                        directions::unit_length_backward(x, inverse, *scale, &d_y, d_x, false);
                    }
                }
                Kind::Cosine { op, weight, kept } => {
                    let own = &mut parameters[*weight..];
                    directions::cosine_backward(x, own, op, kept, &d_y, into, add)?;
                }
            }
            if !wanted {
                break;
            }
            std::mem::swap(&mut d_y, &mut d_x);
        }
        self.gradients = [d_y, d_x];
        Ok(&self.gradients[0])
    }

    /// As [`Head::evaluate`].
    pub(crate) fn evaluate(
        &self,
        parameters: &[Parameter],
        rows: &[f32],
        out: &mut [f32],
    ) -> Result<()> {
        let n = rows.len() / self.width.max(1);
        check_length("rows", rows.len(), n * self.width)?;
        check_length("output", out.len(), n * self.classes)?;
        let mut x = std::borrow::Cow::Borrowed(rows);
        for layer in &self.layers {
            match &layer.kind {
                Kind::Linear { inputs, weight, bias } => {
                    let mut y = vec![0.0; n * layer.width];
                    let bias = bias.map(|b| parameters[b].values.as_slice());
                    let weight = &parameters[*weight].values;
                    layer::linear(&x, weight, bias, [n, *inputs, layer.width], &mut y)?;
                    x = y.into();
                }
                Kind::BatchNorm { scale, eps, .. } => {
                    let [scale, bias, mean, variance] =
                        [0, 1, 2, 3].map(|i| parameters[scale + i].values.as_slice());
                    let factor: Vec<f32> = scale
                        .iter()
                        .zip(variance)
                        .map(|(s, v)| s / (v + *eps as f32).sqrt())
                        .collect();
                    let shift: Vec<f32> =
                        bias.iter().zip(mean).zip(&factor).map(|((b, m), f)| b - m * f).collect();
                    let mut y = vec![0.0; x.len()];
                    layer::affine(&x, &factor, &shift, &mut y);
                    x = y.into();
                }
                Kind::Relu { limit } => {
                    for v in x.to_mut() {
                        *v = if *v < 0.0 {
                            0.0
                        } else if *v > *limit {
                            *limit
                        } else {
                            *v
                        };
                    }
                }
                Kind::Dropout { .. } => {}
                Kind::UnitLength { scale, .. } => {
                    let mut y = vec![0.0; x.len()];
                    directions::unit_length(&x, layer.width, *scale, &mut y, &mut Vec::new());
                    x = y.into();
                }
                Kind::Cosine { op, weight, .. } => {
                    let mut y = vec![0.0; n * layer.width];
                    let own = &parameters[*weight..];
                    directions::cosine(&x, own, op, &mut Directions::default(), &mut y)?;
                    x = y.into();
                }
            }
        }
        out.copy_from_slice(&x);
        Ok(())
    }
}

#[cfg(all(test, feature = "network"))]
#[allow(clippy::unwrap_used)] // helpers of tests
mod tests {
    use taper_core::random::Purpose;
    use taper_graph::{Weights, heads};

    use super::*;

    /// The tutorial's head without dropout, whose running statistics are not those of the rows.
    fn frozen() -> (HeadLayers, Parameters, Vec<f32>) {
        let graph = heads::with_dropout(&heads::tutorial(6, 3), 0.0);
        let weights = Weights::seeded(&graph);
        let mut parameters = Head::loaded(&graph, &weights).unwrap().parameters;
        // Far from the kink of ReLU, so that differences are gradients.
        let bias = parameters.iter_mut().find(|p| p.name == "fc1.bias").unwrap();
        bias.values.iter_mut().for_each(|value| *value += 50.0);
        let rows = (0..5 * 6).map(|i| ((i * 7 % 11) as f32 - 4.0) / 5.0).collect();
        (HeadLayers::new(&graph).unwrap().with_frozen_statistics(true), parameters, rows)
    }

    #[test]
    fn with_frozen_statistics_a_pass_is_an_evaluation_and_moves_nothing() {
        let (mut layers, mut parameters, rows) = frozen();
        let before = parameters.weights();
        let key = Key::new(0, Purpose::new("test/dropout"));
        let fill = |x: &mut [f32]| x.copy_from_slice(&rows);
        let logits = layers.forward(&mut parameters, 5, fill, key, 0).unwrap().to_vec();
        let mut evaluated = vec![0.0; 15];
        layers.evaluate(&parameters, &rows, &mut evaluated).unwrap();
        assert!(logits.iter().zip(&evaluated).all(|(a, b)| (a - b).abs() < 1e-3));
        assert_eq!(parameters.weights(), before);
        // One row at a time is allowed, and gives the same.
        let fill = |x: &mut [f32]| x.copy_from_slice(&rows[..6]);
        let one = layers.forward(&mut parameters, 1, fill, key, 0).unwrap();
        assert!(one.iter().zip(&logits).all(|(a, b)| (a - b).abs() < 1e-3));
    }

    #[test]
    fn gradients_with_frozen_statistics_are_those_of_finite_differences() {
        let (mut layers, mut parameters, rows) = frozen();
        let key = Key::new(0, Purpose::new("test/dropout"));
        let slope: Vec<f32> = (0..15).map(|i| ((i * 5 % 7) as f32 - 3.0) / 4.0).collect();
        let fill = |x: &mut [f32]| x.copy_from_slice(&rows);
        layers.forward(&mut parameters, 5, fill, key, 0).unwrap();
        let d_rows = layers.backward(&mut parameters, &slope, false, true).unwrap().to_vec();
        let loss = |layers: &HeadLayers, parameters: &[Parameter], rows: &[f32]| {
            let mut logits = vec![0.0; 15];
            layers.evaluate(parameters, rows, &mut logits).unwrap();
            logits.iter().zip(&slope).map(|(y, s)| f64::from(y * s)).sum::<f64>()
        };
        let h = 1e-2_f32;
        let close = |found: f32, up: f64, down: f64, what: &str| {
            let expected = (up - down) / f64::from(2.0 * h);
            assert!((f64::from(found) - expected).abs() < 5e-3, "{what}: {found} {expected}");
        };
        for at in 0..rows.len() {
            let mut moved = rows.clone();
            moved[at] += h;
            let up = loss(&layers, &parameters, &moved);
            moved[at] -= 2.0 * h;
            close(d_rows[at], up, loss(&layers, &parameters, &moved), &format!("row {at}"));
        }
        for index in 0..parameters.len() {
            if parameters[index].gradient.is_empty() || parameters[index].values.len() > 20 {
                continue;
            }
            for at in 0..parameters[index].values.len() {
                let found = parameters[index].gradient[at];
                parameters[index].values[at] += h;
                let up = loss(&layers, &parameters, &rows);
                parameters[index].values[at] -= 2.0 * h;
                let down = loss(&layers, &parameters, &rows);
                parameters[index].values[at] += h;
                close(found, up, down, &parameters[index].name.clone());
            }
        }
    }
}
