use taper_calibration::{Judged, JudgedSets, Unfamiliar};
use taper_core::ClassNames;
use taper_metrics::{Metrics, ProbabilityFigures, SetFigures};

use super::*;
use crate::learning_curve::Point;

/// `n` pictures of each of two classes, the given numbers of which are taken for the other.
fn evaluated(n: usize, wrong: [usize; 2]) -> Evaluation {
    let classes = ClassNames::new(vec!["cat".into(), "dog".into()]).unwrap();
    let mut metrics = Metrics::new(2).unwrap();
    for (class, wrong) in wrong.into_iter().enumerate() {
        for at in 0..n {
            let says = if at < wrong { 1 - class } else { class };
            let logits = [0, 1].map(|c| if c == says { 2.0 } else { -2.0 });
            metrics.update_logits(&logits, &[class as u32]).unwrap();
        }
    }
    metrics.evaluation(&classes).unwrap()
}

/// Nothing stands out.
fn fine<'a>(validation: &'a Evaluation, test: &'a Evaluation) -> Facts<'a> {
    Facts {
        data: "--data 'my data'".into(),
        run: "runs/1".into(),
        again: Some("taper train runs/1/recipe.toml".into()),
        trained: vec![("cat".into(), 100), ("dog".into(), 100)],
        validation: Some(validation),
        validated_on: "0.15 of train".into(),
        test: Some(test),
        stopped: Some(Outcome::Completed),
        ..Facts::default()
    }
}

/// What the rules say, the first words of each.
fn said(facts: &Facts<'_>) -> Vec<String> {
    advice(facts).into_iter().map(|own| own.text).collect()
}

/// Whether one of them says this, whatever the kind of spaces.
fn says(facts: &Facts<'_>, part: &str) -> bool {
    said(facts).iter().any(|text| text.replace('\u{a0}', " ").contains(part))
}

fn epochs(losses: &[(f64, f64)]) -> Vec<EpochFigures> {
    let of = |(at, (loss, val_loss)): (usize, &(f64, f64))| EpochFigures {
        epoch: at as u64,
        loss: Some(*loss),
        val_loss: Some(*val_loss),
        ..EpochFigures::default()
    };
    losses.iter().enumerate().map(of).collect()
}

#[test]
fn where_nothing_stands_out_that_is_said() {
    let (validation, test) = (evaluated(60, [1, 1]), evaluated(60, [1, 1]));
    let facts = fine(&validation, &test);
    let all = advice(&facts);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0].weight, Weight::Fine);
    assert_eq!(all[0].command.as_deref(), Some("taper serve runs/1"));
}

#[test]
fn data_in_two_places_and_wrong_labels_are_problems() {
    let (validation, test) = (evaluated(60, [1, 1]), evaluated(60, [1, 1]));
    let base = fine(&validation, &test);
    let leak = Some(("train/a.jpg".to_owned(), "test/b.jpg".to_owned()));
    let facts = Facts { leaks: 2, leak, ..base.clone() };
    let all = advice(&facts);
    assert_eq!(all[0].weight, Weight::Problem);
    assert!(all[0].text.starts_with("2 pictures are in two parts of the data: test/b.jpg is"));
    let command = Some("taper inspect --data 'my data' --fix fixed");
    assert_eq!(all[0].command.as_deref(), command);
    let facts = Facts { conflicts: 1, ..base.clone() };
    assert!(says(&facts, "1 picture occurs with two labels"));
    let facts = Facts { suspects: 3, ..base.clone() };
    assert!(says(&facts, "3 training pictures may be of another class"));
    assert_eq!(advice(&facts)[0].weight, Weight::Problem);
    let one = Facts { suspects: 1, ..facts.clone() };
    assert_eq!(advice(&one)[0].weight, Weight::Advice);
    let trained = vec![("cat".to_owned(), 100), ("dog".to_owned(), 7)];
    let few = Facts { trained, ..facts };
    assert_eq!(advice(&few)[0].weight, Weight::Advice);
    let facts = Facts { sure_mistakes: 1, ..base.clone() };
    assert!(says(&facts, "1 picture was taken for another class though"));
    for part in ["in two parts of the data:", "occur", "may be of", "though the model"] {
        assert!(!says(&base, part));
    }
}

#[test]
fn validation_that_cannot_tell_is_told() {
    let (high, low) = (evaluated(100, [0, 0]), evaluated(100, [10, 6]));
    assert!(says(&fine(&high, &low), "Validation shows 100.0 %, untouched pictures 92.0 %"));
    let command = advice(&fine(&high, &low))[0].command.clone();
    assert_eq!(command.as_deref(), Some("taper train runs/1/recipe.toml --group-by 'PATTERN'"));
    let given = Facts { validated_on: "the split val".into(), ..fine(&high, &low) };
    assert!(says(&given, "Put other people, places or days into the split val."));
    let near = evaluated(100, [1, 1]);
    assert!(!says(&fine(&high, &near), "Validation shows"));
    let small = evaluated(13, [1, 1]);
    assert!(says(&fine(&small, &low), "Validation has only 26 pictures"));
    assert!(says(&fine(&small, &low), "Use folds"));
    let folded = Facts { validated_on: "fold 0 of 5, from 0".into(), ..fine(&small, &low) };
    assert!(says(&folded, "Validation has only") && !says(&folded, "Use folds"));
    assert!(!says(&fine(&near, &low), "Validation has only"));
}

