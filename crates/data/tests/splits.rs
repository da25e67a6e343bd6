//! Splits: drawn class by class, by seed, and what cannot be drawn.
#![allow(clippy::unwrap_used)] // helpers of tests

use taper_core::Split;
use taper_data::{Dataset, Error, Splits, ValChoice};

use std::sync::Arc;

use taper_core::ClassNames;

use taper_data::{Content, PictureSource, Sample};
use taper_picture::{Defect, DefectKind, Finding};

#[derive(Debug)]
struct Nowhere;

impl PictureSource for Nowhere {
    fn fetch(&self, _: &Sample, _: u64) -> std::result::Result<Content, Defect> {
        Err(Defect::new(DefectKind::Io, "nowhere"))
    }
    fn place(&self) -> String {
        "nowhere".into()
    }
}

/// `counts[class]` pictures in every group.
fn dataset(groups: &[(Option<Split>, &[usize])]) -> Dataset {
    let classes = groups.iter().map(|(_, counts)| counts.len()).max().unwrap();
    let names = ClassNames::new((0..classes).map(|c| format!("class{c}")).collect()).unwrap();
    let mut samples = Vec::new();
    for (split, counts) in groups {
        for (label, count) in counts.iter().enumerate() {
            for i in 0..*count {
                let folder = split.map_or("all", Split::name);
                let id = format!("{folder}/class{label}/{i:04}.jpg");
                samples.push(Sample::new(id, *split, label as u32, samples.len()));
            }
        }
    }
    Dataset::new(names, samples, Arc::new(Nowhere)).unwrap()
}

fn disjoint(dataset: &Dataset, splits: &Splits) {
    let lists = [&splits.train, &splits.val, &splits.test, &splits.unused];
    let mut all: Vec<usize> = lists.into_iter().flatten().copied().collect();
    all.sort_unstable();
    assert_eq!(all, (0..dataset.len()).collect::<Vec<_>>());
    assert!(lists.iter().all(|l| l.is_sorted()));
}

