//! Splits that the paths of a list of pictures say.

use std::collections::{BTreeMap, BTreeSet};

use taper_core::Split;
use taper_data::class_key;

use crate::{
    sets::listed,
    splits::{is_plain, split_named},
};

/// What paths say about splits.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// No word for a split, or none that means one.
    Nothing,
    /// The split of each picture, and what says it, for a message.
    Splits(Vec<Split>, String),
    /// Words for splits that are not in all paths, and a path without one.
    Partly(String, String),
}

/// What the paths of pictures say, given as path and label: the first folder with the name of a
/// split, or else the name of the file. Folders that everything lies in do not count, and neither
/// do names that go with a label each: those are classes such as `train` and `test tube`.
pub fn splits_of_paths(pictures: &[(&str, &str)]) -> Said {
    let folders: Vec<Vec<&str>> = pictures.iter().map(|(path, _)| folders_of(path)).collect();
    let shared = shared(&folders);
    let in_folders: Vec<Option<&str>> = folders
        .iter()
        .map(|own| own[shared..].iter().copied().find(|name| split_named(name).is_some()))
        .collect();
    if in_folders.iter().any(Option::is_some) {
        return judge(pictures, &in_folders, "the folders");
    }
    let in_names: Vec<Option<&str>> = pictures.iter().map(|(path, _)| word_of_file(path)).collect();
    match judge(pictures, &in_names, "the file names") {
        // A word in some names may mean anything.
        Said::Partly(..) => Said::Nothing,
        said => said,
    }
}

fn folders_of(path: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    parts.retain(|part| !matches!(*part, "" | "." | ".."));
    parts
}

/// How many folders at the beginning are the same in all paths.
fn shared(folders: &[Vec<&str>]) -> usize {
    let Some(first) = folders.first() else { return 0 };
    let same = |own: &Vec<&str>| own.iter().zip(first).take_while(|(a, b)| a == b).count();
    folders.iter().map(same).min().unwrap_or(0)
}

/// The word for a split at the beginning or the end of a file's name.
fn word_of_file(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let words = || stem.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    [words().next(), words().next_back()].into_iter().flatten().find(|word| is_plain(word))
}

fn judge(pictures: &[(&str, &str)], names: &[Option<&str>], what: &str) -> Said {
    let mut labels: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for ((_, label), name) in pictures.iter().zip(names) {
        if let Some(name) = name {
            labels.entry(name).or_default().insert(class_key(label));
        }
    }
    let kinds: BTreeSet<Split> = labels.keys().filter_map(|name| split_named(name)).collect();
    let different: BTreeSet<&String> = labels.values().flatten().collect();
    let single = labels.values().all(|own| own.len() == 1);
    let are_classes = single && (kinds.len() < 2 || different.len() == labels.len());
    let without = names.iter().position(Option::is_none);
    if are_classes || (kinds.len() < 2 && without.is_none()) {
        return Said::Nothing;
    }
    let told = format!("{what} {}", listed(&labels.keys().collect::<Vec<_>>()));
    match without {
        Some(at) => Said::Partly(told, pictures[at].0.to_owned()),
        None => {
            let splits = names.iter().flatten().filter_map(|name| split_named(name));
            Said::Splits(splits.collect(), told)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Split::{Test, Train, Val};

    fn said(pictures: &[(&str, &str)]) -> Said {
        splits_of_paths(pictures)
    }

    #[test]
    fn folders_and_names_of_files_say_the_splits() {
        for (a, b) in [
            ("train/1.png", "test/1.png"),
            ("x/Training/cat/1.png", "x/holdout/cat/1.png"),
            ("training data/train/1.png", "training data/test/1.png"),
            ("cat/train/1.png", "dog/seg_test/1.png"),
            ("train_1.png", "test_1.png"),
            ("0/1-train.png", "1/1-test.png"),
        ] {
            let pictures = [(a, "cat"), (a, "dog"), (b, "cat")];
            assert!(
                matches!(said(&pictures), Said::Splits(s, _) if s == [Train, Train, Test]),
                "{a}: {:?}",
                said(&pictures)
            );
        }
        let three = [("train/1.png", "a"), ("val/1.png", "a"), ("test/1.png", "b")];
        assert!(matches!(said(&three), Said::Splits(s, _) if s == [Train, Val, Test]));
    }

    #[test]
    fn classes_packaging_and_single_words_are_no_splits() {
        for pictures in [
            [("train/1.png", "train"), ("bus/1.png", "bus"), ("test tube/1.png", "tube")],
            [("train/1.png", "a"), ("train/2.png", "b"), ("train/3.png", "a")],
            [("a/1.png", "a"), ("b/2.png", "b"), ("c/contest.png", "a")],
            [("test_1.png", "a"), ("2.png", "b"), ("test_3.png", "b")],
            [("test tube/1.png", "a"), ("test paper/2.png", "a"), ("pen/3.png", "b")],
        ] {
            assert_eq!(said(&pictures), Said::Nothing, "{pictures:?}");
        }
        let some = [("train/1.png", "a"), ("test/1.png", "a"), ("more/1.png", "b")];
        assert!(matches!(said(&some), Said::Partly(_, path) if path == "more/1.png"));
    }
}
