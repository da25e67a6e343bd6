//! One layer, forward and backward. Maps are `[n, height, width, channels]`, tokens `[n, count,
//! width]`, vectors `[n, width]`, f32.

use std::ops::Range;

use candle_core::{D, DType, Tensor};
use taper_candle_ops::{self as ops, Dense, Slide, product};
use taper_core::Precision;
use taper_grad::BatchNormMode;
use taper_graph::{
    Activation, BatchNorm, Conv2d, Cosine, Dropout, LayerNorm, Linear, MaxPool, Op, UnitLength,
};

use super::{
    directions::{self, Cosines},
    tokens,
};
use crate::{Error, NamedParameter, Pass, Result, layers};

/// A layer of a network in training.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) op: Op,
    /// The values that it reads: 0 is the cut's, i + 1 that of layer i.
    pub(super) inputs: Vec<usize>,
    /// Its tensors among the parameters.
    pub(super) own: Range<usize>,
    /// Whether it has tensors that are trained.
    pub(super) trains: bool,
    /// What it does if it is a BatchNorm.
    pub(super) batch_norm: BatchNormMode,
    /// Whether the gradient of its value is needed.
    pub(super) wanted: bool,
    /// Whether the backward pass reads its value.
    pub(super) is_kept: bool,
}

/// What a layer keeps for its backward pass besides its input and output.
#[derive(Debug, Default)]
pub(super) enum Kept {
    #[default]
    Nothing,
    /// A filter as it was used.
    Filter(Tensor),
    /// The mean and 1 / √(variance + ε) that were used, f32 `[c]`.
    Statistics([Tensor; 2]),
    Mask(Tensor),
    /// The shape of the input.
    Shape(Vec<usize>, DType),
    /// The directions of vectors, and 1 over their lengths.
    Directions((Tensor, Tensor)),
    Cosines(Box<Cosines>),
}

/// What the backward pass of a layer is given.
pub(super) struct Backward<'a> {
    pub(super) inputs: &'a [Option<Tensor>],
    pub(super) output: Option<&'a Tensor>,
    pub(super) kept: Kept,
    /// Which inputs' gradients are needed.
    pub(super) wanted: &'a [bool],
    pub(super) precision: Precision,
}

/// Gradients of the inputs, and of the layer's tensors by their number.
type Slopes = (Vec<Option<Tensor>>, Vec<(usize, Tensor)>);

fn missing() -> Error {
    Error::Candle(candle_core::Error::Msg("what its backward pass needs was not kept".into()))
}

fn slide(conv: &Conv2d) -> Slide {
    let Conv2d { kernel, stride, dilation, padding, .. } = *conv;
    Slide { kernel, stride, dilation, padding, activation: None }
}

fn window(pool: &MaxPool) -> Slide {
    let MaxPool { kernel, stride, padding } = *pool;
    Slide { kernel, stride, dilation: 1, padding, activation: None }
}

fn is_depthwise(conv: &Conv2d) -> bool {
    conv.groups > 1 && conv.groups == conv.in_channels && conv.out_channels == conv.in_channels
}

fn dense(conv: &Conv2d, precision: Precision) -> Dense {
    let tf32 = precision == Precision::Tf32;
    Dense { slide: slide(conv), groups: conv.groups, tf32 }
}

/// A tensor of a layer, without history.
fn tensor(own: &[NamedParameter], index: usize) -> Tensor {
    own[index].var.as_tensor().detach()
}

/// Whether f32 may be rounded to TF32: not for vectors.
fn tf32(x: &Tensor, precision: Precision) -> bool {
    precision == Precision::Tf32 && x.rank() > 2
}

/// `[…, c]` as `[rows, c]`.
fn rows(x: &Tensor) -> Result<Tensor> {
    Ok(x.reshape(((), x.dim(D::Minus1)?))?)
}

