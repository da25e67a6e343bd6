//! What was taken for what.

use std::collections::BTreeMap;

use crate::thousands;

use super::{
    Confusion, Shot,
    document::Writer,
    gallery::shots,
    table::bar,
    text::{name, percent, pictures},
};

/// More classes than these are not shown as a matrix.
const MATRIX: usize = 25;
/// Cells of more classes are small.
const DENSE: usize = 14;
/// As many pairs are listed where there is no matrix.
const PAIRS: usize = 40;
/// Up to as many classes, cells have room for percentages.
const ROOMY: usize = 6;

/// A true class and what it was predicted as.
struct Pair<'a> {
    truth: usize,
    predicted: usize,
    count: u64,
    /// The share of the true class's pictures.
    share: f64,
    shots: Vec<&'a Shot>,
}

pub(super) fn confusion(writer: &mut Writer<'_>, confusion: &Confusion) -> String {
    let k = confusion.labels.len();
    let count = |truth: usize, predicted: usize| {
        confusion.counts.get(truth).and_then(|row| row.get(predicted)).copied().unwrap_or(0)
    };
    let mut behind: BTreeMap<(usize, usize), Vec<&Shot>> = BTreeMap::new();
    for cell in confusion.cells.iter().filter(|c| c.truth < k && c.predicted < k) {
        behind.entry((cell.truth, cell.predicted)).or_default().extend(&cell.shots);
    }
    let mut pairs = Vec::new();
    for truth in 0..k {
        let all: u64 = (0..k).map(|predicted| count(truth, predicted)).sum();
        for predicted in 0..k {
            let (n, shots) = (count(truth, predicted), behind.remove(&(truth, predicted)));
            let shots = shots.unwrap_or_default();
            if n > 0 || !shots.is_empty() {
                let share = if all == 0 { 0.0 } else { n as f64 / all as f64 };
                pairs.push(Pair { truth, predicted, count: n, share, shots });
            }
        }
    }
    match k <= MATRIX {
        true => matrix(writer, &confusion.labels, &pairs),
        false => list(writer, &confusion.labels, pairs),
    }
}

fn matrix(writer: &mut Writer<'_>, labels: &[String], pairs: &[Pair<'_>]) -> String {
    let k = labels.len();
    let id = writer.id("matrix");
    let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let look = match k {
        k if k > DENSE => " turned dense",
        k if k > ROOMY || longest * k > 48 => " turned",
        _ => "",
    };
    let by_place: BTreeMap<_, _> = pairs.iter().map(|p| ((p.truth, p.predicted), p)).collect();
    let headings: String =
        labels.iter().map(|label| format!("<th scope=\"col\">{}</th>", name(label))).collect();
    let mut rows = String::new();
    for (truth, label) in labels.iter().enumerate() {
        rows += &format!("<tr><th scope=\"row\">{}</th>", name(label));
        for predicted in 0..k {
            rows += &cell(&id, by_place.get(&(truth, predicted)).copied(), truth == predicted, k);
        }
        rows += "</tr>\n";
    }
    // Mistakes before right answers, the most frequent ones first.
    let mut shown: Vec<&Pair<'_>> = pairs.iter().filter(|pair| !pair.shots.is_empty()).collect();
    shown.sort_by_key(|p| (p.truth == p.predicted, std::cmp::Reverse(p.count)));
    let details: String = shown.iter().map(|pair| details(writer, &id, labels, pair)).collect();
    let details = match details.is_empty() {
        true => details,
        false => format!("<div class=\"pairs\">\n{details}</div>\n"),
    };
    format!(
        "<div class=\"card confusion\" id=\"{id}\">\n\
         <figure class=\"whole\">\n\
         <figcaption id=\"{id}_caption\" class=\"quiet\">Rows are true classes, \
         columns what the model predicted. The stronger the colour of a cell, the larger its share \
         of the row.</figcaption>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-labelledby=\"{id}_caption\">\n\
         <table class=\"matrix{look}\" aria-labelledby=\"{id}_caption\">\n<thead>\n\
         <tr><td></td><th scope=\"colgroup\" colspan=\"{k}\">Predicted</th></tr>\n\
         <tr><th scope=\"col\">True class</th>{headings}</tr>\n</thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n</div>\n</figure>\n{details}</div>\n"
    )
}

