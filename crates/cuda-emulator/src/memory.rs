//! The memory of the device: the host's, at its real addresses, in allocations that are known.

use std::{
    alloc::{Layout, alloc, dealloc},
    collections::BTreeMap,
    ptr,
    sync::{Arc, OnceLock, RwLock},
};

use crate::{
    counters,
    status::{ERROR_INVALID_VALUE, ERROR_OUT_OF_MEMORY, Status},
};

/// Where an allocation lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the device, from `cuMemAlloc`.
    Device,
    /// On the device, from its memory pool.
    Pool,
    /// Variables of a module: on the device, but not counted.
    Module,
    /// On the host, page-locked.
    Pinned,
}

#[derive(Clone, Copy, Debug)]
struct Allocation {
    bytes: usize,
    place: Place,
    flags: u32,
}

/// Addresses from start to end, exclusively.
pub(crate) type Range = (u64, u64);

#[derive(Default)]
struct Registry {
    allocations: BTreeMap<usize, Allocation>,
    /// The same for kernels, created on demand.
    ranges: Option<Arc<Vec<Range>>>,
    /// Bytes of `Device` and `Pool`; memory freed in a stream no longer counts, though it still
    /// exists.
    device: usize,
    pool: usize,
    /// The bytes that the pool holds, used or not.
    reserved: usize,
    /// Up to which size the pool keeps free memory at a synchronisation.
    threshold: usize,
}

static REGISTRY: RwLock<Option<Registry>> = RwLock::new(None);

const ALIGNMENT: usize = 512;

fn with<R>(action: impl FnOnce(&mut Registry) -> R) -> R {
    let mut registry = REGISTRY.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    action(registry.get_or_insert_default())
}

/// The device's memory, in bytes.
pub(crate) fn total() -> usize {
    static TOTAL: OnceLock<usize> = OnceLock::new();
    *TOTAL.get_or_init(|| {
        let chosen = std::env::var("TAPER_EMULATED_MEMORY").ok();
        chosen.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(80 << 30)
    })
}

/// An allocation with a margin on both sides, so that no other allocation is directly next to it.
fn layout(bytes: usize) -> Result<Layout, Status> {
    let bytes = bytes.checked_add(2 * ALIGNMENT).ok_or(ERROR_OUT_OF_MEMORY)?;
    Layout::from_size_align(bytes, ALIGNMENT).map_err(|_| ERROR_OUT_OF_MEMORY)
}

/// Memory filled with 0xFF.
pub(crate) fn allocate(bytes: usize, place: Place, flags: u32) -> Result<u64, Status> {
    if bytes == 0 {
        // cuMemAlloc(0) is an error; pools give a null pointer.
        return if place == Place::Pool { Ok(0) } else { Err(ERROR_INVALID_VALUE) };
    }
    with(|registry| {
        let counted = matches!(place, Place::Device | Place::Pool);
        if counted {
            let pool = match place {
                Place::Pool => registry.reserved.max(registry.pool + bytes),
                // Unused memory of the pool is released before an allocation fails.
                _ => registry.pool,
            };
            if registry.device.saturating_add(bytes).saturating_add(registry.pool) > total() {
                return Err(ERROR_OUT_OF_MEMORY);
            }
            match place {
                Place::Pool => {
                    registry.pool += bytes;
                    registry.reserved = pool.min(total() - registry.device);
                }
                _ => {
                    registry.device += bytes;
                    registry.reserved = registry.reserved.min(total() - registry.device);
                }
            }
            counters::add(counters::Counter::Allocations);
        }
        let layout = layout(bytes)?;
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            return Err(ERROR_OUT_OF_MEMORY);
        }
        let address = start as usize + ALIGNMENT;
        // SAFETY: `bytes` lie behind the first margin.
        unsafe { ptr::write_bytes(address as *mut u8, 0xFF, bytes) };
        registry.allocations.insert(address, Allocation { bytes, place, flags });
        registry.ranges = None;
        Ok(address as u64)
    })
}

/// Marks an allocation as freed in its caller's stream: it no longer counts.
pub(crate) fn discount(address: u64) -> Result<(), Status> {
    with(|registry| {
        let found = registry.allocations.get(&(address as usize)).copied();
        match found {
            Some(Allocation { bytes, place: Place::Device, .. }) => registry.device -= bytes,
            Some(Allocation { bytes, place: Place::Pool, .. }) => registry.pool -= bytes,
            Some(_) => {}
            None => return Err(ERROR_INVALID_VALUE),
        }
        Ok(())
    })
}

