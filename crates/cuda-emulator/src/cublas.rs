//! The products of cuBLAS: column-major, batched, in any precision, with f32 sums (f64 for f64).

use std::{
    collections::HashMap,
    ffi::{c_int, c_longlong, c_void},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use half::f16;

use crate::{
    counters::{self, Counter, complain, log},
    driver::put,
    matrix::{Precision, Sum, Values, product},
    status::{ERROR_ILLEGAL_ADDRESS, Status},
    stream::{self, Stream},
};

const NOT_INITIALIZED: c_int = 1;
const INVALID_VALUE: c_int = 7;
const EXECUTION_FAILED: c_int = 13;
const NOT_SUPPORTED: c_int = 15;

#[derive(Clone, Copy, Debug, Default)]
struct Settings {
    stream: u64,
    /// 0: scaling factors are in host memory.
    pointers: c_int,
    math: c_int,
}

fn handles() -> MutexGuard<'static, HashMap<u64, Settings>> {
    static HANDLES: OnceLock<Mutex<HashMap<u64, Settings>>> = OnceLock::new();
    HANDLES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

fn with(handle: u64, action: impl FnOnce(&mut Settings) -> c_int) -> c_int {
    handles().get_mut(&handle).map_or(NOT_INITIALIZED, action)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cublasCreate_v2(place: *mut u64) -> c_int {
    static NEXT: AtomicU64 = AtomicU64::new(0xB1A5_0000);
    let handle = NEXT.fetch_add(0x10, Ordering::Relaxed);
    handles().insert(handle, Settings::default());
    put(place, handle).map_or(INVALID_VALUE, |()| 0)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cublasDestroy_v2(handle: u64) -> c_int {
    handles().remove(&handle).map_or(NOT_INITIALIZED, |_| 0)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cublasSetStream_v2(handle: u64, stream: u64) -> c_int {
    with(handle, |settings| {
        settings.stream = stream;
        0
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cublasSetMathMode(handle: u64, mode: c_int) -> c_int {
    with(handle, |settings| {
        settings.math = mode;
        0
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cublasGetMathMode(handle: u64, mode: *mut c_int) -> c_int {
    with(handle, |settings| put(mode, settings.math).map_or(INVALID_VALUE, |()| 0))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cublasSetPointerMode_v2(handle: u64, mode: c_int) -> c_int {
    with(handle, |settings| {
        settings.pointers = mode;
        0
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cublasGetPointerMode_v2(handle: u64, mode: *mut c_int) -> c_int {
    with(handle, |settings| put(mode, settings.pointers).map_or(INVALID_VALUE, |()| 0))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cublasSetWorkspace_v2(handle: u64, space: u64, bytes: usize) -> c_int {
    let usable = bytes == 0
        || space.is_multiple_of(256)
            && crate::memory::inside("workspace of cuBLAS", space, bytes as u64);
    with(handle, |_| if usable { 0 } else { INVALID_VALUE })
}

/// An operand: its values, its leading dimension, the distance to the next one of the batch.
#[derive(Clone, Copy, Debug)]
struct Operand {
    values: Values,
    leading: usize,
    stride: usize,
    transposed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Product {
    sizes: [usize; 3],
    batch: usize,
    a: Operand,
    b: Operand,
    c: Operand,
    alpha: f64,
    beta: f64,
}

impl Operand {
    /// How many values it spans, all of the batch.
    fn extent(&self, rows: usize, columns: usize, batch: usize) -> usize {
        if rows == 0 || columns == 0 || batch == 0 {
            return 0;
        }
        (batch - 1) * self.stride + (columns - 1) * self.leading + rows
    }

    /// `[rows, columns]` of one of the batch, column by column.
    ///
    /// # Safety
    /// All of it lies in a live allocation.
    unsafe fn read<T: Sum>(&self, rows: usize, columns: usize, number: usize) -> Vec<T> {
        let mut values = Vec::with_capacity(rows * columns);
        for column in 0..columns {
            let start = number * self.stride + column * self.leading;
            // SAFETY: by this function's contract.
            values
                .extend((0..rows).map(|row| T::from_f64(unsafe { self.values.get(start + row) })));
        }
        values
    }
}

impl Product {
    /// Rows and columns as they are stored.
    fn stored(&self) -> [(usize, usize); 3] {
        let [m, n, k] = self.sizes;
        let turned = |operand: &Operand, rows, columns| {
            if operand.transposed { (columns, rows) } else { (rows, columns) }
        };
        [turned(&self.a, m, k), turned(&self.b, k, n), (m, n)]
    }

    fn run<T: Sum>(&self) -> Result<(), Status> {
        let [m, n, k] = self.sizes;
        let stored = self.stored();
        let operands =
            [(&self.a, "A of cuBLAS"), (&self.b, "B of cuBLAS"), (&self.c, "C of cuBLAS")];
        for ((operand, name), (rows, columns)) in operands.into_iter().zip(stored) {
            if !operand.values.allocated(name, operand.extent(rows, columns, self.batch)) {
                return Err(ERROR_ILLEGAL_ADDRESS);
            }
        }
        let mut sums = vec![T::default(); m * n];
        for number in 0..self.batch {
            let [(a_rows, a_columns), (b_rows, b_columns), _] = stored;
            // SAFETY: both were just found in live allocations, and nothing is freed while a job
            // runs.
            let (a, b): (Vec<T>, Vec<T>) = unsafe {
                (self.a.read(a_rows, a_columns, number), self.b.read(b_rows, b_columns, number))
            };
            let steps = |operand: &Operand, rows: usize| {
                if operand.transposed { (1, rows) } else { (rows, 1) }
            };
            let (by_column, by_row) = steps(&self.a, a_rows);
            let a = (a.as_slice(), by_column, by_row);
            let (by_column, by_row) = steps(&self.b, b_rows);
            let b = (b.as_slice(), by_column, by_row);
            product([m, n, k], a, b, (&mut sums, m, 1));
            for column in 0..n {
                let start = number * self.c.stride + column * self.c.leading;
                for row in 0..m {
                    let sum = sums[column * m + row].to_f64() * self.alpha;
                    // SAFETY: as above.
                    unsafe {
                        // A value multiplied by 0 is not read.
                        let rest = match self.beta {
                            0.0 => 0.0,
                            beta => beta * self.c.values.get(start + row),
                        };
                        let sum = T::from_f64(sum + rest).to_f64();
                        self.c.values.set(start + row, sum);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The arguments as passed from C.
struct Call {
    handle: u64,
    turns: [c_int; 2],
    sizes: [c_int; 3],
    batch: c_int,
    alpha: *const c_void,
    beta: *const c_void,
    /// Address, type, leading dimension, stride of A, B and C.
    operands: [(u64, c_int, c_int, c_longlong); 3],
    compute: c_int,
}

fn precision(kind: c_int) -> Option<Precision> {
    Some(match kind {
        0 => Precision::F32,
        1 => Precision::F64,
        2 => Precision::F16,
        14 => Precision::BF16,
        _ => return None,
    })
}

fn call(call: &Call) -> c_int {
    let Some(settings) = handles().get(&call.handle).copied() else { return NOT_INITIALIZED };
    let refuse = |status: c_int, why: &str| {
        complain(format_args!("cuBLAS, {:?} {:?}: {why}", call.sizes, call.operands));
        status
    };
    if settings.pointers != 0 {
        return refuse(NOT_SUPPORTED, "scaling factors on the device are not emulated");
    }
    if call.alpha.is_null() || call.beta.is_null() {
        return refuse(INVALID_VALUE, "no scaling factors");
    }
    let sizes = call.sizes.map(usize::try_from);
    let [Ok(m), Ok(n), Ok(k)] = sizes else { return refuse(INVALID_VALUE, "a negative size") };
    let Ok(batch) = usize::try_from(call.batch) else {
        return refuse(INVALID_VALUE, "a negative batch");
    };
    let kinds = call.operands.map(|(_, kind, _, _)| precision(kind));
    let [Some(a), Some(b), Some(c)] = kinds else { return refuse(NOT_SUPPORTED, "a type") };
    // SAFETY: cuBLAS's interface: factors are of the type that the sums have.
    let scalings = unsafe {
        match call.compute {
            64 | 65 => {
                let factor = |p: *const c_void| p.cast::<f16>().read_unaligned().to_f64();
                (factor(call.alpha), factor(call.beta))
            }
            70 | 71 => (call.alpha.cast::<f64>().read(), call.beta.cast::<f64>().read()),
            _ => {
                let factor = |p: *const c_void| f64::from(p.cast::<f32>().read());
                (factor(call.alpha), factor(call.beta))
            }
        }
    };
    let fits = match call.compute {
        64 | 65 => [a, b, c] == [Precision::F16; 3],
        68 | 69 | 74 | 75 | 77 => {
            a == b
                && match a {
                    Precision::F16 | Precision::BF16 => {
                        call.compute <= 69 && (c == a || c == Precision::F32)
                    }
                    Precision::F32 => c == a,
                    Precision::F64 => false,
                }
        }
        70 | 71 => [a, b, c] == [Precision::F64; 3],
        _ => false,
    };
    if !fits {
        return refuse(NOT_SUPPORTED, &format!("these types with compute type {}", call.compute));
    }
    let turns = call.turns.map(|turn| match turn {
        0 => Some(false),
        1 | 2 => Some(true),
        _ => None,
    });
    let [Some(turn_a), Some(turn_b)] = turns else { return refuse(INVALID_VALUE, "an operation") };
    let operand = |place: usize, precision: Precision, transposed: bool, rows: usize| {
        let (address, _, leading, stride) = call.operands[place];
        let leading = usize::try_from(leading).ok().filter(|leading| *leading >= rows.max(1))?;
        let stride = usize::try_from(stride).ok()?;
        Some(Operand { values: Values { address, precision }, leading, stride, transposed })
    };
    let (Some(a), Some(b), Some(c)) = (
        operand(0, a, turn_a, if turn_a { k } else { m }),
        operand(1, b, turn_b, if turn_b { n } else { k }),
        operand(2, c, false, m),
    ) else {
        return refuse(INVALID_VALUE, "a leading dimension below the rows, or a negative stride");
    };
    if batch > 1 && c.stride < (n.max(1) - 1) * c.leading + m {
        return refuse(INVALID_VALUE, "products of a batch overlap");
    }
    let (alpha, beta) = scalings;
    let product = Product { sizes: [m, n, k], batch, a, b, c, alpha, beta };
    log(|| format!("cuBLAS {product:?} on {:#x}", settings.stream));
    let Ok(stream) = stream::stream(settings.stream) else { return EXECUTION_FAILED };
    if m == 0 || n == 0 || batch == 0 {
        return 0;
    }
    queue(stream, product)
}

fn queue(stream: Stream, product: Product) -> c_int {
    counters::add(Counter::Launches);
    let job = move || match product.c.values.precision {
        Precision::F64 => product.run::<f64>(),
        _ => product.run::<f32>(),
    };
    stream::give(stream, Box::new(job)).map_or(EXECUTION_FAILED, |()| 0)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cublasGemmStridedBatchedEx(
    handle: u64,
    turn_a: c_int,
    turn_b: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const c_void,
    a: u64,
    a_type: c_int,
    a_leading: c_int,
    a_stride: c_longlong,
    b: u64,
    b_type: c_int,
    b_leading: c_int,
    b_stride: c_longlong,
    beta: *const c_void,
    c: u64,
    c_type: c_int,
    c_leading: c_int,
    c_stride: c_longlong,
    batch: c_int,
    compute: c_int,
    _algorithm: c_int,
) -> c_int {
    call(&Call {
        handle,
        turns: [turn_a, turn_b],
        sizes: [m, n, k],
        batch,
        alpha,
        beta,
        operands: [
            (a, a_type, a_leading, a_stride),
            (b, b_type, b_leading, b_stride),
            (c, c_type, c_leading, c_stride),
        ],
        compute,
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cublasGemmEx(
    handle: u64,
    turn_a: c_int,
    turn_b: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const c_void,
    a: u64,
    a_type: c_int,
    a_leading: c_int,
    b: u64,
    b_type: c_int,
    b_leading: c_int,
    beta: *const c_void,
    c: u64,
    c_type: c_int,
    c_leading: c_int,
    compute: c_int,
    algorithm: c_int,
) -> c_int {
    cublasGemmStridedBatchedEx(
        handle, turn_a, turn_b, m, n, k, alpha, a, a_type, a_leading, 0, b, b_type, b_leading, 0,
        beta, c, c_type, c_leading, 0, 1, compute, algorithm,
    )
}

macro_rules! of_one_type {
    ($($plain:ident, $batched:ident, $type:ty, $kind:literal, $compute:literal;)*) => {$(
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $plain(
            handle: u64,
            turn_a: c_int,
            turn_b: c_int,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: *const $type,
            a: u64,
            a_leading: c_int,
            b: u64,
            b_leading: c_int,
            beta: *const $type,
            c: u64,
            c_leading: c_int,
        ) -> c_int {
            $batched(
                handle, turn_a, turn_b, m, n, k, alpha, a, a_leading, 0, b, b_leading, 0, beta, c,
                c_leading, 0, 1,
            )
        }

        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $batched(
            handle: u64,
            turn_a: c_int,
            turn_b: c_int,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: *const $type,
            a: u64,
            a_leading: c_int,
            a_stride: c_longlong,
            b: u64,
            b_leading: c_int,
            b_stride: c_longlong,
            beta: *const $type,
            c: u64,
            c_leading: c_int,
            c_stride: c_longlong,
            batch: c_int,
        ) -> c_int {
            cublasGemmStridedBatchedEx(
                handle, turn_a, turn_b, m, n, k, alpha.cast(), a, $kind, a_leading, a_stride, b,
                $kind, b_leading, b_stride, beta.cast(), c, $kind, c_leading, c_stride, batch,
                $compute, -1,
            )
        }
    )*};
}

of_one_type! {
    cublasSgemm_v2, cublasSgemmStridedBatched, f32, 0, 68;
    cublasDgemm_v2, cublasDgemmStridedBatched, f64, 1, 70;
    cublasHgemm, cublasHgemmStridedBatched, f16, 2, 64;
}
