//! From f32 to the elements of a plan.

use crate::error::check_len;
use crate::team::SharedMut;
use crate::{Element, KernelClass, KernelError, Team};
use taper_simd::{Simd, Task, dispatch};

const OPERATION: &str = "rounding";

/// How many values one work item rounds.
const CHUNK: usize = 16 << 10;

/// Rounds each value to the nearest element, ties to even. `from` and `to` have the same length.
///
/// # Errors
/// [`KernelError::BufferLength`]; nothing has been written then.
pub fn convert<E: Element>(
    class: KernelClass,
    team: &mut Team<'_>,
    from: &[f32],
    to: &mut [E],
) -> Result<(), KernelError> {
    check_len(OPERATION, "output", to.len(), from.len())?;
    let len = to.len();
    let to = SharedMut::new(to);
    team.run(len.div_ceil(CHUNK), &|item, _| {
        let first = item * CHUNK;
        let task = Chunk {
            from: from[first..].as_ptr(),
            // SAFETY: `first < len`, the length of both.
            to: unsafe { to.get().add(first) },
            len: CHUNK.min(len - first),
        };
        // SAFETY: both hold `len` values from there on, and no other item writes these.
        unsafe { dispatch(class, task) }
    });
    Ok(())
}

#[derive(Clone, Copy)]
struct Chunk<E: Element> {
    from: *const f32,
    to: *mut E,
    len: usize,
}

impl<E: Element> Task for Chunk<E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let mut at = 0;
        // SAFETY: `at + n ≤ len`, the length of both.
        unsafe {
            while at + S::LANES <= self.len {
                S::store(self.to.add(at), S::load32(self.from.add(at)));
                at += S::LANES;
            }
            let rest = self.len - at;
            if rest > 0 {
                S::store_n(self.to.add(at), S::load32_n(self.from.add(at), rest), rest);
            }
        }
    }
}
