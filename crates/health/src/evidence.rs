//! Whether two pictures that look alike are one picture for certain: their difference must be one
//! that re-encoding, rescaling, cropping or mirroring can make.
//!
//! Two shots of one scene pass for a copy at the size of a thumbnail. What tells them apart is
//!
//! - *the frame*: a copy shows all of the original or a part of it, so that one frame contains the
//!   other. A camera or an object that moved shows something new on one side and loses something
//!   on the other;
//! - *local differences*: re-encoding changes a region only as far as that region has detail. Each
//!   tile's difference is compared with what strong JPEG compression does to the same tile;
//! - *the grain*: noise, in the parts without structure, is the same in a copy and another one in
//!   the next shot.

use std::io::Cursor;

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer, images::TypedImage, pixels::F32,
};
use image::{RgbImage, codecs::jpeg::JpegEncoder};
use serde::Serialize;

use crate::{
    align::{Plane, Pose, refine},
    look::{luma, scaled},
};

/// The longer side at which pictures are kept for examination.
const KEPT: u32 = 512;
/// The sides at which they are compared: the shortest side of both, within this range.
const SIDES: std::ops::RangeInclusive<u32> = 48..=256;
/// The compression whose loss is what re-encoding may explain.
const LOSSY: u8 = 35;
/// Side of a tile, in pixels of the comparison.
const TILE: usize = 16;
/// A difference that is never held against a pair: rounding, in squared grey levels.
const ROUNDING: f32 = 0.15;
/// How much of what interpolation blurs may differ, where registration interpolates.
const INTERPOLATION: f32 = 0.25;
/// Grain below this is none, and from the second on it is clear, in squared grey levels.
const FAINT: f32 = 0.002;
const CLEAR: f32 = 0.006;

/// What an examination of two pictures found. A copy is within the bounds of all three.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evidence {
    /// How far each frame extends beyond the other, as a share of the side: 0 if one contains the
    /// other.
    pub overhang: f32,
    /// The largest difference in a region, as a multiple of what re-encoding does to it.
    pub local: f32,
    /// How much of the grain that both have is the same, about 0 (other noise) to 1 (the same
    /// noise); none if one of them has no grain.
    pub grain: Option<f32>,
}

impl Evidence {
    /// The largest overhang of a copy: half a pixel in 256.
    pub const OVERHANG: f32 = 0.002;
    /// The largest local difference of a copy.
    pub const LOCAL: f32 = 6.0;
    /// The least agreement of a copy's grain.
    pub const GRAIN: f32 = 0.1;

    /// Whether the two are the same picture for certain.
    pub fn certain(&self) -> bool {
        self.overhang <= Self::OVERHANG
            && self.local <= Self::LOCAL
            && self.grain.is_none_or(|grain| grain >= Self::GRAIN)
    }
}

/// A picture and what strong compression makes of it.
pub(crate) struct Detail {
    width: u32,
    height: u32,
    own: Vec<F32>,
    lossy: Vec<F32>,
}

impl Detail {
    /// None if it cannot be compressed, which pictures without pixels cannot.
    pub(crate) fn new(picture: &RgbImage) -> Option<Self> {
        let (width, height) = picture.dimensions();
        let longer = width.max(height);
        let small = if longer > KEPT {
            let fit = |length: u32| {
                (u64::from(length) * u64::from(KEPT) / u64::from(longer)).max(1) as u32
            };
            &scaled(picture, fit(width), fit(height))
        } else {
            picture
        };
        let mut bytes = Vec::new();
        small
            .write_with_encoder(JpegEncoder::new_with_quality(Cursor::new(&mut bytes), LOSSY))
            .ok()?;
        let format = image::ImageFormat::Jpeg;
        let lossy = image::load_from_memory_with_format(&bytes, format).ok()?.into_rgb8();
        let grey = |picture: &RgbImage| -> Vec<F32> {
            picture.as_chunks::<3>().0.iter().map(|pixel| F32::new(luma(*pixel))).collect()
        };
        let (width, height) = small.dimensions();
        Some(Self { width, height, own: grey(small), lossy: grey(&lossy) })
    }

