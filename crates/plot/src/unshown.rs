//! Letters that no font on the machine has.

use std::{collections::BTreeSet, sync::Mutex};

use unicode_script::Script;

static UNSHOWN: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// Takes note of a letter that is drawn as a box.
pub(crate) fn note(letter: char, script: Script) {
    let (what, font) = match script {
        Script::Han | Script::Hiragana | Script::Katakana | Script::Hangul | Script::Bopomofo => {
            ("Chinese, Japanese and Korean".to_owned(), "Noto Sans CJK".to_owned())
        }
        Script::Common | Script::Inherited => {
            ("emoji and symbols".to_owned(), "Noto Color Emoji".to_owned())
        }
        Script::Unknown => (format!("U+{:04X}", u32::from(letter)), String::new()),
        script => {
            let name = script.full_name().replace('_', " ");
            let font = format!("Noto Sans {name}");
            (name, font)
        }
    };
    // What cannot be remembered is not said.
    if let Ok(mut unshown) = UNSHOWN.lock() {
        unshown.insert((what, font));
    }
}

/// What to say about letters that were drawn as boxes so far, since no font on the machine has
/// them: their scripts, and which fonts do.
pub fn unshown() -> Option<String> {
    const SHOWN: usize = 4;
    let unshown = UNSHOWN.lock().ok()?;
    let listed = |names: Vec<&str>| {
        let more = names.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        names[..names.len().min(SHOWN)].join(", ") + &more
    };
    let scripts: Vec<&str> = unshown.iter().map(|(what, _)| what.as_str()).collect();
    if scripts.is_empty() {
        return None;
    }
    let fonts: Vec<&str> =
        unshown.iter().map(|(_, font)| font.as_str()).filter(|font| !font.is_empty()).collect();
    let remedy = match fonts.is_empty() {
        true => "no font is known to have them".to_owned(),
        false => format!(
            "install fonts for them, such as {} (in Debian and Ubuntu: fonts-noto)",
            listed(fonts)
        ),
    };
    Some(format!(
        "no font on this machine has the letters of {}, which figures show as boxes with their numbers: {remedy}",
        listed(scripts)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_without_a_font_are_named_once() {
        for (letter, script) in
            [('ግ', Script::Ethiopic), ('ዕ', Script::Ethiopic), ('த', Script::Tamil)]
        {
            note(letter, script);
        }
        let said = unshown().unwrap();
        // Other tests of this process note other scripts, which may come before these.
        assert_eq!(said.matches("Ethiopic").count(), 2, "{said}");
        assert!(said.contains("no font on this machine") && said.contains("fonts-noto"), "{said}");
    }
}
