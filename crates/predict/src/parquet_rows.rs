//! Predictions as Parquet.

use std::{fs::File, io, sync::Arc};

use parquet::{
    basic::{Compression, LogicalType, Repetition, Type as PhysicalType},
    column::writer::ColumnWriter,
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType},
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::{Type, TypePtr},
};
use taper_model::Prediction;

use crate::prediction_table::joined;

/// How many rows are kept in memory and written together.
const GROUP: usize = 8192;

/// A Parquet file of predictions that is being written: the columns path and label (text),
/// probability and one for each class (double), and, where the classifier gives them, `set` (text)
/// and `unfamiliar` (boolean). All but the path are null for a picture that could
/// not be used.
pub(crate) struct ParquetRows {
    writer: SerializedFileWriter<File>,
    classes: usize,
    rows: Vec<(String, Option<Prediction>)>,
}

impl ParquetRows {
    /// A file with these columns: path, label and probability, so many classes, and the rest.
    pub(crate) fn begin(file: File, columns: &[String], classes: usize) -> io::Result<Self> {
        let schema = schema(columns, classes).map_err(failed)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(file, schema, Arc::new(properties));
        let writer = writer.map_err(failed)?;
        Ok(Self { writer, classes, rows: Vec::new() })
    }

    pub(crate) fn add(&mut self, name: &str, prediction: Option<&Prediction>) -> io::Result<()> {
        self.rows.push((name.to_owned(), prediction.cloned()));
        if self.rows.len() >= GROUP { self.flush() } else { Ok(()) }
    }

    /// Writes the rows in memory as a row group.
    fn flush(&mut self) -> io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let known = || rows.iter().filter_map(|(_, prediction)| prediction.as_ref());
        // 1 where there is a value.
        let levels: Vec<i16> = rows.iter().map(|(_, p)| i16::from(p.is_some())).collect();
        let mut group = self.writer.next_row_group().map_err(failed)?;
        let mut column = 0;
        while let Some(mut writer) = group.next_column().map_err(failed)? {
            let text = |text: &str| ByteArray::from(text.as_bytes().to_vec());
            match (writer.untyped(), column) {
                (ColumnWriter::ByteArrayColumnWriter(writer), 0) => {
                    let paths: Vec<ByteArray> = rows.iter().map(|(name, _)| text(name)).collect();
                    write::<ByteArrayType>(writer, &paths, None)?;
                }
                (ColumnWriter::ByteArrayColumnWriter(writer), column) if column > 2 => {
                    let sets: Vec<ByteArray> =
                        known().map(|p| text(&joined(p).unwrap_or_default())).collect();
                    write::<ByteArrayType>(writer, &sets, Some(&levels))?;
                }
                (ColumnWriter::BoolColumnWriter(writer), _) => {
                    let values: Vec<bool> =
                        known().map(|p| p.unfamiliar.unwrap_or_default()).collect();
                    write::<BoolType>(writer, &values, Some(&levels))?;
                }
                (ColumnWriter::ByteArrayColumnWriter(writer), _) => {
                    let labels: Vec<ByteArray> = known().map(|p| text(&p.label)).collect();
                    write::<ByteArrayType>(writer, &labels, Some(&levels))?;
                }
                (ColumnWriter::DoubleColumnWriter(writer), 2) => {
                    let values: Vec<f64> = known().map(|p| p.probability).collect();
                    write::<DoubleType>(writer, &values, Some(&levels))?;
                }
                (ColumnWriter::DoubleColumnWriter(writer), column) => {
                    let class = (column - 3).min(self.classes.saturating_sub(1));
                    let values: Vec<f64> = known().map(|p| p.probabilities[class].1).collect();
                    write::<DoubleType>(writer, &values, Some(&levels))?;
                }
                _ => return Err(io::Error::other("a column of another kind")),
            }
            writer.close().map_err(failed)?;
            column += 1;
        }
        group.close().map(|_| ()).map_err(failed)
    }

    /// The complete file.
    pub(crate) fn finish(mut self) -> io::Result<File> {
        self.flush()?;
        self.writer.into_inner().map_err(failed)
    }
}

fn write<D: DataType>(
    writer: &mut parquet::column::writer::ColumnWriterImpl<'_, D>,
    values: &[D::T],
    levels: Option<&[i16]>,
) -> io::Result<()> {
    writer.write_batch(values, levels, None).map(|_| ()).map_err(failed)
}

fn schema(columns: &[String], classes: usize) -> Result<TypePtr, ParquetError> {
    let field = |(at, name): (usize, &String)| {
        let further = at >= 3 + classes;
        let text = at < 2 || further && name == "set";
        let kind = match (text, further) {
            (true, _) => PhysicalType::BYTE_ARRAY,
            (false, true) => PhysicalType::BOOLEAN,
            (false, false) => PhysicalType::DOUBLE,
        };
        let repetition = if at == 0 { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        Type::primitive_type_builder(name, kind)
            .with_repetition(repetition)
            .with_logical_type(text.then_some(LogicalType::String))
            .build()
            .map(Arc::new)
    };
    let fields: Result<Vec<TypePtr>, ParquetError> =
        columns.iter().enumerate().map(field).collect();
    Type::group_type_builder("predictions").with_fields(fields?).build().map(Arc::new)
}

fn failed(error: ParquetError) -> io::Error {
    io::Error::other(error)
}
