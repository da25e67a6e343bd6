use std::io::{self, Write};

use serde::Serialize;
use taper_metrics::Evaluation;
use taper_picture::Finding;

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// All done: exit code 0.
    Done,
    /// Done, but some input could not be used: exit code 3. It is named in the answer.
    SomeInputUnusable,
    /// Ended by a signal, with what there was until then saved: exit code 128 and the signal's
    /// number.
    Interrupted,
}

/// Writes a line of the answer to standard output. A closed pipe (`taper … | head`) is not an
/// error: the reader has seen enough.
pub(crate) fn answer_line(line: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Writes an answer as one line of JSON.
pub(crate) fn answer_json(value: &impl Serialize) -> anyhow::Result<()> {
    answer_line(&serde_json::to_string(value)?)
}

/// How a command that did its work ended.
pub(crate) fn status(unreadable: &[Finding]) -> Status {
    if unreadable.is_empty() { Status::Done } else { Status::SomeInputUnusable }
}

/// A table of the classes that have pictures.
pub(crate) fn per_class(evaluation: &Evaluation) -> anyhow::Result<()> {
    let of = |label: &str| label.chars().count();
    let width = evaluation.per_class.iter().map(|c| of(&c.label)).max().unwrap_or(0).max(5);
    answer_line(&format!("{:width$}  precision  recall     f1  pictures", "class"))?;
    for class in &evaluation.per_class {
        answer_line(&format!(
            "{:width$}     {:.4}  {:.4} {:.4}  {:>8}",
            class.label, class.precision, class.recall, class.f1, class.support
        ))?;
    }
    // As scikit-learn: over the classes that occur, in the pictures or among the predictions.
    answer_line(&format!(
        "{:width$}  balanced accuracy {:.4}, macro f1 {:.4}",
        "all", evaluation.balanced_accuracy, evaluation.macro_f1
    ))
}

/// The pair of classes that is confused most often, if any is.
pub(crate) fn confused(evaluation: &Evaluation) -> anyhow::Result<()> {
    let Some(pair) = &evaluation.most_confused else { return Ok(()) };
    answer_line(&format!(
        "most confused {} taken for {}: {} ({:.1} %)",
        pair.truth,
        pair.predicted,
        pair.count,
        100.0 * pair.share
    ))
}
