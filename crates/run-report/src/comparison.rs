//! The report of a comparison.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use taper_compare::{Comparison, Differs, Paired, PairedMeans, Side};
use taper_data::Dataset;
use taper_plot::{Figure, Line, Panel, Scale, colour, isolated};
use taper_report::{
    Curves, EpochFigures,
    page::{Block, Cell, Chart, ColumnKind, Gallery, Page, Section, Shot, Table},
};

use crate::{
    album::Album,
    sections::{columns, count, figure, footer, of_share, section},
    words::plural,
};

/// Pictures with two answers that are shown for each pair of runs.
const SHOWN: usize = 36;
const COLOURS: [&str; 4] = [colour::BLUE, colour::ORANGE, colour::GREEN, colour::RED];

/// The report of runs that were compared with the first of them, as HTML: `comparisons` has one
/// fewer than `runs`, in their order.
pub fn comparison_report(runs: &[PathBuf], comparisons: &[Comparison]) -> String {
    let dataset = comparisons.iter().find_map(|own| match own {
        Comparison::Pictures { dataset, .. } => Some(dataset.as_ref()),
        Comparison::Trainings { .. } => None,
    });
    let mut album = dataset.map(|dataset| Album::new(dataset, None, SHOWN * 3));
    let mut sections = vec![section("result", "Which is better", "", vec![figures(comparisons)])];
    sections.push(tests(comparisons));
    sections.extend(recipes(runs));
    sections.extend(curves(runs));
    for (at, compared) in comparisons.iter().enumerate() {
        let Comparison::Pictures { differ, second, dataset, .. } = compared else { continue };
        let Some(album) = &mut album else { continue };
        if !differ.is_empty() {
            sections.push(differing(album, dataset, at, (&second.model, differ)));
        }
    }
    let names: Vec<String> = runs.iter().map(|run| run.display().to_string()).collect();
    let page = Page {
        title: "Runs compared".into(),
        subtitle: names.iter().map(|name| isolated(name)).collect::<Vec<_>>().join(" · "),
        sections,
        pictures: album.map(Album::into_thumbnails).unwrap_or_default(),
        footer: footer(),
    };
    page.html()
}

/// The figures of each run.
fn figures(comparisons: &[Comparison]) -> Block {
    let row = |side: &Side| {
        let own = &side.evaluation;
        vec![
            Cell::Text(side.model.clone()),
            of_share(own.accuracy),
            of_share(own.balanced_accuracy),
            figure(own.loss),
            figure(own.brier),
            count(own.n as usize),
        ]
    };
    let mut rows = Vec::new();
    let mut notes = String::new();
    for (at, compared) in comparisons.iter().enumerate() {
        match compared {
            Comparison::Pictures { first, second, data, split, .. } => {
                rows.extend((at == 0).then(|| row(first)));
                rows.push(row(second));
                notes = format!("On {} ({split}).", isolated(data));
            }
            Comparison::Trainings { first, second, by, on, .. } => {
                let row = |name: &String| {
                    let mean = mean(Path::new(name), by, on).map_or(Cell::None, of_share);
                    vec![Cell::Text(name.clone()), mean]
                };
                rows.extend((at == 0).then(|| row(first)));
                rows.push(row(second));
                notes = format!("Means over trainings, on {on} pictures.");
            }
        }
    }
    Block::Table(Table {
        caption: "Each run".into(),
        columns: columns(&[
            ("run", ColumnKind::Text),
            ("accuracy", ColumnKind::Share),
            ("mean recall", ColumnKind::Share),
            ("loss", ColumnKind::Number),
            ("Brier score", ColumnKind::Number),
            ("pictures", ColumnKind::Number),
        ]),
        rows,
        notes,
    })
}

/// The mean accuracy of several trainings, from the file in their folder.
fn mean(folder: &Path, by: &str, on: &str) -> Option<f64> {
    let text = std::fs::read_to_string(folder.join(format!("{by}.json"))).ok()?;
    let figures: serde_json::Value = serde_json::from_str(&text).ok()?;
    let part = if on == "test" { "test_accuracy" } else { "val_accuracy" };
    figures[part]["mean"].as_f64()
}

