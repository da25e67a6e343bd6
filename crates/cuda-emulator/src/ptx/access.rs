//! Decoding of instructions that access memory or other lanes.

use super::{
    decode::Decoder,
    program::{Action, Combine, LOCAL_WINDOW, Operands, PARAM_WINDOW, SHARED_WINDOW, Space, Warp},
    text::{Unclear, type_bytes},
    value::Value,
};
use half::{bf16, f16};

impl Decoder<'_> {
    pub(super) fn load_or_store(
        &mut self,
        name: &str,
        modifiers: &[&str],
        operands: &[&str],
        line: usize,
    ) -> Result<bool, Unclear> {
        let (Some((ty, flags)), [first, second]) = (modifiers.split_last(), operands) else {
            return Ok(false);
        };
        let Some(bytes) = type_bytes(ty) else { return Ok(false) };
        let mut space = Space::Generic;
        let mut count = 1;
        for flag in flags {
            match *flag {
                "global" | "const" => space = Space::Global,
                "shared" => space = Space::Shared,
                "local" => space = Space::Local,
                "param" => space = Space::Param,
                "v2" => count = 2,
                "v4" => count = 4,
                // Cache and ordering modifiers, which make no difference as threads run one after
                // the other.
                "nc" | "ca" | "cg" | "cs" | "lu" | "cv" | "wb" | "wt" | "volatile" | "relaxed"
                | "weak" | "acquire" | "release" | "gpu" | "cta" | "sys" | "L1::evict_first"
                | "L1::evict_last" | "L1::no_allocate" | "L2::128B" | "L2::64B" | "L2::256B" => {}
                _ => return Ok(false),
            }
        }
        let load = name != "st";
        let (value, address) = if load { (first, second) } else { (second, first) };
        let lanes = self.lanes(value, line)?;
        let (named, base, offset) = self.address(address, line)?;
        // Parameters of calls lie in local memory.
        let space = match (space, named) {
            (Space::Param, Some(named)) => named,
            (Space::Generic, Some(named)) => named,
            (space, _) => space,
        };
        if lanes.len() != count {
            return Ok(false);
        }
        let log = bytes.trailing_zeros() as u8;
        let Some(access) = Self::access(space, log, ty.starts_with('s'), &lanes, (base, offset))
        else {
            return Ok(false);
        };
        let action = if load { Action::Load(access) } else { Action::Store(access) };
        self.step(action, Operands::default(), None, line);
        Ok(true)
    }

    /// `atom.global.add.f32 d, [a], b`, `red.global.add.u32 [a], b`
    pub(super) fn atomic(
        &mut self,
        name: &str,
        modifiers: &[&str],
        operands: &[&str],
        line: usize,
    ) -> Result<bool, Unclear> {
        let Some((ty, flags)) = modifiers.split_last() else { return Ok(false) };
        let Some(bytes) = type_bytes(ty) else { return Ok(false) };
        let mut space = Space::Generic;
        let mut operation = None;
        for flag in flags {
            match *flag {
                "global" => space = Space::Global,
                "shared" => space = Space::Shared,
                "relaxed" | "acquire" | "release" | "acq_rel" | "gpu" | "cta" | "sys" | "noftz" => {
                }
                other if operation.is_none() => operation = Some(other),
                _ => return Ok(false),
            }
        }
        let Some(combine) = operation.and_then(|operation| combine(operation, ty)) else {
            return Ok(false);
        };
        let (result, rest) = match (name, operands) {
            ("atom", [result, rest @ ..]) => (self.operand(result, line)?, rest),
            (_, rest) => (self.slot(), rest),
        };
        let [address, values @ ..] = rest else { return Ok(false) };
        let (named, base, offset) = self.address(address, line)?;
        let space = if space == Space::Generic { named.unwrap_or(space) } else { space };
        let mut slots = [0; 2];
        for (slot, text) in slots.iter_mut().zip(values) {
            *slot = self.operand(text, line)?;
        }
        let log = bytes.trailing_zeros() as u8;
        let Some(access) = Self::access(space, log, false, &[result], (base, offset)) else {
            return Ok(false);
        };
        let operands = Operands { d: result, b: slots[0], c: slots[1], ..Operands::default() };
        let action = Action::Atomic { access, combine, returns: name == "atom" };
        self.step(action, operands, None, line);
        Ok(true)
    }

    /// `cvta.to.global.u64`, `cvta.shared.u64`
    pub(super) fn generic_address(
        &mut self,
        modifiers: &[&str],
        operands: &[&str],
        line: usize,
    ) -> Result<bool, Unclear> {
        let (back, space) = match modifiers {
            ["to", space, "u64"] => (true, *space),
            [space, "u64"] => (false, *space),
            _ => return Ok(false),
        };
        let window = match space {
            "global" | "const" => 0,
            "shared" => SHARED_WINDOW,
            "local" => LOCAL_WINDOW,
            "param" => PARAM_WINDOW,
            _ => return Ok(false),
        };
        let [to, from] = operands else { return Ok(false) };
        let (d, a) = (self.operand(to, line)?, self.operand(from, line)?);
        let window = if back { window.wrapping_neg() } else { window };
        let b = self.constant(window);
        let add = super::arithmetic::compute("add", &["u64"]);
        let Some(add) = add else { return Ok(false) };
        self.step(Action::Compute(add), Operands { d, a, b, ..Operands::default() }, None, line);
        Ok(true)
    }

    /// `mov.b64 %rd1, {%r1, %r2}` and `mov.b32 {%rs1, %rs2}, %r1`
    pub(super) fn pack(
        &mut self,
        modifiers: &[&str],
        operands: &[&str],
        line: usize,
    ) -> Result<bool, Unclear> {
        let ([ty], [to, from]) = (modifiers, operands) else { return Ok(false) };
        let Some(bytes) = type_bytes(ty) else { return Ok(false) };
        let (into, out) = (self.lanes(to, line)?, self.lanes(from, line)?);
        let none = Operands::default();
        let (parts, whole, split) = match (into.len(), out.len()) {
            (1, n) if n > 1 => (out, into[0], false),
            (n, 1) if n > 1 => (into, out[0], true),
            _ => return Ok(false),
        };
        let bits = bytes * 8 / parts.len() as u32;
        let (compute, mask) = (super::arithmetic::compute, (1u64 << bits) - 1);
        let (Some(shift_left), Some(shift_right)) =
            (compute("shl", &["b64"]), compute("shr", &["b64"]))
        else {
            return Ok(false);
        };
        let (Some(and), Some(or), Some(mov)) =
            (compute("and", &["b64"]), compute("or", &["b64"]), compute("mov", &["b64"]))
        else {
            return Ok(false);
        };
        let mask = self.constant(mask);
        // Through a temporary register: the operands may overlap.
        let (sum, part) = (self.slot(), self.slot());
        let zero = self.constant(0);
        let first = if split { whole } else { zero };
        self.step(Action::Compute(mov), Operands { d: sum, a: first, ..none }, None, line);
        for (place, lane) in parts.into_iter().enumerate() {
            let by = self.constant(u64::from(bits) * place as u64);
            if split {
                let shift = Operands { d: part, a: sum, b: by, ..none };
                self.step(Action::Compute(shift_right), shift, None, line);
                let cut = Operands { d: lane, a: part, b: mask, ..none };
                self.step(Action::Compute(and), cut, None, line);
            } else {
                let cut = Operands { d: part, a: lane, b: mask, ..none };
                self.step(Action::Compute(and), cut, None, line);
                let shift = Operands { d: part, a: part, b: by, ..none };
                self.step(Action::Compute(shift_left), shift, None, line);
                let join = Operands { d: sum, a: sum, b: part, ..none };
                self.step(Action::Compute(or), join, None, line);
            }
        }
        if !split {
            self.step(Action::Compute(mov), Operands { d: whole, a: sum, ..none }, None, line);
        }
        Ok(true)
    }

    /// `shfl.sync.bfly.b32 d|p, a, b, c, mask`, `vote.sync.ballot.b32 d, p, mask`
    pub(super) fn exchange(
        &mut self,
        name: &str,
        modifiers: &[&str],
        operands: &[&str],
        line: usize,
    ) -> Result<bool, Unclear> {
        let warp = match (name, modifiers) {
            ("shfl", ["sync", "up", "b32"]) => Warp::ShuffleUp,
            ("shfl", ["sync", "down", "b32"]) => Warp::ShuffleDown,
            ("shfl", ["sync", "bfly", "b32"]) => Warp::ShuffleButterfly,
            ("shfl", ["sync", "idx", "b32"]) => Warp::ShuffleIndex,
            ("vote", ["sync", "all", "pred"]) => Warp::VoteAll,
            ("vote", ["sync", "any", "pred"]) => Warp::VoteAny,
            ("vote", ["sync", "uni", "pred"]) => Warp::VoteUniform,
            ("vote", ["sync", "ballot", "b32"]) => Warp::VoteBallot,
            _ => return Ok(false),
        };
        let [result, rest @ ..] = operands else { return Ok(false) };
        let (first, second) = match result.split_once('|') {
            Some((first, second)) => (first.trim(), Some(second.trim())),
            None => (*result, None),
        };
        let d = self.operand(first, line)?;
        let f = match second {
            Some(name) => self.operand(name, line)?,
            None => self.slot(),
        };
        let mut slots = Vec::new();
        for text in rest {
            if text.starts_with('!') {
                return Ok(false);
            }
            slots.push(self.operand(text, line)?);
        }
        let operands = match slots[..] {
            [a, b, c, mask] if name == "shfl" => Operands { d, a, b, c, e: mask, f },
            [a, mask] if name == "vote" => Operands { d, a, e: mask, f, ..Operands::default() },
            _ => return Ok(false),
        };
        self.warp(warp, operands, line);
        Ok(true)
    }
}

