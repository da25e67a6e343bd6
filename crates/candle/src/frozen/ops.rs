//! The layers of a frozen network for which candle has no fast implementation, as custom
//! operations: in plain Rust on the CPU, as the reference, and as Taper's own kernels on CUDA. Maps
//! are `[n, height, width, channels]`.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp3, DType, InplaceOp2, InplaceOp3, Layout, Result, Shape, Tensor,
    WithDType, backend::BackendStorage, bail, cpu::erf::erf_f32,
};
use half::{bf16, f16};
use taper_graph::{Activation, Padding};

/// A window that slides over maps; the same struct as in `kernels.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Window {
    pub(crate) n: u32,
    pub(crate) height: u32,
    pub(crate) width: u32,
    pub(crate) channels: u32,
    pub(crate) out_height: u32,
    pub(crate) out_width: u32,
    pub(crate) kernel: u32,
    pub(crate) stride: u32,
    pub(crate) dilation: u32,
    pub(crate) top: u32,
    pub(crate) left: u32,
    pub(crate) activation: u32,
}

/// The normalisation of pixels, per channel: scale · x + shift; the same struct as in `kernels.cu`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub(crate) struct Affine {
    pub(crate) scale: [f32; 3],
    pub(crate) shift: [f32; 3],
}

/// How a window slides, whatever the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slide {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) padding: Padding,
    pub(crate) activation: Option<Activation>,
}

impl Slide {
    /// The window over maps of this shape.
    pub(crate) fn over(&self, dims: &[usize]) -> Result<Window> {
        let &[n, height, width, channels] = dims else {
            bail!("a window slides over [n, height, width, channels], not {dims:?}")
        };
        let along = |input| self.padding.output(input, self.kernel, self.stride, self.dilation);
        let before =
            |input| self.padding.amounts(input, self.kernel, self.stride, self.dilation).0 as u32;
        let (Some(out_height), Some(out_width)) = (along(height), along(width)) else {
            bail!("a window of {} does not fit into {height} × {width}", self.kernel)
        };
        Ok(Window {
            n: n as u32,
            height: height as u32,
            width: width as u32,
            channels: channels as u32,
            out_height: out_height as u32,
            out_width: out_width as u32,
            kernel: self.kernel as u32,
            stride: self.stride as u32,
            dilation: self.dilation as u32,
            top: before(height),
            left: before(width),
            activation: code(self.activation),
        })
    }
}

impl Window {
    /// The shape of what comes out.
    pub(crate) fn output(&self) -> Shape {
        let sizes = [self.n, self.out_height, self.out_width, self.channels];
        Shape::from(sizes.map(|size| size as usize).to_vec())
    }

    /// For each output pixel in order, its taps that lie inside: (tap, pixel of the input).
    fn visit(&self, mut each: impl FnMut(usize, &mut dyn Iterator<Item = (usize, usize)>)) {
        let w = *self;
        let mut pixel = 0;
        for n in 0..w.n {
            for oy in 0..w.out_height {
                for ox in 0..w.out_width {
                    let taps = (0..w.kernel).flat_map(|ky| (0..w.kernel).map(move |kx| (ky, kx)));
                    let mut inside = taps.filter_map(|(ky, kx)| {
                        let y = (oy * w.stride + ky * w.dilation).checked_sub(w.top)?;
                        let x = (ox * w.stride + kx * w.dilation).checked_sub(w.left)?;
                        let place = (n * w.height + y) * w.width + x;
                        (y < w.height && x < w.width)
                            .then_some(((ky * w.kernel + kx) as usize, place as usize))
                    });
                    each(pixel, &mut inside);
                    pixel += 1;
                }
            }
        }
    }
}

/// The kernels' code for an activation.
pub(crate) fn code(activation: Option<Activation>) -> u32 {
    match activation {
        None => 0,
        Some(Activation::Relu) => 1,
        Some(Activation::Relu6) => 2,
        Some(Activation::Gelu) => GELU,
    }
}

const GELU: u32 = 3;

fn activate(mut x: f32, activation: u32) -> f32 {
    if activation == GELU {
        return 0.5 * x * (1.0 + erf_f32(x * std::f32::consts::FRAC_1_SQRT_2));
    }
    if activation >= 1 && x < 0.0 {
        x = 0.0;
    }
    if activation == 2 && x > 6.0 {
        x = 6.0;
    }
    x
}

