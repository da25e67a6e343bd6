//! A naive reference in f64, seeded random values, and slices that end (or start) at a guard page.
#![allow(dead_code, unreachable_pub)]

use taper_kernels::{Activation, Border, Conv2dShape, Element, Window};

/// A small counter-based generator: the tests need repeatable values, not good ones.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number in `low..=high`.
    pub fn range(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.range(0, from.len() - 1)]
    }

    /// Values in [-1, 1).
    pub fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    pub fn pixels(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

pub fn round<E: Element>(values: &[f32]) -> Vec<E> {
    values.iter().map(|&v| E::from_f32(v)).collect()
}

pub fn activate(activation: Option<Activation>, value: f64) -> f64 {
    match activation {
        None => value,
        Some(Activation::Relu) => value.max(0.0),
        Some(Activation::Relu6) => value.clamp(0.0, 6.0),
        Some(Activation::Gelu) => value * 0.5 * (1.0 + erf(value / 2f64.sqrt())),
        Some(Activation::QuickGelu) => value / (1.0 + (-1.702 * value).exp()),
        Some(Activation::GeluTanh) => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (value + 0.044715 * value.powi(3));
            0.5 * value * (1.0 + inner.tanh())
        }
    }
}

/// By its series, which is accurate to 1e-8 where the result is not 1 anyway.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.2 {
        return x.signum();
    }
    let (mut sum, mut term) = (0.0, x);
    for n in 1..200 {
        sum += term / f64::from(2 * n - 1);
        term *= -x * x / f64::from(n);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

/// Convolution in f64, straight from the definition. Returns the result and, per value, the sum of
/// magnitudes.
pub fn convolve(
    shape: &Conv2dShape,
    n: usize,
    input: &[f64],
    weights: &[f64],
    bias: &[f32],
    residual: Option<&[f64]>,
    activation: Option<Activation>,
) -> (Vec<f64>, Vec<f64>) {
    let Conv2dShape { input: [h, w], in_channels, out_channels, window, groups } = *shape;
    let Window { kernel: [kh, kw], stride, dilation, padding } = window;
    let [oh, ow] = shape.output().unwrap();
    let (ci, co) = (in_channels / groups, out_channels / groups);
    let (mut out, mut size) = (Vec::new(), Vec::new());
    for picture in 0..n {
        for y in 0..oh {
            for x in 0..ow {
                for o in 0..out_channels {
                    let mut sum = f64::from(bias[o]);
                    let mut magnitude = sum.abs();
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let iy =
                                (y * stride[0] + ky * dilation[0]) as isize - padding.top as isize;
                            let ix =
                                (x * stride[1] + kx * dilation[1]) as isize - padding.left as isize;
                            if iy < 0 || ix < 0 || iy >= h as isize || ix >= w as isize {
                                continue;
                            }
                            let pixel = (picture * h + iy as usize) * w + ix as usize;
                            for c in 0..ci {
                                let a = input[pixel * in_channels + o / co * ci + c];
                                let b = weights[((o * ci + c) * kh + ky) * kw + kx];
                                sum += a * b;
                                magnitude += (a * b).abs();
                            }
                        }
                    }
                    if let Some(residual) = residual {
                        let value = residual[out.len()];
                        sum += value;
                        magnitude += value.abs();
                    }
                    out.push(activate(activation, sum));
                    size.push(magnitude);
                }
            }
        }
    }
    (out, size)
}

pub fn wide<E: Element>(values: &[E]) -> Vec<f64> {
    values.iter().map(|v| f64::from(v.to_f32())).collect()
}

/// Largest difference relative to the root mean square of the reference (at least the tiniest
/// sensible one).
pub fn relative_error(actual: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(actual.len(), reference.len());
    let square: f64 = reference.iter().map(|v| v * v).sum();
    let rms = (square / reference.len() as f64).sqrt().max(1e-3);
    actual
        .iter()
        .zip(reference)
        .map(|(a, r)| if a.is_nan() { f64::INFINITY } else { (a - r).abs() / rms })
        .fold(0.0, f64::max)
}

