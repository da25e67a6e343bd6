//! What a search tried, in the report of the training that it ended with.

use taper_automl::Searched;
use taper_core::file::write_atomically;
use taper_report::page::{Block, Cell, ColumnKind, Page, Section, Table};
use taper_run::{Error, Result};

use crate::{
    sections::{columns, count, section},
    training::REPORT,
};

/// Adds what a search tried to the report in its folder, if there is one.
///
/// # Errors
/// [`Error::Io`] if the report cannot be read or written.
pub fn add_search(searched: &Searched) -> Result<()> {
    let path = std::path::Path::new(&searched.answer.run).join(REPORT);
    if !path.is_file() {
        return Ok(());
    }
    let html = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    match Page::with_section(&html, &tried(searched), "details") {
        Some(html) => write_atomically(&path, html.as_bytes()).map_err(Error::io("write", &path)),
        // Of another program.
        None => Ok(()),
    }
}

fn tried(searched: &Searched) -> Section {
    let own = &searched.search;
    let number = |value: f64, text: String| Cell::Number { value, text };
    let rows = own.tried.iter().map(|tried| {
        let gain = match tried.gain {
            Some(gain) => {
                let text = format!("{:+.4} ± {:.4}", gain.brier, gain.standard_error);
                number(gain.brier, text)
            }
            None => Cell::Text(String::new()),
        };
        vec![
            Cell::Text(tried.name.clone()),
            Cell::Text(if tried.kept { "yes" } else { "no" }.into()),
            count(tried.folds),
            number(tried.accuracy, format!("{:.4}", tried.accuracy)),
            number(tried.brier, format!("{:.4}", tried.brier)),
            gain,
            number(tried.seconds, format!("{:.1}", tried.seconds)),
        ]
    });
    let table = Table {
        caption: format!("{:.0} of {:.0} seconds were used", own.seconds, own.time_limit),
        columns: columns(&[
            ("tried", ColumnKind::Text),
            ("kept", ColumnKind::Text),
            ("folds", ColumnKind::Number),
            ("accuracy", ColumnKind::Number),
            ("Brier score", ColumnKind::Number),
            ("gain", ColumnKind::Number),
            ("seconds", ColumnKind::Number),
        ]),
        rows: rows.collect(),
        notes: "The gain is that of the Brier score, with its standard error; search.json and tried.csv have more.".into(),
    };
    let lead = format!(
        "The model is: {}. Candidates were judged on folds of the pictures that may be learned from; test pictures played no part.",
        own.chosen
    );
    section("search", "What was tried", &lead, vec![Block::Table(table)])
}
