use image::RgbImage;
use taper_core::{Interpolation, Part};

use crate::{Fill, Homography, Resizer, Result, bilinear, resizer::check};

/// How pixels between the pixels are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// Bilinear between the four nearest pixels, however much the picture shrinks: Keras' and
    /// torchvision's warps.
    Plain,
    /// Without the aliasing caused by shrinking. A map that only scales, mirrors and crops is
    /// Pillow's resizing with this filter; any other is bilinear, and where it shrinks by more than
    /// a tenth, it reads a copy that was downscaled with this filter instead of the original.
    Antialiased(Interpolation),
}

/// Reductions up to this factor alias too little to be worth another pass.
const TOLERATED: f64 = 1.1;

/// Resamples pictures through projective maps. Holds buffers: keep one per thread.
#[derive(Debug, Default)]
pub struct Warper {
    resizer: Resizer,
    /// The downscaled picture.
    reduced: Vec<u8>,
}

impl Warper {
    /// A warper without buffers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The resizer, for pictures that only change size.
    pub fn resizer(&mut self) -> &mut Resizer {
        &mut self.resizer
    }

    /// Writes the picture as seen through `map` to `out`: u8, layout \[height, width, 3\] (RGB),
    /// rounded.
    ///
    /// # Errors
    /// [`Error::NoPixels`](crate::Error::NoPixels) for an empty picture,
    /// [`Error::Output`](crate::Error::Output) for an output of another length,
    /// [`Error::Resizer`](crate::Error::Resizer) if the resizer refuses.
    pub fn warp(
        &mut self,
        picture: &RgbImage,
        map: &Homography,
        fill: Fill,
        quality: Quality,
        (width, height): (u32, u32),
        out: &mut [u8],
    ) -> Result<()> {
        check(picture, (width, height), out)?;
        if let Quality::Antialiased(interpolation) = quality {
            if let Some((part, mirrored)) = Straight::new(picture, map, width, height) {
                self.resizer.resize(picture, part, interpolation, (width, height), out)?;
                mirrored.apply(width, out);
                return Ok(());
            }
            if let Some((part, size, map)) = reduction(picture, map, (width, height)) {
                let mut reduced = std::mem::take(&mut self.reduced);
                reduced.resize(size.0 as usize * size.1 as usize * 3, 0);
                self.resizer.resize(picture, part, interpolation, size, &mut reduced)?;
                if let Some(reduced) = RgbImage::from_raw(size.0, size.1, reduced) {
                    bilinear::sample(&reduced, &map, fill, (width, height), out);
                    self.reduced = reduced.into_raw();
                }
                return Ok(());
            }
        }
        bilinear::sample(picture, map, fill, (width, height), out);
        Ok(())
    }
}

/// What remains to be done after resizing.
#[derive(Debug, Clone, Copy)]
struct Straight {
    left_right: bool,
    top_bottom: bool,
}

impl Straight {
    /// The part of the picture that a map shows, and whether it is mirrored, if the map does not
    /// rotate and stays within the picture.
    fn new(
        picture: &RgbImage,
        map: &Homography,
        width: u32,
        height: u32,
    ) -> Option<(Part, Straight)> {
        let [a, b, c, d, e, f, g, h, i] = map.0;
        // Composition of steps leaves rounding errors.
        const NEARLY: f64 = 1e-9;
        if [b, d, g, h].iter().any(|v| v.abs() > NEARLY) {
            return None;
        }
        let axis = |factor: f64, shift: f64, out: u32, len: u32| {
            let (from, to) = (-0.5 * factor + shift, (f64::from(out) - 0.5) * factor + shift);
            let (low, high) = (from.min(to) + 0.5, from.max(to) + 0.5);
            let len = f64::from(len);
            let within = low > -1e-6 && high < len + 1e-6 && high > low;
            // Values that differ from whole numbers only by rounding are meant to be whole.
            let whole = |v: f64| if (v - v.round()).abs() < 1e-6 { v.round() } else { v };
            within.then(|| (whole(low.max(0.0)), whole(high.min(len)), factor < 0.0))
        };
        let (left, right, left_right) = axis(a / i, c / i, width, picture.width())?;
        let (top, bottom, top_bottom) = axis(e / i, f / i, height, picture.height())?;
        let part = Part { left, top, width: right - left, height: bottom - top };
        Some((part, Straight { left_right, top_bottom }))
    }

    fn apply(self, width: u32, out: &mut [u8]) {
        let stride = width as usize * 3;
        if self.left_right {
            for row in out.chunks_exact_mut(stride) {
                row.as_chunks_mut::<3>().0.reverse();
            }
        }
        if self.top_bottom {
            let mut rows: Vec<&mut [u8]> = out.chunks_exact_mut(stride).collect();
            let middle = rows.len().div_ceil(2);
            let (upper, lower) = rows.split_at_mut(middle);
            for (a, b) in upper.iter_mut().zip(lower.iter_mut().rev()) {
                a.swap_with_slice(b);
            }
        }
    }
}

/// If a map shrinks the picture: the part that it reads, the size to scale that to, and the
/// remaining map.
fn reduction(
    picture: &RgbImage,
    map: &Homography,
    (width, height): (u32, u32),
) -> Option<(Part, (u32, u32), Homography)> {
    let (w, h) = (f64::from(width), f64::from(height));
    let steps = map.reduction((w - 1.0) / 2.0, (h - 1.0) / 2.0);
    if steps.iter().all(|s| *s <= TOLERATED) {
        return None;
    }
    let corners = [[-0.5, -0.5], [w - 0.5, -0.5], [-0.5, h - 0.5], [w - 0.5, h - 0.5]];
    let corners = corners.map(|[x, y]| map.at(x, y));
    let axis = |axis: usize, len: u32| {
        let len_f = f64::from(len);
        let step = steps[axis].max(1.0).min(len_f);
        // The horizon is in view, or nearly so: everything may be needed.
        let places = corners.map(|corner| corner.map_or(f64::NAN, |c| c[axis] + 0.5));
        let margin = 2.0 * step + 1.0;
        let low = places.iter().copied().fold(f64::INFINITY, f64::min) - margin;
        let high = places.iter().copied().fold(f64::NEG_INFINITY, f64::max) + margin;
        // Pixels mirrored in from beyond an edge come from the same distance inside it.
        let (first, last) = (low.min(2.0 * len_f - high), high.max(-low));
        let sound = first.is_finite() && last.is_finite() && !places.iter().any(|p| p.is_nan());
        let (first, last) = if sound { (first, last) } else { (0.0, len_f) };
        let first = first.floor().clamp(0.0, len_f - 1.0);
        let last = last.ceil().clamp(first + 1.0, len_f);
        let size = ((last - first) / step).ceil().max(1.0);
        (first, last - first, size)
    };
    let (left, part_width, new_width) = axis(0, picture.width());
    let (top, part_height, new_height) = axis(1, picture.height());
    let part = Part { left, top, width: part_width, height: part_height };
    let back = Homography::translation(-left, -top)
        .then(&Homography::scale(new_width / part_width, new_height / part_height));
    Some((part, (new_width as u32, new_height as u32), map.then(&back)))
}
