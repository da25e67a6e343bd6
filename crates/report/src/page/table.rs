//! Tables.

use super::{
    Cell, Column, ColumnKind, Table,
    document::Writer,
    text::{escape, name, paragraphs},
};

/// Tables of more rows scroll, and can be filtered.
const SHORT: usize = 60;

pub(super) fn table(writer: &mut Writer<'_>, table: &Table) -> String {
    let id = writer.id("table");
    let long = if table.rows.len() > SHORT { " long" } else { "" };
    let heading = |column: &Column| {
        let class = class(column.kind);
        match column.name.is_empty() {
            true => format!("<td{class}></td>"),
            false => format!("<th scope=\"col\"{class}>{}</th>", name(&column.name)),
        }
    };
    let headings: String = table.columns.iter().map(heading).collect();
    let rows: String = table.rows.iter().map(|cells| row(&table.columns, cells)).collect();
    format!(
        "<figure class=\"card table\">\n<figcaption id=\"{id}\">{}</figcaption>\n\
         <div class=\"scroll{long}\" tabindex=\"0\" role=\"group\" aria-labelledby=\"{id}\">\n\
         <table aria-labelledby=\"{id}\">\n<thead><tr>{headings}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n</div>\n{}</figure>\n",
        escape(if table.caption.is_empty() { "Table" } else { &table.caption }),
        paragraphs(&table.notes, "notes"),
    )
}

fn class(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Text => "",
        ColumnKind::Number => " class=\"number\"",
        ColumnKind::Share => " class=\"share\"",
    }
}

fn row(columns: &[Column], cells: &[Cell]) -> String {
    let cells = cells.iter().chain(std::iter::repeat(&Cell::None));
    let written: String = columns
        .iter()
        .zip(cells)
        .enumerate()
        .map(|(i, (column, own))| cell(column, own, i))
        .collect();
    format!("<tr>{written}</tr>\n")
}

fn cell(column: &Column, cell: &Cell, index: usize) -> String {
    let class = class(column.kind);
    let (value, content) = match cell {
        Cell::None => (None, String::new()),
        Cell::Text(text) if text.is_empty() => (None, String::new()),
        Cell::Text(text) => (None, name(text)),
        Cell::Number { value, text } => match (column.kind, value.is_finite()) {
            (ColumnKind::Share, true) => (Some(value), bar(*value) + &figure(text)),
            (_, true) => (Some(value), escape(text)),
            (_, false) => (None, escape(text)),
        },
    };
    let value = value.map(|value| format!(" data-value=\"{value}\"")).unwrap_or_default();
    match index == 0 && !content.is_empty() {
        true => format!("<th scope=\"row\"{class}{value}>{content}</th>"),
        false => format!("<td{class}{value}>{content}</td>"),
    }
}

fn figure(text: &str) -> String {
    format!("<span class=\"figure\">{}</span>", escape(text))
}

/// A bar for a share.
pub(super) fn bar(share: f64) -> String {
    format!(
        "<svg class=\"bar\" aria-hidden=\"true\" focusable=\"false\">\
         <rect width=\"{:.1}%\" height=\"100%\"/></svg>",
        100.0 * share.clamp(0.0, 1.0)
    )
}
