//! Gradients of the ends of a network: pooled features, patch tokens, class token.

use taper_kernels::parts::{Ending, SharedMut, bad_shape, check_len, product};
use taper_kernels::{Epilogue, KernelClass, KernelError, Team};
use taper_simd::{Simd, Task, dispatch};

use crate::checks::check_epilogue;
use crate::partial::AddUp;
use crate::rows::{copy, load, store};

/// Values of a table that a thread adds up at a time.
const BLOCK: usize = 1024;

/// The gradient of a global average pool's input: every pixel gets its share of the mean's.
///
/// `gradient`: `[n, channels]`; `out` and the slices of `epilogue`: `[n, pixels, channels]`, see
/// [`DataGradient`](crate::DataGradient).
///
/// # Errors
/// [`KernelError::BadShape`] for a map without pixels or for an epilogue that makes no sense,
/// [`KernelError::BufferLength`].
pub fn global_average_pool_gradient(
    class: KernelClass,
    team: &mut Team<'_>,
    n: usize,
    [pixels, channels]: [usize; 2],
    gradient: &[f32],
    epilogue: Epilogue<'_, f32>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    const OPERATION: &str = "gradient of global average pooling";
    if pixels == 0 || channels == 0 {
        return Err(bad_shape(OPERATION, format!("{pixels} pixels of {channels} channels")));
    }
    check_len(OPERATION, "gradient", gradient.len(), product(n, channels)?)?;
    check_len(OPERATION, "output", out.len(), product(n, product(pixels, channels)?)?)?;
    check_epilogue(OPERATION, epilogue, out.len())?;
    let out = SharedMut::new(out);
    team.run(n, &|picture, _| {
        let at = picture * pixels * channels;
        let task = Spread {
            gradient: gradient.as_ptr().wrapping_add(picture * channels),
            ending: Ending::new(epilogue).from(at),
            out: out.get().wrapping_add(at),
            pixels,
            channels,
        };
        // SAFETY: the picture's part of each buffer is as long as just checked, and written by this
        // item only.
        unsafe { dispatch(class, task) }
    });
    Ok(())
}

#[derive(Clone, Copy)]
struct Spread {
    gradient: *const f32,
    ending: Ending<f32>,
    out: *mut f32,
    pixels: usize,
    channels: usize,
}

impl Task for Spread {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        // SAFETY: `channel + n ≤ channels` and `pixel < pixels`: within gradient and output.
        unsafe {
            let factor = S::splat(1.0 / self.pixels as f32);
            for pixel in 0..self.pixels {
                let mut channel = 0;
                while channel < self.channels {
                    let n = S::LANES.min(self.channels - channel);
                    let at = pixel * self.channels + channel;
                    let share = S::mul(load::<S>(self.gradient.add(channel), n), factor);
                    store::<S>(self.out.add(at), self.ending.apply::<S>(share, at, n), n);
                    channel += n;
                }
            }
        }
    }
}

/// The gradient of a sequence of which only the first token is read on: `gradient` is `[n, width]`,
/// `out` `[n, tokens, width]`.
///
/// # Errors
/// [`KernelError::BufferLength`].
pub fn class_token_gradient(
    n: usize,
    [tokens, width]: [usize; 2],
    gradient: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    const OPERATION: &str = "gradient of the class token";
    let len = product(tokens, width)?;
    check_len(OPERATION, "gradient", gradient.len(), product(n, width)?)?;
    check_len(OPERATION, "output", out.len(), product(n, len)?)?;
    out.fill(0.0);
    for picture in 0..n {
        let from = &gradient[picture * width..][..width];
        out[picture * len..][..width].copy_from_slice(from);
    }
    Ok(())
}

/// The gradients of learned tokens and positions, and of the patches that they were added to.
///
/// `gradient`: `[n, prefix + patches, width]`; `table`: `[prefix + patches, width]`, the sum over
/// the pictures, added to what is there with `accumulate`: its first rows are the gradients of the
/// learned tokens and of their positions, the others those of the patches' positions. `out`:
/// `[n, patches, width]`. Either may be left out.
///
/// # Errors
/// [`KernelError::BufferLength`].
pub fn patch_tokens_gradient(
    class: KernelClass,
    team: &mut Team<'_>,
    n: usize,
    [prefix, patches, width]: [usize; 3],
    gradient: &[f32],
    table: Option<(&mut [f32], bool)>,
    out: Option<&mut [f32]>,
) -> Result<(), KernelError> {
    const OPERATION: &str = "gradient of tokens";
    let map = product(patches, width)?;
    let front = product(prefix, width)?;
    let len = map + front;
    check_len(OPERATION, "gradient", gradient.len(), product(n, len)?)?;
    if let Some((table, _)) = &table {
        check_len(OPERATION, "table", table.len(), len)?;
    }
    if let Some(out) = &out {
        check_len(OPERATION, "output", out.len(), product(n, map)?)?;
    }
    if let Some((table, accumulate)) = table {
        let table = SharedMut::new(table);
        team.run(len.div_ceil(BLOCK), &|item, _| {
            let first = item * BLOCK;
            let task = AddUp {
                parts: gradient.as_ptr().wrapping_add(first),
                count: n,
                step: len,
                out: table.get().wrapping_add(first),
                len: BLOCK.min(len - first),
                accumulate,
            };
            // SAFETY: the block lies within the table and each picture's gradients, and is written
            // by this item only.
            unsafe { dispatch(class, task) }
        });
    }
    if let Some(out) = out {
        let out = SharedMut::new(out);
        team.run(n, &|picture, _| {
            let task = Copy {
                from: gradient.as_ptr().wrapping_add(picture * len + front),
                to: out.get().wrapping_add(picture * map),
                len: map,
            };
            // SAFETY: the picture's part of both is as long as just checked, and written by this
            // item only.
            unsafe { dispatch(class, task) }
        });
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Copy {
    from: *const f32,
    to: *mut f32,
    len: usize,
}

impl Task for Copy {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        // SAFETY: as the fields say.
        unsafe { copy::<S>(self.from, self.to, self.len) }
    }
}
