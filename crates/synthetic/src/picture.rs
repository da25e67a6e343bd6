//! From scene to pixels: which capsules a tile can see, sphere tracing, anti-aliasing, camera.

use std::array::from_fn;

use image::{Rgb, RgbImage};
use taper_core::random::Stream;

use crate::{
    field::{self, Capsule, OCCLUSION_REACH},
    hand::Hand,
    math::{LANES, Lanes, Vec3, VecLanes, encode, vec3},
    shading::{self, Hit},
    style::Style,
};

/// Width and height of a tile in pixels: tiles share a list of the capsules that their rays can
/// meet.
const TILE: usize = 8;
/// Spacing in pixels of the points at which the shadow on the wall is computed: it is soft enough.
const SHADOW_CELL: usize = 4;
/// A ray that has not arrived after this many steps runs along a silhouette.
const MOST_STEPS: usize = 72;

/// Renders the picture; the noise comes from `stream`.
pub(crate) fn render(hand: &Hand, style: &Style, stream: &mut Stream, size: u32) -> RgbImage {
    let size = size as usize;
    let camera = Camera {
        eye: vec3(0.0, 0.0, hand.distance),
        scale: hand.extent / hand.distance,
        size: size as f32,
    };
    let scene = Scene { hand, style, camera };
    let linear = scene.trace(size);
    develop(&linear, style, stream, size)
}

struct Camera {
    eye: Vec3,
    /// Half the picture's height at distance 1.
    scale: f32,
    size: f32,
}

impl Camera {
    /// Place in the picture (−1 to 1, y upwards) of a point in pixels.
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (2.0 * x / self.size - 1.0, 1.0 - 2.0 * y / self.size)
    }

    /// Direction of the ray through a place in the picture.
    fn ray(&self, (x, y): (f32, f32)) -> Vec3 {
        vec3(x * self.scale, y * self.scale, -1.0)
    }

    /// Width of a pixel at distance 1.
    fn pixel(&self) -> f32 {
        2.0 * self.scale / self.size
    }
}

/// The capsules that matter for the rays of one tile.
struct Tile {
    /// Those that rays can meet.
    seen: Vec<Capsule>,
    /// Those that can also darken what rays meet.
    near: Vec<Capsule>,
    /// Depths between which rays can meet something.
    depths: (f32, f32),
}

/// What one ray found.
#[derive(Clone, Copy)]
struct Sample {
    colour: Vec3,
    /// Distance from the camera, or [`MISSED`].
    depth: f32,
}

const MISSED: f32 = 1e3;

struct Scene<'a> {
    hand: &'a Hand,
    style: &'a Style,
    camera: Camera,
}

