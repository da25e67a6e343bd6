//! The colour of a point on the hand.

use crate::{
    field::{Capsule, Part},
    hand::Hand,
    math::{Vec3, smoothstep, vec3},
    style::Style,
};

/// A point on the surface and the light it gets.
pub(crate) struct Hit<'a> {
    pub(crate) point: Vec3,
    pub(crate) normal: Vec3,
    /// From the point to the camera, length 1.
    pub(crate) view: Vec3,
    /// Share of the lamp's light that arrives.
    pub(crate) lit: f32,
    /// Share of the diffuse light that arrives.
    pub(crate) open: f32,
    pub(crate) capsule: &'a Capsule,
}

/// The colour that the camera sees, in linear light.
pub(crate) fn colour(hit: &Hit<'_>, hand: &Hand, style: &Style) -> Vec3 {
    let local = hand.rotation.undo(hit.point);
    let cloth = hit.capsule.part == Part::Sleeve;
    let (value, slope) = noise(local * if cloth { 9.0 } else { 5.5 });
    let (fine, fine_slope) = noise(local * 21.0);
    let rough = if cloth { 0.10 } else { 0.035 };
    let bump = hand.rotation.apply(slope * 0.6 + fine_slope);
    let normal = (hit.normal + bump * rough).normalize();

    let (albedo, gloss) = if cloth {
        // The cut at the wrist shows the dark inside.
        let inside = smoothstep(-0.5, -0.8, hit.normal.dot(hit.capsule.along.normalize()));
        (style.sleeve * ((0.92 + 0.16 * fine) * (1.0 - 0.8 * inside)), 0.0)
    } else {
        surface(hit, style, value, fine)
    };

    let facing = normal.dot(style.light);
    // Light bleeds through skin, red the farthest: soft red edges between light and shade (wrapped
    // diffuse light).
    let wrap = |w: f32| {
        let f = ((facing + w) / (1.0 + w)).max(0.0);
        f * (0.35 + 0.65 * f) * (1.0 + 0.3 * (1.0 - f))
    };
    let wrapped =
        if cloth { Vec3::splat(wrap(0.0)) } else { vec3(wrap(0.30), wrap(0.16), wrap(0.12)) };
    let lit = hit.lit;
    let bleeding = lit * (1.0 - lit);
    let lamp = if cloth {
        Vec3::splat(lit)
    } else {
        vec3(lit + 0.30 * bleeding, lit + 0.05 * bleeding, lit)
    };
    let direct = wrapped.times(lamp).times(style.light_colour);
    // In creases light arrives reflected by skin and is the redder for it.
    let shut = 1.0 - hit.open;
    let open = vec3(1.0 - 0.80 * shut, 1.0 - 0.97 * shut, 1.0 - shut);
    let ambient = style.ground.mix(style.sky, 0.5 + 0.5 * normal.y).times(open);

    let half = (style.light + hit.view).normalize();
    let mut shine = normal.dot(half).max(0.0);
    for _ in 0..if gloss > 0.5 { 6 } else { 4 } {
        shine *= shine;
    }
    let grazing = 1.0 - normal.dot(hit.view).clamp(0.0, 1.0);
    let rim = grazing * grazing * grazing;
    let specular = style.light_colour * (shine * gloss * lit)
        + style.sky * (rim * hit.open * if cloth { 0.05 } else { 0.10 });
    albedo.times(direct + ambient) + specular
}

