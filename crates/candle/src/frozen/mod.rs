//! A frozen network on any candle device: BatchNorm folded away, channels last, pixels in and
//! features out.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use candle_core::{D, DType, Device, Tensor};
use taper_core::{Precision, Preprocessing};
use taper_graph::{
    Attention, AttentionPool, Conv2d, FusedLayer, FusedOp, Graph, NodeId, Op, Padding, Shape,
    THIN_CHANNELS, WeightSource,
};

use taper_candle_ops::{self as ops, Slide, UNFOLDED_BYTES, product, unfolded};

use crate::{Error, Result, device::free_memory, layers};

/// The type of maps and weights of a [`FrozenNetwork`]. Sums, biases, depthwise filters, scales of
/// norms, means and everything after the last mean are always f32; in bf16, so are the first, thin
/// maps, and filters between thin maps. TF32 rounds only on the way into tensor cores.
pub(crate) fn stored_as(precision: Precision) -> DType {
    match precision {
        Precision::F32 | Precision::Tf32 => DType::F32,
        Precision::F16 => DType::F16,
        Precision::Bf16 => DType::BF16,
    }
}

/// A network for inference only: compiled for a candle device, with BatchNorm folded into the
/// convolutions, and bias, residual and activation in one pass after each.
///
/// Pointwise convolutions are matrix products. Dense ones go through cuDNN with the feature `cudnn`
/// (except those whose padding is not the same on all sides), otherwise through im2col and a matrix
/// product. Depthwise convolutions, pooling and the rest are Taper's own kernels on CUDA and plain
/// Rust on the CPU, where this form is a reference: the CPU's fast form is
/// `taper_plan::FrozenPlan`.
///
/// No sum depends on the order in which threads arrive, and no algorithm is chosen by timing: on
/// one GPU the same batch gives the same bytes.
#[derive(Debug)]
pub struct FrozenNetwork {
    steps: Vec<Step>,
    graph: Graph,
    input: Normalisation,
    width: usize,
    device: Device,
    dtype: Precision,
}

#[derive(Debug)]
struct Normalisation {
    affine: ([f32; 3], [f32; 3]),
    size: usize,
    channels: usize,
    dtype: DType,
}

#[derive(Debug)]
struct Step {
    layer: FusedLayer,
    kernel: Kernel,
    /// Of the maps that it reads and writes.
    dtype: DType,
}

#[derive(Debug)]
enum Kernel {
    /// A matrix product over each pixel, or over the rows of a window's matrix.
    Product {
        /// `[k · k · in, out]`
        weight: Tensor,
        bias: Tensor,
        /// None if the pixels are the rows as they are.
        unfold: Option<Slide>,
    },
    #[cfg(feature = "cudnn")]
    Cudnn {
        /// `[out, k, k, in / groups]`
        weight: Tensor,
        bias: Tensor,
        slide: Slide,
        padding: usize,
        groups: usize,
    },
    /// A pointwise convolution that reads or writes thin maps.
    Pointwise {
        /// f32 `[in, out]`
        weight: Tensor,
        bias: Tensor,
    },
    Depthwise {
        /// f32 `[k · k, channels]`
        weight: Tensor,
        bias: Tensor,
        slide: Slide,
    },
    MaxPool(Slide),
    LayerNorm {
        /// f32 `[channels]`
        scale: Tensor,
        bias: Tensor,
        eps: f64,
    },
    GlobalAverage,
    PatchTokens {
        /// f32 `[1, prefix, width]`: learned tokens with their positions.
        learned: Option<Tensor>,
        /// f32 `[1, patches, width]`
        positions: Tensor,
    },
    SqueezeExcite {
        /// f32: weight and bias of the first layer, then of the second.
        tensors: [Tensor; 4],
        /// Of zeros, for what finishes a layer.
        zeros: Tensor,
    },
    Attention(Attention),
    AttentionPool(AttentionPool),
    ClassToken,
}

