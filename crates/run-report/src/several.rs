//! Reports of several trainings: folds, seeds, studies.

use std::path::Path;

use taper_answer::Answer;
use taper_automl::Tuned;
use taper_core::file::write_atomically;
use taper_metrics::Spread;
use taper_report::page::{Block, Cell, Chart, ColumnKind, Page, Section, Table, Verdict};
use taper_run::{Error, Repeated, Result, data_name};

use crate::{
    sections::{columns, count, figure, footer, of_share, section},
    training::REPORT,
    words::{percent, points},
};

/// Trials that a table lists, the best first.
const LISTED: usize = 200;

/// Writes the report of trainings with several folds or seeds into their folder.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn write_repeated(repeated: &Repeated) -> Result<()> {
    let (answers, by) = match repeated.folds.is_empty() {
        true => (&repeated.seeds, "seed"),
        false => (&repeated.folds, "fold"),
    };
    let Some(first) = answers.first() else { return Ok(()) };
    let (spread, on) = match &repeated.test_accuracy {
        Some(own) => (own, "untouched test pictures"),
        None => (&repeated.val_accuracy, "validation pictures"),
    };
    let title = format!("{} on {}", first.model, data_name(&first.data));
    let sections = vec![
        section("verdict", "How good it is", "", vec![verdict(spread, (by, on))]),
        section("trainings", "The trainings", "", vec![table(answers, by)]),
    ];
    let subtitle = format!("{} trainings, one for each {by}", answers.len());
    let page = Page { title, subtitle, sections, pictures: Vec::new(), footer: footer() };
    write(Path::new(&repeated.run), &page)
}

fn write(folder: &Path, page: &Page) -> Result<()> {
    let path = folder.join(REPORT);
    write_atomically(&path, page.html().as_bytes()).map_err(Error::io("write", &path))
}

/// Mean and deviation. How far they hold for other pictures, each training's own report says.
fn verdict(spread: &Spread, (by, on): (&str, &str)) -> Block {
    let text = match by {
        "fold" => {
            "Each model was trained without one fold of the pictures, which it was validated on."
        }
        _ => {
            "Each seed draws its own validation pictures and its own start: the deviation is what chance in training makes."
        }
    };
    Block::Verdict(Verdict {
        figure: percent(spread.mean),
        label: format!("mean accuracy on {on}"),
        share: spread.mean,
        interval: None,
        text: format!(
            "{text} How far the figure holds for other pictures, the reports of the trainings say."
        ),
        facts: vec![
            ("standard deviation".into(), points(spread.std)),
            ("lowest".into(), percent(spread.min)),
            ("highest".into(), percent(spread.max)),
        ],
    })
}

fn table(answers: &[Answer], by: &str) -> Block {
    let rows = answers.iter().enumerate().map(|(at, own)| {
        let number = if by == "seed" { own.seed } else { at as u64 };
        let test = own.test.as_ref();
        vec![
            Cell::Number { value: number as f64, text: number.to_string() },
            of_share(own.val_accuracy),
            figure(own.val_loss),
            test.map_or(Cell::None, |test| of_share(test.accuracy)),
            test.map_or(Cell::None, |test| figure(test.loss)),
            count(own.pictures[0]),
            Cell::Text(own.run.clone()),
        ]
    });
    Block::Table(Table {
        caption: "Each has a folder and a report of its own".into(),
        columns: columns(&[
            (by, ColumnKind::Number),
            ("validation accuracy", ColumnKind::Share),
            ("validation loss", ColumnKind::Number),
            ("test accuracy", ColumnKind::Share),
            ("test loss", ColumnKind::Number),
            ("trained on", ColumnKind::Number),
            ("folder", ColumnKind::Text),
        ]),
        rows: rows.collect(),
        notes: String::new(),
    })
}

