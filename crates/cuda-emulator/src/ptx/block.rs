//! A grid of blocks, and the threads of a block that wait for each other.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{available_parallelism, scope},
};

use super::{
    module::Fault,
    program::{Function, Operands, Warp},
    thread::{Stop, Surroundings, Thread},
};
use crate::{
    memory,
    status::{ERROR_INVALID_VALUE, ERROR_LAUNCH_FAILED},
};

/// How many blocks of how many threads run a kernel, and what they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks along x, y and z.
    pub blocks: [u32; 3],
    /// Threads of a block along x, y and z.
    pub threads: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
}

impl Grid {
    /// Blocks and threads along x only.
    pub fn line(blocks: u32, threads: u32) -> Self {
        Self { blocks: [blocks, 1, 1], threads: [threads, 1, 1], shared: 0 }
    }

    pub(crate) fn threads_of_block(&self) -> u64 {
        self.threads.iter().map(|&n| u64::from(n)).product()
    }

    fn count(&self) -> u64 {
        self.blocks.iter().map(|&n| u64::from(n)).product()
    }

    /// What a device of compute capability 9.0 takes.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let [x, y, z] = self.blocks;
        let [width, height, depth] = self.threads;
        let fits = self.count() > 0
            && self.threads_of_block() > 0
            && x <= i32::MAX as u32
            && y.max(z) <= 65535
            && width.max(height) <= 1024
            && depth <= 64
            && self.threads_of_block() <= 1024;
        if fits {
            Ok(())
        } else {
            Err(Fault::new(ERROR_INVALID_VALUE, format!("a device does not take {self:?}")))
        }
    }
}

/// As few threads are not worth waking the other cores.
const WORTH_SHARING: u64 = 2048;

/// Runs all blocks, spread over the host's cores.
pub(crate) fn run(function: &Function, grid: Grid, parameters: &[u8]) -> Result<(), Fault> {
    grid.check()?;
    if parameters.len() != function.parameter_bytes as usize {
        let what = format!(
            "kernel {} takes {} bytes of parameters, not {}",
            function.name,
            function.parameter_bytes,
            parameters.len()
        );
        return Err(Fault::new(ERROR_INVALID_VALUE, what));
    }
    let ranges = memory::ranges();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let failed: Mutex<Option<Fault>> = Mutex::new(None);
    let work = || {
        let shared = (function.shared as usize, grid.shared as usize);
        let mut around =
            Surroundings::new(&ranges, parameters, shared, (grid.blocks, grid.threads));
        let mut threads = vec![Thread::new(function)];
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= grid.count() || stop.load(Ordering::Relaxed) {
                return;
            }
            let [width, height, _] = grid.blocks.map(u64::from);
            let place = [number % width, number / width % height, number / width / height];
            around.place = place.map(|n| n as u32);
            around.shared.fill(0xFF);
            let count = grid.threads_of_block() as u32;
            let outcome = if function.cooperative {
                together(function, &mut threads, count, &mut around)
            } else {
                (0..count).try_for_each(|number| {
                    threads[0].start(number, &around);
                    threads[0].run(&mut around).map(drop)
                })
            };
            if let Err(fault) = outcome {
                stop.store(true, Ordering::Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
            }
        }
    };
    let cores = available_parallelism().map_or(1, usize::from) as u64;
    let helpers = match grid.count() * grid.threads_of_block() {
        0..WORTH_SHARING => 0,
        _ => cores.min(grid.count()) - 1,
    };
    scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(work);
        }
        work();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Runs a block whose threads wait for each other.
fn together<'f>(
    function: &'f Function,
    threads: &mut Vec<Thread<'f>>,
    count: u32,
    around: &mut Surroundings<'_>,
) -> Result<(), Fault> {
    threads.resize_with(count as usize, || Thread::new(function));
    for (number, thread) in threads.iter_mut().enumerate() {
        thread.start(number as u32, around);
    }
    // What each waits for; none runs.
    let mut stops: Vec<Option<Stop>> = vec![None; count as usize];
    loop {
        for (thread, stop) in threads.iter_mut().zip(&mut stops) {
            if stop.is_none() {
                *stop = Some(thread.run(around)?);
            }
        }
        let mut moved = false;
        for (lanes, stops) in threads.chunks_mut(32).zip(stops.chunks_mut(32)) {
            moved |= exchange(function, lanes, stops)?;
        }
        if moved {
            continue;
        }
        if stops.iter().all(|stop| *stop == Some(Stop::Done)) {
            return Ok(());
        }
        // Who has ended counts as arrived.
        for stop in &mut stops {
            match stop {
                Some(Stop::Barrier) => *stop = None,
                Some(Stop::Warp(..)) => {
                    return Err(stuck(function, "lanes wait for lanes that do not come"));
                }
                _ => {}
            }
        }
    }
}

