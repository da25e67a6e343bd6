use unicode_normalization::UnicodeNormalization;

/// What two names of a class have in common if they differ only in their Unicode form, in case, in
/// blanks around them, in the kind of blanks within them, or in characters without any width:
/// composed (NFC), in lower case, with plain blanks. A single letter keeps its case: `A` and `a`
/// are different characters to recognise.
pub fn class_key(name: &str) -> String {
    let visible = name.chars().filter(|c| !is_invisible(*c));
    let plain: String = visible.map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    let composed: String = plain.trim().nfc().collect();
    if composed.chars().count() == 1 { composed } else { composed.to_lowercase() }
}

/// Characters that show nothing and mean nothing: zero-width space, word joiner, byte-order mark,
/// soft hyphen. Those that join letters or emoji are not among them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{ad}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_the_same_has_the_same_key() {
        for [a, b] in
            [["Cat", "cat "], ["a\u{a0}b", "a b"], ["x\u{200b}y", "xy"], ["\u{feff}q1", "q1"]]
        {
            assert_eq!(class_key(a), class_key(b), "{a:?}");
        }
        for [a, b] in [["A", "a"], ["Ma\u{df}e", "Masse"], ["ab", "a b"]] {
            assert_ne!(class_key(a), class_key(b), "{a:?}");
        }
    }
}
