//! Several files as one data set: archives or Parquet files in a folder.

use std::collections::{BTreeMap, BTreeSet};

use taper_core::Split;

use crate::{
    folders::{is_no_picture, may_be_classes},
    splits::hints_at_split,
};

/// What the names of several files say about splits: a remark if they are read as one set although
/// they may not be one, or why it cannot be told.
///
/// `files` are names without their endings, and the splits that they have by their names or by what
/// is in them.
pub fn judge(what: &str, files: &[(String, Option<Split>)]) -> Result<Option<String>, String> {
    let named = |split: bool| -> Vec<&str> {
        let own = files.iter().filter(|(_, own)| own.is_some() == split);
        own.map(|(name, _)| name.as_str()).collect()
    };
    let (with, without) = (named(true), named(false));
    if !with.is_empty() && !without.is_empty() {
        return Err(format!(
            "cannot tell what the {what} are: {} {} the name of a split, but {} {} not: write train, val or test into every name, or give one of them",
            listed(&with),
            if with.len() == 1 { "has" } else { "have" },
            listed(&without),
            if without.len() == 1 { "has" } else { "have" },
        ));
    }
    if !with.is_empty() || without.len() < 2 || are_shards(&without) {
        return Ok(None);
    }
    let masks: Vec<&str> = without.iter().copied().filter(|name| is_no_picture(name)).collect();
    if !masks.is_empty() && masks.len() < without.len() {
        return Err(format!(
            "the {what} {} have no pictures to learn from by their names, unlike those beside them: give the others alone, or move these away",
            listed(&masks)
        ));
    }
    let hints: BTreeSet<Split> = without.iter().filter_map(|name| hints_at_split(name)).collect();
    if hints.len() > 1 {
        return Err(format!(
            "the {what} {} look like splits: write train, val or test into their names as words of their own, such as my-train and my-test",
            listed(&without)
        ));
    }
    Ok(Some(format!(
        "the {what} {} are read as one set, from which the splits are drawn; if they are splits, write train, val or test into their names",
        listed(&without)
    )))
}

/// Remarks about files that are missing from numbered sets: from those whose names say how many
/// there are, such as `train-00001-of-00003`, and from others, such as `part-000` and `part-002`,
/// where there is a gap. `names` are without their endings.
pub fn missing(names: &[String]) -> Vec<String> {
    let mut counted: BTreeMap<(&str, &str), BTreeSet<usize>> = BTreeMap::new();
    let mut others: BTreeMap<(&str, &str), BTreeMap<usize, &str>> = BTreeMap::new();
    for name in names {
        if let Some((start, all)) = name.rsplit_once("-of-") {
            let prefix = start.trim_end_matches(|c: char| c.is_ascii_digit());
            if let (Ok(number), Ok(_)) = (start[prefix.len()..].parse(), all.parse::<usize>()) {
                counted.entry((prefix, all)).or_default().insert(number);
                continue;
            }
        }
        let digit = |c: char| c.is_ascii_digit();
        let Some(end) = name.rfind(digit).map(|at| at + 1) else { continue };
        let prefix = name[..end].trim_end_matches(digit);
        let digits = &name[prefix.len()..end];
        if let Ok(number) = digits.parse() {
            others.entry((prefix, &name[end..])).or_default().insert(number, digits);
        }
    }
    let of_count = |((prefix, all), have): ((&str, &str), BTreeSet<usize>)| {
        let count: usize = all.parse().ok()?;
        // They are numbered from 0, or from 1.
        let first = usize::from(have.contains(&count) && !have.contains(&0));
        let missing = count.saturating_sub(have.len());
        let lacks = (first..count.saturating_add(first)).find(|number| !have.contains(number))?;
        let width = all.len();
        Some(format!(
            "{missing} of {count} files are missing, such as '{prefix}{lacks:0width$}-of-{all}', going by the names of the others; fetch them, unless you mean to do without"
        ))
    };
    let mut remarks: Vec<String> = counted.into_iter().filter_map(of_count).collect();
    remarks.extend(others.into_iter().filter_map(|((prefix, suffix), have)| {
        let (count, lacks) = gap(&have)?;
        Some(format!(
            "{count} file(s) seem to be missing, such as '{prefix}{lacks}{suffix}', going by the numbers in the names of the others; fetch them, unless you mean to do without or there never were any"
        ))
    }));
    remarks
}

/// How many numbers are missing from files that are numbered from 0 or 1, and the first of them,
/// written as the others are; none if the numbers are dates, or mean something else.
fn gap(have: &BTreeMap<usize, &str>) -> Option<(usize, String)> {
    let (first, shown) = have.first_key_value()?;
    let (last, _) = have.last_key_value()?;
    let year = |(number, digits): (&usize, &&str)| {
        digits.len() == 4 && (1900..2100).contains(number) || digits.len() >= 6 && *number > 190_000
    };
    if have.len() < 2 || have.iter().all(year) {
        return None;
    }
    // Where most numbers are missing, they do not count the files.
    let lacking = |from: usize| (last + 1 - from).checked_sub(have.len());
    let few = |count: &usize| (1..=20 * have.len()).contains(count);
    let from_one = lacking((*first).min(1)).filter(few).map(|count| (count, (*first).min(1)));
    let (count, from) = from_one.or_else(|| Some((lacking(*first).filter(few)?, *first)))?;
    let number = (from..=*last).find(|number| !have.contains_key(number))?;
    let padded = have.values().any(|digits| digits.len() > 1 && digits.starts_with('0'));
    let width = if padded { shown.len() } else { 1 };
    Some((count, format!("{number:0width$}")))
}

