//! How a picture looks apart from the hand's pose: skin, light, background, camera.

use taper_core::random::Stream;

use crate::math::{Rotation, Vec3, vec3};

/// Everything about the look of one picture. Colours are linear RGB.
#[derive(Debug)]
pub(crate) struct Style {
    pub(crate) skin: Vec3,
    /// The inside of the hand, which is paler on dark skin.
    pub(crate) palm: Vec3,
    pub(crate) nail: Vec3,
    /// Whether the nails are varnished: opaque and glossy.
    pub(crate) varnish: bool,
    pub(crate) sleeve: Vec3,
    /// How strongly knuckles and fingertips redden, 0 to 1.
    pub(crate) flush: f32,
    pub(crate) gloss: f32,
    /// Towards the lamp, length 1.
    pub(crate) light: Vec3,
    pub(crate) light_colour: Vec3,
    /// Diffuse light from above and from below.
    pub(crate) sky: Vec3,
    pub(crate) ground: Vec3,
    /// How small the lamp is: the larger, the harder the shadows.
    pub(crate) sharpness: f32,
    pub(crate) background: Background,
    /// Weight of the neighbours in the final 3 × 3 blur, 0 to 0.25 per side.
    pub(crate) blur: f32,
    /// Standard deviation of the sensor's noise, of 1.
    pub(crate) noise: f32,
}

/// A wall behind the hand, perhaps with a table below.
#[derive(Debug)]
pub(crate) struct Background {
    pub(crate) wall: Vec3,
    pub(crate) far_wall: Vec3,
    /// Direction in which `wall` turns into `far_wall`; x and y in the picture, length 1.
    pub(crate) direction: (f32, f32),
    /// Height of the table's edge (−1 bottom, 1 top), its slope and its colour.
    pub(crate) table: Option<(f32, f32, Vec3)>,
    /// How far behind the hand the wall stands.
    pub(crate) depth: f32,
    /// How dark the hand's shadow on it is, 0 to 1.
    pub(crate) shadow: f32,
}

/// sRGB's transfer curve undone, well enough for choosing colours.
fn linear(r: f32, g: f32, b: f32) -> Vec3 {
    let f = |x: f32| x * (x * (x * 0.305_306 + 0.682_171_1) + 0.012_522_88);
    vec3(f(r / 255.0), f(g / 255.0), f(b / 255.0))
}

/// Skin from the palest (0) to the darkest (1).
fn skin(tone: f32) -> Vec3 {
    const TONES: [[f32; 3]; 6] = [
        [246.0, 213.0, 196.0],
        [232.0, 184.0, 152.0],
        [205.0, 148.0, 112.0],
        [160.0, 106.0, 76.0],
        [112.0, 72.0, 52.0],
        [72.0, 46.0, 36.0],
    ];
    let place = tone.clamp(0.0, 1.0) * 4.999;
    let below = place as usize;
    let [a, b] = [TONES[below], TONES[below + 1]].map(|[r, g, b]| linear(r, g, b));
    a.mix(b, place - below as f32)
}

/// A colour of the given hue (0 to 6), saturation and value.
fn hue(hue: f32, saturation: f32, value: f32) -> Vec3 {
    let channel = |offset: f32| {
        let mut h = hue + offset;
        if h >= 6.0 {
            h -= 6.0;
        }
        let strength = (h.min(4.0 - h)).clamp(0.0, 1.0);
        255.0 * value * (1.0 - saturation * strength)
    };
    linear(channel(5.0), channel(3.0), channel(1.0))
}

