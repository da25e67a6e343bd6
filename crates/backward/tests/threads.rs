//! The number of threads changes no bit, a batch in parts is repeatable, and a warm call allocates
//! nothing.
#![allow(clippy::unwrap_used)] // helpers of tests
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::Random;
use taper_backward::{
    Affine, AttentionGradient, AttentionPoolGradient, BatchNorm, Convolution, ConvolutionMut,
    DataGradient, Gradients, LayerNormGradient, LayerScale, NormParameters, Normalised,
    PoolGradient, WeightGradient, activation_gradient, patch_tokens_gradient,
};
use taper_kernels::{
    Activation, Border, Conv2dShape, Epilogue, KernelClass, PoolKind, Team, Window,
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The results of `run` with 1, 2, 3 and 8 threads are the same, and a warm call with 2 threads
/// allocates nothing. `run` overwrites all of its results.
fn check(
    name: &str,
    scratch_len: usize,
    out_len: usize,
    run: &mut (dyn FnMut(&mut Team<'_>, &mut [f32]) + Send),
) {
    let mut results: Vec<Vec<f32>> = Vec::new();
    for threads in [1, 2, 3, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut scratch = vec![f32::NAN; threads * scratch_len];
        let mut out = vec![f32::NAN; out_len];
        pool.install(|| run(&mut Team::current(&mut scratch), &mut out));
        assert!(out.iter().all(|v| !v.is_nan()), "{name}: not everything is written");
        if threads == 2 {
            // The pool itself allocates when a thread takes part for the first time, which on a
            // busy machine may be late.
            let least = (0..8).map(|_| {
                pool.install(|| {
                    let before = ALLOCATIONS.load(Ordering::Relaxed);
                    run(&mut Team::current(&mut scratch), &mut out);
                    ALLOCATIONS.load(Ordering::Relaxed) - before
                })
            });
            assert_eq!(least.min().unwrap(), 0, "{name}: allocations");
        }
        results.push(out);
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{name}: threads change bits");
}

fn shapes() -> Vec<Conv2dShape> {
    let same = Window::square(3).padding(Border::uniform(1));
    vec![
        Conv2dShape::new([17, 19], 40, 72, Window::square(1)),
        Conv2dShape::new([13, 11], 20, 40, same),
        Conv2dShape::new([17, 12], 33, 40, same),
        Conv2dShape::new([17, 12], 33, 40, same.stride(2)),
        Conv2dShape::new([7, 7], 20, 70, Window::square(7)),
        Conv2dShape::linear(700, 130),
        Conv2dShape::depthwise([35, 15], 40, same),
        Conv2dShape::depthwise([34, 15], 19, same.stride(2)),
        Conv2dShape { groups: 2, ..Conv2dShape::new([9, 10], 24, 40, same) },
    ]
}

// One test for all of it: allocations are counted for the whole process.
#[test]
#[cfg_attr(miri, ignore = "rayon's own use of pointers is not what is tested here")]
fn threads_change_no_bit_and_nothing_is_allocated() {
    let class = KernelClass::best();
    let n = 5;
    for shape in shapes() {
        let mut random = Random(1);
        let weights = random.values(shape.filter_len());
        let input = random.values(n * shape.input_len());
        let gradient = random.values(n * shape.output_len().unwrap());
        let kernel = WeightGradient::new(class, &shape).unwrap();
        let mut shared = vec![f32::NAN; kernel.shared_len(n).unwrap()];
        let len = weights.len();
        let (pixels, maps) = (shape.input_len(), shape.output_len().unwrap());
        check(
            &format!("weights of {shape}"),
            kernel.scratch_len(),
            len + shape.out_channels,
            &mut |team, out| {
                let (weights, bias) = out.split_at_mut(len);
                // All of it, then two parts of it once more.
                for (first, last, accumulate) in [(0, n, false), (0, 2, true), (2, n, true)] {
                    let into = Gradients { weights, bias: Some(bias), accumulate };
                    let (x, y) = (
                        &input[first * pixels..last * pixels],
                        &gradient[first * maps..last * maps],
                    );
                    kernel.run(team, &mut shared, last - first, x, y, into).unwrap();
                }
            },
        );
        let mut kernel = DataGradient::new(class, &shape, &weights).unwrap();
        let name = format!("data of {shape}");
        check(&name, kernel.scratch_len(), input.len(), &mut |team, out| {
            kernel.repack(team, &weights).unwrap();
            kernel.run(team, n, &gradient, Epilogue::default(), out).unwrap();
        });
    }
    others(class);
}

/// All kernels that are not convolutions.
fn others(class: KernelClass) {
    let mut random = Random(2);
    let (rows, channels) = (2500, 40);
    let input = random.values(rows * channels);
    let gradient = random.values(rows * channels);
    let [mean, scale, bias] = [(); 3].map(|()| random.values(channels));
    let variance = vec![0.5; channels];
    let norm = BatchNorm::new(class, channels, 1e-3).unwrap();
    let mut shared = vec![f32::NAN; norm.shared_len(rows)];
    check("batch norm", 0, 4 * channels + input.len(), &mut |team, out| {
        let (affine, data) = out.split_at_mut(4 * channels);
        let (moments, affine) = affine.split_at_mut(2 * channels);
        let (average, squares) = moments.split_at_mut(channels);
        let (of_scale, of_bias) = affine.split_at_mut(channels);
        norm.statistics(team, &mut shared, &input, average, squares).unwrap();
        let parameters =
            NormParameters { mean: average, variance: squares, scale: &scale, bias: &bias };
        let epilogue = Epilogue::activation(Activation::Relu);
        norm.run(team, &mut shared, &input, &parameters, epilogue, data).unwrap();
        data.copy_from_slice(&gradient);
        let mask = Some((Activation::Relu, &*input));
        let of = Normalised { input: &input, parameters, fixed: false, mask };
        let into = Affine { scale: of_scale, bias: of_bias, accumulate: false };
        norm.gradient(team, &mut shared, &of, data, into, None).unwrap();
    });
    check("folding", 0, 2 * input.len() + 3 * channels, &mut |team, out| {
        let parameters =
            NormParameters { mean: &mean, variance: &variance, scale: &scale, bias: &bias };
        let (folded, rest) = out.split_at_mut(input.len());
        let (of_weights, rest) = rest.split_at_mut(input.len());
        let (term, rest) = rest.split_at_mut(channels);
        let (of_scale, of_bias) = rest.split_at_mut(channels);
        let convolution = Convolution { weights: &input, bias: None };
        let into = ConvolutionMut { weights: folded, bias: term };
        norm.fold(team, &parameters, convolution, into).unwrap();
        of_weights.copy_from_slice(&gradient);
        let gradients = ConvolutionMut { weights: of_weights, bias: term };
        let into = Affine { scale: of_scale, bias: of_bias, accumulate: false };
        norm.unfold(team, &parameters, convolution, gradients, into).unwrap();
    });
    let norm = LayerNormGradient::new(class, channels, 1e-6).unwrap();
    let mut shared = vec![f32::NAN; norm.shared_len(rows)];
    check("layer norm", 0, 2 * channels + input.len(), &mut |team, out| {
        let (affine, data) = out.split_at_mut(2 * channels);
        let (of_scale, of_bias) = affine.split_at_mut(channels);
        data.copy_from_slice(&gradient);
        let into = Affine { scale: of_scale, bias: of_bias, accumulate: false };
        norm.run(team, &mut shared, [&input, &scale], None, data, into).unwrap();
    });
    let scaled = LayerScale::new(class, channels).unwrap();
    let mut shared = vec![f32::NAN; scaled.shared_len(rows)];
    check("layer scale", 0, channels + input.len(), &mut |team, out| {
        let (of_scale, data) = out.split_at_mut(channels);
        scaled.run(team, rows, &scale, &gradient, data).unwrap();
        data.copy_from_slice(&gradient);
        scaled.gradient(team, &mut shared, &scale, &input, data, (of_scale, false)).unwrap();
    });
    // 5 sequences of 50 tokens of 100.
    let kernel = AttentionGradient::new(class, 50, 100, 4).unwrap();
    let tokens = random.values(5 * 50 * 300);
    check("attention", kernel.scratch_len(), tokens.len(), &mut |team, out| {
        kernel.run(team, 5, &tokens, &gradient[..5 * 50 * 100], out).unwrap();
    });
    let kernel = AttentionPoolGradient::new(class, 50, 100, 4).unwrap();
    let scored = random.values(5 * 50 * 104);
    check("attention pooling", kernel.scratch_len(), scored.len(), &mut |team, out| {
        kernel.run(team, 5, &scored, &gradient[..5 * 100], out).unwrap();
    });
    check("tokens", 0, 50 * 100 + 5 * 49 * 100, &mut |team, out| {
        let (table, data) = out.split_at_mut(50 * 100);
        let gradient = &gradient[..5 * 50 * 100];
        patch_tokens_gradient(
            class,
            team,
            5,
            [1, 49, 100],
            gradient,
            Some((table, false)),
            Some(data),
        )
        .unwrap();
    });
    let window = Window::square(3).stride(2).padding(Border::uniform(1));
    let kernel = PoolGradient::new(class, PoolKind::Max, [25, 20], 40, window).unwrap();
    let maps = 5 * 13 * 10 * 40;
    check("pool", 0, input.len(), &mut |team, out| {
        kernel.run(team, 5, &input, &gradient[..maps], Epilogue::default(), out).unwrap();
    });
    check("activation", 0, input.len(), &mut |team, out| {
        out.copy_from_slice(&gradient);
        activation_gradient(class, team, Activation::Gelu, &input, out).unwrap();
    });
}