/// Colour and gloss of skin and nails.
fn surface(hit: &Hit<'_>, style: &Style, value: f32, fine: f32) -> (Vec3, f32) {
    let capsule = hit.capsule;
    let place = capsule.place(hit.point);
    let length = capsule.along.length();
    let radial = hit.point - (capsule.start + capsule.along * place.clamp(0.0, 1.0));
    let radius = capsule.radius + capsule.taper * place.clamp(0.0, 1.0);
    let back = radial.dot(capsule.dorsal) / radius;
    let outside = smoothstep(-0.55, 0.15, hit.normal.dot(capsule.dorsal));
    let mut albedo = style.palm.mix(style.skin, outside) * (0.90 + 0.16 * value + 0.05 * fine);

    // Distances along the bone from its two joints.
    let (from_start, to_end) = (place * length, (1.0 - place) * length);
    let joint = match capsule.part {
        Part::Proximal => from_start.abs().min(to_end.abs()),
        Part::Middle => from_start.abs().min(to_end.abs()),
        Part::Distal => from_start.abs(),
        _ => 1.0,
    };
    let near_joint = smoothstep(0.16, 0.0, joint);
    let tip = if capsule.part == Part::Distal { smoothstep(0.25, 1.1, place) } else { 0.0 };
    let red = style.flush * (0.55 * near_joint + 0.6 * tip + 0.3 * (value - 0.5));
    albedo = albedo.times(vec3(1.0 + 0.10 * red, 1.0 - 0.20 * red, 1.0 - 0.16 * red));

    // Creases across the joints: three fine ones outside, one inside.
    if matches!(capsule.part, Part::Middle | Part::Distal) && from_start.abs() < 0.07 {
        let across = from_start.abs() / 0.07;
        let ripple = (across * 3.0 - (across * 3.0).floor() - 0.5).abs() * 2.0;
        let outer = (1.0 - across) * ripple * smoothstep(0.2, 0.7, back) * 0.20;
        let inner = smoothstep(0.25, 0.0, across) * smoothstep(-0.2, -0.7, back) * 0.30;
        albedo = albedo * (1.0 - outer - inner);
    }

    if capsule.part == Part::Distal {
        let side = capsule.along.cross(capsule.dorsal) * (1.0 / length);
        let across = radial.dot(side) / radius;
        let reach = (place * length - 0.45 * length) / (0.55 * length + 0.55 * radius);
        // A rounded rectangle that ends before the fingertip.
        let lengthwise = (reach * 2.0 - 0.95).abs() * 0.72;
        let square = |x: f32| x * x;
        let rounded = square(square(across * 1.32)) + square(square(lengthwise * 1.32));
        if back > 0.0 && rounded < 1.25 {
            let on = smoothstep(1.0, 0.82, rounded);
            let rim = smoothstep(1.25, 1.0, rounded) * (1.0 - on);
            let free_edge = if style.varnish { 0.0 } else { smoothstep(0.82, 0.98, reach) };
            let colour = style.nail.mix(vec3(0.85, 0.80, 0.74), 0.6 * free_edge);
            let bed = albedo * (1.0 - 0.25 * rim);
            return (
                bed.mix(colour, on),
                style.gloss + on * if style.varnish { 0.7 } else { 0.25 },
            );
        }
    }
    (albedo, style.gloss)
}

/// Smooth noise between 0 and 1 on a lattice of unit cells, and its gradient.
///
/// Inigo Quilez, <https://iquilezles.org/articles/morenoise/>.
fn noise(p: Vec3) -> (f32, Vec3) {
    // `f32::floor` is a call into the library where the processor's own instruction may not be
    // assumed.
    let split = |x: f32| {
        let cut = x as i32;
        let cell = cut - i32::from((cut as f32) > x);
        (cell as u32, x - cell as f32)
    };
    let ((cx, fx), (cy, fy), (cz, fz)) = (split(p.x), split(p.y), split(p.z));
    let at = |x: u32, y: u32, z: u32| {
        let mut h = cx.wrapping_add(x).wrapping_mul(0x8da6_b343)
            ^ cy.wrapping_add(y).wrapping_mul(0xd816_3841)
            ^ cz.wrapping_add(z).wrapping_mul(0xcb1a_b31f);
        h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
        h ^= h >> 13;
        (h >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
    };
    let ease = |f: f32| (f * f * (3.0 - 2.0 * f), 6.0 * f * (1.0 - f));
    let ((u, du), (v, dv), (w, dw)) = (ease(fx), ease(fy), ease(fz));
    let (a, b, c, d) = (at(0, 0, 0), at(1, 0, 0), at(0, 1, 0), at(1, 1, 0));
    let (e, f, g, h) = (at(0, 0, 1), at(1, 0, 1), at(0, 1, 1), at(1, 1, 1));
    let (k1, k2, k3) = (b - a, c - a, e - a);
    let (k4, k5, k6) = (a - b - c + d, a - c - e + g, a - b - e + f);
    let k7 = -a + b + c - d + e - f - g + h;
    let value =
        a + k1 * u + k2 * v + k3 * w + k4 * u * v + k5 * v * w + k6 * w * u + k7 * u * v * w;
    let slope = vec3(
        du * (k1 + k4 * v + k6 * w + k7 * v * w),
        dv * (k2 + k5 * w + k4 * u + k7 * w * u),
        dw * (k3 + k6 * u + k5 * v + k7 * u * v),
    );
    (value, slope)
}