impl Layer {
    /// Whether its backward pass reads its inputs.
    pub(super) fn op_keeps_input(&self) -> bool {
        match self.op {
            Op::Conv2d(_)
            | Op::Linear(_)
            | Op::BatchNorm(_)
            | Op::MaxPool(_)
            | Op::LayerNorm(_)
            | Op::LayerScale(_)
            | Op::SqueezeExcite(_)
            | Op::Attention(_)
            | Op::AttentionPool(_)
            | Op::Activation(Activation::Gelu | Activation::QuickGelu | Activation::GeluTanh) => {
                true
            }
            Op::Activation(Activation::Relu | Activation::Relu6)
            | Op::GlobalAvgPool
            | Op::Add
            | Op::Dropout(_)
            | Op::PatchTokens(_)
            | Op::ClassToken
            | Op::UnitLength(_)
            | Op::Cosine(_)
            | Op::Input(_)
            | Op::Features(_) => false,
        }
    }

    /// Whether its backward pass reads what it gave.
    pub(super) fn op_keeps_output(&self) -> bool {
        matches!(self.op, Op::Activation(Activation::Relu | Activation::Relu6))
    }

    pub(super) fn forward(
        &self,
        inputs: &[Tensor],
        own: &[NamedParameter],
        pass: Pass,
        precision: Precision,
    ) -> Result<(Tensor, Kept)> {
        let x = &inputs[0];
        let with_shape = |y: Tensor| (y, Kept::Shape(x.dims().to_vec(), x.dtype()));
        Ok(match self.op {
            Op::Conv2d(conv) => {
                let bias = conv.bias.then(|| tensor(own, 1));
                convolution(x, &tensor(own, 0), bias, &conv, precision)?
            }
            Op::Linear(Linear { bias, .. }) => {
                let weight = tensor(own, 0).to_dtype(x.dtype())?;
                let y = product(&rows(x)?, &weight.t()?, tf32(x, precision))?;
                if bias {
                    ops::finish(&y, &tensor(own, 1), None, None)?;
                }
                let mut shape = x.dims().to_vec();
                if let Some(width) = shape.last_mut() {
                    *width = weight.dim(0)?;
                }
                (y.reshape(shape)?, Kept::Filter(weight))
            }
            Op::BatchNorm(norm) => self.normalised(x, own, norm, pass)?,
            Op::Activation(activation) => (ops::activate(x, activation)?, Kept::Nothing),
            Op::MaxPool(pool) => (ops::max_pool(x, &window(&pool))?, Kept::Nothing),
            Op::GlobalAvgPool => with_shape(ops::global_average(x)?),
            Op::Add => ((x + &inputs[1])?, Kept::Nothing),
            Op::LayerNorm(LayerNorm { eps, .. }) => {
                let (scale, bias) = (tensor(own, 0), tensor(own, 1));
                (ops::layer_norm(x, &scale, &bias, eps as f32)?, Kept::Nothing)
            }
            Op::LayerScale(_) => (ops::combine((x, &tensor(own, 0)), None, None)?, Kept::Nothing),
            Op::Dropout(Dropout { p }) => match pass {
                Pass::Evaluation => (x.clone(), Kept::Nothing),
                Pass::Training { dropout, step } => {
                    let key = dropout.part(&self.name);
                    let mask = ops::dropout_mask(x.dims(), p, key, step, x.device())?;
                    ((x * &mask)?, Kept::Mask(mask))
                }
            },
            Op::PatchTokens(patches) => {
                let learned = usize::from(patches.prefix > 0);
                let class = (learned > 0).then(|| tensor(own, 0));
                let positions = tensor(own, learned);
                with_shape(tokens::patches(x, class.as_ref(), &positions, &patches)?)
            }
            Op::Attention(attention) => {
                (tokens::attention(x, &attention, precision)?, Kept::Nothing)
            }
            Op::SqueezeExcite(_) => {
                let tensors = [0, 1, 2, 3].map(|index| tensor(own, index));
                (tokens::squeeze_excite(x, &tensors)?, Kept::Nothing)
            }
            Op::AttentionPool(pool) => {
                (tokens::attention_pool(x, &pool, precision)?, Kept::Nothing)
            }
            Op::ClassToken => {
                let token = x.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
                with_shape(token.to_dtype(DType::F32)?)
            }
            Op::UnitLength(UnitLength { scale }) => {
                let found = layers::directions(x)?;
                ((&found.0 * f64::from(scale))?, Kept::Directions(found))
            }
            Op::Cosine(Cosine { scale, .. }) => {
                let (y, kept) = directions::cosines(x, &tensor(own, 0), &tensor(own, 1), scale)?;
                (y, Kept::Cosines(Box::new(kept)))
            }
            Op::Input(_) | Op::Features(_) => (x.clone(), Kept::Nothing),
        })
    }

