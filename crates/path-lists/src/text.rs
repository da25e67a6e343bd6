//! The encoding and the separator of a table.

use std::{borrow::Cow, path::Path};

use encoding_rs::{UTF_16BE, UTF_16LE, WINDOWS_1252};
use taper_picture::format_of_extension;

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

/// The lines of a list without a header, with their numbers: without blank ones and comments.
pub fn entries(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let is_entry = |line: &str| !line.is_empty() && !line.starts_with('#');
    (1..).zip(text.lines().map(str::trim)).filter(move |(_, line)| is_entry(line))
}

/// A line of a list without a header: a path, which may contain blanks, and behind the last blank
/// or tab the label, if there is one.
pub fn path_and_label(line: &str) -> (&str, Option<&str>) {
    let line = line.trim();
    match line.rsplit_once([' ', '\t']) {
        Some((path, label)) if !is_picture(label) => (path.trim(), Some(label)),
        _ => (line, None),
    }
}

/// The path in a line of a list, without a label behind it.
pub fn path_of_line(line: &str) -> &str {
    match path_and_label(line) {
        (path, Some(_)) if is_picture(path) => path,
        _ => line.trim(),
    }
}

/// Whether a path has the extension of a picture.
pub fn is_picture(path: &str) -> bool {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|own| format_of_extension(&own.to_lowercase()).is_some())
}

/// The numbers of lines, for records that come one after the other.
#[derive(Debug)]
pub struct LineNumbers<'a> {
    text: &'a str,
    at: usize,
    line: u64,
}

impl<'a> LineNumbers<'a> {
    /// Of the records of this text.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line at which a record begins, from 1.
    pub fn of(&mut self, position: Option<&csv::Position>) -> u64 {
        let at = position.map_or(0, |position| position.byte() as usize).min(self.text.len());
        // The end of the line before may still precede it.
        let bytes = self.text.as_bytes();
        let ends = bytes[at..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let at = at + ends;
        if at >= self.at {
            let passed = bytes[self.at..at].iter().filter(|byte| **byte == b'\n').count();
            (self.at, self.line) = (at, self.line + passed as u64);
        }
        self.line
    }
}
