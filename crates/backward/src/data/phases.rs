//! Any stride: the input pixels whose positions leave the same remainders are computed together,
//! each from the taps that can have read them.

use taper_kernels::parts::{Ending, SharedMut, Tile, table, table_len};
use taper_kernels::{Conv2dShape, Epilogue, KernelClass, Team};
use taper_simd::{AlignedBuffer, Simd, Task, Tiling, dispatch};

use crate::rows::clear;

/// Pixels of an item, at least (if a phase has as many): they share the reading of the filters.
const PIXELS: usize = 112;

/// Packed filters, and which of them each phase uses.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    class: KernelClass,
    tiling: Tiling,
    shape: Conv2dShape,
    output: [usize; 2],
    phases: Vec<Phase>,
    panels: Vec<Panel>,
    /// `[phase][panel][tap of the phase][out channel of the group][lane]`.
    weights: AlignedBuffer<f32>,
    /// For taps outside the map, and as a bias.
    zeros: AlignedBuffer<f32>,
}

/// The input pixels that leave the same remainders.
#[derive(Debug, Clone)]
struct Phase {
    /// First row and column, and how many there are, `stride` apart.
    first: [usize; 2],
    count: [usize; 2],
    /// For each tap, its index, and the row and column of the output that it comes from at the
    /// phase's first pixel.
    taps: Vec<(usize, [isize; 2])>,
    /// Where its filters start.
    weights: usize,
    /// Rows of an item, and items of a picture.
    rows: usize,
    items: usize,
}

/// Input channels that are computed together.
#[derive(Debug, Clone, Copy)]
struct Panel {
    group: usize,
    first: usize,
    width: usize,
    vectors: usize,
    /// Lanes of the panels before it.
    lanes: usize,
}

impl Filter {
    pub(super) fn new(class: KernelClass, shape: &Conv2dShape, output: [usize; 2]) -> Self {
        let tiling = Tiling::for_class::<f32>(class);
        let group_in = shape.in_channels / shape.groups;
        let (mut panels, mut lanes) = (Vec::new(), 0);
        for group in 0..shape.groups {
            for done in (0..group_in).step_by(2 * tiling.lanes) {
                let width = (2 * tiling.lanes).min(group_in - done);
                let vectors = width.div_ceil(tiling.lanes);
                panels.push(Panel { group, first: group * group_in + done, width, vectors, lanes });
                lanes += vectors * tiling.lanes;
            }
        }
        let phases = phases(shape, lanes);
        let taps: usize = phases.iter().map(|phase| phase.taps.len()).sum();
        let group_out = shape.out_channels / shape.groups;
        Self {
            class,
            tiling,
            shape: *shape,
            output,
            phases,
            panels,
            weights: AlignedBuffer::new(taps * group_out * lanes),
            zeros: AlignedBuffer::new(shape.out_channels.max(2 * tiling.lanes)),
        }
    }

    /// `weights`: `[out_channels, in_channels / groups, taps]`.
    pub(super) fn fill(&mut self, team: &mut Team<'_>, weights: &[f32]) {
        let shape = &self.shape;
        let (group_in, group_out) =
            (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
        let taps = shape.window.kernel.iter().product::<usize>();
        let (phases, panels, lanes) = (&self.phases, &self.panels, self.tiling.lanes);
        let to = SharedMut::new(&mut self.weights);
        team.run(phases.len() * panels.len(), &|item, _| {
            let (phase, panel) = (&phases[item / panels.len()], &panels[item % panels.len()]);
            let row = panel.vectors * lanes;
            let mut at = phase.weights + phase.taps.len() * group_out * panel.lanes;
            for &(tap, _) in &phase.taps {
                for out in 0..group_out {
                    let out = panel.group * group_out + out;
                    for lane in 0..panel.width {
                        let channel = panel.first % group_in + lane;
                        let weight = weights[(out * group_in + channel) * taps + tap];
                        // SAFETY: `new` has made room for the panel, which this item alone fills.
                        unsafe { to.get().add(at + lane).write(weight) };
                    }
                    at += row;
                }
            }
        });
    }

    fn pointers(&self) -> usize {
        let mr = self.tiling.mr;
        let tiles = |phase: &Phase| phase.rows * phase.count[1].div_ceil(mr) * phase.taps.len();
        self.phases.iter().map(|phase| tiles(phase) * mr).max().unwrap_or(0)
    }

    pub(super) fn scratch_len(&self) -> usize {
        table_len(self.pointers())
    }

    pub(super) fn run(
        &self,
        team: &mut Team<'_>,
        n: usize,
        gradient: &[f32],
        epilogue: Epilogue<'_, f32>,
        out: &mut [f32],
    ) {
        let per_picture: usize = self.phases.iter().map(|phase| phase.items).sum();
        let pointers = self.pointers();
        let out = SharedMut::new(out);
        team.run(n * per_picture, &|item, scratch| {
            let (picture, mut item) = (item / per_picture, item % per_picture);
            let mut phases = self.phases.iter();
            let phase = loop {
                match phases.next() {
                    Some(phase) if item >= phase.items => item -= phase.items,
                    Some(phase) => break phase,
                    None => return,
                }
            };
            let task = Rows {
                filter: self,
                phase,
                picture,
                rows: (item * phase.rows, phase.count[0].min((item + 1) * phase.rows)),
                gradient: gradient.as_ptr(),
                table: table(scratch, pointers),
                out: out.get(),
                ending: Ending::new(epilogue),
            };
            // SAFETY: `DataGradient::run` has checked that the gradient holds `n` maps, output and
            // epilogue `n` pictures, and that there is room for the table; each item writes rows of
            // a phase of its own.
            unsafe { dispatch(self.class, task) }
        });
    }
}

fn phases(shape: &Conv2dShape, lanes: usize) -> Vec<Phase> {
    let window = &shape.window;
    let before = [window.padding.top, window.padding.left];
    let group_out = shape.out_channels / shape.groups;
    let (mut phases, mut weights) = (Vec::new(), 0);
    for ry in 0..window.stride[0].min(shape.input[0]) {
        for rx in 0..window.stride[1].min(shape.input[1]) {
            let first = [ry, rx];
            let count =
                [0, 1].map(|axis| (shape.input[axis] - first[axis]).div_ceil(window.stride[axis]));
            // Input `i` is under tap `k` of output `(i + before − k · dilation) / stride`.
            let from = |axis: usize, k: usize| {
                let at = (first[axis] + before[axis]) as isize;
                let at = at - (k * window.dilation[axis]) as isize;
                let stride = window.stride[axis] as isize;
                (at.rem_euclid(stride) == 0).then(|| at.div_euclid(stride))
            };
            let mut taps = Vec::new();
            for ky in 0..window.kernel[0] {
                for kx in 0..window.kernel[1] {
                    if let (Some(y), Some(x)) = (from(0, ky), from(1, kx)) {
                        taps.push((ky * window.kernel[1] + kx, [y, x]));
                    }
                }
            }
            let size = taps.len() * group_out * lanes;
            let rows = PIXELS.div_ceil(count[1]).min(count[0]);
            let items = count[0].div_ceil(rows);
            phases.push(Phase { first, count, taps, weights, rows, items });
            weights += size;
        }
    }
    phases
}

/// Some rows of a phase.
#[derive(Clone, Copy)]
struct Rows<'a> {
    filter: &'a Filter,
    phase: &'a Phase,
    picture: usize,
    /// First row of the phase and the one after the last.
    rows: (usize, usize),
    gradient: *const f32,
    /// Room for `[tile][tap][MR]` pointers.
    table: *mut *const f32,
    out: *mut f32,
    ending: Ending<f32>,
}

