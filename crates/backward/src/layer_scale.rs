//! Layer scale (Touvron et al., *Going deeper with Image Transformers*, 2021).

use taper_kernels::parts::{SharedMut, bad_shape, check_len, product};
use taper_kernels::{KernelClass, KernelError, Team};
use taper_simd::{Simd, Task, dispatch};

use crate::checks::check_shared;
use crate::partial::add_up;
use crate::rows::{load, store};

const OPERATION: &str = "layer scale";

/// Rows whose products are one sum.
const ROWS: usize = 64;

/// Layer scale over rows of channels, `input · scale`, and its gradients.
#[derive(Debug, Clone, Copy)]
pub struct LayerScale {
    class: KernelClass,
    channels: usize,
}

impl LayerScale {
    /// For rows of `channels` values.
    ///
    /// # Errors
    /// [`KernelError::BadShape`] without channels.
    pub fn new(class: KernelClass, channels: usize) -> Result<Self, KernelError> {
        if channels == 0 {
            return Err(bad_shape(OPERATION, "no channels".to_owned()));
        }
        Ok(Self { class, channels })
    }

    /// `out ← input · scale`; `input` and `out`: `[rows, channels]`.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`].
    pub fn run(
        &self,
        team: &mut Team<'_>,
        rows: usize,
        scale: &[f32],
        input: &[f32],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let len = product(rows, self.channels)?;
        check_len(OPERATION, "scale", scale.len(), self.channels)?;
        check_len(OPERATION, "input", input.len(), len)?;
        check_len(OPERATION, "output", out.len(), len)?;
        let out = SharedMut::new(out);
        self.scale(team, rows, scale, [input.as_ptr(), std::ptr::null()], out, None);
        Ok(())
    }

    /// Values (f32) that all threads share in [`gradient`](Self::gradient).
    #[must_use]
    pub fn shared_len(&self, rows: usize) -> usize {
        rows.div_ceil(ROWS) * self.channels
    }

    /// The gradients of the input, in place of those of the output, and of the scale.
    ///
    /// `input` and `gradient`: `[rows, channels]`; `into`: `[channels]` and whether to add to what
    /// is there. `shared`: at least [`shared_len`](Self::shared_len) values.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`], [`KernelError::BadShape`] if `shared` is too short.
    pub fn gradient(
        &self,
        team: &mut Team<'_>,
        shared: &mut [f32],
        scale: &[f32],
        input: &[f32],
        gradient: &mut [f32],
        (into, accumulate): (&mut [f32], bool),
    ) -> Result<(), KernelError> {
        let rows = gradient.len() / self.channels;
        check_len(OPERATION, "gradient", gradient.len(), rows * self.channels)?;
        check_len(OPERATION, "input", input.len(), gradient.len())?;
        check_len(OPERATION, "scale", scale.len(), self.channels)?;
        check_len(OPERATION, "scale gradient", into.len(), self.channels)?;
        check_shared(OPERATION, shared.len(), self.shared_len(rows))?;
        let gradient = SharedMut::new(gradient);
        let from = [gradient.get().cast_const(), input.as_ptr()];
        self.scale(team, rows, scale, from, gradient, Some(SharedMut::new(shared)));
        add_up(self.class, team, shared, rows.div_ceil(ROWS), accumulate, into);
        Ok(())
    }

    fn scale(
        &self,
        team: &mut Team<'_>,
        rows: usize,
        scale: &[f32],
        from: [*const f32; 2],
        out: SharedMut<f32>,
        sums: Option<SharedMut<f32>>,
    ) {
        let channels = self.channels;
        let [from, input] = from.map(Source);
        team.run(rows.div_ceil(ROWS), &|item, _| {
            let start = item * ROWS * channels;
            let task = Rows {
                scale: scale.as_ptr(),
                from: from.at(start),
                input: input.at(start),
                out: out.get().wrapping_add(start),
                sums: sums
                    .map_or(std::ptr::null_mut(), |sums| sums.get().wrapping_add(item * channels)),
                rows: ROWS.min(rows - item * ROWS),
                channels,
            };
            // SAFETY: the rows lie within all buffers, whose lengths the callers have checked, and
            // are written by this item only; what is read there is read before it is written.
            unsafe { dispatch(self.class, task) }
        });
    }
}

/// A pointer that several threads read.
#[derive(Clone, Copy)]
struct Source(*const f32);

impl Source {
    fn at(self, at: usize) -> *const f32 {
        self.0.wrapping_add(at)
    }
}

// SAFETY: only a number until it is dereferenced, by the tasks, which say why they may.
unsafe impl Sync for Source {}

#[derive(Clone, Copy)]
struct Rows {
    scale: *const f32,
    from: *const f32,
    /// What the products are summed with, if `sums` is not null.
    input: *const f32,
    out: *mut f32,
    /// Null, or `channels` sums of `from · input`.
    sums: *mut f32,
    rows: usize,
    channels: usize,
}

impl Task for Rows {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let mut channel = 0;
        // SAFETY: `channel + n ≤ channels`, in each of `rows` rows.
        unsafe {
            while channel < self.channels {
                let n = S::LANES.min(self.channels - channel);
                let scale = load::<S>(self.scale.add(channel), n);
                let mut sum = S::splat(0.0);
                for row in 0..self.rows {
                    let at = row * self.channels + channel;
                    let value = load::<S>(self.from.add(at), n);
                    if !self.sums.is_null() {
                        sum = S::fma(value, load::<S>(self.input.add(at), n), sum);
                    }
                    store::<S>(self.out.add(at), S::mul(value, scale), n);
                }
                if !self.sums.is_null() {
                    store::<S>(self.sums.add(channel), sum, n);
                }
                channel += n;
            }
        }
    }
}
