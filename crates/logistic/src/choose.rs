use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use taper_core::OutOfRange;

use crate::{
    CheckedSolver, Model, Result, Rows, Solved, Solver, folds,
    model::cross_entropy,
    objective::Objective,
    solver::{check_strength, descend},
};

/// How the strength is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Search {
    /// The strengths to try, C, each above 0, in ascending order. Default: ten from 1e-4 to 1e4,
    /// evenly spread in logarithm, as in scikit-learn's `LogisticRegressionCV`.
    pub strengths: Vec<f64>,
    /// Folds, from 2 to 255; fewer where a class has fewer rows or groups. Default 5.
    pub folds: usize,
    /// By how much a loss may exceed the lowest one, in nats, from 0: of the strengths that are so
    /// good, the smallest is chosen. Default 0.01.
    pub slack: f64,
    /// The seed that folds are drawn with. Default 0.
    pub seed: u64,
    /// The strength where a class has a single row or group, so that nothing can be tried; above 0.
    /// Default 1.
    pub fallback: f64,
    /// When the solution of a fold is good enough. Default: a tolerance of 1e-4 or an excess of
    /// 1e-4, and 500 iterations.
    pub trial: Solver,
    /// When the solution on all rows is good enough.
    pub solver: Solver,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            strengths: (0..10).map(|i| libm::pow(10.0, f64::from(i) * 8.0 / 9.0 - 4.0)).collect(),
            folds: 5,
            slack: 0.01,
            seed: 0,
            fallback: 1.0,
            trial: Solver { tolerance: 1e-4, excess: 1e-4, iterations: 500 },
            solver: Solver::default(),
        }
    }
}

/// A [`Search`] whose settings are in range.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedSearch {
    search: Search,
    trial: CheckedSolver,
    solver: CheckedSolver,
}

impl Search {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) names the first that is out of range.
    pub fn check(self) -> Result<CheckedSearch> {
        if self.strengths.is_empty() || !self.strengths.is_sorted_by(|a, b| a < b) {
            let remedy = "give one or more, each larger than the one before";
            let value = format!("{:?}", self.strengths);
            return Err(OutOfRange::new("strengths", value, remedy).into());
        }
        for strength in self.strengths.iter().chain([&self.fallback]) {
            check_strength(*strength)?;
        }
        if !(2..=255).contains(&self.folds) {
            return Err(OutOfRange::new("folds", self.folds, "use 2 to 255").into());
        }
        if !(self.slack >= 0.0 && self.slack.is_finite()) {
            return Err(OutOfRange::new("slack", self.slack, "use 0 or a positive number").into());
        }
        let (trial, solver) = (self.trial.check()?, self.solver.check()?);
        Ok(CheckedSearch { search: self, trial, solver })
    }
}

/// What cross-validation says about a strength.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// C.
    pub strength: f64,
    /// The mean cross-entropy on rows that were left out, over the folds.
    pub loss: f64,
    /// Its standard error, from the spread over the folds.
    pub loss_error: f64,
    /// The mean share of rows left out that are classified correctly, 0 to 1.
    pub accuracy: f64,
    /// Iterations of all folds together.
    pub iterations: usize,
}

/// A strength, and the solution on all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// C.
    pub strength: f64,
    /// What was tried, in ascending order. Empty if nothing could be.
    pub tried: Vec<Tried>,
    /// Into how many folds the rows were divided; 0 if nothing could be tried.
    pub folds: usize,
    /// The solution.
    pub solved: Solved,
}

