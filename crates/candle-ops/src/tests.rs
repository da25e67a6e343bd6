//! The kernels themselves, compiled for this processor: each against the plain Rust of the same
//! operation.

#![cfg(target_os = "linux")]

mod gradient;

use std::{
    ffi::CString,
    path::{Path, PathBuf},
    process::Command,
};

use candle_core::{Device, Tensor, WithDType};
use half::{bf16, f16};
use libloading::Library;
use taper_core::random::{Key, Purpose};
use taper_graph::{Activation, Padding};

use crate::custom::{
    Affine, Depthwise, Finish, GlobalAverage, LayerNorm, MaxPool, Normalise, Pointwise, Slide,
    Unfold, Window,
};

/// Blocks and threads of the emulated grids: few, so that every thread takes several steps.
const GRID: (u32, u32) = (3, 4);

fn compiled(folder: &Path) -> Option<Library> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cuda/kernels.cu");
    let library: PathBuf = folder.join("kernels.so");
    let outcome = Command::new("c++")
        .args(["-std=c++17", "-O1", "-fno-fast-math", "-ffp-contract=off", "-shared", "-fPIC"])
        .args(["-DTAPER_HOST", "-x", "c++", source, "-o"])
        .arg(&library)
        .output();
    match outcome {
        Err(error) => {
            taper_testing::skip(format_args!("no c++ on this machine ({error})"));
            None
        }
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            // SAFETY: the library was just made from our own source and has no initialisers.
            Some(unsafe { Library::new(&library).unwrap() })
        }
    }
}

/// Calls a kernel once for each thread of the grid.
fn launch<F: Copy>(library: &Library, name: &str, call: impl Fn(F)) {
    let name = CString::new(name).unwrap();
    // SAFETY: the caller gives the kernel's own signature.
    unsafe {
        let kernel = *library.get::<F>(name.as_bytes_with_nul()).unwrap();
        let place =
            *library.get::<unsafe extern "C" fn(u32, u32, u32, u32)>(b"place_thread\0").unwrap();
        for block in 0..GRID.0 {
            for thread in 0..GRID.1 {
                place(block, GRID.0, thread, GRID.1);
                call(kernel);
            }
        }
    }
}

fn values<T: WithDType>(count: usize, seed: u64) -> Vec<T> {
    let mut stream = Key::new(seed, Purpose::new("frozen/values")).stream(0, 0);
    (0..count).map(|_| T::from_f64(f64::from(stream.next_u32() as u8) / 32.0 - 4.0)).collect()
}

