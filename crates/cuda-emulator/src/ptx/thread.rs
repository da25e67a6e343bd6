//! One thread of a kernel.

use std::{ptr, sync::Mutex, sync::PoisonError};

use super::{
    module::Fault,
    program::{
        Access, Action, Combine, DYNAMIC_SHARED, Function, LOCAL_BASE, LOCAL_WINDOW, Operands,
        PARAM_WINDOW, SHARED_WINDOW, Space, Special, Step, WINDOW_MASK, Warp,
    },
};
use crate::{
    memory::{self, Range},
    status::{ERROR_ASSERT, ERROR_ILLEGAL_ADDRESS, ERROR_LAUNCH_FAILED, ERROR_MISALIGNED_ADDRESS},
};

/// What the threads of a block have in common.
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

/// Why a thread stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Done,
    Barrier,
    Warp(Warp, u32),
}

struct Frame<'f> {
    function: &'f Function,
    next: usize,
    base: usize,
    local: usize,
    /// The number of the call that made it, in the caller.
    call: u32,
}

/// Registers, local memory, and where the thread is.
pub(super) struct Thread<'f> {
    registers: Vec<u64>,
    local: Vec<u8>,
    frames: Vec<Frame<'f>>,
    pub(super) lane: u32,
    position: [u32; 3],
}

impl<'f> Thread<'f> {
    pub(super) fn new(function: &'f Function) -> Self {
        let mut registers = vec![!0; function.slots as usize];
        for (slot, value) in &function.constants {
            registers[*slot as usize] = *value;
        }
        let frame = Frame { function, next: 0, base: 0, local: 0, call: 0 };
        let local = vec![0xFF; function.local as usize];
        Self { registers, local, frames: vec![frame], lane: 0, position: [0; 3] }
    }

    /// Makes it the thread of this number in its block.
    pub(super) fn start(&mut self, number: u32, around: &Surroundings<'_>) {
        let [width, height, _] = around.block;
        self.position = [number % width, number / width % height, number / width / height];
        self.lane = number % 32;
        self.frames.truncate(1);
        self.frames[0].next = 0;
        self.registers[LOCAL_BASE as usize] = 0;
        if !self.local.is_empty() {
            self.local.fill(0xFF);
        }
        self.fill_specials(0, self.frames[0].function, number, around);
    }

    fn fill_specials(
        &mut self,
        base: usize,
        function: &Function,
        number: u32,
        around: &Surroundings<'_>,
    ) {
        for (slot, special) in &function.specials {
            let bit = 1u32 << self.lane;
            let value = match *special {
                Special::Thread(axis) => self.position[axis as usize],
                Special::BlockSize(axis) => around.block[axis as usize],
                Special::Block(axis) => around.place[axis as usize],
                Special::GridSize(axis) => around.grid[axis as usize],
                Special::Lane => self.lane,
                Special::WarpNumber => number / 32,
                Special::LanesBelow => bit - 1,
                Special::LanesUpTo => bit | (bit - 1),
                Special::LanesAbove => !(bit | (bit - 1)),
                Special::DynamicShared => (around.shared.len() - around.fixed) as u32,
                Special::TotalShared => around.shared.len() as u32,
                Special::Clock | Special::Zero => 0,
            };
            self.registers[base + *slot as usize] = u64::from(value);
        }
    }

    /// A register of the innermost frame.
    pub(super) fn register(&mut self, slot: u32) -> &mut u64 {
        let base = self.frames.last().map_or(0, |frame| frame.base);
        &mut self.registers[base + slot as usize]
    }