#[test]
fn the_choice_is_read_from_text_and_json() {
    for (text, choice) in [
        ("auto", ValChoice::Auto),
        ("val", ValChoice::Split(Split::Val)),
        ("validation", ValChoice::Split(Split::Val)),
        ("test", ValChoice::Split(Split::Test)),
        ("0.2", ValChoice::Fraction(0.2)),
    ] {
        assert_eq!(text.parse::<ValChoice>().unwrap(), choice);
        let json = serde_json::to_string(&choice).unwrap();
        assert_eq!(serde_json::from_str::<ValChoice>(&json).unwrap(), choice, "{json}");
    }
    for wrong in ["train", "0", "1", "1.5", "-0.1", "NaN", "dev", ""] {
        let error = wrong.parse::<ValChoice>().unwrap_err().to_string();
        assert!(error.contains("0.15"), "{error}");
    }
    for wrong in ["0", "1", "\"train\"", "2.5", "null"] {
        assert!(serde_json::from_str::<ValChoice>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn given_splits_are_kept() {
    let train_test = dataset(&[(Some(Split::Train), &[20, 40]), (Some(Split::Test), &[5, 5])]);
    let auto = train_test.splits(ValChoice::Auto, 1).unwrap();
    disjoint(&train_test, &auto);
    assert_eq!(train_test.counts(&auto.val), [3, 6]);
    assert_eq!(train_test.counts(&auto.test), [5, 5]);
    let tutorial = train_test.splits(ValChoice::Split(Split::Test), 1).unwrap();
    disjoint(&train_test, &tutorial);
    assert!(tutorial.val_is_test && tutorial.test.is_empty());
    assert_eq!(train_test.counts(&tutorial.train), [20, 40]);
    assert_eq!(tutorial.val, auto.test);
    let error = train_test.splits(ValChoice::Split(Split::Val), 1).unwrap_err();
    assert!(error.to_string().contains("train, test"), "{error}");

    let all = dataset(&[
        (Some(Split::Train), &[20, 40]),
        (Some(Split::Val), &[4, 4]),
        (Some(Split::Test), &[5, 5]),
    ]);
    let auto = all.splits(ValChoice::Auto, 1).unwrap();
    disjoint(&all, &auto);
    assert_eq!(all.counts(&auto.val), [4, 4]);
    assert!(auto.unused.is_empty());
    let drawn = all.splits(ValChoice::Fraction(0.25), 1).unwrap();
    disjoint(&all, &drawn);
    assert_eq!(all.counts(&drawn.val), [5, 10]);
    assert_eq!(drawn.unused.len(), 8);
}

#[test]
fn class_folders_alone_give_three_splits() {
    let alone = dataset(&[(None, &[100, 20, 3])]);
    for choice in [ValChoice::Auto, ValChoice::Split(Split::Val), ValChoice::Fraction(0.15)] {
        let splits = alone.splits(choice, 9).unwrap();
        disjoint(&alone, &splits);
        assert_eq!(alone.counts(&splits.train), [70, 14, 1]);
        assert_eq!(alone.counts(&splits.val), [15, 3, 1]);
        assert_eq!(alone.counts(&splits.test), [15, 3, 1]);
    }
    let tutorial = alone.splits(ValChoice::Split(Split::Test), 9).unwrap();
    disjoint(&alone, &tutorial);
    assert_eq!(alone.counts(&tutorial.val), [15, 3, 1]);
    let error = dataset(&[(None, &[100, 2])]).splits(ValChoice::Auto, 9).unwrap_err();
    assert!(matches!(&error, Error::TooFew { class, .. } if class == "class1"), "{error}");
}

#[test]
fn the_draw_depends_on_the_seed_and_little_on_the_company() {
    let one = dataset(&[(Some(Split::Train), &[200, 200])]);
    let draw = |d: &Dataset, seed| d.splits(ValChoice::Fraction(0.2), seed).unwrap().val;
    assert_eq!(draw(&one, 5), draw(&one, 5));
    let (a, b) = (draw(&one, 5), draw(&one, 6));
    let common = a.iter().filter(|i| b.contains(i)).count();
    // 80 of 400 each: 16 in common by chance.
    assert!((4..34).contains(&common), "{common}");
    // Removing a picture leaves the rest of the draw unchanged, except for one at the margin.
    let mut less = one.clone();
    less.exclude([Defect::new(DefectKind::Corrupt, "x").at(Some(17), "x")]);
    let c = draw(&less, 5);
    assert!(!c.contains(&17));
    assert!(a.iter().filter(|i| c.contains(i)).count() >= 79);
}

#[test]
fn a_small_class_has_one_in_each_or_is_named() {
    let two = dataset(&[(Some(Split::Train), &[2, 50])]);
    for fraction in [0.01, 0.15, 0.99] {
        let splits = two.splits(ValChoice::Fraction(fraction), 0).unwrap();
        assert_eq!(two.counts(&splits.val)[0], 1);
        assert_eq!(two.counts(&splits.train)[0], 1);
        assert!(two.counts(&splits.train)[1] >= 1);
    }
    let error = dataset(&[(Some(Split::Train), &[1, 50])]).splits(ValChoice::Auto, 0);
    assert!(matches!(error, Err(Error::TooFew { found: 1, needed: 2, .. })));
    let error = dataset(&[(Some(Split::Train), &[5, 0]), (Some(Split::Test), &[1, 1])])
        .splits(ValChoice::Auto, 0);
    assert!(matches!(error, Err(Error::NotInTrain { .. })));
    let error = dataset(&[(Some(Split::Test), &[5, 5])]).splits(ValChoice::Auto, 0);
    assert!(matches!(error, Err(Error::NoTrain { .. })));
    let error = dataset(&[(None, &[50])]).splits(ValChoice::Auto, 0);
    assert!(matches!(error, Err(Error::OneClass { .. })));
}

#[test]
fn splits_can_lose_what_is_unusable() {
    let data = dataset(&[(Some(Split::Train), &[2, 50])]);
    let splits = data.splits(ValChoice::Auto, 0).unwrap();
    let lost = |index: usize| -> Finding {
        Defect::new(DefectKind::Corrupt, "x").at(Some(index), data.samples()[index].id.clone())
    };
    let some = splits.train.iter().copied().find(|i| data.samples()[*i].label == 1).unwrap();
    let left = splits.without(&data, &[lost(some)]).unwrap();
    assert_eq!(left.train.len() + 1, splits.train.len());
    assert_eq!(left.val, splits.val);
    let only = splits.train.iter().copied().find(|i| data.samples()[*i].label == 0).unwrap();
    assert!(matches!(
        splits.without(&data, &[lost(only)]),
        Err(Error::NoneUsable { count: 1, .. })
    ));
    let all: Vec<Finding> = splits.val.iter().map(|i| lost(*i)).collect();
    assert!(splits.without(&data, &all).is_err());
    let misnamed = Defect::new(DefectKind::Misnamed, "x").at(Some(some), "x");
    assert_eq!(splits.without(&data, &[misnamed]).unwrap(), splits);
}

#[test]
fn groups_stay_together_and_come_close_to_the_fraction() {
    let root = tempfile::tempdir().unwrap();
    taper_data::fixture::write_folder(root.path(), &[("", 60)], &["a", "b"]).unwrap();
    let dataset = taper_sources::open_folder(root.path(), taper_sources::FolderUse::Train).unwrap();
    let dataset = dataset.group_by(r"^(\w+/\d)\d").unwrap();
    for seed in 0..5 {
        let splits = dataset.splits(ValChoice::Fraction(0.2), seed).unwrap();
        let groups = |indices: &[usize]| -> std::collections::BTreeSet<String> {
            indices.iter().map(|i| dataset.samples()[*i].group.as_deref().unwrap().into()).collect()
        };
        let (train, val, test) = (groups(&splits.train), groups(&splits.val), groups(&splits.test));
        assert!(train.is_disjoint(&val) && train.is_disjoint(&test) && val.is_disjoint(&test));
        assert_eq!(splits.train.len() + splits.val.len() + splits.test.len(), 120);
        // Six groups of ten in each class: one for test, one for validation.
        assert_eq!((splits.test.len(), splits.val.len()), (20, 20));
    }
    let few = dataset.clone().group_by("^[ab]/").unwrap().splits(ValChoice::Auto, 0);
    assert!(matches!(few, Err(Error::TooFewGroups { found: 1, .. })));
    assert!(matches!(dataset.clone().group_by("("), Err(Error::GroupBy { .. })));
    let none = dataset.group_by("^nothing").unwrap_err().to_string();
    assert!(none.contains("a/00.jpg"), "{none}");
}

/// 20 patients with three pictures of each of two classes.
fn patients() -> Dataset {
    let names = ClassNames::new(vec!["ill".into(), "well".into()]).unwrap();
    let mut samples = Vec::new();
    for patient in 0..20 {
        for n in 0..6 {
            let id = format!("p{patient:02}_{n}.jpg");
            let mut sample = Sample::new(id, None, n % 2, samples.len());
            sample.group = Some(format!("p{patient:02}").into());
            samples.push(sample);
        }
    }
    Dataset::new(names, samples, Arc::new(Nowhere)).unwrap()
}

#[test]
fn groups_with_several_classes_are_dealt_out_for_all_of_them() {
    let dataset = patients();
    let groups = |indices: &[usize]| -> std::collections::BTreeSet<&str> {
        indices.iter().map(|i| dataset.samples()[*i].group.as_deref().unwrap()).collect()
    };
    for seed in 0..5 {
        let splits = dataset.splits(ValChoice::Auto, seed).unwrap();
        disjoint(&dataset, &splits);
        assert_eq!(
            [&splits.train, &splits.val, &splits.test].map(|split| dataset.counts(split)),
            [vec![42, 42], vec![9, 9], vec![9, 9]]
        );
        assert_eq!(groups(&splits.train).len() + groups(&splits.val).len(), 17);
        for fold in 0..4 {
            let splits = dataset.fold(4, fold, seed).unwrap();
            assert_eq!(dataset.counts(&splits.val), [15, 15]);
            assert!(groups(&splits.val).is_disjoint(&groups(&splits.train)));
        }
    }
    let error = dataset.fold(21, 0, 0).unwrap_err();
    assert!(matches!(error, Error::TooFewGroups { found: 20, needed: 21, .. }), "{error}");
}

#[test]
fn folds_cover_everything_once() {
    let root = tempfile::tempdir().unwrap();
    taper_data::fixture::write_folder(root.path(), &[("train", 7), ("test", 2)], &["a", "b"])
        .unwrap();
    let dataset = taper_sources::open_folder(root.path(), taper_sources::FolderUse::Train).unwrap();
    let mut seen = Vec::new();
    for fold in 0..3 {
        let splits = dataset.fold(3, fold, 9).unwrap();
        assert_eq!(splits.test.len(), 4);
        assert_eq!(splits.train.len() + splits.val.len(), 14);
        let counts = dataset.counts(&splits.val);
        assert!(counts.iter().all(|n| (2..=3).contains(n)), "{counts:?}");
        seen.extend(splits.val);
    }
    seen.sort_unstable();
    let mut train = dataset.indices(Some(Split::Train));
    train.sort_unstable();
    assert_eq!(seen, train);
    assert!(dataset.fold(8, 0, 0).is_err());
    assert!(dataset.fold(1, 0, 0).is_err());
    assert!(dataset.fold(3, 3, 0).is_err());
}