fn stuck(function: &Function, what: &str) -> Fault {
    Fault::new(ERROR_LAUNCH_FAILED, format!("kernel {}: {what}", function.name))
}

/// Lets the lanes of a warp that all wait for each other go on; whether there were any.
fn exchange(
    function: &Function,
    lanes: &mut [Thread<'_>],
    stops: &mut [Option<Stop>],
) -> Result<bool, Fault> {
    let there = if lanes.len() == 32 { !0 } else { (1u32 << lanes.len()) - 1 };
    let mut moved = false;
    for first in 0..lanes.len() {
        let Some(Stop::Warp(warp, mask)) = stops[first] else { continue };
        let mask = mask & there;
        let Some(step) = lanes[first].stopped_at() else { continue };
        if mask >> first & 1 == 0 {
            return Err(stuck(function, "a lane is not in its own mask"));
        }
        let named = || (0..lanes.len()).filter(|lane| mask >> lane & 1 != 0);
        let here = |lane: usize| {
            matches!(stops[lane], Some(Stop::Warp(..)))
                && lanes[lane].stopped_at().is_some_and(|other| std::ptr::eq(other, step))
        };
        if !named().all(here) {
            continue;
        }
        let operands = step.operands;
        let members: Vec<usize> = named().collect();
        let results: Vec<(u64, u64)> = {
            let values: Vec<u64> =
                lanes.iter_mut().map(|lane| *lane.register(operands.a)).collect();
            let each = |lane: &usize| {
                let thread = &mut lanes[*lane];
                let (b, c) = (*thread.register(operands.b), *thread.register(operands.c));
                result(warp, *lane, mask, &values, (b, c))
            };
            members.iter().map(each).collect()
        };
        for (lane, (value, flag)) in members.into_iter().zip(results) {
            if warp != Warp::Wait {
                write(&mut lanes[lane], &operands, value, flag);
            }
            stops[lane] = None;
        }
        moved = true;
    }
    Ok(moved)
}

fn write(thread: &mut Thread<'_>, operands: &Operands, value: u64, flag: u64) {
    *thread.register(operands.f) = flag;
    *thread.register(operands.d) = value;
}

/// What a lane gets, and the predicate that says whether it came from a lane in reach.
fn result(warp: Warp, lane: usize, mask: u32, values: &[u64], (b, c): (u64, u64)) -> (u64, u64) {
    let truths = || (0..values.len()).filter(|l| mask >> l & 1 != 0).map(|l| values[l] & 1 != 0);
    let shuffle = |source: i64, reached: bool| {
        let source = if reached { source } else { lane as i64 };
        // From a lane that does not take part comes no number.
        let takes_part = (0..32).contains(&source) && mask >> source & 1 != 0;
        let value = if takes_part { values[source as usize] & 0xFFFF_FFFF } else { 0xFFFF_FFFF };
        (value, u64::from(reached))
    };
    let (lane_number, by) = (lane as i64, (b & 31) as i64);
    let (clamp, segment) = ((c & 31) as i64, (c >> 8 & 31) as i64);
    let highest = lane_number & segment | clamp & !segment;
    let lowest = lane_number & segment;
    match warp {
        Warp::ShuffleUp => {
            let source = lane_number - by;
            shuffle(source, source >= highest)
        }
        Warp::ShuffleDown => {
            let source = lane_number + by;
            shuffle(source, source <= highest)
        }
        Warp::ShuffleButterfly => {
            let source = lane_number ^ by;
            shuffle(source, source <= highest)
        }
        Warp::ShuffleIndex => {
            let source = lowest | by & !segment;
            shuffle(source, source <= highest)
        }
        Warp::VoteAll => (u64::from(truths().all(|t| t)), 0),
        Warp::VoteAny => (u64::from(truths().any(|t| t)), 0),
        Warp::VoteUniform => (u64::from(truths().all(|t| t) || !truths().any(|t| t)), 0),
        Warp::VoteBallot => {
            let bit = |l: usize| u64::from(mask >> l & 1) & values[l] & 1;
            ((0..values.len()).map(|l| bit(l) << l).sum(), 0)
        }
        Warp::Wait => (0, 0),
    }
}