impl FrozenNetwork {
    /// Compiles a graph, up to its output, for square pictures of `preprocessing.size`.
    ///
    /// # Errors
    /// [`Error::Layer`] names a layer that cannot be run frozen; [`taper_graph::Error`] if the size
    /// or the weights do not fit; a candle error if the device has no room.
    pub fn compile(
        graph: &Graph,
        weights: &dyn WeightSource,
        preprocessing: &Preprocessing,
        dtype: Precision,
        device: &Device,
    ) -> Result<Self> {
        let size = preprocessing.size as usize;
        let shapes = graph.shapes(size, size)?;
        let layers = taper_graph::fuse(graph, weights)?;
        let types = types(&layers, graph.nodes().len(), dtype);
        // Tensor cores take channels by eights.
        let first = layers.first().map_or(stored_as(dtype), |layer| types[layer.end]);
        let channels = if first == DType::F32 { 3 } else { 8 };
        let shapes = &shapes;
        let compiler = Compiler { graph, weights, shapes, frozen: dtype, types, device, channels };
        let steps: Vec<Step> =
            layers.into_iter().map(|layer| compiler.step(layer)).collect::<Result<_>>()?;
        let width = compiler.shapes[graph.output()].elements();
        let affine = preprocessing.affine();
        let input = Normalisation { affine, size, channels, dtype: first };
        Ok(Self { steps, graph: graph.clone(), input, width, device: device.clone(), dtype })
    }

    /// Output values per picture.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How many pictures should go through together: as many as half of the free memory holds, 256
    /// at most, on CUDA; 16 on the CPU.
    ///
    /// # Errors
    /// If the device does not say how much memory is free.
    pub fn batch(&self) -> Result<usize> {
        if let Some(free) = free_memory(&self.device)? {
            let unfolds =
                |step: &Step| matches!(step.kernel, Kernel::Product { unfold: Some(_), .. });
            let reserved = if self.steps.iter().any(unfolds) { UNFOLDED_BYTES } else { 0 };
            let free = (free / 2).saturating_sub(reserved);
            let fits = (free / self.bytes_per_picture().max(1)).clamp(1, 256);
            // A power of two: tiles of matrix products are.
            return Ok(1 << fits.ilog2());
        }
        Ok(16)
    }

    /// Bytes of maps that one picture needs at the same time, at most.
    fn bytes_per_picture(&self) -> usize {
        let shapes = self.graph.shapes(self.input.size, self.input.size).unwrap_or_default();
        let size = |id: NodeId| shapes.get(id).map_or(0, |shape| shape.elements());
        let most = self.steps.iter().map(|step| {
            let layer = &step.layer;
            let maps = size(layer.input) + size(layer.end) + layer.residual.map_or(0, size);
            maps * stored_as(self.dtype).size_in_bytes()
                + match (&step.kernel, shapes.get(layer.end)) {
                    // Queries, keys, values and output in f32, and two sets of scores.
                    (Kernel::Attention(attention), Some(&Shape::Tokens { count, width })) => {
                        4 * (7 * count * width + 2 * attention.heads * count * count)
                    }
                    _ => 0,
                }
        });
        most.max().unwrap_or(0)
    }

