//! Loads and stores, each of which is checked.

use std::{
    ptr,
    sync::{Mutex, PoisonError},
};

use super::{
    fault::{Fault, fault},
    program::{
        Access, Combine, DYNAMIC_SHARED, Function, LOCAL_WINDOW, PARAM_WINDOW, Register,
        SHARED_WINDOW, Space, Step, WINDOW_MASK,
    },
};
use crate::{
    memory::{self, Range},
    status::{ERROR_ILLEGAL_ADDRESS, ERROR_MISALIGNED_ADDRESS},
};

/// The shared state of the threads of a block.
pub(super) struct Surroundings<'a> {
    pub(super) ranges: &'a [Range],
    pub(super) parameters: &'a [u8],
    /// Static shared memory, then dynamic.
    pub(super) shared: Vec<u8>,
    pub(super) fixed: usize,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) place: [u32; 3],
    /// The allocation that each access last found its address in.
    pub(super) cache: Vec<Range>,
}

const CACHE: usize = 1024;

impl<'a> Surroundings<'a> {
    pub(super) fn new(
        ranges: &'a [Range],
        parameters: &'a [u8],
        (fixed, dynamic): (usize, usize),
        (grid, block): ([u32; 3], [u32; 3]),
    ) -> Self {
        let shared = vec![0xFF; fixed + dynamic];
        let cache = vec![(1, 0); CACHE];
        Self { ranges, parameters, shared, fixed, grid, block, place: [0; 3], cache }
    }
}

/// An access that is not allowed.
pub(super) struct Trouble {
    address: u64,
    bytes: u64,
    space: Space,
    aligned: bool,
    read_only: bool,
}

impl Trouble {
    #[cold]
    pub(super) fn fault(
        self,
        function: &Function,
        step: &Step,
        thread: [u32; 3],
        around: &Surroundings<'_>,
    ) -> Fault {
        let Self { address, bytes, space, aligned, read_only } = self;
        let status = if aligned { ERROR_ILLEGAL_ADDRESS } else { ERROR_MISALIGNED_ADDRESS };
        let why = match (space, aligned) {
            _ if read_only => "parameters are read-only".to_owned(),
            (_, false) => "not aligned".to_owned(),
            (Space::Shared, _) => format!("the block has {} bytes of it", around.shared.len()),
            (Space::Global | Space::Generic, _) => memory::nearest(around.ranges, address),
            _ => "beyond its end".to_owned(),
        };
        let what = format!(
            "block {:?}, thread {thread:?}: {bytes} bytes of {space:?} memory at {address:#x}: {why}",
            around.place
        );
        fault(function, step, status, &what)
    }
}

/// The host's address of an access.
#[inline(always)]
pub(super) fn locate(
    access: &Access,
    address: u64,
    writes: bool,
    around: &mut Surroundings<'_>,
    local: &mut [u8],
    next: usize,
) -> Result<*mut u8, Trouble> {
    let (space, bytes) = (access.space, access.bytes());
    if address & (bytes - 1) != 0 {
        return Err(Trouble { address, bytes, space, aligned: false, read_only: false });
    }
    if matches!(space, Space::Global | Space::Generic) {
        let (start, end) = around.cache[next % CACHE];
        if address >= start && address < end && end - address >= bytes {
            return Ok(address as *mut u8);
        }
    }
    locate_slowly(space, address, bytes, writes, around, local, next)
}

fn locate_slowly(
    space: Space,
    address: u64,
    bytes: u64,
    writes: bool,
    around: &mut Surroundings<'_>,
    local: &mut [u8],
    next: usize,
) -> Result<*mut u8, Trouble> {
    let trouble = Trouble { address, bytes, space, aligned: true, read_only: false };
    let within = |memory: &mut [u8], offset: u64| {
        let end = offset.checked_add(bytes);
        let inside = end.is_some_and(|end| end <= memory.len() as u64);
        inside.then(|| memory[offset as usize..].as_mut_ptr())
    };
    let found = match space {
        Space::Global => {
            let range = memory::find(around.ranges, address, bytes);
            range.map(|range| {
                around.cache[next % CACHE] = range;
                address as *mut u8
            })
        }
        Space::Shared => {
            let (fixed, dynamic) = around.shared.split_at_mut(around.fixed);
            match address.checked_sub(DYNAMIC_SHARED) {
                Some(offset) => within(dynamic, offset),
                None => within(fixed, address),
            }
        }
        Space::Local => within(local, address),
        Space::Param if writes => return Err(Trouble { read_only: true, ..trouble }),
        Space::Param => {
            let end = address.checked_add(bytes);
            let inside = end.is_some_and(|end| end <= around.parameters.len() as u64);
            // This is never written: stores to parameters are refused.
            inside.then(|| around.parameters[address as usize..].as_ptr().cast_mut())
        }
        Space::Generic => {
            let (space, window) = match address & WINDOW_MASK {
                SHARED_WINDOW => (Space::Shared, SHARED_WINDOW),
                LOCAL_WINDOW => (Space::Local, LOCAL_WINDOW),
                PARAM_WINDOW => (Space::Param, PARAM_WINDOW),
                _ => (Space::Global, 0),
            };
            return locate_slowly(space, address - window, bytes, writes, around, local, next);
        }
    };
    found.ok_or(trouble)
}

/// Loads what a lane wants.
#[inline(always)]
pub(super) fn load(access: &Access, at: *mut u8, registers: &mut [Register], lane: usize) {
    for part in 0..access.count as usize {
        // SAFETY: `locate` has checked that so many bytes lie there, aligned.
        let value = unsafe {
            let at = at.add(part << access.log);
            match (access.log, access.signed) {
                (0, false) => u64::from(at.read()),
                (0, true) => at.cast::<i8>().read() as i64 as u64,
                (1, false) => u64::from(at.cast::<u16>().read_unaligned()),
                (1, true) => at.cast::<i16>().read_unaligned() as i64 as u64,
                (2, false) => u64::from(at.cast::<u32>().read_unaligned()),
                (2, true) => at.cast::<i32>().read_unaligned() as i64 as u64,
                _ => at.cast::<u64>().read_unaligned(),
            }
        };
        registers[access.lanes[part] as usize][lane] = value;
    }
}

/// Stores what a lane gives.
#[inline(always)]
pub(super) fn store(access: &Access, at: *mut u8, registers: &[Register], lane: usize) {
    for part in 0..access.count as usize {
        let value = registers[access.lanes[part] as usize][lane];
        // SAFETY: `locate` has checked that so many bytes lie there, aligned.
        unsafe {
            let at = at.add(part << access.log);
            match access.log {
                0 => at.write(value as u8),
                1 => at.cast::<u16>().write_unaligned(value as u16),
                2 => at.cast::<u32>().write_unaligned(value as u32),
                _ => at.cast::<u64>().write_unaligned(value),
            }
        }
    }
}

/// Replaces a value by a combination of it and two operands, and returns the old one. One at a
/// time, whatever the address.
pub(super) fn atomic(access: &Access, at: *mut u8, (b, c): (u64, u64), combine: Combine) -> u64 {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes = 1usize << access.log;
    let mut cell = [0; 8];
    // SAFETY: `locate` has checked that so many bytes lie there.
    unsafe { ptr::copy_nonoverlapping(at, cell.as_mut_ptr(), bytes) };
    let old = u64::from_le_bytes(cell);
    let new = combine(old, b, c);
    // SAFETY: as above.
    unsafe { ptr::copy_nonoverlapping(new.to_le_bytes().as_ptr(), at, bytes) };
    old
}
