use taper_metrics::Evaluation;
use taper_plot::{Matrix, Picture, isolated};

use crate::Result;

/// Draws the confusion matrix: rows are true classes, columns predictions, colours the share of the
/// row.
///
/// # Errors
/// [`crate::Error::Plot`] if the evaluation's matrix is not square (one that `taper-metrics` made
/// always is).
pub fn confusion(title: &str, evaluation: &Evaluation) -> Result<Picture> {
    let s = if evaluation.n == 1 { "" } else { "s" };
    let mut subtitle =
        format!("{} picture{s}  ·  accuracy {:.3}", thousands(evaluation.n), evaluation.accuracy);
    if let Some(pair) = &evaluation.most_confused {
        subtitle += &format!(
            "  ·  most confused: {} taken for {} ({} of {})",
            name(&pair.truth),
            name(&pair.predicted),
            pair.count,
            (pair.count / pair.share).round()
        );
    }
    if evaluation.not_finite > 0 {
        subtitle += &format!("  ·  {} without prediction", evaluation.not_finite);
    }
    let matrix = Matrix {
        title: title.into(),
        subtitle,
        row_label: "true class".into(),
        column_label: "predicted class".into(),
        names: evaluation.per_class.iter().map(|c| c.label.clone()).collect(),
        values: evaluation.confusion.clone(),
    };
    Ok(matrix.draw()?)
}

/// A class's name within the subtitle, which must have room for two of them.
fn name(label: &str) -> String {
    const MOST: usize = 28;
    match label.char_indices().nth(MOST) {
        Some((end, _)) => isolated(&format!("{}…", label[..end].trim_end())),
        None => isolated(label),
    }
}

/// A number with its digits in groups, e.g. `12,345`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
