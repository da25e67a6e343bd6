//! Exchange of values between the lanes of a warp.

use super::program::{LANES, Operands, Register, Warp};

/// Lets all named lanes exchange values.
pub(super) fn exchange(
    warp: Warp,
    registers: &mut [Register],
    operands: &Operands,
    active: u32,
    there: u32,
) -> Result<(), &'static str> {
    let first = active.trailing_zeros() as usize;
    let named = registers[operands.e as usize][first] as u32;
    let here = |lane: usize| active >> lane & 1 != 0;
    if (0..LANES).any(|lane| here(lane) && registers[operands.e as usize][lane] as u32 != named) {
        return Err("lanes name different lanes");
    }
    if active & !named != 0 {
        return Err("a lane is not in its own mask");
    }
    if named & there != active {
        return Err("lanes wait for lanes that do not come");
    }
    let [a, b, c] = [operands.a, operands.b, operands.c].map(|slot| registers[slot as usize]);
    for lane in (0..LANES).filter(|lane| here(*lane)) {
        let (value, flag) = result(warp, lane, active, &a, (b[lane], c[lane]));
        if warp != Warp::Wait {
            registers[operands.f as usize][lane] = flag;
            registers[operands.d as usize][lane] = value;
        }
    }
    Ok(())
}

/// The value that a lane receives, and the predicate that says whether it came from a lane in
/// range.
fn result(warp: Warp, lane: usize, mask: u32, values: &[u64], (b, c): (u64, u64)) -> (u64, u64) {
    let truths = || (0..values.len()).filter(|l| mask >> l & 1 != 0).map(|l| values[l] & 1 != 0);
    let shuffle = |source: i64, reached: bool| {
        let source = if reached { source } else { lane as i64 };
        // A lane that does not take part provides no value.
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
