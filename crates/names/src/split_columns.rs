//! Columns that say the split although they are not called `split`.

use taper_core::Split;

use crate::splits::{split_named, split_of_word, words_of};

/// The split that a value of a column of splits means: a word as in names, or what is left of it.
pub fn split_of_value(value: &str) -> Option<Split> {
    match value.trim().to_lowercase().as_str() {
        "tr" | "trn" => Some(Split::Train),
        "va" | "vl" => Some(Split::Val),
        "te" | "tst" => Some(Split::Test),
        _ => split_named(value),
    }
}

/// The split that a column of truth values says by its name: `is_train`, `test`, `is_valid`. A
/// column `valid` may say that a picture is a good one.
pub fn flag_of(name: &str) -> Option<Split> {
    let plain: String = name.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    match plain.strip_prefix("is") {
        Some(rest) => split_of_word(rest),
        None => split_of_word(&plain).filter(|_| plain != "valid"),
    }
}

/// Whether a column may say the split, by its name.
pub fn is_hint(name: &str) -> bool {
    const NAMES: [&str; 20] = [
        "part",
        "parts",
        "portion",
        "section",
        "segment",
        "division",
        "role",
        "usedfor",
        "stage",
        "phase",
        "mode",
        "usage",
        "set",
        "sets",
        "subset",
        "dataset",
        "partition",
        "purpose",
        "kfold",
        "cvfold",
    ];
    let words = words_of(name);
    let joined = words.concat();
    NAMES.contains(&joined.as_str())
        || words.iter().any(|word| matches!(word.as_str(), "split" | "splits" | "fold" | "folds"))
        || split_named(name).is_some()
}

/// Whether a value is what people call a split by, although it is no word for one.
pub fn hints_at_split(value: &str) -> bool {
    const WORDS: [&str; 22] = [
        "learn",
        "learning",
        "learned",
        "check",
        "checking",
        "fit",
        "fitting",
        "build",
        "tune",
        "tuning",
        "unseen",
        "seen",
        "public",
        "private",
        "publictest",
        "privatetest",
        "query",
        "gallery",
        "in_sample",
        "out_of_sample",
        "oos",
        "support",
    ];
    WORDS.contains(&value.trim().to_lowercase().as_str()) || split_of_value(value).is_some()
}

/// A value of a column of truth values.
pub fn truth(value: &str) -> Option<bool> {
    match value.trim().to_lowercase().as_str() {
        "1" | "1.0" | "true" | "yes" => Some(true),
        "0" | "0.0" | "false" | "no" => Some(false),
        _ => None,
    }
}

/// The split of a row with these flags, or why it has none.
pub fn of_flags(flags: &[(Split, Option<bool>)]) -> Result<Split, String> {
    let given = |(split, set): &(Split, Option<bool>)| Some((*split, (*set)?));
    let flags: Option<Vec<(Split, bool)>> = flags.iter().map(given).collect();
    let flags = flags.ok_or("has no value in a column that says the split")?;
    let set: Vec<Split> = flags.iter().filter(|(_, set)| *set).map(|(split, _)| *split).collect();
    let has = |split: Split| flags.iter().any(|(own, _)| *own == split);
    match set.as_slice() {
        [split] => Ok(*split),
        [] if !has(Split::Train) => Ok(Split::Train),
        // Neither train nor test.
        [] if !has(Split::Val) && has(Split::Test) => Ok(Split::Val),
        [] if !has(Split::Test) => Ok(Split::Test),
        [] => Err("is in no split".into()),
        [first, second, ..] => Err(format!("is in {first} as well as in {second}")),
    }
}

/// A remark about splits that were taken from flags.
pub fn flags_remark(flags: &[(&str, Split)]) -> String {
    let told: Vec<String> =
        flags.iter().map(|(name, split)| format!("'{name}' ({split} where it is true)")).collect();
    let column = if flags.len() == 1 { "column" } else { "columns" };
    let rest = match flags {
        [(_, Split::Train)] => "; the other rows are test",
        _ => "",
    };
    format!("the splits are taken from the {column} {}{rest}", told.join(", "))
}

/// A remark about columns that may say the split and are not used; for each, whether all of its
/// values are words for splits.
pub fn unused_remark(columns: &[(&str, bool)]) -> Option<String> {
    let (first, words) = columns.first()?;
    let names: Vec<String> = columns.iter().map(|(name, _)| format!("'{name}'")).collect();
    let names = names.join(", ");
    let (looks, one) = match columns.len() {
        1 => (format!("the column {names} looks like splits, but is not used"), "it says them"),
        _ => (format!("the columns {names} look like splits, but are not used"), "one says them"),
    };
    let first = if columns.len() == 1 { format!("'{first}'") } else { "and its name".into() };
    let how = match words {
        true => format!("give `split_column` {first}"),
        false => format!("write train, val or test into it and give `split_column` {first}"),
    };
    Some(format!("{looks}; if {one}, {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_known_by_their_names() {
        for (name, split) in [
            ("is_train", Some(Split::Train)),
            ("IsTest", Some(Split::Test)),
            ("is_valid", Some(Split::Val)),
            ("train", Some(Split::Train)),
            ("validation", Some(Split::Val)),
            ("valid", None),
            ("label", None),
            ("island", None),
        ] {
            assert_eq!(flag_of(name), split, "{name}");
        }
    }

    #[test]
    fn flags_together_say_one_split_or_none() {
        use Split::{Test, Train, Val};
        assert_eq!(of_flags(&[(Train, Some(true))]), Ok(Train));
        assert_eq!(of_flags(&[(Train, Some(false))]), Ok(Test));
        assert_eq!(of_flags(&[(Val, Some(false))]), Ok(Train));
        assert_eq!(of_flags(&[(Train, Some(false)), (Test, Some(false))]), Ok(Val));
        assert_eq!(of_flags(&[(Train, Some(false)), (Val, Some(false))]), Ok(Test));
        assert!(of_flags(&[(Train, None)]).is_err());
        assert!(of_flags(&[(Train, Some(true)), (Test, Some(true))]).is_err());
        assert!(
            of_flags(&[(Train, Some(false)), (Val, Some(false)), (Test, Some(false))]).is_err()
        );
    }

    #[test]
    fn names_hint_at_splits() {
        for name in
            ["fold", "kfold", "k_fold", "Fold", "stage", "train_flag", "data set", "my_split"]
        {
            assert!(is_hint(name), "{name}");
        }
        for name in ["label", "folder", "width", "modern", "setting"] {
            assert!(!is_hint(name), "{name}");
        }
    }
}
