use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::{Action, Callback, Error, Event, Logs, Result};

/// What ends a line of a [`CsvHistory`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineEnding {
    /// `\n`.
    #[default]
    Lf,
    /// `\r\n`, as in Keras and RFC 4180.
    CrLf,
}

impl LineEnding {
    fn as_str(self) -> &'static str {
        match self {
            LineEnding::Lf => "\n",
            LineEnding::CrLf => "\r\n",
        }
    }
}

/// Writes one line per epoch to a CSV file.
///
/// The first column is `epoch`, counted from 0. The others are the figures of the first epoch in
/// alphabetical order; if none of them begins with `val_`, a `val_` column for each follows, since
/// validation may come later. Figures that are missing in a later epoch are `NA`; additional ones
/// are left out. Numbers are written by [`python_float`]. Every line is written to the file
/// immediately.
///
/// When training begins at epoch `n`, lines of epochs from `n` on are removed, and so is an
/// incomplete line: whenever a run was interrupted, the file continues as if it had not been. At
/// epoch 0 the file is started again.
///
/// With [`LineEnding::CrLf`] the file is byte for byte that of `keras/src/callbacks/csv_logger.py`
/// (Keras 3).
#[derive(Debug)]
pub struct CsvHistory {
    lines: Lines,
    line_ending: LineEnding,
    columns: Option<Vec<String>>,
}

impl CsvHistory {
    /// Will write to `path`; nothing is opened before training begins.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { lines: Lines::new(path.into()), line_ending: LineEnding::Lf, columns: None }
    }

    /// Sets what ends a line. Default [`LineEnding::Lf`].
    #[must_use]
    pub fn line_ending(mut self, line_ending: LineEnding) -> Self {
        self.line_ending = line_ending;
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.lines.path
    }

    fn begin(&mut self, first_epoch: u64) -> Result<()> {
        let kept = self.lines.open(first_epoch, |number, line| {
            if number == 1 {
                return match line.split(',').next() {
                    Some("epoch") => Ok(None),
                    _ => Err("does not begin with the column 'epoch'".into()),
                };
            }
            let first = line.split(',').next().unwrap_or_default();
            let epoch = first.parse().map_err(|_| format!("has '{first}' as its epoch"))?;
            Ok(Some(epoch))
        })?;
        self.columns = kept.map(|header| header.split(',').skip(1).map(str::to_owned).collect());
        Ok(())
    }

    fn epoch(&mut self, epoch: u64, logs: &Logs) -> Result<()> {
        let end = self.line_ending.as_str();
        let mut text = String::new();
        let columns = match &mut self.columns {
            Some(columns) => columns,
            none => {
                let mut columns: Vec<String> = logs.names().map(str::to_owned).collect();
                if let Some(odd) = columns.iter().find(|c| c.contains([',', '"', '\n', '\r'])) {
                    return Err(Error::Column(odd.clone()));
                }
                if !columns.iter().any(|c| c.starts_with("val_")) {
                    columns.extend(logs.names().map(|c| format!("val_{c}")));
                }
                text.push_str("epoch");
                for column in &columns {
                    let _ = write!(text, ",{column}"); // writing to a String cannot fail
                }
                text.push_str(end);
                none.insert(columns)
            }
        };
        let _ = write!(text, "{epoch}");
        for column in columns.iter() {
            text.push(',');
            text.push_str(&logs.get(column).map_or_else(|| "NA".into(), python_float));
        }
        text.push_str(end);
        self.lines.append(&text)
    }
}

impl Callback for CsvHistory {
    fn name(&self) -> &str {
        "CSV history"
    }

