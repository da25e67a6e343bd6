//! One class under several spellings of its name.

use std::collections::{BTreeMap, HashMap, HashSet};

use taper_data::class_key;
use unicode_normalization::UnicodeNormalization;

use crate::{
    folders::is_addition,
    sets::listed,
    splits::{told_apart_by_splits, without_split, words_of},
};

/// The names to change so that those that differ only in their Unicode form, in case or in
/// surrounding blanks are the same: the most frequent spelling, composed (NFC) and without blanks.
/// `names` has the class of each picture. Also returns what was united, one remark for each class.
///
/// Single letters keep their case: `A` and `a` are two characters to be recognised, not two
/// spellings.
pub fn unite<'a>(names: impl Iterator<Item = &'a str>) -> (HashMap<String, String>, Vec<String>) {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let mut classes: BTreeMap<String, Vec<(String, usize)>> = BTreeMap::new();
    for (name, count) in counts {
        classes.entry(class_key(name)).or_default().push((name.to_owned(), count));
    }
    let mut remarks = Vec::new();
    let mut names: HashMap<String, String> = HashMap::new();
    for mut spellings in classes.into_values() {
        spellings.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let name: String = spellings[0].0.trim().nfc().collect();
        if spellings.len() > 1 {
            remarks.push(remark(&name, &spellings));
        }
        for (spelling, _) in spellings {
            if spelling != name {
                names.insert(spelling, name.clone());
            }
        }
    }
    (names, remarks)
}

/// Remarks about names of classes that may be none, or one instead of two; `count` gives the number
/// of pictures of a class.
pub fn doubts(names: &[String], count: impl Fn(&str) -> usize) -> Vec<String> {
    let mut remarks = Vec::new();
    for name in names.iter().filter(|name| is_missing(name)) {
        let count = count(name);
        remarks.push(format!(
            "'{name}' is used as a class, with {count} picture(s), although programs write it where there is no value; if it means that there is no label, leave these pictures out"
        ));
    }
    for name in names.iter().filter(|name| name.contains(char::is_control)) {
        remarks.push(format!(
            "the class name '{}' contains control characters, shown here as escapes",
            name.escape_default()
        ));
    }
    let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in names {
        let plain: String = name.nfkc().filter(|c| !is_joiner(*c)).collect();
        alike.entry(class_key(&plain)).or_default().push(name);
    }
    // Single letters and digits may be what is to be recognised.
    for names in alike.into_values().filter(|all| all.len() > 1) {
        if names.iter().all(|name| name.chars().count() == 1) {
            continue;
        }
        let shown: Vec<String> = names
            .iter()
            .map(|name| format!("'{}'", name.chars().map(compatible).collect::<String>()))
            .collect();
        remarks.push(format!(
            "the class names {} are equal but for characters that mean the same (Unicode NFKC) or show nothing, and are {} classes; if they are one, give them one name",
            shown.join(" and "),
            names.len()
        ));
    }
    remarks.extend(near(names));
    remarks.extend(combined(names));
    remarks.extend(numbered(names));
    if let Some((a, b)) = told_apart_by_splits(names.iter().map(String::as_str))
        // `train` beside `test` may be classes.
        && without_split(a).is_some_and(|(_, rest)| !rest.is_empty())
    {
        remarks.push(format!(
            "the class names '{a}' and '{b}' differ only in the name of a split, and are classes of their own; if they are one class in two splits, give them one name, and say the splits by folders or by a column"
        ));
    }
    remarks
}

/// A remark about names that differ only in a number, as `cat_1` and `cat_2`: unless it is what
/// counts, as in `type 1` and `type 2`.
fn numbered(names: &[String]) -> Option<String> {
    const COUNTED: [&str; 25] = [
        "class", "type", "kind", "category", "label", "grade", "stage", "level", "degree",
        "person", "subject", "player", "id", "digit", "number", "no", "group", "cluster",
        "species", "variant", "version", "model", "size", "step", "phase",
    ];
    let mut found: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for name in names.iter().filter(|name| name.contains(|c: char| c.is_ascii_digit())) {
        let mut words = words_of(name);
        // As Teachable Machine names its folders: Class 1-samples.
        if words.len() > 1 && words.last().is_some_and(|last| last == "samples") {
            words.pop();
        }
        let counts = |word: &String| COUNTED.contains(&&**word) || word.chars().count() < 2;
        if words.last().is_some_and(|last| !counts(last)) {
            found.entry(words.join(" ")).or_default().push(name);
        }
    }
    found.retain(|_, names| names.len() > 1);
    let first = found.values().next()?;
    let more = found.len() - 1;
    let more = if more > 0 { format!(", and those of {more} more,") } else { String::new() };
    Some(format!(
        "the class names {}{more} differ only in numbers, and are classes of their own; if a number only tells pictures of one class apart, give them one name",
        listed(first)
    ))
}

