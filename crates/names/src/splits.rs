//! The split that a name means.

use std::collections::BTreeMap;

use taper_core::Split;

/// The words, as Hugging Face's `datasets` knows them (`data_files.py`), and a few more.
const WORDS: [(&str, Split); 15] = [
    ("train", Split::Train),
    ("training", Split::Train),
    ("val", Split::Val),
    ("valid", Split::Val),
    ("validate", Split::Val),
    ("validation", Split::Val),
    ("dev", Split::Val),
    ("test", Split::Test),
    ("testing", Split::Test),
    ("tests", Split::Test),
    ("eval", Split::Test),
    ("evaluate", Split::Test),
    ("evaluation", Split::Test),
    ("holdout", Split::Test),
    ("heldout", Split::Test),
];

/// What people write behind the word without a separator: `traindata`, `testset`.
const ENDINGS: [&str; 16] = [
    "data", "dataset", "datasets", "set", "sets", "image", "images", "img", "imgs", "pic", "pics",
    "picture", "pictures", "photos", "split", "files",
];

/// The split that a word in small letters means.
pub fn split_of_word(word: &str) -> Option<Split> {
    let of = |word: &str| WORDS.iter().find(|(own, _)| *own == word).map(|(_, split)| *split);
    of(word).or_else(|| ENDINGS.iter().filter_map(|e| word.strip_suffix(e)).find_map(of))
}

/// The split that a name means: one of the words above, in any case of letters, alone or between
/// separators (anything that is neither a letter nor a digit), digits, or changes from small to
/// capital letters: `Training`, `seg_train`, `rps-test-set`, `train2017`, `TestImages`, `hold_out`;
/// also with a word for pictures behind it, as in `traindata` and `testset`. None if there is no
/// such word, or words of different splits, as in `train_val`.
pub fn split_named(name: &str) -> Option<Split> {
    let words = words_of(name);
    let mut found: Option<Split> = None;
    let pairs = words.windows(2).map(|pair| format!("{}{}", pair[0], pair[1]));
    let held_out = pairs.filter(|pair| matches!(pair.as_str(), "holdout" | "heldout"));
    for word in words.iter().cloned().chain(held_out) {
        let Some(split) = split_of_word(&word) else { continue };
        if found.is_some_and(|before| before != split) {
            return None;
        }
        found = Some(split);
    }
    found
}

/// What is left of a name without the words for splits, if it names one: `cat` of `train_cat`.
pub fn without_split(name: &str) -> Option<(Split, String)> {
    let split = split_named(name)?;
    let mut words = words_of(name);
    words.retain(|word| split_of_word(word).is_none());
    Some((split, words.join(" ")))
}

/// Two names that differ only in the split that they name: `train_cat` and `test_cat`.
pub fn told_apart_by_splits<'a>(
    names: impl IntoIterator<Item = &'a str>,
) -> Option<(&'a str, &'a str)> {
    let mut seen: BTreeMap<String, (Split, &str)> = BTreeMap::new();
    for name in names {
        let Some((split, rest)) = without_split(name) else { continue };
        let (first, other) = *seen.entry(rest).or_insert((split, name));
        if first != split {
            return Some((other, name));
        }
    }
    None
}

/// Whether two names differ only in numbers that both have: `train_1` and `train_2`.
pub fn differ_in_number(a: &str, b: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit();
    let parts = |name: &str| -> Vec<String> {
        name.split(is_digit).filter(|part| !part.is_empty()).map(str::to_lowercase).collect()
    };
    a.contains(is_digit) && b.contains(is_digit) && parts(a) == parts(b)
}

/// Whether a name is a word for a split and nothing else.
pub fn is_plain(name: &str) -> bool {
    split_of_word(&name.to_lowercase()).is_some()
}

/// The split that a part of a name hints at, without being a word of its own: `xtrain`, `mytest`.
/// It says something only of several names together: `contest` alone has nothing to do with splits.
pub fn hints_at_split(name: &str) -> Option<Split> {
    const HINTS: [(&str, Split); 4] = [
        ("train", Split::Train),
        ("valid", Split::Val),
        ("test", Split::Test),
        ("eval", Split::Test),
    ];
    let name = name.to_lowercase();
    HINTS.into_iter().find(|(hint, _)| name.contains(hint)).map(|(_, split)| split)
}

/// The words of a name, in small letters.
pub fn words_of(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut before = ' ';
    for c in name.chars() {
        let new = !c.is_alphabetic() || (before.is_lowercase() && c.is_uppercase());
        if new && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphabetic() {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
