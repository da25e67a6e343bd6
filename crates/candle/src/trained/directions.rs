//! Vectors by their directions, forward and backward, as `layers.rs` has them.

use candle_core::{D, Tensor};
use taper_candle_ops::product;

use crate::{Result, layers};

/// What cosines keep for their backward pass.
#[derive(Debug)]
pub(super) struct Cosines {
    /// The directions of the rows, `[n, in]`, and of the weight, `[out, in]`; 1 over the lengths.
    rows: (Tensor, Tensor),
    weight: (Tensor, Tensor),
    /// The cosines, `[n, out]`.
    cosines: Tensor,
    /// The factor that they are given, `[1]`, and that of gamma alone.
    factor: Tensor,
    scale: f64,
}

/// scale · gamma · cos(x, w) for each row w of the weight.
pub(super) fn cosines(
    x: &Tensor,
    weight: &Tensor,
    gamma: &Tensor,
    scale: f32,
) -> Result<(Tensor, Cosines)> {
    let (rows, weight) = (layers::directions(x)?, layers::directions(weight)?);
    let cosines = product(&rows.0, &weight.0.t()?, false)?;
    let scale = f64::from(scale);
    let factor = (gamma * scale)?;
    let y = cosines.broadcast_mul(&factor)?;
    Ok((y, Cosines { rows, weight, cosines, factor, scale }))
}

impl Cosines {
    /// The gradients of the rows, of the weight and of gamma from that of the output.
    pub(super) fn gradients(&self, dy: &Tensor) -> Result<(Tensor, [Tensor; 2])> {
        let slopes = dy.broadcast_mul(&self.factor)?;
        let rows = product(&slopes, &self.weight.0, false)?;
        let weight = product(&slopes.t()?, &self.rows.0, false)?;
        let gamma = ((dy * &self.cosines)?.sum_all()? * self.scale)?.reshape(1)?;
        Ok((gradient(&rows, &self.rows)?, [gradient(&weight, &self.weight)?, gamma]))
    }
}

/// The gradient of vectors from that of their directions.
pub(super) fn gradient(dy: &Tensor, (units, inverse): &(Tensor, Tensor)) -> Result<Tensor> {
    let along = (dy * units)?.sum_keepdim(D::Minus1)?;
    Ok((dy - units.broadcast_mul(&along)?)?.broadcast_mul(inverse)?)
}
