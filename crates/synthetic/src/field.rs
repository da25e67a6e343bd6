//! The shape of a hand as a signed distance field: tapered capsules, blended where flesh is
//! continuous.
//!
//! Distances and smooth minimum follow Inigo Quilez,
//! <https://iquilezles.org/articles/distfunctions/> and <https://iquilezles.org/articles/smin/>;
//! the soft shadow his <https://iquilezles.org/articles/spherefunctions/>.

use crate::math::{LANES, Lanes, Vec3, VecLanes};

/// What a capsule is part of: decides its colour and what it blends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Palm,
    Forearm,
    /// The bone next to the palm. The thumb has one too.
    Proximal,
    Middle,
    /// The bone that carries the nail.
    Distal,
    Sleeve,
}

/// A tapered capsule: the points within a radius of a segment; the radius changes linearly along
/// it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capsule {
    pub(crate) part: Part,
    /// 0 for palm and forearm, which blend with each other; one number for each finger, and one for
    /// the sleeve.
    pub(crate) group: u8,
    pub(crate) start: Vec3,
    pub(crate) along: Vec3,
    pub(crate) radius: f32,
    pub(crate) taper: f32,
    /// Where the back of the hand faces here: perpendicular to `along`, length 1.
    pub(crate) dorsal: Vec3,
    inverse_square: f32,
    blend: f32,
}

impl Capsule {
    pub(crate) fn new(
        (part, group): (Part, u8),
        (start, end): (Vec3, Vec3),
        (radius, end_radius): (f32, f32),
        dorsal: Vec3,
    ) -> Self {
        let along = end - start;
        let blend = match part {
            Part::Palm => 0.11,
            Part::Forearm => 0.16,
            _ => 0.035,
        };
        let taper = end_radius - radius;
        Self {
            part,
            group,
            start,
            along,
            radius,
            taper,
            dorsal,
            inverse_square: 1.0 / along.dot(along),
            blend,
        }
    }

    pub(crate) fn end(&self) -> Vec3 {
        self.start + self.along
    }

    /// How far outside itself this capsule can still shape the surface.
    pub(crate) fn reach(&self) -> f32 {
        if self.part == Part::Proximal { ROOT_BLEND } else { self.blend }
    }

    pub(crate) fn largest_radius(&self) -> f32 {
        self.radius + self.taper.max(0.0)
    }

    /// Where `p` lies along the segment, not clamped: 0 at the start, 1 at the end.
    pub(crate) fn place(&self, p: Vec3) -> f32 {
        (p - self.start).dot(self.along) * self.inverse_square
    }

    #[inline(always)]
    fn distance(&self, p: VecLanes) -> Lanes {
        let from_start = p - VecLanes::splat(self.start);
        let along = VecLanes::splat(self.along);
        let place = (from_start.dot(along) * self.inverse_square).unit();
        let across = from_start - along.scale(place);
        let d = across.dot(across).sqrt() - (place * self.taper + Lanes::splat(self.radius));
        if self.part != Part::Sleeve {
            return d;
        }
        // A sleeve is cut off flat at its start.
        let axis = self.along * self.inverse_square.sqrt();
        d.max(from_start.dot(VecLanes::splat(-axis)))
    }

    /// How much of the light from direction `light` passes this capsule on its way to `p`: 0 to 1.
    #[inline(always)]
    fn light_past(&self, p: VecLanes, light: Vec3, sharpness: f32) -> Lanes {
        let from_start = p - VecLanes::splat(self.start);
        let along = VecLanes::splat(self.along);
        let square = self.along.dot(self.along);
        let slope = light.dot(self.along);
        // A segment parallel to the light would divide by 0.
        let scale = 1.0 / (square - slope * slope).max(1e-4 * square);
        let ray = from_start.dot(VecLanes::splat(light));
        let segment = from_start.dot(along);
        let place = ((segment - ray * slope) * scale).unit();
        let travel = (place * slope - ray).max(Lanes::splat(1e-3));
        let gap = from_start + VecLanes::splat(light).scale(travel) - along.scale(place);
        let clearance = gap.dot(gap).sqrt() - (place * self.taper + Lanes::splat(self.radius));
        let open = (clearance.div(travel) * sharpness + Lanes::splat(0.5)).unit();
        open * open * (Lanes::splat(3.0) - open * 2.0)
    }

