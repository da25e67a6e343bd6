use std::{
    fs::File,
    io::{self, BufWriter, Seek, Write},
    path::Path,
};

use serde_json::{Map, Value, json};
use taper_core::{ClassNames, OutOfRange};
use taper_model::Prediction;
use taper_picture::Finding;

use taper_outputs::{OutFile, check_extension};
use taper_run::{Error, Result};

/// A table of predictions, as CSV or JSONL: path, label, probability, and the probability of every
/// class. The file appears when the table is [finished](PredictionTable::finish).
pub struct PredictionTable {
    out: OutFile,
    rows: Rows,
    classes: usize,
}

enum Rows {
    Csv(Box<csv::Writer<BufWriter<File>>>),
    Jsonl(BufWriter<File>),
}

impl PredictionTable {
    /// Finds out before any picture is classified whether the table can be written.
    ///
    /// # Errors
    /// [`Error::Setting`] for another ending than `.csv` or `.jsonl`, an error unless it may be
    /// overwritten if it exists, [`Error::Io`].
    pub fn check(path: &Path, overwrite: bool) -> Result<OutFile> {
        let extension = path.extension().unwrap_or_default();
        if extension.eq_ignore_ascii_case("parquet") {
            let remedy = "Parquet is read, but not written: use a name that ends in .csv or .jsonl, which pandas, polars and DuckDB convert";
            return Err(OutOfRange::new("out", path.display(), remedy).into());
        }
        check_extension("out", path, &["csv", "jsonl"])?;
        Ok(OutFile::check("out", path, overwrite)?)
    }

    /// A table at its beginning.
    ///
    /// # Errors
    /// As [`PredictionTable::check`].
    pub fn begin(path: &Path, classes: &ClassNames, overwrite: bool) -> Result<Self> {
        let out = Self::check(path, overwrite)?;
        let file = tempfile::tempfile().map_err(Error::io("write", path))?;
        let file = BufWriter::new(file);
        let rows = if check_extension("out", path, &["csv", "jsonl"])? == "csv" {
            let mut table = csv::Writer::from_writer(file);
            let own = ["path", "label", "probability"];
            let column = |class: &str| match own.contains(&class) {
                true => format!("class {class}"),
                false => class.to_owned(),
            };
            let header = own.into_iter().map(str::to_owned).chain(classes.iter().map(column));
            table.write_record(header).map_err(|e| failed(path, e.into()))?;
            Rows::Csv(Box::new(table))
        } else {
            Rows::Jsonl(file)
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
        let file = match rows {
            Rows::Csv(table) => {
                table.into_inner().map_err(|e| failed(path, e.into_error()))?.into_inner()
            }
            Rows::Jsonl(file) => file.into_inner(),
        };
        let mut file = file.map_err(|e| failed(path, e.into_error()))?;
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
