use serde::{Deserialize, Serialize};
use taper_grad::Head;
use taper_graph::{Graph, GraphBuilder, Op, Weights};
use taper_logistic::{Chosen, Rows as LogisticRows, Search, Tried, choose};
use taper_optim::Targets;

use crate::{CheckedTraining, Error, Result, Sampling, Table, Watch, evaluate_rows};

/// How many rows are brought to one length together.
const TOGETHER: usize = 512;

/// How a logistic head was solved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogisticFigures {
    /// The strength C that cross-validation on the training rows chose, or the fallback, 1, where a
    /// class has a single picture or group.
    pub strength: f64,
    /// What was tried.
    pub tried: Vec<Tried>,
    /// Into how many folds the training rows were divided; 0 if nothing could be tried.
    pub folds: usize,
    /// Iterations of L-BFGS on all rows.
    pub iterations: usize,
    /// The largest absolute value of the gradient at the end.
    pub gradient: f64,
    /// Whether that is within the tolerance.
    pub converged: bool,
}

/// Solves the head [`taper_graph::heads::logistic`] on a table, which has several rows of a picture
/// next to each other, `views` of each: they share its weight, and stay in one fold. So do pictures
/// with the same number in `groups`, `[rows / views]`; without it each picture is a group.
///
/// Class weights and sampling of the settings are weights of rows, whose mean over the pictures is
/// 1; the seed draws the folds. Nothing else in the settings matters.
///
/// # Errors
/// [`Error::Setting`] if class weights or sampling do not fit the classes;
/// [`Error::Grad`] if the graph is another kind of head; [`Error::Other`] if a row is not finite;
/// [`Error::Interrupted`].
pub fn solve_head(
    graph: &Graph,
    table: &Table,
    (views, groups): (usize, Option<&[u32]>),
    settings: &CheckedTraining,
    watch: &Watch,
) -> Result<(Weights, LogisticFigures)> {
    let own = settings.settings();
    let unit = unit_length(graph)?;
    let classes = graph.shapes(0, 0)?[graph.output()].channels();
    let mut values = Vec::with_capacity(table.values.len());
    for rows in table.values.chunks(TOGETHER * table.width.max(1)) {
        values.extend(evaluate_rows(&unit, rows)?);
    }
    let weights = row_weights(table, views, classes, settings)?;
    let views = views.max(1) as u32;
    let groups: Vec<u32> = (0..table.len() as u32)
        .map(|row| groups.map_or(row / views, |groups| groups[(row / views) as usize]))
        .collect();
    let rows = LogisticRows::new(&values, table.width, &table.labels, classes)
        .and_then(|rows| rows.weighted(&weights))
        .map_err(wrapped)?;
    let search = Search { seed: own.seed, ..Search::default() }.check().map_err(wrapped)?;
    let stop = || watch.interrupted();
    let chosen = choose(&rows, Some(&groups), &search, &stop).map_err(wrapped)?;
    let Chosen { strength, tried, folds, solved } = chosen;
    let mut weights = Weights::new();
    for tensor in graph.parameters() {
        let values = if tensor.shape.len() > 1 { &solved.model.weight } else { &solved.model.bias };
        weights.insert(tensor.name, tensor.shape, values.iter().map(|v| *v as f32).collect());
    }
    let figures = LogisticFigures {
        strength,
        tried,
        folds,
        iterations: solved.iterations,
        gradient: solved.gradient,
        converged: solved.converged,
    };
    Ok((weights, figures))
}

fn wrapped(error: taper_logistic::Error) -> Error {
    match error {
        taper_logistic::Error::Interrupted => Error::Interrupted,
        other => Error::other(other),
    }
}

/// What comes before the layer that is solved: vectors of one length. Dropout does nothing here.
fn unit_length(graph: &Graph) -> Result<Head> {
    let refuse = |layer: &str| {
        Error::Grad(taper_grad::Error::Layer {
            network: graph.name().into(),
            layer: layer.into(),
            problem: "only vectors of one length and a fully connected layer can be solved".into(),
        })
    };
    let mut unit = None;
    for (id, node) in graph.nodes().iter().enumerate() {
        match node.op {
            Op::Features(features) => unit = Some(GraphBuilder::features("unit", features.width)),
            Op::UnitLength(_) => {
                let Some((builder, x)) = &mut unit else { return Err(refuse(&node.name)) };
                *x = builder.layer(node.name.clone(), node.op, &[*x]);
            }
            Op::Dropout(_) => {}
            Op::Linear(linear) if id == graph.output() && linear.bias => {}
            _ => return Err(refuse(&node.name)),
        }
    }
    let (builder, _) = unit.ok_or_else(|| refuse("features"))?;
    Ok(Head::initialised(&builder.finish(0), 0)?)
}

