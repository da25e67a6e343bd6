//! Instructions that compute a register from registers: integers, bits, floats, comparisons.

use half::{bf16, f16};

use super::{
    program::{
        CARRY, Compute, LANES, Operands, Register, Slot, from_one, from_three, from_two, put,
    },
    value::{Float, Rounding, Value},
};

macro_rules! one {
    ($in:ty => $out:ty, |$x:ident| $body:expr) => {{
        fn run(r: &mut [Register], i: &Operands, mask: u32) {
            from_one(r, i, mask, |a| {
                let $x = <$in as Value>::read(a);
                let result: $out = $body;
                result.write()
            });
        }
        Some(run as Compute)
    }};
}

macro_rules! two {
    ($in:ty => $out:ty, |$x:ident, $y:ident| $body:expr) => {{
        fn run(r: &mut [Register], i: &Operands, mask: u32) {
            from_two(r, i, mask, |a, b| {
                let ($x, $y) = (<$in as Value>::read(a), <$in as Value>::read(b));
                let result: $out = $body;
                result.write()
            });
        }
        Some(run as Compute)
    }};
}

macro_rules! three {
    ($in:ty, $in2:ty, $in3:ty => $out:ty, |$x:ident, $y:ident, $z:ident| $body:expr) => {{
        fn run(r: &mut [Register], i: &Operands, mask: u32) {
            from_three(r, i, mask, |a, b, c| {
                let ($x, $y) = (<$in as Value>::read(a), <$in2 as Value>::read(b));
                let $z = <$in3 as Value>::read(c);
                let result: $out = $body;
                result.write()
            });
        }
        Some(run as Compute)
    }};
}

/// The same body for each of the types that a name may stand for.
macro_rules! by {
    ($name:expr; $($pattern:pat => $type:ty),*; $T:ident => $body:expr) => {
        match $name {
            $($pattern => { type $T = $type; $body })*
            _ => None,
        }
    };
}

macro_rules! unsigned {
    ($name:expr, $T:ident => $body:expr) => {
        by!($name; "u16" | "s16" | "b16" => u16, "u32" | "s32" | "b32" => u32,
            "u64" | "s64" | "b64" => u64; $T => $body)
    };
}

macro_rules! with_sign {
    ($name:expr, $T:ident => $body:expr) => {
        by!($name; "u16" => u16, "s16" => i16, "u32" => u32, "s32" => i32, "u64" => u64,
            "s64" => i64; $T => $body)
    };
}

macro_rules! floats {
    ($name:expr, $T:ident => $body:expr) => {
        by!($name; "f32" => f32, "f64" => f64, "f16" => f16, "bf16" => bf16; $T => $body)
    };
}

/// Two halves in one register, each on its own.
macro_rules! pairs {
    ($half:ty, |$x:ident, $y:ident, $z:ident| $body:expr) => {{
        fn run(r: &mut [Register], i: &Operands, mask: u32) {
            from_three(r, i, mask, |a, b, c| {
                let lane = |cell: u64, lane: u64| <$half as Value>::read(cell >> (16 * lane));
                let half = |n: u64| {
                    let ($x, $y, $z) = (lane(a, n), lane(b, n), lane(c, n));
                    let _ = &$z;
                    let result: $half = $body;
                    result.write()
                };
                half(0) | half(1) << 16
            });
        }
        Some(run as Compute)
    }};
}

