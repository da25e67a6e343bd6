use std::{
    fmt,
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use parquet::{
    basic::Type,
    column::reader::{ColumnReader, ColumnReaderImpl, get_typed_column_reader},
    data_type::{
        BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
    },
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
};
use taper_data::Window;

use crate::{
    Column, Error, Result,
    checks::{Chunks, check_footer, check_pages},
};

/// More rows than this are too many for one list.
const MOST_ROWS: i64 = 100_000_000;

/// What goes wrong within a file; its path is added at the surface.
pub(crate) type Within<T> = std::result::Result<T, String>;

/// A Parquet file.
pub struct Table {
    path: PathBuf,
    window: Window,
    pub(crate) reader: SerializedFileReader<Chunks>,
    columns: Vec<Column>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The values of a column, one for each row; none where it is null.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Of [`Kind::Text`](crate::Kind::Text). What is not UTF-8 is replaced by U+FFFD.
    Text(Vec<Option<String>>),
    /// Of [`Kind::Integer`](crate::Kind::Integer).
    Integers(Vec<Option<i64>>),
    /// Of [`Kind::Boolean`](crate::Kind::Boolean).
    Booleans(Vec<Option<bool>>),
    /// Of [`Kind::Float`](crate::Kind::Float).
    Floats(Vec<Option<f64>>),
}

impl Table {
    /// Opens a file and reads its metadata.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not a Parquet file or contradicts itself.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.into(), source };
        let file = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing { path: path.into() },
            _ => io(source),
        })?;
        let window = Window::new(file).map_err(io)?;
        let opened = guarded(|| Self::read_metadata(path, window));
        opened.map_err(|problem| Error::Damaged { path: path.into(), problem })
    }

    fn read_metadata(path: &Path, window: Window) -> Within<Self> {
        check_footer(&window)?;
        let length = window.length();
        let reader = SerializedFileReader::new(Chunks(window.clone())).map_err(damaged)?;
        let metadata = reader.metadata();
        // Every row has a picture, and every picture has at least one byte.
        let most = i64::try_from(length).unwrap_or(MOST_ROWS).min(MOST_ROWS);
        let groups = metadata.row_groups().iter();
        let rows = groups.fold(0i64, |sum, group| sum.saturating_add(group.num_rows().max(0)));
        let claimed = metadata.file_metadata().num_rows();
        if rows != claimed || rows > most {
            return Err(format!("it claims {} rows", claimed.max(rows)));
        }
        let schema = metadata.file_metadata().schema_descr();
        let columns = schema.columns().iter().map(|column| Column::of(column)).collect();
        Ok(Self { path: path.into(), window, reader, columns })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The columns, by their numbers.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.groups().sum()
    }

    /// The number of rows of each row group.
    pub(crate) fn groups(&self) -> impl Iterator<Item = u64> {
        let groups = self.reader.metadata().row_groups().iter();
        groups.map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
    }

    /// What the file's metadata say under a key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let pairs = self.reader.metadata().file_metadata().key_value_metadata();
        let pair = pairs.into_iter().flatten().find(|pair| pair.key == key);
        pair.and_then(|pair| pair.value.as_deref())
    }

    /// Checks the pages of a column, as far as this is possible without unpacking them.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn check(&self, column: usize) -> Result<()> {
        self.at_surface(self.check_column(column))
    }

    fn check_column(&self, column: usize) -> Within<()> {
        self.reader.metadata().row_groups().iter().try_for_each(|group| {
            let (start, length) = group.column(column).byte_range();
            check_pages(&self.window, start, length)
        })
    }

    /// A whole column, checked. It must not be one of lists.
    ///
    /// # Errors
    /// [`Error::Damaged`], also for a column of [`Kind::Other`](crate::Kind::Other).
    pub fn values(&self, column: usize) -> Result<Values> {
        self.at_surface(guarded(|| {
            self.check_column(column)?;
            let schema = self.reader.metadata().file_metadata().schema_descr();
            Ok(match schema.column(column).physical_type() {
                Type::INT32 => Values::Integers(self.column::<i32, _>(column, |n| i64::from(*n))?),
                Type::INT64 => Values::Integers(self.column::<i64, _>(column, |n| *n)?),
                Type::BOOLEAN => Values::Booleans(self.column::<bool, _>(column, |value| *value)?),
                Type::FLOAT => Values::Floats(self.column::<f32, _>(column, |n| f64::from(*n))?),
                Type::DOUBLE => Values::Floats(self.column::<f64, _>(column, |n| *n)?),
                Type::BYTE_ARRAY => Values::Text(self.column::<ByteArray, _>(column, |text| {
                    String::from_utf8_lossy(text.data()).into_owned()
                })?),
                other => return Err(format!("a column of the type {other} cannot be read")),
            })
        }))
    }

    /// As [`Table::values`], of a column of [`Kind::Text`](crate::Kind::Text).
    ///
    /// # Errors
    /// [`Error::Damaged`], also for a column of another kind.
    pub fn texts(&self, column: usize) -> Result<Vec<Option<String>>> {
        match self.values(column)? {
            Values::Text(texts) => Ok(texts),
            _ => self.at_surface(Err(format!("the column {column} is none of text"))),
        }
    }

    /// As [`Table::values`], each as trimmed text.
    ///
    /// # Errors
    /// [`Error::Damaged`], also for a column of [`Kind::Other`](crate::Kind::Other).
    pub fn as_texts(&self, column: usize) -> Result<Vec<Option<String>>> {
        fn shown<T: ToString>(values: Vec<Option<T>>) -> Vec<Option<String>> {
            values.into_iter().map(|value| value.map(|value| value.to_string())).collect()
        }
        Ok(match self.values(column)? {
            Values::Text(texts) => {
                texts.into_iter().map(|text| text.map(|text| text.trim().to_owned())).collect()
            }
            Values::Integers(numbers) => shown(numbers),
            Values::Booleans(values) => shown(values),
            Values::Floats(numbers) => shown(numbers),
        })
    }

    /// The least and the greatest value of a column of text in each row group, where the file
    /// states them; they may be shortened.
    pub fn extremes(&self, column: usize) -> Vec<[Option<&str>; 2]> {
        fn text(bytes: Option<&[u8]>) -> Option<&str> {
            str::from_utf8(bytes?).ok()
        }
        let groups = self.reader.metadata().row_groups().iter();
        groups
            .map(|group| match group.column(column).statistics() {
                Some(statistics) => {
                    [text(statistics.min_bytes_opt()), text(statistics.max_bytes_opt())]
                }
                None => [None; 2],
            })
            .collect()
    }

    fn at_surface<T>(&self, result: Within<T>) -> Result<T> {
        result.map_err(|problem| Error::Damaged { path: self.path.clone(), problem })
    }

    fn column<V: Typed, T>(&self, column: usize, of: impl Fn(&V) -> T) -> Within<Vec<Option<T>>> {
        let mut all = Vec::new();
        for (group, rows) in self.groups().enumerate() {
            let rows = usize::try_from(rows).map_err(|_| format!("a group of {rows} rows"))?;
            let mut reader = self.typed::<V::Type>(group, column)?;
            let end = all.len() + rows;
            while all.len() < end {
                let before = all.len();
                // In parts, so that a file that claims more rows than it has costs no memory for
                // them.
                let wanted = (end - before).min(1 << 14);
                let values = read::<V::Type>(&mut reader, wanted)?;
                all.extend(values.iter().map(|value| Some(of(V::of(value.as_ref()?)?))));
                if all.len() == before {
                    return Err(format!("not all columns of a group have {rows} rows"));
                }
            }
        }
        Ok(all)
    }

    pub(crate) fn typed<D: DataType>(
        &self,
        group: usize,
        column: usize,
    ) -> Within<ColumnReaderImpl<D>> {
        let group = self.reader.get_row_group(group).map_err(damaged)?;
        let reader: ColumnReader = group.get_column_reader(column).map_err(damaged)?;
        Ok(get_typed_column_reader(reader))
    }
}

