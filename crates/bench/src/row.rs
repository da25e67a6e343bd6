//! The results of a benchmark: rows, as a table for humans and as JSON.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::Context;
use serde::Serialize;

use crate::protocol::median;

/// One comparison, or one figure of Taper's own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// What was done, e.g. `resnet50-256-f32-b8`.
    pub(crate) case: String,
    /// The peer; `null` without one.
    pub(crate) peer: Option<String>,
    /// Taper's figure: the median of the rounds.
    pub(crate) taper: f64,
    /// The peer's figure: the median of the rounds.
    pub(crate) peer_value: Option<f64>,
    /// The unit of the figures; more is better, except for minutes.
    pub(crate) unit: &'static str,
    /// The median of the rounds' ratios, Taper over peer: above 1, Taper is better.
    pub(crate) ratio: Option<f64>,
    /// Taper's figure of each round.
    pub(crate) taper_rounds: Vec<f64>,
    /// The peer's figure of each round.
    pub(crate) peer_rounds: Vec<f64>,
    /// Name and version of the peer.
    pub(crate) peer_version: Option<String>,
    /// Threads of each.
    pub(crate) threads: usize,
}

/// What was measured, alone or against a peer, in rounds.
#[derive(Debug)]
pub(crate) struct Compared<'a> {
    pub(crate) case: String,
    pub(crate) unit: &'static str,
    pub(crate) own: &'a [f64],
    /// The peer and its figures.
    pub(crate) peer: Option<(&'a str, &'a [f64])>,
    pub(crate) less_is_better: bool,
    pub(crate) version: Option<&'a str>,
    pub(crate) threads: usize,
}

impl Row {
    /// The medians of rounds; with figures of which less is better, the ratio is the peer's over
    /// Taper's.
    pub(crate) fn compared(of: Compared<'_>) -> Self {
        let theirs = of.peer.map(|(_, figures)| figures);
        let pairs = of.own.iter().zip(theirs.into_iter().flatten());
        let mut ratios: Vec<f64> =
            pairs.map(|(a, b)| if of.less_is_better { b / a } else { a / b }).collect();
        Self {
            case: of.case,
            peer: of.peer.map(|(name, _)| name.into()),
            taper: median(&mut of.own.to_vec()),
            peer_value: theirs.map(|own| median(&mut own.to_vec())),
            unit: of.unit,
            ratio: theirs.map(|_| median(&mut ratios)),
            taper_rounds: of.own.to_vec(),
            peer_rounds: theirs.unwrap_or_default().to_vec(),
            peer_version: of.peer.and(of.version).map(str::to_owned),
            threads: of.threads,
        }
    }
}

/// The lines of a table of rows; the first one is its head.
pub(crate) fn table(rows: &[Row]) -> Vec<String> {
    let head = ["case", "peer", "taper", "peer's", "ratio", "unit"].map(str::to_owned);
    let figure =
        |value: f64| if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") };
    let optional = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), figure);
    let lines: Vec<[String; 6]> = rows
        .iter()
        .map(|row| {
            [
                row.case.clone(),
                row.peer.clone().unwrap_or_else(|| "–".to_owned()),
                figure(row.taper),
                optional(row.peer_value),
                row.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
                row.unit.to_owned(),
            ]
        })
        .collect();
    let width = |column: usize| {
        let cells = lines.iter().chain([&head]);
        cells.map(|line| line[column].chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let show = |cells: &[String; 6]| {
        let [case, peer, taper, other, ratio, unit] = cells;
        format!(
            "{case:0$}  {peer:1$}  {taper:>2$}  {other:>3$}  {ratio:>4$}  {unit}",
            widths[0], widths[1], widths[2], widths[3], widths[4]
        )
    };
    [&head].into_iter().chain(&lines).map(show).collect()
}

/// Prints rows on standard output.
pub(crate) fn print(rows: &[Row]) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    for line in table(rows) {
        writeln!(output, "{line}")?;
    }
    Ok(())
}

/// Writes the rows as a JSON array.
pub(crate) fn write_json(rows: &[Row], path: &Path) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(rows)?;
    fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let own = Row {
            case: "a".into(),
            peer: None,
            taper: 123.456,
            peer_value: None,
            unit: "pictures/s",
            ratio: None,
            taper_rounds: vec![123.456],
            peer_rounds: Vec::new(),
            peer_version: None,
            threads: 2,
        };
        let against = Row {
            case: "longer".into(),
            peer: Some("rten".into()),
            peer_value: Some(3.25),
            ratio: Some(37.987),
            ..own.clone()
        };
        vec![own, against]
    }

    #[test]
    fn a_table_is_aligned() {
        assert_eq!(
            table(&rows()),
            [
                "case    peer  taper  peer's  ratio  unit",
                "a       –     123.5       –      –  pictures/s",
                "longer  rten  123.5    3.25  37.99  pictures/s",
            ]
        );
    }

    #[test]
    fn json_has_the_fields_that_scripts_rely_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.json");
        write_json(&rows(), &path).unwrap();
        let value: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(value[0]["peer"], serde_json::Value::Null);
        assert_eq!(value[1]["case"], "longer");
        assert_eq!(value[1]["peer"], "rten");
        assert_eq!(value[1]["taper"], 123.456);
        assert_eq!(value[1]["peer_value"], 3.25);
        assert_eq!(value[1]["unit"], "pictures/s");
        assert_eq!(value[1]["ratio"], 37.987);
    }
}
