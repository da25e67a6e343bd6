use std::io::{self, Write};

use serde::Serialize;

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// All done: exit code 0.
    Done,
    /// Done, but some input could not be used: exit code 3. It is named in the answer.
    SomeInputUnusable,
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