    /// BatchNorm; in training with the statistics of the batch, unless they are frozen.
    fn normalised(
        &self,
        x: &Tensor,
        own: &[NamedParameter],
        BatchNorm { eps, momentum, unbiased, .. }: BatchNorm,
        pass: Pass,
    ) -> Result<(Tensor, Kept)> {
        let of_batch =
            matches!(pass, Pass::Training { .. }) && self.batch_norm == BatchNormMode::Trained;
        let (mean, variance) = if of_batch {
            let count = x.elem_count() / x.dim(D::Minus1)?.max(1);
            if count < 2 {
                return Err(Error::Layer {
                    network: String::new(),
                    layer: String::new(),
                    problem: "BatchNorm cannot be trained on one value of each channel: use \
                              larger batches, or freeze its statistics"
                        .into(),
                });
            }
            let share = 1.0 / count as f64;
            let mean = (ops::column_sums(x)? * share)?;
            let [_, squares] = ops::column_products((x, Some(&mean)), (x, Some(&mean)))?;
            let variance = (squares * share)?;
            let correction = if unbiased { count as f64 / (count - 1) as f64 } else { 1.0 };
            let news = [(2, &mean, 1.0), (3, &variance, correction)];
            for (index, of_batch, correction) in news {
                let old = (tensor(own, index) * (1.0 - momentum))?;
                own[index].var.set(&(old + (of_batch * (momentum * correction))?)?)?;
            }
            (mean, variance)
        } else {
            (tensor(own, 2), tensor(own, 3))
        };
        let inverse = (variance + eps)?.sqrt()?.recip()?;
        let factor = (&tensor(own, 0) * &inverse)?;
        let shift = (tensor(own, 1) - (&mean * &factor)?)?;
        let y = ops::combine((x, &factor), None, Some(&shift))?;
        Ok((y, Kept::Statistics([mean, inverse])))
    }