/// Root mean square of the difference, relative to that of the reference.
pub fn rms_error(actual: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(actual.len(), reference.len());
    let difference: f64 = actual.iter().zip(reference).map(|(a, r)| (a - r) * (a - r)).sum();
    let square: f64 = reference.iter().map(|v| v * v).sum();
    if difference.is_nan() { f64::INFINITY } else { (difference / square.max(1e-6)).sqrt() }
}

/// A random convolution: odd sizes, single pixels, channels beside the tile, groups, dilation,
/// asymmetric padding.
pub fn random_shape(random: &mut Random) -> Conv2dShape {
    loop {
        let kernel = [random.pick(&[1, 1, 2, 3, 3, 5]), random.pick(&[1, 1, 2, 3, 3, 7])];
        let window = Window {
            kernel,
            stride: [random.pick(&[1, 1, 2, 3]), random.pick(&[1, 1, 2, 3])],
            dilation: [random.pick(&[1, 1, 1, 2]), random.pick(&[1, 1, 1, 3])],
            padding: Border {
                top: random.range(0, kernel[0] - 1),
                bottom: random.range(0, kernel[0]),
                left: random.range(0, kernel[1] - 1),
                right: random.range(0, kernel[1]),
            },
        };
        let input = [random.pick(&[1, 2, 5, 7, 9, 14]), random.pick(&[1, 3, 6, 7, 13, 17])];
        let channels = [1, 2, 3, 5, 8, 15, 16, 17, 24, 32, 33, 40];
        let (i, o) = (random.pick(&channels), random.pick(&channels));
        let shape = match random.range(0, 4) {
            0 => Conv2dShape::depthwise(
                input,
                random.pick(&[2, 3, 8, 16, 19, 32, 40, 48, 51, 96]),
                window,
            ),
            1 => {
                let groups = random.range(2, 4);
                Conv2dShape { groups, ..Conv2dShape::new(input, i * groups, o * groups, window) }
            }
            _ => Conv2dShape::new(input, i, o, window),
        };
        if shape.output().is_ok() {
            return shape;
        }
    }
}

#[cfg(unix)]
pub mod guard {
    //! Memory between two pages that must not be touched.

    use std::ops::{Deref, DerefMut};
    use std::ptr::null_mut;

    /// Values flush against a guard page: after the last one, or before the first.
    pub struct Guarded<T> {
        map: *mut libc::c_void,
        bytes: usize,
        start: *mut T,
        len: usize,
    }

    impl<T: Copy> Guarded<T> {
        pub fn new(values: &[T], at_end: bool) -> Self {
            // SAFETY: sysconf has no preconditions.
            let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
            let size = size_of_val(values);
            let inner = size.div_ceil(page).max(1) * page;
            let bytes = inner + 2 * page;
            // SAFETY: a fresh anonymous mapping; its first and last page are then closed; the copy
            // lies in between, and is aligned because `size` is a multiple of the size of `T` and
            // pages are aligned to more.
            unsafe {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                let map =
                    libc::mmap(null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
                assert_ne!(map, libc::MAP_FAILED);
                assert_eq!(libc::mprotect(map, page, libc::PROT_NONE), 0);
                assert_eq!(libc::mprotect(map.byte_add(page + inner), page, libc::PROT_NONE), 0);
                let offset = if at_end { page + inner - size } else { page };
                let start = map.byte_add(offset).cast::<T>();
                std::ptr::copy_nonoverlapping(values.as_ptr(), start, values.len());
                Self { map, bytes, start, len: values.len() }
            }
        }
    }

    impl<T> Deref for Guarded<T> {
        type Target = [T];
        fn deref(&self) -> &[T] {
            // SAFETY: `new` put `len` values there.
            unsafe { std::slice::from_raw_parts(self.start, self.len) }
        }
    }

    impl<T> DerefMut for Guarded<T> {
        fn deref_mut(&mut self) -> &mut [T] {
            // SAFETY: as above, borrowed uniquely.
            unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
        }
    }

    impl<T> Drop for Guarded<T> {
        fn drop(&mut self) {
            // SAFETY: the mapping is ours, and nothing borrows from it any more.
            unsafe { libc::munmap(self.map, self.bytes) };
        }
    }
}
