//! A warm pass allocates nothing.
#![allow(clippy::unwrap_used)] // helpers of tests
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use taper_graph::Weights;
use taper_networks as networks;
use taper_plan::{FrozenPlan, PlanOptions, Precision};

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

#[test]
fn a_warm_pass_allocates_nothing() {
    let graphs =
        [networks::efficientnet_lite0(10), networks::resnet50(10), networks::dinov2_small(0)];
    for graph in &graphs {
        let weights = Weights::seeded(graph);
        for precision in [Precision::F32, Precision::Bf16] {
            let options = PlanOptions::new([64, 64], [0.5; 3], [0.5; 3]).precision(precision);
            let plan = FrozenPlan::compile(graph, &weights, &options).unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
            pool.install(|| {
                // Few pictures (threads share a layer) and many (each thread has its own).
                for n in [1, 8] {
                    let mut workspace = plan.workspace(2);
                    let pixels = vec![100; n * plan.picture_len()];
                    let mut out = vec![0.0; n * plan.output_width()];
                    for _ in 0..2 {
                        plan.forward(&mut workspace, &pixels, n, &mut out).unwrap();
                    }
                    // The pool itself allocates when a thread takes part for the first time, which
                    // on a busy machine may be late.
                    let count = (0..5).map(|_| {
                        let before = ALLOCATIONS.load(Ordering::Relaxed);
                        plan.forward(&mut workspace, &pixels, n, &mut out).unwrap();
                        ALLOCATIONS.load(Ordering::Relaxed) - before
                    });
                    let least = count.min().unwrap();
                    assert_eq!(least, 0, "{} {precision}, {n} pictures", graph.name());
                }
            });
        }
    }
}