/// The new value from the old one and the operands.
fn combine(operation: &str, ty: &str) -> Option<Combine> {
    macro_rules! with {
        ($type:ty, |$old:ident, $new:ident| $body:expr) => {
            Some(
                (|old: u64, new: u64, _: u64| {
                    let ($old, $new) = (<$type>::read(old), <$type>::read(new));
                    let result: $type = $body;
                    result.write()
                }) as Combine,
            )
        };
    }
    match (operation, ty) {
        ("add", "u32" | "s32") => with!(u32, |old, new| old.wrapping_add(new)),
        ("add", "u64") => with!(u64, |old, new| old.wrapping_add(new)),
        ("add", "f32") => with!(f32, |old, new| old + new),
        ("add", "f64") => with!(f64, |old, new| old + new),
        ("add", "f16") => with!(f16, |old, new| old + new),
        ("add", "bf16") => with!(bf16, |old, new| old + new),
        ("min", "u32") => with!(u32, |old, new| old.min(new)),
        ("min", "s32") => with!(i32, |old, new| old.min(new)),
        ("max", "u32") => with!(u32, |old, new| old.max(new)),
        ("max", "s32") => with!(i32, |old, new| old.max(new)),
        ("min", "u64") => with!(u64, |old, new| old.min(new)),
        ("max", "u64") => with!(u64, |old, new| old.max(new)),
        ("and", "b32") => with!(u32, |old, new| old & new),
        ("or", "b32") => with!(u32, |old, new| old | new),
        ("xor", "b32") => with!(u32, |old, new| old ^ new),
        ("exch", "b32") => with!(u32, |_old, new| new),
        ("exch", "b64") => with!(u64, |_old, new| new),
        ("inc", "u32") => with!(u32, |old, new| if old >= new { 0 } else { old + 1 }),
        ("cas", "b16") => {
            Some(|old, expected, new| if old == expected & 0xFFFF { new } else { old })
        }
        ("cas", "b32") => {
            Some(|old, expected, new| if old == expected & 0xFFFF_FFFF { new } else { old })
        }
        ("cas", "b64") => Some(|old, expected, new| if old == expected { new } else { old }),
        _ => None,
    }
}
