//! Several labels for one picture: refused by that name, in every kind of table.

use std::collections::{BTreeSet, HashMap, HashSet};

/// The message.
pub fn refusal(label: &str) -> String {
    format!(
        "{label} are several labels for one picture (multi-label), which is not supported: keep one label for each picture, or write a single name without the separator, such as red_panda"
    )
}

/// A list of a single label is that label: `["cat"]`, `['cat']`.
pub fn single(label: String) -> String {
    let inner = label.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let Some(inner) = inner.filter(|inner| !inner.contains(',')) else { return label };
    let quoted = |quote: char| inner.trim().strip_prefix(quote)?.strip_suffix(quote);
    match quoted('"').or_else(|| quoted('\'')) {
        // numpy separates items with blanks.
        Some(inner) if !inner.trim().is_empty() && !inner.contains(['"', '\'']) => {
            inner.trim().to_owned()
        }
        _ => label,
    }
}

/// What people put between several labels, and names hardly contain: whether one part that occurs
/// in another label too is enough.
const SEPARATORS: [char; 7] = ['|', ';', ',', ' ', '+', '&', '/'];

/// A label that is several, if any of these is; `column` is the name of their column. It is one of:
///
/// - a list in brackets;
/// - names between `|` or `;` of which one occurs in another label too;
/// - names between commas of which one is also a class of its own, or of which one is part of most
///   labels when all are such lists;
/// - names between blanks, `+`, `&` or `/` of which every one is also a class of its own;
/// - numbers between blanks, when all labels are numbers;
/// - words between blanks, when all labels are made of a few words: fewer than there are labels, in
///   labels of three lengths or more, or in a column called `tags` or `labels`.
pub fn several<'a>(labels: impl Iterator<Item = &'a str>, column: Option<&str>) -> Option<&'a str> {
    let classes: BTreeSet<&str> = labels.map(str::trim).filter(|l| !l.is_empty()).collect();
    let mut uses: HashMap<(char, &str), usize> = HashMap::new();
    for class in &classes {
        for separator in SEPARATORS {
            for part in parts(class, separator) {
                *uses.entry((separator, part)).or_default() += 1;
            }
        }
    }
    // A blank behind the comma is how names are written: Smith, Ann.
    let is_list = |class: &&str| !parts(class, ',').is_empty() && !class.contains(", ");
    let lists = classes.len() > 1 && classes.iter().all(is_list);
    let combines = Combinations::of(&classes, column);
    let frequent = |part: &str| 2 * uses[&(',', part)] > classes.len();
    classes.iter().copied().find(|class| {
        let is_several = |separator: char| {
            let parts = parts(class, separator);
            match separator {
                '|' | ';' => {
                    parts.iter().any(|part| classes.contains(part) || uses[&(separator, *part)] > 1)
                }
                ',' => parts.iter().any(|part| classes.contains(part) || (lists && frequent(part))),
                _ => {
                    let known = parts.iter().all(|part| classes.contains(part));
                    !parts.is_empty() && (known || (separator == ' ' && combines.0))
                }
            }
        };
        is_bracketed(class) || SEPARATORS.into_iter().any(is_several)
    })
}

/// The parts of a label, if there are several.
fn parts(class: &str, separator: char) -> Vec<&str> {
    let parts: Vec<&str> = match separator {
        ' ' => class.split_whitespace().collect(),
        _ => class.split(separator).map(str::trim).collect(),
    };
    if parts.len() < 2 || parts.contains(&"") { Vec::new() } else { parts }
}

/// A list as programs print it: `['a', 'b']`, `["a" "b"]`, `[0 1]`, `{'a', 'b'}`, `('a', 'b')`.
fn is_bracketed(class: &str) -> bool {
    let within = |open: char, close: char| class.strip_prefix(open)?.strip_suffix(close);
    if let Some(inner) = within('[', ']') {
        return inner.contains(',') || inner.split_whitespace().count() > 1;
    }
    let inner = within('{', '}').or_else(|| within('(', ')'));
    inner.is_some_and(|inner| inner.contains(',') && inner.contains(['\'', '"']))
}

/// Whether labels with blanks are combinations of a few words.
struct Combinations(bool);

impl Combinations {
    fn of(classes: &BTreeSet<&str>, column: Option<&str>) -> Self {
        let split: Vec<Vec<&str>> =
            classes.iter().map(|class| class.split_whitespace().collect()).collect();
        if split.iter().all(|words| words.len() < 2) {
            return Self(false);
        }
        let words: HashSet<&str> = split.iter().flatten().copied().collect();
        let is_number = |word: &&str| word.parse::<f64>().is_ok();
        if words.iter().all(is_number) {
            return Self(true);
        }
        // In another order, it is the same combination.
        let mut orders = split.clone();
        orders.iter_mut().for_each(|words| words.sort_unstable());
        orders.sort();
        orders.dedup();
        if orders.len() < split.len() {
            return Self(true);
        }
        let lengths: HashSet<usize> = split.iter().map(Vec::len).collect();
        let plural = column.map(str::to_lowercase).is_some_and(|name| {
            ["tags", "labels", "attributes", "keywords"].iter().any(|own| name.ends_with(own))
        });
        // Names bring a new word each: golden retriever, flat-coated retriever.
        let few = split.len() >= 4 && words.len() < split.len();
        Self(few && (plural || lengths.len() >= 3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_several(labels: &[&str]) -> bool {
        several(labels.iter().copied(), Some("label")).is_some()
    }

    #[test]
    fn combinations_of_labels_are_several() {
        for labels in [
            &["scab", "rust", "scab rust"][..],
            &["healthy", "scab frog_eye complex", "scab", "complex", "frog_eye"],
            &["1 3", "2", "3"],
            &["16 0", "7 1 2 0"],
            &["a b", "b a", "c"],
            &["cat+dog", "dog", "cat"],
            &["cat & dog", "dog", "cat"],
            &["cat/dog", "dog", "cat"],
            &["a|b", "b|c"],
            &["a;b", "b"],
            &["a,b", "b"],
            &["['cat' 'dog']", "['cat']"],
            &["[0 1 0]", "[1 0 0]"],
            &["{'a', 'b'}", "a"],
            &[
                "clear primary",
                "haze primary",
                "clear primary water",
                "haze water",
                "clear road primary water",
                "haze road primary",
                "clear road",
            ],
        ] {
            assert!(is_several(labels), "{labels:?}");
        }
        let tags = ["red big", "red small", "blue big", "blue small", "red dark", "blue dark"];
        assert!(several(tags.into_iter(), Some("tags")).is_some());
    }

    #[test]
    fn names_of_several_words_are_one_label() {
        for labels in [
            &["golden retriever", "labrador retriever", "flat coated retriever", "pug"][..],
            &["red circle", "red square", "blue circle", "blue square", "green circle"],
            &["Smith, Ann", "Smith, Bob"],
            &["red panda", "panda"],
            &["Audi A4 2012", "Audi A6 2012", "BMW M3 2012"],
            &["AC/DC", "Guns & Roses"],
            &["(new, old)", "x"],
            &["1", "2", "3"],
        ] {
            assert!(!is_several(labels), "{labels:?}");
        }
    }

    #[test]
    fn a_list_of_one_is_its_label() {
        for label in ["['cat']", "[\"cat\"]", "cat", "[ 'cat' ]"] {
            assert_eq!(single(label.into()), "cat");
        }
        assert_eq!(single("['a' 'b']".into()), "['a' 'b']");
    }
}