/// Whether names differ only in numbers: `part-1` and `part-2`, `0000` and `0001`.
fn are_shards(names: &[&str]) -> bool {
    let plain = |name: &str| -> String {
        let name = name.rsplit('/').next().unwrap_or(name);
        name.chars().filter(|c| !c.is_ascii_digit()).collect::<String>().to_lowercase()
    };
    let numbered = |name: &&str| name.bytes().any(|byte| byte.is_ascii_digit());
    names.iter().map(|name| plain(name)).collect::<BTreeSet<_>>().len() == 1
        && names.iter().filter(|name| numbered(name)).count() + 1 >= names.len()
}

/// Whether each of several files may have the pictures of one class, going by their names.
pub fn are_classes(names: &[&str]) -> bool {
    names.len() >= 2
        && !are_shards(names)
        && !names.iter().any(|name| is_no_picture(name) || hints_at_split(name).is_some())
        && may_be_classes(names)
}

/// The first few names.
pub fn listed(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 3;
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let shown: Vec<String> =
        names.iter().take(SHOWN).map(|name| format!("'{}'", name.as_ref())).collect();
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::splits::split_named;

    fn judged(names: &[&str]) -> Result<Option<String>, String> {
        let files: Vec<_> =
            names.iter().map(|name| ((*name).to_string(), split_named(name))).collect();
        judge("archives", &files)
    }

    #[test]
    fn files_that_are_missing_from_a_set_are_named() {
        let of = |names: &[&str]| missing(&names.iter().map(|n| (*n).into()).collect::<Vec<_>>());
        let remarks = of(&["train-00000-of-00003", "train-00002-of-00003", "x-1-of-1"]);
        assert_eq!(remarks.len(), 1);
        assert!(remarks[0].contains("1 of 3") && remarks[0].contains("'train-00001-of-00003'"));
        for names in [&["a-1-of-2", "a-2-of-2"][..], &["a-0-of-2", "a-1-of-2"], &["one-of-us"]] {
            assert!(of(names).is_empty(), "{names:?}");
        }
        for (names, count, lacks) in [
            (&["part-000", "part-002"][..], "1 file", "'part-001'"),
            (&["x1.v", "x2.v", "x4.v", "x7.v"], "3 file", "'x3.v'"),
            (&["part2", "part3"], "1 file", "'part1'"),
            (&["9", "10", "12"], "9 file", "'1'"),
            (&["train/0000", "train/0002", "test/0001"], "1 file", "'train/0001'"),
            (&["shard_08_b", "shard_11_b"], "9 file", "'shard_01_b'"),
        ] {
            let remarks = of(names);
            assert_eq!(remarks.len(), 1, "{names:?}");
            assert!(remarks[0].contains(count) && remarks[0].contains(lacks), "{}", remarks[0]);
        }
        for names in [
            &["part-1", "part-2"][..],
            &["0", "1", "2"],
            &["cats", "dogs1"],
            &["2019", "2021"],
            &["20210501", "20210503"],
            &["trip-2019-05", "trip-2020-07"],
            &["only-7"],
            &["id-100000", "id-523412"],
        ] {
            assert!(of(names).is_empty(), "{names:?}");
        }
    }

    #[test]
    fn files_of_classes_are_known_by_their_names() {
        for names in [&["cat", "dog"][..], &["2-door", "4 door"], &["rock", "paper", "scissors"]] {
            assert!(are_classes(names), "{names:?}");
        }
        for names in [
            &["cat"][..],
            &["x1", "x2"],
            &["train", "unseen"],
            &["images", "cats"],
            &["photos_anna", "photos_ben"],
            &["part a", "part b"],
            &["old", "more"],
            &["Cat", "cat"],
        ] {
            assert!(!are_classes(names), "{names:?}");
        }
    }

    #[test]
    fn files_that_may_be_splits_are_never_one_set_in_silence() {
        for names in [&["traindata", "testdata"][..], &["a-train", "b-val"], &["one"]] {
            assert_eq!(judged(names), Ok(None), "{names:?}");
        }
        for names in [&["0000", "0001"][..], &["part-1", "part-2"], &["set", "set2", "set3"]] {
            assert_eq!(judged(names), Ok(None), "{names:?}");
        }
        for names in [&["train", "unseen"][..], &["test", "labelled"], &["xtrain", "xtest"]] {
            assert!(judged(names).is_err(), "{names:?}");
        }
        for names in [&["images", "masks"][..], &["x_images", "x_annotations", "x_more"]] {
            assert!(judged(names).unwrap_err().contains("no pictures to learn"), "{names:?}");
        }
        for names in [&["entrenamiento", "prueba"][..], &["A", "B"], &["cats", "dogs1"]] {
            let remark = judged(names).unwrap().unwrap();
            assert!(remark.contains(names[0]) && remark.contains("one set"), "{remark}");
        }
    }
}