#[test]
fn drift_is_told_as_the_run_said_it() {
    let (validation, test) = (evaluated(60, [1, 1]), evaluated(60, [1, 1]));
    let base = fine(&validation, &test);
    let drift = "drift: the pictures in test differ: 'taper inspect' shows what differs";
    let facts = Facts { drift: Some(drift.into()), ..base.clone() };
    assert!(says(&facts, "The pictures in test differ. See what differs:"));
    assert!(!says(&base, "differ"));
}

#[test]
fn few_pictures_of_a_class_are_named() {
    let (validation, test) = (evaluated(60, [1, 1]), evaluated(60, [1, 1]));
    let base = fine(&validation, &test);
    let trained = vec![("cat".to_owned(), 19), ("dog".to_owned(), 20)];
    let facts = Facts { trained: trained.clone(), ..base.clone() };
    assert!(says(&facts, "Few training pictures: cat (19). Add"));
    assert!(says(&facts, "random views"));
    let facts = Facts { trained, augmented: true, ..base.clone() };
    assert!(says(&facts, "cat (19)") && !says(&facts, "random views"));
    assert!(!says(&base, "Few training"));
}

#[test]
fn a_confused_pair_is_named() {
    let validation = evaluated(60, [4, 4]);
    let test = evaluated(60, [6, 2]);
    let base = fine(&validation, &test);
    assert!(says(&base, "cat is taken for dog in 6 of 60 pictures, and the other way round 2"));
    let command = |facts: &Facts<'_>| advice(facts)[0].command.clone();
    let best = "taper train --data 'my data' --preset best --time-limit 10m";
    assert_eq!(command(&base).as_deref(), Some(best));
    let searched = Facts { searched: true, ..base.clone() };
    let longer = "taper train --resume runs/1 --time-limit 1h";
    assert_eq!(command(&searched).as_deref(), Some(longer));
    let tuned = Facts { fine_tuned: true, larger: Some(320), ..base.clone() };
    assert!(says(&tuned, "a larger picture"));
    assert_eq!(command(&tuned).as_deref(), Some("taper train runs/1/recipe.toml --size 320"));
    let tuned = Facts { fine_tuned: true, ..base.clone() };
    assert!(says(&tuned, "another network") && advice(&tuned)[0].command.is_none());
    let rare = evaluated(60, [2, 0]);
    assert!(!says(&fine(&validation, &rare), "is taken for"));
}

#[test]
fn curves_that_overfit_or_still_fall_are_told() {
    let (validation, test) = (evaluated(60, [1, 1]), evaluated(60, [1, 1]));
    let base = fine(&validation, &test);
    let over = epochs(&[(1.0, 1.0), (0.7, 0.6), (0.4, 0.65), (0.2, 0.8)]);
    let facts = Facts { epochs: &over, best_epoch: Some(1), ..base.clone() };
    assert!(says(&facts, "From epoch 2 on the validation loss rises (0.600 to 0.800)"));
    let falls = epochs(&[(1.0, 1.0), (0.7, 0.8), (0.5, 0.6)]);
    let facts = Facts { epochs: &falls, best_epoch: Some(2), ..base.clone() };
    assert!(says(&facts, "still falling in the last of 3 epochs"));
    assert!(!says(&facts, "rises"));
    let command = advice(&facts)[0].command.clone();
    assert_eq!(command.as_deref(), Some("taper train --resume runs/1 --epochs 6"));
    let tuned = advice(&Facts { fine_tuned: true, ..facts.clone() })[0].command.clone();
    assert_eq!(tuned.as_deref(), Some("taper train runs/1/recipe.toml --fine-tune-epochs 6"));
    let early = Facts { stopped: Some(Outcome::Early), ..facts.clone() };
    assert!(!says(&early, "still falling"));
    let flat = epochs(&[(1.0, 1.0), (0.7, 0.6), (0.6, 0.6), (0.5, 0.595)]);
    let facts = Facts { epochs: &flat, best_epoch: Some(3), ..base.clone() };
    assert!(!says(&facts, "still falling") && !says(&facts, "rises"));
}

#[test]
fn a_search_without_descent_is_told() {
    let (validation, test) = (evaluated(60, [1, 1]), evaluated(60, [1, 1]));
    let base = fine(&validation, &test);
    let facts = Facts { finder_fall: Some(0.1), ..base.clone() };
    assert!(says(&facts, "the loss fell by 10.0 % only"));
    let facts = Facts { finder_fall: Some(0.6), ..base };
    assert!(!says(&facts, "the loss fell"));
}

