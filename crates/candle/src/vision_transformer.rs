//! The vision transformer of timm over candle. candle-transformers has one too, with the approximate GELU, another ε and positions of
//! nearest neighbours: its features differ from timm's in the third digit.

use candle_core::{D, DType, Device, Result, Tensor};
use taper_graph::VisionTransformer;

const EPS: f64 = 1e-6;

/// `x`: `[n, 3, height, width]`; `tensors` in the order of [`VisionTransformer::tensors`]. Gives `[n, width]`.
/// The linear layers compute in the type of their weights, everything else in f32. In an evaluation, layer norms and softmax go through candle's own kernels, which are faster and know no gradients.
pub(crate) fn forward(
    x: &Tensor,
    config: &VisionTransformer,
    tensors: &[Tensor],
    evaluating: bool,
) -> Result<Tensor> {
    let layer_norm = |x: &Tensor, scale: &Tensor, bias: &Tensor| match evaluating {
        true => candle_nn::ops::layer_norm(&x.contiguous()?, scale, bias, EPS as f32),
        false => layer_norm(x, scale, bias),
    };
    let mut tensors = tensors.iter();
    let mut next =
        || tensors.next().ok_or_else(|| candle_core::Error::Msg("a tensor is missing".into()));
    let (class, positions) = (next()?, next()?);
    let (n, _, height, width) = x.dims4()?;
    let grid = config.grid(height, width);
    let x = x.pad_with_zeros(2, 0, grid[0] * config.patch - height)?.pad_with_zeros(
        3,
        0,
        grid[1] * config.patch - width,
    )?;
    let positions = positions_for(positions, config, grid)?;
    let patches = x.conv2d(next()?, 0, config.patch, 1, 1)?;
    let patches = patches.flatten_from(2)?.transpose(1, 2)?.broadcast_add(next()?)?;
    let class = class.expand((n, 1, config.width))?;
    let mut x = Tensor::cat(&[&class, &patches.contiguous()?], 1)?.broadcast_add(&positions)?;
    for _ in 0..config.depth {
        let y = layer_norm(&x, next()?, next()?)?;
        let y = attention(&linear(&y, next()?, next()?)?, config, evaluating)?;
        let mut y = linear(&y, next()?, next()?)?;
        if config.layer_scale {
            y = y.broadcast_mul(next()?)?;
        }
        x = (x + y)?;
        let y = layer_norm(&x, next()?, next()?)?;
        let y = linear(&y, next()?, next()?)?.gelu_erf()?;
        let mut y = linear(&y, next()?, next()?)?;
        if config.layer_scale {
            y = y.broadcast_mul(next()?)?;
        }
        x = (x + y)?;
    }
    let token = x.narrow(1, 0, 1)?.squeeze(1)?;
    layer_norm(&token, next()?, next()?)
}

/// The learned positions on another grid: bicubic and antialiased, as `timm/layers/pos_embed.py` resamples them; the class token
/// keeps its own.
fn positions_for(
    positions: &Tensor,
    config: &VisionTransformer,
    grid: [usize; 2],
) -> Result<Tensor> {
    let side = config.image / config.patch;
    if grid == [side, side] {
        return Ok(positions.clone());
    }
    let (class, learned) = (positions.narrow(1, 0, 1)?, positions.narrow(1, 1, side * side)?);
    let [rows, columns] = grid;
    let width = config.width;
    let device = positions.device();
    // [rows, side] · [side, side · width], then the same for the columns.
    let learned = bicubic(side, rows, device)?.matmul(&learned.reshape((side, side * width))?)?;
    let learned = learned.reshape((rows, side, width))?.transpose(0, 1)?.contiguous()?;
    let learned =
        bicubic(side, columns, device)?.matmul(&learned.reshape((side, rows * width))?)?;
    let learned = learned.reshape((columns, rows, width))?.transpose(0, 1)?.contiguous()?;
    Tensor::cat(&[class, learned.reshape((1, rows * columns, width))?], 1)
}