    pub(super) fn backward(
        &self,
        dy: &Tensor,
        own: &[NamedParameter],
        given: Backward<'_>,
    ) -> Result<Slopes> {
        let Backward { inputs, output, kept, wanted, precision } = given;
        let input = || inputs[0].as_ref().ok_or_else(missing);
        let trained = |index: usize| own[index].trained;
        let one = |dx: Tensor| (vec![Some(dx)], Vec::new());
        Ok(match (self.op, kept) {
            (Op::Conv2d(conv), Kept::Filter(filter)) => {
                let (dx, dw) = convolution_gradient(
                    (input()?, dy),
                    &filter,
                    (&conv, precision),
                    (wanted[0], trained(0)),
                )?;
                (vec![dx], with_bias(dw, dy, conv.bias && trained(1))?)
            }
            (Op::Linear(Linear { bias, .. }), Kept::Filter(weight)) => {
                let (x, slopes, tf32) = (input()?, rows(dy)?, tf32(dy, precision));
                let dx = || Ok::<_, Error>(product(&slopes, &weight, tf32)?.reshape(x.dims())?);
                let dx = wanted[0].then(dx).transpose()?;
                let dw = || Ok::<_, Error>(product(&slopes.t()?, &rows(x)?, tf32)?);
                let dw = trained(0).then(dw).transpose()?;
                (vec![dx], with_bias(dw, dy, bias && trained(1))?)
            }
            (Op::BatchNorm(_), Kept::Statistics([mean, inverse])) => {
                self.norm_gradient((input()?, dy), own, (&mean, &inverse), wanted[0])?
            }
            (Op::Activation(activation), _) => {
                let kept = match activation {
                    Activation::Gelu | Activation::QuickGelu | Activation::GeluTanh => input()?,
                    Activation::Relu | Activation::Relu6 => output.ok_or_else(missing)?,
                };
                one(ops::activation_gradient(kept, dy, activation)?)
            }
            (Op::MaxPool(pool), _) => one(ops::max_pool_gradient(input()?, dy, &window(&pool))?),
            (Op::GlobalAvgPool, Kept::Shape(dims, dtype)) => {
                let pixels = (dims[1] * dims[2]) as f64;
                let own = (dy * (1.0 / pixels))?.to_dtype(dtype)?;
                let own = own.reshape((dims[0], 1, 1, dims[3]))?;
                one(own.broadcast_as(dims)?.contiguous()?)
            }
            (Op::Add, _) => (vec![Some(dy.clone()); 2], Vec::new()),
            (Op::LayerNorm(LayerNorm { eps, .. }), _) => {
                let scale = tensor(own, 0);
                let (dx, news) = ops::layer_norm_gradient(input()?, dy, &scale, eps as f32)?;
                let news = news.into_iter().enumerate().filter(|(index, _)| trained(*index));
                (vec![Some(dx)], news.collect())
            }
            (Op::LayerScale(_), _) => {
                let dx = ops::combine((dy, &tensor(own, 0)), None, None)?;
                let [_, scale] = ops::column_products((dy, None), (input()?, None))?;
                let news = trained(0).then_some((0, scale)).into_iter().collect();
                (vec![Some(dx)], news)
            }
            (Op::Dropout(_), Kept::Mask(mask)) => one((dy * mask)?),
            (Op::PatchTokens(patches), Kept::Shape(dims, _)) => {
                let (dx, news) = tokens::patches_gradient(dy, &dims, &patches)?;
                let news = news.into_iter().enumerate().filter(|(index, _)| trained(*index));
                (vec![Some(dx)], news.collect())
            }
            (Op::Attention(attention), _) => {
                one(tokens::attention_gradient(input()?, dy, &attention, precision)?)
            }
            (Op::SqueezeExcite(_), _) => {
                let tensors = [0, 1, 2, 3].map(|index| tensor(own, index));
                let (dx, news) = tokens::squeeze_excite_gradient(input()?, dy, &tensors)?;
                let news = news.into_iter().enumerate().filter(|(index, _)| trained(*index));
                (vec![Some(dx)], news.collect())
            }
            (Op::AttentionPool(pool), _) => {
                one(tokens::attention_pool_gradient(input()?, dy, &pool, precision)?)
            }
            (Op::ClassToken, Kept::Shape(dims, dtype)) => {
                let first = dy.to_dtype(dtype)?.unsqueeze(1)?;
                let rest = Tensor::zeros((dims[0], dims[1] - 1, dims[2]), dtype, dy.device())?;
                one(Tensor::cat(&[first, rest], 1)?.contiguous()?)
            }
            (Op::UnitLength(UnitLength { scale }), Kept::Directions(found)) => {
                one(directions::gradient(&(dy * f64::from(scale))?, &found)?)
            }
            (Op::Cosine(_), Kept::Cosines(kept)) => {
                let (dx, news) = kept.gradients(dy)?;
                let news = news.into_iter().enumerate().filter(|(index, _)| trained(*index));
                (vec![Some(dx)], news.collect())
            }
            _ => return Err(missing()),
        })
    }

