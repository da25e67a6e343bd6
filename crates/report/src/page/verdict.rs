//! The result in one figure, with its interval on a scale.

use super::{
    Verdict,
    document::facts,
    text::{escape, paragraphs, percent},
};

pub(super) fn verdict(verdict: &Verdict) -> String {
    format!(
        "<div class=\"card verdict\">\n\
         <p class=\"result\"><span class=\"big\">{}</span> <span class=\"label\">{}</span></p>\n\
         <div class=\"said\">\n{}{}</div>\n{}</div>\n",
        escape(&verdict.figure),
        escape(&verdict.label),
        scale(verdict),
        paragraphs(&verdict.text, "text"),
        facts(&verdict.facts),
    )
}

/// The figure and its interval on a scale that is no longer than it needs to be.
fn scale(verdict: &Verdict) -> String {
    if !verdict.share.is_finite() {
        return String::new();
    }
    let share = verdict.share.clamp(0.0, 1.0);
    let limits = verdict.interval.filter(|(low, high)| low.is_finite() && high.is_finite());
    let limits = limits.map(|(low, high)| (low.clamp(0.0, 1.0), high.clamp(0.0, 1.0)));
    let (low, high) = limits.unwrap_or((share, share));
    let (from, to) = range(low.min(share), high.max(share));
    let place = |value: f64| format!("{:.2}%", 100.0 * (value - from) / (to - from));
    let ends = format!("on a scale from {:.0} to {:.0}\u{a0}%", 100.0 * from, 100.0 * to);
    let description = match limits {
        Some(_) => {
            format!("95\u{a0}% interval: {} to {}, {ends}", percent(low), percent(high))
        }
        None => format!("{}, {ends}", percent(share)),
    };
    let mut marks = String::new();
    for step in 0..=5 {
        let value = from + (to - from) * f64::from(step) / 5.0;
        let anchor = match step {
            0 => "start",
            5 => "end",
            _ => "middle",
        };
        let x = place(value);
        // In steps of a percent or more.
        marks += &format!(
            "<line class=\"tick\" x1=\"{x}\" x2=\"{x}\" y1=\"22\" y2=\"28\"/>\
             <text x=\"{x}\" y=\"44\" text-anchor=\"{anchor}\">{:.0}</text>\n",
            100.0 * value
        );
    }
    let band = match limits {
        Some(_) => format!(
            "<rect class=\"band\" x=\"{}\" y=\"6\" width=\"{:.2}%\" height=\"12\" rx=\"6\"/>\n",
            place(low),
            100.0 * (high - low).max(0.0) / (to - from)
        ),
        None => String::new(),
    };
    let explained = match limits {
        Some(_) => format!(
            "<p class=\"interval\">95\u{a0}% interval: <span class=\"figure\">{}</span> to \
             <span class=\"figure\">{}</span></p>\n",
            percent(low),
            percent(high)
        ),
        None => String::new(),
    };
    format!(
        "<svg class=\"scale\" role=\"img\" aria-label=\"{}\">\n\
         <rect class=\"track\" y=\"9\" width=\"100%\" height=\"6\" rx=\"3\"/>\n{band}\
         <circle class=\"point\" cx=\"{}\" cy=\"12\" r=\"6\"/>\n{marks}</svg>\n{explained}",
        escape(&description),
        place(share),
    )
}

/// A scale that shows an interval: as short as leaves it at least a fourth away from the end where
/// nothing is.
fn range(low: f64, high: f64) -> (f64, f64) {
    for width in [0.05, 0.1, 0.2, 0.5] {
        if low >= 1.0 - 0.75 * width {
            return (1.0 - width, 1.0);
        }
        if high <= 0.75 * width {
            return (0.0, width);
        }
    }
    (0.0, 1.0)
}
