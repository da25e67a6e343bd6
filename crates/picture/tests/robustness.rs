//! Damaged bytes: a picture or a defect comes back, never a panic, and a cut JPEG is never taken
//! for a whole one.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs, path::PathBuf};

use taper_picture::{DecodeOptions, DefectKind, decode};

fn pictures() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/reference/pictures");
    let mut pictures: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect();
    pictures.sort();
    assert!(pictures.len() > 30);
    pictures
}

#[test]
fn a_picture_cut_anywhere_is_an_error_or_complete() {
    for (name, bytes) in pictures() {
        let whole = decode(&bytes, &DecodeOptions::default()).unwrap().pixels;
        for end in 0..bytes.len() {
            match decode(&bytes[..end], &DecodeOptions::default()) {
                Err(defect) => assert!(!defect.reason.is_empty()),
                // Some formats end with bytes that no pixel depends on.
                Ok(cut) => assert!(
                    !name.ends_with(".jpg") && cut.pixels == whole,
                    "{name}, {end} of {} bytes: taken for a whole picture",
                    bytes.len()
                ),
            }
        }
    }
}

#[test]
fn half_a_picture_is_reported_as_truncated() {
    for (name, bytes) in pictures().into_iter().filter(|(name, _)| name.ends_with(".jpg")) {
        let defect = decode(&bytes[..bytes.len() / 2], &DecodeOptions::default()).unwrap_err();
        assert_eq!(defect.kind, DefectKind::Truncated, "{name}: {defect}");
    }
}

#[test]
fn what_follows_a_picture_does_no_harm() {
    for (name, bytes) in pictures() {
        let whole = decode(&bytes, &DecodeOptions::default()).unwrap().pixels;
        for extra in [&[0u8; 40][..], b"\xff\xd8\xff\xe0 another one begins", b"GARBAGE"] {
            let longer = [&bytes, extra].concat();
            let read = decode(&longer, &DecodeOptions::default())
                .unwrap_or_else(|defect| panic!("{name}: {defect}"));
            assert_eq!(read.pixels, whole, "{name}");
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    for (name, bytes) in pictures() {
        let step = (bytes.len() / 120).max(1);
        for at in (0..bytes.len()).step_by(step) {
            for value in [bytes[at] ^ 0xff, bytes[at].wrapping_add(1), 0] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let outcome = std::panic::catch_unwind(|| {
                    // If a flipped bit makes the size too large, it is refused; 4 million pixels
                    // keep the test fast.
                    let options = DecodeOptions { max_pixels: 4_000_000, ..Default::default() };
                    let _ = decode(&damaged, &options);
                });
                assert!(outcome.is_ok(), "{name}: byte {at} as {value:#x}");
            }
        }
    }
}

#[test]
fn a_huge_header_is_refused_without_allocating() {
    // The first 33 bytes of a PNG of 60,000 × 60,000 RGB pixels, with a correct checksum, and a
    // data chunk to come.
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02\0\0\0".to_vec();
    png.extend(crc32(&png[12..]).to_be_bytes());
    png.extend(b"\0\0\0\x10IDAT");
    png.extend([0; 32]);
    let before = peak_memory();
    let defect = decode(&png, &DecodeOptions::default()).unwrap_err();
    assert_eq!(defect.kind, DefectKind::TooLarge, "{defect}");
    assert!(defect.reason.contains("60000 × 60000"), "{defect}");
    assert!(peak_memory() - before < 100 << 20);
    // The same as JPEG, whose sides have 16 bits.
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/reference/pictures");
    let mut jpeg = fs::read(folder.join("444.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    let defect = decode(&jpeg, &DecodeOptions::default()).unwrap_err();
    assert_eq!(defect.kind, DefectKind::TooLarge, "{defect}");
    assert!(peak_memory() - before < 100 << 20);
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8)
            .fold(crc ^ u32::from(*byte), |c, _| (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg()))
    })
}

/// Peak resident memory of this process in bytes; 0 where /proc does not exist, so that the test
/// still checks the rest.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).map_or(0, |n| n.parse::<u64>().unwrap() << 10)
}

#[test]
fn what_is_no_picture_is_named() {
    let kind = |bytes: &[u8]| decode(bytes, &DecodeOptions::default()).unwrap_err();
    for (bytes, expected, word) in [
        (&b""[..], DefectKind::Empty, "empty"),
        (b"<!DOCTYPE html><html></html>", DefectKind::NotAPicture, "web page"),
        (b"just a note", DefectKind::NotAPicture, "text"),
        (b"%PDF-1.7 ...", DefectKind::NotAPicture, "PDF"),
        (b"PK\x03\x04....", DefectKind::NotAPicture, "zip"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", DefectKind::Unsupported, "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", DefectKind::Unsupported, "AVIF"),
        (&[0; 64], DefectKind::NotAPicture, "zeros"),
        (b"\x01\x02\x03\x04\x05\x06", DefectKind::NotAPicture, "no known format"),
    ] {
        let defect = kind(bytes);
        assert_eq!(defect.kind, expected, "{defect}");
        assert!(defect.reason.contains(word), "{defect}");
    }
}

#[test]
fn an_icon_may_hold_a_png_without_alpha() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/reference/pictures");
    let png = fs::read(folder.join("rgb.png")).unwrap();
    // A header that says one picture of 24 bits, whose content follows at once.
    let mut icon = vec![0, 0, 1, 0, 1, 0, 48, 48, 0, 0, 1, 0, 24, 0];
    icon.extend(u32::try_from(png.len()).unwrap().to_le_bytes());
    icon.extend(22_u32.to_le_bytes());
    icon.extend(&png);
    let options = DecodeOptions::default();
    let decoded = decode(&icon, &options).unwrap();
    assert_eq!(decoded.pixels, decode(&png, &options).unwrap().pixels);
    for end in 0..icon.len() {
        if let Ok(cut) = decode(&icon[..end], &options) {
            assert_eq!(cut.pixels, decoded.pixels);
        }
    }
}
