//! Vectors, lanes and the few functions that must give the same bits everywhere.
//!
//! Only `+ − × ÷ √` and comparisons are used: IEEE 754 fixes their results, whereas `sin`, `exp`
//! and `powf` come from the platform's library and differ between machines.

use std::array::from_fn;
use std::ops::{Add, Mul, Neg, Sub};

/// A point or direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Vec3 {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) z: f32,
}

pub(crate) const fn vec3(x: f32, y: f32, z: f32) -> Vec3 {
    Vec3 { x, y, z }
}

impl Vec3 {
    pub(crate) const fn splat(v: f32) -> Self {
        vec3(v, v, v)
    }
    pub(crate) fn dot(self, o: Self) -> f32 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }
    pub(crate) fn cross(self, o: Self) -> Self {
        vec3(self.y * o.z - self.z * o.y, self.z * o.x - self.x * o.z, self.x * o.y - self.y * o.x)
    }
    pub(crate) fn length(self) -> f32 {
        self.dot(self).sqrt()
    }
    pub(crate) fn normalize(self) -> Self {
        self * (1.0 / self.length())
    }
    /// Component by component, as colours are multiplied.
    pub(crate) fn times(self, o: Self) -> Self {
        vec3(self.x * o.x, self.y * o.y, self.z * o.z)
    }
    pub(crate) fn mix(self, o: Self, t: f32) -> Self {
        self + (o - self) * t
    }
}

impl Add for Vec3 {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        vec3(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}
impl Sub for Vec3 {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        vec3(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}
impl Mul<f32> for Vec3 {
    type Output = Self;
    fn mul(self, s: f32) -> Self {
        vec3(self.x * s, self.y * s, self.z * s)
    }
}
impl Neg for Vec3 {
    type Output = Self;
    fn neg(self) -> Self {
        vec3(-self.x, -self.y, -self.z)
    }
}

/// Sine and cosine of an angle in degrees.
pub(crate) fn sin_cos(degrees: f32) -> (f32, f32) {
    fn sin(mut x: f64) -> f64 {
        use std::f64::consts::{FRAC_PI_2, PI, TAU};
        x -= (x / TAU).round() * TAU;
        if x > FRAC_PI_2 {
            x = PI - x;
        } else if x < -FRAC_PI_2 {
            x = -PI - x;
        }
        // Taylor series to x¹⁵: the error is below 1e-11 on [−π/2, π/2].
        let square = x * x;
        let (mut term, mut sum) = (x, x);
        for n in 1..8 {
            term *= -square / f64::from(2 * n * (2 * n + 1));
            sum += term;
        }
        sum
    }
    let radians = f64::from(degrees) * (std::f64::consts::PI / 180.0);
    (sin(radians) as f32, sin(radians + std::f64::consts::FRAC_PI_2) as f32)
}

/// A rotation: three orthonormal rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotation([Vec3; 3]);

impl Rotation {
    pub(crate) fn about_x(degrees: f32) -> Self {
        let (s, c) = sin_cos(degrees);
        Self([vec3(1.0, 0.0, 0.0), vec3(0.0, c, -s), vec3(0.0, s, c)])
    }
    pub(crate) fn about_y(degrees: f32) -> Self {
        let (s, c) = sin_cos(degrees);
        Self([vec3(c, 0.0, s), vec3(0.0, 1.0, 0.0), vec3(-s, 0.0, c)])
    }
    pub(crate) fn about_z(degrees: f32) -> Self {
        let (s, c) = sin_cos(degrees);
        Self([vec3(c, -s, 0.0), vec3(s, c, 0.0), vec3(0.0, 0.0, 1.0)])
    }
    pub(crate) fn apply(&self, v: Vec3) -> Vec3 {
        vec3(self.0[0].dot(v), self.0[1].dot(v), self.0[2].dot(v))
    }
    /// The inverse rotation applied to `v`.
    pub(crate) fn undo(&self, v: Vec3) -> Vec3 {
        self.0[0] * v.x + self.0[1] * v.y + self.0[2] * v.z
    }
    /// First `first`, then this one.
    pub(crate) fn after(&self, first: &Self) -> Self {
        let column = |v| self.apply(first.apply(v));
        let (x, y, z) =
            (column(vec3(1.0, 0.0, 0.0)), column(vec3(0.0, 1.0, 0.0)), column(vec3(0.0, 0.0, 1.0)));
        Self([vec3(x.x, y.x, z.x), vec3(x.y, y.y, z.y), vec3(x.z, y.z, z.z)])
    }
}

/// 0 below `low`, 1 above `high`, smooth between (`low` may be the larger one: then it falls).
pub(crate) fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Linear light to sRGB's transfer curve, by square roots alone: at most 0.001 off, a quarter of an
/// 8-bit step.
pub(crate) fn encode(linear: f32) -> f32 {
    let x = linear.clamp(0.0, 1.0);
    if x <= 0.003_130_8 {
        return 12.92 * x;
    }
    let half = x.sqrt();
    let quarter = half.sqrt();
    let eighth = quarter.sqrt();
    0.662_002_7 * half + 0.684_122_1 * quarter - 0.323_583_6 * eighth - 0.022_541_147 * x
}

/// How many rays are traced side by side.
pub(crate) const LANES: usize = 8;

/// One number for each of [`LANES`] rays. Plain arrays: the compiler turns the loops into vector
/// instructions.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
pub(crate) struct Lanes(pub(crate) [f32; LANES]);

impl Lanes {
    #[inline(always)]
    pub(crate) fn splat(v: f32) -> Self {
        Self([v; LANES])
    }
    #[inline(always)]
    pub(crate) fn sqrt(self) -> Self {
        Self(from_fn(|i| self.0[i].sqrt()))
    }
    #[inline(always)]
    pub(crate) fn abs(self) -> Self {
        Self(from_fn(|i| self.0[i].abs()))
    }
    // Not `f32::min`: its handling of NaN costs two more instructions.
    #[inline(always)]
    pub(crate) fn min(self, o: Self) -> Self {
        Self(from_fn(|i| if self.0[i] < o.0[i] { self.0[i] } else { o.0[i] }))
    }
    #[inline(always)]
    pub(crate) fn max(self, o: Self) -> Self {
        Self(from_fn(|i| if self.0[i] > o.0[i] { self.0[i] } else { o.0[i] }))
    }
    #[inline(always)]
    pub(crate) fn div(self, o: Self) -> Self {
        Self(from_fn(|i| self.0[i] / o.0[i]))
    }
    #[inline(always)]
    pub(crate) fn unit(self) -> Self {
        self.max(Self::splat(0.0)).min(Self::splat(1.0))
    }
}

impl Add for Lanes {
    type Output = Self;
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Self(from_fn(|i| self.0[i] + o.0[i]))
    }
}
impl Sub for Lanes {
    type Output = Self;
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Self(from_fn(|i| self.0[i] - o.0[i]))
    }
}
impl Mul for Lanes {
    type Output = Self;
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        Self(from_fn(|i| self.0[i] * o.0[i]))
    }
}
impl Mul<f32> for Lanes {
    type Output = Self;
    #[inline(always)]
    fn mul(self, s: f32) -> Self {
        Self(from_fn(|i| self.0[i] * s))
    }
}

