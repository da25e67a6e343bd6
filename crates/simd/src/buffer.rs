//! Memory that starts on a cache line.

use std::fmt;

use crate::Element;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// A zeroed block of numbers that starts on a cache line.
///
/// Vector loads that cross a cache line cost double, so activations, filters and scratch memory are
/// stored in such buffers.
///
/// ```
/// let mut buffer = taper_simd::AlignedBuffer::<f32>::new(100);
/// assert_eq!(buffer.len(), 100);
/// buffer[3] = 1.0;
/// assert_eq!(buffer[..4], [0.0, 0.0, 0.0, 1.0]);
/// ```
#[derive(Clone, Default)]
pub struct AlignedBuffer<E: Element> {
    lines: Vec<Line>,
    len: usize,
    element: std::marker::PhantomData<E>,
}

impl<E: Element> AlignedBuffer<E> {
    /// `len` zeros.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let count = len.div_ceil(E::PER_LINE);
        let mut lines = Vec::with_capacity(count);
        ask_for_huge_pages(&mut lines);
        lines.resize(count, Line([0; 16]));
        Self { lines, len, element: std::marker::PhantomData }
    }

    /// A copy of `values`.
    #[must_use]
    pub fn from_slice(values: &[E]) -> Self {
        let mut buffer = Self::new(values.len());
        buffer.copy_from_slice(values);
        buffer
    }

    /// Makes room for at least `len` values; the content may be lost. Never shrinks.
    pub fn grow(&mut self, len: usize) {
        if len > self.len {
            *self = Self::new(len);
        }
    }
}

/// Asks the kernel to back a large block, not touched yet, with pages of 2 MiB: transformed filters
/// and maps are read in dozens of streams at once, more than the processor's TLB can hold small
/// pages for.
#[cfg(target_os = "linux")]
fn ask_for_huge_pages(lines: &mut Vec<Line>) {
    const HUGE_PAGE: usize = 2 << 20;
    const MADV_HUGEPAGE: std::ffi::c_int = 14;
    // SAFETY: the signature is that of the C library, which std links on Linux.
    unsafe extern "C" {
        fn madvise(
            address: *mut std::ffi::c_void,
            length: usize,
            advice: std::ffi::c_int,
        ) -> std::ffi::c_int;
    }
    let start = lines.as_mut_ptr().cast::<u8>();
    let bytes = lines.capacity() * size_of::<Line>();
    let before = start.align_offset(HUGE_PAGE);
    let length = bytes.saturating_sub(before) / HUGE_PAGE * HUGE_PAGE;
    if length > 0 {
        // SAFETY: the range lies within our own allocation and is a whole number of pages. The
        // advice changes how memory is backed, not its content; if it is refused, nothing changes.
        unsafe { madvise(start.add(before).cast(), length, MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_huge_pages(_: &mut Vec<Line>) {}

impl<E: Element> std::ops::Deref for AlignedBuffer<E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        // SAFETY: `lines` owns `len.div_ceil(PER_LINE)` initialised lines of 64 bytes, so at least
        // `len` elements; f32 and Bf16 have no invalid bit patterns and a smaller alignment than a
        // line.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<E: Element> std::ops::DerefMut for AlignedBuffer<E> {
    fn deref_mut(&mut self) -> &mut [E] {
        // SAFETY: as in `deref`; the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl<E: Element> fmt::Debug for AlignedBuffer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer<{}>({})", E::NAME, self.len)
    }
}
