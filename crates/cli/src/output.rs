use std::{
    borrow::Cow,
    io::{self, Write},
};

use serde::Serialize;
use serde_json::Value;
use taper_calibration::{Judged, TemperatureLimit};
use taper_metrics::Evaluation;
use taper_picture::Finding;

use crate::errors::in_flags;

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
    match writeln!(io::stdout().lock(), "{}", visible(line)) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// A text with control characters as escapes, so that a class or a file cannot steer the terminal.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(steers) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown.into()
}

/// A name as part of a line: with line breaks and tabs as escapes too.
pub(crate) fn in_line(name: &str) -> Cow<'_, str> {
    if !name.contains(char::is_control) {
        return name.into();
    }
    let escaped =
        |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    name.chars().map(escaped).collect::<String>().into()
}

/// Writes an answer as one line of JSON.
pub(crate) fn answer_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(value)?;
    if !text.contains('`') {
        return answer_line(&text);
    }
    // Texts of the libraries name fields between backticks.
    let mut value: Value = serde_json::from_str(&text)?;
    translate(&mut value);
    answer_line(&value.to_string())
}

/// Puts flags in place of fields in the sentences of an answer. Names and paths have no backticks
/// around a field.
fn translate(value: &mut Value) {
    match value {
        Value::String(text) if text.matches('`').count().is_multiple_of(2) => {
            *text = in_flags(text);
        }
        Value::Array(values) => values.iter_mut().for_each(translate),
        Value::Object(fields) => fields.values_mut().for_each(translate),
        _ => {}
    }
}

/// How a command that did its work ended.
pub(crate) fn status(unreadable: &[Finding]) -> Status {
    if unreadable.is_empty() { Status::Done } else { Status::SomeInputUnusable }
}

/// A table of the classes that have pictures.
pub(crate) fn per_class(evaluation: &Evaluation) -> anyhow::Result<()> {
    let of = |label: &str| in_line(label).chars().count();
    let width = evaluation.per_class.iter().map(|c| of(&c.label)).max().unwrap_or(0).max(5);
    answer_line(&format!("{:width$}  precision  recall     f1  pictures", "class"))?;
    for class in &evaluation.per_class {
        answer_line(&format!(
            "{:width$}     {:.4}  {:.4} {:.4}  {:>8}",
            in_line(&class.label),
            class.precision,
            class.recall,
            class.f1,
            class.support
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
        in_line(&pair.truth),
        in_line(&pair.predicted),
        pair.count,
        100.0 * pair.share
    ))
}

/// What the model's knowledge about its own answers is worth on some pictures.
pub(crate) fn judgement(pictures: &str, judged: &Judged) -> anyhow::Result<()> {
    calibration_error(pictures, judged)?;
    let Judged { sets, unfamiliar, .. } = judged;
    if let Some(sets) = sets {
        answer_line(&format!(
            "sets          {:.1} % contain the class ({:.1} % asked), {:.2} classes on average ({pictures})",
            100.0 * sets.figures.coverage,
            100.0 * sets.asked,
            sets.figures.mean_size
        ))?;
    }
    if let Some(own) = unfamiliar {
        answer_line(&format!(
            "unfamiliar    {} pictures, {:.1} % ({pictures})",
            own.pictures,
            100.0 * own.share
        ))?;
    }
    Ok(())
}

/// How far probabilities can be believed, with the temperature and without.
pub(crate) fn calibration_error(pictures: &str, judged: &Judged) -> anyhow::Result<()> {
    let Judged { before, after, .. } = judged;
    answer_line(&format!(
        "calibration   error {:.4}, raw {:.4}; loss {:.4}, Brier score {:.4}, AURC {:.4} ({pictures})",
        after.calibration.expected_error,
        before.calibration.expected_error,
        after.loss,
        after.brier,
        after.aurc
    ))
}

/// A temperature, and why it is not another.
pub(crate) fn temperature_line(value: f64, limit: Option<TemperatureLimit>) -> String {
    let why = match limit {
        None => "",
        Some(TemperatureLimit::Undecided) => {
            ": probabilities stay as they are, since the validation pictures do not tell which way"
        }
        Some(TemperatureLimit::Cautious) => {
            ", nearer to 1 than the loss alone says, since the validation pictures are few or alike"
        }
        Some(_) => ", the end of what is allowed",
    };
    format!("{value:.4}{why}")
}
