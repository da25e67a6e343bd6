//! Folders that are taken as classes: what speaks against it.

use std::collections::{BTreeMap, BTreeSet};

use taper_data::class_key;

pub use crate::tree::Node;
use crate::{sets::listed, splits::words_of};

/// Names of folders of which none is a class.
const NEUTRAL: [&str; 28] = [
    "images",
    "image",
    "img",
    "imgs",
    "pics",
    "pictures",
    "photos",
    "thumbs",
    "thumbnails",
    "thumbnail",
    "labels",
    "masks",
    "mask",
    "annotations",
    "annotation",
    "segmentation",
    "segmentations",
    "groundtruth",
    "data",
    "dataset",
    "datasets",
    "originals",
    "input",
    "inputs",
    "output",
    "outputs",
    "rejected",
    "duplicates",
];
/// Names of folders that are rarely classes.
const DOUBTFUL: [&str; 36] = [
    "annotated",
    "overlay",
    "overlays",
    "heatmaps",
    "visualizations",
    "augmented",
    "augmentation",
    "augmentations",
    "aug",
    "additional",
    "extra",
    "extras",
    "new",
    "old",
    "backup",
    "bak",
    "copy",
    "sample",
    "samples",
    "example",
    "examples",
    "tmp",
    "temp",
    "results",
    "predictions",
    "unsure",
    "unsorted",
    "trash",
    "rejects",
    "docs",
    "assets",
    "screenshots",
    "cropped",
    "resized",
    "preprocessed",
    "processed",
];
/// Names of folders with pictures that have no label, or are none to learn from.
const UNLABELLED: [&str; 7] =
    ["unlabeled", "unlabelled", "unsupervised", "unsup", "_unsure", "thumbnails", "thumbnail"];
/// Names of folders that say nothing about what is in them.
const GENERIC: [&str; 10] = [
    "images",
    "image",
    "img",
    "imgs",
    "pics",
    "pictures",
    "photos",
    "unknown",
    "unlabeled",
    "unlabelled",
];

/// Whether a folder's name says nothing about what is in it.
pub fn is_generic(name: &str) -> bool {
    GENERIC.contains(&&*name.to_lowercase())
}

/// Whether a folder's name is never that of a class.
pub fn is_neutral(name: &str) -> bool {
    NEUTRAL.contains(&&*name.to_lowercase())
}

/// Whether a folder has pictures that are not to be learned, going by its name.
pub fn is_unlabelled(name: &str) -> bool {
    let is = |word: &str| UNLABELLED.contains(&word);
    let words = words_of(name);
    is(&name.trim().to_lowercase())
        || (words.iter().any(|word| is(word))
            && words.iter().all(|word| is(word) || is_neutral(word)))
}

/// Whether a name is that of what comes with pictures: masks, annotations, thumbnails.
pub fn is_no_picture(name: &str) -> bool {
    const WORDS: [&str; 12] = [
        "thumbs",
        "thumbnails",
        "thumbnail",
        "labels",
        "masks",
        "mask",
        "annotations",
        "annotation",
        "segmentation",
        "segmentations",
        "groundtruth",
        "overlays",
    ];
    words_of(name).iter().any(|word| WORDS.contains(&&**word))
}

/// Whether a word is one that people put to names of copies.
pub fn is_addition(word: &str) -> bool {
    DOUBTFUL.contains(&word)
}

/// Whether every word of a name is one that is rarely a class.
fn is_doubtful(name: &str) -> bool {
    let words = words_of(name);
    let known = |word: &str| NEUTRAL.contains(&word) || DOUBTFUL.contains(&word);
    !words.is_empty() && (words.iter().all(|word| known(word)) || known(&words.concat()))
}

/// Whether folders with these names are classes although one is called [unlabelled](is_unlabelled):
/// only if there would be a single one without it.
pub fn keep_unlabelled(folders: &BTreeMap<&str, &Node<'_>>) -> bool {
    folders.keys().filter(|name| !is_unlabelled(name)).count() < 2
}

/// What is wrong with folders as classes.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// What to say.
    Ambiguous(String),
    /// The data set is this one of them.
    OneDeeper(String),
}