    /// Distance of the segment from the line through `origin` along the unit vector `axis`, and the
    /// depths along that line between which the capsule lies.
    pub(crate) fn beside(&self, origin: Vec3, axis: Vec3) -> (f32, f32, f32) {
        let from_start = origin - self.start;
        let square = self.along.dot(self.along);
        let slope = axis.dot(self.along);
        let scale = 1.0 / (square - slope * slope).max(1e-4 * square);
        let place =
            ((from_start.dot(self.along) - from_start.dot(axis) * slope) * scale).clamp(0.0, 1.0);
        let nearest = self.start + self.along * place - origin;
        let gap = (nearest - axis * nearest.dot(axis)).length();
        let (a, b) = ((self.start - origin).dot(axis), (self.end() - origin).dot(axis));
        let radius = self.largest_radius();
        (gap, a.min(b) - radius, a.max(b) + radius)
    }
}

/// The minimum, rounded over `blend`: never above it, and at most `blend / 4` below.
#[inline(always)]
fn smooth_min(a: Lanes, b: Lanes, blend: f32) -> Lanes {
    let h = (Lanes::splat(blend) - (a - b).abs()).max(Lanes::splat(0.0));
    a.min(b) - h * h * (0.25 / blend)
}

/// How much the proximal bone of a finger blends with the palm.
const ROOT_BLEND: f32 = 0.10;

/// Farther than anything in the picture.
const FAR: f32 = 1e3;

/// Signed distance of `p` to the capsules, which come in groups, palm first.
///
/// Fingers blend within themselves and, by their first bone, with the palm; they do not blend with
/// each other, nor do curled fingertips with the palm, so that creases stay where real hands have
/// them.
#[inline(always)]
pub(crate) fn distance(capsules: &[Capsule], p: VecLanes) -> Lanes {
    let mut rest = capsules.iter();
    let mut palm = Lanes::splat(FAR);
    let mut next = rest.next();
    while let Some(capsule) = next {
        if capsule.group != 0 {
            break;
        }
        palm = smooth_min(palm, capsule.distance(p), capsule.blend);
        next = rest.next();
    }
    let mut total = palm;
    let mut group = 0;
    let mut chain = Lanes::splat(FAR);
    while let Some(capsule) = next {
        if capsule.group != group {
            total = total.min(chain);
            chain = Lanes::splat(FAR);
            group = capsule.group;
        }
        let d = capsule.distance(p);
        chain = smooth_min(chain, d, capsule.blend);
        if capsule.part == Part::Proximal {
            total = total.min(smooth_min(palm, d, ROOT_BLEND));
        }
        next = rest.next();
    }
    total.min(chain)
}

/// The capsule nearest to each point.
pub(crate) fn nearest(capsules: &[Capsule], p: VecLanes) -> [usize; LANES] {
    let mut best = [FAR; LANES];
    let mut which = [0; LANES];
    for (index, capsule) in capsules.iter().enumerate() {
        let d = capsule.distance(p);
        for lane in 0..LANES {
            if d.0[lane] < best[lane] {
                best[lane] = d.0[lane];
                which[lane] = index;
            }
        }
    }
    which
}

/// How much light from direction `light` arrives at each point of the hand: 0 in full shadow, 1 in
/// full light. A larger `sharpness` means a smaller lamp.
pub(crate) fn light_at(capsules: &[Capsule], p: VecLanes, light: Vec3, sharpness: f32) -> Lanes {
    // The capsule of a sleeve goes on beyond the cut, and would darken the wrist there.
    let solid = capsules.iter().filter(|c| c.part != Part::Sleeve);
    solid.fold(Lanes::splat(1.0), |least, capsule| {
        least.min(capsule.light_past(p, light, sharpness))
    })
}

/// Like [`light_at`], but the penumbras of several capsules add up, so that a palm does not cast
/// the shadow of a grille. Too dark for points on the hand itself, which lie in the penumbras of
/// all their neighbours.
pub(crate) fn light_behind(
    capsules: &[Capsule],
    p: VecLanes,
    light: Vec3,
    sharpness: f32,
) -> Lanes {
    capsules
        .iter()
        .fold(Lanes::splat(1.0), |passed, capsule| passed * capsule.light_past(p, light, sharpness))
}