    /// Runs prepared pictures: u8 `[n, size, size, 3]` on its device in, f32 `[n, width]` out; maps
    /// have their channels last, tokens come one after the other. On CUDA it returns as soon as the
    /// work is queued.
    ///
    /// # Errors
    /// If the shape does not fit, or the device has no room for the batch.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let Normalisation { affine, channels, size, dtype } = self.input;
        if pixels.dims().len() != 4 || pixels.dims()[1..] != [size, size, 3] {
            return Err(self.refused(format!("not {:?}", pixels.dims())));
        }
        let mut outputs: Vec<Option<Tensor>> = vec![None; self.graph.nodes().len()];
        let mut last_use = vec![0; outputs.len()];
        for (i, Step { layer, .. }) in self.steps.iter().enumerate() {
            last_use[layer.input] = i;
            layer.residual.iter().for_each(|&r| last_use[r] = i);
        }
        let first = self.steps.first().map_or(0, |step| step.layer.input);
        outputs[first] = Some(ops::normalise(pixels, affine, channels, dtype)?);
        let mut end = first;
        for (i, step) in self.steps.iter().enumerate() {
            let layer = &step.layer;
            let read = |id: NodeId| outputs[id].as_ref().ok_or_else(|| self.uncomputed(layer));
            let y = step.run(read(layer.input)?, layer.residual.map(read).transpose()?, self.dtype);
            let y = y.map_err(|error| match error {
                // Reported as such, so that the caller can make the batch smaller.
                error if out_of_memory(&error) => Error::Candle(error),
                error => Error::Layer {
                    network: self.graph.name().into(),
                    layer: self.graph.nodes()[layer.node].name.clone(),
                    problem: error.to_string(),
                },
            })?;
            // These are not read again: their memory is free for later steps.
            for id in [Some(layer.input), layer.residual].into_iter().flatten() {
                if last_use[id] == i {
                    outputs[id] = None;
                }
            }
            end = layer.end;
            outputs[end] = Some(y);
        }
        match outputs[end].take() {
            Some(y) => Ok(y.to_dtype(DType::F32)?.reshape((y.dim(0)?, self.width))?),
            None => Err(Error::Layer {
                network: self.graph.name().into(),
                layer: "output".into(),
                problem: "was not computed".into(),
            }),
        }
    }

    fn refused(&self, found: String) -> Error {
        let size = self.input.size;
        Error::Layer {
            network: self.graph.name().into(),
            layer: "input".into(),
            problem: format!("it takes [n, {size}, {size}, 3]: {found}"),
        }
    }

    fn uncomputed(&self, layer: &FusedLayer) -> Error {
        Error::Layer {
            network: self.graph.name().into(),
            layer: self.graph.nodes()[layer.node].name.clone(),
            problem: "its input was not computed".into(),
        }
    }
}

/// Whether an error of candle says that the device's memory is used up.
pub(crate) fn out_of_memory(error: &candle_core::Error) -> bool {
    // The driver's, cuBLAS's and cuDNN's ways of saying it; candle keeps the text only.
    let text = error.to_string();
    ["OUT_OF_MEMORY", "out of memory", "ALLOC_FAILED"].iter().any(|sign| text.contains(sign))
}

impl Error {
    /// Whether the device's memory is used up: a smaller batch may fit.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Error::Candle(error) if out_of_memory(error))
    }
}

/// The type of each layer's output, by the layer's number, for maps; everything after the mean is
/// f32.
fn types(layers: &[FusedLayer], nodes: usize, dtype: Precision) -> Vec<DType> {
    let mut types = vec![stored_as(dtype); nodes];
    let pixels = layers.first().map(|layer| layer.input);
    for layer in layers {
        let from_thin = Some(layer.input) == pixels || types[layer.input] == DType::F32;
        if let FusedOp::Conv2d(conv) = layer.op
            && dtype == Precision::Bf16
            && from_thin
            && conv.out_channels <= THIN_CHANNELS
            && layer.residual.is_none()
        {
            types[layer.end] = DType::F32;
        }
    }
    types
}

struct Compiler<'a> {
    graph: &'a Graph,
    weights: &'a dyn WeightSource,
    shapes: &'a [Shape],
    frozen: Precision,
    /// Of each layer's output.
    types: Vec<DType>,
    device: &'a Device,
    /// The number of channels that pixels are padded to.
    channels: usize,
}

