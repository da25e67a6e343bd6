//! Properties from a file's header.

use serde::Serialize;

/// How a file stores colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ColourMode {
    /// One channel.
    Grey,
    /// One channel and alpha.
    GreyAlpha,
    /// Three channels.
    Rgb,
    /// Three channels and alpha.
    Rgba,
    /// Indices into a table of colours.
    Palette,
    /// Four channels of ink.
    Cmyk,
    /// A format whose header is not examined.
    Other,
}

impl ColourMode {
    /// The name in answers.
    pub fn name(self) -> &'static str {
        match self {
            ColourMode::Grey => "grey",
            ColourMode::GreyAlpha => "grey-alpha",
            ColourMode::Rgb => "rgb",
            ColourMode::Rgba => "rgba",
            ColourMode::Palette => "palette",
            ColourMode::Cmyk => "cmyk",
            ColourMode::Other => "other",
        }
    }
}

/// The colour mode of an encoded picture: JPEG by its frame header, PNG by `IHDR`, GIF always a
/// palette, WebP by its alpha flag.
pub(crate) fn colour_mode(bytes: &[u8]) -> ColourMode {
    if bytes.starts_with(b"\xff\xd8") {
        return match jpeg_components(bytes) {
            Some(1) => ColourMode::Grey,
            Some(3) => ColourMode::Rgb,
            Some(4) => ColourMode::Cmyk,
            _ => ColourMode::Other,
        };
    }
    if bytes.starts_with(b"\x89PNG") {
        return match bytes.get(25) {
            Some(0) => ColourMode::Grey,
            Some(2) => ColourMode::Rgb,
            Some(3) => ColourMode::Palette,
            Some(4) => ColourMode::GreyAlpha,
            Some(6) => ColourMode::Rgba,
            _ => ColourMode::Other,
        };
    }
    if bytes.starts_with(b"GIF8") {
        return ColourMode::Palette;
    }
    match (bytes.get(8..16), bytes.get(20)) {
        (Some(b"WEBPVP8X"), Some(flags)) if flags & 0x10 != 0 => ColourMode::Rgba,
        (Some(b"WEBPVP8X" | b"WEBPVP8 "), _) => ColourMode::Rgb,
        // Lossless: 14 bits of width, 14 of height, then the alpha hint, from byte 21.
        (Some(b"WEBPVP8L"), _) => match bytes.get(24) {
            Some(byte) if byte & 0x10 != 0 => ColourMode::Rgba,
            _ => ColourMode::Rgb,
        },
        _ => ColourMode::Other,
    }
}

fn jpeg_components(bytes: &[u8]) -> Option<u8> {
    // Every start-of-frame marker, without the three other markers in the same range.
    let is_frame =
        |marker: u8| (0xc0..=0xcf).contains(&marker) && ![0xc4, 0xc8, 0xcc].contains(&marker);
    let (_, frame) = segments(bytes).find(|(marker, _)| is_frame(*marker))?;
    frame.get(5).copied()
}

/// The quantisation tables of a JPEG file, which depend on the program and the quality that it was
/// written with; nothing for other files.
pub(crate) fn quantisation(bytes: &[u8]) -> Vec<u8> {
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return Vec::new();
    }
    segments(bytes)
        .filter(|(marker, _)| *marker == 0xdb)
        .flat_map(|(_, table)| table)
        .copied()
        .collect()
}

/// The segments of a JPEG file that precede its pixels: marker and content.
fn segments(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut at = 2;
    std::iter::from_fn(move || {
        loop {
            while *bytes.get(at)? != 0xff {
                at += 1;
            }
            let marker = *bytes.get(at + 1)?;
            match marker {
                0xff => at += 1,
                0x00 | 0x01 | 0xd0..=0xd8 => at += 2,
                0xd9 | 0xda => return None,
                _ => {
                    let length = bytes.get(at + 2..at + 4)?;
                    let end = at + 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
                    let content = bytes.get(at + 4..end.min(bytes.len())).unwrap_or_default();
                    at = end;
                    return Some((marker, content));
                }
            }
        }
    })
}