    /// With x̂ = (x − mean) · inverse: the tensors' gradients are Σ dy·x̂ and Σ dy; the maps' is
    /// factor · dy, with a batch's own statistics minus its means over that batch.
    fn norm_gradient(
        &self,
        (x, dy): (&Tensor, &Tensor),
        own: &[NamedParameter],
        (mean, inverse): (&Tensor, &Tensor),
        wanted: bool,
    ) -> Result<Slopes> {
        let factor = (&tensor(own, 0) * inverse)?;
        let of_batch = self.batch_norm == BatchNormMode::Trained;
        let [bias, products] = match of_batch || own[0].trained || own[1].trained {
            true => ops::column_products((dy, None), (x, Some(mean)))?,
            false => [mean.clone(), mean.clone()],
        };
        let dx = match (wanted, of_batch) {
            (false, _) => None,
            (true, false) => Some(ops::combine((dy, &factor), None, None)?),
            (true, true) => {
                let share = 1.0 / (x.elem_count() / x.dim(D::Minus1)?.max(1)) as f64;
                // −factor · inverse² · mean(dy · (x − mean))
                let slope = ((&factor * inverse.sqr()?)? * (&products * -share)?)?;
                let shift = ((&factor * &bias)? * share)?;
                let shift = ((shift + (&slope * mean)?)? * -1.0)?;
                Some(ops::combine((dy, &factor), Some((x, &slope)), Some(&shift))?)
            }
        };
        let scale = (products * inverse)?;
        let news = [scale, bias].into_iter().enumerate().filter(|(index, _)| own[*index].trained);
        Ok((vec![dx], news.collect()))
    }
}

/// The gradients of a weight, in f32, and of the bias beside it.
fn with_bias(weight: Option<Tensor>, dy: &Tensor, bias: bool) -> Result<Vec<(usize, Tensor)>> {
    let mut all = Vec::new();
    if let Some(weight) = weight {
        all.push((0, weight.to_dtype(DType::F32)?));
    }
    if bias {
        all.push((1, ops::column_sums(dy)?));
    }
    Ok(all)
}

/// Torch's filter as the operations take it: `[out, k, k, in]` of the maps' type, or of a depthwise
/// convolution f32 `[k · k, c]`.
fn filter(weight: &Tensor, conv: &Conv2d, dtype: DType) -> Result<Tensor> {
    if is_depthwise(conv) {
        let weight = weight.reshape((conv.out_channels, conv.kernel * conv.kernel))?;
        return Ok(weight.t()?.contiguous()?);
    }
    let weight = weight.to_dtype(dtype)?;
    Ok(weight.permute((0, 2, 3, 1))?.contiguous()?)
}

fn convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<Tensor>,
    conv: &Conv2d,
    precision: Precision,
) -> Result<(Tensor, Kept)> {
    let filter = filter(weight, conv, x.dtype())?;
    let y = if is_depthwise(conv) {
        let bias = match bias {
            Some(bias) => bias,
            None => Tensor::zeros(conv.out_channels, DType::F32, x.device())?,
        };
        ops::depthwise(x, &filter, &bias, &slide(conv))?
    } else {
        let y = dense(conv, precision).forward(x, &filter)?;
        if let Some(bias) = bias {
            ops::finish(&y, &bias, None, None)?;
        }
        y
    };
    Ok((y, Kept::Filter(filter)))
}

/// The gradients of the maps and of the filter, in torch's layout, where they are wanted.
fn convolution_gradient(
    (x, dy): (&Tensor, &Tensor),
    filter: &Tensor,
    (conv, precision): (&Conv2d, Precision),
    (wanted, trained): (bool, bool),
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let (slide, dense) = (slide(conv), dense(conv, precision));
    let dx = || match is_depthwise(conv) {
        true => ops::depthwise_data(dy, filter, &slide, [x.dim(1)?, x.dim(2)?]),
        false => dense.data(dy, filter, x.dims()),
    };
    let dw = || match is_depthwise(conv) {
        true => {
            let sides = (conv.out_channels, 1, conv.kernel, conv.kernel);
            ops::depthwise_weights(x, dy, &slide)?.t()?.contiguous()?.reshape(sides)
        }
        false => dense.filter(x, dy, filter.dims())?.permute((0, 3, 1, 2))?.contiguous(),
    };
    Ok((wanted.then(dx).transpose()?, trained.then(dw).transpose()?))
}