    /// The instruction that the thread stopped at.
    pub(super) fn stopped_at(&self) -> Option<&'f Step> {
        let frame = self.frames.last()?;
        frame.function.steps.get(frame.next.checked_sub(1)?)
    }

    /// Runs until the thread ends, or waits for others.
    pub(super) fn run(&mut self, around: &mut Surroundings<'_>) -> Result<Stop, Fault> {
        'frames: loop {
            let depth = self.frames.len() - 1;
            let Frame { function, mut next, base, local, .. } = self.frames[depth];
            let registers = &mut self.registers[base..];
            loop {
                let step = &function.steps[next];
                next += 1;
                if let Some((slot, negated)) = step.guard
                    && (registers[slot as usize] & 1 != 0) == negated
                {
                    continue;
                }
                match &step.action {
                    Action::Compute(compute) => compute(registers, &step.operands),
                    Action::Load(access) => {
                        let at = locate(access, registers, around, &mut self.local, next).map_err(
                            |trouble| trouble.fault(function, step, self.position, around),
                        )?;
                        load(access, at, registers);
                    }
                    Action::Store(access) => {
                        let at = locate(access, registers, around, &mut self.local, next)
                            .and_then(|at| {
                                if access.space == Space::Param {
                                    Err(Trouble::read_only())
                                } else {
                                    Ok(at)
                                }
                            })
                            .map_err(|trouble| {
                                trouble.fault(function, step, self.position, around)
                            })?;
                        store(access, at, registers);
                    }
                    Action::Branch(target) => next = *target as usize,
                    Action::Return if depth == 0 => {
                        self.frames[depth].next = next;
                        return Ok(Stop::Done);
                    }
                    Action::Return => {
                        let results = {
                            let frame = &self.frames[depth];
                            let caller = &self.frames[depth - 1];
                            let call = &caller.function.calls[frame.call as usize];
                            (&call.results, caller.local, local)
                        };
                        for &(own, theirs, bytes) in results.0 {
                            let from = results.2 + theirs as usize;
                            let to = results.1 + own as usize;
                            self.local.copy_within(from..from + bytes as usize, to);
                        }
                        self.frames.pop();
                        self.registers.truncate(base);
                        self.local.truncate(local);
                        continue 'frames;
                    }
                    Action::Exit => {
                        self.frames[depth].next = next;
                        return Ok(Stop::Done);
                    }
                    Action::Trap => {
                        return Err(fault(function, step, ERROR_LAUNCH_FAILED, "trap"));
                    }
                    Action::Nothing => {}
                    Action::Atomic { access, combine, returns } => {
                        let at = locate(access, registers, around, &mut self.local, next).map_err(
                            |trouble| trouble.fault(function, step, self.position, around),
                        )?;
                        let old = atomic(access, at, registers, &step.operands, *combine);
                        if *returns {
                            registers[step.operands.d as usize] = old;
                        }
                    }
                    Action::Barrier => {
                        self.frames[depth].next = next;
                        return Ok(Stop::Barrier);
                    }
                    Action::Warp(warp) => {
                        self.frames[depth].next = next;
                        let mask = registers[step.operands.e as usize] as u32;
                        return Ok(Stop::Warp(*warp, mask));
                    }
                    Action::Call(number) => {
                        self.frames[depth].next = next;
                        self.enter(function, *number, local, around);
                        continue 'frames;
                    }
                    Action::Assert(places) => {
                        let what = assertion(&self.local, local, places, around.ranges);
                        let what = format!("thread {:?}: {what}", self.position);
                        return Err(fault(function, step, ERROR_ASSERT, &what));
                    }
                }
            }
        }
    }

    fn enter(
        &mut self,
        caller: &'f Function,
        number: u32,
        caller_local: usize,
        around: &Surroundings<'_>,
    ) {
        let call = &caller.calls[number as usize];
        let function: &'f Function = &call.function;
        let (base, local) = (self.registers.len(), self.local.len().next_multiple_of(16));
        self.registers.resize(base + function.slots as usize, !0);
        self.local.resize(local + function.local as usize, 0xFF);
        for (slot, value) in &function.constants {
            self.registers[base + *slot as usize] = *value;
        }
        self.registers[base + LOCAL_BASE as usize] = local as u64;
        let [x, y, z] = self.position;
        let number_in_block = x + around.block[0] * (y + around.block[1] * z);
        self.fill_specials(base, function, number_in_block, around);
        for &(own, theirs, bytes) in &call.arguments {
            let from = caller_local + own as usize;
            self.local.copy_within(from..from + bytes as usize, local + theirs as usize);
        }
        self.frames.push(Frame { function, next: 0, base, local, call: number });
    }
}

fn fault(function: &Function, step: &Step, status: i32, what: &str) -> Fault {
    Fault::new(status, format!("kernel {}, PTX line {}: {what}", function.name, step.line))
}

