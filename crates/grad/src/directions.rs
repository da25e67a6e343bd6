//! Vectors by their directions, forward and backward. Rows are f32 `[n, width]`, row-major; lengths
//! are computed in f64, so that no vector of f32 is too long or too short for them.

use rayon::prelude::*;
use taper_graph::Cosine;
use taper_optim::Parameter;

use crate::{
    Result,
    layer::{self, LinearGradients},
};

/// y ← x · scale / ‖x‖ for each row, and 1 / ‖x‖ into `inverse`, which is 0 for a row of zeros.
pub(crate) fn unit_length(
    x: &[f32],
    width: usize,
    scale: f32,
    y: &mut [f32],
    inverse: &mut Vec<f64>,
) {
    inverse.resize(x.len() / width.max(1), 0.0);
    let rows = x.par_chunks_exact(width.max(1)).zip(y.par_chunks_exact_mut(width.max(1)));
    rows.zip(inverse.par_iter_mut()).for_each(|((x, y), inverse)| {
        let squares: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        *inverse = match squares {
            0.0 => 0.0,
            infinite if infinite.is_infinite() => f64::NAN,
            squares => 1.0 / squares.sqrt(),
        };
        let factor = f64::from(scale) * *inverse;
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = (f64::from(x) * factor) as f32);
    });
}

/// The gradient of [`unit_length`] from that of its output: d_x ← (d_y − u (u · d_y)) · scale /
/// ‖x‖ with u = x / ‖x‖; 0 for a row of zeros. `add` adds it to `d_x`.
pub(crate) fn unit_length_backward(
    x: &[f32],
    inverse: &[f64],
    scale: f32,
    d_y: &[f32],
    d_x: &mut [f32],
    add: bool,
) {
    let width = (x.len() / inverse.len().max(1)).max(1);
    let rows = x.par_chunks_exact(width).zip(d_y.par_chunks_exact(width)).zip(inverse);
    d_x.par_chunks_exact_mut(width).zip(rows).for_each(|(d_x, ((x, d_y), &inverse))| {
        let along: f64 = x.iter().zip(d_y).map(|(&x, &d)| f64::from(x) * f64::from(d)).sum();
        let along = along * inverse * inverse;
        let factor = f64::from(scale) * inverse;
        for (d_x, (&x, &d_y)) in d_x.iter_mut().zip(x.iter().zip(d_y)) {
            let slope = ((f64::from(d_y) - f64::from(x) * along) * factor) as f32;
            *d_x = if add { *d_x + slope } else { slope };
        }
    });
}

/// What [`Cosine`] keeps from a training pass for its backward pass.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directions {
    /// The rows at length 1, and 1 over their lengths.
    rows: (Vec<f32>, Vec<f64>),
    /// The same of the weight's rows.
    weight: (Vec<f32>, Vec<f64>),
    /// The cosines, `[n, classes]`.
    cosines: Vec<f32>,
    /// The slopes of the cosines, and of a vector's direction.
    slopes: (Vec<f32>, Vec<f32>),
}

fn directions(x: &[f32], width: usize, (units, inverse): &mut (Vec<f32>, Vec<f64>)) {
    units.resize(x.len(), 0.0);
    unit_length(x, width, 1.0, units, inverse);
}

/// y ← scale · gamma · cos(x, w) for each row x and each row w of the weight; `own` are the layer's
/// tensors.
pub(crate) fn cosine(
    x: &[f32],
    own: &[Parameter],
    op: &Cosine,
    kept: &mut Directions,
    y: &mut [f32],
) -> Result<()> {
    let (width, classes) = (op.in_features, op.out_features);
    directions(x, width, &mut kept.rows);
    directions(&own[0].values, width, &mut kept.weight);
    kept.cosines.resize(y.len(), 0.0);
    let dims = [x.len() / width.max(1), width, classes];
    layer::linear(&kept.rows.0, &kept.weight.0, None, dims, &mut kept.cosines)?;
    let factor = op.scale * own[1].values[0];
    y.iter_mut().zip(&kept.cosines).for_each(|(y, cosine)| *y = cosine * factor);
    Ok(())
}

/// The gradients of [`cosine`] from that of its output: into the gradients of the layer's tensors,
/// added with `add`, and into `d_x` if requested.
pub(crate) fn cosine_backward(
    x: &[f32],
    own: &mut [Parameter],
    op: &Cosine,
    kept: &mut Directions,
    d_y: &[f32],
    d_x: Option<&mut [f32]>,
    add: bool,
) -> Result<()> {
    let Directions { rows, weight, cosines, slopes: (d_cosines, d_units) } = kept;
    let dims = [rows.1.len(), op.in_features, op.out_features];
    let sum: f64 = cosines.iter().zip(d_y).map(|(&c, &d)| f64::from(c) * f64::from(d)).sum();
    let d_gamma = (sum * f64::from(op.scale)) as f32;
    let gamma = &mut own[1];
    gamma.gradient[0] = if add { gamma.gradient[0] + d_gamma } else { d_gamma };
    let factor = op.scale * gamma.values[0];
    d_cosines.clear();
    d_cosines.extend(d_y.iter().map(|d| d * factor));
    d_units.resize(weight.0.len(), 0.0);
    let gradients = LinearGradients { d_weight: d_units, d_bias: None, d_x: None, add: false };
    layer::linear_backward(&rows.0, &weight.0, d_cosines, dims, gradients)?;
    let Parameter { values, gradient, .. } = &mut own[0];
    unit_length_backward(values, &weight.1, 1.0, d_units, gradient, add);
    if let Some(d_x) = d_x {
        d_units.resize(x.len(), 0.0);
        layer::linear_inputs(&weight.0, d_cosines, dims, d_units)?;
        unit_length_backward(x, &rows.1, 1.0, d_units, d_x, false);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_stay_and_what_is_not_finite_shows() {
        let (mut y, mut inverse) = (vec![9.0; 8], Vec::new());
        let x = [0.0, 0.0, 3.0, -4.0, f32::INFINITY, 1.0, 1e-42, 0.0];
        unit_length(&x, 2, 10.0, &mut y, &mut inverse);
        assert_eq!(y[..4], [0.0, 0.0, 6.0, -8.0]);
        assert!(y[4].is_nan() && y[5].is_nan());
        assert_eq!(y[6..], [10.0, 0.0]);
        let mut d_x = vec![9.0; 2];
        unit_length_backward(&x[..2], &inverse[..1], 10.0, &[1.0, 2.0], &mut d_x, false);
        assert_eq!(d_x, [0.0, 0.0]);
        let mut large = [f32::MAX, f32::MAX];
        unit_length(&[f32::MAX; 2], 2, 1.0, &mut large, &mut inverse);
        assert!((large[0] - 0.5f32.sqrt()).abs() < 1e-6);
    }
}