/// Whether differences are more than chance.
fn tests(comparisons: &[Comparison]) -> Section {
    let rows = comparisons.iter().map(|compared| match compared {
        Comparison::Pictures { second, paired, .. } => of_pictures(&second.model, paired),
        Comparison::Trainings { second, accuracy, .. } => of_means(second, accuracy),
    });
    let table = Table {
        caption: "The first run against each other one".into(),
        columns: columns(&[
            ("against", ColumnKind::Text),
            ("verdict", ColumnKind::Text),
            ("points of accuracy", ColumnKind::Number),
            ("95 % interval", ColumnKind::Text),
            ("p", ColumnKind::Number),
            ("first alone right", ColumnKind::Number),
            ("other alone right", ColumnKind::Number),
        ]),
        rows: rows.collect(),
        notes: "On the same pictures: McNemar's exact test and Newcombe's interval; over trainings: a paired t-test. p is how likely such a difference is if neither is better.".into(),
    };
    section("tests", "Is it more than chance?", "", vec![Block::Table(table)])
}

fn points(difference: f64) -> String {
    format!("{:+.2}", 100.0 * difference)
}

fn verdict(p_value: f64, difference: f64) -> String {
    match p_value < 0.05 {
        true if difference > 0.0 => "the first is better".into(),
        true => "the other is better".into(),
        false => "it may be chance".into(),
    }
}

fn of_pictures(name: &str, own: &Paired) -> Vec<Cell> {
    vec![
        Cell::Text(name.into()),
        Cell::Text(verdict(own.p_value, own.difference)),
        Cell::Number { value: own.difference, text: points(own.difference) },
        Cell::Text(format!("{} to {}", points(own.low), points(own.high))),
        Cell::Number { value: own.p_value, text: format!("{:.3}", own.p_value) },
        count(own.first_alone),
        count(own.second_alone),
    ]
}

fn of_means(name: &str, own: &PairedMeans) -> Vec<Cell> {
    vec![
        Cell::Text(name.into()),
        Cell::Text(verdict(own.p_value, own.difference)),
        Cell::Number { value: own.difference, text: points(own.difference) },
        Cell::Text(format!("{} to {}", points(own.low), points(own.high))),
        Cell::Number { value: own.p_value, text: format!("{:.3}", own.p_value) },
    ]
}

/// The folder of a run, which may be given by the model in it.
fn folder(run: &Path) -> &Path {
    match run.is_dir() {
        true => run,
        false => run.parent().unwrap_or(run),
    }
}

/// The settings in which the recipes differ.
fn recipes(runs: &[PathBuf]) -> Option<Section> {
    let settings: Vec<BTreeMap<String, String>> = runs
        .iter()
        .map(|run| {
            let text = std::fs::read_to_string(folder(run).join("recipe.toml")).ok();
            let table = text.and_then(|text| text.parse::<toml::Table>().ok());
            let mut flat = BTreeMap::new();
            flatten("", &toml::Value::Table(table.unwrap_or_default()), &mut flat);
            flat
        })
        .collect();
    let names: BTreeSet<&String> = settings.iter().flat_map(BTreeMap::keys).collect();
    let differs =
        |name: &&&String| settings.iter().any(|own| own.get(**name) != settings[0].get(**name));
    let cell = |own: &BTreeMap<String, String>, name: &String| {
        own.get(name).map_or(Cell::None, |value| Cell::Text(value.clone()))
    };
    let rows: Vec<Vec<Cell>> = names
        .iter()
        .filter(differs)
        .map(|name| {
            let mut row = vec![Cell::Text((*name).clone())];
            row.extend(settings.iter().map(|own| cell(own, name)));
            row
        })
        .collect();
    if settings.iter().all(BTreeMap::is_empty) {
        return None;
    }
    if rows.is_empty() {
        let text = "All settings are the same.".into();
        return Some(section("recipes", "In what they differ", "", vec![Block::Text(text)]));
    }
    let runs: Vec<String> = runs.iter().map(|run| run.display().to_string()).collect();
    let mut heads = vec![("setting", ColumnKind::Text)];
    heads.extend(runs.iter().map(|run| (run.as_str(), ColumnKind::Text)));
    let table = Table {
        caption: "Settings that are not the same".into(),
        columns: columns(&heads),
        rows,
        notes: String::new(),
    };
    Some(section("recipes", "In what they differ", "", vec![Block::Table(table)]))
}