/// Judges folders that are taken as classes and lie in `within`, which is empty or ends with a
/// slash. What may surprise becomes a remark; `settle` says how to have them as classes all the
/// same.
pub fn judge(
    folders: &BTreeMap<&str, &Node<'_>>,
    within: &str,
    settle: &str,
    remarks: &mut Vec<String>,
) -> Result<(), Wrong> {
    if are_parts(folders) {
        remarks.push(format!(
            "the folders {} are used as classes, although they are called like parts of one set of pictures; if they are, give a table with the labels",
            listed(&folders.keys().map(|name| format!("{within}{name}")).collect::<Vec<_>>())
        ));
    }
    let keys: BTreeMap<String, &str> =
        folders.keys().map(|name| (class_key(name), *name)).collect();
    let mut single = Vec::new();
    for (name, node) in folders {
        let own = class_key(name);
        let shared = most_shared(node, &|inner| keys.contains_key(inner) && *inner != own);
        match shared.len() {
            0 => {}
            1 => single.push(format!("{within}{name}")),
            _ => {
                return Err(Wrong::Ambiguous(format!(
                    "cannot tell what the folders are: '{within}{name}' contains folders that are named like the classes beside it, {}, so that it looks like more pictures of these rather than a class: merge its folders into those beside it, move it away, or set {settle} if it is a class",
                    listed(&shared)
                )));
            }
        }
    }
    if !single.is_empty() {
        remarks.push(format!(
            "{}: taken as a class, although a folder in it is named like a class beside it; if it has more pictures of that class, move them there",
            listed(&single)
        ));
    }
    let nested: Vec<(&str, Vec<&str>)> = folders
        .iter()
        .map(|(name, node)| (*name, within_class(node)))
        .filter(|(_, inner)| !inner.is_empty())
        .collect();
    let all_doubtful = folders.len() >= 2 && folders.keys().all(|name| is_doubtful(name));
    if let [(name, inner)] = nested.as_slice()
        && inner.len() >= 2
        && all_doubtful
    {
        return Err(Wrong::OneDeeper((*name).to_owned()));
    }
    remarks.extend(merged(folders, &nested, within));
    let doubtful: Vec<String> = folders
        .keys()
        .filter(|name| is_doubtful(name) || is_unlabelled(name))
        .map(|name| format!("{within}{name}"))
        .collect();
    if !doubtful.is_empty() {
        let (are, rename) = match doubtful.len() {
            1 => ("is used as a class", "rename it or move it away if it isn't one"),
            _ => ("are used as classes", "rename or move away those that aren't any"),
        };
        remarks.push(format!(
            "{} {are}, although the name is rarely that of a class; {rename}",
            listed(&doubtful)
        ));
    }
    let mut misplaced = Vec::new();
    for (name, node) in folders {
        misplaced_in(node, &format!("{within}{name}"), &mut misplaced);
    }
    if !misplaced.is_empty() {
        remarks.push(format!(
            "{}: the pictures count as those of the class that the folder lies in; move away what is no example of it",
            listed(&misplaced)
        ));
    }
    Ok(())
}

/// Whether the folders hold pictures and are called like parts of one set: `images_part_1`,
/// `images_part_2`.
fn are_parts(folders: &BTreeMap<&str, &Node<'_>>) -> bool {
    const PARTS: [&str; 12] = [
        "part", "parts", "batch", "chunk", "shard", "volume", "vol", "set", "subset", "fold",
        "folder", "disc",
    ];
    let mut words = folders.keys().map(|name| words_of(name));
    let Some(first) = words.next().filter(|_| folders.len() >= 2) else { return false };
    let is_part = |word: &String| PARTS.contains(&&**word) || is_neutral(word);
    first.iter().any(is_part)
        && words.all(|other| other == first)
        && folders.iter().all(|(name, node)| {
            name.contains(|c: char| c.is_ascii_digit()) && node.folders.len() <= 1
        })
}

/// Of the folders within one, at any depth, those side by side of which most are as asked.
fn most_shared<'a>(node: &Node<'a>, is: &impl Fn(&String) -> bool) -> Vec<&'a str> {
    let mut most: Vec<&str> =
        node.folders.keys().copied().filter(|name| is(&class_key(name))).collect();
    for inner in node.folders.values() {
        let deeper = most_shared(inner, is);
        if deeper.len() > most.len() {
            most = deeper;
        }
    }
    most
}

/// The folders in a class that has no pictures of its own, if their names say something.
fn within_class<'a>(node: &Node<'a>) -> Vec<&'a str> {
    let (node, _) = node.innermost();
    let says = |name: &&str| {
        name.chars().any(char::is_alphabetic) && !is_generic(name) && !is_neutral(name)
    };
    match node.is_nested() {
        true => node.folders.keys().copied().filter(says).collect(),
        false => Vec::new(),
    }
}

