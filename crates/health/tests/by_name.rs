//! Pictures whose names describe them badly, on made-up features: planted wrong labels are found,
//! doubts are not, and names that say nothing are no witness.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::BTreeSet;

use taper_core::random::{Key, Purpose, Stream};
use taper_data::{Dataset, fixture};
use taper_health::{Embeddings, Health, Names, Watch, inspect};
use taper_sources::{FolderUse, open_folder};

const WIDTH: usize = 32;
const EACH: usize = 24;
const CLASSES: [&str; 4] = ["bird", "cat", "dog", "fish"];

fn unit(mut row: Vec<f32>) -> Vec<f32> {
    let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
    row.iter_mut().for_each(|v| *v /= length);
    row
}

/// A data set of pictures whose pixels do not matter here.
fn dataset() -> (tempfile::TempDir, Dataset) {
    let folder = tempfile::tempdir().unwrap();
    fixture::write_folder(folder.path(), &[("train", EACH)], &CLASSES).unwrap();
    let dataset = open_folder(folder.path(), FolderUse::Evaluate).unwrap();
    assert_eq!(dataset.len(), EACH * CLASSES.len());
    (folder, dataset)
}

/// What each picture shows: with planted wrong labels, by place in its class.
struct Made {
    embeddings: Embeddings,
    directions: Vec<f32>,
    /// Pictures of another class than their label says.
    wrong: BTreeSet<usize>,
}

fn made(dataset: &Dataset) -> Made {
    let mut stream = Key::new(20_261_127, Purpose::new("test/by-name")).stream(0, 0);
    let random =
        |stream: &mut Stream| -> Vec<f32> { unit((0..WIDTH).map(|_| stream.normal()).collect()) };
    let names: Vec<Vec<f32>> = CLASSES.iter().map(|_| random(&mut stream)).collect();
    let mut values = Vec::new();
    let mut wrong = BTreeSet::new();
    let mut seen = [0; CLASSES.len()];
    for (index, sample) in dataset.samples().iter().enumerate() {
        let label = sample.label as usize;
        let next = (label + 1) % CLASSES.len();
        let at = seen[label];
        seen[label] += 1;
        // Two are of another class; two show a bit more of another class than of their own.
        let (own, other, noisy) = match at {
            0 | 1 => (0.0, 0.5, 0.3),
            2 | 3 => (0.40, 0.41, 0.0),
            _ => (0.5, 0.0, 0.3),
        };
        if at < 2 {
            wrong.insert(index);
        }
        let noise = random(&mut stream);
        let row = (0..WIDTH).map(|k| {
            let shown = own * names[label][k] + other * names[next][k];
            3.0 * (shown + noisy * noise[k])
        });
        values.extend(row);
    }
    let samples = (0..dataset.len()).collect();
    Made {
        embeddings: Embeddings { width: WIDTH, values, samples },
        directions: names.concat(),
        wrong,
    }
}

fn asked(dataset: &Dataset, made: &Made, directions: &[f32], pictures: bool) -> Health {
    let embeddings = pictures.then_some(&made.embeddings);
    let mut health = inspect(dataset, embeddings, &Watch::default()).unwrap();
    // The fixture's pictures are alike; their labels are not what is tested here.
    health.label_conflicts.clear();
    let names = Names { model: "made-up", embeddings: &made.embeddings, directions, factor: 20.0 };
    health.ask_names(dataset, &names).unwrap();
    health
}

fn found(health: &Health) -> BTreeSet<usize> {
    health.badly_named.iter().map(|own| own.index).collect()
}

#[test]
fn planted_labels_are_found_and_doubts_are_not() {
    let (_folder, dataset) = dataset();
    let made = made(&dataset);
    let health = asked(&dataset, &made, &made.directions, false);
    let figures = health.names.as_ref().unwrap();
    assert!(figures.meaningful && figures.undescribed.is_empty(), "{figures:?}");
    assert!((0.8..0.95).contains(&figures.accuracy) && figures.chance == 0.25, "{figures:?}");
    assert_eq!(found(&health), made.wrong);
    for own in &health.badly_named {
        let label = CLASSES.iter().position(|name| *name == own.label).unwrap();
        assert_eq!(own.looks_like, CLASSES[(label + 1) % CLASSES.len()]);
        assert!(own.probability > 0.5 && own.given < 0.25 && own.witnesses == 1, "{own:?}");
        assert_eq!(own.path, dataset.samples()[own.index].id);
    }
    let sorted = health.badly_named.is_sorted_by(|a, b| a.probability >= b.probability);
    assert!(sorted && health.notes.iter().all(|note| !note.contains("made-up")));
    let advice = health.advice.iter().find(|text| text.starts_with("names: ")).unwrap();
    assert!(advice.contains("8 pictures are") && advice.contains("badly-named.png"), "{advice}");
    let text = health.to_string();
    assert!(text.contains("another class's name describes better: 8"), "{text}");
    let json = serde_json::to_value(&health).unwrap();
    assert_eq!(json["badly_named"].as_array().unwrap().len(), 8);
    assert_eq!(json["names"]["model"], "made-up");
}

