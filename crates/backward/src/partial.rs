//! Sums in parts: each part has a fixed share of the terms, so that no result depends on the number
//! of threads, and the parts are added up in a fixed order.

use taper_kernels::parts::SharedMut;
use taper_kernels::{KernelClass, Team};
use taper_simd::{Simd, Task, dispatch};

use crate::rows::{add, clear, copy};

/// Values that a thread adds up at a time.
const BLOCK: usize = 4096;

/// `out ← Σ parts`, or `out ← out + Σ parts`; `parts` holds `[count, out.len()]`.
pub(crate) fn add_up(
    class: KernelClass,
    team: &mut Team<'_>,
    parts: &[f32],
    count: usize,
    accumulate: bool,
    out: &mut [f32],
) {
    let len = out.len();
    debug_assert!(parts.len() >= count * len);
    let out = SharedMut::new(out);
    team.run(len.div_ceil(BLOCK), &|item, _| {
        let first = item * BLOCK;
        let task = AddUp {
            parts: parts.as_ptr().wrapping_add(first),
            count,
            step: len,
            out: out.get().wrapping_add(first),
            len: BLOCK.min(len - first),
            accumulate,
        };
        // SAFETY: the block lies within the output and within each part, and is written by this
        // item only.
        unsafe { dispatch(class, task) }
    });
}

/// Adds up `count` parts of `len` values, `step` apart.
#[derive(Clone, Copy)]
pub(crate) struct AddUp {
    pub(crate) parts: *const f32,
    pub(crate) count: usize,
    pub(crate) step: usize,
    pub(crate) out: *mut f32,
    pub(crate) len: usize,
    pub(crate) accumulate: bool,
}

impl Task for AddUp {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        // SAFETY: the caller vouches for `count` parts and for the output.
        unsafe {
            let mut rest = 0;
            if !self.accumulate {
                if self.count == 0 {
                    return clear::<S>(self.out, self.len);
                }
                copy::<S>(self.parts, self.out, self.len);
                rest = 1;
            }
            for part in rest..self.count {
                add::<S>(self.parts.add(part * self.step), self.out, self.len);
            }
        }
    }
}
