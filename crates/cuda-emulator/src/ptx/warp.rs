//! A warp: threads that run together as long as they do not diverge.

use super::{
    access_check::{Surroundings, atomic, load, locate, store},
    exchange::exchange,
    fault::{Fault, fault},
    program::{Action, Function, LANES, LOCAL_BASE, Register, Special, Step},
};
use crate::{
    memory::{self, Range},
    status::{ERROR_ASSERT, ERROR_LAUNCH_FAILED},
};

/// Lanes that are at the same instruction.
#[derive(Clone, Copy, Debug)]
struct Group {
    mask: u32,
    next: usize,
}

/// Why a warp stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Done,
    Barrier,
}

/// The registers and the local memory of a warp's lanes, and where they are.
pub(super) struct Warp<'f> {
    function: &'f Function,
    registers: Vec<Register>,
    local: Vec<Vec<u8>>,
    /// Lanes that exist.
    all: u32,
    /// Lanes that can go on.
    ready: Vec<Group>,
    /// Lanes at a barrier.
    waiting: Vec<Group>,
    positions: [[u32; 3]; LANES],
    first: u32,
}

fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let lane = rest.trailing_zeros() as usize;
        (rest != 0).then(|| {
            rest &= rest - 1;
            lane
        })
    })
}

impl<'f> Warp<'f> {
    pub(super) fn new(function: &'f Function) -> Self {
        let mut registers = vec![[!0; LANES]; function.slots as usize];
        constants(function, &mut registers);
        let local = vec![vec![0xFF; function.local as usize]; LANES];
        let positions = [[0; 3]; LANES];
        let (ready, waiting) = (Vec::new(), Vec::new());
        Self { function, registers, local, all: 0, ready, waiting, positions, first: 0 }
    }

    /// Sets it up as the warp of its block that starts with this thread.
    pub(super) fn start(&mut self, first: u32, around: &Surroundings<'_>) {
        let [width, height, depth] = around.block;
        let count = (width * height * depth - first).min(LANES as u32);
        self.all = if count == LANES as u32 { !0 } else { (1 << count) - 1 };
        self.first = first;
        for (place, number) in self.positions.iter_mut().zip(first..) {
            *place = [number % width, number / width % height, number / width / height];
        }
        self.ready.clear();
        self.waiting.clear();
        self.ready.push(Group { mask: self.all, next: 0 });
        self.registers[LOCAL_BASE as usize] = [0; LANES];
        for local in self.local.iter_mut().filter(|local| !local.is_empty()) {
            local.fill(0xFF);
        }
        self.specials(0, self.function, around);
    }

    fn specials(&mut self, base: usize, function: &Function, around: &Surroundings<'_>) {
        for (slot, special) in &function.specials {
            let register = &mut self.registers[base + *slot as usize];
            for (lane, place) in register.iter_mut().enumerate() {
                let bit = 1u32 << lane;
                let value = match *special {
                    Special::Thread(axis) => self.positions[lane][axis as usize],
                    Special::BlockSize(axis) => around.block[axis as usize],
                    Special::Block(axis) => around.place[axis as usize],
                    Special::GridSize(axis) => around.grid[axis as usize],
                    Special::Lane => lane as u32,
                    Special::WarpNumber => self.first / LANES as u32,
                    Special::LanesBelow => bit - 1,
                    Special::LanesUpTo => bit | (bit - 1),
                    Special::LanesAbove => !(bit | (bit - 1)),
                    Special::DynamicShared => (around.shared.len() - around.fixed) as u32,
                    Special::TotalShared => around.shared.len() as u32,
                    Special::Clock | Special::Zero => 0,
                };
                *place = u64::from(value);
            }
        }
    }

    /// Lets the lanes at a barrier continue.
    pub(super) fn release(&mut self) {
        self.ready.append(&mut self.waiting);
    }

    /// Runs until all lanes have ended or wait at a barrier.
    pub(super) fn run(&mut self, around: &mut Surroundings<'_>) -> Result<Stop, Fault> {
        let ready = std::mem::take(&mut self.ready);
        self.go(self.function, (0, 0), ready, around)?;
        Ok(if self.waiting.is_empty() { Stop::Done } else { Stop::Barrier })
    }