/// A remark about classes that are made of several folders.
fn merged(
    folders: &BTreeMap<&str, &Node<'_>>,
    nested: &[(&str, Vec<&str>)],
    within: &str,
) -> Option<String> {
    let flat: Vec<&str> =
        folders.iter().filter(|(_, node)| !node.is_nested()).map(|(name, _)| *name).collect();
    // Among classes that all have folders, numbered ones are sessions, patients or days.
    let is_named = |inner: &&str| !inner.chars().any(char::is_numeric);
    let shown =
        |(name, inner): &(&str, Vec<&str>)| format!("{} in '{within}{name}'", listed(inner));
    if flat.is_empty() {
        let named: Vec<&(&str, Vec<&str>)> =
            nested.iter().filter(|(_, inner)| inner.iter().all(is_named)).collect();
        if named.iter().map(|(_, inner)| inner.len()).sum::<usize>() < 2 {
            return None;
        }
        let (first, more) = (named[0], named.len() - 1);
        let more = if more > 0 { format!(", and those in {more} more") } else { String::new() };
        return Some(format!(
            "the folders {}{more} are merged into the class that they lie in; if the inner folders are the classes, give `label_from` '([^/]+)/[^/]+$'",
            shown(first)
        ));
    }
    let first = nested.first()?;
    let more = nested.len() - 1;
    let more = if more > 0 { format!(", and those in {more} more") } else { String::new() };
    Some(format!(
        "the folders {}{more} are merged into the class that they lie in, while {} beside it {} pictures directly in it; if the inner folders are classes, move them up",
        shown(first),
        listed(&flat),
        if flat.len() == 1 { "has" } else { "have" },
    ))
}

/// Folders with masks, thumbnails and the like beside the pictures of a class.
fn misplaced_in(node: &Node<'_>, path: &str, found: &mut Vec<String>) {
    const PICTURES: [&str; 14] = [
        "images",
        "image",
        "img",
        "imgs",
        "pics",
        "pictures",
        "photos",
        "data",
        "dataset",
        "datasets",
        "input",
        "inputs",
        "originals",
        "copy",
    ];
    for (name, inner) in &node.folders {
        let path = format!("{path}/{name}");
        let small = name.to_lowercase();
        let alone = node.only_folder().is_some();
        let odd = (is_doubtful(name) || is_unlabelled(name)) && !PICTURES.contains(&&*small);
        if odd && !alone {
            found.push(path);
        } else {
            misplaced_in(inner, &path, found);
        }
    }
}

/// The folders in each folder, below its packaging, by what is the same in all spellings of a name.
fn inner_names<'a>(folders: &BTreeMap<&'a str, &Node<'_>>) -> Vec<(&'a str, BTreeSet<String>)> {
    let below = |node: &Node<'_>| {
        let mut node = node;
        while let Some((_, only)) = node.only_folder() {
            node = only;
        }
        node.folders.keys().map(|name| class_key(name)).collect()
    };
    folders.iter().map(|(name, node)| (*name, below(node))).collect()
}

/// The folders that have two folders or more in common with another one.
pub fn alike<'a>(folders: &BTreeMap<&'a str, &Node<'_>>) -> Vec<&'a str> {
    let inner = inner_names(folders);
    let has_partner = |(name, own): &&(&'a str, BTreeSet<String>)| {
        inner.iter().any(|(other, theirs)| other != name && own.intersection(theirs).count() >= 2)
    };
    let small = |(name, own): &(&'a str, BTreeSet<String>), found: &[&str]| {
        // Part of a class list, such as a test split that lacks most classes.
        !own.is_empty()
            && inner.iter().any(|(other, theirs)| found.contains(other) && own.is_subset(theirs))
            && !found.contains(name)
    };
    let mut found: Vec<&str> = inner.iter().filter(has_partner).map(|(name, _)| *name).collect();
    let more: Vec<&str> =
        inner.iter().filter(|one| small(one, &found)).map(|(name, _)| *name).collect();
    found.extend(more);
    found.sort_unstable();
    found
}

/// Folders that have a folder of the same name in them, and that name, unless it says nothing, as
/// `images` in `n01/images` and `n02/images`.
pub fn in_common<'a>(folders: &BTreeMap<&'a str, &Node<'_>>) -> Option<(Vec<&'a str>, String)> {
    let mut holders: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (name, node) in folders {
        let mut node = *node;
        while node.is_nested() {
            for inner in node.folders.keys() {
                holders.entry(class_key(inner)).or_default().insert(*name);
            }
            match node.only_folder() {
                Some((_, only)) => node = only,
                None => break,
            }
        }
    }
    holders.into_iter().find_map(|(inner, names)| {
        let generic = is_generic(&inner) || is_neutral(&inner);
        (names.len() > 1 && !generic).then(|| (names.into_iter().collect(), inner))
    })
}
