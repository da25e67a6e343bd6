use crate::{KernelError, error::check_len};

/// A matrix in memory, f32, dense; `transposed` reads the same memory as `[columns, rows]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `[rows, columns]`, row-major.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`] if there are not `rows · columns` values.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Result<Self, KernelError> {
        check_len("matmul", "matrix", values.len(), rows * columns)?;
        Ok(Self { values, rows, columns, transposed: false })
    }

    /// The same values, read as the transposed matrix; nothing is copied.
    #[must_use]
    pub fn t(self) -> Self {
        let Self { values, rows, columns, transposed } = self;
        Self { values, rows: columns, columns: rows, transposed: !transposed }
    }

    /// Distances between neighbours in a row and in a column.
    fn strides(&self) -> (isize, isize) {
        if self.transposed { (self.rows as isize, 1) } else { (1, self.columns as isize) }
    }
}

/// `out ← a · b`, or `out ← out + a · b` with `accumulate`: f32 `[a.rows, b.columns]`, row-major.
///
/// Runs on the threads of the current rayon pool: on the `gemm` crate with the feature `gemm`, in
/// plain loops without it, which may differ in the last bits. Every sum runs over the same terms in
/// the same order, whatever the number of threads.
///
/// # Errors
/// [`KernelError::BadShape`] if `a` does not have as many columns as `b` has rows,
/// [`KernelError::BufferLength`] if `out` has the wrong size.
pub fn matmul(
    out: &mut [f32],
    a: Matrix<'_>,
    b: Matrix<'_>,
    accumulate: bool,
) -> Result<(), KernelError> {
    if a.columns != b.rows {
        let reason = format!("[{}, {}] times [{}, {}]", a.rows, a.columns, b.rows, b.columns);
        return Err(crate::error::bad_shape("matmul", reason));
    }
    check_len("matmul", "output", out.len(), a.rows * b.columns)?;
    product(out, a, b, accumulate);
    Ok(())
}

/// Below this, waking the other threads costs more than they save.
const SMALL: usize = 1 << 20;

#[cfg(feature = "gemm")]
fn product(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, accumulate: bool) {
    use gemm::Parallelism;

    let threads = rayon::current_num_threads();
    let parallelism = if threads == 1 || a.rows * a.columns * b.columns < SMALL {
        Parallelism::None
    } else {
        Parallelism::Rayon(threads)
    };
    let ((a_columns, a_rows), (b_columns, b_rows)) = (a.strides(), b.strides());
    // SAFETY: every element that the strides reach lies within its slice, since `Matrix::new` and
    // `matmul` have compared the lengths with the shapes; `out` is borrowed mutably, so
    // that it overlaps neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            accumulate,
            a.values.as_ptr(),
            a_columns,
            a_rows,
            b.values.as_ptr(),
            b_columns,
            b_rows,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Row by row: dot products if `b` is stored by columns, sums of its rows if it is stored by rows.
#[cfg(not(feature = "gemm"))]
fn product(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, accumulate: bool) {
    use rayon::prelude::*;

    let (inner, width) = (a.columns, b.columns);
    if width == 0 {
        return;
    }
    let (across, down) = a.strides();
    let row = |(r, out): (usize, &mut [f32])| {
        if !accumulate {
            out.fill(0.0);
        }
        let factor = |k: usize| a.values[r * down as usize + k * across as usize];
        if !b.transposed {
            for k in 0..inner {
                let factor = factor(k);
                for (out, b) in out.iter_mut().zip(&b.values[k * width..]) {
                    *out += factor * b;
                }
            }
        } else if a.transposed {
            let gathered: Vec<f32> = (0..inner).map(factor).collect();
            add_products(out, &gathered, b.values);
        } else {
            add_products(out, &a.values[r * inner..][..inner], b.values);
        }
    };
    if a.rows * inner * width < SMALL {
        out.chunks_exact_mut(width).enumerate().for_each(row);
    } else {
        out.par_chunks_exact_mut(width).enumerate().for_each(row);
    }
}

/// Adds to each element of `out` the dot product of `x` with its own column of `columns`.
#[cfg(not(feature = "gemm"))]
fn add_products(out: &mut [f32], x: &[f32], columns: &[f32]) {
    /// Sums that run side by side, so that the compiler can vectorise them.
    const LANES: usize = 16;
    let (x, x_rest) = x.as_chunks::<LANES>();
    let length = x.len() * LANES + x_rest.len();
    for (i, out) in out.iter_mut().enumerate() {
        let (y, y_rest) = columns[i * length..][..length].as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        for (x, y) in x.iter().zip(y) {
            for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
                *sum += x * y;
            }
        }
        let rest: f32 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
        *out += sums.iter().sum::<f32>() + rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, accumulate: bool) {
        let at = |m: &Matrix<'_>, r: usize, c: usize| {
            let (columns, rows) = m.strides();
            f64::from(m.values[r * rows as usize + c * columns as usize])
        };
        for r in 0..a.rows {
            for c in 0..b.columns {
                let sum: f64 = (0..a.columns).map(|k| at(&a, r, k) * at(&b, k, c)).sum();
                let old = if accumulate { f64::from(out[r * b.columns + c]) } else { 0.0 };
                out[r * b.columns + c] = (old + sum) as f32;
            }
        }
    }

    #[test]
    fn all_forms_agree_with_sums_in_f64_and_threads_change_no_bit() {
        let fill = |n: usize, phase: f32| -> Vec<f32> {
            (0..n).map(|i| (i as f32 * 0.37 + phase).sin()).collect()
        };
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (64, 130, 65), (17, 2048, 33), (130, 64, 300)] {
            for form in 0..8 {
                let (x, y) = (fill(m * k, 0.1), fill(k * n, 0.2));
                let a = if form & 1 == 0 {
                    Matrix::new(&x, m, k).unwrap()
                } else {
                    Matrix::new(&x, k, m).unwrap().t()
                };
                let b = if form & 2 == 0 {
                    Matrix::new(&y, k, n).unwrap()
                } else {
                    Matrix::new(&y, n, k).unwrap().t()
                };
                let mut expected = fill(m * n, 0.3);
                naive(&mut expected, a, b, form & 4 != 0);
                let mut results = Vec::new();
                for threads in [1, 2, 3, 8] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                    let mut out = fill(m * n, 0.3);
                    pool.unwrap().install(|| matmul(&mut out, a, b, form & 4 != 0)).unwrap();
                    results.push(out);
                }
                for (o, e) in results[0].iter().zip(&expected) {
                    assert!((o - e).abs() < 1e-4 * (k as f32).sqrt(), "{o} instead of {e}");
                }
                assert!(results.windows(2).all(|w| w[0] == w[1]), "{m} {k} {n} {form}");
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let values = [0.0; 6];
        let a = Matrix::new(&values, 2, 3).unwrap();
        assert!(Matrix::new(&values, 2, 2).is_err());
        assert!(matmul(&mut [0.0; 4], a, a, false).unwrap_err().to_string().contains("[2, 3]"));
        assert!(matmul(&mut [0.0; 3], a, a.t(), false).is_err());
    }
}