impl Style {
    /// Draws a look; `shifted` for the test split: darker and ruddier skin, harder and coloured
    /// light from other sides, coloured backgrounds, more noise.
    pub(crate) fn draw(shifted: bool, stream: &mut Stream) -> Self {
        let tone = if shifted { stream.range(0.22, 0.97) } else { stream.range(0.0, 0.72) };
        let tint = if shifted { 0.14 } else { 0.05 };
        let tint = vec3(1.0 + stream.range(-tint, tint), 1.0, 1.0 + stream.range(-tint, tint));
        let skin_colour = skin(tone).times(tint);
        let palm = skin_colour.mix(skin((tone - 0.25).max(0.0) * 0.8).times(tint), 0.6);
        let varnish = stream.bernoulli(if shifted { 0.25 } else { 0.15 });
        let varnish_colour =
            hue(stream.range(4.2, 6.5) % 6.0, stream.range(0.4, 0.85), stream.range(0.5, 0.9));
        let nail =
            if varnish { varnish_colour } else { palm.mix(linear(236.0, 180.0, 168.0), 0.35) };
        let sleeve = hue(stream.range(0.0, 6.0), stream.range(0.05, 0.6), stream.range(0.12, 0.75));

        let (side, up, front) =
            if shifted { (75.0, (-15.0, 65.0), 0.25) } else { (50.0, (15.0, 60.0), 0.5) };
        let light = Rotation::about_y(stream.range(-side, side))
            .after(&Rotation::about_x(-stream.range(up.0, up.1)))
            .apply(vec3(0.0, 0.0, 1.0));
        let light = vec3(light.x, light.y, light.z.max(front)).normalize();
        let strength = if shifted { stream.range(0.75, 1.25) } else { stream.range(0.65, 0.9) };
        let warmth = if shifted { stream.range(-0.22, 0.26) } else { stream.range(-0.04, 0.08) };
        let light_colour = vec3(1.0 + warmth, 1.0, 1.0 - warmth) * strength;
        let fill = if shifted { stream.range(0.16, 0.42) } else { stream.range(0.36, 0.52) };
        let sky = vec3(0.97, 1.0, 1.04) * fill;
        let ground = vec3(1.0, 0.95, 0.9) * (fill * stream.range(0.55, 0.8));

        Self {
            skin: skin_colour,
            palm,
            nail,
            varnish,
            sleeve,
            flush: stream.range(0.2, 1.0),
            gloss: stream.range(0.06, 0.30),
            light,
            light_colour,
            sky,
            ground,
            sharpness: if shifted { stream.range(3.0, 9.0) } else { stream.range(2.0, 4.5) },
            background: Background::draw(shifted, stream),
            blur: if shifted { stream.range(0.0, 0.16) } else { stream.range(0.0, 0.06) },
            noise: if shifted { stream.range(0.004, 0.02) } else { stream.range(0.002, 0.010) },
        }
    }
}

impl Background {
    fn draw(shifted: bool, stream: &mut Stream) -> Self {
        let turned = Rotation::about_z(stream.range(0.0, 360.0)).apply(vec3(1.0, 0.0, 0.0));
        let (hue_of_wall, table_hue) = (stream.range(0.0, 6.0), stream.range(0.15, 0.7));
        let (wall, far_wall, table) = if shifted {
            let saturation = stream.range(0.02, 0.25);
            let value = stream.range(0.70, 0.99);
            let other = hue_of_wall + stream.range(-0.5, 0.5) + 6.0;
            let far = hue(other % 6.0, saturation, value * stream.range(0.72, 1.0));
            let edge = (stream.range(-0.8, 0.3), stream.range(-0.2, 0.2));
            let wood = hue(table_hue, stream.range(0.2, 0.5), stream.range(0.5, 0.85));
            let table = stream.bernoulli(0.35).then_some((edge.0, edge.1, wood));
            (hue(hue_of_wall, saturation, value), far, table)
        } else {
            let saturation = stream.range(0.0, 0.05);
            let wall = hue(hue_of_wall, saturation, stream.range(0.88, 1.0));
            (wall, wall * stream.range(0.82, 1.0), None)
        };
        Self {
            wall,
            far_wall,
            direction: (turned.x, turned.y),
            table,
            depth: stream.range(0.7, 1.6),
            shadow: if shifted { stream.range(0.15, 0.6) } else { stream.range(0.1, 0.3) },
        }
    }

    /// The wall's colour at a place in the picture (−1 to 1, y upwards), without the shadow.
    pub(crate) fn colour(&self, x: f32, y: f32) -> Vec3 {
        let t = 0.5 + 0.4 * (x * self.direction.0 + y * self.direction.1);
        let wall = self.wall.mix(self.far_wall, t.clamp(0.0, 1.0));
        match self.table {
            Some((height, slope, colour)) => {
                let below = crate::math::smoothstep(0.03, -0.03, y - height - slope * x);
                wall.mix(colour * (0.9 + 0.1 * y), below)
            }
            None => wall,
        }
    }
}
