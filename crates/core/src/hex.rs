/// A SHA-256.
pub type Digest = [u8; 32];

/// Bytes as lower-case hexadecimal digits, the way digests are written.
///
/// ```
/// assert_eq!(taper_core::hex(&[0, 0x1f, 0xff]), "001fff");
/// ```
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Whether a text is a SHA-256 as [`hex`] writes it: 64 lower-case hexadecimal digits.
///
/// ```
/// assert!(taper_core::is_sha256(&"0a".repeat(32)));
/// assert!(!taper_core::is_sha256(&"0A".repeat(32)));
/// ```
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
