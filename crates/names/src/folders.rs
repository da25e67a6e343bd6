//! Folders that are taken as classes: what speaks against it.

use std::collections::{BTreeMap, BTreeSet};

use taper_data::class_key;

pub use crate::tree::Node;
use crate::{
    inner::{self, is_session},
    sets::listed,
    splits::{split_of_word, words_of},
};

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
/// Names of folders for pictures that nobody has sorted, or that are there for something else than
/// learning. Some may be classes all the same.
const UNSORTED: [&str; 49] = [
    "predict",
    "predicted",
    "prediction",
    "pred",
    "preds",
    "query",
    "queries",
    "gallery",
    "inference",
    "infer",
    "submission",
    "submissions",
    "todo",
    "tosort",
    "nolabel",
    "nolabels",
    "unclassified",
    "uncategorized",
    "uncategorised",
    "unassigned",
    "unannotated",
    "untagged",
    "undefined",
    "unprocessed",
    "unchecked",
    "pending",
    "inbox",
    "misc",
    "miscellaneous",
    "various",
    "rest",
    "all",
    "everything",
    "neuerordner",
    "nouveaudossier",
    "nuevacarpeta",
    "nuovacartella",
    "toclassify",
    "toreview",
    "tolabel",
    "notsorted",
    "folder",
    "untitled",
    "deleted",
    "removed",
    "unknown",
    "other",
    "others",
    "raw",
];
/// Words that say no more beside one of these, or beside a word for a split.
const BESIDE: [&str; 24] = [
    "my",
    "our",
    "the",
    "final",
    "external",
    "real",
    "competition",
    "challenge",
    "hold",
    "out",
    "to",
    "for",
    "classify",
    "label",
    "review",
    "not",
    "sorted",
    "labeled",
    "labelled",
    "be",
    "yet",
    "set",
    "images",
    "unlabelled",
];
/// Names of folders with pictures that have no label, or are none to learn from.
const UNLABELLED: [&str; 7] =
    ["unlabeled", "unlabelled", "unsupervised", "unsup", "_unsure", "thumbnails", "thumbnail"];
/// Words for a part of a set.
const PARTS: [&str; 13] = [
    "part", "parts", "batch", "chunk", "shard", "volume", "vol", "set", "subset", "fold", "folder",
    "disc", "lot",
];
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

/// The folder with the labelled pictures, if all others beside it are called as those without
/// labels are: `labeled/CLASS/…` beside `unlabeled/…`.
pub fn labelled_part<'n, 'a>(root: &'n Node<'a>) -> Option<(&'a str, &'n Node<'a>)> {
    const WORDS: [&str; 3] = ["labeled", "labelled", "supervised"];
    let is_labelled = |name: &str| {
        let words = words_of(name);
        let is = |word: &String| WORDS.contains(&&**word);
        words.iter().any(is) && words.iter().all(|word| is(word) || is_neutral(word))
    };
    let mut others = root.folders.keys().filter(|name| !is_labelled(name)).peekable();
    let found = root.folders.iter().filter(|(name, _)| is_labelled(name));
    let [(name, node)] = found.collect::<Vec<_>>()[..] else { return None };
    let is_part = others.peek().is_some() && others.all(|name| is_unlabelled(name));
    (is_part && root.is_nested() && node.is_nested()).then_some((*name, node))
}