/// A remark about names that are made of those of other classes: `cat_dog` and `cat and dog` beside
/// `cat` and `dog`.
fn combined(names: &[String]) -> Option<String> {
    const SEPARATORS: [&str; 9] = [" and ", "_and_", "_", "-", " ", "+", "&", ",", ";"];
    let all: HashSet<&str> = names.iter().map(String::as_str).collect();
    let is_combined = |name: &&String| {
        SEPARATORS.iter().any(|separator| {
            name.contains(separator) && name.split(separator).all(|part| all.contains(part.trim()))
        })
    };
    let found: Vec<&String> = names.iter().filter(is_combined).collect();
    (!found.is_empty()).then(|| {
        let (are, stand) = if found.len() == 1 { ("is", "it stands") } else { ("are", "they stand") };
        format!(
            "{} {are} made of the names of other classes, and used as a class; if {stand} for several labels of one picture (multi-label), that is not supported",
            listed(&found)
        )
    })
}

/// A remark about names that are almost the same: `cat (1)`, `cat - Copy` and `cats` beside `cat`,
/// `golden_retriever` beside `golden retriever`.
fn near(names: &[String]) -> Option<String> {
    let singular = |word: &String| word.strip_suffix('s').unwrap_or(word).to_owned();
    let key = |words: &[String]| words.iter().map(singular).collect::<String>();
    let words: Vec<Vec<String>> = names.iter().map(|name| words_of(name)).collect();
    // Numbers tell classes apart: type 1, type 2.
    let is_numbered = |name: &str| name.contains(char::is_numeric);
    let mut plain: HashMap<String, &str> = HashMap::new();
    let mut found = Vec::new();
    for (name, words) in names.iter().zip(&words).filter(|(name, _)| !is_numbered(name)) {
        let key = key(words);
        if key.chars().count() < 2 {
            continue;
        }
        match plain.get(&key) {
            Some(first) => found.push(format!("'{name}' and '{first}'")),
            None => {
                plain.insert(key, name);
            }
        }
    }
    for (name, words) in names.iter().zip(&words) {
        // `cat_part2`, but not `car part` beside `car`.
        let added =
            |word: &String| is_addition(word) || (is_numbered(name) && word.as_str() == "part");
        let rest: Vec<String> = words.iter().filter(|word| !added(word)).cloned().collect();
        if (rest.len() < words.len() || is_numbered(name))
            && let Some(first) = plain.get(&key(&rest))
        {
            found.push(format!("'{name}' and '{first}'"));
        }
    }
    let mut numbers: HashMap<u64, &str> = HashMap::new();
    for name in names {
        let number = name.parse::<f64>().ok().filter(|number| number.is_finite());
        if let Some(first) = number.and_then(|number| numbers.insert(number.to_bits(), name)) {
            found.push(format!("'{name}' and '{first}'"));
        }
    }
    let more = found.len().saturating_sub(3);
    let more = if more > 0 { format!(" and {more} more pairs") } else { String::new() };
    (!found.is_empty()).then(|| {
        found.truncate(3);
        format!(
            "the class names {}{more} are almost the same, and are classes of their own; give one name to those that are one class",
            found.join(", ")
        )
    })
}

/// What programs write for a value that is missing.
fn is_missing(name: &str) -> bool {
    const WORDS: [&str; 12] = [
        "na",
        "n/a",
        "#n/a",
        "<na>",
        "nan",
        "null",
        "<null>",
        "undefined",
        "?",
        "-",
        "--",
        "\u{2013}",
    ];
    WORDS.contains(&name.trim().to_lowercase().as_str())
}

/// Characters that join or vary others, and show nothing by themselves.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
}

/// A character with its code point, if it stands for others or shows nothing by itself.
fn compatible(c: char) -> String {
    if c.nfkc().eq([c]) && !is_joiner(c) {
        c.to_string()
    } else {
        format!("{c}\\u{{{:x}}}", u32::from(c))
    }
}

