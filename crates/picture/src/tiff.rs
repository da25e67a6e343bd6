//! What is unusual about a TIFF file that cannot be decoded.

/// What the first picture of a TIFF file has that few decoders know: a compression, a colour space
/// or a kind of numbers, by name (TIFF 6.0 and its supplements). None if nothing is unusual, or the
/// file is damaged.
pub(crate) fn unusual(bytes: &[u8]) -> Option<String> {
    let little = match bytes.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let two = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    };
    let long = |at: usize| {
        let four = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) })
    };
    let first = long(4)? as usize;
    let mut found = Vec::new();
    for entry in 0..usize::from(short(first)?) {
        let at = first.checked_add(2 + 12 * entry)?;
        let (Some(tag), Some(count)) = (short(at), long(at + 4)) else { break };
        // Two numbers fit into the entry itself; more are elsewhere.
        let value = match count {
            0..=2 => short(at + 8)?,
            _ => long(at + 8).and_then(|place| short(place as usize))?,
        };
        match (tag, value) {
            (259, value) => found.extend(compression(value)),
            (262, 3) => found.push("a palette".into()),
            (262, 5) => found.push("CMYK colours".into()),
            (262, 6) => found.push("YCbCr colours".into()),
            (262, 8 | 9) => found.push("CIELAB colours".into()),
            (277, 2) => found.push("transparency beside grey".into()),
            (339, 2) => found.push("signed numbers".into()),
            (339, 3) => found.push("floating-point numbers".into()),
            (258, bits) if ![1, 2, 4, 8, 16].contains(&bits) => {
                found.push(format!("{bits} bits per channel"));
            }
            _ => {}
        }
    }
    (!found.is_empty()).then(|| found.join(" and "))
}

fn compression(value: u16) -> Option<String> {
    Some(match value {
        // None, LZW, deflate, PackBits, and JPEG are known.
        1 | 5 | 7 | 8 | 32773 | 32946 => return None,
        2..=4 => "CCITT fax compression".into(),
        6 => "old-style JPEG compression".into(),
        33003 | 33005 | 34712 => "JPEG 2000 compression".into(),
        34676 | 34677 => "SGI LogLuv compression".into(),
        34925 => "LZMA compression".into(),
        50000 => "Zstandard compression".into(),
        50001 => "WebP compression".into(),
        50002 => "JPEG XL compression".into(),
        other => format!("compression {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with these tags, each of one short number.
    fn file(tags: &[(u16, u16)], little: bool) -> Vec<u8> {
        let short = |n: u16| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        let long = |n: u32| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        let mut bytes: Vec<u8> = if little { b"II*\0".into() } else { b"MM\0*".into() };
        bytes.extend(long(8));
        bytes.extend(short(tags.len() as u16));
        for (tag, value) in tags {
            bytes.extend(short(*tag));
            bytes.extend(short(3));
            bytes.extend(long(1));
            bytes.extend(short(*value));
            bytes.extend([0; 2]);
        }
        bytes
    }

    #[test]
    fn unusual_kinds_have_names() {
        for little in [true, false] {
            let of = |tags: &[(u16, u16)]| unusual(&file(tags, little));
            assert_eq!(of(&[(259, 4)]).unwrap(), "CCITT fax compression");
            assert_eq!(of(&[(277, 2)]).unwrap(), "transparency beside grey");
            assert_eq!(of(&[(259, 34712), (262, 2)]).unwrap(), "JPEG 2000 compression");
            let both = of(&[(258, 32), (259, 1), (339, 3)]).unwrap();
            assert_eq!(both, "32 bits per channel and floating-point numbers");
            assert_eq!(of(&[(258, 8), (259, 5), (262, 2)]), None);
        }
        assert_eq!(unusual(b"II*\0"), None);
        assert_eq!(unusual(b"no"), None);
    }
}
