//! Names in archives: encodings, and paths that lead outside.

use encoding_rs::SHIFT_JIS;

/// What the names of a zip archive are written in. One archive has one encoding: its names are
/// judged together, since a short one alone may make sense in several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Encoding {
    Utf8,
    /// Guessed for so many names.
    ShiftJis(usize),
    Cp437(usize),
}

impl Encoding {
    /// The encoding of names that are not ASCII.
    pub(crate) fn of(names: &[Vec<u8>]) -> Self {
        let old: Vec<&[u8]> =
            names.iter().map(Vec::as_slice).filter(|n| str::from_utf8(n).is_err()).collect();
        match old.len() {
            0 => Self::Utf8,
            count if are_shift_jis(&old) => Self::ShiftJis(count),
            count => Self::Cp437(count),
        }
    }

    /// A name as text. UTF-8 stays; `cp437` decodes the rest if it is that.
    pub(crate) fn decode<E>(
        &self,
        raw: &[u8],
        cp437: impl FnOnce() -> Result<String, E>,
    ) -> Result<String, E> {
        match (self, str::from_utf8(raw)) {
            (_, Ok(name)) => Ok(name.to_owned()),
            (Self::ShiftJis(..), Err(_)) => Ok(SHIFT_JIS.decode(raw).0.into_owned()),
            (_, Err(_)) => cp437(),
        }
    }

    /// What was guessed.
    pub(crate) fn remark(&self) -> Option<String> {
        let (count, encoding) = match self {
            Self::Utf8 => return None,
            Self::ShiftJis(count) => (count, "Shift-JIS"),
            Self::Cp437(count) => (count, "CP437"),
        };
        Some(format!(
            "the names of {count} member(s) of the zip archive are not UTF-8 and are read as {encoding}"
        ))
    }
}

/// Whether all names are Shift-JIS: they decode to Japanese and ASCII, and what speaks for Japanese
/// outweighs what speaks for Western names in CP437, whose accented letters often decode to a kanji
/// too, but among Latin letters.
fn are_shift_jis(names: &[&[u8]]) -> bool {
    let (mut japanese, mut western) = (0, 0);
    for name in names {
        let (text, _, failed) = SHIFT_JIS.decode(name);
        if failed || !text.chars().all(is_admissible) {
            return false;
        }
        for part in text.split(['/', '\\']) {
            match speaks_for(part) {
                Some(true) => japanese += 1,
                Some(false) => western += 1,
                None => {}
            }
        }
    }
    japanese > western
}

/// Whether a part of a path speaks for Shift-JIS (true) or against it.
fn speaks_for(part: &str) -> Option<bool> {
    let characters: Vec<char> = part.chars().collect();
    if characters.windows(2).any(|pair| pair.iter().all(|c| is_japanese(*c))) {
        return Some(true);
    }
    let latin = |at: Option<usize>| {
        at.and_then(|at| characters.get(at)).is_some_and(char::is_ascii_alphabetic)
    };
    let (mut alone, mut among) = (false, false);
    for (at, c) in characters.iter().enumerate().filter(|(_, c)| is_japanese(**c)) {
        // As an accented letter and the Latin one behind it would decode.
        let within = second_is_letter(*c) && (latin(at.checked_sub(1)) || latin(Some(at + 1)));
        among |= within;
        // The rarer kanji begin with bytes that are capital letters in CP437.
        alone |= !within && is_common(*c);
    }
    if among { Some(false) } else { alone.then_some(true) }
}

/// Whether a character is a kanji of the first level of JIS X 0208, which has the frequent ones.
fn is_common(c: char) -> bool {
    let mut buffer = [0; 4];
    let (bytes, _, _) = SHIFT_JIS.encode(c.encode_utf8(&mut buffer));
    let [lead, trail] = *bytes else { return false };
    (0x889f..=0x9872).contains(&u16::from_be_bytes([lead, trail]))
}

fn second_is_letter(c: char) -> bool {
    let mut buffer = [0; 4];
    let (bytes, _, _) = SHIFT_JIS.encode(c.encode_utf8(&mut buffer));
    bytes.get(1).is_some_and(u8::is_ascii_alphabetic)
}

fn is_japanese(c: char) -> bool {
    matches!(c, '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}'
        | '\u{ff66}'..='\u{ff9f}')
}

/// Japanese, ASCII, and the punctuation and wide letters that Japanese names have.
fn is_admissible(c: char) -> bool {
    c.is_ascii() || is_japanese(c) || matches!(c, '\u{3000}'..='\u{303f}' | '\u{ff01}'..='\u{ff65}')
}

/// Bytes as text: those that are not UTF-8 as `\xHH`.
pub fn with_escapes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A path in one spelling: without empty parts and dots, `a/x.png` for `./a//x.png`.
pub(crate) fn tidied(name: &str) -> String {
    let parts: Vec<&str> = name.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    parts.join("/")
}

/// Refuses names that would lead out of the archive.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let drive = name.as_bytes().get(1) == Some(&b':');
    if name.starts_with(['/', '\\'])
        || drive
        || name.split(['/', '\\']).any(|part| part == "..")
        || name.contains('\0')
    {
        let name: String = name.chars().take(120).collect();
        return Err(format!(
            "it contains '{}', a path that leads out of the archive: such archives are malicious, and this one is refused",
            name.escape_debug()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_japanese_archive(names: &[Vec<u8>]) -> bool {
        matches!(Encoding::of(names), Encoding::ShiftJis(..))
    }

    #[test]
    fn japanese_names_are_told_from_western_ones() {
        let sjis = |text: &str| SHIFT_JIS.encode(text).0.into_owned();
        assert!(is_japanese_archive(&[sjis("写真/犬の写真.jpg"), sjis("猫たち/1.jpg")]));
        assert!(is_japanese_archive(&[sjis("\u{ff76}\u{ff92}\u{ff97}.jpg")]));
        // Short ones, and the archive decides: all in one encoding.
        for [a, b] in [["犬", "猫"], ["山", "川"], ["女", "男"], ["鳥", "魚"], ["犬", "dog犬"]]
        {
            let names = [sjis(&format!("{a}/1.jpg")), sjis(&format!("{b}/2.jpg"))];
            assert!(is_japanese_archive(&names), "{a} {b}");
            let remark = Encoding::of(&names).remark().unwrap();
            assert!(remark.contains("2 member(s)") && remark.contains("Shift-JIS"), "{remark}");
        }
        // CP437: café, Mädchen, Höhe, naïve, ñandú, Öl, Käse, Straße, Ähre, weiß.
        for name in [
            &b"caf\x82.jpg"[..],
            b"M\x84dchen",
            b"H\x94he",
            b"na\x8bve",
            b"\xa4and\xa3",
            b"\x99l/1.jpg",
            b"K\x84se/1.jpg",
            b"Stra\xe1e/1.jpg",
            b"\x8ehre/1.jpg",
            b"wei\xe1/1.jpg",
        ] {
            assert!(!is_japanese_archive(&[name.to_vec()]), "{name:?}");
        }
        let german = [b"H\x94he/1.jpg".to_vec(), b"\x99l/2.jpg".to_vec()];
        assert!(Encoding::of(&german).remark().unwrap().contains("CP437"));
        assert_eq!(Encoding::of(&["café".as_bytes().to_vec()]), Encoding::Utf8);
        assert_eq!(Encoding::of(&[]).remark(), None);
    }
}
