//! From bytes to u8 RGB pixels, upright, whatever the format.

use std::{
    fs::File,
    io::{Cursor, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use image::{
    ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage,
    RgbaImage, error::LimitErrorKind, metadata::Orientation,
};

use crate::{DecodeOptions, Defect, DefectKind, jpeg, tiff};

/// The formats that can be decoded, for messages.
pub const FORMATS: &str = if cfg!(feature = "tiff") {
    "JPEG, PNG, WebP, GIF, BMP, TIFF, PNM, QOI, TGA or ICO"
} else {
    "JPEG, PNG, WebP, GIF, BMP, PNM, QOI, TGA or ICO"
};

/// Picture formats by extension that exist but cannot be decoded here.
const FOREIGN: [(&str, &str); 31] = [
    ("pfm", "floating-point PNM"),
    ("ff", "farbfeld"),
    ("pcx", "PCX"),
    ("icns", "Apple icon"),
    ("sgi", "SGI"),
    ("eps", "PostScript"),
    ("xbm", "XBM"),
    ("dcm", "DICOM"),
    ("jxr", "JPEG XR"),
    ("cr3", "raw camera"),
    ("raf", "raw camera"),
    ("orf", "raw camera"),
    ("rw2", "raw camera"),
    ("heic", "HEIC"),
    ("heif", "HEIC"),
    ("hif", "HEIC"),
    ("jpf", "JPEG 2000"),
    ("jpx", "JPEG 2000"),
    ("j2k", "JPEG 2000"),
    ("avif", "AVIF"),
    ("jp2", "JPEG 2000"),
    ("jxl", "JPEG XL"),
    ("psd", "Photoshop"),
    ("svg", "SVG"),
    ("dds", "DirectDraw"),
    ("hdr", "Radiance HDR"),
    ("dng", "raw camera"),
    ("cr2", "raw camera"),
    ("nef", "raw camera"),
    ("arw", "raw camera"),
    ("exr", "OpenEXR"),
];

/// The name of the picture format that a lower-case extension stands for, if it cannot be decoded.
pub fn foreign_format(extension: &str) -> Option<&'static str> {
    FOREIGN.iter().find(|(own, _)| *own == extension).map(|(_, name)| *name)
}

/// A decoded picture.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Picture {
    /// u8 RGB, rows from the top, EXIF orientation applied.
    pub pixels: RgbImage,
    /// The format of the content (never taken from the name); none if the source renders pixels
    /// itself.
    pub format: Option<ImageFormat>,
    /// The EXIF orientation that was applied.
    pub orientation: Orientation,
}

impl Picture {
    /// A picture that was never encoded.
    pub fn rendered(pixels: RgbImage) -> Self {
        Self { pixels, format: None, orientation: Orientation::NoTransforms }
    }

    /// The same picture's format and orientation with other pixels.
    #[must_use]
    pub fn with_pixels(&self, pixels: RgbImage) -> Self {
        Self { pixels, ..*self }
    }
}

/// Decodes a picture to u8 RGB, upright.
///
/// - The format is guessed from the content. (TGA has no signature: its header must make sense.)
/// - EXIF orientation is applied (JPEG, PNG, WebP, TIFF).
/// - Grey is repeated into three channels; palettes are resolved.
/// - Alpha is composited over white: `c·a/255 + 255 − a`, rounded.
/// - CMYK and YCCK JPEG: `R = (255 − C)(255 − K)/255`, as Pillow does; no colour management.
///   Adobe's inverted values are recognised by the Adobe marker.
/// - 16 bits become 8 by `(v + 128) / 257`, the nearest value. (Pillow takes the upper byte: at
///   most 1 less.)
/// - Of animated GIF, WebP and APNG the first frame (the default image) is taken.
/// - A JPEG without its end is an error, although most decoders fill the rest with grey. Bytes
///   after the end are ignored.
///
/// # Errors
/// A [`Defect`] says what is wrong; nothing is allocated for a picture above the limits.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Defect> {
    if bytes.is_empty() {
        return Err(Defect::new(DefectKind::Empty, "the file is empty (0 bytes)"));
    }
    if bytes.len() as u64 > options.max_bytes {
        return Err(options.too_many_bytes(bytes.len() as u64));
    }
    let format = match image::guess_format(bytes) {
        Ok(format) => format,
        Err(_) if is_tga(bytes) => ImageFormat::Tga,
        Err(_) => return Err(not_a_picture(bytes)),
    };
    let (pixels, orientation) = match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, options)?,
        ImageFormat::Ico if let Some(png) = png_in_icon(bytes) => {
            decode_other(png, ImageFormat::Png, options)?
        }
        _ => decode_other(bytes, format, options)?,
    };
    Ok(Picture { pixels: upright(pixels, orientation), format: Some(format), orientation })
}

/// Reads and decodes one file.
///
/// # Errors
/// A [`Defect`] says what is wrong; it does not name the file.
pub fn decode_file(path: &Path, options: &DecodeOptions) -> Result<Picture, Defect> {
    let bytes = read_file(path, options.max_bytes)?;
    catch_unwind(AssertUnwindSafe(|| decode(&bytes, options)))
        .unwrap_or_else(|_| Err(Defect::new(DefectKind::Corrupt, "the decoder failed")))
}