/// The matrix `[out, in]` that resamples a line: torch's antialiased bicubic filter (a = −0.5, as Pillow's), centres of pixels
/// matched, in `aten/src/ATen/native/cpu/UpSampleKernel.cpp`.
fn bicubic(from: usize, to: usize, device: &Device) -> Result<Tensor> {
    let filter = |x: f64| match x.abs() {
        x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        _ => 0.0,
    };
    let scale = from as f64 / to as f64;
    let spread = scale.max(1.0);
    let mut matrix = Vec::with_capacity(from * to);
    for i in 0..to {
        let centre = scale * (i as f64 + 0.5);
        let first = (centre - 2.0 * spread + 0.5).max(0.0) as usize;
        let last = ((centre + 2.0 * spread + 0.5) as usize).min(from);
        let weight = |j: usize| match (first..last).contains(&j) {
            true => filter((j as f64 - centre + 0.5) / spread),
            false => 0.0,
        };
        let sum: f64 = (0..from).map(weight).sum();
        matrix.extend((0..from).map(|j| (weight(j) / sum) as f32));
    }
    Tensor::from_vec(matrix, (to, from), device)
}

/// `x`: `[…, in]`, f32; `weight`: `[out, in]`, in whose type the product is computed; the bias is added in f32.
fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let width = shape.pop().unwrap_or(1);
    let rows: usize = shape.iter().product();
    shape.push(weight.dim(0)?);
    let x = x.reshape((rows, width))?.to_dtype(weight.dtype())?;
    x.matmul(&weight.t()?)?.to_dtype(DType::F32)?.broadcast_add(bias)?.reshape(shape)
}

/// Over the last dimension.
fn layer_norm(x: &Tensor, scale: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + EPS)?.sqrt()?;
    centred.broadcast_div(&deviation)?.broadcast_mul(scale)?.broadcast_add(bias)
}

/// `qkv`: `[n, tokens, 3 · width]`. Gives `[n, tokens, width]`.
fn attention(qkv: &Tensor, config: &VisionTransformer, evaluating: bool) -> Result<Tensor> {
    let (n, tokens, _) = qkv.dims3()?;
    let size = config.width / config.heads;
    let qkv = qkv.reshape((n, tokens, 3, config.heads, size))?.permute((2, 0, 3, 1, 4))?;
    let part = |i: usize| qkv.get(i)?.contiguous();
    let query = (part(0)? * (1.0 / (size as f64).sqrt()))?;
    let scores = query.matmul(&part(1)?.transpose(2, 3)?.contiguous()?)?;
    let weights = if evaluating {
        candle_nn::ops::softmax_last_dim(&scores)?
    } else {
        let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?
    };
    let mixed = weights.matmul(&part(2)?)?;
    mixed.transpose(1, 2)?.contiguous()?.reshape((n, tokens, config.width))
}

#[cfg(test)]
mod tests {
    use taper_graph::{GraphBuilder, Op, Weights};

    use super::*;
    use crate::{FrozenType, Network, Pass, test_device};

    #[test]
    fn evaluations_in_a_lower_type_are_near_and_trainings_stay_exact() {
        let config = VisionTransformer {
            image: 32,
            patch: 8,
            width: 64,
            depth: 3,
            heads: 2,
            layer_scale: true,
        };
        let (mut g, input) = GraphBuilder::pictures("transformer", 3);
        let output = g.layer("transformer", Op::VisionTransformer(config), &[input]);
        let graph = g.finish(output);
        let weights = Weights::seeded(&graph);
        let device = test_device();
        let values: Vec<f32> = (0..2 * 3 * 32 * 40).map(|i| (i as f32 * 0.37).sin()).collect();
        let x = Tensor::from_vec(values, (2, 3, 32, 40), &device).unwrap();
        let flat = |y: Tensor| y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let network = Network::loaded(&graph, &weights, &device).unwrap();
        let exact = flat(network.forward(&x, Pass::Evaluation).unwrap());
        let largest = exact.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (dtype, bound) in [
            (FrozenType::F32, 0.0),
            (FrozenType::Tf32, 4e-3),
            (FrozenType::F16, 4e-3),
            (FrozenType::Bf16, 2e-2),
        ] {
            let lowered = network.clone().lowered(dtype).unwrap();
            let near = flat(lowered.forward(&x, Pass::Evaluation).unwrap());
            let apart = exact.iter().zip(&near).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(apart <= bound * largest, "{dtype:?}: {}", apart / largest);
            assert!(dtype == FrozenType::F32 || apart > 0.0 || dtype == FrozenType::Tf32);
            let key = taper_core::random::Key::new(1, taper_core::random::Purpose::new("vit"));
            let pass = Pass::Training { dropout: key, step: 0 };
            let trained = [&lowered, &network].map(|n| flat(n.forward(&x, pass).unwrap()));
            assert_eq!(trained[0], trained[1], "{dtype:?}");
        }
    }
}
