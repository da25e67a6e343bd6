//! A grid of blocks, and the warps of a block that wait for each other.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{available_parallelism, scope},
};

use super::{
    access_check::Surroundings,
    fault::Fault,
    program::{Function, LANES},
    warp::{Stop, Warp},
};
use crate::{memory, status::ERROR_INVALID_VALUE};

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

/// Fewer threads than this are not worth waking the other cores for.
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
        let mut warps = vec![Warp::new(function)];
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
                together(function, &mut warps, count, &mut around)
            } else {
                (0..count).step_by(LANES).try_for_each(|first| {
                    warps[0].start(first, &around);
                    warps[0].run(&mut around).map(drop)
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

/// Runs a block whose warps wait for each other.
fn together<'f>(
    function: &'f Function,
    warps: &mut Vec<Warp<'f>>,
    count: u32,
    around: &mut Surroundings<'_>,
) -> Result<(), Fault> {
    warps.resize_with(count.div_ceil(LANES as u32) as usize, || Warp::new(function));
    for (number, warp) in (0..).zip(warps.iter_mut()) {
        warp.start(number * LANES as u32, around);
    }
    loop {
        // Warps that have ended count as arrived.
        let mut waiting = false;
        for warp in warps.iter_mut() {
            waiting |= warp.run(around)? == Stop::Barrier;
        }
        if !waiting {
            return Ok(());
        }
        warps.iter_mut().for_each(Warp::release);
    }
}
