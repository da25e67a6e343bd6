//! Folders within folders that are taken as classes.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    folders::{Node, are_called_parts, is_generic, is_neutral},
    sets::listed,
    splits::words_of,
};

/// A class folder and the folders in it, if their names say something.
pub(crate) type Inner<'a> = (&'a str, Vec<&'a str>);

/// The class folders without pictures of their own, and the folders in them.
pub(crate) fn nested<'a>(folders: &BTreeMap<&'a str, &Node<'a>>) -> Vec<Inner<'a>> {
    let all = folders.iter().map(|(name, node)| (*name, within_class(node)));
    all.filter(|(_, inner)| !inner.is_empty()).collect()
}

fn within_class<'a>(node: &Node<'a>) -> Vec<&'a str> {
    let (node, _) = node.innermost();
    let says = |name: &&str| !is_generic(name) && !is_neutral(name);
    match node.is_nested() {
        true => node.folders.keys().copied().filter(says).collect(),
        false => Vec::new(),
    }
}

/// Whether a folder is called like a day, a session, a patient or a clip: one of the parts that
/// pictures of a class are often divided into.
pub(crate) fn is_session(name: &str) -> bool {
    const WORDS: [&str; 36] = [
        "s", "session", "sess", "day", "date", "week", "month", "year", "patient", "pat",
        "subject", "subj", "sub", "person", "user", "clip", "video", "vid", "seq", "sequence",
        "scene", "shot", "cam", "camera", "view", "take", "run", "trial", "visit", "series",
        "frame", "frames", "site", "slide", "case", "scan",
    ];
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let is_date = match digits(name) {
        // 2021, 2021-05, 2021_05_01.
        4 => name.starts_with("19") || name.starts_with("20"),
        // 210501, 20210501, 20210501_1200.
        6 | 8 => true,
        _ => false,
    };
    let words = words_of(name);
    let is_word = |word: &String| WORDS.contains(&&**word);
    is_date || (name.contains(|c: char| c.is_ascii_digit()) && words.iter().any(is_word))
}

/// Why it cannot be told whether the outer or the inner folders are the classes: the outer ones are
/// called like parts of one set, as in `part1/0` and `part2/1`.
pub(crate) fn of_parts(
    folders: &BTreeMap<&str, &Node<'_>>,
    nested: &[Inner<'_>],
    within: &str,
    settle: &str,
) -> Option<String> {
    let inner: BTreeSet<&str> =
        nested.iter().flat_map(|(_, inner)| inner.iter().copied()).collect();
    if nested.len() < folders.len() || inner.len() < 2 || !are_called_parts(folders) {
        return None;
    }
    let outer: Vec<String> = folders.keys().map(|name| format!("{within}{name}")).collect();
    Some(format!(
        "cannot tell what the classes are: the folders {} are called like parts of one set, and contain folders, {}: give `label_from` '([^/]+)/[^/]+$' if the inner folders are the classes, or set {settle} if the outer ones are",
        listed(&outer),
        listed(&inner.into_iter().collect::<Vec<_>>())
    ))
}

/// A remark about classes that are made of several folders.
pub(crate) fn merged(
    folders: &BTreeMap<&str, &Node<'_>>,
    nested: &[Inner<'_>],
    within: &str,
) -> Option<String> {
    let flat: Vec<&str> =
        folders.iter().filter(|(_, node)| !node.is_nested()).map(|(name, _)| *name).collect();
    // Sessions, patients and days are parts of a class.
    let may_be_class =
        |name: &&str| !is_session(name) || (!flat.is_empty() && name.contains(char::is_alphabetic));
    let likely: Vec<&Inner<'_>> = match flat.is_empty() {
        true => nested.iter().filter(|(_, inner)| inner.iter().all(may_be_class)).collect(),
        false => nested.iter().filter(|(_, inner)| inner.iter().any(may_be_class)).collect(),
    };
    let (first, more) = (likely.first()?, likely.len() - 1);
    let more = if more > 0 { format!(", and those in {more} more") } else { String::new() };
    let shown = format!("{} in '{within}{}'{more}", listed(&first.1), first.0);
    if flat.is_empty() {
        return (likely.iter().map(|(_, inner)| inner.len()).sum::<usize>() >= 2).then(|| {
            format!(
                "the folders {shown} are merged into the class that they lie in; if the inner folders are the classes, give `label_from` '([^/]+)/[^/]+$'"
            )
        });
    }
    Some(format!(
        "the folders {shown} are merged into the class that they lie in, while {} beside it {} pictures directly in it; if the inner folders are classes, move them up",
        listed(&flat),
        if flat.len() == 1 { "has" } else { "have" },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_known_by_their_names() {
        for name in ["2021-05", "20210501", "2021", "s1", "day 2", "Patient07", "cam_3", "clip12"] {
            assert!(is_session(name), "{name}");
        }
        for name in ["0", "12", "007", "class1", "n01440764", "cat", "type 2", "scene"] {
            assert!(!is_session(name), "{name}");
        }
    }
}
