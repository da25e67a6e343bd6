//! Instructions on bits, moves and selections.

use super::program::{Compute, Operands, Register, from_four, from_three};

macro_rules! cells {
    (|$x:ident, $y:ident, $z:ident| $body:expr) => {{
        fn run(r: &mut [Register], i: &Operands, mask: u32) {
            from_three(r, i, mask, |$x, $y, $z| {
                let _ = ($x, $y, $z);
                $body
            });
        }
        Some(run as Compute)
    }};
}

/// The lower bits of a type.
fn mask(bits: u32) -> u64 {
    if bits >= 64 { !0 } else { (1 << bits) - 1 }
}

fn width(name: &str) -> Option<u32> {
    Some(match name {
        "pred" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 16,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => 32,
        "b64" | "u64" | "s64" | "f64" => 64,
        _ => return None,
    })
}

pub(super) fn compute(name: &str, modifiers: &[&str]) -> Option<Compute> {
    if let ("prmt", ["b32"]) = (name, modifiers) {
        return cells!(|x, y, z| permute(x, y, z));
    }
    if let ("shf", [side, mode, "b32"]) = (name, modifiers) {
        return match (*side, *mode) {
            ("l", "wrap") => cells!(|x, y, z| funnel(x, y) << (z & 31) >> 32 & mask(32)),
            ("l", "clamp") => cells!(|x, y, z| funnel(x, y) << (z & mask(32)).min(32) >> 32),
            ("r", "wrap") => cells!(|x, y, z| funnel(x, y) >> (z & 31) & mask(32)),
            ("r", "clamp") => {
                cells!(|x, y, z| funnel(x, y) >> (z & mask(32)).min(32) & mask(32))
            }
            _ => None,
        };
    }
    if let ("lop3", ["b32"]) = (name, modifiers) {
        fn run(r: &mut [Register], i: &Operands, mask: u32) {
            from_four(r, i, mask, |x, y, z, table| {
                let bit = |n: u64| {
                    let index = (x >> n & 1) << 2 | (y >> n & 1) << 1 | z >> n & 1;
                    (table >> index & 1) << n
                };
                (0..32).map(bit).sum()
            });
        }
        return Some(run);
    }
    let [ty] = modifiers else { return None };
    let bits = width(ty)?;
    match (name, bits) {
        ("mov", 1) => cells!(|x, _y, _z| u64::from(x != 0)),
        ("mov", 16) => cells!(|x, _y, _z| x & mask(16)),
        ("mov", 32) => cells!(|x, _y, _z| x & mask(32)),
        ("mov", _) => cells!(|x, _y, _z| x),
        ("and", _) => cells!(|x, y, _z| x & y),
        ("or", 1) => cells!(|x, y, _z| (x | y) & 1),
        ("or", 16) => cells!(|x, y, _z| (x | y) & mask(16)),
        ("or", 32) => cells!(|x, y, _z| (x | y) & mask(32)),
        ("or", _) => cells!(|x, y, _z| x | y),
        ("xor", 1) => cells!(|x, y, _z| (x ^ y) & 1),
        ("xor", 16) => cells!(|x, y, _z| (x ^ y) & mask(16)),
        ("xor", 32) => cells!(|x, y, _z| (x ^ y) & mask(32)),
        ("xor", _) => cells!(|x, y, _z| x ^ y),
        ("not", 1) => cells!(|x, _y, _z| !x & 1),
        ("not", 16) => cells!(|x, _y, _z| !x & mask(16)),
        ("not", 32) => cells!(|x, _y, _z| !x & mask(32)),
        ("not", _) => cells!(|x, _y, _z| !x),
        ("cnot", 32) => cells!(|x, _y, _z| u64::from(x & mask(32) == 0)),
        ("shl", 16) => cells!(|x, y, _z| left(x, y, 16)),
        ("shl", 32) => cells!(|x, y, _z| left(x, y, 32)),
        ("shl", 64) => cells!(|x, y, _z| left(x, y, 64)),
        ("shr", _) => match *ty {
            "b16" | "u16" => cells!(|x, y, _z| right(x, y, 16)),
            "b32" | "u32" => cells!(|x, y, _z| right(x, y, 32)),
            "b64" | "u64" => cells!(|x, y, _z| right(x, y, 64)),
            "s16" => cells!(|x, y, _z| u64::from((x as i16 >> (y & mask(32)).min(15)) as u16)),
            "s32" => cells!(|x, y, _z| u64::from((x as i32 >> (y & mask(32)).min(31)) as u32)),
            "s64" => cells!(|x, y, _z| (x as i64 >> (y & mask(32)).min(63)) as u64),
            _ => None,
        },
        ("selp", 16) => cells!(|x, y, z| if z & 1 != 0 { x & mask(16) } else { y & mask(16) }),
        ("selp", 32) => cells!(|x, y, z| if z & 1 != 0 { x & mask(32) } else { y & mask(32) }),
        ("selp", 64) => cells!(|x, y, z| if z & 1 != 0 { x } else { y }),
        ("clz", 32) => cells!(|x, _y, _z| u64::from((x as u32).leading_zeros())),
        ("clz", 64) => cells!(|x, _y, _z| u64::from(x.leading_zeros())),
        ("popc", 32) => cells!(|x, _y, _z| u64::from((x as u32).count_ones())),
        ("popc", 64) => cells!(|x, _y, _z| u64::from(x.count_ones())),
        ("brev", 32) => cells!(|x, _y, _z| u64::from((x as u32).reverse_bits())),
        ("brev", 64) => cells!(|x, _y, _z| x.reverse_bits()),
        ("bfi", 32) => Some(insert::<32>),
        ("bfi", 64) => Some(insert::<64>),
        ("bfe", _) => match *ty {
            "u32" => Some(extract::<32, false>),
            "s32" => Some(extract::<32, true>),
            "u64" => Some(extract::<64, false>),
            "s64" => Some(extract::<64, true>),
            _ => None,
        },
        _ => None,
    }
}