#[test]
fn what_both_witnesses_name_comes_first() {
    let (_folder, dataset) = dataset();
    let made = made(&dataset);
    let mut health = asked(&dataset, &made, &made.directions, true);
    // The other pictures name some of them too.
    let both: BTreeSet<usize> = health.label_errors.iter().map(|own| own.index).collect();
    let both: BTreeSet<usize> = both.intersection(&made.wrong).copied().collect();
    assert!(!both.is_empty(), "{health}");
    let marked = |witnesses: usize, health: &Health| -> BTreeSet<usize> {
        let own = health.badly_named.iter().filter(|own| own.witnesses == witnesses);
        own.map(|own| own.index).collect()
    };
    assert_eq!(marked(2, &health), both);
    assert!(health.badly_named.is_sorted_by(|a, b| a.witnesses >= b.witnesses));
    let of_errors = health.label_errors.iter().filter(|own| own.witnesses == 2);
    assert_eq!(of_errors.map(|own| own.index).collect::<BTreeSet<_>>(), both);
    assert!(health.label_errors.is_sorted_by(|a, b| a.witnesses >= b.witnesses));
    // One of them alone comes later, however probable.
    let alone = health.label_errors.remove(0);
    let names = Names {
        model: "made-up",
        embeddings: &made.embeddings,
        directions: &made.directions,
        factor: 20.0,
    };
    health.ask_names(&dataset, &names).unwrap();
    assert_eq!(found(&health), made.wrong);
    let place = health.badly_named.iter().position(|own| own.index == alone.index).unwrap();
    assert_eq!(health.badly_named[place].witnesses, 1);
    assert!(health.badly_named[..place].iter().filter(|own| own.witnesses == 2).count() > 0);
}

#[test]
fn names_that_say_nothing_are_no_witness() {
    let (_folder, dataset) = dataset();
    let made = made(&dataset);
    // Names that point anywhere, and those of other classes.
    let mut stream = Key::new(7, Purpose::new("test/meaningless")).stream(0, 0);
    let anywhere: Vec<f32> = (0..CLASSES.len())
        .flat_map(|_| unit((0..WIDTH).map(|_| stream.normal()).collect()))
        .collect();
    let mut shifted = made.directions.clone();
    shifted.rotate_left(2 * WIDTH);
    for directions in [&anywhere, &shifted] {
        let health = asked(&dataset, &made, directions, true);
        let figures = health.names.as_ref().unwrap();
        assert!(!figures.meaningful, "{figures:?}");
        assert_eq!(found(&health), BTreeSet::new());
        let note = health.notes.iter().find(|note| note.contains("made-up")).unwrap();
        assert!(note.contains("25 % is chance") && note.contains("`prompts`"), "{note}");
        assert!(health.advice.iter().all(|text| !text.starts_with("names: ")));
        assert!(health.label_errors.iter().all(|own| own.witnesses == 1));
    }
}

#[test]
fn a_single_name_that_says_nothing_is_left_out() {
    let (_folder, dataset) = dataset();
    let made = made(&dataset);
    // The second class has a name that fits nothing: all its pictures look like others.
    let mut directions = made.directions.clone();
    let mut stream = Key::new(8, Purpose::new("test/meaningless")).stream(0, 0);
    let nowhere = unit((0..WIDTH).map(|_| stream.normal()).collect());
    directions[WIDTH..2 * WIDTH].copy_from_slice(&nowhere);
    let health = asked(&dataset, &made, &directions, false);
    let figures = health.names.as_ref().unwrap();
    assert!(figures.meaningful, "{figures:?}");
    assert_eq!(figures.undescribed, [CLASSES[1]]);
    // Neither its pictures, nor those that belong to it.
    let label = |index: &usize| dataset.samples()[*index].label;
    let expected = made.wrong.iter().copied().filter(|index| label(index) > 1).collect();
    assert_eq!(found(&health), expected);
    let note = health.notes.iter().find(|note| note.contains("made-up")).unwrap();
    assert!(note.ends_with("no witness for label errors there: 'cat'"), "{note}");
}

#[test]
fn directions_that_do_not_fit_are_refused() {
    let (_folder, dataset) = dataset();
    let made = made(&dataset);
    let mut health = inspect(&dataset, None, &Watch::default()).unwrap();
    let names = Names {
        model: "made-up",
        embeddings: &made.embeddings,
        directions: &made.directions[1..],
        factor: 20.0,
    };
    let error = health.ask_names(&dataset, &names).unwrap_err().to_string();
    assert!(error.contains("the names of the classes need as many numbers"), "{error}");
    assert!(health.names.is_none());
}