/// Where the classes of a split are.
#[derive(Debug)]
pub struct WithinSplit<'n, 'a> {
    /// The folder that holds their folders.
    pub node: &'n Node<'a>,
    /// How many folders lie between it and the split's.
    pub depth: usize,
    /// If that is the folder of the labelled pictures, beside others: its name, and the number of
    /// folders between the one that it lies in and the split's.
    pub labelled: Option<(usize, &'a str)>,
}

impl<'n, 'a> WithinSplit<'n, 'a> {
    /// Looks below the packaging, and into `labeled` beside `unlabeled` if asked for.
    pub fn of(split: &'n Node<'a>, labelled_alone: bool) -> Self {
        let (node, depth) = split.without_split_packaging();
        match labelled_part(node).filter(|_| labelled_alone) {
            Some((name, part)) => {
                let (node, more) = part.without_split_packaging();
                Self { node, depth: depth + 1 + more, labelled: Some((depth, name)) }
            }
            None => Self { node, depth, labelled: None },
        }
    }
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
    const COPIED: [&str; 12] = [
        "of",
        "kopie",
        "von",
        "copie",
        "de",
        "copia",
        "di",
        "kopia",
        "conflicted",
        "conflict",
        "duplicate",
        "dup",
    ];
    DOUBTFUL.contains(&word) || COPIED.contains(&word) || split_of_word(word).is_some()
}

/// Whether every word of a name is one that is rarely a class.
fn is_doubtful(name: &str) -> bool {
    let words = words_of(name);
    let lists: [&[&str]; 3] = [&NEUTRAL, &DOUBTFUL, &UNSORTED];
    let known = |word: &str| lists.iter().any(|list| list.contains(&word));
    let is_split = |word: &str| split_of_word(word).is_some();
    // `final_test`, `to_predict`: said of pictures that are for something else.
    let may_be = |word: &str| known(word) || is_split(word) || BESIDE.contains(&word);
    !words.is_empty()
        && (words.iter().all(|word| known(word))
            || known(&words.concat())
            || (words.iter().all(|word| may_be(word))
                && words.iter().any(|word| known(word) || is_split(word))
                && words.len() > 1))
}

/// Whether folders are called by days, months or years, or by sessions, persons and places.
fn are_sessions(folders: &BTreeMap<&str, &Node<'_>>) -> bool {
    let is = |name: &&str| is_session(name) || is_day(name) || is_lettered(name);
    folders.len() >= 2 && folders.keys().all(is)
}

/// `May 2021`, `Monday`, `01.05.2021`.
fn is_day(name: &str) -> bool {
    const DAYS: [&str; 19] = [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let numbers: Vec<&str> = name.split(|c: char| !c.is_ascii_digit()).collect();
    let numbers: Vec<&str> = numbers.into_iter().filter(|number| !number.is_empty()).collect();
    let words: String = name.chars().filter(|c| c.is_alphabetic()).collect();
    let plain = name.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '.' | '-' | '_'));
    let words = words.to_lowercase();
    let of_day = words.is_empty() && numbers.len() == 3 && numbers[2].len() == 4;
    plain && (of_day || DAYS.contains(&words.as_str()))
}

/// `subject_A`, `site b`, `part II`: a word for parts of a set, and a letter or a Roman number.
fn is_lettered(name: &str) -> bool {
    const OF: [&str; 16] = [
        "subject",
        "subj",
        "patient",
        "person",
        "participant",
        "user",
        "site",
        "hospital",
        "clinic",
        "camera",
        "cam",
        "group",
        "session",
        "day",
        "location",
        "part",
    ];
    let words = words_of(name);
    let [first, last] = words.as_slice() else { return false };
    let roman = last.chars().all(|c| matches!(c, 'i' | 'v' | 'x'));
    OF.contains(&&**first) && (last.chars().count() == 1 || roman)
}

/// Whether folders with these names are classes although one is called [unlabelled](is_unlabelled):
/// only if there would be a single one without it.
pub fn keep_unlabelled(folders: &BTreeMap<&str, &Node<'_>>) -> bool {
    folders.keys().filter(|name| !is_unlabelled(name)).count() < 2
}

/// Whether what is in a folder says no class: there are no folders in it, or they are called like
/// sessions, or `images` and the like.
pub fn says_no_class(root: &Node<'_>) -> bool {
    let (node, _) = root.innermost();
    let says_none = |name: &&str| is_session(name) || is_generic(name) || is_neutral(name);
    node.folders.keys().all(says_none)
}

