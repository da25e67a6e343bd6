//! The start and the end of a vision transformer: from patches to tokens, and the first token.

use crate::error::{bad_shape, check_len, product};
use crate::team::SharedMut;
use crate::{Element, KernelClass, KernelError, Team};
use taper_simd::{Simd, Task, dispatch};

const OPERATION: &str = "tokens";

/// Puts learned tokens before the patches of each picture, and adds to every token what belongs to
/// its position.
///
/// `table`: `[prefix + patches, width]`, the learned tokens with their positions, then the
/// positions of the patches; `input`: `[n, patches, width]`; `out`: `[n, prefix + patches, width]`.
///
/// # Errors
/// [`KernelError::BufferLength`]; nothing has been written then.
pub fn patch_tokens<E: Element>(
    class: KernelClass,
    team: &mut Team<'_>,
    n: usize,
    [prefix, patches, width]: [usize; 3],
    table: &[f32],
    input: &[E],
    out: &mut [E],
) -> Result<(), KernelError> {
    let map = product(patches, width)?;
    let len = product(prefix, width)?.checked_add(map);
    let len = len.ok_or_else(|| bad_shape(OPERATION, "too many tokens".into()))?;
    check_len(OPERATION, "table", table.len(), len)?;
    check_len(OPERATION, "input", input.len(), product(n, map)?)?;
    check_len(OPERATION, "output", out.len(), product(n, len)?)?;
    let out = SharedMut::new(out);
    team.run(n, &|picture, _| {
        let task = Sum {
            table: table.as_ptr(),
            input: input.as_ptr().wrapping_add(picture * map),
            out: out.get().wrapping_add(picture * len),
            class: prefix * width,
            len,
        };
        // SAFETY: the picture's part of each buffer is as long as just checked, and written by this
        // item only.
        unsafe { dispatch(class, task) }
    });
    Ok(())
}

#[derive(Clone, Copy)]
struct Sum<E: Element> {
    table: *const f32,
    input: *const E,
    out: *mut E,
    /// This many values of the table are copied unchanged.
    class: usize,
    len: usize,
}

impl<E: Element> Task for Sum<E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        // SAFETY: table and output hold `len` values, the input `len − class`.
        unsafe {
            for at in 0..self.class {
                self.out.add(at).write(E::from_f32(*self.table.add(at)));
            }
            let mut at = self.class;
            while at + S::LANES <= self.len {
                let value = S::load(self.input.add(at - self.class));
                S::store(self.out.add(at), S::add(value, S::load32(self.table.add(at))));
                at += S::LANES;
            }
            for at in at..self.len {
                let value = self.input.add(at - self.class).read().to_f32();
                self.out.add(at).write(E::from_f32(value + *self.table.add(at)));
            }
        }
    }
}

/// The first token of each sequence: `input` is `[n, tokens, width]`, `out` `[n, width]`.
///
/// # Errors
/// [`KernelError::BufferLength`]; nothing has been written then.
pub fn class_token<E: Element, O: Element>(
    n: usize,
    [tokens, width]: [usize; 2],
    input: &[E],
    out: &mut [O],
) -> Result<(), KernelError> {
    let len = product(tokens, width)?;
    check_len(OPERATION, "input", input.len(), product(n, len)?)?;
    check_len(OPERATION, "output", out.len(), product(n, width)?)?;
    for picture in 0..n {
        let from = &input[picture * len..][..width];
        let to = &mut out[picture * width..][..width];
        to.iter_mut().zip(from).for_each(|(to, from)| *to = O::from_f32(from.to_f32()));
    }
    Ok(())
}