/// The function of an operation; none if it is not known in this form.
pub(super) fn compute(name: &str, modifiers: &[&str]) -> Option<Compute> {
    match name {
        "add" | "sub" | "mul" | "fma" | "mad" | "div" | "neg" | "abs" | "min" | "max"
        | "copysign"
            if modifiers.last()?.contains('f') =>
        {
            float(name, modifiers)
        }
        "addc" | "subc" | "madc" => carry(name, modifiers),
        "add" | "sub" | "mad" if modifiers.contains(&"cc") => carry(name, modifiers),
        "add" | "sub" | "mul" | "mad" | "div" | "rem" | "neg" | "abs" | "min" | "max" | "mul24" => {
            integer(name, modifiers)
        }
        "and" | "or" | "xor" | "not" | "shl" | "shr" | "mov" | "selp" | "prmt" | "bfi" | "bfe"
        | "clz" | "popc" | "brev" | "cnot" | "shf" | "lop3" => {
            super::bits::compute(name, modifiers)
        }
        "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" => {
            transcendental(name, modifiers)
        }
        "cvt" => super::convert::compute(modifiers),
        "setp" | "set" => super::compare::compute(name, modifiers),
        _ => None,
    }
}

fn integer(name: &str, modifiers: &[&str]) -> Option<Compute> {
    match (name, modifiers) {
        ("add", [t]) => unsigned!(*t, T => two!(T => T, |x, y| x.wrapping_add(y))),
        ("sub", [t]) => unsigned!(*t, T => two!(T => T, |x, y| x.wrapping_sub(y))),
        ("mul", ["lo", t]) => unsigned!(*t, T => two!(T => T, |x, y| x.wrapping_mul(y))),
        ("mul", ["hi", t]) => match *t {
            "u16" => two!(u16 => u16, |x, y| ((u32::from(x) * u32::from(y)) >> 16) as u16),
            "s16" => two!(i16 => i16, |x, y| ((i32::from(x) * i32::from(y)) >> 16) as i16),
            "u32" => two!(u32 => u32, |x, y| ((u64::from(x) * u64::from(y)) >> 32) as u32),
            "s32" => two!(i32 => i32, |x, y| ((i64::from(x) * i64::from(y)) >> 32) as i32),
            "u64" => two!(u64 => u64, |x, y| ((u128::from(x) * u128::from(y)) >> 64) as u64),
            "s64" => two!(i64 => i64, |x, y| ((i128::from(x) * i128::from(y)) >> 64) as i64),
            _ => None,
        },
        ("mul", ["wide", t]) => match *t {
            "u16" => two!(u16 => u32, |x, y| u32::from(x) * u32::from(y)),
            "s16" => two!(i16 => i32, |x, y| i32::from(x) * i32::from(y)),
            "u32" => two!(u32 => u64, |x, y| u64::from(x) * u64::from(y)),
            "s32" => two!(i32 => i64, |x, y| i64::from(x) * i64::from(y)),
            _ => None,
        },
        ("mad", ["lo", t]) => {
            unsigned!(*t, T => three!(T, T, T => T, |x, y, z| x.wrapping_mul(y).wrapping_add(z)))
        }
        ("mad", ["hi", "u32"]) => three!(u32, u32, u32 => u32, |x, y, z| {
            (((u64::from(x) * u64::from(y)) >> 32) as u32).wrapping_add(z)
        }),
        ("mad", ["hi", "s32"]) => three!(i32, i32, i32 => i32, |x, y, z| {
            (((i64::from(x) * i64::from(y)) >> 32) as i32).wrapping_add(z)
        }),
        ("mad", ["hi", "u64"]) => three!(u64, u64, u64 => u64, |x, y, z| {
            (((u128::from(x) * u128::from(y)) >> 64) as u64).wrapping_add(z)
        }),
        ("mad", ["wide", t]) => match *t {
            "u16" => three!(u16, u16, u32 => u32, |x, y, z| {
                (u32::from(x) * u32::from(y)).wrapping_add(z)
            }),
            "s16" => three!(i16, i16, i32 => i32, |x, y, z| {
                (i32::from(x) * i32::from(y)).wrapping_add(z)
            }),
            "u32" => three!(u32, u32, u64 => u64, |x, y, z| {
                (u64::from(x) * u64::from(y)).wrapping_add(z)
            }),
            "s32" => three!(i32, i32, i64 => i64, |x, y, z| {
                (i64::from(x) * i64::from(y)).wrapping_add(z)
            }),
            _ => None,
        },
        // By 0 it is unspecified; GPUs give all ones.
        ("div", [t]) => with_sign!(*t, T => two!(T => T, |x, y| {
            if y == 0 { !0 } else { x.wrapping_div(y) }
        })),
        ("rem", [t]) => with_sign!(*t, T => two!(T => T, |x, y| {
            if y == 0 { x } else { x.wrapping_rem(y) }
        })),
        ("neg", ["s16"]) => one!(i16 => i16, |x| x.wrapping_neg()),
        ("neg", ["s32"]) => one!(i32 => i32, |x| x.wrapping_neg()),
        ("neg", ["s64"]) => one!(i64 => i64, |x| x.wrapping_neg()),
        ("abs", ["s16"]) => one!(i16 => i16, |x| x.wrapping_abs()),
        ("abs", ["s32"]) => one!(i32 => i32, |x| x.wrapping_abs()),
        ("abs", ["s64"]) => one!(i64 => i64, |x| x.wrapping_abs()),
        ("min", [t]) => with_sign!(*t, T => two!(T => T, |x, y| x.min(y))),
        ("max", [t]) => with_sign!(*t, T => two!(T => T, |x, y| x.max(y))),
        ("mul24", ["lo", "u32"]) => two!(u32 => u32, |x, y| {
            (x & 0xFF_FFFF).wrapping_mul(y & 0xFF_FFFF)
        }),
        _ => None,
    }
}