fn get<T: WithDType>(x: T) -> f32 {
    x.to_f64() as f32
}

fn set<T: WithDType>(x: f32) -> T {
    T::from_f64(f64::from(x))
}

/// The values of a contiguous tensor.
pub(crate) fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => bail!("a frozen network works on contiguous tensors"),
    }
}

/// Runs code for the type of a storage.
macro_rules! by_type {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F16 => {
                type $T = f16;
                $body
            }
            DType::BF16 => {
                type $T = bf16;
                $body
            }
            other => bail!("a frozen network computes in f32, f16 or bf16, not in {other:?}"),
        }
    };
}
#[cfg(feature = "cuda")]
pub(crate) use by_type;

/// u8 `[n, h, w, 3]` → scale · x + shift, in `channels` channels, those beyond the third 0.
pub(crate) struct Normalise {
    pub(crate) affine: Affine,
    pub(crate) channels: usize,
    pub(crate) dtype: DType,
}

impl Normalise {
    pub(crate) fn output(&self, dims: &[usize]) -> Result<Shape> {
        match dims {
            &[n, h, w, 3] => Ok(Shape::from((n, h, w, self.channels))),
            other => bail!("pixels are [n, height, width, 3], not {other:?}"),
        }
    }
}

impl CustomOp1 for Normalise {
    fn name(&self) -> &'static str {
        "normalise"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let pixels = slice::<u8>(storage, layout)?;
        let Affine { scale, shift } = self.affine;
        by_type!(self.dtype, T => {
            let mut y: Vec<T> = Vec::with_capacity(pixels.len() / 3 * self.channels);
            for pixel in pixels.chunks_exact(3) {
                for (c, &value) in pixel.iter().enumerate() {
                    y.push(set(f32::from(value) * scale[c] + shift[c]));
                }
                y.resize(y.len() + self.channels - 3, set(0.0));
            }
            Ok((T::to_cpu_storage_owned(y), self.output(layout.dims())?))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        crate::cuda::frozen::normalise(self, storage, layout)
    }
}

/// `[n, h, w, c]` → `[n · oh · ow, k · k · c]`: the rows of a convolution as a matrix product.
pub(crate) struct Unfold(pub(crate) Slide);

impl Unfold {
    pub(crate) fn output(window: &Window) -> Shape {
        let [rows, columns] = [
            [window.n, window.out_height, window.out_width],
            [window.kernel, window.kernel, window.channels],
        ]
        .map(|sizes| sizes.iter().map(|&size| size as usize).product::<usize>());
        Shape::from((rows, columns))
    }
}

impl CustomOp1 for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let window = self.0.over(layout.dims())?;
        let shape = Self::output(&window);
        let (channels, columns) = (window.channels as usize, shape.dims()[1]);
        by_type!(storage.dtype(), T => {
            let x = slice::<T>(storage, layout)?;
            let mut y: Vec<T> = vec![set(0.0); shape.elem_count()];
            window.visit(|pixel, taps| {
                for (tap, place) in taps {
                    y[pixel * columns + tap * channels..][..channels]
                        .copy_from_slice(&x[place * channels..][..channels]);
                }
            });
            Ok((T::to_cpu_storage_owned(y), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        crate::cuda::frozen::unfold(self, storage, layout)
    }
}

/// Each channel with its own filter. Takes the maps, weights f32 `[k · k, channels]` and bias f32
/// `[channels]`.
pub(crate) struct Depthwise(pub(crate) Slide);

impl CustomOp3 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let window = self.0.over(layout.dims())?;
        let weights = slice::<f32>(weights, weights_layout)?;
        let bias = slice::<f32>(bias, bias_layout)?;
        let channels = window.channels as usize;
        by_type!(storage.dtype(), T => {
            let x = slice::<T>(storage, layout)?;
            let mut y: Vec<T> = Vec::with_capacity(window.output().elem_count());
            let mut sums = vec![0f32; channels];
            window.visit(|_, taps| {
                sums.copy_from_slice(bias);
                for (tap, place) in taps {
                    let weights = &weights[tap * channels..][..channels];
                    let values = &x[place * channels..][..channels];
                    for ((sum, &value), &weight) in sums.iter_mut().zip(values).zip(weights) {
                        *sum += get(value) * weight;
                    }
                }
                y.extend(sums.iter().map(|&sum| set::<T>(activate(sum, window.activation))));
            });
            Ok((T::to_cpu_storage_owned(y), window.output()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &CudaStorage,
        layout: &Layout,
        weights: &CudaStorage,
        weights_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let maps = (storage, layout);
        crate::cuda::frozen::depthwise(self, maps, (weights, weights_layout), (bias, bias_layout))
    }
}

/// A pointwise convolution whose filter stays f32, with bias, residual and activation, rounded
/// once. Takes maps, weights f32 `[in, out]` and bias f32 `[out]`; the residual has the type of the
/// maps and the shape of the output.
pub(crate) struct Pointwise<'a> {
    pub(crate) activation: Option<Activation>,
    pub(crate) residual: Option<&'a Tensor>,
}

impl Pointwise<'_> {
    /// The output's shape for maps of this shape.
    pub(crate) fn output(
        &self,
        dims: &[usize],
        weights: &[usize],
        bias: &[usize],
    ) -> Result<Shape> {
        let (&[n, height, width, channels], &[inputs, outputs]) = (dims, weights) else {
            bail!("a pointwise convolution of {dims:?} by {weights:?}")
        };
        let shape = [n, height, width, outputs];
        let fits = self.residual.is_none_or(|residual| residual.dims() == shape);
        if inputs != channels || bias != [outputs] || !fits {
            bail!("a pointwise convolution of {dims:?} by {weights:?} and {bias:?}")
        }
        Ok(Shape::from(shape.to_vec()))
    }
}

impl CustomOp3 for Pointwise<'_> {
    fn name(&self) -> &'static str {
        "pointwise"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = self.output(layout.dims(), weights_layout.dims(), bias_layout.dims())?;
        let weights = slice::<f32>(weights, weights_layout)?;
        let bias = slice::<f32>(bias, bias_layout)?;
        let inputs = weights.len() / bias.len().max(1);
        let activation = code(self.activation);
        by_type!(storage.dtype(), T => {
            let x = slice::<T>(storage, layout)?;
            let residual = match self.residual {
                Some(residual) => Some(residual.flatten_all()?.to_vec1::<T>()?),
                None => None,
            };
            let mut y: Vec<T> = Vec::with_capacity(shape.elem_count());
            let mut sums = vec![0f32; bias.len()];
            for pixel in x.chunks_exact(inputs) {
                sums.copy_from_slice(bias);
                for (&value, weights) in pixel.iter().zip(weights.chunks_exact(bias.len())) {
                    let value = get(value);
                    sums.iter_mut().zip(weights).for_each(|(sum, &weight)| *sum += value * weight);
                }
                if let Some(residual) = &residual {
                    let values = &residual[y.len()..][..sums.len()];
                    sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += get(value));
                }
                y.extend(sums.iter().map(|&sum| set::<T>(activate(sum, activation))));
            }
            Ok((T::to_cpu_storage_owned(y), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &CudaStorage,
        layout: &Layout,
        weights: &CudaStorage,
        weights_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (weights, bias) = ((weights, weights_layout), (bias, bias_layout));
        crate::cuda::frozen::pointwise(self, (storage, layout), weights, bias)
    }
}

/// The maximum over each window.
pub(crate) struct MaxPool(pub(crate) Slide);

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let window = self.0.over(layout.dims())?;
        let channels = window.channels as usize;
        by_type!(storage.dtype(), T => {
            let x = slice::<T>(storage, layout)?;
            let mut y: Vec<T> = Vec::with_capacity(window.output().elem_count());
            let mut highest = vec![0f32; channels];
            window.visit(|_, taps| {
                highest.fill(f32::NEG_INFINITY);
                for (_, place) in taps {
                    for (high, &value) in highest.iter_mut().zip(&x[place * channels..]) {
                        let value = get(value);
                        if value > *high || value.is_nan() {
                            *high = value;
                        }
                    }
                }
                y.extend(highest.iter().map(|&high| set::<T>(high)));
            });
            Ok((T::to_cpu_storage_owned(y), window.output()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        crate::cuda::frozen::max_pool(self, storage, layout)
    }
}

/// y ← activation(y + bias), or with a residual of the same shape activation(y + bias + residual),
/// in place. The bias is f32, as long as the last dimension.
pub(crate) struct Finish(pub(crate) Option<Activation>);

impl Finish {
    fn on_cpu(
        &self,
        y: (&mut CpuStorage, &Layout),
        bias: (&CpuStorage, &Layout),
        residual: Option<(&CpuStorage, &Layout)>,
    ) -> Result<()> {
        let bias = slice::<f32>(bias.0, bias.1)?;
        let activation = code(self.0);
        let Some((start, end)) = y.1.contiguous_offsets() else {
            bail!("a frozen network works on contiguous tensors")
        };
        macro_rules! finish {
            ($values:expr, $T:ty) => {{
                let residual = residual.map(|(s, l)| slice::<$T>(s, l)).transpose()?;
                for (row, values) in $values[start..end].chunks_exact_mut(bias.len()).enumerate() {
                    for (c, value) in values.iter_mut().enumerate() {
                        let mut sum = get(*value) + bias[c];
                        if let Some(residual) = residual {
                            sum += get(residual[row * bias.len() + c]);
                        }
                        *value = set(activate(sum, activation));
                    }
                }
                Ok(())
            }};
        }
        match y.0 {
            CpuStorage::F32(values) => finish!(values, f32),
            CpuStorage::F16(values) => finish!(values, f16),
            CpuStorage::BF16(values) => finish!(values, bf16),
            other => bail!("a frozen network does not compute in {:?}", other.dtype()),
        }
    }
}

impl InplaceOp2 for Finish {
    fn name(&self) -> &'static str {
        "finish"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        self.on_cpu((y, y_layout), (bias, bias_layout), None)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        y: &mut CudaStorage,
        y_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        crate::cuda::frozen::finish(code(self.0), (y, y_layout), (bias, bias_layout), None)
    }
}

impl InplaceOp3 for Finish {
    fn name(&self) -> &'static str {
        "finish"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<()> {
        self.on_cpu((y, y_layout), (bias, bias_layout), Some((residual, residual_layout)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        y: &mut CudaStorage,
        y_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
        residual: &CudaStorage,
        residual_layout: &Layout,
    ) -> Result<()> {
        let residual = Some((residual, residual_layout));
        crate::cuda::frozen::finish(code(self.0), (y, y_layout), (bias, bias_layout), residual)
    }
}

/// Over the channels of each row, the last dimension: (x − mean) / √(variance + ε) · scale + bias,
/// with the biased variance, as `torch.nn.LayerNorm`. Takes maps or vectors, and scale and bias f32
/// `[channels]`; the output has the type of the input.
pub(crate) struct LayerNorm {
    pub(crate) eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (scale, bias) = (slice::<f32>(scale, scale_layout)?, slice::<f32>(bias, bias_layout)?);
        let channels = scale.len();
        by_type!(storage.dtype(), T => {
            let x = slice::<T>(storage, layout)?;
            let mut y: Vec<T> = Vec::with_capacity(x.len());
            for row in x.chunks_exact(channels.max(1)) {
                let mean = row.iter().map(|&v| get(v)).sum::<f32>() / channels as f32;
                let squares: f32 = row.iter().map(|&v| (get(v) - mean) * (get(v) - mean)).sum();
                let deviation = (squares / channels as f32 + self.eps).sqrt();
                let values = row.iter().zip(scale).zip(bias);
                y.extend(values.map(|((&v, s), b)| set::<T>((get(v) - mean) / deviation * s + b)));
            }
            Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &CudaStorage,
        layout: &Layout,
        scale: &CudaStorage,
        scale_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (scale, bias) = ((scale, scale_layout), (bias, bias_layout));
        crate::cuda::frozen::layer_norm(self.eps, (storage, layout), scale, bias)
    }
}

/// `[n, h, w, c]` → f32 `[n, c]`: the mean over all pixels.
pub(crate) struct GlobalAverage;

impl CustomOp1 for GlobalAverage {
    fn name(&self) -> &'static str {
        "global-average"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let &[n, height, width, channels] = layout.dims() else {
            bail!("a mean over pixels needs [n, height, width, channels]")
        };
        let pixels = height * width;
        by_type!(storage.dtype(), T => {
            let x = slice::<T>(storage, layout)?;
            let mut y = vec![0f32; n * channels];
            for (map, sums) in x.chunks_exact(pixels * channels).zip(y.chunks_exact_mut(channels)) {
                for pixel in map.chunks_exact(channels) {
                    sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += get(value));
                }
                sums.iter_mut().for_each(|sum| *sum /= pixels as f32);
            }
            Ok((CpuStorage::F32(y), Shape::from((n, channels))))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        crate::cuda::frozen::global_average(storage, layout)
    }
}
