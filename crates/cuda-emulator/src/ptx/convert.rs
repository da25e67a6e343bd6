//! `cvt`

use half::{bf16, f16};

use super::{
    program::{Compute, Operands, Register, from_one, from_two},
    value::{Float, Rounding, Value},
};

/// A whole number, in the widest type.
trait Whole: Value {
    const BITS: u32;
    const SIGNED: bool;
    fn wide(self) -> i128;
    /// Saturates to the range.
    fn saturate(value: i128) -> Self;
    fn wrap(value: i128) -> Self;
    /// The same for floats; NaN becomes 0.
    fn from_float(value: f64) -> Self;
}

macro_rules! whole {
    ($($type:ty, $signed:literal;)*) => {$(
        impl Whole for $type {
            const BITS: u32 = <$type>::BITS;
            const SIGNED: bool = $signed;
            #[inline(always)]
            fn wide(self) -> i128 {
                i128::from(self)
            }
            #[inline(always)]
            fn saturate(value: i128) -> Self {
                value.clamp(i128::from(<$type>::MIN), i128::from(<$type>::MAX)) as $type
            }
            #[inline(always)]
            fn wrap(value: i128) -> Self {
                value as $type
            }
            #[inline(always)]
            fn from_float(value: f64) -> Self {
                value as $type
            }
        }
    )*};
}
whole! { u8, false; u16, false; u32, false; u64, false; i8, true; i16, true; i32, true; i64, true; }

/// The result as its register holds it: signed numbers fill all of it, as `cvt` to a narrow type in
/// a wide register does.
fn store<T: Whole>(value: T) -> u64 {
    if T::SIGNED { value.wide() as i64 as u64 } else { value.write() }
}

fn whole_to_whole<S: Whole, D: Whole>(r: &mut [Register], i: &Operands, mask: u32) {
    from_one(r, i, mask, |cell| store(D::wrap(S::read(cell).wide())));
}

fn whole_to_whole_saturated<S: Whole, D: Whole>(r: &mut [Register], i: &Operands, mask: u32) {
    from_one(r, i, mask, |cell| store(D::saturate(S::read(cell).wide())));
}

fn float_to_whole<S: Float, D: Whole, const MODE: u8>(r: &mut [Register], i: &Operands, mask: u32) {
    from_one(r, i, mask, |cell| {
        let value = S::read(cell).wide();
        // NaN becomes 0, except from f64 to 64 bits, where it becomes the lowest value.
        let undefined = value.is_nan() && (D::BITS == 64 || size_of::<S>() == 8);
        if undefined {
            1 << (D::BITS - 1)
        } else {
            store(D::from_float(Rounding::of(MODE).whole(value)))
        }
    });
}

/// The largest f64 not beyond a whole number is no help: 64 bits do not fit in it. The rest decides
/// how it is rounded.
fn whole_to_float<S: Whole, D: Float>(r: &mut [Register], i: &Operands, mask: u32) {
    from_one(r, i, mask, |cell| {
        let value = S::read(cell).wide();
        let result = match size_of::<D>() {
            4 => f64::from(value as f32),
            8 => value as f64,
            _ => {
                let near = value as f64;
                let rest = value - near as i128;
                let odd = rest == 0 || near.to_bits() & 1 == 1;
                if odd {
                    near
                } else if rest > 0 {
                    near.next_up()
                } else {
                    near.next_down()
                }
            }
        };
        D::narrow(result).write()
    });
}

fn whole_to_single_directed<S: Whole, const MODE: u8>(r: &mut [Register], i: &Operands, mask: u32) {
    from_one(r, i, mask, |cell| {
        let value = S::read(cell).wide();
        let near = value as f64;
        Rounding::of(MODE).single(near, (value - near as i128) as f64).write()
    });
}

fn float_to_float<S: Float, D: Float>(r: &mut [Register], i: &Operands, mask: u32) {
    from_one(r, i, mask, |cell| D::narrow(S::read(cell).wide()).write());
}

fn to_single_directed<S: Float, const MODE: u8>(r: &mut [Register], i: &Operands, mask: u32) {
    from_one(r, i, mask, |cell| Rounding::of(MODE).single(S::read(cell).wide(), 0.0).write());
}

/// To a whole number that stays a float.
fn float_to_float_whole<S: Float, D: Float, const MODE: u8>(
    r: &mut [Register],
    i: &Operands,
    mask: u32,
) {
    from_one(r, i, mask, |cell| {
        let value = S::read(cell).wide();
        let whole = Rounding::of(MODE).whole(value);
        D::narrow(whole.copysign(value)).write()
    });
}