/// Additions in several words: `.cc` writes the carry, `addc` and the like read it.
fn carry(name: &str, modifiers: &[&str]) -> Option<Compute> {
    macro_rules! chain {
        (|$x:ident, $y:ident, $z:ident, $carry:ident| $body:expr) => {{
            fn run(r: &mut [Register], i: &Operands, mask: u32) {
                let cut = |slot: Slot, lane: usize| r[slot as usize][lane] & 0xFFFF_FFFF;
                let (mut sums, mut carries) = ([0; LANES], r[CARRY as usize]);
                for lane in 0..LANES {
                    let ($x, $y, $z) = (cut(i.a, lane), cut(i.b, lane), cut(i.c, lane));
                    let $carry = carries[lane] & 1;
                    let (sum, write): (u64, bool) = $body;
                    sums[lane] = sum & 0xFFFF_FFFF;
                    if write {
                        carries[lane] = sum >> 32 & 1;
                    }
                }
                put(r, CARRY, mask, &carries);
                put(r, i.d, mask, &sums);
            }
            Some(run as Compute)
        }};
    }
    match (name, modifiers) {
        ("add", ["cc", "u32" | "s32"]) => chain!(|x, y, _z, _c| (x + y, true)),
        ("addc", ["cc", "u32" | "s32"]) => chain!(|x, y, _z, c| (x + y + c, true)),
        ("addc", ["u32" | "s32"]) => chain!(|x, y, _z, c| (x + y + c, false)),
        ("sub", ["cc", "u32" | "s32"]) => chain!(|x, y, _z, _c| (x.wrapping_sub(y), true)),
        ("subc", ["cc", "u32" | "s32"]) => {
            chain!(|x, y, _z, c| (x.wrapping_sub(y).wrapping_sub(c), true))
        }
        ("subc", ["u32" | "s32"]) => {
            chain!(|x, y, _z, c| (x.wrapping_sub(y).wrapping_sub(c), false))
        }
        ("mad", ["lo", "cc", "u32"]) => {
            chain!(|x, y, z, _c| (((x * y) & 0xFFFF_FFFF) + z, true))
        }
        ("mad", ["hi", "cc", "u32"]) => chain!(|x, y, z, _c| (((x * y) >> 32) + z, true)),
        ("madc", ["lo", "cc", "u32"]) => {
            chain!(|x, y, z, c| (((x * y) & 0xFFFF_FFFF) + z + c, true))
        }
        ("madc", ["hi", "cc", "u32"]) => chain!(|x, y, z, c| (((x * y) >> 32) + z + c, true)),
        ("madc", ["lo", "u32"]) => {
            chain!(|x, y, z, c| (((x * y) & 0xFFFF_FFFF) + z + c, false))
        }
        ("madc", ["hi", "u32"]) => chain!(|x, y, z, c| (((x * y) >> 32) + z + c, false)),
        _ => None,
    }
}

