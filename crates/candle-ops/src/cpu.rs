//! The implementation of the custom operations: in plain Rust on the CPU, as the reference, and on
//! CUDA by Taper's own kernels.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp3, DType, InplaceOp2, InplaceOp3, Layout, Result, Shape,
    WithDType, backend::BackendStorage, bail, cpu::erf::erf_f32,
};
use half::{bf16, f16};

use crate::custom::{
    Affine, Depthwise, Finish, GELU, GlobalAverage, LayerNorm, MaxPool, Normalise, Pointwise,
    Unfold, by_type, code, sigmoid_factors,
};

pub(crate) fn activate(mut x: f32, activation: u32) -> f32 {
    if activation == GELU {
        return 0.5 * x * (1.0 + erf_f32(x * std::f32::consts::FRAC_1_SQRT_2));
    }
    if let Some([a, b]) = sigmoid_factors(activation) {
        return x / (1.0 + (-(a * x + b * x * x * x)).exp());
    }
    if activation >= 1 && x < 0.0 {
        x = 0.0;
    }
    if activation == 2 && x > 6.0 {
        x = 6.0;
    }
    x
}

pub(crate) fn get<T: WithDType>(x: T) -> f32 {
    x.to_f64() as f32
}

pub(crate) fn set<T: WithDType>(x: f32) -> T {
    T::from_f64(f64::from(x))
}

/// The values of a contiguous tensor.
pub(crate) fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => bail!("maps must be contiguous"),
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

impl Finish {
    fn on_cpu(
        &self,
        y: (&mut CpuStorage, &Layout),
        bias: (&CpuStorage, &Layout),
        residual: Option<(&CpuStorage, &Layout)>,
    ) -> Result<()> {
        let bias = slice::<f32>(bias.0, bias.1)?;
        let activation = code(self.0);
        let Some((start, end)) = y.1.contiguous_offsets() else { bail!("maps must be contiguous") };
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
            other => bail!("maps are not {:?}", other.dtype()),
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