/// Clamped to 0 and 1; NaN becomes 0.
fn float_to_float_saturated<S: Float, D: Float>(r: &mut [Register], i: &Operands, mask: u32) {
    from_one(r, i, mask, |cell| {
        let value = S::read(cell).wide();
        let value = if value > 0.0 { value.min(1.0) } else { 0.0 };
        D::narrow(value).write()
    });
}

fn relu<S: Float, D: Float>(r: &mut [Register], i: &Operands, mask: u32) {
    from_one(r, i, mask, |cell| {
        let value = S::read(cell).wide();
        let value = if value > 0.0 || value.is_nan() { value } else { 0.0 };
        D::narrow(value).write()
    });
}

/// Two floats in one register, the first operand above.
fn pair<D: Float>(r: &mut [Register], i: &Operands, mask: u32) {
    from_two(r, i, mask, |first, second| {
        let half = |cell: u64| D::narrow(f64::from(f32::read(cell))).write();
        half(first) << 16 | half(second)
    });
}

macro_rules! wholes {
    ($name:expr, |$T:ident| $body:expr) => {
        match $name {
            "u8" | "b8" => {
                type $T = u8;
                $body
            }
            "u16" | "b16" => {
                type $T = u16;
                $body
            }
            "u32" | "b32" => {
                type $T = u32;
                $body
            }
            "u64" | "b64" => {
                type $T = u64;
                $body
            }
            "s8" => {
                type $T = i8;
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
            _ => None,
        }
    };
}

macro_rules! floats {
    ($name:expr, |$T:ident| $body:expr) => {
        match $name {
            "f16" => {
                type $T = f16;
                $body
            }
            "bf16" => {
                type $T = bf16;
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
            _ => None,
        }
    };
}

macro_rules! modes {
    ($mode:expr, |$M:ident| $body:expr) => {
        match $mode {
            0 => {
                const $M: u8 = 0;
                Some($body)
            }
            1 => {
                const $M: u8 = 1;
                Some($body)
            }
            2 => {
                const $M: u8 = 2;
                Some($body)
            }
            _ => {
                const $M: u8 = 3;
                Some($body)
            }
        }
    };
}

fn rounding(name: &str) -> Option<u8> {
    Some(match name {
        "rn" | "rni" => 0,
        "rz" | "rzi" => 1,
        "rm" | "rmi" => 2,
        "rp" | "rpi" => 3,
        _ => return None,
    })
}

pub(super) fn compute(modifiers: &[&str]) -> Option<Compute> {
    let [how @ .., to, from] = modifiers else { return None };
    let (to_float, from_float) = (to.contains('f'), from.contains('f'));
    match (how, to_float, from_float) {
        (["rn"], true, true) if *to == "f16x2" && *from == "f32" => Some(pair::<f16>),
        (["rn"], true, true) if *to == "bf16x2" && *from == "f32" => Some(pair::<bf16>),
        ([], false, false) => {
            wholes!(*from, |S| wholes!(*to, |D| Some(whole_to_whole::<S, D> as Compute)))
        }
        (["sat"], false, false) => {
            wholes!(*from, |S| wholes!(*to, |D| Some(whole_to_whole_saturated::<S, D> as Compute)))
        }
        ([mode] | [mode, "sat"], false, true) if mode.ends_with('i') => {
            let mode = rounding(mode)?;
            floats!(*from, |S| wholes!(*to, |D| modes!(mode, |M| {
                float_to_whole::<S, D, M> as Compute
            })))
        }
        (["rn"], true, false) => {
            wholes!(*from, |S| floats!(*to, |D| Some(whole_to_float::<S, D> as Compute)))
        }
        ([mode], true, false) if *to == "f32" => {
            let mode = rounding(mode)?;
            wholes!(*from, |S| modes!(mode, |M| whole_to_single_directed::<S, M> as Compute))
        }
        ([] | ["rn"], true, true) => {
            floats!(*from, |S| floats!(*to, |D| Some(float_to_float::<S, D> as Compute)))
        }
        (["sat"] | ["rn", "sat"], true, true) => {
            floats!(*from, |S| floats!(*to, |D| Some(float_to_float_saturated::<S, D> as Compute)))
        }
        (["rn", "relu"], true, true) => {
            floats!(*from, |S| floats!(*to, |D| Some(relu::<S, D> as Compute)))
        }
        ([mode @ ("rni" | "rzi" | "rmi" | "rpi")], true, true) => {
            let mode = rounding(mode)?;
            floats!(*from, |S| floats!(*to, |D| modes!(mode, |M| {
                float_to_float_whole::<S, D, M> as Compute
            })))
        }
        ([mode @ ("rz" | "rm" | "rp")], true, true) if *to == "f32" => {
            let mode = rounding(mode)?;
            floats!(*from, |S| modes!(mode, |M| to_single_directed::<S, M> as Compute))
        }
        _ => None,
    }
}
