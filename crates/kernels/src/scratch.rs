//! Tables of pointers in scratch memory.

/// How many f32 values are needed to hold this many pointers, wherever they start.
#[must_use]
pub fn table_len(pointers: usize) -> usize {
    (pointers + 8) * (size_of::<usize>() / size_of::<f32>())
}

/// Carves a table of pointers out of scratch memory.
pub fn table<E>(scratch: &mut [f32], pointers: usize) -> *mut *const E {
    // SAFETY: any bits are a valid `usize`, and pointers are only written there before they are
    // read.
    let (_, middle, _) = unsafe { scratch.align_to_mut::<usize>() };
    debug_assert!(middle.len() >= pointers);
    middle.as_mut_ptr().cast()
}