/// Writes the report of a study into its folder, from the table and the charts that are there.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn write_study(tuned: &Tuned) -> Result<()> {
    let folder = Path::new(&tuned.study);
    let mut sections = Vec::new();
    if let Some(best) = &tuned.best {
        let parameters: Vec<(String, String)> =
            best.parameters.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
        let mut facts = vec![
            ("validation loss".into(), format!("{:.4}", best.val_loss)),
            ("trial".into(), best.number.to_string()),
        ];
        let tested = best.test_accuracy.map(percent);
        facts.extend(tested.map(|own| ("on test pictures, which played no part".into(), own)));
        let verdict = Verdict {
            figure: percent(best.val_accuracy),
            label: "accuracy of the best trial on validation pictures".into(),
            share: best.val_accuracy,
            interval: None,
            text: "The best of many is a little too good: it was chosen for this figure.".into(),
            facts,
        };
        let recipe = std::fs::read_to_string(folder.join("best.toml")).unwrap_or_default();
        let blocks = vec![
            Block::Verdict(verdict),
            Block::Facts(parameters),
            Block::Code { caption: "best.toml repeats it".into(), text: recipe },
        ];
        sections.push(section("best", "The best trial", "", blocks));
    }
    sections.extend(charts(folder, tuned));
    sections.extend(trials(folder));
    let counts = &tuned.trials;
    let subtitle = format!(
        "{} complete, {} pruned, {} failed trials; {} epochs",
        counts.complete, counts.pruned, counts.failed, tuned.epochs
    );
    let title = format!("Study of {}", tuned.study);
    write(folder, &Page { title, subtitle, sections, pictures: Vec::new(), footer: footer() })
}

fn charts(folder: &Path, tuned: &Tuned) -> Option<Section> {
    let mut charts = Vec::new();
    let mut add = |file: &str, alt: String| {
        if let Ok(svg) = std::fs::read_to_string(folder.join(file)) {
            charts.push(Block::Chart(Chart { svg, alt, caption: String::new() }));
        }
    };
    add("history.svg", "The figure of each trial, and the best so far.".into());
    let most = tuned.importance.iter().max_by(|a, b| a.1.total_cmp(b.1));
    let most = most
        .map_or(String::new(), |(name, share)| format!(" Most by {name}: {}.", percent(*share)));
    add("importance.svg", format!("How much each parameter mattered.{most}"));
    add("parallel.svg", "The parameters of each trial, coloured by its figure.".into());
    for name in tuned.importance.keys() {
        add(&format!("slice-{name}.svg"), format!("The figure against {name}."));
    }
    (!charts.is_empty()).then(|| section("charts", "What mattered", "", charts))
}

/// The table of trials.
fn trials(folder: &Path) -> Option<Section> {
    let mut table = csv::Reader::from_path(folder.join("trials.csv")).ok()?;
    let names: Vec<String> = table.headers().ok()?.iter().map(str::to_owned).collect();
    let cell = |text: &str| match text.parse::<f64>() {
        _ if text.is_empty() => Cell::None,
        Ok(value) if value.is_finite() => Cell::Number { value, text: text.into() },
        _ => Cell::Text(text.into()),
    };
    let all: Vec<Vec<Cell>> =
        table.records().flatten().map(|row| row.iter().map(cell).collect()).collect();
    let is_number = |column: usize| {
        all.iter().all(|row| matches!(row.get(column), Some(Cell::Number { .. } | Cell::None)))
    };
    let kinds = names.iter().enumerate().map(|(at, name)| {
        let kind = if is_number(at) { ColumnKind::Number } else { ColumnKind::Text };
        (name.as_str(), kind)
    });
    let kinds: Vec<(&str, ColumnKind)> = kinds.collect();
    let more = all.len().saturating_sub(LISTED);
    let table = Table {
        caption: "Trials".into(),
        columns: columns(&kinds),
        rows: all.iter().take(LISTED).cloned().collect(),
        notes: if more > 0 { format!("and {more} more: trials.csv") } else { String::new() },
    };
    Some(section("trials", "All trials", "", vec![Block::Table(table)]))
}