/// The whole file, unless it is larger than `limit` bytes.
///
/// # Errors
/// A [`Defect`] says why it cannot be read, or that it is too large.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, Defect> {
    let io = |e: std::io::Error| Defect::new(DefectKind::Io, format!("cannot be read: {e}"));
    let mut file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.is_dir() {
        return Err(Defect::new(DefectKind::Io, "is a folder, not a picture"));
    }
    if metadata.len() > limit {
        let limits = DecodeOptions { max_bytes: limit, ..DecodeOptions::default() };
        return Err(limits.too_many_bytes(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    // The limit also covers files that grow, and devices that have no size.
    file.by_ref().take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// The remark about a path whose extension does not match the format.
pub fn misnamed(path: &Path, format: ImageFormat) -> Option<Defect> {
    let extension = path.extension()?.to_str()?;
    if format_of_extension(&extension.to_lowercase()) == Some(format) {
        return None;
    }
    let right = match format.extensions_str().first() {
        Some(right) => format!("; rename it to .{right}"),
        None => String::new(),
    };
    Some(Defect::new(
        DefectKind::Misnamed,
        format!("is named .{extension} but contains {}{right}", name(format)),
    ))
}

pub(crate) fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Avif => "AVIF",
        ImageFormat::Pnm => "PNM",
        ImageFormat::Qoi => "QOI",
        ImageFormat::Tga => "TGA",
        ImageFormat::Ico => "ICO",
        _ => "another picture format",
    }
}

/// Says what a file without a picture's signature contains, as far as its first bytes tell.
fn not_a_picture(bytes: &[u8]) -> Defect {
    let text = bytes.iter().take(512).all(|b| matches!(b, 9 | 10 | 12 | 13 | 32..=126 | 128..));
    let lower = bytes[..bytes.len().min(512)].to_ascii_lowercase();
    let holds = |needle: &[u8]| lower.windows(needle.len()).any(|w| w == needle);
    if let Some(brand) = heif_brand(bytes) {
        return Defect::new(
            DefectKind::Unsupported,
            format!(
                "is {} {brand} picture, which is not supported: convert it to JPEG or PNG",
                if brand.starts_with('A') { "an" } else { "a" }
            ),
        );
    }
    let found = if bytes.iter().all(|b| *b == 0) {
        "it holds only zeros"
    } else if bytes.starts_with(b"%PDF") {
        "it is a PDF document"
    } else if bytes.starts_with(b"PK\x03\x04") {
        "it is a zip archive or an office document"
    } else if text && (holds(b"<svg")) {
        "it is an SVG drawing"
    } else if text && (holds(b"<html") || holds(b"<!doctype")) {
        "it is a web page, perhaps a failed download"
    } else if bytes.starts_with(b"version https://git-lfs") {
        "it is a pointer of Git LFS to the file: fetch the files with git lfs pull"
    } else if text {
        "it is text"
    } else {
        "its first bytes match no known format"
    };
    Defect::new(DefectKind::NotAPicture, format!("is not a picture: {found}"))
}

fn heif_brand(bytes: &[u8]) -> Option<&'static str> {
    match (bytes.get(4..8)?, bytes.get(8..12)?) {
        (b"ftyp", b"heic" | b"heix" | b"hevc" | b"hevx" | b"mif1" | b"msf1") => Some("HEIC"),
        (b"ftyp", b"avif" | b"avis") => Some("AVIF"),
        _ => None,
    }
}

/// Whether the first bytes are those of a picture that can be decoded.
pub fn looks_like_picture(head: &[u8]) -> bool {
    match image::guess_format(head) {
        // Text may begin with the two letters that are PNM's signature.
        Ok(ImageFormat::Pnm) => head.get(2).is_some_and(u8::is_ascii_whitespace),
        Ok(format) => is_supported(format),
        Err(_) => false,
    }
}

/// Whether a header is that of a TGA file.
fn is_tga(bytes: &[u8]) -> bool {
    let Some([_, colours, kind, _, _, _, _, _, _, _, _, _, w0, w1, h0, h1, depth, _]) =
        bytes.first_chunk::<18>()
    else {
        return false;
    };
    let palette = matches!(kind, 1 | 9);
    matches!(kind, 1..=3 | 9..=11)
        && *colours == u8::from(palette)
        && matches!(depth, 8 | 15 | 16 | 24 | 32)
        && [*w0, *w1] != [0, 0]
        && [*h0, *h1] != [0, 0]
}

fn is_supported(format: ImageFormat) -> bool {
    matches!(
        format,
        ImageFormat::Jpeg
            | ImageFormat::Png
            | ImageFormat::WebP
            | ImageFormat::Gif
            | ImageFormat::Bmp
            | ImageFormat::Tiff
            | ImageFormat::Pnm
            | ImageFormat::Qoi
            | ImageFormat::Tga
            | ImageFormat::Ico
    )
}