/// Chooses the strength by cross-validation, then solves on all rows.
///
/// Strengths are tried from the smallest on, each fold beginning where it ended before, until
/// larger ones cannot be chosen (a loss is within the slack of 0) or promise nothing (two in a row
/// do not have the lowest loss so far). The choice is the smallest strength whose loss is within
/// the slack of the lowest: where rows are near copies of each other, the loss falls and falls, and
/// the model only becomes surer of itself. Rows with the same number in `groups` are in one fold
/// ([`folds()`]).
///
/// # Errors
/// As [`solve`](crate::solve).
pub fn choose(
    rows: &Rows<'_>,
    groups: Option<&[u32]>,
    search: &CheckedSearch,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Chosen> {
    let CheckedSearch { search, trial, solver } = search;
    let fold_of = folds(rows.labels(), groups, search.folds, search.seed);
    let count = fold_of.iter().flatten().max().map_or(0, |last| usize::from(*last) + 1);
    let mut trials = (0..count)
        .map(|fold| Fold::new(rows, fold_of.as_deref().unwrap_or_default(), fold))
        .collect::<Result<Vec<Fold<'_>>>>()?;
    let mut tried: Vec<Tried> = Vec::new();
    let mut best = 0;
    for &strength in search.strengths.iter().filter(|_| count > 0) {
        let figures: Result<Vec<[f64; 3]>> =
            trials.par_iter_mut().map(|fold| fold.figures(rows, strength, trial, stop)).collect();
        tried.push(Tried::of(strength, &figures?));
        let last = tried.len() - 1;
        if tried[last].loss < tried[best].loss {
            best = last;
        }
        if tried[last].loss <= search.slack || last >= best + 2 {
            break;
        }
    }
    let enough = tried.get(best).map_or(f64::NAN, |best| best.loss + search.slack);
    let strength = tried.iter().find(|tried| tried.loss <= enough);
    let strength = strength.map_or(search.fallback, |tried| tried.strength);
    let objective = Objective::new(rows, (0..rows.len() as u32).collect(), strength)?;
    let solved = descend(&objective, None, solver, stop)?;
    Ok(Chosen { strength, tried, folds: count, solved })
}

impl Tried {
    fn of(strength: f64, figures: &[[f64; 3]]) -> Self {
        let n = figures.len() as f64;
        let mean = |at: usize| figures.iter().map(|own| own[at]).sum::<f64>() / n;
        let loss = mean(0);
        let squares: f64 = figures.iter().map(|own| (own[0] - loss) * (own[0] - loss)).sum();
        Self {
            strength,
            loss,
            loss_error: (squares / (n - 1.0) / n).sqrt(),
            accuracy: mean(1),
            iterations: figures.iter().map(|own| own[2] as usize).sum(),
        }
    }
}

/// One fold: it is left out.
struct Fold<'a> {
    objective: Objective<'a>,
    left_out: Vec<usize>,
    model: Option<Model>,
}

impl<'a> Fold<'a> {
    fn new(rows: &'a Rows<'a>, fold_of: &[u8], fold: usize) -> Result<Self> {
        let (left_out, kept): (Vec<usize>, Vec<usize>) =
            (0..rows.len()).partition(|&row| usize::from(fold_of[row]) == fold);
        let kept = kept.into_iter().map(|row| row as u32).collect();
        Ok(Self { objective: Objective::new(rows, kept, 1.0)?, left_out, model: None })
    }

    /// Weighted means of loss and accuracy on what is left out, and the iterations that it took.
    fn figures(
        &mut self,
        rows: &Rows<'_>,
        strength: f64,
        solver: &CheckedSolver,
        stop: &dyn Fn() -> bool,
    ) -> Result<[f64; 3]> {
        self.objective.set_strength(strength);
        let solved = descend(&self.objective, self.model.as_ref(), solver, stop)?;
        let (mut loss, mut correct, mut total) = (0.0, 0.0, 0.0);
        for &row in &self.left_out {
            let (weight, label) = (rows.weight(row), rows.labels()[row] as usize);
            let logits = solved.model.logits(rows.row(row));
            loss += weight * cross_entropy(&logits, label);
            let others = logits.iter().enumerate().filter(|(class, _)| *class != label);
            if others.into_iter().all(|(_, logit)| *logit < logits[label]) {
                correct += weight;
            }
            total += weight;
        }
        self.model = Some(solved.model);
        // A fold whose rows have no weight says nothing.
        let share = if total > 0.0 { 1.0 / total } else { 0.0 };
        Ok([loss * share, correct * share, solved.iterations as f64])
    }
}