/// The words of `assert`: message, file, line, function.
fn assertion(local: &[u8], base: usize, places: &[u32; 4], ranges: &[Range]) -> String {
    let read = |place: u32, bytes: usize| {
        let from = base + place as usize;
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(&local[from..from + bytes]);
        u64::from_le_bytes(value)
    };
    let text = |address: u64| {
        let Some((_, end)) = memory::find(ranges, address, 1) else { return String::new() };
        // SAFETY: the range is allocated; the string ends in it.
        let bytes =
            unsafe { std::slice::from_raw_parts(address as *const u8, (end - address) as usize) };
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let [message, file, line, function] = *places;
    format!(
        "assertion {} fails in {}, {}:{}",
        text(read(message, 8)),
        text(read(function, 8)),
        text(read(file, 8)),
        read(line, 4)
    )
}

/// An access that is not allowed.
struct Trouble {
    address: u64,
    bytes: u64,
    space: Space,
    aligned: bool,
    read_only: bool,
}

impl Trouble {
    fn read_only() -> Self {
        Self { address: 0, bytes: 0, space: Space::Param, aligned: true, read_only: true }
    }

    #[cold]
    fn fault(
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
        self::fault(function, step, status, &what)
    }
}

/// The host's address of an access.
#[inline(always)]
fn locate(
    access: &Access,
    registers: &[u64],
    around: &mut Surroundings<'_>,
    local: &mut [u8],
    next: usize,
) -> Result<*mut u8, Trouble> {
    let address = registers[access.base as usize].wrapping_add_signed(access.offset);
    let bytes = access.bytes();
    if address & (bytes - 1) != 0 {
        return Err(Trouble {
            address,
            bytes,
            space: access.space,
            aligned: false,
            read_only: false,
        });
    }
    if matches!(access.space, Space::Global | Space::Generic) {
        let (start, end) = around.cache[next % CACHE];
        if address >= start && address.wrapping_add(bytes) <= end && address < end {
            return Ok(address as *mut u8);
        }
    }
    locate_slowly(access.space, address, bytes, around, local, next)
}

fn locate_slowly(
    space: Space,
    address: u64,
    bytes: u64,
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
        Space::Param => {
            let end = address.checked_add(bytes);
            let inside = end.is_some_and(|end| end <= around.parameters.len() as u64);
            // Nobody writes there: stores to parameters were refused.
            inside.then(|| around.parameters[address as usize..].as_ptr().cast_mut())
        }
        Space::Generic => {
            let (space, window) = match address & WINDOW_MASK {
                SHARED_WINDOW => (Space::Shared, SHARED_WINDOW),
                LOCAL_WINDOW => (Space::Local, LOCAL_WINDOW),
                PARAM_WINDOW => (Space::Param, PARAM_WINDOW),
                _ => (Space::Global, 0),
            };
            return locate_slowly(space, address - window, bytes, around, local, next);
        }
    };
    found.ok_or(trouble)
}

#[inline(always)]
fn load(access: &Access, at: *mut u8, registers: &mut [u64]) {
    for lane in 0..access.count as usize {
        // SAFETY: `locate` has checked that so many bytes lie there, aligned.
        let value = unsafe {
            let at = at.add(lane << access.log);
            match (access.log, access.signed) {
                (0, false) => u64::from(at.read_volatile()),
                (0, true) => at.cast::<i8>().read_volatile() as i64 as u64,
                (1, false) => u64::from(at.cast::<u16>().read_unaligned()),
                (1, true) => at.cast::<i16>().read_unaligned() as i64 as u64,
                (2, false) => u64::from(at.cast::<u32>().read_unaligned()),
                (2, true) => at.cast::<i32>().read_unaligned() as i64 as u64,
                _ => at.cast::<u64>().read_unaligned(),
            }
        };
        registers[access.lanes[lane] as usize] = value;
    }
}

#[inline(always)]
fn store(access: &Access, at: *mut u8, registers: &[u64]) {
    for lane in 0..access.count as usize {
        let value = registers[access.lanes[lane] as usize];
        // SAFETY: `locate` has checked that so many bytes lie there, aligned.
        unsafe {
            let at = at.add(lane << access.log);
            match access.log {
                0 => at.write(value as u8),
                1 => at.cast::<u16>().write_unaligned(value as u16),
                2 => at.cast::<u32>().write_unaligned(value as u32),
                _ => at.cast::<u64>().write_unaligned(value),
            }
        }
    }
}

/// One at a time, whatever the address.
fn atomic(
    access: &Access,
    at: *mut u8,
    registers: &[u64],
    operands: &Operands,
    combine: Combine,
) -> u64 {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes = 1usize << access.log;
    let mut cell = [0; 8];
    // SAFETY: `locate` has checked that so many bytes lie there.
    unsafe { ptr::copy_nonoverlapping(at, cell.as_mut_ptr(), bytes) };
    let old = u64::from_le_bytes(cell);
    let new = combine(old, registers[operands.b as usize], registers[operands.c as usize]);
    // SAFETY: as above.
    unsafe { ptr::copy_nonoverlapping(new.to_le_bytes().as_ptr(), at, bytes) };
    old
}
