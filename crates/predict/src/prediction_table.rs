use std::{
    fs::File,
    io::{self, BufWriter, Seek, Write},
    path::Path,
};

use serde_json::{Map, Value, json};
use taper_core::ClassNames;
use taper_model::Prediction;
use taper_picture::Finding;

use taper_outputs::{OutFile, check_extension};
use taper_run::{Error, Result};

/// The endings of tables.
const ENDINGS: &[&str] =
    if cfg!(feature = "parquet") { &["csv", "jsonl", "parquet"] } else { &["csv", "jsonl"] };

/// A table of predictions, as CSV, JSONL or Parquet: path, label, probability, and the probability
/// of every class. The file appears when the table is [finished](PredictionTable::finish).
pub struct PredictionTable {
    out: OutFile,
    rows: Rows,
    classes: usize,
}

enum Rows {
    Csv(Box<csv::Writer<BufWriter<File>>>),
    Jsonl(BufWriter<File>),
    #[cfg(feature = "parquet")]
    Parquet(crate::parquet_rows::ParquetRows),
}

impl PredictionTable {
    /// Finds out before any picture is classified whether the table can be written.
    ///
    /// # Errors
    /// [`Error::Setting`] for another ending than `.csv`, `.jsonl` or `.parquet`, an error unless
    /// it may be overwritten if it exists, [`Error::Io`].
    pub fn check(path: &Path, overwrite: bool) -> Result<OutFile> {
        check_extension("out", path, ENDINGS)?;
        Ok(OutFile::check("out", path, overwrite)?)
    }

    /// A table at its beginning.
    ///
    /// # Errors
    /// As [`PredictionTable::check`].
    pub fn begin(path: &Path, classes: &ClassNames, overwrite: bool) -> Result<Self> {
        let out = Self::check(path, overwrite)?;
        let file = tempfile::tempfile().map_err(Error::io("write", path))?;
        let own = ["path", "label", "probability"];
        let column = |class: &str| match own.contains(&class) {
            true => format!("class {class}"),
            false => class.to_owned(),
        };
        let header: Vec<String> =
            own.into_iter().map(str::to_owned).chain(classes.iter().map(column)).collect();
        let rows = match check_extension("out", path, ENDINGS)?.as_str() {
            "csv" => {
                let mut table = csv::Writer::from_writer(BufWriter::new(file));
                table.write_record(header).map_err(|e| failed(path, e.into()))?;
                Rows::Csv(Box::new(table))
            }
            #[cfg(feature = "parquet")]
            "parquet" => {
                let rows = crate::parquet_rows::ParquetRows::begin(file, &header);
                Rows::Parquet(rows.map_err(|error| failed(path, error))?)
            }
            _ => Rows::Jsonl(BufWriter::new(file)),
        };
        Ok(Self { out, rows, classes: classes.len() })
    }

    /// Adds a picture. One that could not be used has a row with its path alone, in JSONL also
    /// with the reason.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add(
        &mut self,
        name: &str,
        predicted: &std::result::Result<Prediction, Finding>,
    ) -> Result<()> {
        let written = match &mut self.rows {
            Rows::Csv(table) => match predicted {
                Ok(p) => {
                    let all = p.probabilities.iter().map(|(_, p)| p.to_string());
                    let own = [name.to_owned(), p.label.clone(), p.probability.to_string()];
                    table.write_record(own.into_iter().chain(all)).map_err(io::Error::from)
                }
                Err(_) => {
                    let empty = std::iter::repeat_n("", 2 + self.classes);
                    table.write_record(std::iter::once(name).chain(empty)).map_err(io::Error::from)
                }
            },
            Rows::Jsonl(file) => {
                let row = match predicted {
                    Ok(prediction) => as_json(name, prediction, usize::MAX),
                    Err(finding) => json!({ "path": name, "error": finding.reason }),
                };
                writeln!(file, "{row}")
            }
            #[cfg(feature = "parquet")]
            Rows::Parquet(rows) => rows.add(name, predicted.as_ref().ok()),
        };
        written.map_err(|error| failed(self.out.path(), error))
    }

    /// Writes the file: whole or not at all.
    ///
    /// # Errors
    /// An error if another process has made the file in the meantime, [`Error::Io`].
    pub fn finish(self) -> Result<()> {
        let Self { out, rows, .. } = self;
        let path = out.path();
        let unbuffered = |file: BufWriter<File>| file.into_inner().map_err(|e| e.into_error());
        let file = match rows {
            Rows::Csv(table) => table.into_inner().map_err(|e| e.into_error()).and_then(unbuffered),
            Rows::Jsonl(file) => unbuffered(file),
            #[cfg(feature = "parquet")]
            Rows::Parquet(rows) => rows.finish(),
        };
        let mut file = file.map_err(|error| failed(path, error))?;
        Ok(out.write_with(|out| {
            file.rewind()?;
            io::copy(&mut file, out).map(|_| ())
        })?)
    }
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::io("write", path)(error)
}

/// A prediction as an object, with the `most` most probable classes.
pub fn as_json(name: &str, prediction: &Prediction, most: usize) -> Value {
    let ranked = ranked(prediction, most);
    let probabilities: Map<String, Value> =
        ranked.into_iter().map(|(class, p)| (class.to_owned(), json!(p))).collect();
    json!({
        "path": name,
        "label": prediction.label,
        "probability": prediction.probability,
        "probabilities": probabilities,
    })
}

/// The `most` most probable classes, most probable first.
pub fn ranked(prediction: &Prediction, most: usize) -> Vec<(&str, f64)> {
    let all = prediction.probabilities.iter().map(|(class, p)| (class.as_str(), *p));
    let mut ranked: Vec<(&str, f64)> = all.collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(most);
    ranked
}
