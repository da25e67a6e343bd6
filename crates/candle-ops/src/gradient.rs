//! The operations of the backward pass, and those that both passes of a training share: their
//! settings, and their form in plain Rust. Maps are `[n, height, width, channels]`.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, WithDType,
    backend::BackendStorage, bail, cpu::erf::erf_f32,
};
use half::{bf16, f16};

use crate::{
    cpu::{activate, get, set, slice},
    custom::{GELU, Slide, Window, by_type, sigmoid_factors},
};

/// A storage with its layout.
type On<'a, S> = (&'a S, &'a Layout);

/// Takes dy and weights f32 `[k · k, c]`; gives the maps' gradient of a depthwise convolution.
pub(crate) struct DepthwiseData(pub(crate) Window);

/// Takes x and dy; gives sums f32 `[chunks, k · k · c]` of the filters' gradient.
pub(crate) struct DepthwiseWeights(pub(crate) Slide);

/// Takes columns `[n · oh · ow, k · k · c]`; gives maps: the transpose of unfolding.
pub(crate) struct Fold(pub(crate) Window);

/// Takes x and dy.
pub(crate) struct MaxPoolGradient(pub(crate) Slide);

/// Takes a and, unless `single`, b, of shape `[…, c]`; gives f32 `[chunks, 2 · c]`: the sums over
/// rows of a − shift, and of its products with b − shift. Shifts are f32 `[c]`.
pub(crate) struct ColumnSums<'a> {
    pub(crate) single: bool,
    pub(crate) shifts: [Option<&'a Tensor>; 2],
}

/// Takes f32 `[rows, columns]`; gives `[groups, columns]`.
pub(crate) struct Total {
    pub(crate) groups: usize,
}

/// Takes a, b of the same shape (not read if `single`), and factors f32 `[3, c]`.
pub(crate) struct Combine {
    pub(crate) single: bool,
}

/// An activation, by its code.
pub(crate) struct Activated(pub(crate) u32);

/// Takes what an activation gave (GELU and the like: what it was given) and dy.
pub(crate) struct ActivationGradient(pub(crate) u32);

/// Takes x, dy and the scale f32 `[c]`; gives `[2, rows, c]`: the gradient with respect to x, and
/// the normalised x.
pub(crate) struct LayerNormGradient {
    pub(crate) eps: f32,
}

/// How many chunks the sums over so many rows are split into, of this many values each: enough to
/// keep a GPU busy, few enough that their own sum is cheap.
pub(crate) fn chunks(rows: usize, values: usize) -> usize {
    rows.div_ceil(16).clamp(1, ((1 << 20) / values.max(1)).clamp(1, 4096))
}

impl ColumnSums<'_> {
    /// Rows and channels of what it takes.
    pub(crate) fn sizes(&self, dims: &[usize]) -> Result<[usize; 2]> {
        let Some((&channels, rows)) = dims.split_last() else { bail!("a number has no columns") };
        if self.shifts.iter().flatten().any(|shift| shift.dims() != [channels]) {
            bail!("shifts of columns are [{channels}]")
        }
        Ok([rows.iter().product(), channels])
    }
}

fn same(a: &Layout, b: &Layout) -> Result<()> {
    if a.shape() != b.shape() {
        bail!("shapes {:?} and {:?} are not the same", a.shape(), b.shape())
    }
    Ok(())
}

/// For each pixel of the input in order, the windows that it lies in: (tap, window).
fn back(w: Window, mut each: impl FnMut(usize, &mut dyn Iterator<Item = (usize, usize)>)) {
    let window = |at: u32, before: u32, tap: u32, count: u32| {
        let from = (at + before).checked_sub(tap * w.dilation)?;
        (from % w.stride == 0 && from / w.stride < count).then_some(from / w.stride)
    };
    let mut pixel = 0;
    for n in 0..w.n {
        for iy in 0..w.height {
            for ix in 0..w.width {
                let taps = (0..w.kernel).flat_map(|ky| (0..w.kernel).map(move |kx| (ky, kx)));
                let mut inside = taps.filter_map(|(ky, kx)| {
                    let oy = window(iy, w.top, ky, w.out_height)?;
                    let ox = window(ix, w.left, kx, w.out_width)?;
                    let place = (n * w.out_height + oy) * w.out_width + ox;
                    Some(((ky * w.kernel + kx) as usize, place as usize))
                });
                each(pixel, &mut inside);
                pixel += 1;
            }
        }
    }
}

impl Window {
    /// The shape of the input.
    pub(crate) fn input(&self) -> Shape {
        let sizes = [self.n, self.height, self.width, self.channels];
        Shape::from(sizes.map(|size| size as usize).to_vec())
    }
}

