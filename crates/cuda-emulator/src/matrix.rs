//! Values of any precision in device memory, and products of matrices.

use gemm::Parallelism;
use half::{bf16, f16};

use crate::memory;

/// What values are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    F16,
    BF16,
    F32,
    F64,
}

impl Precision {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// What sums are kept in.
pub(crate) trait Sum: Copy + Default + PartialEq + Send + Sync + 'static {
    const ONE: Self;
    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
}

impl Sum for f32 {
    const ONE: Self = 1.0;
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Sum for f64 {
    const ONE: Self = 1.0;
    fn from_f64(value: f64) -> Self {
        value
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// Values in device memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values {
    pub(crate) address: u64,
    pub(crate) precision: Precision,
}

impl Values {
    /// Whether the first `count` values lie in a live allocation, aligned.
    pub(crate) fn allocated(&self, what: &str, count: usize) -> bool {
        let bytes = self.precision.bytes();
        self.address.is_multiple_of(bytes as u64)
            && memory::inside(what, self.address, (count * bytes) as u64)
    }

    /// One of them.
    ///
    /// # Safety
    /// It lies in a live allocation.
    #[inline(always)]
    pub(crate) unsafe fn get(&self, at: usize) -> f64 {
        // SAFETY: by this function's contract.
        unsafe {
            match self.precision {
                Precision::F16 => (self.address as *const f16).add(at).read().to_f64(),
                Precision::BF16 => (self.address as *const bf16).add(at).read().to_f64(),
                Precision::F32 => f64::from((self.address as *const f32).add(at).read()),
                Precision::F64 => (self.address as *const f64).add(at).read(),
            }
        }
    }

    /// Rounds a sum to one of them.
    ///
    /// # Safety
    /// It lies in a live allocation.
    #[inline(always)]
    pub(crate) unsafe fn set(&self, at: usize, value: f64) {
        // SAFETY: by this function's contract. Sums of f32 are exact in f64, so that each is
        // rounded once.
        unsafe {
            match self.precision {
                Precision::F16 => {
                    (self.address as *mut f16).add(at).write(f16::from_f32(value as f32));
                }
                Precision::BF16 => {
                    (self.address as *mut bf16).add(at).write(bf16::from_f32(value as f32));
                }
                Precision::F32 => (self.address as *mut f32).add(at).write(value as f32),
                Precision::F64 => (self.address as *mut f64).add(at).write(value),
            }
        }
    }
}

/// `out [m, n] = a [m, k] × b [k, n]`, each with the strides of its columns and of its rows.
pub(crate) fn product<T: Sum>(
    [m, n, k]: [usize; 3],
    (a, a_columns, a_rows): (&[T], usize, usize),
    (b, b_columns, b_rows): (&[T], usize, usize),
    (out, out_columns, out_rows): (&mut [T], usize, usize),
) {
    if m == 0 || n == 0 {
        return;
    }
    let last = |rows: usize, columns: usize, by_column: usize, by_row: usize| {
        (columns.max(1) - 1) * by_column + (rows.max(1) - 1) * by_row
    };
    assert!(last(m, n, out_columns, out_rows) < out.len());
    if k == 0 {
        for row in 0..m {
            for column in 0..n {
                out[row * out_rows + column * out_columns] = T::default();
            }
        }
        return;
    }
    assert!(last(m, k, a_columns, a_rows) < a.len() && last(k, n, b_columns, b_rows) < b.len());
    // SAFETY: the last value of each matrix was just found inside its slice.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            out_columns as isize,
            out_rows as isize,
            false,
            a.as_ptr(),
            a_columns as isize,
            a_rows as isize,
            b.as_ptr(),
            b_columns as isize,
            b_rows as isize,
            T::default(),
            T::ONE,
            false,
            false,
            false,
            Parallelism::Rayon(0),
        );
    }
}
