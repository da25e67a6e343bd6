//! Assigns values to buffers, and says for how many pictures.

use std::ops::Range;

use taper_kernels::Element;

use crate::lower::{Lowered, Value, ValueId};

/// Steps that run over this many pictures at once.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) steps: Range<usize>,
    pub(crate) group: usize,
}

/// Where a value lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The buffer: one of maps or one of f32 values, depending on the value.
    pub(crate) slot: usize,
    /// Whether it lives on into a later segment, and so holds all pictures of the larger group, not
    /// only those at work.
    pub(crate) crosses: bool,
}

/// Buffers sized by liveness.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) segments: Vec<Segment>,
    pub(crate) places: Vec<Place>,
    /// Values of each buffer of maps.
    pub(crate) maps: Vec<usize>,
    /// Values of each buffer in f32.
    pub(crate) wide: Vec<usize>,
    /// Largest group.
    pub(crate) group: usize,
}

struct Slot {
    len: usize,
    free_from: usize,
    is_map: bool,
}

pub(crate) fn lay_out<E: Element>(
    lowered: &Lowered<E>,
    group: usize,
    early_bytes: usize,
) -> Layout {
    let steps = &lowered.steps;
    let mut bytes = 0;
    let early = steps
        .iter()
        .position(|step| {
            bytes += step.weight_bytes();
            bytes > early_bytes
        })
        .unwrap_or(steps.len());
    let mut segments = Vec::new();
    if group > 1 && early > 0 {
        segments.push(Segment { steps: 0..early, group: 1 });
    }
    let start = segments.last().map_or(0, |segment| segment.steps.end);
    if start < steps.len() {
        segments.push(Segment { steps: start..steps.len(), group });
    }
    let segment_of =
        |step: usize| segments.iter().position(|s| s.steps.contains(&step)).unwrap_or(0);

    let mut last_use: Vec<usize> = vec![0; lowered.values.len()];
    let mut defined: Vec<usize> = vec![0; lowered.values.len()];
    for (index, step) in steps.iter().enumerate() {
        defined[step.output] = index;
        for value in step.input.into_iter().chain(step.residual()) {
            last_use[value] = index;
        }
    }
    let mut slots: Vec<Slot> = Vec::new();
    let mut places: Vec<Option<Place>> = vec![None; lowered.values.len()];
    for (index, step) in steps.iter().enumerate() {
        let value: ValueId = step.output;
        let last = last_use[value].max(index);
        let crosses = segment_of(last) != segment_of(defined[value]);
        // Within a segment of small groups, buffers are reused for every group: a value that lives
        // on into a later segment must not share one with any value of its own segment.
        let (len, is_map) = match lowered.values[value] {
            Value::Map(len) => (len, true),
            Value::Wide(len) => (len, false),
        };
        let len = len * if crosses { group } else { segments[segment_of(index)].group };
        let available = slots
            .iter_mut()
            .enumerate()
            .filter(|(_, slot)| slot.is_map == is_map && slot.free_from <= index && !crosses)
            .min_by_key(|(_, slot)| (len.saturating_sub(slot.len), slot.len.saturating_sub(len)));
        let slot = match available {
            Some((i, slot)) => {
                slot.len = slot.len.max(len);
                slot.free_from = last + 1;
                i
            }
            None => {
                slots.push(Slot { len, free_from: last + 1, is_map });
                slots.len() - 1
            }
        };
        places[value] = Some(Place { slot, crosses });
    }
    // Number buffers of maps and of values in f32 separately.
    let number = |i: usize| slots[..i].iter().filter(|s| s.is_map == slots[i].is_map).count();
    let places =
        places.into_iter().flatten().map(|p| Place { slot: number(p.slot), ..p }).collect();
    let lens = |is_map| slots.iter().filter(|s| s.is_map == is_map).map(|s| s.len).collect();
    Layout { places, maps: lens(true), wide: lens(false), group, segments }
}
