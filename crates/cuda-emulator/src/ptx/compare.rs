//! `setp` and `set`.

use half::{bf16, f16};

use super::{
    program::{Compute, LANES, Operands, Register, from_three, from_two, put},
    value::{Float, Value},
};

/// How two values may compare, as bits: less, equal, greater, unordered.
const LESS: u8 = 1;
const EQUAL: u8 = 2;
const GREATER: u8 = 4;
const UNORDERED: u8 = 8;

fn relation(name: &str) -> Option<u8> {
    Some(match name {
        "eq" => EQUAL,
        "ne" => LESS | GREATER,
        "lt" | "lo" => LESS,
        "le" | "ls" => LESS | EQUAL,
        "gt" | "hi" => GREATER,
        "ge" | "hs" => GREATER | EQUAL,
        "equ" => EQUAL | UNORDERED,
        "neu" => LESS | GREATER | UNORDERED,
        "ltu" => LESS | UNORDERED,
        "leu" => LESS | EQUAL | UNORDERED,
        "gtu" => GREATER | UNORDERED,
        "geu" => GREATER | EQUAL | UNORDERED,
        "num" => LESS | EQUAL | GREATER,
        "nan" => UNORDERED,
        _ => return None,
    })
}

trait Compare: Value {
    fn compare(self, other: Self) -> u8;
}

macro_rules! ordered {
    ($($type:ty),*) => {$(
        impl Compare for $type {
            #[inline(always)]
            fn compare(self, other: Self) -> u8 {
                if self < other {
                    LESS
                } else if self == other {
                    EQUAL
                } else {
                    GREATER
                }
            }
        }
    )*};
}
ordered!(u16, u32, u64, i16, i32, i64);

macro_rules! partial {
    ($($type:ty),*) => {$(
        impl Compare for $type {
            #[inline(always)]
            fn compare(self, other: Self) -> u8 {
                let (x, y) = (self.wide(), other.wide());
                if x < y {
                    LESS
                } else if x == y {
                    EQUAL
                } else if x > y {
                    GREATER
                } else {
                    UNORDERED
                }
            }
        }
    )*};
}
partial!(f32, f64, f16, bf16);

#[inline(always)]
fn holds<T: Compare, const RELATION: u8>(x: u64, y: u64) -> bool {
    T::read(x).compare(T::read(y)) & RELATION != 0
}

fn predicate<T: Compare, const RELATION: u8>(r: &mut [Register], i: &Operands, mask: u32) {
    from_two(r, i, mask, |x, y| u64::from(holds::<T, RELATION>(x, y)));
}

/// Writes the second result too, or combines with a third operand: 0 and, 1 or, 2 xor, 3 nothing.
fn combined<T: Compare, const RELATION: u8, const WITH: u8>(
    r: &mut [Register],
    i: &Operands,
    mask: u32,
) {
    let combine = |is: bool, with: u64| {
        let with = with & 1 != 0;
        u64::from(match WITH {
            0 => is & with,
            1 => is | with,
            2 => is ^ with,
            _ => is,
        })
    };
    // Operands and results may be the same registers.
    let mut opposite = [0; LANES];
    for (lane, place) in opposite.iter_mut().enumerate() {
        let [a, b, c] = [i.a, i.b, i.c].map(|slot| r[slot as usize][lane]);
        *place = combine(!holds::<T, RELATION>(a, b), c);
    }
    from_three(r, i, mask, |x, y, with| combine(holds::<T, RELATION>(x, y), with));
    put(r, i.f, mask, &opposite);
}

/// All ones, or 1.0, for true.
fn value<T: Compare, const RELATION: u8, const TRUE: u64>(
    r: &mut [Register],
    i: &Operands,
    mask: u32,
) {
    from_two(r, i, mask, |x, y| if holds::<T, RELATION>(x, y) { TRUE } else { 0 });
}

macro_rules! relations {
    ($relation:expr, |$R:ident| $body:expr) => {
        relations!(@ $relation, $R, $body; 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
    (@ $relation:expr, $R:ident, $body:expr; $($number:literal)*) => {
        match $relation {
            $($number => { const $R: u8 = $number; Some($body) })*
            _ => None,
        }
    };
}

macro_rules! types {
    ($type:expr, |$T:ident| $body:expr) => {
        match $type {
            "b16" | "u16" => {
                type $T = u16;
                $body
            }
            "b32" | "u32" => {
                type $T = u32;
                $body
            }
            "b64" | "u64" => {
                type $T = u64;
                $body
            }
            "s16" => {
                type $T = i16;
                $body
            }
            "s32" => {
                type $T = i32;
                $body
            }
            "s64" => {
                type $T = i64;
                $body
            }
            "f32" => {
                type $T = f32;
                $body
            }
            "f64" => {
                type $T = f64;
                $body
            }
            "f16" => {
                type $T = f16;
                $body
            }
            "bf16" => {
                type $T = bf16;
                $body
            }
            _ => None,
        }
    };
}

pub(super) fn compute(name: &str, modifiers: &[&str]) -> Option<Compute> {
    match (name, modifiers) {
        ("setp", [how, ty]) => {
            let how = relation(how)?;
            types!(*ty, |T| relations!(how, |R| predicate::<T, R> as Compute))
        }
        ("setp", [how, with, ty]) => {
            let how = relation(how)?;
            match *with {
                "and" => types!(*ty, |T| relations!(how, |R| combined::<T, R, 0> as Compute)),
                "or" => types!(*ty, |T| relations!(how, |R| combined::<T, R, 1> as Compute)),
                "xor" => types!(*ty, |T| relations!(how, |R| combined::<T, R, 2> as Compute)),
                _ => None,
            }
        }
        ("set", [how, out, ty]) => {
            let how = relation(how)?;
            const ONES: u64 = 0xFFFF_FFFF;
            match *out {
                "u32" | "s32" => {
                    types!(*ty, |T| relations!(how, |R| value::<T, R, ONES> as Compute))
                }
                "f32" => {
                    types!(*ty, |T| relations!(how, |R| value::<T, R, 0x3F80_0000> as Compute))
                }
                "f16" => types!(*ty, |T| relations!(how, |R| value::<T, R, 0x3C00> as Compute)),
                "bf16" => types!(*ty, |T| relations!(how, |R| value::<T, R, 0x3F80> as Compute)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// `setp` with two results and nothing to combine with.
pub(super) fn both(modifiers: &[&str]) -> Option<Compute> {
    let [how, ty] = modifiers else { return None };
    let how = relation(how)?;
    types!(*ty, |T| relations!(how, |R| combined::<T, R, 3> as Compute))
}