macro_rules! directed {
    ($mode:ident, $name:expr, $type:expr) => {
        match ($name, $type) {
            ("add", "f32") => {
                two!(f32 => f32, |x, y| Rounding::$mode.single(x.into(), y.into()))
            }
            ("sub", "f32") => {
                two!(f32 => f32, |x, y| Rounding::$mode.single(x.into(), -f64::from(y)))
            }
            ("mul", "f32") => {
                two!(f32 => f32, |x, y| Rounding::$mode.single(f64::from(x) * f64::from(y), 0.0))
            }
            ("fma" | "mad", "f32") => three!(f32, f32, f32 => f32, |x, y, z| {
                Rounding::$mode.single(f64::from(x) * f64::from(y), z.into())
            }),
            ("add", "f64") => two!(f64 => f64, |x, y| Rounding::$mode.add(x, y)),
            ("sub", "f64") => two!(f64 => f64, |x, y| Rounding::$mode.add(x, -y)),
            ("mul", "f64") => two!(f64 => f64, |x, y| Rounding::$mode.multiply(x, y)),
            _ => None,
        }
    };
}

fn float(name: &str, modifiers: &[&str]) -> Option<Compute> {
    match (name, modifiers) {
        (_, ["rz", t]) => directed!(Zero, name, *t),
        (_, ["rm", t]) => directed!(Down, name, *t),
        (_, ["rp", t]) => directed!(Up, name, *t),
        ("add", [t] | ["rn", t]) => match *t {
            "f16x2" => pairs!(f16, |x, y, _z| x + y),
            "bf16x2" => pairs!(bf16, |x, y, _z| x + y),
            t => floats!(t, T => two!(T => T, |x, y| x + y)),
        },
        ("sub", [t] | ["rn", t]) => match *t {
            "f16x2" => pairs!(f16, |x, y, _z| x - y),
            "bf16x2" => pairs!(bf16, |x, y, _z| x - y),
            t => floats!(t, T => two!(T => T, |x, y| x - y)),
        },
        ("mul", [t] | ["rn", t]) => match *t {
            "f16x2" => pairs!(f16, |x, y, _z| x * y),
            "bf16x2" => pairs!(bf16, |x, y, _z| x * y),
            t => floats!(t, T => two!(T => T, |x, y| x * y)),
        },
        ("fma" | "mad", ["rn", t]) => match *t {
            "f16x2" => pairs!(f16, |x, y, z| f16::fused(x, y, z)),
            "bf16x2" => pairs!(bf16, |x, y, z| bf16::fused(x, y, z)),
            t => floats!(t, T => three!(T, T, T => T, |x, y, z| T::fused(x, y, z))),
        },
        ("div", ["rn" | "approx" | "full", t]) => {
            by!(*t; "f32" => f32, "f64" => f64; T => two!(T => T, |x, y| x / y))
        }
        ("neg", [t]) => match *t {
            "f16x2" | "bf16x2" => one!(u32 => u32, |x| x ^ 0x8000_8000),
            t => floats!(t, T => one!(T => T, |x| -x)),
        },
        ("abs", ["f32"]) => one!(u32 => u32, |x| x & 0x7FFF_FFFF),
        ("abs", ["f64"]) => one!(u64 => u64, |x| x & !(1 << 63)),
        ("abs", ["f16" | "bf16"]) => one!(u16 => u16, |x| x & 0x7FFF),
        // The sign of the first, all else of the second.
        ("copysign", ["f32"]) => two!(f32 => f32, |x, y| y.copysign(x)),
        ("copysign", ["f64"]) => two!(f64 => f64, |x, y| y.copysign(x)),
        ("min", [t]) => floats!(*t, T => two!(T => T, |x, y| lower(x, y))),
        ("max", [t]) => floats!(*t, T => two!(T => T, |x, y| higher(x, y))),
        ("min", ["NaN", t]) => {
            floats!(*t, T => two!(T => T, |x, y| undefined(x, y).unwrap_or(lower(x, y))))
        }
        ("max", ["NaN", t]) => {
            floats!(*t, T => two!(T => T, |x, y| undefined(x, y).unwrap_or(higher(x, y))))
        }
        _ => None,
    }
}

