//! Normalisation over the channels of each position (Ba, Kiros and Hinton, *Layer Normalization*,
//! 2016).

use crate::error::product;
use crate::error::{bad_shape, check_len};
use crate::team::SharedMut;
use crate::{Element, KernelClass, KernelError, Team};
use taper_simd::AlignedBuffer;
use taper_simd::{Simd, Task, dispatch};

const OPERATION: &str = "layer normalisation";

/// The widest vector.
const LANES: usize = 16;

/// Rows that a thread takes at a time.
const BLOCK: usize = 32;

/// A layer norm: (x − mean) / √(variance + ε) · scale + bias over each row, with the biased
/// variance, as `torch.nn.LayerNorm`.
#[derive(Debug)]
pub struct LayerNorm {
    class: KernelClass,
    scale: AlignedBuffer<f32>,
    bias: AlignedBuffer<f32>,
    eps: f32,
}

impl LayerNorm {
    /// Scale and bias: `[channels]`.
    ///
    /// # Errors
    /// [`KernelError::BadShape`] without channels, [`KernelError::BufferLength`] if scales and
    /// biases differ in number.
    pub fn new(
        class: KernelClass,
        scale: &[f32],
        bias: &[f32],
        eps: f32,
    ) -> Result<Self, KernelError> {
        if scale.is_empty() {
            return Err(bad_shape(OPERATION, "no channels".to_owned()));
        }
        check_len(OPERATION, "bias", bias.len(), scale.len())?;
        let copy = |values: &[f32]| {
            let mut buffer = AlignedBuffer::new(values.len());
            buffer.copy_from_slice(values);
            buffer
        };
        Ok(Self { class, scale: copy(scale), bias: copy(bias), eps })
    }

    /// Other scales and biases, `[channels]` each, in the memory of the old ones.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`]; the old ones are still there then.
    pub fn set(&mut self, scale: &[f32], bias: &[f32]) -> Result<(), KernelError> {
        check_len(OPERATION, "scale", scale.len(), self.scale.len())?;
        check_len(OPERATION, "bias", bias.len(), self.bias.len())?;
        self.scale.copy_from_slice(scale);
        self.bias.copy_from_slice(bias);
        Ok(())
    }

    /// Values per row.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.scale.len()
    }

    /// Bytes of scale and bias.
    #[must_use]
    pub fn bytes(&self) -> usize {
        2 * self.channels() * size_of::<f32>()
    }

    /// Normalises rows: `input` and `out` are `[rows, channels]`. No scratch is needed; sums are in
    /// f32, in an order that depends only on the class of kernels.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`].
    pub fn run<E: Element>(
        &self,
        team: &mut Team<'_>,
        rows: usize,
        input: &[E],
        out: &mut [E],
    ) -> Result<(), KernelError> {
        let len = product(rows, self.channels())?;
        check_len(OPERATION, "input", input.len(), len)?;
        check_len(OPERATION, "output", out.len(), len)?;
        let out = SharedMut::new(out);
        team.run(rows.div_ceil(BLOCK), &|item, _| {
            let start = item * BLOCK;
            let task = Rows {
                norm: self,
                input: input.as_ptr().wrapping_add(start * self.channels()),
                out: out.get().wrapping_add(start * self.channels()),
                rows: BLOCK.min(rows - start),
            };
            // SAFETY: the rows lie within both buffers, as just checked, and are written by this
            // item only.
            unsafe { dispatch(self.class, task) }
        });
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Rows<'a, E: Element> {
    norm: &'a LayerNorm,
    input: *const E,
    out: *mut E,
    rows: usize,
}

impl<E: Element> Task for Rows<'_, E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let channels = self.norm.channels();
        let (scale, bias) = (self.norm.scale.as_ptr(), self.norm.bias.as_ptr());
        let whole = channels / S::LANES * S::LANES;
        let rest = channels - whole;
        for row in 0..self.rows {
            // SAFETY: rows, scale and bias hold `channels` values; `at + LANES ≤ whole`, and `whole
            // + rest = channels`.
            unsafe {
                let x = self.input.add(row * channels);
                let y = self.out.add(row * channels);
                let mut sums = S::splat(0.0);
                for at in (0..whole).step_by(S::LANES) {
                    sums = S::add(sums, S::load(x.add(at)));
                }
                let mut sum = across::<S>(sums, S::LANES);
                if rest > 0 {
                    sum += across::<S>(S::load_n(x.add(whole), rest), rest);
                }
                let mean = S::splat(sum / channels as f32);

                let mut squares = S::splat(0.0);
                for at in (0..whole).step_by(S::LANES) {
                    let d = S::sub(S::load(x.add(at)), mean);
                    squares = S::fma(d, d, squares);
                }
                let mut square = across::<S>(squares, S::LANES);
                if rest > 0 {
                    let d = S::sub(S::load_n(x.add(whole), rest), mean);
                    square += across::<S>(S::mul(d, d), rest);
                }
                let factor = 1.0 / (square / channels as f32 + self.norm.eps).sqrt();

                let factor = S::splat(factor);
                for at in (0..whole).step_by(S::LANES) {
                    let d = S::mul(S::sub(S::load(x.add(at)), mean), factor);
                    let value = S::fma(d, S::load32(scale.add(at)), S::load32(bias.add(at)));
                    S::store(y.add(at), value);
                }
                if rest > 0 {
                    let d = S::mul(S::sub(S::load_n(x.add(whole), rest), mean), factor);
                    let scale = S::load32_n(scale.add(whole), rest);
                    let value = S::fma(d, scale, S::load32_n(bias.add(whole), rest));
                    S::store_n(y.add(whole), value, rest);
                }
            }
        }
    }
}

/// The sum of the first `n` lanes.
///
/// # Safety
/// The processor has the instructions of `S`; `n ≤ LANES`.
#[inline(always)]
unsafe fn across<S: Simd>(value: S::V, n: usize) -> f32 {
    const { assert!(S::LANES <= LANES) };
    let mut lanes = [0.0f32; LANES];
    // SAFETY: there is room for a vector.
    unsafe { S::store32(lanes.as_mut_ptr(), value) };
    lanes[..n].iter().sum()
}