impl Compiler<'_> {
    fn unfit(&self, id: NodeId, problem: &str) -> Error {
        let (network, layer) = (self.graph.name().into(), self.graph.nodes()[id].name.clone());
        Error::Layer { network, layer, problem: problem.into() }
    }

    fn tensor(&self, values: Vec<f32>, shape: &[usize], dtype: DType) -> Result<Tensor> {
        // Rounded on the CPU, so that all devices get the same.
        let values = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?;
        Ok(values.to_device(self.device)?)
    }

    fn step(&self, layer: FusedLayer) -> Result<Step> {
        let (weight, bias) = layer.folded(self.graph, self.weights)?;
        let bias = |len: usize| self.tensor(bias, &[len], DType::F32);
        let kernel = match layer.op {
            FusedOp::Conv2d(conv) => {
                let bias = bias(conv.out_channels)?;
                self.convolution(&layer, conv, weight, bias)?
            }
            FusedOp::Linear { in_features, out_features } => {
                let weight = transposed(&weight, out_features, in_features);
                let dtype = match self.shapes[layer.input] {
                    Shape::Map { .. } | Shape::Tokens { .. } => self.types[layer.end],
                    Shape::Vector(_) if layer.residual.is_some() => {
                        let problem = "a residual cannot be added to a linear layer of a vector";
                        return Err(self.unfit(layer.node, problem));
                    }
                    Shape::Vector(_) => DType::F32,
                };
                let weight = self.tensor(weight, &[in_features, out_features], dtype)?;
                Kernel::Product { weight, bias: bias(out_features)?, unfold: None }
            }
            FusedOp::MaxPool(pool) => Kernel::MaxPool(Slide {
                kernel: pool.kernel,
                stride: pool.stride,
                dilation: 1,
                padding: pool.padding,
                activation: None,
            }),
            FusedOp::LayerNorm { channels, eps } => {
                let scale = self.tensor(weight, &[channels], DType::F32)?;
                Kernel::LayerNorm { scale, bias: bias(channels)?, eps }
            }
            FusedOp::GlobalAvgPool => Kernel::GlobalAverage,
            FusedOp::PatchTokens(tokens) => {
                let Shape::Map { height, width, .. } = self.shapes[layer.input] else {
                    return Err(self.unfit(layer.node, "it needs a feature map"));
                };
                let mut table = layer.tokens(self.graph, self.weights, [height, width])?;
                let positions = table.split_off(tokens.prefix * tokens.width);
                let shape = [1, height * width, tokens.width];
                let positions = self.tensor(positions, &shape, DType::F32)?;
                let learned = match tokens.prefix {
                    0 => None,
                    prefix => Some(self.tensor(table, &[1, prefix, tokens.width], DType::F32)?),
                };
                Kernel::PatchTokens { learned, positions }
            }
            FusedOp::SqueezeExcite(own) => {
                let [w1, b1, w2, b2] = layer.squeeze_excite(self.graph, self.weights)?;
                let tensor = |values: Cow<'_, [f32]>, shape: &[usize]| {
                    self.tensor(values.into_owned(), shape, DType::F32)
                };
                let (channels, reduced) = (own.channels, own.reduced);
                let tensors = [
                    tensor(w1, &[reduced, channels])?,
                    tensor(b1, &[reduced])?,
                    tensor(w2, &[channels, reduced])?,
                    tensor(b2, &[channels])?,
                ];
                let zeros = self.tensor(vec![0.0; channels], &[channels], DType::F32)?;
                Kernel::SqueezeExcite { tensors, zeros }
            }
            FusedOp::Attention(attention) => Kernel::Attention(attention),
            FusedOp::AttentionPool(pool) => Kernel::AttentionPool(pool),
            FusedOp::ClassToken => Kernel::ClassToken,
        };
        let needs_map = match layer.op {
            FusedOp::Conv2d(_)
            | FusedOp::MaxPool(_)
            | FusedOp::GlobalAvgPool
            | FusedOp::SqueezeExcite(_)
            | FusedOp::PatchTokens(_) => true,
            FusedOp::Linear { .. }
            | FusedOp::LayerNorm { .. }
            | FusedOp::Attention(_)
            | FusedOp::AttentionPool(_)
            | FusedOp::ClassToken => false,
        };
        if needs_map && !matches!(self.shapes[layer.input], Shape::Map { .. }) {
            return Err(self.unfit(layer.node, "it needs a feature map"));
        }
        let dtype = self.types[layer.end];
        Ok(Step { layer, kernel, dtype })
    }

    fn convolution(
        &self,
        layer: &FusedLayer,
        conv: Conv2d,
        weight: Vec<f32>,
        bias: Tensor,
    ) -> Result<Kernel> {
        let Conv2d { in_channels, out_channels, kernel, stride, padding, dilation, groups, .. } =
            conv;
        let taps = kernel * kernel;
        let mut slide = Slide { kernel, stride, dilation, padding, activation: None };
        if groups > 1 && groups == in_channels && groups == out_channels {
            if layer.residual.is_some() {
                return Err(
                    self.unfit(layer.node, "a residual cannot be added to a depthwise layer")
                );
            }
            slide.activation = layer.activation;
            let weight = transposed(&weight, out_channels, taps);
            let weight = self.tensor(weight, &[taps, out_channels], DType::F32)?;
            return Ok(Kernel::Depthwise { weight, bias, slide });
        }
        // The pixels are padded with zero channels.
        let is_pixels = matches!(self.graph.nodes()[layer.input].op, Op::Input(_));
        let per_group = in_channels / groups;
        let padded = if is_pixels { self.channels } else { per_group };
        // [out, in, k, k] → [out, k, k, in]
        let mut rows = vec![0f32; out_channels * taps * padded];
        for (o, filter) in weight.chunks_exact(per_group * taps).enumerate() {
            for (c, values) in filter.chunks_exact(taps).enumerate() {
                for (tap, &value) in values.iter().enumerate() {
                    rows[(o * taps + tap) * padded + c] = value;
                }
            }
        }
        let dtype = self.types[layer.end];
        #[cfg(feature = "cudnn")]
        if let (Some(padding), true) = (self.even(&conv, layer), self.device.is_cuda())
            && (taps > 1 || groups > 1)
        {
            let shape = [out_channels, kernel, kernel, padded];
            let weight = self.tensor(rows, &shape, dtype)?;
            return Ok(Kernel::Cudnn { weight, bias, slide, padding, groups });
        }
        if groups > 1 {
            let problem =
                "a convolution in groups that is not depthwise runs on CUDA with cuDNN only";
            return Err(self.unfit(layer.node, problem));
        }
        let weight = transposed(&rows, out_channels, taps * padded);
        let pointwise =
            taps == 1 && stride == 1 && matches!(padding, Padding::Same | Padding::Symmetric(0));
        if pointwise
            && self.frozen == Precision::Bf16
            && in_channels.min(out_channels) <= THIN_CHANNELS
        {
            let weight = self.tensor(weight, &[padded, out_channels], DType::F32)?;
            return Ok(Kernel::Pointwise { weight, bias });
        }
        let weight = self.tensor(weight, &[taps * padded, out_channels], dtype)?;
        Ok(Kernel::Product { weight, bias, unfold: (!pointwise).then_some(slide) })
    }

    /// The zeros on each side, if they are the same on all four.
    #[cfg(feature = "cudnn")]
    fn even(&self, conv: &Conv2d, layer: &FusedLayer) -> Option<usize> {
        let Shape::Map { height, width, .. } = self.shapes[layer.input] else { return None };
        let amounts = |n| conv.padding.amounts(n, conv.kernel, conv.stride, conv.dilation);
        let ((top, bottom), (left, right)) = (amounts(height), amounts(width));
        (top == bottom && left == right && top == left).then_some(top)
    }
}