/// The minimum; a number rather than NaN, −0 rather than 0.
pub(super) fn lower<T: Float>(x: T, y: T) -> T {
    let (a, b) = (x.wide(), y.wide());
    let first = b.is_nan() || a < b || a == b && a.is_sign_negative();
    if first { x } else { y }
}

/// The maximum; a number rather than NaN, 0 rather than −0.
pub(super) fn higher<T: Float>(x: T, y: T) -> T {
    let (a, b) = (x.wide(), y.wide());
    let first = b.is_nan() || a > b || a == b && a.is_sign_positive();
    if first { x } else { y }
}

fn undefined<T: Float>(x: T, y: T) -> Option<T> {
    (x.wide().is_nan() || y.wide().is_nan()).then(|| T::narrow(f64::NAN))
}

fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

fn transcendental(name: &str, modifiers: &[&str]) -> Option<Compute> {
    macro_rules! single {
        (|$x:ident| $body:expr) => {
            match modifiers {
                ["f32"] | ["approx" | "rn", "f32"] => one!(f32 => f32, |y| {
                    let $x = f64::from(y);
                    let result: f64 = $body;
                    result as f32
                }),
                ["approx" | "rn", "ftz", "f32"] => one!(f32 => f32, |y| {
                    let $x = f64::from(flush(y));
                    let result: f64 = $body;
                    flush(result as f32)
                }),
                _ => None,
            }
        };
    }
    match (name, modifiers) {
        ("rcp", ["rn", "f64"]) => one!(f64 => f64, |x| 1.0 / x),
        // The upper half of a first guess.
        ("rcp", ["approx", "ftz", "f64"]) => {
            one!(f64 => u64, |x| (1.0 / x).to_bits() & 0xFFFF_FFFF_0000_0000)
        }
        ("rsqrt", ["approx", "ftz", "f64"]) => {
            one!(f64 => u64, |x| (1.0 / x.sqrt()).to_bits() & 0xFFFF_FFFF_0000_0000)
        }
        ("rsqrt", ["approx", "f64"]) => one!(f64 => f64, |x| 1.0 / x.sqrt()),
        ("sqrt", ["rn", "f64"]) => one!(f64 => f64, |x| x.sqrt()),
        ("sqrt", ["rn", "f32"]) => one!(f32 => f32, |x| x.sqrt()),
        ("rcp", ["rn", "f32"]) => one!(f32 => f32, |x| 1.0 / x),
        ("rcp", _) => single!(|x| 1.0 / x),
        ("sqrt", _) => single!(|x| x.sqrt()),
        ("rsqrt", _) => single!(|x| 1.0 / x.sqrt()),
        ("ex2", ["approx", "f16"]) => one!(f16 => f16, |x| f16::narrow(x.wide().exp2())),
        ("ex2", ["approx", "ftz", "bf16"]) => one!(bf16 => bf16, |x| bf16::narrow(x.wide().exp2())),
        ("ex2", _) => single!(|x| x.exp2()),
        ("lg2", _) => single!(|x| x.log2()),
        ("sin", _) => single!(|x| x.sin()),
        ("cos", _) => single!(|x| x.cos()),
        ("tanh", ["approx", "f16"]) => one!(f16 => f16, |x| f16::narrow(x.wide().tanh())),
        ("tanh", ["approx", "bf16"]) => one!(bf16 => bf16, |x| bf16::narrow(x.wide().tanh())),
        ("tanh", _) => single!(|x| x.tanh()),
        _ => None,
    }
}
