use std::io::Cursor;

use image::{ExtendedColorType, ImageFormat, codecs::jpeg::JpegEncoder};

use crate::{
    Error, Result,
    colour::{Mixture, Tables, mix},
    filter::{blur, sharpen},
    noise::add_noise,
};

/// A change of how things look. All work on u8 RGB; results are clipped to 0…255.
///
/// `F` is `torchvision.transforms.v2.functional`; its results are cut off to integers where it does
/// so, too.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Adjustment {
    /// Adds this fraction of the full range, −1 to 1 (Keras' `RandomBrightness`).
    Brightness(f32),
    /// (x − μ)·f + μ with each channel's mean μ, f from 0 (Keras' `RandomContrast`).
    Contrast(f32),
    /// x·f, f from 0 (`F.adjust_brightness`).
    BrightnessFactor(f32),
    /// x·f + (1 − f)·μ with the mean μ of the grey picture, f from 0 (`F.adjust_contrast`).
    ContrastFactor(f32),
    /// x·f + (1 − f)·grey, f from 0 (`F.adjust_saturation`).
    Saturation(f32),
    /// Turns the hue by this fraction of the circle, −0.5 to 0.5 (`F.adjust_hue`).
    Hue(f32),
    /// 0.2989·R + 0.587·G + 0.114·B in all three channels (`F.rgb_to_grayscale`).
    Grey,
    /// 255·(x/255)^γ, γ above 0 (`F.adjust_gamma`).
    Gamma(f32),
    /// Keeps this many of the upper bits, 0 to 8 (`F.posterize`).
    Posterize(u8),
    /// Inverts what is this bright or brighter (`F.solarize`).
    Solarize(u8),
    /// 255 − x (`F.invert`).
    Invert,
    /// Stretches each channel to the full range (`F.autocontrast`).
    AutoContrast,
    /// Gives each channel a flat histogram (`F.equalize`).
    Equalize,
    /// Gaussian blur with this standard deviation in pixels, above 0 to 30 (`F.gaussian_blur` with
    /// a kernel of 2·⌈3σ⌉ + 1).
    Blur(f32),
    /// 0 blurs with a 3 × 3 kernel, 1 leaves, above 1 sharpens (`F.adjust_sharpness`).
    Sharpness(f32),
    /// Adds normal noise with this standard deviation as a fraction of the full range
    /// (`F.gaussian_noise`).
    Noise {
        /// Standard deviation, from 0.
        sigma: f32,
        /// Which noise: the same key gives the same noise.
        key: u64,
    },
    /// What is left after being saved as JPEG with this quality, 1 to 100, without thinning out
    /// colour (`F.jpeg`, but 4:4:4).
    Jpeg(u8),
    /// Overwrites a rectangle, given as fractions of width and height (`F.erase`).
    Erase {
        /// Left, top, width, height, each 0 to 1.
        area: [f32; 4],
        /// What is written there.
        value: [u8; 3],
    },
}

/// Carries out adjustments on u8 RGB pixels, layout \[height, width, 3\].
///
/// Whatever treats each channel by itself becomes a table of 256 values; tables are joined, and
/// applied in the same pass as the next mixture of channels.
pub(crate) fn adjust(
    adjustments: &[Adjustment],
    (width, height): (u32, u32),
    pixels: &mut [u8],
) -> Result<()> {
    if pixels.is_empty() {
        return Ok(());
    }
    let mut tables = Tables::new();
    let mut rest = adjustments;
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if tables.join(first, pixels) {
            continue;
        }
        let mut mixtures = Vec::new();
        mixtures.extend(Mixture::of(first));
        while let Some(mixture) =
            rest.first().filter(|_| !mixtures.is_empty()).and_then(Mixture::of)
        {
            mixtures.push(mixture);
            rest = &rest[1..];
        }
        if !mixtures.is_empty() {
            mix(&tables, &mixtures, pixels);
            tables = Tables::new();
            continue;
        }
        tables.apply(pixels);
        tables = Tables::new();
        let (w, h) = (width as usize, height as usize);
        match *first {
            Adjustment::Blur(sigma) => blur(pixels, w, h, sigma),
            Adjustment::Sharpness(factor) => sharpen(pixels, w, h, factor),
            Adjustment::Noise { sigma, key } => add_noise(pixels, sigma, key),
            Adjustment::Jpeg(quality) => compress(pixels, width, height, quality)?,
            Adjustment::Erase { area, value } => erase(pixels, w, h, area, value),
            // Tables and mixtures have been dealt with.
            _ => {}
        }
    }
    tables.apply(pixels);
    Ok(())
}

fn compress(pixels: &mut [u8], width: u32, height: u32, quality: u8) -> Result<()> {
    let fail = |e: image::ImageError| Error::Jpeg(e.to_string());
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, quality.clamp(1, 100))
        .encode(pixels, width, height, ExtendedColorType::Rgb8)
        .map_err(fail)?;
    let decoded = image::load(Cursor::new(file), ImageFormat::Jpeg).map_err(fail)?.into_rgb8();
    pixels.copy_from_slice(&decoded);
    Ok(())
}

fn erase(pixels: &mut [u8], width: usize, height: usize, area: [f32; 4], value: [u8; 3]) {
    let span = |start: f32, length: f32, side: usize| {
        let from = (start * side as f32).round().clamp(0.0, side as f32);
        let to = (start * side as f32 + length * side as f32).round().clamp(from, side as f32);
        from as usize..to as usize
    };
    let (columns, rows) = (span(area[0], area[2], width), span(area[1], area[3], height));
    for row in pixels.chunks_exact_mut(width * 3).take(rows.end).skip(rows.start) {
        row.as_chunks_mut::<3>().0[columns.clone()].fill(value);
    }
}
