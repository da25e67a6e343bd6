use unicode_normalization::UnicodeNormalization;

/// What two names of a class have in common if they differ only in their Unicode form, in case or
/// in surrounding blanks: composed (NFC), in lower case and without blanks. A single letter keeps
/// its case: `A` and `a` are different characters to recognise.
pub fn class_key(name: &str) -> String {
    let composed: String = name.trim().nfc().collect();
    if composed.chars().count() == 1 { composed } else { composed.to_lowercase() }
}