    /// The picture, and its compressed form, in a square of this side.
    fn planes(&self, side: u32) -> Option<[Plane; 2]> {
        let plane = |values: &[F32]| {
            let from = TypedImage::from_pixels(self.width, self.height, values.to_vec()).ok()?;
            let mut to = TypedImage::<F32>::new(side, side);
            let options = ResizeOptions::new()
                .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
                .use_alpha(false);
            Resizer::new().resize_typed(&from, &mut to, &options).ok()?;
            let values = to.pixels().iter().map(|pixel| pixel.0).collect();
            Some(Plane::new(side as usize, values))
        };
        Some([plane(&self.own)?, plane(&self.lossy)?])
    }

    fn shorter(&self) -> u32 {
        self.width.min(self.height)
    }
}

/// Examines two pictures whose registration is known roughly: point p of `a` is at `pose` of `b`,
/// which is mirrored first if `mirrored`. None if they do not overlap enough.
pub(crate) fn examine(a: &Detail, b: &Detail, pose: Pose, mirrored: bool) -> Option<Evidence> {
    let side = a.shorter().min(b.shorter()).clamp(*SIDES.start(), *SIDES.end());
    let [own_a, lossy_a] = a.planes(side)?;
    let mut of_b = b.planes(side)?;
    if mirrored {
        of_b = of_b.map(|plane| plane.mirrored());
    }
    let [own_b, lossy_b] = of_b;
    let pose = refine(&own_a, &own_b, pose, 8)?.pose;
    let places = places(side as usize, &pose);
    let [own_b, lossy_b] = [own_b, lossy_b].map(|plane| moved(&plane, &pose, &places, &own_a));
    let tiles = tiles(side as usize, &places);
    if tiles.is_empty() {
        return None;
    }
    // What interpolation changes, the finest structure, is left out on both sides.
    let [a, b, lossy_a, lossy_b] =
        [own_a, own_b, lossy_a, lossy_b].map(|plane| smooth(&plane.values, side as usize, 1));
    Some(Evidence {
        overhang: overhang(&pose),
        local: local([&a, &b], [&lossy_a, &lossy_b], moves(&pose, side), side as usize, &tiles),
        grain: grain([&a, &b], side as usize, &tiles),
    })
}

/// By how much each frame extends beyond the other, at least: shares of the side.
pub(crate) fn overhang(pose: &Pose) -> f32 {
    let mut beyond = [0f32; 2];
    for axis in 0..2 {
        let (scale, shift) = (pose.scale[axis], pose.shift[axis]);
        for edge in [scale - shift - 1.0, scale + shift - 1.0] {
            beyond[usize::from(edge < 0.0)] = beyond[usize::from(edge < 0.0)].max(edge.abs());
        }
    }
    beyond[0].min(beyond[1]) / 2.0
}

/// Where in the other picture each pixel of the first lies; none where that is outside.
fn places(side: usize, pose: &Pose) -> Vec<Option<(f32, f32)>> {
    let (half, last) = ((side - 1) as f32 / 2.0, (side - 1) as f32);
    let along = |axis: usize| -> Vec<Option<f32>> {
        (0..side)
            .map(|pixel| {
                let own = pixel as f32 / half - 1.0;
                let place = (pose.scale[axis] * own + pose.shift[axis] + 1.0) * half;
                // The outermost pixels reach half a pixel beyond their centres.
                (-0.5..=last + 0.5).contains(&place).then(|| place.clamp(0.0, last))
            })
            .collect()
    };
    let (xs, ys) = (along(0), along(1));
    ys.iter().flat_map(|y| xs.iter().map(move |x| x.zip(*y))).collect()
}

/// The other picture as the first shows it; where it does not reach, the first's own pixels.
fn moved(other: &Plane, pose: &Pose, places: &[Option<(f32, f32)>], first: &Plane) -> Plane {
    let value = |(place, own): (&Option<(f32, f32)>, &f32)| {
        let found = place.and_then(|(x, y)| other.at(x, y));
        found.map_or(*own, |[value, ..]| pose.gain * value + pose.offset)
    };
    Plane::new(other.side, places.iter().zip(&first.values).map(value).collect())
}

/// Whether registration moves pixels by a part of a pixel somewhere, so that it interpolates.
fn moves(pose: &Pose, side: u32) -> bool {
    let pixels = side as f32 / 2.0;
    (0..2).any(|axis| pixels * ((pose.scale[axis] - 1.0).abs() + pose.shift[axis].abs()) > 0.25)
}