fn remark(name: &str, spellings: &[(String, usize)]) -> String {
    let listed: Vec<String> = spellings
        .iter()
        .map(|(spelling, count)| format!("{} ({count} pictures)", shown(spelling)))
        .collect();
    let distinct = |of: fn(&str) -> String| {
        let mut all: Vec<String> = spellings.iter().map(|(spelling, _)| of(spelling)).collect();
        all.sort();
        all.dedup();
        all.len() > 1
    };
    let mut differences = Vec::new();
    let plain = |s: &str| -> String {
        let blanks = s.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
        blanks.filter(|c| !is_unseen(*c)).collect()
    };
    // Without blanks and in one Unicode form, only case is left.
    if spellings.iter().any(|(s, _)| {
        plain(s).trim().nfc().collect::<String>()
            != plain(&spellings[0].0).trim().nfc().collect::<String>()
    }) {
        differences.push("case");
    }
    if distinct(|s| s.chars().filter(|c| is_unseen(*c)).collect()) {
        differences.push("characters that cannot be seen");
    }
    if spellings.iter().any(|(s, _)| s.trim() != s) {
        differences.push("surrounding blanks");
    }
    if spellings.iter().any(|(s, _)| !s.nfc().eq(s.chars())) {
        differences.push("Unicode form (composed or decomposed)");
    }
    format!(
        "the class names {} differ only in {} and are one class, '{name}'",
        listed.join(" and "),
        differences.join(" and ")
    )
}

/// A name with everything visible that would otherwise look the same: combining marks as code
/// points.
fn shown(name: &str) -> String {
    if name.nfc().eq(name.chars()) && !name.chars().any(is_unseen) {
        return format!("'{name}'");
    }
    let escaped: String = name
        .chars()
        .map(|c| if c.is_ascii() || c.is_alphanumeric() { c.into() } else { escape(c) })
        .collect();
    format!("'{escaped}'")
}

/// Characters without a width, and blanks that are not the usual one.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{ad}') || (c.is_whitespace() && c != ' ')
}

fn escape(c: char) -> String {
    format!("\\u{{{:x}}}", u32::from(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn united(names: &[&str]) -> (Vec<String>, Vec<String>) {
        let (changed, remarks) = unite(names.iter().copied());
        let of = |name: &&str| changed.get(*name).map_or(*name, String::as_str).to_owned();
        (names.iter().map(of).collect(), remarks)
    }

    #[test]
    fn spellings_of_one_name_are_one_class_and_the_remark_says_what_differs() {
        let (names, remarks) = united(&["Cat", "cat", "cat", "dog"]);
        assert_eq!(names, ["cat", "cat", "cat", "dog"]);
        assert!(remarks[0].contains("'Cat' (1 pictures)") && remarks[0].contains("only in case"));
        let (names, remarks) = united(&["caf\u{e9}", "cafe\u{301}", "caf\u{e9}"]);
        assert_eq!(names, ["caf\u{e9}"; 3]);
        assert!(remarks[0].contains("Unicode form") && remarks[0].contains("\\u{301}"));
        assert!(!remarks[0].contains("case"), "{}", remarks[0]);
        let (names, remarks) = united(&[" dog", "dog", "dog "]);
        assert_eq!(names, ["dog"; 3]);
        assert!(remarks[0].contains("surrounding blanks"), "{}", remarks[0]);
        let (names, remarks) = united(&["a\u{a0}b", "a b", "a b", "a\u{200b} b"]);
        assert_eq!(names, ["a b"; 4]);
        assert!(remarks[0].contains("cannot be seen") && remarks[0].contains("\\u{a0}"));
        assert!(!remarks[0].contains("case"), "{}", remarks[0]);
        let (_, remarks) = united(&[" dog", "dog", "dog "]);
        assert!(!remarks[0].contains("case"), "{}", remarks[0]);
    }

    #[test]
    fn single_letters_keep_their_case_and_a_single_spelling_is_no_remark() {
        assert_eq!(united(&["A", "a"]), (vec!["A".into(), "a".into()], vec![]));
        assert_eq!(united(&["e\u{301}t\u{e9}"]).0, ["\u{e9}t\u{e9}"]);
        assert!(united(&["x ", "y"]).1.is_empty());
    }
}