/// The format that a lower-case extension stands for, if it can be decoded.
pub fn format_of_extension(extension: &str) -> Option<ImageFormat> {
    match extension {
        // Cameras write several JPEG pictures, of which the first is the one, into an MPO file.
        "jpg" | "jpeg" | "jpe" | "jfif" | "mpo" => Some(ImageFormat::Jpeg),
        "dib" => Some(ImageFormat::Bmp),
        other => ImageFormat::from_extension(other).filter(|f| is_supported(*f)),
    }
}

fn decode_other(
    bytes: &[u8],
    format: ImageFormat,
    options: &DecodeOptions,
) -> Result<(RgbImage, Orientation), Defect> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    // Enough for the widest pixels (four channels of 16 bits) and the decoder's own memory.
    limits.max_alloc = Some(options.max_pixels.saturating_mul(8).saturating_add(64 << 20));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| defect(format, bytes, &e))?;
    let (width, height) = decoder.dimensions();
    options.check_size(width, height)?;
    // A broken EXIF block does not make a picture unusable.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).map_err(|e| defect(format, bytes, &e))?;
    Ok((to_rgb(picture), orientation))
}

/// The best picture of an icon, deepest first and then largest, if it is a PNG file: `image` reads
/// those only with an alpha channel.
fn png_in_icon(bytes: &[u8]) -> Option<&[u8]> {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
    let count = usize::from(u16::from_le_bytes(*bytes.get(4..)?.first_chunk()?));
    let (entries, _) = bytes.get(6..)?.as_chunks::<16>();
    let score = |entry: &&[u8; 16]| {
        // 0 means 256.
        let side = |byte: u8| u32::from(byte.wrapping_sub(1)) + 1;
        (u16::from_le_bytes([entry[6], entry[7]]), side(entry[0]) * side(entry[1]))
    };
    // Of equals, the first.
    let best = entries.iter().take(count).rev().max_by_key(score)?;
    let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| best[at + i])) as usize;
    let content = bytes.get(number(12)..)?.get(..number(8))?;
    content.starts_with(PNG).then_some(content)
}

/// Any picture as RGB over white.
fn to_rgb(picture: DynamicImage) -> RgbImage {
    match picture {
        DynamicImage::ImageRgb8(picture) => picture,
        other if matches!(other.color(), ColorType::L8 | ColorType::L16 | ColorType::Rgb16) => {
            other.into_rgb8()
        }
        other if other.color().has_alpha() => over_white(&other.into_rgba8()),
        other => other.into_rgb8(),
    }
}

/// A picture in front of white, as files with transparency are decoded.
pub fn over_white(picture: &RgbaImage) -> RgbImage {
    let mut out = RgbImage::new(picture.width(), picture.height());
    for (to, from) in out.as_chunks_mut::<3>().0.iter_mut().zip(picture.as_chunks::<4>().0) {
        let [r, g, b, a] = from.map(u32::from);
        // (c·a + 255·(255 − a)) / 255, rounded.
        *to = [r, g, b].map(|c| ((c * a + 255 * (255 - a) + 127) / 255) as u8);
    }
    out
}

fn upright(pixels: RgbImage, orientation: Orientation) -> RgbImage {
    if orientation == Orientation::NoTransforms {
        return pixels;
    }
    let mut picture = DynamicImage::ImageRgb8(pixels);
    picture.apply_orientation(orientation);
    picture.into_rgb8()
}

fn defect(format: ImageFormat, bytes: &[u8], error: &ImageError) -> Defect {
    let format_name = name(format);
    if format == ImageFormat::Tiff
        && let Some(kind) = tiff::unusual(bytes)
    {
        let reason = format!("is TIFF with {kind}, which is not supported: save it as PNG or JPEG");
        return Defect::new(DefectKind::Unsupported, reason);
    }
    match error {
        ImageError::Unsupported(_) => Defect::new(
            DefectKind::Unsupported,
            format!(
                "is {format_name} of a kind that is not supported ({error}): save it as {FORMATS}"
            ),
        ),
        ImageError::Limits(limit)
            if matches!(
                limit.kind(),
                LimitErrorKind::InsufficientMemory | LimitErrorKind::DimensionError
            ) =>
        {
            Defect::new(DefectKind::TooLarge, format!("is too large: {error}"))
        }
        _ if ends_early(error) => {
            Defect::new(DefectKind::Truncated, format!("the {format_name} is truncated: {error}"))
        }
        _ => Defect::new(DefectKind::Corrupt, format!("the {format_name} is damaged: {error}")),
    }
}

/// Whether a decoder ran out of bytes. Decoders bury this in their own errors, at worst in the
/// text.
fn ends_early(error: &ImageError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::UnexpectedEof
        {
            return true;
        }
        cause = error.source();
    }
    let words = error.to_string().to_lowercase();
    ["unexpected end", "unexpected eof", "end of file", "failed to fill"]
        .iter()
        .any(|w| words.contains(w))
}
