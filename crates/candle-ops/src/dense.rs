//! Dense and grouped convolutions with their gradients: through cuDNN on CUDA, where the build has
//! it, else as matrix products.

use candle_core::{Result, Tensor, bail};
#[cfg(feature = "cudnn")]
use taper_graph::Padding;

use crate::{Slide, product, product::pictures_at_a_time, training::fold, unfold};

/// A convolution over maps `[n, h, w, c]` with filters `[out, k, k, c / groups]` of the same type,
/// without bias: `[n, oh, ow, out]`.
///
/// On CUDA with cuDNN, algorithms are fixed and deterministic; padding that is not the same on all
/// sides is made of zeros first. Otherwise, and where cuDNN has no kernel, windows are unfolded
/// into the rows of a matrix product, group by group. Sums are f32.
#[derive(Debug, Clone, Copy)]
pub struct Dense {
    /// How its window slides.
    pub slide: Slide,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Whether f32 may be rounded to TF32 on the way into tensor cores.
    pub tf32: bool,
}

impl Dense {
    /// The convolution of maps.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device has no room.
    pub fn forward(&self, x: &Tensor, filter: &Tensor) -> Result<Tensor> {
        if self.is_pointwise() {
            let (rows, weight) = (rows(x)?, filter.flatten_from(1)?);
            return reshaped(&product(&rows, &weight.t()?, self.tf32)?, x, filter.dim(0)?);
        }
        #[cfg(feature = "cudnn")]
        if x.device().is_cuda() {
            let (padded, even, padding) = self.evenly(x)?;
            let how = (self.groups, self.tf32);
            match crate::cudnn_convolution(&padded, filter, &even, padding, how) {
                Err(error) if crate::not_supported(&error) => {}
                y => return y,
            }
        }
        let mut shape = crate::slid(x.dims(), &self.slide)?;
        let per_group = filter.dim(0)? / self.groups;
        let group = |(x, filter): (Tensor, Tensor)| {
            shape[3] = per_group;
            let weight = filter.flatten_from(1)?;
            crate::unfolded(&x, &weight.t()?, &self.slide, self.tf32)?.reshape(shape.as_slice())
        };
        let parts = self.split(x, 3)?.into_iter().zip(self.split(filter, 0)?);
        joined(parts.map(group).collect::<Result<Vec<_>>>()?, 3)
    }

    /// The gradient with respect to maps of the shape `dims`, from that of the output.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device has no room.
    pub fn data(&self, dy: &Tensor, filter: &Tensor, dims: &[usize]) -> Result<Tensor> {
        if self.is_pointwise() {
            return product(&rows(dy)?, &filter.flatten_from(1)?, self.tf32)?.reshape(dims);
        }
        #[cfg(feature = "cudnn")]
        if dy.device().is_cuda() {
            let (even, padding, [top, left], padded) = self.even(dims)?;
            let op = crate::cuda::cudnn::ConvData { conv: self.conv(even, padding), dims: padded };
            match dy.apply_op2_no_bwd(filter, &op) {
                Err(error) if crate::not_supported(&error) => {}
                Ok(dx) if dx.dims() != dims => {
                    let dx = dx.narrow(1, top, dims[1])?.narrow(2, left, dims[2])?;
                    return dx.contiguous();
                }
                dx => return dx,
            }
        }
        let mut own = dims.to_vec();
        own[3] /= self.groups;
        let group = |(dy, filter): (Tensor, Tensor)| {
            let weight = filter.flatten_from(1)?;
            let part = pictures_at_a_time(&own, dy.dtype(), &self.slide)?;
            let parts = (0..own[0]).step_by(part).map(|start| {
                let count = part.min(own[0] - start);
                let columns = product(&rows(&dy.narrow(0, start, count)?)?, &weight, self.tf32)?;
                fold(&columns, &self.slide, &[count, own[1], own[2], own[3]])
            });
            joined(parts.collect::<Result<Vec<_>>>()?, 0)
        };
        let parts = self.split(dy, 3)?.into_iter().zip(self.split(filter, 0)?);
        joined(parts.map(group).collect::<Result<Vec<_>>>()?, 3)
    }

