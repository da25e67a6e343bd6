//! Names in archives: encodings, and paths that lead outside.

use std::io::Read;

use encoding_rs::SHIFT_JIS;
use zip::{read::ZipFile, result::ZipError};

/// Whether names are Shift-JIS: those that are not UTF-8 can all be decoded, and most of them have
/// two Japanese characters in a row. CP437's accented letters hardly ever decode to that.
pub(super) fn are_shift_jis(names: &[Vec<u8>]) -> bool {
    let (mut all, mut japanese) = (0, 0);
    for name in names.iter().filter(|name| str::from_utf8(name).is_err()) {
        let (text, _, failed) = SHIFT_JIS.decode(name);
        if failed {
            return false;
        }
        all += 1;
        let characters: Vec<char> = text.chars().collect();
        let in_row = characters.windows(2).any(|pair| pair.iter().all(|c| is_japanese(*c)));
        japanese += usize::from(in_row);
    }
    all > 0 && 2 * japanese > all
}

fn is_japanese(c: char) -> bool {
    matches!(c, '\u{3005}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}' | '\u{ff66}'..='\u{ff9f}')
}

/// The name of an entry. UTF-8 stays; the rest is Shift-JIS if the archive is, else CP437.
pub(super) fn of_zip<R: Read + ?Sized>(
    entry: &ZipFile<'_, R>,
    japanese: bool,
) -> Result<String, ZipError> {
    if japanese && str::from_utf8(entry.name_raw()).is_err() {
        return Ok(SHIFT_JIS.decode(entry.name_raw()).0.into_owned());
    }
    Ok(entry.name()?.into_owned())
}

/// Refuses names that would lead out of the archive.
pub(super) fn check_name(name: &str) -> Result<(), String> {
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

    #[test]
    fn japanese_names_are_told_from_western_ones() {
        let sjis = |text: &str| SHIFT_JIS.encode(text).0.into_owned();
        assert!(are_shift_jis(&[sjis("写真/犬の写真.jpg"), sjis("猫たち/1.jpg")]));
        assert!(are_shift_jis(&[sjis("\u{ff76}\u{ff92}\u{ff97}.jpg")]));
        // CP437: café, Mädchen, Höhe, naïve, ñandú.
        for name in [&b"caf\x82.jpg"[..], b"M\x84dchen", b"H\x94he", b"na\x8bve", b"\xa4and\xa3"] {
            assert!(!are_shift_jis(&[name.to_vec()]), "{name:?}");
        }
        assert!(!are_shift_jis(&["café".as_bytes().to_vec()]));
        assert!(!are_shift_jis(&[]));
    }
}