/// A cell of the matrix, which names the details with its pictures if there are any.
fn cell(matrix: &str, pair: Option<&Pair<'_>>, is_right: bool, classes: usize) -> String {
    let Some(pair) = pair else {
        return "<td class=\"zero\"><span aria-hidden=\"true\">·</span>\
                <span class=\"away\">0</span></td>"
            .into();
    };
    // The square root makes a few mistakes among many answers visible.
    let depth = if is_right { pair.share } else { pair.share.sqrt() };
    let step = (10.0 * depth).round().clamp(if pair.count == 0 { 0.0 } else { 1.0 }, 10.0);
    let link = match pair.shots.is_empty() {
        true => String::new(),
        false => format!(" data-pair=\"{}\"", pair_id(matrix, pair)),
    };
    let share = match classes <= ROOMY {
        true => format!("<span class=\"part\">{}</span>", percent(pair.share)),
        false => String::new(),
    };
    let class = if is_right { "right" } else { "wrong" };
    format!(
        "<td class=\"{class} depth{step}\"{link}><span class=\"count\">{}</span>{share}</td>",
        thousands(pair.count)
    )
}

fn pair_id(matrix: &str, pair: &Pair<'_>) -> String {
    format!("{matrix}_{}_{}", pair.truth, pair.predicted)
}

/// The pictures behind a pair of classes.
fn details(writer: &Writer<'_>, matrix: &str, labels: &[String], pair: &Pair<'_>) -> String {
    let own: Vec<Shot> = pair.shots.iter().map(|shot| (*shot).clone()).collect();
    let n = own.len() as u64;
    let partly = match n < pair.count {
        true => {
            let (n, all) = (thousands(n), pictures(pair.count));
            format!("<p class=\"quiet\">{n} of {all} are shown.</p>\n")
        }
        false => String::new(),
    };
    format!(
        "<details class=\"pair\" id=\"{}\"><summary>{}</summary>\n{partly}{}</details>\n",
        pair_id(matrix, pair),
        sentence(labels, pair),
        shots(writer, &own),
    )
}

fn sentence(labels: &[String], pair: &Pair<'_>) -> String {
    let (truth, predicted) = (name(&labels[pair.truth]), name(&labels[pair.predicted]));
    let what = match pair.truth == pair.predicted {
        true => format!("{truth} recognised"),
        false => format!("{truth} taken for {predicted}"),
    };
    format!(
        "<span class=\"what\">{what}</span> {}<span class=\"count\">{}</span> \
         <span class=\"part\">{}</span>",
        bar(pair.share),
        thousands(pair.count),
        percent(pair.share),
    )
}

/// The pairs that were confused most often.
fn list(writer: &mut Writer<'_>, labels: &[String], pairs: Vec<Pair<'_>>) -> String {
    let id = writer.id("pairs");
    let mut wrong: Vec<Pair<'_>> = pairs.into_iter().filter(|p| p.truth != p.predicted).collect();
    wrong.sort_by(|a, b| b.count.cmp(&a.count).then(b.share.total_cmp(&a.share)));
    let all = wrong.len();
    let caption = match all {
        0 => "No class was taken for another.".to_string(),
        n if n > PAIRS => format!(
            "The {PAIRS} pairs of classes that were confused most often, of {}, with the share of \
             the first class\u{2019}s pictures.",
            thousands(n as u64)
        ),
        _ => "The pairs of classes that were confused, with the share of the first class\u{2019}s \
               pictures."
            .to_string(),
    };
    let item = |pair: &Pair<'_>| {
        let content = match pair.shots.is_empty() {
            true => format!("<p class=\"pair\">{}</p>\n", sentence(labels, pair)),
            false => details(writer, &id, labels, pair),
        };
        format!("<li>{content}</li>\n")
    };
    let items: String = wrong.iter().take(PAIRS).map(item).collect();
    let items = match items.is_empty() {
        true => items,
        false => format!("<ol class=\"most\">\n{items}</ol>\n"),
    };
    format!(
        "<figure class=\"card confusion\" id=\"{id}\">\n\
         <figcaption class=\"quiet\">{caption}</figcaption>\n\
         {items}</figure>\n"
    )
}