fn tensor<T: WithDType>(values: &[T], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

fn flat<T: WithDType>(x: &Tensor) -> Vec<T> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

type Slided<T> = unsafe extern "C" fn(*const T, *mut T, Window);
type Filtered<T> = unsafe extern "C" fn(*const T, *const f32, *const f32, *mut T, Window);
type Finished<T> = unsafe extern "C" fn(*mut T, *const f32, *const T, u32, u32, u32);
type Mixed<T> =
    unsafe extern "C" fn(*const T, *const f32, *const f32, *const T, *mut T, u32, u32, u32, u32);
type Normalised<T> = unsafe extern "C" fn(*const u8, *mut T, u32, u32, Affine);
type Normed<T> = unsafe extern "C" fn(*const T, *const f32, *const f32, *mut T, u32, u32, f32);
type Masked = unsafe extern "C" fn(*mut f32, u32, u32, u32, u32, u32, u32, f32);
type Averaged<T> = unsafe extern "C" fn(*const T, *mut f32, u32, u32, u32);

fn all<T: WithDType + std::fmt::Debug>(library: &Library, suffix: &str, wide: usize) {
    for (case, (kernel, stride, dilation, padding)) in [
        (3, 1, 1, Padding::Same),
        (3, 2, 1, Padding::Same),
        (5, 2, 1, Padding::Symmetric(2)),
        (3, 1, 2, Padding::Symmetric(1)),
        (2, 2, 1, Padding::Symmetric(0)),
    ]
    .into_iter()
    .enumerate()
    {
        for (channels, vector) in [(wide * 2, wide), (wide * 2, 1), (3, 1)] {
            let shape = [2, 9, 7, channels];
            let x: Vec<T> = values(2 * 9 * 7 * channels, case as u64);
            let maps = tensor(&x, &shape);
            let activation = [None, Some(Activation::Relu), Some(Activation::Relu6)][case % 3];
            let slide = Slide { kernel, stride, dilation, padding, activation };
            let window = slide.over(&shape).unwrap();
            let name = |op: &str| format!("{op}_{suffix}_{vector}");

            let expected: Vec<T> = flat(&maps.apply_op1_no_bwd(&Unfold(slide)).unwrap());
            let mut y = values::<T>(expected.len(), 9);
            let target = y.as_mut_ptr();
            // SAFETY: the buffers are as long as the window says.
            launch::<Slided<T>>(library, &name("unfold"), |f| unsafe {
                f(x.as_ptr(), target, window)
            });
            assert!(y == expected, "unfold of {window:?}");

            if dilation == 1 {
                let expected: Vec<T> = flat(&maps.apply_op1_no_bwd(&MaxPool(slide)).unwrap());
                let mut y = values::<T>(expected.len(), 9);
                let target = y.as_mut_ptr();
                // SAFETY: as above.
                launch::<Slided<T>>(library, &name("max_pool"), |f| unsafe {
                    f(x.as_ptr(), target, window)
                });
                assert!(y == expected, "max pool of {window:?}");
            }

            let weights: Vec<f32> = values(kernel * kernel * channels, 5);
            let bias: Vec<f32> = values(channels, 6);
            let expected: Vec<T> = flat(
                &maps
                    .apply_op3_no_bwd(
                        &tensor(&weights, &[kernel * kernel, channels]),
                        &tensor(&bias, &[channels]),
                        &Depthwise(slide),
                    )
                    .unwrap(),
            );
            let mut y = values::<T>(expected.len(), 9);
            let target = y.as_mut_ptr();
            // SAFETY: as above.
            launch::<Filtered<T>>(library, &name("depthwise"), |f| unsafe {
                f(x.as_ptr(), weights.as_ptr(), bias.as_ptr(), target, window);
            });
            assert!(y == expected, "depthwise of {window:?}");

            for residual in [None, Some(values::<T>(x.len(), 8))] {
                let mut y = x.clone();
                let expected = tensor(&x, &shape);
                let (bias_tensor, finish) = (tensor(&bias, &[channels]), Finish(activation));
                match &residual {
                    None => expected.inplace_op2(&bias_tensor, &finish).unwrap(),
                    Some(r) => {
                        expected.inplace_op3(&bias_tensor, &tensor(r, &shape), &finish).unwrap()
                    }
                }
                let target = y.as_mut_ptr();
                let add = residual.as_ref().map_or(std::ptr::null(), |r| r.as_ptr());
                let rows = (x.len() / channels) as u32;
                // SAFETY: as above.
                launch::<Finished<T>>(library, &name("finish"), |f| unsafe {
                    f(target, bias.as_ptr(), add, rows, channels as u32, window.activation);
                });
                assert!(y == flat::<T>(&expected), "finish with {activation:?}");
            }

            let expected: Vec<f32> = flat(&maps.apply_op1_no_bwd(&GlobalAverage).unwrap());
            let mut y = vec![-1f32; expected.len()];
            let target = y.as_mut_ptr();
            // SAFETY: as above.
            launch::<Averaged<T>>(library, &format!("global_average_{suffix}"), |f| unsafe {
                f(x.as_ptr(), target, 2, 63, channels as u32);
            });
            assert_eq!(y, expected);
        }
    }
    pointwise::<T>(library, suffix, wide);
    normalised::<T>(library, suffix);
}

/// Mixtures of channels, with and without a residual.
fn pointwise<T: WithDType + std::fmt::Debug>(library: &Library, suffix: &str, wide: usize) {
    for (inputs, outputs, vector) in [(wide, wide * 3, wide), (wide, wide * 3, 1), (3, 5, 1)] {
        // Not a multiple of the pixels that a thread takes.
        let (pixels, shape) = (2 * 3 * 3, [2, 3, 3, inputs]);
        let x: Vec<T> = values(pixels * inputs, 1);
        let (weights, bias) = (values::<f32>(inputs * outputs, 2), values::<f32>(outputs, 3));
        for residual in [None, Some(values::<T>(pixels * outputs, 8))] {
            let other = residual.as_ref().map(|r| tensor(r, &[2, 3, 3, outputs]));
            let activation = Some(Activation::Relu);
            let op = Pointwise { activation, residual: other.as_ref() };
            let expected = tensor(&x, &shape).apply_op3_no_bwd(
                &tensor(&weights, &[inputs, outputs]),
                &tensor(&bias, &[outputs]),
                &op,
            );
            let expected: Vec<T> = flat(&expected.unwrap());
            let mut y = values::<T>(expected.len(), 9);
            let target = y.as_mut_ptr();
            let add = residual.as_ref().map_or(std::ptr::null(), |r| r.as_ptr());
            let [n, i, o] = [pixels, inputs, outputs].map(|size| size as u32);
            // SAFETY: as above.
            launch::<Mixed<T>>(library, &format!("pointwise_{suffix}_{vector}"), |f| unsafe {
                f(x.as_ptr(), weights.as_ptr(), bias.as_ptr(), add, target, n, i, o, 1);
            });
            assert!(y == expected, "pointwise {inputs} to {outputs}");
        }
    }
}

/// From bytes to normalised channels.
fn normalised<T: WithDType + std::fmt::Debug>(library: &Library, suffix: &str) {
    let bytes: Vec<u8> = (0..2 * 5 * 5 * 3).map(|i| (i * 37 % 256) as u8).collect();
    let pixels = tensor(&bytes, &[2, 5, 5, 3]);
    for channels in [3, 8] {
        let affine = Affine { scale: [0.017, 0.018, 0.019], shift: [-2.1, -2.0, -1.8] };
        let op = Normalise { affine, channels, dtype: T::DTYPE };
        let expected: Vec<T> = flat(&pixels.apply_op1_no_bwd(&op).unwrap());
        let mut y = values::<T>(expected.len(), 9);
        let target = y.as_mut_ptr();
        // SAFETY: as above.
        launch::<Normalised<T>>(library, &format!("normalise_{suffix}"), |f| unsafe {
            f(bytes.as_ptr(), target, 50, channels as u32, affine);
        });
        assert!(y == expected, "normalise to {channels} channels");
    }
}

/// Activations, and sums over channels, which are told apart from the reference's by the last
/// bits of libraries.
fn nearly<T: WithDType>(library: &Library, suffix: &str, wide: usize, bound: f64) {
    let close = |ours: &[T], theirs: &[T], what: &str| {
        for (a, b) in ours.iter().zip(theirs) {
            let (a, b) = (a.to_f64(), b.to_f64());
            assert!((a - b).abs() <= bound * b.abs().max(1.0), "{what}: {a} instead of {b}");
        }
    };
    for (channels, vector) in [(wide * 5, wide), (wide * 5, 1), (3, 1)] {
        let (rows, shape) = (18, [2, 3, 3, channels]);
        let x: Vec<T> = values(rows * channels, 4);
        let (scale, bias) = (values::<f32>(channels, 5), values::<f32>(channels, 6));
        let (scales, biases) = (tensor(&scale, &[channels]), tensor(&bias, &[channels]));
        let maps = tensor(&x, &shape);

        let op = LayerNorm { eps: 1e-6 };
        let expected: Vec<T> = flat(&maps.apply_op3_no_bwd(&scales, &biases, &op).unwrap());
        let mut y = values::<T>(expected.len(), 9);
        let target = y.as_mut_ptr();
        // SAFETY: the buffers are as long as rows and channels say.
        launch::<Normed<T>>(library, &format!("layer_norm_{suffix}_{vector}"), |f| unsafe {
            let (scale, bias) = (scale.as_ptr(), bias.as_ptr());
            f(x.as_ptr(), scale, bias, target, rows as u32, channels as u32, 1e-6);
        });
        close(&y, &expected, "layer norm");

        let smooth = [Activation::Gelu, Activation::QuickGelu, Activation::GeluTanh];
        for (activation, code) in smooth.into_iter().zip(3..) {
            let finish = Finish(Some(activation));
            let expected = tensor(&x, &shape);
            expected.inplace_op2(&biases, &finish).unwrap();
            let name = format!("finish_{suffix}_{vector}");
            let mut y = x.clone();
            let target = y.as_mut_ptr();
            // SAFETY: as above.
            launch::<Finished<T>>(library, &name, |f| unsafe {
                let none = std::ptr::null();
                f(target, bias.as_ptr(), none, rows as u32, channels as u32, code);
            });
            close(&y, &flat::<T>(&expected), activation.name());
        }
    }
}

#[test]
fn masks_are_those_of_the_keyed_streams() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path()) else { return };
    let key = Key::new(8, Purpose::new("frozen/masks"));
    for (rows, columns, p) in [(3usize, 7usize, 0.5f32), (5, 64, 0.2), (1, 1, 0.9)] {
        let [low, high] = key.words();
        let threshold = taper_core::random::bernoulli_threshold(p);
        let mut y = vec![-1f32; rows * columns];
        let target = y.as_mut_ptr();
        // SAFETY: the kernel writes rows · columns values.
        launch::<Masked>(&library, "dropout_mask", |f| unsafe {
            f(target, rows as u32, columns as u32, low, high, 6, threshold, 2.0);
        });
        for (row, mask) in y.chunks(columns).enumerate() {
            let mut expected = vec![0.0; columns];
            key.stream(6, row as u64).fill_bernoulli(p, 0.0, 2.0, &mut expected);
            assert_eq!(mask, expected, "row {row} of {rows} × {columns}");
        }
    }
}

