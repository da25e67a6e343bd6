//! Registers are cells of 64 bits; an instruction reads and writes the lower bits that its type
//! has.

use half::{bf16, f16};

/// A type that an instruction computes in.
pub(crate) trait Value: Copy {
    /// From the lower bits of a cell.
    fn read(cell: u64) -> Self;
    /// As the lower bits of a cell, the rest 0.
    fn write(self) -> u64;
}

macro_rules! integers {
    ($($type:ty as $unsigned:ty),*) => {$(
        impl Value for $type {
            #[inline(always)]
            fn read(cell: u64) -> Self {
                cell as $type
            }
            #[inline(always)]
            fn write(self) -> u64 {
                u64::from(self as $unsigned)
            }
        }
    )*};
}
integers!(
    u8 as u8, u16 as u16, u32 as u32, u64 as u64, i8 as u8, i16 as u16, i32 as u32, i64 as u64
);

macro_rules! floats {
    ($($type:ty as $bits:ty),*) => {$(
        impl Value for $type {
            #[inline(always)]
            fn read(cell: u64) -> Self {
                <$type>::from_bits(cell as $bits)
            }
            #[inline(always)]
            fn write(self) -> u64 {
                u64::from(self.to_bits())
            }
        }
    )*};
}
floats!(f32 as u32, f64 as u64, f16 as u16, bf16 as u16);

impl Value for bool {
    #[inline(always)]
    fn read(cell: u64) -> Self {
        cell & 1 != 0
    }
    #[inline(always)]
    fn write(self) -> u64 {
        u64::from(self)
    }
}

/// Floats, with their operations in their own precision.
pub(crate) trait Float: Value + PartialOrd {
    fn wide(self) -> f64;
    /// To the nearest, ties to even.
    fn narrow(value: f64) -> Self;
    /// `a × b + c` rounded once.
    fn fused(a: Self, b: Self, c: Self) -> Self;
}

impl Float for f32 {
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn narrow(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn fused(a: Self, b: Self, c: Self) -> Self {
        a.mul_add(b, c)
    }
}

impl Float for f64 {
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    #[inline(always)]
    fn narrow(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn fused(a: Self, b: Self, c: Self) -> Self {
        a.mul_add(b, c)
    }
}

macro_rules! halves {
    ($($type:ty),*) => {$(
        impl Float for $type {
            #[inline(always)]
            fn wide(self) -> f64 {
                f64::from(f32::from(self))
            }
            fn narrow(value: f64) -> Self {
                // Through f32 rounded to odd, so that the second rounding takes into account what
                // the first one dropped.
                <$type>::from_f32(to_odd(value))
            }
            fn fused(a: Self, b: Self, c: Self) -> Self {
                // The product is exact.
                let (sum, rest) = two_sum(a.wide() * b.wide(), c.wide());
                let odd = rest != 0.0 && sum.to_bits() & 1 == 0;
                Self::narrow(if odd { beside(sum, rest > 0.0) } else { sum })
            }
        }
    )*};
}
halves!(f16, bf16);

/// The nearest f32, or, if that is not exact, that of the two neighbours whose last bit is 1.
fn to_odd(value: f64) -> f32 {
    let near = value as f32;
    let rest = value - f64::from(near);
    if rest == 0.0 || !rest.is_finite() || near.to_bits() & 1 == 1 {
        return near;
    }
    if near == 0.0 {
        return f32::from_bits(1).copysign(value as f32);
    }
    beside32(near, rest > 0.0)
}

fn beside32(value: f32, up: bool) -> f32 {
    if up { value.next_up() } else { value.next_down() }
}

fn beside(value: f64, up: bool) -> f64 {
    if up { value.next_up() } else { value.next_down() }
}

/// The rounded sum, and its rounding error.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    let rest = (a - (sum - part)) + (b - part);
    (sum, if rest.is_finite() { rest } else { 0.0 })
}

/// How an inexact result is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Nearest,
    Zero,
    Down,
    Up,
}

impl Rounding {
    pub(crate) const fn of(number: u8) -> Self {
        match number {
            0 => Self::Nearest,
            1 => Self::Zero,
            2 => Self::Down,
            _ => Self::Up,
        }
    }

    /// Whether to take the neighbour of a rounded value, given the sign of the rounding error; and
    /// if so, whether the upper one.
    fn neighbour(self, value: f64, rest: f64) -> Option<bool> {
        let (below, above) = (rest < 0.0, rest > 0.0);
        match self {
            Self::Zero if value > 0.0 && below => Some(false),
            Self::Zero if value < 0.0 && above => Some(true),
            Self::Down if below => Some(false),
            Self::Up if above => Some(true),
            _ => None,
        }
    }

    /// An exact sum of two f64 as f32.
    pub(crate) fn single(self, high: f64, low: f64) -> f32 {
        let (sum, tail) = two_sum(high, low);
        let near = sum as f32;
        let rest = sum - f64::from(near);
        let rest = if rest == 0.0 { tail } else { rest };
        if self == Self::Nearest || !near.is_finite() {
            return near;
        }
        self.neighbour(f64::from(near), rest).map_or(near, |up| beside32(near, up))
    }

    pub(crate) fn add(self, a: f64, b: f64) -> f64 {
        let (sum, rest) = two_sum(a, b);
        if !sum.is_finite() {
            return sum;
        }
        self.neighbour(sum, rest).map_or(sum, |up| beside(sum, up))
    }

    pub(crate) fn multiply(self, a: f64, b: f64) -> f64 {
        let product = a * b;
        let rest = a.mul_add(b, -product);
        if !product.is_finite() {
            return product;
        }
        self.neighbour(product, rest).map_or(product, |up| beside(product, up))
    }

    /// To a whole number.
    #[inline(always)]
    pub(crate) fn whole(self, value: f64) -> f64 {
        match self {
            Self::Nearest => value.round_ties_even(),
            Self::Zero => value.trunc(),
            Self::Down => value.floor(),
            Self::Up => value.ceil(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_once() {
        // A tie of f16 plus a bit far beyond f32: up, not to even.
        let tie = 1.0 + f64::powi(2.0, -11);
        assert_eq!(f16::narrow(tie).to_bits(), f16::ONE.to_bits());
        assert_eq!(f16::narrow(tie + f64::powi(2.0, -50)).to_bits(), f16::ONE.to_bits() + 1);
        assert!(f16::narrow(f64::NAN).is_nan());
        assert_eq!(f16::narrow(1e6), f16::INFINITY);
        // 2^-24 × 2^-24 beside a tie.
        let tiny = f16::from_bits(1);
        let c = f16::from_f32(1.0);
        assert_eq!(f16::fused(tiny, tiny, c), c);
    }

    #[test]
    fn directed_rounding() {
        assert_eq!(Rounding::Down.single(1.0, -1e-20), 1.0f32.next_down());
        assert_eq!(Rounding::Zero.single(-1.0, 1e-20), -(1.0f32.next_down()));
        assert_eq!(Rounding::Up.add(1.0, 1e-30), 1.0f64.next_up());
        assert_eq!(Rounding::Nearest.add(1.0, 1e-30), 1.0);
        assert_eq!(Rounding::Zero.multiply(0.1, 10.0), 1.0);
    }
}
