//! How threads share the pictures of a pass.

use std::iter::Zip;
use std::sync::Mutex;

use taper_kernels::Element;

use crate::plan::Arena;

/// Batches that threads take from, one after another: pixels, and where the results go.
pub(crate) struct Chunks<'a>(
    Mutex<Zip<std::slice::Chunks<'a, u8>, std::slice::ChunksMut<'a, f32>>>,
);

impl<'a> Chunks<'a> {
    pub(crate) fn new(pixels: &'a [u8], out: &'a mut [f32], picture: usize, width: usize) -> Self {
        Self(Mutex::new(pixels.chunks(picture).zip(out.chunks_mut(width))))
    }

    pub(crate) fn next(&self) -> Option<(&'a [u8], &'a mut [f32])> {
        // Nothing panics while the lock is held.
        self.0.lock().ok()?.next()
    }
}

pub(crate) fn fork<E: Element>(
    arenas: &mut [Arena<E>],
    scratch: &mut [f32],
    share: usize,
    work: &(dyn Fn(&mut Arena<E>, &mut [f32]) + Sync),
) {
    if let [arena] = arenas {
        return work(arena, scratch);
    }
    let left = arenas.len() / 2;
    let (a, b) = arenas.split_at_mut(left);
    let (c, d) = scratch.split_at_mut(left * share);
    rayon::join(|| fork(a, c, share, work), || fork(b, d, share, work));
}