/// A shift by more than the width gives 0.
fn left(x: u64, by: u64, bits: u32) -> u64 {
    let by = by & mask(32);
    if by >= u64::from(bits) { 0 } else { x << by & mask(bits) }
}

fn right(x: u64, by: u64, bits: u32) -> u64 {
    let by = by & mask(32);
    if by >= u64::from(bits) { 0 } else { (x & mask(bits)) >> by }
}

fn funnel(low: u64, high: u64) -> u64 {
    high << 32 | low & mask(32)
}

/// Each byte of the result is one of eight, or eight times its sign.
fn permute(x: u64, y: u64, control: u64) -> u64 {
    let bytes = funnel(x, y).to_le_bytes();
    let pick = |n: u64| {
        let choice = control >> (4 * n) & 15;
        let byte = bytes[(choice & 7) as usize];
        let byte = if choice & 8 == 0 { byte } else { (byte as i8 >> 7) as u8 };
        u64::from(byte) << (8 * n)
    };
    (0..4).map(pick).sum()
}

/// `bfi d, a, b, position, length`: the bits of a within b.
fn insert<const BITS: u32>(r: &mut [Register], i: &Operands, lanes: u32) {
    from_four(r, i, lanes, |x, y, position, length| {
        let (position, length) = (position as u32 & 0xFF, length as u32 & 0xFF);
        let field = if position >= BITS { 0 } else { mask(length.min(64)) << position };
        let shifted = if position >= 64 { 0 } else { x << position };
        (y & !field | shifted & field) & mask(BITS)
    });
}

/// `bfe d, a, position, length`
fn extract<const BITS: u32, const SIGNED: bool>(r: &mut [Register], i: &Operands, lanes: u32) {
    from_three(r, i, lanes, |x, position, length| {
        let x = x & mask(BITS);
        let (position, length) = (position as u32 & 0xFF, length as u32 & 0xFF);
        let last = BITS - 1;
        let sign =
            if !SIGNED || length == 0 { 0 } else { x >> (position + length - 1).min(last) & 1 };
        let bits = if position >= BITS { 0 } else { x >> position };
        let taken = length.min(BITS.saturating_sub(position));
        let value = bits & mask(taken);
        let value = if sign == 1 { value | !mask(taken) } else { value };
        if length == 0 { 0 } else { value & mask(BITS) }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutation_and_fields() {
        assert_eq!(permute(0x4433_2211, 0x8877_6655, 0x7610), 0x8877_2211);
        assert_eq!(permute(0x4433_2211, 0x8877_6655, 0xF000), 0xFF11_1111);
        let mut r = [0, 0, 0xAB, 0x1111_1111, 8, 8].map(|x| [x; 32]);
        insert::<32>(&mut r, &Operands { d: 0, a: 2, b: 3, c: 4, e: 5, f: 0 }, 1);
        assert_eq!(r[0][..2], [0x1111_AB11, 0]);
        let mut r = [0, 0, 0xF0, 4, 4].map(|x| [x; 32]);
        extract::<32, true>(&mut r, &Operands { d: 0, a: 2, b: 3, c: 4, e: 0, f: 0 }, !0);
        assert_eq!(r[0], [0xFFFF_FFFF; 32]);
        assert_eq!(left(1, 32, 32), 0);
        assert_eq!(right(!0, 31, 32), 1);
    }
}