impl DepthwiseData {
    fn on_cpu(
        &self,
        (dy, dy_layout): On<'_, CpuStorage>,
        (weights, weights_layout): On<'_, CpuStorage>,
    ) -> Result<(CpuStorage, Shape)> {
        let weights = slice::<f32>(weights, weights_layout)?;
        let channels = self.0.channels as usize;
        by_type!(dy.dtype(), T => {
            let dy = slice::<T>(dy, dy_layout)?;
            let mut dx: Vec<T> = Vec::with_capacity(self.0.input().elem_count());
            let mut sums = vec![0f32; channels];
            back(self.0, |_, taps| {
                sums.fill(0.0);
                for (tap, place) in taps {
                    let values = &dy[place * channels..][..channels];
                    let weights = &weights[tap * channels..][..channels];
                    for ((sum, &v), &w) in sums.iter_mut().zip(values).zip(weights) {
                        *sum += get(v) * w;
                    }
                }
                dx.extend(sums.iter().map(|&sum| set::<T>(sum)));
            });
            Ok((T::to_cpu_storage_owned(dx), self.0.input()))
        })
    }
}

impl DepthwiseWeights {
    fn on_cpu(
        &self,
        (x, x_layout): On<'_, CpuStorage>,
        (dy, dy_layout): On<'_, CpuStorage>,
    ) -> Result<(CpuStorage, Shape)> {
        let window = self.0.over(x_layout.dims())?;
        let channels = window.channels as usize;
        let (chunks, columns) = self.sizes(&window);
        by_type!(x.dtype(), T => {
            let (x, dy) = (slice::<T>(x, x_layout)?, slice::<T>(dy, dy_layout)?);
            let mut sums = vec![0f32; chunks * columns];
            window.visit(|pixel, taps| {
                let slopes = &dy[pixel * channels..][..channels];
                for (tap, place) in taps {
                    let values = &x[place * channels..][..channels];
                    let sums = &mut sums[pixel % chunks * columns + tap * channels..][..channels];
                    for ((sum, &v), &d) in sums.iter_mut().zip(values).zip(slopes) {
                        *sum += get(v) * get(d);
                    }
                }
            });
            Ok((CpuStorage::F32(sums), Shape::from((chunks, columns))))
        })
    }

    /// Chunks, and numbers of the filters.
    pub(crate) fn sizes(&self, window: &Window) -> (usize, usize) {
        let columns = (window.kernel * window.kernel * window.channels) as usize;
        let windows = (window.n * window.out_height * window.out_width) as usize;
        (chunks(windows, columns), columns)
    }
}

impl Fold {
    fn on_cpu(&self, (columns, layout): On<'_, CpuStorage>) -> Result<(CpuStorage, Shape)> {
        let (channels, taps) = (self.0.channels as usize, (self.0.kernel * self.0.kernel) as usize);
        by_type!(columns.dtype(), T => {
            let columns = slice::<T>(columns, layout)?;
            let mut dx: Vec<T> = Vec::with_capacity(self.0.input().elem_count());
            let mut sums = vec![0f32; channels];
            back(self.0, |_, inside| {
                sums.fill(0.0);
                for (tap, place) in inside {
                    let values = &columns[(place * taps + tap) * channels..];
                    sums.iter_mut().zip(values).for_each(|(sum, &v)| *sum += get(v));
                }
                dx.extend(sums.iter().map(|&sum| set::<T>(sum)));
            });
            Ok((T::to_cpu_storage_owned(dx), self.0.input()))
        })
    }
}

impl MaxPoolGradient {
    fn on_cpu(
        &self,
        (x, x_layout): On<'_, CpuStorage>,
        (dy, dy_layout): On<'_, CpuStorage>,
    ) -> Result<(CpuStorage, Shape)> {
        let window = self.0.over(x_layout.dims())?;
        let channels = window.channels as usize;
        by_type!(x.dtype(), T => {
            let (x, dy) = (slice::<T>(x, x_layout)?, slice::<T>(dy, dy_layout)?);
            // The tap that wins in each window.
            let mut winners = vec![usize::MAX; dy.len()];
            let mut highest = vec![0f32; channels];
            window.visit(|pixel, taps| {
                highest.fill(f32::NEG_INFINITY);
                let winners = &mut winners[pixel * channels..][..channels];
                for (tap, place) in taps {
                    let values = &x[place * channels..];
                    for ((high, winner), &v) in highest.iter_mut().zip(&mut *winners).zip(values) {
                        let value = get(v);
                        if value > *high || value.is_nan() {
                            (*high, *winner) = (value, tap);
                        }
                    }
                }
            });
            let mut dx: Vec<T> = Vec::with_capacity(x.len());
            let mut sums = vec![0f32; channels];
            back(window, |_, taps| {
                sums.fill(0.0);
                for (tap, place) in taps {
                    let range = place * channels..(place + 1) * channels;
                    let won = winners[range.clone()].iter().zip(&dy[range]);
                    for (sum, (&winner, &d)) in sums.iter_mut().zip(won) {
                        if winner == tap {
                            *sum += get(d);
                        }
                    }
                }
                dx.extend(sums.iter().map(|&sum| set::<T>(sum)));
            });
            Ok((T::to_cpu_storage_owned(dx), window.input()))
        })
    }
}