/// One vector for each of [`LANES`] rays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VecLanes {
    pub(crate) x: Lanes,
    pub(crate) y: Lanes,
    pub(crate) z: Lanes,
}

impl VecLanes {
    #[inline(always)]
    pub(crate) fn splat(v: Vec3) -> Self {
        Self { x: Lanes::splat(v.x), y: Lanes::splat(v.y), z: Lanes::splat(v.z) }
    }
    pub(crate) fn gather(v: [Vec3; LANES]) -> Self {
        Self {
            x: Lanes(from_fn(|i| v[i].x)),
            y: Lanes(from_fn(|i| v[i].y)),
            z: Lanes(from_fn(|i| v[i].z)),
        }
    }
    pub(crate) fn lane(&self, i: usize) -> Vec3 {
        vec3(self.x.0[i], self.y.0[i], self.z.0[i])
    }
    #[inline(always)]
    pub(crate) fn dot(self, o: Self) -> Lanes {
        self.x * o.x + self.y * o.y + self.z * o.z
    }
    #[inline(always)]
    pub(crate) fn scale(self, s: Lanes) -> Self {
        Self { x: self.x * s, y: self.y * s, z: self.z * s }
    }
}

impl Add for VecLanes {
    type Output = Self;
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Self { x: self.x + o.x, y: self.y + o.y, z: self.z + o.z }
    }
}
impl Sub for VecLanes {
    type Output = Self;
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Self { x: self.x - o.x, y: self.y - o.y, z: self.z - o.z }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_agree_with_the_platform() {
        for tenth in -7200..7200 {
            let degrees = tenth as f32 * 0.1;
            let (sin, cos) = sin_cos(degrees);
            let expected = f64::from(degrees).to_radians();
            assert!((f64::from(sin) - expected.sin()).abs() < 1e-7, "{degrees}");
            assert!((f64::from(cos) - expected.cos()).abs() < 1e-7, "{degrees}");
        }
        for i in 0..=10_000 {
            let x = i as f32 * 1e-4;
            let srgb = if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 };
            assert!((encode(x) - srgb).abs() < 1.1e-3, "{x}");
        }
    }

    #[test]
    fn rotations_compose_and_invert() {
        let close = |a: Vec3, b: Vec3| (a - b).length() < 1e-5;
        let turn = Rotation::about_x(30.0).after(&Rotation::about_z(70.0));
        let v = vec3(0.3, -1.2, 2.0);
        assert!(close(
            turn.apply(v),
            Rotation::about_x(30.0).apply(Rotation::about_z(70.0).apply(v))
        ));
        assert!(close(turn.undo(turn.apply(v)), v));
        assert!(close(Rotation::about_z(90.0).apply(vec3(1.0, 0.0, 0.0)), vec3(0.0, 1.0, 0.0)));
    }
}