    /// The gradient with respect to filters of the shape `dims`, from the maps and that of the
    /// output; of the maps' type.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device has no room.
    pub fn filter(&self, x: &Tensor, dy: &Tensor, dims: &[usize]) -> Result<Tensor> {
        if self.is_pointwise() {
            return product(&rows(dy)?.t()?, &rows(x)?, self.tf32)?.reshape(dims);
        }
        #[cfg(feature = "cudnn")]
        if x.device().is_cuda() {
            let (padded, even, padding) = self.evenly(x)?;
            let op = crate::cuda::cudnn::ConvFilter { conv: self.conv(even, padding), dims };
            match padded.apply_op2_no_bwd(dy, &op) {
                Err(error) if crate::not_supported(&error) => {}
                dw => return dw,
            }
        }
        let group = |(x, dy): (Tensor, Tensor)| {
            let (n, part) = (x.dim(0)?, pictures_at_a_time(x.dims(), x.dtype(), &self.slide)?);
            let mut sum: Option<Tensor> = None;
            for start in (0..n).step_by(part) {
                let count = part.min(n - start);
                let columns = unfold(&x.narrow(0, start, count)?, &self.slide)?;
                let dy = rows(&dy.narrow(0, start, count)?)?;
                let own = product(&dy.t()?, &columns, self.tf32)?;
                sum = Some(match sum {
                    Some(sum) => (sum + own)?,
                    None => own,
                });
            }
            match sum {
                Some(sum) => Ok(sum),
                None => bail!("no pictures, no gradient"),
            }
        };
        let parts = self.split(x, 3)?.into_iter().zip(self.split(dy, 3)?);
        joined(parts.map(group).collect::<Result<Vec<_>>>()?, 0)?.reshape(dims)
    }

    /// Whether each pixel is a row of a matrix product.
    fn is_pointwise(&self) -> bool {
        let Slide { kernel, stride, padding, .. } = self.slide;
        kernel == 1 && stride == 1 && self.groups == 1 && padding.amounts(1, 1, 1, 1) == (0, 0)
    }

    fn split(&self, x: &Tensor, axis: usize) -> Result<Vec<Tensor>> {
        if self.groups == 1 {
            return Ok(vec![x.clone()]);
        }
        let size = x.dim(axis)?;
        if !size.is_multiple_of(self.groups) {
            bail!("{size} channels cannot be divided by {} groups", self.groups)
        }
        let size = size / self.groups;
        (0..self.groups).map(|g| x.narrow(axis, g * size, size)?.contiguous()).collect()
    }
}

#[cfg(feature = "cudnn")]
impl Dense {
    fn conv(&self, slide: Slide, padding: usize) -> crate::cuda::cudnn::Conv {
        crate::cuda::cudnn::Conv { slide, padding, groups: self.groups, tf32: self.tf32 }
    }

    /// A slide whose padding is the same on all sides, that padding, where the maps begin among
    /// those that are padded before, and the shape of these.
    fn even(&self, dims: &[usize]) -> Result<(Slide, usize, [usize; 2], [usize; 4])> {
        let &[n, height, width, channels] = dims else { bail!("maps are [n, h, w, c]") };
        let Slide { kernel, stride, dilation, padding, .. } = self.slide;
        let amounts = |size| padding.amounts(size, kernel, stride, dilation);
        let ((top, bottom), (left, right)) = (amounts(height), amounts(width));
        if top == bottom && left == right && top == left {
            let even = Slide { padding: Padding::Symmetric(top), ..self.slide };
            return Ok((even, top, [0; 2], [n, height, width, channels]));
        }
        let even = Slide { padding: Padding::Symmetric(0), ..self.slide };
        let padded = [n, height + top + bottom, width + left + right, channels];
        Ok((even, 0, [top, left], padded))
    }

    /// The maps with the zeros that cuDNN cannot add.
    fn evenly(&self, x: &Tensor) -> Result<(Tensor, Slide, usize)> {
        let (even, padding, [top, left], [_, height, width, _]) = self.even(x.dims())?;
        if [height, width] == x.dims()[1..3] {
            return Ok((x.clone(), even, padding));
        }
        let x = x.pad_with_zeros(1, top, height - top - x.dim(1)?)?;
        let x = x.pad_with_zeros(2, left, width - left - x.dim(2)?)?;
        Ok((x.contiguous()?, even, padding))
    }
}

/// `[…, c]` as `[rows, c]`.
fn rows(x: &Tensor) -> Result<Tensor> {
    x.reshape(((), x.dim(candle_core::D::Minus1)?))
}

/// Rows in the shape of maps with so many channels.
fn reshaped(rows: &Tensor, like: &Tensor, channels: usize) -> Result<Tensor> {
    let mut shape = like.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = channels;
    }
    rows.reshape(shape)
}

fn joined(mut parts: Vec<Tensor>, axis: usize) -> Result<Tensor> {
    match parts.len() {
        1 => Ok(parts.remove(0)),
        _ => Tensor::cat(&parts, axis)?.contiguous(),
    }
}