#[test]
fn kernels_do_what_the_reference_does() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path()) else { return };
    all::<f32>(&library, "f32", 4);
    all::<f16>(&library, "f16", 8);
    all::<bf16>(&library, "bf16", 8);
    nearly::<f32>(&library, "f32", 4, 1e-6);
    nearly::<f16>(&library, "f16", 8, 1e-3);
    nearly::<bf16>(&library, "bf16", 8, 8e-3);
}

/// NVRTC and the assembler need no GPU, so that a build with CUDA at least knows whether its
/// kernels compile, and that all their values stay in registers.
#[cfg(feature = "cuda")]
#[test]
fn kernels_compile_for_cuda() {
    let ptx = crate::cuda::ptx().unwrap();
    for name in [
        "depthwise_bf16_8",
        "unfold_f32_1",
        "finish_f16_8",
        "normalise_bf16",
        "layer_norm_bf16_8",
        "pointwise_bf16_8",
        "dropout_mask",
        "depthwise_weights_bf16_8",
        "column_sums_f16_8",
        "layer_norm_gradient_f32_4",
    ] {
        assert!(ptx.contains(&format!(".entry {name}(")), "no {name} in the PTX");
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("kernels.ptx");
    std::fs::write(&source, ptx).unwrap();
    for generation in ["sm_80", "sm_90", "sm_100"] {
        let output = Command::new("ptxas")
            .args(["-v", "-arch", generation, "-o"])
            .arg(folder.path().join("kernels.cubin"))
            .arg(&source)
            .output();
        let output = match output {
            Ok(output) => output,
            Err(error) => {
                taper_testing::skip(format_args!("no ptxas on the PATH ({error})"));
                return;
            }
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{generation}: {said}");
        // "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"
        let frames = said.lines().filter(|line| line.contains("bytes stack frame"));
        let in_memory: Vec<&str> =
            frames.filter(|line| !line.trim().starts_with("0 bytes stack frame, 0 ")).collect();
        assert!(in_memory.is_empty(), "{generation}: {in_memory:?}");
    }
}