/// The underlying reader trusts a file's own claims in more places than it checks them.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Within<T>) -> Within<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("the reader failed".into()))
}

pub(crate) fn damaged(error: ParquetError) -> String {
    format!("it cannot be read ({error})")
}

/// The next records; none for nulls.
pub(crate) fn read<D: DataType>(
    reader: &mut ColumnReaderImpl<D>,
    most: usize,
) -> Within<Vec<Option<D::T>>> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let (records, read, _) =
        reader.read_records(most, Some(&mut levels), None, &mut values).map_err(damaged)?;
    if values.len() == records {
        return Ok(values.into_iter().map(Some).collect());
    }
    let highest = levels.iter().copied().max().unwrap_or(0);
    if read != values.len() || levels.len() != records {
        return Err("its levels and values do not agree".into());
    }
    // If nothing has a value, the highest level is not that of values.
    let mut values = values.into_iter();
    Ok(levels
        .into_iter()
        .map(|level| if level == highest { values.next() } else { None })
        .collect())
}

/// A type of values, and the reader's name for it.
trait Typed {
    type Type: DataType;
    fn of(value: &<Self::Type as DataType>::T) -> Option<&Self>;
}

macro_rules! typed {
    ($($value:ty => $kind:ty),*) => {$(
        impl Typed for $value {
            type Type = $kind;
            fn of(value: &$value) -> Option<&Self> {
                Some(value)
            }
        }
    )*};
}

typed!(
    i32 => Int32Type,
    i64 => Int64Type,
    bool => BoolType,
    f32 => FloatType,
    f64 => DoubleType,
    ByteArray => ByteArrayType
);