    /// Runs groups of lanes through a function: always those that are furthest behind, which join
    /// the others where their paths converge.
    fn go(
        &mut self,
        function: &'f Function,
        (base, local): (usize, usize),
        mut groups: Vec<Group>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        // Lanes that wait for others of their warp.
        let mut parked: Vec<Group> = Vec::new();
        while let Some(place) = furthest_behind(&groups) {
            let Group { mut mask, mut next } = groups.swap_remove(place);
            groups.retain(|other| {
                let joins = other.next == next;
                mask |= if joins { other.mask } else { 0 };
                !joins
            });
            // Where the next group waits for the others.
            let limit = groups.iter().map(|other| other.next).min().unwrap_or(usize::MAX);
            while next < limit {
                let step = &function.steps[next];
                next += 1;
                let registers = &mut self.registers[base..];
                let active = mask & guarded(step, registers);
                if active == 0 {
                    continue;
                }
                match &step.action {
                    Action::Compute(compute) => compute(registers, &step.operands, active),
                    Action::Load(_) | Action::Store(_) | Action::Atomic { .. } => {
                        self.touch(function, step, (base, next), active, around)?;
                    }
                    Action::Branch(target) => {
                        let stay = mask & !active;
                        if stay == 0 {
                            next = *target as usize;
                            continue;
                        }
                        groups.push(Group { mask: active, next: *target as usize });
                        groups.push(Group { mask: stay, next });
                        mask = 0;
                        break;
                    }
                    Action::Return | Action::Exit => {
                        if matches!(step.action, Action::Exit) && base != 0 {
                            let what = "exit in a call";
                            return Err(fault(function, step, ERROR_LAUNCH_FAILED, what));
                        }
                        mask &= !active;
                        if mask == 0 {
                            break;
                        }
                    }
                    Action::Barrier => {
                        self.waiting.push(Group { mask: active, next });
                        mask &= !active;
                        if mask == 0 {
                            break;
                        }
                    }
                    Action::Warp(warp) => {
                        let lane = active.trailing_zeros() as usize;
                        let named = registers[step.operands.e as usize][lane] as u32 & self.all;
                        if active & !named == 0 && named != active {
                            // Until the remaining lanes arrive.
                            let group = Group { mask: active, next: next - 1 };
                            park(group, named, &mut parked, &mut groups);
                            mask &= !active;
                            break;
                        }
                        exchange(*warp, registers, &step.operands, active, self.all)
                            .map_err(|what| fault(function, step, ERROR_LAUNCH_FAILED, what))?;
                    }
                    Action::Call(number) => {
                        self.call(function, (*number, local), active, around)?;
                    }
                    Action::Trap => return Err(fault(function, step, ERROR_LAUNCH_FAILED, "trap")),
                    Action::Nothing => {}
                    Action::Assert(places) => {
                        let lane = active.trailing_zeros() as usize;
                        let what = assertion(&self.local[lane], local, places, around.ranges);
                        let what = format!("thread {:?}: {what}", self.positions[lane]);
                        return Err(fault(function, step, ERROR_ASSERT, &what));
                    }
                }
            }
            if mask != 0 {
                groups.push(Group { mask, next });
            }
        }
        match parked.first() {
            None => Ok(()),
            Some(Group { next, .. }) => {
                let what = "lanes wait for lanes that do not come";
                Err(fault(function, &function.steps[*next], ERROR_LAUNCH_FAILED, what))
            }
        }
    }

    /// Reads or writes memory, for the active lanes one after the other.
    fn touch(
        &mut self,
        function: &'f Function,
        step: &Step,
        (base, next): (usize, usize),
        active: u32,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        let registers = &mut self.registers[base..];
        let (access, writes) = match &step.action {
            Action::Load(access) => (access, false),
            Action::Store(access) | Action::Atomic { access, .. } => (access, true),
            _ => return Ok(()),
        };
        // A load may overwrite the register that holds the addresses.
        let addresses = registers[access.base as usize];
        for lane in lanes(active) {
            let address = addresses[lane].wrapping_add_signed(access.offset);
            let at = locate(access, address, writes, around, &mut self.local[lane], next);
            let at =
                at.map_err(|trouble| trouble.fault(function, step, self.positions[lane], around))?;
            match &step.action {
                Action::Store(_) => store(access, at, registers, lane),
                Action::Atomic { combine, returns, .. } => {
                    let [b, c] = [step.operands.b, step.operands.c]
                        .map(|slot| registers[slot as usize][lane]);
                    let old = atomic(access, at, (b, c), *combine);
                    if *returns {
                        registers[step.operands.d as usize][lane] = old;
                    }
                }
                _ => load(access, at, registers, lane),
            }
        }
        Ok(())
    }

    /// Runs a device function to its end, for some lanes.
    fn call(
        &mut self,
        caller: &'f Function,
        (number, caller_local): (u32, usize),
        mask: u32,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        let call = &caller.calls[number as usize];
        let function: &'f Function = &call.function;
        let (base, local) = (self.registers.len(), self.local[0].len().next_multiple_of(16));
        self.registers.resize(base + function.slots as usize, [!0; LANES]);
        constants(function, &mut self.registers[base..]);
        self.registers[base + LOCAL_BASE as usize] = [local as u64; LANES];
        self.specials(base, function, around);
        for memory in &mut self.local {
            memory.resize(local + function.local as usize, 0xFF);
            for &(own, theirs, bytes) in &call.arguments {
                let from = caller_local + own as usize;
                memory.copy_within(from..from + bytes as usize, local + theirs as usize);
            }
        }
        self.go(function, (base, local), vec![Group { mask, next: 0 }], around)?;
        for (lane, memory) in self.local.iter_mut().enumerate() {
            for &(own, theirs, bytes) in &call.results {
                let from = local + theirs as usize;
                if mask >> lane & 1 != 0 {
                    memory.copy_within(from..from + bytes as usize, caller_local + own as usize);
                }
            }
            memory.truncate(local);
        }
        self.registers.truncate(base);
        Ok(())
    }
}

/// The lanes whose guard is true for a step.
fn guarded(step: &Step, registers: &[Register]) -> u32 {
    let Some((slot, negated)) = step.guard else { return !0 };
    let register = &registers[slot as usize];
    let bit = |lane: usize| ((register[lane] & 1) as u32) << lane;
    let held: u32 = (0..LANES).map(bit).fold(0, |all, bit| all | bit);
    if negated { !held } else { held }
}

/// Lets a group wait for the other lanes that an operation of the warp names, with those that wait
/// there already.
fn park(mut group: Group, named: u32, parked: &mut Vec<Group>, ready: &mut Vec<Group>) {
    parked.retain(|other| {
        let joins = other.next == group.next;
        group.mask |= if joins { other.mask } else { 0 };
        !joins
    });
    let list = if group.mask == named { ready } else { parked };
    list.push(group);
}

fn furthest_behind(groups: &[Group]) -> Option<usize> {
    (0..groups.len()).min_by_key(|place| groups[*place].next)
}

fn constants(function: &Function, registers: &mut [Register]) {
    for (slot, value) in &function.constants {
        registers[*slot as usize] = [*value; LANES];
    }
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