/// Fills an allocation with 0xFF and gives it back. It must have been discounted.
pub(crate) fn release(address: u64) -> Result<(), Status> {
    with(|registry| {
        let Some(allocation) = registry.allocations.remove(&(address as usize)) else {
            return Err(ERROR_INVALID_VALUE);
        };
        registry.ranges = None;
        // SAFETY: the allocation was in the registry, so nobody has freed it, and it is as long as
        // it says.
        unsafe {
            ptr::write_bytes(address as *mut u8, 0xFF, allocation.bytes);
            dealloc((address as usize - ALIGNMENT) as *mut u8, layout(allocation.bytes)?);
        }
        Ok(())
    })
}

/// The size of an allocation that starts there.
pub(crate) fn size_of(address: u64) -> Option<usize> {
    with(|registry| registry.allocations.get(&(address as usize)).map(|a| a.bytes))
}

/// The flags of the page-locked allocation that an address lies in.
pub(crate) fn pinned(address: u64) -> Option<u32> {
    with(|registry| {
        let (start, found) = registry.allocations.range(..=address as usize).next_back()?;
        let inside = (address as usize) < start + found.bytes && found.place == Place::Pinned;
        inside.then_some(found.flags)
    })
}

/// All live allocations, in order.
pub(crate) fn ranges() -> Arc<Vec<Range>> {
    with(|registry| {
        let allocations = &registry.allocations;
        let make = || {
            let range =
                |(start, a): (&usize, &Allocation)| (*start as u64, (*start + a.bytes) as u64);
            Arc::new(allocations.iter().map(range).collect())
        };
        Arc::clone(registry.ranges.get_or_insert_with(make))
    })
}

/// The allocation that bytes lie in.
pub(crate) fn find(ranges: &[Range], address: u64, bytes: u64) -> Option<Range> {
    let after = ranges.partition_point(|&(start, _)| start <= address);
    let range = *ranges.get(after.checked_sub(1)?)?;
    (address.checked_add(bytes)? <= range.1).then_some(range)
}

/// A description of the nearest allocation.
pub(crate) fn nearest(ranges: &[Range], address: u64) -> String {
    let after = ranges.partition_point(|&(start, _)| start <= address);
    let before = after.checked_sub(1).map(|place| ranges[place]);
    let distance = |&(start, end): &Range| {
        if address < start { start - address } else { address.saturating_sub(end) }
    };
    let near = before.into_iter().chain(ranges.get(after).copied()).min_by_key(distance);
    match near {
        None => "nothing is allocated".to_owned(),
        Some((start, end)) if address < start => {
            format!("{} bytes before the allocation {start:#x}..{end:#x}", start - address)
        }
        Some((start, end)) if address >= end => format!(
            "{} bytes behind the end of the allocation {start:#x}..{end:#x} of {} bytes",
            address - end,
            end - start
        ),
        Some((start, end)) => format!(
            "{} bytes into the allocation {start:#x}..{end:#x} of {} bytes",
            address - start,
            end - start
        ),
    }
}

/// Whether bytes lie in one live allocation; else a complaint.
pub(crate) fn inside(what: &str, address: u64, bytes: u64) -> bool {
    let ranges = ranges();
    let found = bytes == 0 || find(&ranges, address, bytes).is_some();
    if !found {
        let near = nearest(&ranges, address);
        counters::complain(format_args!(
            "{what}: {bytes} bytes at {address:#x} are not allocated: {near}"
        ));
    }
    found
}

/// Bytes that are free, of all that the device has.
pub(crate) fn free() -> usize {
    with(|registry| total().saturating_sub(registry.device + registry.reserved.max(registry.pool)))
}

/// Bytes that the pool uses, and that it holds.
pub(crate) fn pool() -> (usize, usize) {
    with(|registry| (registry.pool, registry.reserved.max(registry.pool)))
}

/// Up to which size the pool keeps free memory.
pub(crate) fn threshold() -> usize {
    with(|registry| registry.threshold)
}

pub(crate) fn set_threshold(bytes: usize) {
    with(|registry| registry.threshold = bytes);
}

/// Called at a synchronisation: the pool releases free memory beyond `keep`, or its threshold.
pub(crate) fn trim(keep: Option<usize>) {
    with(|registry| {
        let keep = keep.unwrap_or(registry.threshold);
        registry.reserved = registry.reserved.min(registry.pool.max(keep));
    });
}