/// `optimizer.algorithm.kind = adam` and so on.
fn flatten(name: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&name, value, into);
            }
        }
        toml::Value::String(text) => {
            into.insert(name.into(), text.clone());
        }
        other => {
            into.insert(name.into(), other.to_string());
        }
    }
}

/// The validation figures of runs that were trained in epochs.
fn curves(runs: &[PathBuf]) -> Option<Section> {
    let epochs = |run: &PathBuf| -> Option<Vec<EpochFigures>> {
        let folder = folder(run);
        let files = ["fine-tune/history.csv", "history.csv"].map(|name| folder.join(name));
        let text = files.iter().find_map(|file| std::fs::read_to_string(file).ok())?;
        Curves::epochs_from_csv(&text).ok()
    };
    let all: Vec<(String, Vec<EpochFigures>)> =
        runs.iter().filter_map(|run| Some((run.display().to_string(), epochs(run)?))).collect();
    (!all.is_empty()).then_some(())?;
    let panel = |title: &str, of: fn(&EpochFigures) -> Option<f64>, named: bool| Panel {
        title: title.into(),
        height: 200.0,
        lines: all
            .iter()
            .enumerate()
            .map(|(at, (name, epochs))| {
                let points = epochs.iter().filter_map(|e| Some(((e.epoch + 1) as f64, of(e)?)));
                let label = if named { name.clone() } else { String::new() };
                Line::new(label, COLOURS[at % COLOURS.len()], points.collect())
            })
            .collect(),
        ..Panel::default()
    };
    let figure = Figure {
        title: "On validation pictures".into(),
        x_label: "epoch".into(),
        x_scale: Scale::Whole,
        panels: vec![
            panel("Loss", |epoch| epoch.val_loss, true),
            panel("Accuracy", |epoch| epoch.val_accuracy, false),
        ],
        ..Figure::default()
    };
    let missing = runs.len() - all.len();
    let chart = Chart {
        svg: figure.draw().svg().to_owned(),
        alt: "Validation loss and accuracy of each run over its epochs.".into(),
        caption: match missing {
            0 => String::new(),
            n => format!("{} not trained in epochs.", plural(n, "run was", "runs were")),
        },
    };
    Some(section("curves", "How they were trained", "", vec![Block::Chart(chart)]))
}

/// Pictures that two runs take for different classes.
fn differing(
    album: &mut Album<'_>,
    dataset: &Dataset,
    at: usize,
    (model, differ): (&str, &[Differs]),
) -> Section {
    album.add(differ.iter().take(SHOWN).map(|own| own.sample));
    let shots = differ.iter().take(SHOWN).map(|own| Shot {
        picture: album.place(own.sample),
        name: dataset.samples()[own.sample].id.clone(),
        truth: Some(own.label.clone()),
        note: format!(
            "the first says {}, the other {}",
            isolated(&own.first),
            isolated(&own.second)
        ),
        ..Shot::default()
    });
    let caption = match differ.len() {
        n if n > SHOWN => format!("{SHOWN} of {n} pictures"),
        n => plural(n, "picture", "pictures"),
    };
    let gallery = Gallery { caption, shots: shots.collect(), filter: true };
    let title = format!("Where the first and {} differ", isolated(model));
    section(&format!("differ-{}", at + 1), &title, "", vec![Block::Gallery(gallery)])
}