/// `[rows, columns]` → `[columns, rows]`.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
}

impl Step {
    fn run(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        dtype: Precision,
    ) -> candle_core::Result<Tensor> {
        // Thin maps are wider than what follows them.
        let is_vector = x.rank() == 2;
        let x = &if is_vector { x.clone() } else { x.to_dtype(self.dtype)? };
        let residual = residual.map(|residual| residual.to_dtype(self.dtype)).transpose()?;
        let residual = residual.as_ref();
        // Only CUDA makes a difference between f32 and TF32, and only for maps and tokens.
        let tf32 = dtype == Precision::Tf32 && !is_vector;
        match &self.kernel {
            Kernel::Product { weight, bias, unfold } => {
                let y = match unfold {
                    None => {
                        let channels = weight.dims()[0];
                        let rows = x.elem_count() / channels;
                        product(&x.reshape((rows, channels))?, weight, tf32)?
                    }
                    Some(slide) => unfolded(x, weight, slide, tf32)?,
                };
                let mut shape = match unfold {
                    None => x.dims().to_vec(),
                    Some(slide) => ops::slid(x.dims(), slide)?,
                };
                shape.pop();
                shape.push(weight.dims()[1]);
                self.finished(y.reshape(shape)?, bias, residual)
            }
            #[cfg(feature = "cudnn")]
            Kernel::Cudnn { weight, bias, slide, padding, groups } => {
                let how = (*groups, tf32);
                let y = match ops::cudnn_convolution(x, weight, slide, *padding, how) {
                    // Slower, but the same sums; this depends only on the shape, so every run does
                    // it.
                    Err(error) if *groups == 1 && ops::not_supported(&error) => {
                        let rows = weight.flatten_from(1)?.t()?;
                        let mut shape = ops::slid(x.dims(), slide)?;
                        shape[3] = weight.dim(0)?;
                        unfolded(x, &rows, slide, tf32)?.reshape(shape)?
                    }
                    y => y?,
                };
                self.finished(y, bias, residual)
            }
            Kernel::Pointwise { weight, bias } => {
                ops::pointwise(x, weight, bias, residual, self.layer.activation)
            }
            Kernel::Depthwise { weight, bias, slide } => ops::depthwise(x, weight, bias, slide),
            Kernel::MaxPool(slide) => ops::max_pool(x, slide),
            Kernel::LayerNorm { scale, bias, eps } => ops::layer_norm(x, scale, bias, *eps as f32),
            Kernel::GlobalAverage => ops::global_average(x),
            Kernel::PatchTokens { learned, positions } => {
                let (n, _, _, width) = x.dims4()?;
                let patches = x.reshape((n, (), width))?.to_dtype(DType::F32)?;
                let patches = patches.broadcast_add(positions)?;
                let tokens = match learned {
                    None => patches,
                    Some(learned) => {
                        let learned = learned.expand((n, learned.dim(1)?, width))?.contiguous()?;
                        Tensor::cat(&[learned, patches], 1)?
                    }
                };
                tokens.to_dtype(self.dtype)
            }
            Kernel::Attention(attention) => {
                // TF32 represents bf16 and f16 exactly; only the weights after the softmax are
                // rounded.
                let tf32 = dtype != Precision::F32;
                let softmax = candle_nn::ops::softmax_last_dim;
                let product = |a: &Tensor, b: &Tensor| product(a, b, tf32);
                let (first, mut shape) = (x.dim(0)?, x.dims().to_vec());
                // The positions of a map are its tokens.
                let x = x.reshape((first, (), x.dim(D::Minus1)?))?.to_dtype(DType::F32)?;
                let y = layers::attention(&x, attention, softmax, product)?;
                if let Some(width) = shape.last_mut() {
                    *width = attention.width;
                }
                y.reshape(shape)?.to_dtype(self.dtype)
            }
            Kernel::SqueezeExcite { tensors: [w1, b1, w2, b2], zeros } => {
                let means = ops::global_average(x)?.to_dtype(DType::F32)?;
                let factors = layers::excitation(&means, [w1, b1, w2, b2])?;
                let factors = factors.to_dtype(x.dtype())?.unsqueeze(1)?.unsqueeze(1)?;
                self.finished(x.broadcast_mul(&factors)?, zeros, None)
            }
            Kernel::AttentionPool(pool) => {
                let softmax = candle_nn::ops::softmax_last_dim;
                let product = |a: &Tensor, b: &Tensor| product(a, b, dtype != Precision::F32);
                let x = x.to_dtype(DType::F32)?;
                layers::attention_pool(&x, pool, softmax, product)?.to_dtype(self.dtype)
            }
            Kernel::ClassToken => layers::class_token(x)?.to_dtype(DType::F32),
        }
    }

    /// Bias, residual and activation in one pass.
    fn finished(
        &self,
        y: Tensor,
        bias: &Tensor,
        residual: Option<&Tensor>,
    ) -> candle_core::Result<Tensor> {
        ops::finish(&y, bias, residual, self.layer.activation)?;
        Ok(y)
    }
}