impl ColumnSums<'_> {
    fn on_cpu(
        &self,
        (a, a_layout): On<'_, CpuStorage>,
        (b, b_layout): On<'_, CpuStorage>,
    ) -> Result<(CpuStorage, Shape)> {
        same(a_layout, b_layout)?;
        let [rows, channels] = self.sizes(a_layout.dims())?;
        let chunks = chunks(rows, channels);
        let shift = |shift: Option<&Tensor>| match shift {
            Some(shift) => shift.to_vec1::<f32>(),
            None => Ok(vec![0.0; channels]),
        };
        let (shift_a, shift_b) = (shift(self.shifts[0])?, shift(self.shifts[1])?);
        by_type!(a.dtype(), T => {
            let (a, b) = (slice::<T>(a, a_layout)?, slice::<T>(b, b_layout)?);
            let mut sums = vec![0f32; chunks * 2 * channels];
            for row in 0..rows {
                let (own, products) =
                    sums[row % chunks * 2 * channels..][..2 * channels].split_at_mut(channels);
                for c in 0..channels {
                    let value = get(a[row * channels + c]) - shift_a[c];
                    own[c] += value;
                    if !self.single {
                        products[c] += value * (get(b[row * channels + c]) - shift_b[c]);
                    }
                }
            }
            Ok((CpuStorage::F32(sums), Shape::from((chunks, 2 * channels))))
        })
    }
}

