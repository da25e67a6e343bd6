//! The report of an evaluation.

use taper_model::Classifier;
use taper_picture::Finding;
use taper_predict::Evaluated;
use taper_report::page::{Block, Cell, ColumnKind, Page, Table};

use crate::{
    advice::{Facts, SURE, advice},
    album::Album,
    answers::{error_by_chance, mistakes, told},
    sections::{Assessed, columns, footer, section},
    training::room,
    words::quoted,
};

/// Findings that are listed.
const LISTED: usize = 50;

/// What an evaluation was of.
#[derive(Debug, Clone, Copy)]
pub struct EvaluationOf<'a> {
    /// The model, as it was given.
    pub model: &'a str,
    /// The data, as they were given.
    pub data: &'a str,
    /// The split, or `all`.
    pub split: &'a str,
    /// What maps come from: the model, opened on the CPU.
    pub classifier: &'a Classifier,
    /// Whether its probabilities are calibrated: at which temperature.
    pub temperature: f64,
    /// Pictures that were left out, and remarks.
    pub findings: &'a [Finding],
}

/// The report of an evaluation, as HTML.
pub fn evaluation_report(of: &EvaluationOf<'_>, evaluated: &Evaluated) -> String {
    let dataset = evaluated.dataset.as_ref();
    let all = told(&evaluated.samples, &evaluated.labels, &evaluated.logits, of.temperature);
    let pictures = match of.split {
        "all" => "pictures".to_owned(),
        split => format!("pictures of the split {split}"),
    };
    let assessed = Assessed {
        dataset,
        evaluation: &evaluated.evaluation,
        judged: evaluated.judged.as_ref(),
        told: &all,
        pictures: &pictures,
    };
    let mut album = Album::new(dataset, Some(of.classifier), room(dataset));
    album.add(assessed.wanted());
    let wrong = mistakes(&all);
    let text = format!(
        "{} of {} pictures were taken for another class.",
        wrong.len(),
        evaluated.evaluation.n
    );
    let facts = vec![
        (
            "mean recall of the classes".into(),
            crate::words::percent(evaluated.evaluation.balanced_accuracy),
        ),
        ("loss".into(), format!("{:.4}", evaluated.evaluation.loss)),
        ("data".into(), of.data.to_owned()),
        ("model".into(), of.model.to_owned()),
    ];
    let title = format!("{} on {}", of.model, taper_run::data_name(of.data));
    let next = advice(&Facts {
        data: format!("--data {}", quoted(of.data)),
        run: of.model.into(),
        test: Some(&evaluated.evaluation),
        sure_mistakes: wrong.iter().filter(|own| own.probability >= SURE).count(),
        error_by_chance: error_by_chance(&all),
        ..Facts::default()
    });
    let mut sections = vec![
        section("verdict", "How good it is", "", vec![assessed.verdict(text, facts)]),
        section("next", "What to do next", "", vec![Block::Advice(next)]),
    ];
    if !of.findings.is_empty() {
        let row =
            |own: &Finding| vec![Cell::Text(own.path.clone()), Cell::Text(own.reason.clone())];
        let more = of.findings.len().saturating_sub(LISTED);
        let table = Table {
            caption: "Left out, and remarks".into(),
            columns: columns(&[("what", ColumnKind::Text), ("why", ColumnKind::Text)]),
            rows: of.findings.iter().take(LISTED).map(row).collect(),
            notes: if more > 0 { format!("and {more} more") } else { String::new() },
        };
        sections.push(section("data", "Data", "", vec![Block::Table(table)]));
    }
    sections.push(assessed.class_section(&album, None));
    sections.extend(assessed.mistake_sections(&album));
    sections.extend(assessed.trust_sections(&title));
    let subtitle = format!("{} pictures, {}", evaluated.evaluation.n, of.split);
    let page =
        Page { title, subtitle, sections, pictures: album.into_thumbnails(), footer: footer() };
    page.html()
}
