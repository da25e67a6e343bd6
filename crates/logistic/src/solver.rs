use serde::{Deserialize, Serialize};
use taper_core::OutOfRange;

use crate::{
    Error, Model, Result, Rows,
    lbfgs::{self, Point},
    objective::Objective,
};

/// When a solution is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Solver {
    /// The largest absolute value that the gradient of the objective divided by C · Σ w may have,
    /// above 0: scikit-learn's `tol`. Default 1e-6.
    pub tolerance: f64,
    /// By how much that objective may exceed its minimum, in nats, from 0, biases aside: it is
    /// enough too, whatever the gradient is. Default 0: the gradient decides.
    pub excess: f64,
    /// Iterations, at most, from 1. Default 2000.
    pub iterations: usize,
}

impl Default for Solver {
    fn default() -> Self {
        Self { tolerance: 1e-6, excess: 0.0, iterations: 2000 }
    }
}

/// A [`Solver`] whose settings are in range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckedSolver(pub(crate) Solver);

impl Solver {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first that is out of range.
    pub fn check(self) -> Result<CheckedSolver> {
        if !(self.tolerance > 0.0 && self.tolerance.is_finite()) {
            let remedy = "use a number above 0, e.g. 1e-6";
            return Err(OutOfRange::new("tolerance", self.tolerance, remedy).into());
        }
        if !(self.excess >= 0.0 && self.excess.is_finite()) {
            return Err(OutOfRange::new("excess", self.excess, "use 0 or a positive number").into());
        }
        if self.iterations == 0 {
            return Err(OutOfRange::new("iterations", 0, "use 1 or more").into());
        }
        Ok(CheckedSolver(self))
    }
}

/// A solution.
#[derive(Debug, Clone, PartialEq)]
pub struct Solved {
    /// The weights and biases.
    pub model: Model,
    /// C · Σ wᵢ ℓᵢ + ½ ‖W‖².
    pub objective: f64,
    /// The largest absolute value of the gradient, as [`Solver::tolerance`] means it.
    pub gradient: f64,
    /// Iterations that it took.
    pub iterations: usize,
    /// Whether that is enough.
    pub converged: bool,
}

/// A `stop` that never stops.
pub fn never() -> bool {
    false
}

/// Minimises C · Σ wᵢ ℓᵢ + ½ ‖W‖² over the rows, where C is `strength`, from `start` or from zeros.
/// The biases sum to 0 unless those of `start` do not.
///
/// # Errors
/// [`Error::Setting`] unless the strength is a number above 0; [`Error::NoRows`] if no row has a
/// weight; [`Error::Length`] if `start` has another shape; [`Error::Interrupted`] once `stop`,
/// which is asked in every iteration, says so.
pub fn solve(
    rows: &Rows<'_>,
    strength: f64,
    start: Option<&Model>,
    solver: &CheckedSolver,
    stop: &dyn Fn() -> bool,
) -> Result<Solved> {
    check_strength(strength)?;
    let objective = Objective::new(rows, (0..rows.len() as u32).collect(), strength)?;
    if let Some(model) = start {
        let (found, expected) = (model.weight.len(), rows.width() * rows.classes());
        if found != expected || model.classes() != rows.classes() {
            return Err(Error::Length { what: "weights at the start", found, expected });
        }
    }
    descend(&objective, start, solver, stop)
}

pub(crate) fn check_strength(strength: f64) -> Result<()> {
    if strength > 0.0 && strength.is_finite() {
        return Ok(());
    }
    Err(OutOfRange::new("strength", strength, "use a number above 0").into())
}

pub(crate) fn descend(
    objective: &Objective<'_>,
    start: Option<&Model>,
    solver: &CheckedSolver,
    stop: &dyn Fn() -> bool,
) -> Result<Solved> {
    let parameters =
        start.map_or_else(|| vec![0.0; objective.len()], |model| objective.parameters(model));
    let f = |x: &[f64], g: &mut [f64]| objective.evaluate(x, g);
    let Solver { tolerance, excess, iterations } = solver.0;
    let enough =
        |point: &Point| point.slope() <= tolerance || objective.excess(point.steepness()) <= excess;
    let (end, iterations) =
        lbfgs::minimise(Point::at(parameters, &f), &f, &enough, iterations, stop)
            .ok_or(Error::Interrupted)?;
    Ok(Solved {
        model: objective.model(&end.x),
        objective: objective.unscaled(end.value),
        gradient: end.slope(),
        iterations,
        converged: enough(&end),
    })
}
