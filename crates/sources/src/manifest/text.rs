//! The encoding and the separator of a table.

use std::borrow::Cow;

use encoding_rs::{UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Bytes as text, without a byte-order mark, and whether the encoding is a guess: UTF-16 with a
/// mark or with a zero in most of the even or odd bytes, UTF-8, or else Windows-1252, in which
/// every byte means something.
pub fn decode(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    if bytes.starts_with(&[0xff, 0xfe]) {
        return (UTF_16LE.decode_with_bom_removal(bytes).0, false);
    }
    if bytes.starts_with(&[0xfe, 0xff]) {
        return (UTF_16BE.decode_with_bom_removal(bytes).0, false);
    }
    // Separators and names of columns are ASCII, which has a zero in every other byte.
    let head = &bytes[..bytes.len().min(4096) & !1];
    let zeros = |first: usize| head.iter().skip(first).step_by(2).filter(|b| **b == 0).count();
    if head.len() >= 4 && 4 * zeros(1) > head.len() && zeros(0) == 0 {
        return (UTF_16LE.decode_without_bom_handling(bytes).0, false);
    }
    if head.len() >= 4 && 4 * zeros(0) > head.len() && zeros(1) == 0 {
        return (UTF_16BE.decode_without_bom_handling(bytes).0, false);
    }
    match str::from_utf8(bytes) {
        // Spreadsheets begin a file with a byte-order mark.
        Ok(text) => (text.trim_start_matches('\u{feff}').into(), false),
        Err(_) => (WINDOWS_1252.decode_without_bom_handling(bytes).0, true),
    }
}

/// The separator that the first line names as spreadsheets do, `sep=;`, and the text behind it.
pub fn told_delimiter(text: &str) -> (Option<u8>, &str) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let first = first.trim_end_matches('\r').trim_matches('"').to_lowercase();
    match first.strip_prefix("sep=").map(str::as_bytes) {
        Some([byte @ (b',' | b';' | b'\t' | b'|' | b':' | b' ')]) => (Some(*byte), rest),
        _ => (None, text),
    }
}

/// The separator that occurs most often in the first line, outside quotation marks: a comma, a
/// semicolon, a tab or a vertical bar. The first of these if there are as many of another one.
pub fn delimiter(text: &str) -> u8 {
    const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
    let (mut counts, mut quoted) = ([0; 4], false);
    for byte in text.lines().next().unwrap_or_default().bytes() {
        if byte == b'"' {
            quoted = !quoted;
        } else if let Some(at) = DELIMITERS.iter().position(|own| *own == byte && !quoted) {
            counts[at] += 1;
        }
    }
    let most = counts.into_iter().max().unwrap_or(0);
    let first = counts.iter().position(|count| *count == most);
    first.map_or(b',', |at| DELIMITERS[at])
}

/// A line of a list without a header: a path, which may contain blanks, and behind the last blank
/// or tab the label.
pub(super) fn path_and_label(line: &str) -> Option<(&str, &str)> {
    let (path, label) = line.trim().rsplit_once([' ', '\t'])?;
    Some((path.trim(), label))
}