    fn follows_batches(&self) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event<'_>, _: &mut Vec<Action>) -> Result<()> {
        match *event {
            Event::TrainBegin { first_epoch, .. } => self.begin(first_epoch),
            Event::EpochEnd { epoch, logs, .. } => self.epoch(epoch, logs),
            Event::TrainEnd => {
                self.lines.close();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Writes one JSON object per epoch and line: `epoch`, counted from 0, then the figures in
/// alphabetical order.
///
/// Numbers have the shortest form that reads back to the same bits; NaN and infinities are `null`.
/// Continues an interrupted run as [`CsvHistory`] does.
#[derive(Debug)]
pub struct JsonlHistory {
    lines: Lines,
}

impl JsonlHistory {
    /// Will write to `path`; nothing is opened before training begins.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { lines: Lines::new(path.into()) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.lines.path
    }
}

impl Callback for JsonlHistory {
    fn name(&self) -> &str {
        "JSONL history"
    }

    fn follows_batches(&self) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event<'_>, _: &mut Vec<Action>) -> Result<()> {
        match *event {
            Event::TrainBegin { first_epoch, .. } => {
                self.lines.open(first_epoch, |_, line| {
                    let object: Map<String, Value> = serde_json::from_str(line)
                        .map_err(|e| format!("is not a JSON object: {e}"))?;
                    let epoch = object.get("epoch").and_then(Value::as_u64);
                    epoch.map(Some).ok_or_else(|| "has no epoch".into())
                })?;
                Ok(())
            }
            Event::EpochEnd { epoch, logs, .. } => {
                let mut text = format!("{{\"epoch\":{epoch}");
                for (name, value) in logs.iter() {
                    let _ = write!(text, ",{}:{}", Value::from(name), Value::from(value));
                }
                text.push_str("}\n");
                self.lines.append(&text)
            }
            Event::TrainEnd => {
                self.lines.close();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A text file of lines, each belonging to an epoch (or to none: a header).
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: Option<File>,
}

impl Lines {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    fn failed(&self) -> impl Fn(io::Error) -> Error {
        |source| Error::Io { path: self.path.clone(), source }
    }

    /// Opens the file and truncates it before the first line that is incomplete or of epoch
    /// `first_epoch` or later. Returns its first line if an epoch is left.
    fn open(
        &mut self,
        first_epoch: u64,
        epoch_of: impl Fn(usize, &str) -> std::result::Result<Option<u64>, String>,
    ) -> Result<Option<String>> {
        self.file = None;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path)
            .map_err(self.failed())?;
        let mut text = String::new();
        // At epoch 0 nothing is kept, so the existing content need not be understood.
        if first_epoch > 0 {
            file.read_to_string(&mut text).map_err(self.failed())?;
        }
        let mut keep = 0;
        let mut end = 0;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let Some(content) = line.strip_suffix('\n') else {
                break; // torn by an interruption
            };
            end += line.len();
            let content = content.strip_suffix('\r').unwrap_or(content);
            let epoch = epoch_of(index + 1, content).map_err(|problem| Error::History {
                path: self.path.clone(),
                line: index + 1,
                problem,
            })?;
            match epoch {
                Some(epoch) if epoch >= first_epoch => break,
                // A header counts only together with a line below it.
                Some(_) => keep = end,
                None => {}
            }
        }
        file.set_len(keep as u64).map_err(self.failed())?;
        file.seek(io::SeekFrom::End(0)).map_err(self.failed())?;
        self.file = Some(file);
        Ok(text[..keep].lines().next().map(str::to_owned))
    }

    /// Writes in one call, so that an interruption can break at most one line.
    fn append(&mut self, text: &str) -> Result<()> {
        let failed = |source| Error::Io { path: self.path.clone(), source };
        match &mut self.file {
            Some(file) => file.write_all(text.as_bytes()).map_err(failed),
            None => Err(failed(io::Error::other("an epoch ended before training began"))),
        }
    }

    fn close(&mut self) {
        self.file = None;
    }
}

/// Writes a number as Python's `repr` does: the shortest decimal that reads back to the same bits,
/// never without a point, and with an exponent below 1e-4 and from 1e16 on.
///
/// ```
/// use taper_callbacks::python_float;
/// assert_eq!(python_float(0.4059), "0.4059");
/// assert_eq!(python_float(2.0), "2.0");
/// assert_eq!(python_float(1e-5), "1e-05");
/// assert_eq!(python_float(f64::NAN), "nan");
/// ```
pub fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    // `{:e}` gives the shortest digits, such as "1.25e-7".
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        if plain.contains('.') { plain } else { plain + ".0" }
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    }
}