/// The corners of the tiles, half a tile apart, that both pictures cover.
fn tiles(side: usize, places: &[Option<(f32, f32)>]) -> Vec<(usize, usize)> {
    let starts = || (0..=side - TILE).step_by(TILE / 2);
    let covered = |&(x, y): &(usize, usize)| {
        (y..y + TILE).all(|y| places[y * side + x..][..TILE].iter().all(Option::is_some))
    };
    starts().flat_map(|y| starts().map(move |x| (x, y))).filter(covered).collect()
}

/// Means over tiles of the product of two planes.
fn means(a: &[f32], b: &[f32], side: usize, tiles: &[(usize, usize)]) -> Vec<f32> {
    let mean = |&(x, y): &(usize, usize)| {
        let rows = (y..y + TILE).map(|y| y * side + x);
        let sum: f32 = rows
            .map(|from| {
                let (a, b) = (&a[from..from + TILE], &b[from..from + TILE]);
                a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>()
            })
            .sum();
        sum / (TILE * TILE) as f32
    };
    tiles.iter().map(mean).collect()
}

fn minus(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// The largest difference of a tile, over what compression does to it in either picture.
fn local(
    own: [&[f32]; 2],
    lossy: [&[f32]; 2],
    interpolated: bool,
    side: usize,
    tiles: &[(usize, usize)],
) -> f32 {
    let energy = |a: &[f32], b: &[f32]| {
        let difference = minus(a, b);
        means(&difference, &difference, side, tiles)
    };
    let differences = energy(own[0], own[1]);
    let losses = [0, 1].map(|i| energy(own[i], lossy[i]));
    let overall = losses.each_ref().map(|l| l.iter().sum::<f32>() / l.len() as f32);
    let blurred = energy(own[0], &smooth(own[0], side, 1));
    let ratio = |(tile, difference): (usize, &f32)| {
        // A part of the loss may be elsewhere in a copy whose blocks lie differently.
        let expected = [0, 1].map(|i| 0.75 * losses[i][tile] + 0.25 * overall[i]);
        let interpolation = if interpolated { INTERPOLATION * blurred[tile] } else { 0.0 };
        difference / (expected[0].max(expected[1]) + interpolation + ROUNDING)
    };
    differences.iter().enumerate().map(ratio).fold(0.0, f32::max)
}

/// How much of the finest structure of the plainest tiles is in both pictures: its covariance, over
/// the smaller of the two variances, since a copy may have lost some of it. What is very faint may
/// be the traces of compression, which differ in every copy: clearer grain counts too, at half its
/// agreement.
fn grain(own: [&[f32]; 2], side: usize, tiles: &[(usize, usize)]) -> Option<f32> {
    let [a, b] = own.map(|values| minus(values, &smooth(values, side, 2)));
    let both = means(&a, &b, side, tiles);
    let (of_a, of_b) = (means(&a, &a, side, tiles), means(&b, &b, side, tiles));
    let mut plain: Vec<(f32, f32)> =
        both.iter().zip(of_a.iter().zip(&of_b)).map(|(both, (a, b))| (a.min(*b), *both)).collect();
    plain.sort_by(|a, b| a.0.total_cmp(&b.0));
    let agreement = |from: f32| {
        let mut plain = &plain[plain.partition_point(|(least, _)| *least < from)..];
        // A few tiles are chance.
        if plain.len() * 8 < tiles.len() || plain.len() < 4 {
            return None;
        }
        plain = &plain[..(plain.len() / 4).max(4)];
        let (least, both) = plain.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
        Some(both / least)
    };
    let faint = agreement(FAINT)?;
    Some(faint.max(agreement(CLEAR).map_or(faint, |clear| 0.5 * clear)))
}

/// Blurs a plane with the kernel 1, 2, 1 along both axes, several times.
fn smooth(values: &[f32], side: usize, times: usize) -> Vec<f32> {
    let mut values = values.to_vec();
    let mut line = vec![0f32; side];
    let mut pass = |values: &mut [f32], start: usize, step: usize| {
        for (i, value) in line.iter_mut().enumerate() {
            let at = |i: usize| values[start + i * step];
            let (before, after) = (at(i.saturating_sub(1)), at((i + 1).min(side - 1)));
            *value = 0.25 * before + 0.5 * at(i) + 0.25 * after;
        }
        for (i, value) in line.iter().enumerate() {
            values[start + i * step] = *value;
        }
    };
    for _ in 0..times {
        for i in 0..side {
            pass(&mut values, i * side, 1);
            pass(&mut values, i, side);
        }
    }
    values
}
