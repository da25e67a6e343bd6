//! Pictures of coloured shapes, for data sets that a check makes for itself.

/// As many colours, evenly around the circle of hues.
pub(crate) const COLOURS: [&str; 10] =
    ["red", "orange", "lime", "green", "mint", "cyan", "azure", "blue", "purple", "pink"];
pub(crate) const SHAPES: [&str; 10] = [
    "disc", "ring", "square", "frame", "diamond", "cross", "triangle", "stripes", "checks", "moon",
];

/// Numbers that look random, 0…1, the same for the same seed (Steele, Lea and Flood 2014, "Fast
/// splittable pseudorandom number generators").
fn random(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// A PPM file of a shape of a colour: its place, size and turn, the light and the noise depend on
/// the number.
pub(crate) fn ppm((shape, colour): (usize, usize), number: u64, side: usize) -> Vec<u8> {
    let mut next = random(number.wrapping_mul(1009) + (shape * COLOURS.len() + colour) as u64);
    let (x0, y0) = (0.4 + 0.2 * next(), 0.4 + 0.2 * next());
    let size = 0.22 + 0.12 * next();
    let (sin, cos) = (0.7 * (next() - 0.5)).sin_cos();
    let hue = (colour as f32 + 0.6 * (next() - 0.5)) / COLOURS.len() as f32;
    let front = rgb(hue, 0.55 + 0.4 * next(), 0.7 + 0.3 * next());
    let back = rgb(next(), 0.15 * next(), 0.35 + 0.55 * next());
    let slope = 0.5 * (next() - 0.5);
    let mut file = format!("P6 {side} {side} 255\n").into_bytes();
    for row in 0..side {
        for column in 0..side {
            // The mean of four points makes edges smooth.
            let share = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
                .into_iter()
                .filter(|(right, down)| {
                    let x = ((column as f32 + right) / side as f32 - x0) / size;
                    let y = ((row as f32 + down) / side as f32 - y0) / size;
                    contains(shape, cos * x - sin * y, sin * x + cos * y)
                })
                .count() as f32
                / 4.0;
            let light = 1.0 + slope * (row as f32 / side as f32 - 0.5) + 0.1 * (next() - 0.5);
            file.extend(std::array::from_fn::<u8, 3, _>(|channel| {
                let value = share * front[channel] + (1.0 - share) * back[channel];
                (255.0 * light * value).round().clamp(0.0, 255.0) as u8
            }));
        }
    }
    file
}

/// Whether a point lies within a shape, which reaches from about -1 to 1.
fn contains(shape: usize, x: f32, y: f32) -> bool {
    let (radius, most, least) = (x.hypot(y), x.abs().max(y.abs()), x.abs().min(y.abs()));
    match shape {
        0 => radius < 1.0,
        1 => (0.6..1.0).contains(&radius),
        2 => most < 0.85,
        3 => (0.55..0.9).contains(&most),
        4 => x.abs() + y.abs() < 1.1,
        5 => least < 0.28 && most < 1.0,
        6 => y < 0.7 && x.abs() < 0.62 * (y + 0.95),
        7 => most < 0.95 && (2.1 * x).rem_euclid(1.0) < 0.5,
        8 => most < 0.95 && (x > 0.0) == (y > 0.0),
        _ => radius < 1.0 && (x - 0.5).hypot(y) > 0.8,
    }
}

/// A colour by hue, saturation and value, 0…1 each.
fn rgb(hue: f32, saturation: f32, value: f32) -> [f32; 3] {
    [5.0, 3.0, 1.0].map(|offset| {
        let along = (offset + 6.0 * hue).rem_euclid(6.0);
        value * (1.0 - saturation * along.min(4.0 - along).clamp(0.0, 1.0))
    })
}