impl Task for Rows<'_> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let Self { filter, phase, .. } = self;
        let shape = &filter.shape;
        let group_out = shape.out_channels / shape.groups;
        let [height, width] = shape.input;
        let channels = shape.in_channels;
        let taps = phase.taps.len();
        let tiles = phase.count[1].div_ceil(S::MR);
        let stride = shape.window.stride;
        if taps == 0 && self.ending.residual.is_null() {
            // No tap has read these pixels, whatever the mask.
            for row in self.rows.0..self.rows.1 {
                let y = phase.first[0] + row * stride[0];
                for column in 0..phase.count[1] {
                    let x = phase.first[1] + column * stride[1];
                    let pixel = (self.picture * height + y) * width + x;
                    // SAFETY: the pixel exists.
                    unsafe { clear::<S>(self.out.add(pixel * channels), channels) };
                }
            }
            return;
        }
        // SAFETY: there is room for the table.
        unsafe { self.fill_table::<S>() };
        let mut group = 0;
        for panel in &filter.panels {
            if panel.group != group {
                let step = (panel.group - group) * group_out;
                group = panel.group;
                for i in 0..(self.rows.1 - self.rows.0) * tiles * taps * S::MR {
                    // SAFETY: within the table; `step` stays within the pixel, or within the zeros,
                    // which are as long as one.
                    unsafe { *self.table.add(i) = (*self.table.add(i)).add(step) };
                }
            }
            let weights = phase.weights + taps * group_out * panel.lanes;
            for row in self.rows.0..self.rows.1 {
                let y = phase.first[0] + row * stride[0];
                for tile in 0..tiles {
                    let x = phase.first[1] + tile * S::MR * stride[1];
                    let pixel = (self.picture * height + y) * width + x;
                    let at = pixel * channels + panel.first;
                    // SAFETY: the table points to pixels (or zeros) of `out_channels` values, of
                    // which the group takes its own; the filters are packed for the panel; the
                    // pixels exist, `stride` apart.
                    unsafe {
                        let index = (row - self.rows.0) * tiles + tile;
                        Tile {
                            pointers: self.table.add(index * taps * S::MR).cast_const(),
                            pointers_stride: S::MR,
                            runs: taps,
                            len: group_out,
                            filter: filter.weights.as_ptr().add(weights),
                            bias: filter.zeros.as_ptr(),
                            out: self.out.add(at),
                            ldc: stride[1] * channels,
                            width: panel.width,
                            ending: self.ending.from(at),
                        }
                        .run::<S>(S::MR.min(phase.count[1] - tile * S::MR), panel.vectors);
                    }
                }
            }
        }
    }
}

impl Rows<'_> {
    /// # Safety
    /// There is room for the table.
    #[inline(always)]
    unsafe fn fill_table<S: Simd>(self) {
        let Self { filter, phase, .. } = self;
        let channels = filter.shape.out_channels;
        let [oh, ow] = filter.output;
        let mut at = self.table;
        for row in self.rows.0..self.rows.1 {
            for tile in 0..phase.count[1].div_ceil(S::MR) {
                for &(_, [top, left]) in &phase.taps {
                    let y = top + row as isize;
                    for m in 0..S::MR {
                        let column = tile * S::MR + m;
                        let x = left + column as isize;
                        let inside =
                            column < phase.count[1] && (y as usize) < oh && (x as usize) < ow;
                        let pointer = if inside {
                            let pixel = (self.picture * oh + y as usize) * ow + x as usize;
                            self.gradient.wrapping_add(pixel * channels)
                        } else {
                            filter.zeros.as_ptr()
                        };
                        // SAFETY: the table has room for `MR` pointers per tap and tile.
                        unsafe {
                            *at = pointer;
                            at = at.add(1);
                        }
                    }
                }
            }
        }
    }
}
