//! L-BFGS: Nocedal & Wright 2006, *Numerical Optimization*, algorithms 7.4 and 7.5. The line search
//! keeps a bracket and ends at the weak Wolfe conditions (Lewis & Overton 2013, "Nonsmooth
//! optimization via quasi-Newton methods", algorithm 4.6).

use std::collections::VecDeque;

/// How many steps are remembered.
const MEMORY: usize = 12;
/// How many points a line search tries, at most.
const TRIALS: usize = 40;
/// The conditions of Wolfe.
const DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;

/// A point with the function's value and gradient there.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) x: Vec<f64>,
    pub(crate) value: f64,
    pub(crate) gradient: Vec<f64>,
}

impl Point {
    pub(crate) fn at(x: Vec<f64>, f: &dyn Fn(&[f64], &mut [f64]) -> f64) -> Self {
        let mut gradient = vec![0.0; x.len()];
        let value = f(&x, &mut gradient);
        Self { x, value, gradient }
    }

    /// The square of the gradient's length.
    pub(crate) fn steepness(&self) -> f64 {
        dot(&self.gradient, &self.gradient)
    }

    /// The largest absolute value of the gradient.
    pub(crate) fn slope(&self) -> f64 {
        self.gradient.iter().fold(0.0, |largest, g| largest.max(g.abs()))
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Goes down from `point` until `enough` says so, for at most `iterations`, or as long as
/// rounding allows; gives where it ended and how many iterations that took. None if `stop` says so.
pub(crate) fn minimise(
    mut point: Point,
    f: &dyn Fn(&[f64], &mut [f64]) -> f64,
    enough: &dyn Fn(&Point) -> bool,
    iterations: usize,
    stop: &dyn Fn() -> bool,
) -> Option<(Point, usize)> {
    let mut memory = Memory::default();
    let mut done = 0;
    while !enough(&point) && done < iterations {
        if stop() {
            return None;
        }
        let mut direction = memory.direction(&point.gradient);
        let mut first = 1.0;
        if memory.steps.is_empty() || dot(&direction, &point.gradient) >= 0.0 {
            memory.steps.clear();
            direction = point.gradient.iter().map(|g| -g).collect();
            first = 1.0 / dot(&direction, &direction).sqrt().max(1.0);
        }
        match line_search(&point, &direction, first, f) {
            Some(next) => {
                memory.add(&point, &next);
                point = next;
                done += 1;
            }
            // What is remembered may be of no use where rounding errors count.
            None if !memory.steps.is_empty() => memory.steps.clear(),
            None => break,
        }
    }
    Some((point, done))
}

/// The last steps.
#[derive(Default)]
struct Memory {
    /// Each with the change of the gradient, and 1 over the product of both.
    steps: VecDeque<(Vec<f64>, Vec<f64>, f64)>,
}

impl Memory {
    fn add(&mut self, from: &Point, to: &Point) {
        let minus = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>();
        let (s, y) = (minus(&to.x, &from.x), minus(&to.gradient, &from.gradient));
        let product = dot(&s, &y);
        if product > f64::EPSILON * dot(&y, &y) {
            if self.steps.len() == MEMORY {
                self.steps.pop_front();
            }
            self.steps.push_back((s, y, 1.0 / product));
        }
    }

    /// Minus the gradient times the approximate inverse of the Hessian.
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut shares = Vec::with_capacity(self.steps.len());
        for (s, y, inverse) in self.steps.iter().rev() {
            let share = inverse * dot(s, &q);
            q.iter_mut().zip(y).for_each(|(q, y)| *q -= share * y);
            shares.push(share);
        }
        if let Some((_, y, inverse)) = self.steps.back() {
            let scale = 1.0 / (inverse * dot(y, y));
            q.iter_mut().for_each(|q| *q *= scale);
        }
        for ((s, y, inverse), share) in self.steps.iter().zip(shares.iter().rev()) {
            let back = share - inverse * dot(y, &q);
            q.iter_mut().zip(s).for_each(|(q, s)| *q += back * s);
        }
        q
    }
}

/// A point along the direction where the conditions of Wolfe hold, if one is found.
fn line_search(
    from: &Point,
    direction: &[f64],
    first: f64,
    f: &dyn Fn(&[f64], &mut [f64]) -> f64,
) -> Option<Point> {
    let slope = dot(&from.gradient, direction);
    // Near the minimum, differences of values are nothing but rounding errors.
    let slack = 8.0 * f64::EPSILON * from.value.abs();
    let (mut low, mut high, mut step) = (0.0, f64::INFINITY, first);
    for _ in 0..TRIALS {
        let x = from.x.iter().zip(direction).map(|(x, d)| x + step * d).collect();
        let point = Point::at(x, f);
        let rise = point.value - from.value;
        // A NaN is too high as well.
        let low_enough = rise <= DECREASE * step * slope + slack;
        if !low_enough {
            high = step;
            // The minimum of the parabola through the start, its slope and this value.
            let guess = -0.5 * slope * step * step / (rise - slope * step);
            let (least, most) = (low + 0.1 * (high - low), high - 0.1 * (high - low));
            step = if guess.is_finite() { guess.clamp(least, most) } else { 0.5 * (low + high) };
        } else if dot(&point.gradient, direction) < CURVATURE * slope {
            low = step;
            step = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * step };
        } else {
            return Some(point);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rosenbrocks_valley_is_followed_to_its_end() {
        let f = |x: &[f64], g: &mut [f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            g[0] = -2.0 * a - 400.0 * x[0] * b;
            g[1] = 200.0 * b;
            a * a + 100.0 * b * b
        };
        let start = Point::at(vec![-1.2, 1.0], &f);
        let enough = |point: &Point| point.slope() <= 1e-10;
        let (end, iterations) = minimise(start.clone(), &f, &enough, 200, &|| false).unwrap();
        assert!(end.x.iter().all(|x| (x - 1.0).abs() < 1e-9), "{end:?}");
        assert!(iterations < 60, "{iterations}");
        assert!(minimise(start.clone(), &f, &enough, 200, &|| true).is_none());
        // A tolerance that rounding does not allow ends the search too.
        let (end, _) = minimise(start, &f, &|_| false, 10_000, &|| false).unwrap();
        assert!(end.value < 1e-18);
    }
}
