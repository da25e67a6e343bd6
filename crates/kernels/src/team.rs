//! The threads that run one kernel, and their scratch memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::KernelError;

/// How many threads run a kernel, and the scratch memory that is divided among them.
///
/// The work runs on the current rayon pool, so [`rayon::ThreadPool::install`] decides where. The
/// results do not depend on the number of threads, not even in the last bit. Nothing is allocated.
#[derive(Debug)]
pub struct Team<'a> {
    threads: usize,
    scratch: &'a mut [f32],
}

impl<'a> Team<'a> {
    /// `threads` threads (0 counts as 1) of the current rayon pool; `scratch` is divided evenly.
    #[must_use]
    pub fn new(threads: usize, scratch: &'a mut [f32]) -> Self {
        Self { threads: threads.max(1), scratch }
    }

    /// All threads of the current rayon pool.
    #[must_use]
    pub fn current(scratch: &'a mut [f32]) -> Self {
        Self::new(rayon::current_num_threads(), scratch)
    }

    /// The calling thread alone.
    #[must_use]
    pub fn serial(scratch: &'a mut [f32]) -> Self {
        Self::new(1, scratch)
    }

    /// Number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Whether each thread has `needed` values of scratch memory.
    ///
    /// # Errors
    /// [`KernelError::ScratchTooSmall`], which names the operation.
    pub fn check(&self, operation: &'static str, needed: usize) -> Result<(), KernelError> {
        let actual = self.scratch.len() / self.threads;
        if actual < needed {
            Err(KernelError::ScratchTooSmall { operation, needed, actual })
        } else {
            Ok(())
        }
    }

    /// Calls `work(item, scratch)` once for each item below `items`, on any thread of the team;
    /// `scratch` is that thread's share. Items are begun in ascending order, so that one may wait
    /// for another with a lower number. A kernel whose sums must not depend on the number of
    /// threads gives each item a fixed part of them, and adds up the parts in a fixed order.
    pub fn run(&mut self, items: usize, work: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        let threads = self.threads.min(items).max(1);
        if threads == 1 {
            let share = self.scratch.len() / self.threads;
            let scratch = &mut self.scratch[..share];
            (0..items).for_each(|item| work(item, scratch));
            return;
        }
        let share = self.scratch.len() / self.threads;
        let next = AtomicUsize::new(0);
        fork(threads, share, self.scratch, &|scratch| {
            loop {
                let item = next.fetch_add(1, Ordering::Relaxed);
                if item >= items {
                    break;
                }
                work(item, scratch);
            }
        });
    }
}

fn fork(threads: usize, share: usize, scratch: &mut [f32], work: &(dyn Fn(&mut [f32]) + Sync)) {
    if threads <= 1 {
        return work(&mut scratch[..share]);
    }
    let left = threads / 2;
    let (a, b) = scratch.split_at_mut(left * share);
    rayon::join(|| fork(left, share, a, work), || fork(threads - left, share, b, work));
}

/// A pointer to output that several threads write, each to places of its own.
#[derive(Debug, Clone, Copy)]
pub struct SharedMut<T>(*mut T);

impl<T> SharedMut<T> {
    /// Of a slice that outlives all uses of the pointer.
    #[must_use]
    pub fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// The address of the first value.
    #[must_use]
    pub fn get(self) -> *mut T {
        self.0
    }
}

// SAFETY: a `SharedMut` is only a number until it is dereferenced, and whoever does that (in an
// unsafe block) must argue that no two threads write the same place.
unsafe impl<T: Send> Send for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<T> {}
