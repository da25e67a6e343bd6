//! Texts as parts of HTML. Names come from folders and may contain anything.

use crate::thousands;

/// A text for use between tags and within quoted attributes. Controls that HTML does not allow
/// become U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || is_noncharacter(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A name for use between tags: one that is written from right to left does not pull the words
/// around it along.
pub(super) fn name(text: &str) -> String {
    format!("<bdi>{}</bdi>", escape(&closed(text)))
}

/// A name for use within a sentence of an attribute, not yet escaped.
pub(super) fn isolated(text: &str) -> String {
    taper_plot::isolated(&closed(text))
}

/// A name without characters that would end its isolation or turn letters around; a word for one
/// that shows nothing. Names that are isolated within it stay so.
fn closed(text: &str) -> String {
    if text.trim().is_empty() {
        return "(no name)".into();
    }
    let mut letters: Vec<char> = text.chars().collect();
    let mut begun = Vec::new();
    for (at, letter) in letters.iter_mut().enumerate() {
        match *letter {
            '\u{2068}' => begun.push(at),
            '\u{2069}' if begun.pop().is_some() => {}
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => *letter = '\u{fffd}',
            _ => {}
        }
    }
    // One that does not end would take along what comes after the name.
    for at in begun {
        letters[at] = '\u{fffd}';
    }
    letters.into_iter().collect()
}

/// Paragraphs, which empty lines separate.
pub(super) fn paragraphs(text: &str, class: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let text = text.replace("\r\n", "\n");
    let parts = text.split("\n\n").map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| format!("<p{class}>{}</p>\n", escape(part))).collect()
}

/// `4.1 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * share)
}

/// `1 picture`, `2 pictures`.
pub(super) fn pictures(n: u64) -> String {
    format!("{} picture{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// Such as U+FFFE, which no document may contain.
fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe
}
