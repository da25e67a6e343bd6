//! Pictures that are none to learn from, by their names: masks and thumbnails beside others, and
//! pictures whose label means that they have none.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::folders::is_unlabelled;

/// What people put behind the name of a picture for what was made from it.
const ENDINGS: [&str; 20] = [
    "mask",
    "masks",
    "seg",
    "segmentation",
    "gt",
    "groundtruth",
    "annotation",
    "annotated",
    "overlay",
    "heatmap",
    "depth",
    "label",
    "labels",
    "thumb",
    "thumbs",
    "thumbnail",
    "tn",
    "small",
    "preview",
    "icon",
];

/// A remark about pictures called like the masks or thumbnails of others beside them, as
/// `x_mask.png` beside `x.png`, if at least half of a class's pictures have one. Pictures are given
/// as path and class.
pub fn remark<'a>(pictures: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let mut classes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, class) in pictures {
        classes.entry(class).or_default().push(path);
    }
    let (mut count, mut example, mut within) = (0, None, Vec::new());
    for (class, paths) in classes {
        let stems: HashSet<&str> = paths.iter().map(|path| stem(path)).collect();
        let found: Vec<&str> =
            paths.iter().copied().filter(|path| origin_among(path, &stems).is_some()).collect();
        let origins: HashSet<&str> =
            found.iter().filter_map(|path| origin_among(path, &stems)).collect();
        if found.is_empty() || 2 * origins.len() < paths.len() - found.len() {
            continue;
        }
        count += found.len();
        within.push(class);
        example = example
            .or_else(|| Some((found[0], origin_among(found[0], &stems)?.rsplit('/').next()?)));
    }
    let (path, origin) = example?;
    Some(format!(
        "{count} picture(s) of {} class(es), such as '{path}', are called like masks or thumbnails of those beside them, such as '{origin}', and count as pictures of the class; move them away if they are no pictures to learn from",
        within.len()
    ))
}

/// A path without its extension.
fn stem(path: &str) -> &str {
    let name = path.rfind('/').map_or(0, |at| at + 1);
    path[name..].rfind('.').filter(|at| *at > 0).map_or(path, |at| &path[..name + at])
}

/// The same, if there is such a picture.
fn origin_among<'a>(path: &'a str, stems: &HashSet<&str>) -> Option<&'a str> {
    origin(stem(path)).filter(|origin| stems.contains(origin))
}

/// The stem of the picture that one called like this was made from: `x` for `x_mask` and `x-seg_1`.
fn origin(stem: &str) -> Option<&str> {
    let is_separator = |c: char| matches!(c, '_' | '-' | '.' | ' ');
    let plain = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    let plain = if plain.len() < stem.len() { plain.trim_end_matches(is_separator) } else { plain };
    let (origin, word) = plain.rsplit_once(is_separator)?;
    ENDINGS.contains(&&*word.to_lowercase()).then(|| origin.trim_end_matches(is_separator))
}

/// The labels among these, one for each picture, that mean that a picture has none: −1 beside whole
/// numbers from 0 on, and names such as `unlabeled`. None do if fewer than two classes would be
/// left.
pub fn no_labels<'a>(labels: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let all: BTreeSet<&str> = labels.collect();
    let number = |label: &str| label.trim().parse::<f64>().ok().filter(|n| n.fract() == 0.0);
    let numbers: Option<Vec<f64>> = all.iter().map(|label| number(label)).collect();
    let negative = numbers.is_some_and(|all| all.iter().all(|n| *n >= 0.0 || *n == -1.0));
    let means_none =
        |label: &&str| (negative && number(label) == Some(-1.0)) || is_unlabelled(label);
    let found: BTreeSet<&str> = all.iter().copied().filter(means_none).collect();
    if all.len() - found.len() < 2 { BTreeSet::new() } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(paths: &[&str]) -> Option<String> {
        remark(paths.iter().map(|path| (*path, "a")))
    }

    #[test]
    fn masks_and_thumbnails_beside_pictures_are_remarked() {
        for paths in [
            &["a/1.png", "a/1_mask.png", "a/2.png", "a/2_mask.png"][..],
            &["a/b (1).png", "a/b (1)_mask.png", "a/b (1)_mask_1.png"],
            &["1.jpg", "1-thumb.jpg"],
            &["1.jpg", "1.seg.png", "2.jpg"],
        ] {
            assert!(told(paths).is_some(), "{paths:?}");
        }
        for paths in [
            &["a/1.png", "a/1_2.png"][..],
            &["a/x_mask.png", "a/y_mask.png"],
            &["a/1.png", "b/1_mask.png"],
            &["1.png", "2.png", "3.png", "3_mask.png"],
        ] {
            assert_eq!(told(paths), None, "{paths:?}");
        }
    }

    #[test]
    fn labels_that_mean_none_are_known() {
        let of = |labels: &[&'static str]| -> Vec<&str> {
            no_labels(labels.iter().copied()).into_iter().collect()
        };
        let none: Vec<&str> = Vec::new();
        assert_eq!(of(&["-1", "0", "1", "0"]), ["-1"]);
        assert_eq!(of(&["cat", "dog", "Unlabeled"]), ["Unlabeled"]);
        for labels in
            [&["-1", "1"][..], &["-1", "a", "b"], &["-2", "-1", "0", "1"], &["x", "unsup"]]
        {
            assert_eq!(of(labels), none, "{labels:?}");
        }
    }
}