/// Unit surface normals, from four distances around each point (a tetrahedron).
pub(crate) fn normals(capsules: &[Capsule], p: VecLanes) -> VecLanes {
    const STEP: f32 = 0.004;
    let corner = |x: f32, y: f32, z: f32| {
        let offset = Vec3 { x: x * STEP, y: y * STEP, z: z * STEP };
        let d = distance(capsules, p + VecLanes::splat(offset));
        VecLanes { x: d * x, y: d * y, z: d * z }
    };
    let sum = corner(1.0, -1.0, -1.0)
        + corner(-1.0, -1.0, 1.0)
        + corner(-1.0, 1.0, -1.0)
        + corner(1.0, 1.0, 1.0);
    let length = sum.dot(sum).sqrt().max(Lanes::splat(1e-12));
    sum.scale(Lanes::splat(1.0).div(length))
}

/// The distances along the normal at which [`openness`] looks for neighbours.
const PROBES: [f32; 3] = [0.05, 0.13, 0.28];

/// How far a neighbour can be and still darken a point by [`openness`].
pub(crate) const OCCLUSION_REACH: f32 = 0.28;

/// Ambient occlusion: 1 on an open surface, towards 0 in a crease.
pub(crate) fn openness(capsules: &[Capsule], p: VecLanes, normal: VecLanes) -> Lanes {
    let mut closed = Lanes::splat(0.0);
    for (probe, weight) in PROBES.into_iter().zip([3.0, 1.6, 0.9]) {
        let d = distance(capsules, p + normal.scale(Lanes::splat(probe)));
        closed = closed + (Lanes::splat(probe) - d).max(Lanes::splat(0.0)) * weight;
    }
    (Lanes::splat(1.0) - closed).max(Lanes::splat(0.12)).min(Lanes::splat(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::vec3;

    fn ball(part: Part, group: u8, x: f32, radius: f32) -> Capsule {
        let ends = (vec3(x, -0.01, 0.0), vec3(x, 0.01, 0.0));
        Capsule::new((part, group), ends, (radius, radius), vec3(0.0, 0.0, 1.0))
    }

    fn at(capsules: &[Capsule], p: Vec3) -> f32 {
        distance(capsules, VecLanes::splat(p)).0[3]
    }

    #[test]
    fn distance_to_a_tapered_capsule() {
        let ends = (vec3(0.0, 0.0, 0.0), vec3(0.0, 2.0, 0.0));
        let capsule = Capsule::new((Part::Middle, 1), ends, (0.4, 0.2), vec3(0.0, 0.0, 1.0));
        for (point, expected) in [
            (vec3(1.0, 1.0, 0.0), 0.7),
            (vec3(0.0, 3.0, 0.0), 0.8),
            (vec3(0.0, -1.0, 0.0), 0.6),
            (vec3(0.0, 1.0, 0.0), -0.3),
        ] {
            assert!((at(&[capsule], point) - expected).abs() < 1e-6, "{point:?}");
        }
    }

    #[test]
    fn palms_blend_and_fingers_do_not() {
        let between = vec3(0.0, 0.0, 0.0);
        let touching = |part, groups: [u8; 2]| {
            at(&[ball(part, groups[0], -0.1, 0.1), ball(part, groups[1], 0.1, 0.1)], between)
        };
        assert!(touching(Part::Palm, [0, 0]) < -0.02);
        assert!(touching(Part::Middle, [1, 2]).abs() < 1e-6);
    }

    #[test]
    fn a_ball_casts_a_shadow_and_only_behind_itself() {
        let light = vec3(0.0, 0.0, 1.0);
        let balls = [ball(Part::Palm, 0, 0.0, 0.2)];
        for lit in [light_at, light_behind] {
            let at = |p| lit(&balls, VecLanes::splat(p), light, 4.0).0[0];
            assert_eq!(at(vec3(0.0, 0.0, -1.0)), 0.0);
            assert_eq!(at(vec3(0.0, 0.0, 1.0)), 1.0);
            assert_eq!(at(vec3(2.0, 0.0, -1.0)), 1.0);
            let edge = at(vec3(0.2, 0.0, -1.0));
            assert!((0.3..0.7).contains(&edge), "{edge}");
        }
    }

    #[test]
    fn normals_point_outwards() {
        let normal =
            normals(&[ball(Part::Palm, 0, 0.0, 0.2)], VecLanes::splat(vec3(0.2, 0.0, 0.0)));
        assert!((normal.lane(0) - vec3(1.0, 0.0, 0.0)).length() < 1e-2);
    }
}