/// Whether names, of archives for example, may be those of classes: none is rarely one, or called
/// like a part of a set.
pub fn may_be_classes(names: &[&str]) -> bool {
    let is_part = |word: &String| PARTS.contains(&&**word) || is_neutral(word);
    let speaks_against = |name: &&str| is_doubtful(name) || words_of(name).iter().any(is_part);
    !names.iter().any(speaks_against)
        && names.iter().map(|name| class_key(name)).collect::<BTreeSet<_>>().len() == names.len()
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
    if let Some((masks, pictures)) = masks_beside(folders) {
        return Err(Wrong::Ambiguous(format!(
            "{masks} is called like masks or depths of the pictures in {pictures}, and not like a class: classification needs one class for each picture, in a folder of its own or in a table; set {settle} if these are classes",
        )));
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
    let nested = inner::nested(folders);
    if let Some(problem) = inner::of_parts(folders, &nested, within, settle) {
        return Err(Wrong::Ambiguous(problem));
    }
    let all_doubtful = folders.len() >= 2 && folders.keys().all(|name| is_doubtful(name));
    if let [(name, inner)] = nested.as_slice()
        && inner.len() >= 2
        && all_doubtful
    {
        return Err(Wrong::OneDeeper((*name).to_owned()));
    }
    if are_sessions(folders) {
        remarks.push(format!(
            "the folders {} are used as classes, although they are called like days, sessions, persons or places; if the labels are elsewhere, give a table, or take them from the names with `label_from`",
            listed(&folders.keys().map(|name| format!("{within}{name}")).collect::<Vec<_>>())
        ));
    }
    remarks.extend(inner::merged(folders, &nested, within));
    remarks.extend(doubtful(folders, within));
    remarks.extend(misplaced(folders, within));
    Ok(())
}

/// The folders of masks and those of the pictures that they belong to, listed, if there is nothing
/// else: `leftImg8bit` and `gtFine`, `JPEGImages` and `SegmentationClass`.
fn masks_beside(folders: &BTreeMap<&str, &Node<'_>>) -> Option<(String, String)> {
    const MASKS: [&str; 5] = ["gt", "groundtruth", "truth", "depth", "disparity"];
    const PICTURES: [&str; 11] = [
        "jpeg",
        "jpegimages",
        "jpg",
        "png",
        "rgb",
        "left",
        "right",
        "bit",
        "input",
        "inputs",
        "color",
    ];
    let words: Vec<BTreeSet<String>> =
        folders.keys().map(|name| words_of(name).into_iter().collect()).collect();
    let shared = words.iter().skip(1).fold(words.first()?.clone(), |all, own| &all & own);
    let is_mask = |name: &str, words: &BTreeSet<String>| {
        is_no_picture(name) || words.iter().any(|word| MASKS.contains(&&**word))
    };
    let is_of_pictures = |words: &BTreeSet<String>| {
        let mut own = words.difference(&shared).peekable();
        own.peek().is_some() && own.all(|word| PICTURES.contains(&&**word) || is_neutral(word))
    };
    let named = || folders.keys().copied().zip(&words);
    let (masks, others): (Vec<_>, Vec<_>) = named().partition(|(name, own)| is_mask(name, own));
    let names = |of: &[(&str, &BTreeSet<String>)]| {
        listed(&of.iter().map(|(name, _)| *name).collect::<Vec<_>>())
    };
    let only = !masks.is_empty()
        && !others.is_empty()
        && others.iter().all(|(_, words)| is_of_pictures(words));
    only.then(|| (names(&masks), names(&others)))
}

/// A remark about folders of masks, thumbnails and the like in those of classes.
pub fn misplaced(folders: &BTreeMap<&str, &Node<'_>>, within: &str) -> Option<String> {
    let mut misplaced = Vec::new();
    for (name, node) in folders {
        misplaced_in(node, &format!("{within}{name}"), &mut misplaced);
    }
    (!misplaced.is_empty()).then(|| {
        format!(
            "{}: the pictures count as those of the class that the folder lies in; move away what is no example of it",
            listed(&misplaced)
        )
    })
}

/// The folders of masks and the like, and those beside them, listed, if the ones called `alike`
/// have nothing else in them: `cat/images`, `cat/masks`, `dog/images`, `dog/masks`.
pub fn masks_in(folders: &BTreeMap<&str, &Node<'_>>, alike: &[&str]) -> Option<(String, String)> {
    let inner = inner_names(folders).into_iter().filter(|(name, _)| alike.contains(name));
    let names: BTreeSet<String> = inner.flat_map(|(_, names)| names).collect();
    let (masks, pictures): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| is_no_picture(name));
    let all_neutral = pictures.iter().all(|name| is_neutral(name) || is_generic(name));
    (all_neutral && !masks.is_empty()).then(|| (listed(&masks), listed(&pictures)))
}

/// A remark about folders whose names are rarely those of classes.
pub fn doubtful(folders: &BTreeMap<&str, &Node<'_>>, within: &str) -> Option<String> {
    let doubtful: Vec<String> = folders
        .keys()
        .filter(|name| is_doubtful(name) || is_unlabelled(name))
        .map(|name| format!("{within}{name}"))
        .collect();
    let (are, rename) = match doubtful.len() {
        0 => return None,
        1 => ("is used as a class", "rename it or move it away if it isn't one"),
        _ => ("are used as classes", "rename or move away those that aren't any"),
    };
    Some(format!(
        "{} {are}, although the name is rarely that of a class; {rename}",
        listed(&doubtful)
    ))
}

/// Whether the folders hold pictures and are called like parts of one set: `images_part_1`,
/// `images_part_2`.
fn are_parts(folders: &BTreeMap<&str, &Node<'_>>) -> bool {
    are_called_parts(folders) && folders.values().all(|node| node.folders.len() <= 1)
}

/// Whether folders are called like parts of one set: by the same words, one of which is such as
/// `part` or `images`, and a number or a letter each.
pub(crate) fn are_called_parts(folders: &BTreeMap<&str, &Node<'_>>) -> bool {
    let numbered = |name: &&str| {
        let mut words = words_of(name);
        let letter = words.len() > 1 && words.last().is_some_and(|word| word.chars().count() == 1);
        if letter {
            words.pop();
        }
        (letter || name.contains(|c: char| c.is_ascii_digit())).then_some(words)
    };
    let words: Option<Vec<Vec<String>>> = folders.keys().map(numbered).collect();
    let Some(words) = words.filter(|words| words.len() >= 2) else { return false };
    let is_part = |word: &String| PARTS.contains(&&**word) || is_neutral(word);
    words[0].iter().any(is_part) && words.iter().all(|other| *other == words[0])
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
