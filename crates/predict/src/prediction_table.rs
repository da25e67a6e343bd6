use std::{
    fs::File,
    io::{self, BufWriter, Seek, Write},
    path::Path,
};

use serde_json::{Map, Value, json};
use taper_model::{Classifier, Prediction};
use taper_picture::Finding;

use taper_outputs::{OutFile, check_extension};
use taper_run::{Error, Result};

/// The endings of tables.
const ENDINGS: &[&str] =
    if cfg!(feature = "parquet") { &["csv", "jsonl", "parquet"] } else { &["csv", "jsonl"] };

/// What stands between the classes of a set in CSV and Parquet.
const BETWEEN: &str = " | ";

/// A table of predictions, as CSV, JSONL or Parquet: path, label, probability, the probability of
/// every class, and what else the classifier says: `set`, `unfamiliar`. The file appears when the
/// table is [finished](PredictionTable::finish).
pub struct PredictionTable {
    out: OutFile,
    rows: Rows,
    /// How many columns come after the path.
    values: usize,
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
    pub fn begin(path: &Path, classifier: &Classifier, overwrite: bool) -> Result<Self> {
        let out = Self::check(path, overwrite)?;
        let file = tempfile::tempfile().map_err(Error::io("write", path))?;
        let own = ["path", "label", "probability"];
        let familiarity = classifier.calibration().and_then(|own| own.familiarity.as_ref());
        let further = [("set", classifier.sets().is_some()), ("unfamiliar", familiarity.is_some())];
        let further = further.into_iter().filter(|(_, known)| *known).map(|(name, _)| name);
        let further: Vec<&str> = further.collect();
        let column = |class: &str| match own.contains(&class) || further.contains(&class) {
            true => format!("class {class}"),
            false => class.to_owned(),
        };
        let classes = classifier.classes();
        let own = own.into_iter().map(str::to_owned).chain(classes.iter().map(column));
        let header: Vec<String> = own.chain(further.iter().map(|&name| name.into())).collect();
        let rows = match check_extension("out", path, ENDINGS)?.as_str() {
            "csv" => {
                let mut table = csv::Writer::from_writer(BufWriter::new(file));
                table.write_record(&header).map_err(|e| failed(path, e.into()))?;
                Rows::Csv(Box::new(table))
            }
            #[cfg(feature = "parquet")]
            "parquet" => {
                let rows = crate::parquet_rows::ParquetRows::begin(file, &header, classes.len());
                Rows::Parquet(rows.map_err(|error| failed(path, error))?)
            }
            _ => Rows::Jsonl(BufWriter::new(file)),
        };
        Ok(Self { out, rows, values: header.len() - 1 })
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
                    let further =
                        [joined(p), p.unfamiliar.map(|unfamiliar| unfamiliar.to_string())];
                    let row = own.into_iter().chain(all).chain(further.into_iter().flatten());
                    table.write_record(row).map_err(io::Error::from)
                }
                Err(_) => {
                    let empty = std::iter::repeat_n("", self.values);
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

/// The classes of a set in one cell; none without sets.
pub(crate) fn joined(prediction: &Prediction) -> Option<String> {
    prediction.set.as_ref().map(|set| set.join(BETWEEN))
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::io("write", path)(error)
}

/// A prediction as an object, with the `most` most probable classes.
pub fn as_json(name: &str, prediction: &Prediction, most: usize) -> Value {
    let ranked = ranked(prediction, most);
    let probabilities: Map<String, Value> =
        ranked.into_iter().map(|(class, p)| (class.to_owned(), json!(p))).collect();
    let mut row = json!({
        "path": name,
        "label": prediction.label,
        "probability": prediction.probability,
        "probabilities": probabilities,
    });
    if let Some(set) = &prediction.set {
        row["set"] = json!(set);
    }
    if let (Some(unfamiliar), Some(distance)) = (prediction.unfamiliar, prediction.distance) {
        row["unfamiliar"] = unfamiliar.into();
        // Infinite for features that are not finite, which JSON cannot say.
        row["distance"] = json!(distance);
    }
    row
}

/// The `most` most probable classes, most probable first.
pub fn ranked(prediction: &Prediction, most: usize) -> Vec<(&str, f64)> {
    let all = prediction.probabilities.iter().map(|(class, p)| (class.as_str(), *p));
    let mut ranked: Vec<(&str, f64)> = all.collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(most);
    ranked
}
