//! A warm step allocates nothing.
#![allow(clippy::unwrap_used)] // helpers of tests
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use taper_grad::{BatchNormMode, Boundary, Suffix, SuffixOptions, Unfreeze};
use taper_graph::Weights;
use taper_networks as networks;

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
fn a_warm_step_allocates_nothing() {
    let graphs =
        [networks::efficientnet_lite0(10), networks::resnet18(10), networks::convnext_atto(10)];
    for graph in graphs.map(|graph| graph.without_classifier()) {
        for batch_norm in [BatchNormMode::Frozen, BatchNormMode::Trained] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
            pool.install(|| {
                let boundary = Boundary::find(&graph, &Unfreeze::All).unwrap();
                let options = SuffixOptions { batch_norm, ..SuffixOptions::new([64, 64], 2) };
                let mut suffix = Suffix::new(&graph, boundary, &options).unwrap();
                let weights = Weights::seeded(&graph);
                let mut parameters = suffix.parameters(&graph, &weights).unwrap();
                let gradient = vec![0.1; 2 * suffix.width()];
                let mut step = || {
                    suffix.load(&parameters).unwrap();
                    suffix.forward(&mut parameters, 2, |rows| rows.fill(0.3)).unwrap();
                    suffix.backward(&mut parameters, &gradient, false).unwrap();
                };
                step();
                // The pool itself allocates when a thread takes part for the first time, which on a
                // busy machine may be late.
                let count = (0..5).map(|_| {
                    let before = ALLOCATIONS.load(Ordering::Relaxed);
                    step();
                    ALLOCATIONS.load(Ordering::Relaxed) - before
                });
                let least = count.min().unwrap();
                assert_eq!(least, 0, "{} {batch_norm:?}", graph.name());
            });
        }
    }
}