/// Whether a file holds more than one frame: GIF, animated WebP, APNG. Only the first is used.
pub(crate) fn is_animated(bytes: &[u8]) -> bool {
    if bytes.starts_with(b"GIF8") {
        return gif_frames(bytes).unwrap_or(1) > 1;
    }
    if bytes.get(8..16) == Some(b"WEBPVP8X") {
        return bytes.get(20).is_some_and(|flags| flags & 0x02 != 0);
    }
    bytes.starts_with(b"\x89PNG") && png_frames(bytes).unwrap_or(1) > 1
}

fn png_frames(bytes: &[u8]) -> Option<u32> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let mut at = 8;
    loop {
        match bytes.get(at + 4..at + 8)? {
            b"acTL" => return number(at + 8),
            b"IDAT" => return Some(1),
            _ => at += 12 + number(at)? as usize,
        }
    }
}

/// The frames of a GIF; stops at the second.
fn gif_frames(bytes: &[u8]) -> Option<u32> {
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let skip_blocks = |mut at: usize| {
        loop {
            match *bytes.get(at)? {
                0 => return Some(at + 1),
                length => at += 1 + usize::from(length),
            }
        }
    };
    let mut at = 13 + table(*bytes.get(10)?);
    let mut frames = 0;
    loop {
        match *bytes.get(at)? {
            0x2c => {
                frames += 1;
                if frames > 1 {
                    return Some(frames);
                }
                at = skip_blocks(at + 11 + table(*bytes.get(at + 9)?))?;
            }
            0x21 => at = skip_blocks(at + 2)?,
            _ => return Some(frames),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pictures that Pillow wrote for the tests of taper-data.
    #[test]
    fn modes_and_animation_of_pillows_files() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../picture/tests/reference/pictures/");
        let cases = [
            ("grey.jpg", ColourMode::Grey, false),
            ("420.jpg", ColourMode::Rgb, false),
            ("progressive.jpg", ColourMode::Rgb, false),
            ("cmyk.jpg", ColourMode::Cmyk, false),
            ("grey.png", ColourMode::Grey, false),
            ("grey-alpha.png", ColourMode::GreyAlpha, false),
            ("rgb.png", ColourMode::Rgb, false),
            ("rgba.png", ColourMode::Rgba, false),
            ("palette.png", ColourMode::Palette, false),
            ("transparent.gif", ColourMode::Palette, false),
            ("animated.gif", ColourMode::Palette, true),
            ("lossy.webp", ColourMode::Rgb, false),
            ("lossless.webp", ColourMode::Rgb, false),
            ("alpha.webp", ColourMode::Rgba, false),
            ("rgb.bmp", ColourMode::Other, false),
        ];
        for (name, mode, animated) in cases {
            let bytes = std::fs::read(format!("{folder}{name}")).unwrap();
            assert_eq!(colour_mode(&bytes), mode, "{name}");
            assert_eq!(is_animated(&bytes), animated, "{name}");
            for end in 0..bytes.len().min(80) {
                // Wherever the file is truncated, there is an answer.
                colour_mode(&bytes[..end]);
                is_animated(&bytes[..end]);
            }
        }
        let bytes = std::fs::read(format!("{folder}animated.webp")).unwrap();
        assert!(is_animated(&bytes));
    }

    #[test]
    fn an_animated_png_is_told_by_its_control_chunk() {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        bytes.extend(b"\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\0\0\0\0");
        let still = [&bytes[..], b"\0\0\0\0IDAT"].concat();
        let animated = [&bytes[..], b"\0\0\0\x08acTL\0\0\0\x02\0\0\0\0\0\0\0\0"].concat();
        assert!(!is_animated(&still));
        assert!(is_animated(&animated));
    }
}