impl Scene<'_> {
    /// Linear light, row by row.
    fn trace(&self, size: usize) -> Vec<Vec3> {
        let wall = WallShadow::new(self, size);
        let mut samples: Vec<Sample> = Vec::with_capacity(size * size);
        for y in 0..size {
            for x in 0..size {
                let place = self.camera.place(x as f32 + 0.5, y as f32 + 0.5);
                let colour = self.style.background.colour(place.0, place.1)
                    * wall.at(x as f32 + 0.5, y as f32 + 0.5);
                samples.push(Sample { colour, depth: MISSED });
            }
        }

        // One ray through the middle of each pixel that can see the hand …
        let tiles_across = size.div_ceil(TILE);
        let mut tiles = Vec::new();
        for number in 0..tiles_across * tiles_across {
            let corner = (number % tiles_across * TILE, number / tiles_across * TILE);
            let Some(tile) = self.tile(corner) else { continue };
            let pixels: Vec<(usize, usize)> = (0..TILE * TILE)
                .map(|i| {
                    // Packets of 4 × 2 pixels: neighbours take similar numbers of steps.
                    let (packet, lane) = (i / LANES, i % LANES);
                    (corner.0 + packet % 2 * 4 + lane % 4, corner.1 + packet / 2 * 2 + lane / 4)
                })
                .collect();
            for packet in pixels.chunks_exact(LANES) {
                let found = self.packet(
                    &tile,
                    from_fn(|i| (packet[i].0 as f32 + 0.5, packet[i].1 as f32 + 0.5)),
                );
                for (&(x, y), sample) in packet.iter().zip(found) {
                    if let Some(sample) = sample
                        && x < size
                        && y < size
                    {
                        samples[y * size + x] = sample;
                    }
                }
            }
            tiles.push((corner, tile));
        }

        // … and four more where depth or colour jump between neighbours.
        let mut colours: Vec<Vec3> = samples.iter().map(|s| s.colour).collect();
        for (corner, tile) in &tiles {
            let edges: Vec<(usize, usize)> = (0..TILE * TILE)
                .map(|i| (corner.0 + i % TILE, corner.1 + i / TILE))
                .filter(|&(x, y)| x < size && y < size && is_edge(&samples, x, y, size))
                .collect();
            for pair in edges.chunks(2) {
                const GRID: [(f32, f32); 4] =
                    [(0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875)];
                let points = from_fn(|i| {
                    let (x, y) = pair[(i / 4).min(pair.len() - 1)];
                    (x as f32 + GRID[i % 4].0, y as f32 + GRID[i % 4].1)
                });
                let found = self.packet(tile, points);
                for (i, &(x, y)) in pair.iter().enumerate() {
                    let behind = || {
                        let place = self.camera.place(x as f32 + 0.5, y as f32 + 0.5);
                        self.style.background.colour(place.0, place.1)
                            * wall.at(x as f32 + 0.5, y as f32 + 0.5)
                    };
                    let sum = found[i * 4..i * 4 + 4].iter().fold(Vec3::splat(0.0), |sum, s| {
                        let c = s.map_or_else(behind, |s| s.colour);
                        // What is brighter than white must not outweigh its neighbours.
                        sum + vec3(c.x.min(1.0), c.y.min(1.0), c.z.min(1.0))
                    });
                    colours[y * size + x] = sum * 0.25;
                }
            }
        }
        colours
    }

    /// What the tile with this upper left corner can see; `None` if it sees only the wall.
    fn tile(&self, corner: (usize, usize)) -> Option<Tile> {
        let half = TILE as f32 * 0.5;
        let middle = self.camera.place(corner.0 as f32 + half, corner.1 as f32 + half);
        let axis = self.camera.ray(middle).normalize();
        // Half the tile's diagonal, at distance 1, and a little more because tiles at the rim are
        // seen aslant.
        let spread = half * std::f32::consts::SQRT_2 * self.camera.pixel() * 1.05;
        let mut tile = Tile { seen: Vec::new(), near: Vec::new(), depths: (MISSED, 0.0) };
        for capsule in &self.hand.capsules {
            let (gap, first, last) = capsule.beside(self.camera.eye, axis);
            let clearance = gap - capsule.largest_radius() - spread * last;
            if clearance < capsule.reach() {
                tile.seen.push(*capsule);
                tile.depths = (tile.depths.0.min(first), tile.depths.1.max(last));
            }
            if clearance < OCCLUSION_REACH * 0.75 {
                tile.near.push(*capsule);
            }
        }
        let depths = (tile.depths.0 - 0.05, tile.depths.1 + 0.05);
        tile.depths = (depths.0.max(0.1), depths.1 * 1.01);
        (!tile.seen.is_empty()).then_some(tile)
    }

    /// Traces rays through points given in pixels.
    fn packet(&self, tile: &Tile, points: [(f32, f32); LANES]) -> [Option<Sample>; LANES] {
        let rays = points.map(|(x, y)| self.camera.ray(self.camera.place(x, y)).normalize());
        let directions = VecLanes::gather(rays);
        let eye = VecLanes::splat(self.camera.eye);
        let exact = self.camera.pixel() * self.hand.distance * 0.3;
        let mut travelled = Lanes::splat(tile.depths.0);
        let mut last = Lanes::splat(0.0);
        for _ in 0..MOST_STEPS {
            let d = field::distance(&tile.seen, eye + directions.scale(travelled));
            let mut moving = false;
            for i in 0..LANES {
                let on = d.0[i] > exact && travelled.0[i] < tile.depths.1;
                moving |= on;
                // Tapered capsules overestimate a little.
                travelled.0[i] += if on { d.0[i] * 0.97 } else { 0.0 };
            }
            last = d;
            if !moving {
                break;
            }
        }
        let hit: [bool; LANES] =
            from_fn(|i| last.0[i] < 2.0 * exact && travelled.0[i] < tile.depths.1);
        // The last bit of the way, which no ray overshoots.
        let travelled = travelled + last;
        if !hit.contains(&true) {
            return [None; LANES];
        }

        let points = eye + directions.scale(travelled);
        let normals = field::normals(&tile.seen, points);
        let open = field::openness(&tile.near, points, normals);
        let off = points + normals.scale(Lanes::splat(0.02));
        let lit =
            field::light_at(&self.hand.capsules, off, self.style.light, self.style.sharpness * 1.6);
        let nearest = field::nearest(&tile.seen, points);
        from_fn(|i| {
            hit[i].then(|| {
                let hit = Hit {
                    point: points.lane(i),
                    normal: normals.lane(i),
                    view: -rays[i],
                    lit: lit.0[i],
                    open: open.0[i],
                    capsule: &tile.seen[nearest[i]],
                };
                let colour = shading::colour(&hit, self.hand, self.style);
                Sample { colour, depth: travelled.0[i] }
            })
        })
    }
}

