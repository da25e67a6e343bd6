//! The networks that Taper knows, compiled, against the same networks in f64.
#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{cosine, pixels, reference, relative_error};
use taper_graph::{Graph, Weights};
use taper_networks as networks;
use taper_plan::{FrozenPlan, KernelClass, Kernels, Output, PlanOptions, Precision};

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

fn options(size: [usize; 2]) -> PlanOptions {
    PlanOptions::new(size, MEAN, STD)
}

fn kernels() -> Vec<Kernels> {
    [Kernels::Avx512, Kernels::Avx2, Kernels::Portable]
        .into_iter()
        .filter(|k| k.resolve().is_ok())
        .collect()
}

fn run(
    graph: &Graph,
    weights: &Weights,
    options: &PlanOptions,
    n: usize,
    threads: usize,
    pixels: &[u8],
) -> Vec<f32> {
    let plan = FrozenPlan::compile(graph, weights, options).unwrap();
    let mut workspace = plan.workspace(threads);
    let mut out = vec![f32::NAN; n * plan.output_width()];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    // Twice: the second pass finds the buffers full of the first one's values.
    pool.install(|| plan.forward(&mut workspace, pixels, n, &mut out)).unwrap();
    out.fill(f32::NAN);
    pool.install(|| plan.forward(&mut workspace, pixels, n, &mut out)).unwrap();
    out
}

fn check(graph: &Graph, size: [usize; 2], limit: f64) {
    let weights = Weights::seeded(graph);
    let n = 2;
    let picture = 3 * size[0] * size[1];
    let pixels = pixels(n * picture);
    let features = graph.without_classifier();
    let expected: Vec<f64> = pixels
        .chunks(picture)
        .flat_map(|p| reference(&features, &weights, size, &MEAN, &STD, p))
        .collect();
    for kernels in kernels() {
        let out = run(graph, &weights, &options(size).kernels(kernels), n, 1, &pixels);
        let error = relative_error(&out, &expected);
        assert!(error <= limit, "{} f32 {kernels}: {error:e}", graph.name());
        let out = run(
            graph,
            &weights,
            &options(size).kernels(kernels).precision(Precision::Bf16),
            n,
            1,
            &pixels,
        );
        let (error, cosine) = (relative_error(&out, &expected), cosine(&out, &expected));
        assert!(
            error <= 2e-2 && cosine >= 0.999,
            "{} bf16 {kernels}: {error:e}, cosine {cosine}",
            graph.name()
        );
    }
}

#[test]
fn resnet50_agrees_with_f64() {
    check(&networks::resnet50(10), [64, 64], 1e-4);
}

#[test]
fn vgg16_agrees_with_f64() {
    check(&networks::vgg16(10), [32, 48], 1e-4);
}

#[test]
fn efficientnet_lite0_agrees_with_f64() {
    check(&networks::efficientnet_lite0(10), [64, 72], 1e-4);
}

#[test]
fn vit_base_agrees_with_f64() {
    // Sides that are not multiples of the patch, with a grid other than the training grid.
    check(&networks::vit_base(10), [40, 64], 1e-4);
}

#[test]
fn dinov2_small_agrees_with_f64() {
    check(&networks::dinov2_small(0), [56, 48], 1e-4);
}

#[test]
fn clip_vit_b32_agrees_with_f64() {
    check(&networks::clip_vit_b32(0), [80, 64], 1e-4);
}

#[test]
fn a_transformer_is_cut_at_any_block() {
    let graph = networks::dinov2_small(0).cut("blocks.5").unwrap();
    check(&graph, [42, 42], 1e-4);
}

#[test]
fn logits_come_out_of_the_classifier() {
    let graph = networks::efficientnet_lite0(10);
    let weights = Weights::seeded(&graph);
    let size = [33, 47];
    let pixels = pixels(3 * size[0] * size[1]);
    let expected = reference(&graph, &weights, size, &MEAN, &STD, &pixels);
    let out = run(&graph, &weights, &options(size).output(Output::Logits), 1, 1, &pixels);
    assert_eq!(out.len(), 10);
    assert!(relative_error(&out, &expected) <= 1e-4);
}

/// Threads, batch and the grouping of pictures change nothing.
#[test]
fn features_are_the_same_to_the_bit_however_they_are_computed() {
    for graph in [networks::resnet50(10), networks::dinov2_small(0)] {
        the_same_to_the_bit(&graph);
    }
}

fn the_same_to_the_bit(graph: &Graph) {
    let weights = Weights::seeded(graph);
    let size = [40, 33];
    let picture = 3 * size[0] * size[1];
    let n = 7;
    let pixels = pixels(n * picture);
    for precision in [Precision::F32, Precision::Bf16] {
        let base = options(size).precision(precision);
        let expected = run(graph, &weights, &base, n, 1, &pixels);
        for (threads, group, early_bytes) in
            [(1, 1, 0), (2, 1, 1 << 20), (2, 3, 4 << 20), (3, 2, 1 << 30), (8, 8, 0)]
        {
            let options = PlanOptions { group, early_bytes, ..base.clone() };
            let out = run(graph, &weights, &options, n, threads, &pixels);
            assert!(
                out == expected,
                "{} {precision}: {threads} threads, group {group}, {early_bytes} early bytes",
                graph.name()
            );
        }
        let alone = run(graph, &weights, &base, 1, 2, &pixels[3 * picture..4 * picture]);
        let width = alone.len();
        assert!(alone == expected[3 * width..4 * width], "{precision}: one picture alone");
    }
}

#[test]
fn a_batch_of_8_of_resnet50_needs_less_than_200_mebibytes() {
    let graph = networks::resnet50(10);
    let weights = Weights::seeded(&graph);
    let plan = FrozenPlan::compile(&graph, &weights, &options([256, 256])).unwrap();
    for threads in [1, 2, 4] {
        let bytes = plan.workspace(threads).bytes();
        assert!(bytes <= 200 << 20, "{threads} threads: {} MiB", bytes >> 20);
    }
    let listing = plan.to_string();
    assert!(
        listing.contains("layer4.2.conv3") && listing.contains(KernelClass::best().name()),
        "{listing}"
    );
}