/// The weight of each row: a picture's is divided among its views.
fn row_weights(
    table: &Table,
    views: usize,
    classes: usize,
    settings: &CheckedTraining,
) -> Result<Vec<f64>> {
    let own = settings.settings();
    let counts = table.counts(classes);
    let loss = own.loss.check(&counts)?;
    own.sampling.check_rows(&table.labels, classes)?;
    let drawn = |class: usize| match &own.sampling {
        Sampling::Shuffled => 1.0,
        Sampling::Balanced | Sampling::Weighted(None) => 1.0 / counts[class].max(1) as f64,
        Sampling::Weighted(Some(weights)) => weights[class],
    };
    let by_class: Vec<f64> = (0..classes)
        .map(|class| loss.weight(Targets::Labels(&[class as u32])) * drawn(class))
        .collect();
    let total: f64 = table.labels.iter().map(|&label| by_class[label as usize]).sum();
    let pictures = (table.len() / views.max(1)) as f64;
    let share = if total > 0.0 { pictures / total } else { 0.0 };
    Ok(table.labels.iter().map(|&label| by_class[label as usize] * share).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // helpers of tests
mod tests {
    use taper_graph::{WeightSource, heads};
    use taper_optim::{ClassWeights, LossConfig};

    use super::*;
    use crate::{Training, measure_head};

    /// Two views of each of 60 pictures, of two classes, one three times as large.
    fn table() -> Table {
        let mut table = Table { width: 6, ..Table::default() };
        for picture in 0..60_u32 {
            let label = u32::from(picture % 4 == 0);
            for view in 0..2 {
                let value = |j: u32| {
                    let wave = ((picture * 7 + j * 13 + view) as f32 * 0.9).sin();
                    wave + if label == j % 2 { 1.0 } else { 0.3 }
                };
                table.values.extend((0..6).map(value));
                table.labels.push(label);
            }
        }
        table
    }

    fn solved(table: &Table, settings: Training) -> (Weights, LogisticFigures) {
        let settings = settings.check().unwrap();
        let graph = heads::with_dropout(&heads::logistic(6, 2), 0.3);
        solve_head(&graph, table, (2, None), &settings, &Watch::quiet()).unwrap()
    }

    #[test]
    fn a_solved_head_classifies_and_says_how_it_came_about() {
        let table = table();
        let (weights, figures) = solved(&table, Training::default());
        assert!(figures.converged && figures.folds == 5 && figures.iterations > 2, "{figures:?}");
        let head = Head::loaded(&heads::logistic(6, 2), &weights).unwrap();
        let metrics = measure_head(&head, &table).unwrap();
        assert!(metrics.accuracy().unwrap() > 0.8, "{:?}", metrics.accuracy());
        assert_eq!(solved(&table, Training::default()).0, weights);
        assert_ne!(solved(&table, Training { seed: 3, ..Training::default() }).1, figures);
    }

    #[test]
    fn weights_of_classes_and_sampling_are_weights_of_rows() {
        let table = table();
        let loss = LossConfig { class_weights: ClassWeights::Balanced, ..LossConfig::default() };
        let balanced = solved(&table, Training { loss, ..Training::default() });
        let drawn = Training { sampling: Sampling::Balanced, ..Training::default() };
        let drawn = solved(&table, drawn);
        assert_eq!(balanced.1.strength, drawn.1.strength);
        let near = |a: &Weights, b: &Weights| {
            let (a, b) = (a.values("fc.weight").unwrap(), b.values("fc.weight").unwrap());
            a.iter().zip(&*b).all(|(a, b)| (a - b).abs() < 1e-4)
        };
        assert!(near(&balanced.0, &drawn.0));
        assert!(!near(&balanced.0, &solved(&table, Training::default()).0));
        let weights = row_weights(&table, 2, 2, &Training::default().check().unwrap()).unwrap();
        assert!(weights.iter().all(|weight| *weight == 0.5));
    }

    #[test]
    fn other_heads_and_rows_that_are_not_finite_are_refused() {
        let mut table = table();
        let settings = Training::default().check().unwrap();
        let watch = Watch::quiet();
        let error = solve_head(&heads::tutorial(6, 2), &table, (2, None), &settings, &watch);
        assert!(error.unwrap_err().to_string().contains("'bn1'"));
        table.values[13] = f32::NAN;
        let error = solve_head(&heads::logistic(6, 2), &table, (2, None), &settings, &watch);
        assert!(error.unwrap_err().to_string().contains("row 2 has the value NaN"));
    }
}