/// Whether a pixel needs more rays: something nearer or of another brightness begins beside it.
fn is_edge(samples: &[Sample], x: usize, y: usize, size: usize) -> bool {
    let here = samples[y * size + x];
    let differs = |x: usize, y: usize| {
        let other = samples[y * size + x];
        let step = here.colour - other.colour;
        (here.depth - other.depth).abs() > 0.08 || step.x.abs() + step.y.abs() + step.z.abs() > 0.25
    };
    (x > 0 && differs(x - 1, y))
        || (x + 1 < size && differs(x + 1, y))
        || (y > 0 && differs(x, y - 1))
        || (y + 1 < size && differs(x, y + 1))
}

/// The hand's soft shadow on the wall, on a coarse grid.
struct WallShadow {
    factors: Vec<f32>,
    across: usize,
}

impl WallShadow {
    fn new(scene: &Scene<'_>, size: usize) -> Self {
        let across = size.div_ceil(SHADOW_CELL) + 1;
        let background = &scene.style.background;
        let points: Vec<Vec3> = (0..across * across)
            .map(|i| {
                let (x, y) = (i % across * SHADOW_CELL, i / across * SHADOW_CELL);
                let ray = scene.camera.ray(scene.camera.place(x as f32, y as f32));
                // Rays have z = −1, the eye is at z = distance and the wall at −depth.
                scene.camera.eye + ray * (scene.hand.distance + background.depth)
            })
            .collect();
        let mut factors = Vec::with_capacity(points.len() + LANES);
        for packet in points.chunks(LANES) {
            let packet = from_fn(|i| packet[i.min(packet.len() - 1)]);
            let lit = field::light_behind(
                &scene.hand.capsules,
                VecLanes::gather(packet),
                scene.style.light,
                scene.style.sharpness,
            );
            factors.extend(lit.0.map(|lit| 1.0 - background.shadow * (1.0 - lit)));
        }
        Self { factors, across }
    }

    /// The share of light left at a point given in pixels.
    fn at(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (x / SHADOW_CELL as f32, y / SHADOW_CELL as f32);
        let (i, j) = (x as usize, y as usize);
        let (fx, fy) = (x - i as f32, y - j as f32);
        let row = |j: usize| {
            let (a, b) = (self.factors[j * self.across + i], self.factors[j * self.across + i + 1]);
            a + (b - a) * fx
        };
        row(j) + (row(j + 1) - row(j)) * fy
    }
}

/// The camera's processing of linear light: transfer curve, blur, noise, 8 bits.
fn develop(linear: &[Vec3], style: &Style, stream: &mut Stream, size: usize) -> RgbImage {
    let mut encoded: Vec<Vec3> =
        linear.iter().map(|c| vec3(encode(c.x), encode(c.y), encode(c.z))).collect();
    let mix = |before: Vec3, here: Vec3, after: Vec3| {
        here * (1.0 - 2.0 * style.blur) + (before + after) * style.blur
    };
    for row in encoded.chunks_exact_mut(size) {
        let mut before = row[0];
        for x in 0..size {
            let here = row[x];
            row[x] = mix(before, here, row[(x + 1).min(size - 1)]);
            before = here;
        }
    }
    let mut above: Vec<Vec3> = encoded[..size].to_vec();
    for y in 0..size {
        for x in 0..size {
            let here = encoded[y * size + x];
            let below = encoded[(y + 1).min(size - 1) * size + x];
            encoded[y * size + x] = mix(above[x], here, below);
            above[x] = here;
        }
    }
    // The sum of two uniform bytes has the variance (256² − 1) / 6 and a triangular distribution;
    // neighbouring colours share a byte, as those of a sensor's pixels share theirs after
    // demosaicing.
    let scale = style.noise * 255.0 / 104.5;
    let mut picture = RgbImage::new(size as u32, size as u32);
    for (pixel, colour) in picture.pixels_mut().zip(&encoded) {
        let bytes = stream.next_u32().to_le_bytes().map(f32::from);
        let value = |c: f32, first: f32, second: f32| {
            (c * 255.0 + (first + second - 255.0) * scale + 0.5) as u8
        };
        *pixel = Rgb([
            value(colour.x, bytes[0], bytes[1]),
            value(colour.y, bytes[1], bytes[2]),
            value(colour.z, bytes[2], bytes[3]),
        ]);
    }
    picture
}