impl Total {
    fn on_cpu(&self, (x, layout): On<'_, CpuStorage>) -> Result<(CpuStorage, Shape)> {
        let &[_, columns] = layout.dims() else { bail!("sums are [rows, columns]") };
        let mut y = vec![0f32; self.groups * columns];
        for (row, values) in slice::<f32>(x, layout)?.chunks_exact(columns.max(1)).enumerate() {
            let sums = &mut y[row % self.groups * columns..][..columns];
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        Ok((CpuStorage::F32(y), Shape::from((self.groups, columns))))
    }
}

impl Combine {
    fn on_cpu(
        &self,
        (a, a_layout): On<'_, CpuStorage>,
        (b, b_layout): On<'_, CpuStorage>,
        (factors, factors_layout): On<'_, CpuStorage>,
    ) -> Result<(CpuStorage, Shape)> {
        same(a_layout, b_layout)?;
        let factors = slice::<f32>(factors, factors_layout)?;
        let channels = factors.len() / 3;
        let (own, rest) = factors.split_at(channels);
        let (other, shift) = rest.split_at(channels);
        by_type!(a.dtype(), T => {
            let (a, b) = (slice::<T>(a, a_layout)?, slice::<T>(b, b_layout)?);
            let value = |(i, (&a, &b)): (usize, (&T, &T))| {
                let c = i % channels;
                let sum = shift[c] + get(a) * own[c];
                set::<T>(if self.single { sum } else { sum + get(b) * other[c] })
            };
            let y: Vec<T> = a.iter().zip(b).enumerate().map(value).collect();
            Ok((T::to_cpu_storage_owned(y), a_layout.shape().clone()))
        })
    }
}

impl Activated {
    fn on_cpu(&self, (x, layout): On<'_, CpuStorage>) -> Result<(CpuStorage, Shape)> {
        by_type!(x.dtype(), T => {
            let x = slice::<T>(x, layout)?;
            let y: Vec<T> = x.iter().map(|&v| set(activate(get(v), self.0))).collect();
            Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }
}

/// The derivative of an activation.
fn slope(value: f32, activation: u32) -> f32 {
    if let Some([a, b]) = sigmoid_factors(activation) {
        let argument = a * value + b * value.powi(3);
        let share = 1.0 / (1.0 + (-argument).exp());
        return share + (a * value + 3.0 * b * value.powi(3)) * share * (1.0 - share);
    }
    match activation {
        GELU => {
            let distribution = 0.5 * (1.0 + erf_f32(value * std::f32::consts::FRAC_1_SQRT_2));
            // The density of the normal distribution at 0 is 1/√(2π).
            distribution + value * 0.398_942_3 * (-0.5 * value * value).exp()
        }
        code => f32::from(u8::from(value > 0.0 && (code == 1 || value < 6.0))),
    }
}

impl ActivationGradient {
    fn on_cpu(
        &self,
        (kept, kept_layout): On<'_, CpuStorage>,
        (dy, dy_layout): On<'_, CpuStorage>,
    ) -> Result<(CpuStorage, Shape)> {
        same(kept_layout, dy_layout)?;
        by_type!(dy.dtype(), T => {
            let (kept, dy) = (slice::<T>(kept, kept_layout)?, slice::<T>(dy, dy_layout)?);
            let value = |(&v, &d): (&T, &T)| set::<T>(get(d) * slope(get(v), self.0));
            let dx: Vec<T> = kept.iter().zip(dy).map(value).collect();
            Ok((T::to_cpu_storage_owned(dx), dy_layout.shape().clone()))
        })
    }
}

impl LayerNormGradient {
    /// The shape of what it gives.
    pub(crate) fn output(layout: &Layout, channels: usize) -> Result<Shape> {
        let items = layout.shape().elem_count();
        if channels == 0 || !items.is_multiple_of(channels) {
            bail!("{items} values cannot take {channels} scales")
        }
        Ok(Shape::from((2, items / channels, channels)))
    }

    fn on_cpu(
        &self,
        (x, x_layout): On<'_, CpuStorage>,
        (dy, dy_layout): On<'_, CpuStorage>,
        (scale, scale_layout): On<'_, CpuStorage>,
    ) -> Result<(CpuStorage, Shape)> {
        same(x_layout, dy_layout)?;
        let scale = slice::<f32>(scale, scale_layout)?;
        let shape = Self::output(x_layout, scale.len())?;
        let count = scale.len() as f32;
        by_type!(x.dtype(), T => {
            let (x, dy) = (slice::<T>(x, x_layout)?, slice::<T>(dy, dy_layout)?);
            let (mut dx, mut all) = (Vec::<T>::with_capacity(2 * x.len()), Vec::<T>::new());
            for (x, dy) in x.chunks_exact(scale.len()).zip(dy.chunks_exact(scale.len())) {
                let mean = x.iter().map(|&v| get(v)).sum::<f32>() / count;
                let squares: f32 = x.iter().map(|&v| (get(v) - mean) * (get(v) - mean)).sum();
                let deviation = (squares / count + self.eps).sqrt();
                let normalised: Vec<f32> = x.iter().map(|&v| (get(v) - mean) / deviation).collect();
                let slopes: Vec<f32> = dy.iter().zip(scale).map(|(&d, s)| get(d) * s).collect();
                let first = slopes.iter().sum::<f32>() / count;
                let second =
                    slopes.iter().zip(&normalised).map(|(d, v)| d * v).sum::<f32>() / count;
                let value = |(d, v): (&f32, &f32)| set::<T>((d - first - v * second) / deviation);
                dx.extend(slopes.iter().zip(&normalised).map(value));
                all.extend(normalised.iter().map(|&v| set::<T>(v)));
            }
            dx.append(&mut all);
            Ok((T::to_cpu_storage_owned(dx), shape))
        })
    }
}

/// Connects an operation with its two forms.
macro_rules! operation {
    ($Trait:ident, $Op:ty, $name:literal, $on_cuda:ident, $($storage:ident $layout:ident),+) => {
        impl $Trait for $Op {
            fn name(&self) -> &'static str {
                $name
            }

            fn cpu_fwd(
                &self,
                $($storage: &CpuStorage, $layout: &Layout),+
            ) -> Result<(CpuStorage, Shape)> {
                self.on_cpu($(($storage, $layout)),+)
            }

            #[cfg(feature = "cuda")]
            fn cuda_fwd(
                &self,
                $($storage: &CudaStorage, $layout: &Layout),+
            ) -> Result<(CudaStorage, Shape)> {
                crate::cuda::gradient::$on_cuda(self, $(($storage, $layout)),+)
            }
        }
    };
}

operation!(CustomOp2, DepthwiseData, "depthwise-data", depthwise_data, dy dy_l, weights weights_l);
operation!(CustomOp2, DepthwiseWeights, "depthwise-weights", depthwise_weights, x x_l, dy dy_l);
operation!(CustomOp1, Fold, "fold", fold, columns columns_l);
operation!(CustomOp2, MaxPoolGradient, "max-pool-gradient", max_pool_gradient, x x_l, dy dy_l);
operation!(CustomOp2, ColumnSums<'_>, "column-sums", column_sums, a a_l, b b_l);
operation!(CustomOp1, Total, "total", total, x x_l);
operation!(CustomOp3, Combine, "combine", combine, a a_l, b b_l, factors factors_l);
operation!(CustomOp1, Activated, "activated", activated, x x_l);
operation!(
    CustomOp2,
    ActivationGradient,
    "activation-gradient",
    activation_gradient,
    kept kept_l,
    dy dy_l
);
operation!(
    CustomOp3,
    LayerNormGradient,
    "layer-norm-gradient",
    layer_norm_gradient,
    x x_l,
    dy dy_l,
    scale scale_l
);