#[test]
fn probabilities_that_mean_something_else_are_told() {
    let (validation, test) = (evaluated(60, [1, 1]), evaluated(60, [1, 1]));
    // Sure of 0.98 in each, right in 0.7 or in 0.98.
    let judged = |wrong: usize| {
        let rows: Vec<f32> =
            (0..100).flat_map(|at| if at < wrong { [-2.0, 2.0] } else { [2.0, -2.0] }).collect();
        let figures = ProbabilityFigures::at(&rows, &[0; 100], 2, 1.0).unwrap();
        Judged { before: figures.clone(), after: figures, sets: None, unfamiliar: None }
    };
    let calibrated = |wrong| Calibrated {
        temperature: 1.0,
        limit: None,
        validation: judged(2),
        test: Some(judged(wrong)),
    };
    let (bad, good) = (calibrated(30), calibrated(2));
    let facts = Facts { calibrated: Some(&bad), ..fine(&validation, &test) };
    let expected = "98.2 % sure on average, and right in 70.0 %: a probability is off by 28.2";
    assert!(says(&facts, expected), "{:?}", said(&facts));
    assert!(says(&facts, "mend it"));
    let given = Facts { validated_on: "the split val".into(), ..facts.clone() };
    assert!(says(&given, expected) && !says(&given, "mend it"));
    let chance = Facts { error_by_chance: 0.3, ..facts };
    assert!(!says(&chance, "sure on average"));
    let facts = Facts { calibrated: Some(&good), ..fine(&validation, &test) };
    assert!(!says(&facts, "sure on average"));
}

#[test]
fn sets_that_contain_the_class_too_rarely_are_told() {
    let (validation, test) = (evaluated(60, [1, 1]), evaluated(60, [1, 1]));
    let rows: Vec<f32> = (0..100).flat_map(|_| [2.0, -2.0]).collect();
    let figures = ProbabilityFigures::at(&rows, &[0; 100], 2, 1.0).unwrap();
    let calibrated = |coverage: f64, share: f64| {
        let sets = SetFigures { n: 100, coverage, mean_size: 0.8, single: 80, empty: 20 };
        let judged = Judged {
            before: figures.clone(),
            after: figures.clone(),
            sets: Some(JudgedSets { asked: 0.9, figures: sets }),
            unfamiliar: Some(Unfamiliar { pictures: (100.0 * share) as u64, share }),
        };
        Calibrated { temperature: 1.0, limit: None, validation: judged.clone(), test: Some(judged) }
    };
    let (few, enough) = (calibrated(0.76, 0.58), calibrated(0.88, 0.58));
    let facts = Facts { calibrated: Some(&few), ..fine(&validation, &test) };
    let expected = "do so in 76.0 % of the untouched ones, and 58.0 % of them are unlike";
    assert!(says(&facts, expected), "{:?}", said(&facts));
    let facts = Facts { calibrated: Some(&enough), ..fine(&validation, &test) };
    assert!(!says(&facts, "Sets of classes"));
}

#[test]
fn more_pictures_are_asked_for_where_they_would_help() {
    let (validation, test) = (evaluated(60, [1, 1]), evaluated(60, [1, 1]));
    let curve = |half: f64, whole: f64| {
        let point = |pictures, accuracy, cat| Point {
            pictures,
            accuracy,
            range: (accuracy, accuracy),
            recall: vec![Some(cat), Some(0.9)],
        };
        LearningCurve { points: vec![point(50, half, 0.5), point(100, whole, 0.9)], measured: 900 }
    };
    let (steep, flat) = (curve(0.7, 0.8), curve(0.9, 0.905));
    let facts = Facts { curve: Some(&steep), ..fine(&validation, &test) };
    let expected = "accuracy rose by 10.0 points. Twice as many may bring up to 6.7 points more. Most of all pictures of cat, whose recall rose by 40.0 points.";
    assert!(says(&facts, expected), "{:?}", said(&facts));
    // Three pictures of a class say nothing about it.
    let rare = evaluated(3, [0, 0]);
    let facts = Facts { curve: Some(&steep), ..fine(&validation, &rare) };
    assert!(says(&facts, "More pictures") && !says(&facts, "Most of all"));
    let facts = Facts { curve: Some(&flat), ..fine(&validation, &test) };
    assert!(!says(&facts, "More pictures"));
}

#[test]
fn without_untouched_pictures_that_is_said() {
    let (validation, test) = (evaluated(60, [1, 1]), evaluated(60, [1, 1]));
    let facts = Facts { test: None, ..fine(&validation, &test) };
    assert!(says(&facts, "There are no untouched pictures"));
    assert!(!says(&fine(&validation, &test), "untouched"));
}
