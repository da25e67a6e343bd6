//! Parquet in the layout of the Hugging Face Hub as a source.

mod columns;
mod files;
mod splits;
mod thrift;

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    fmt,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use bytes::Bytes;
use parquet::{
    basic::Type,
    column::reader::{ColumnReader, ColumnReaderImpl, get_typed_column_reader},
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type},
    errors::ParquetError,
    file::reader::{ChunkReader, FileReader, Length, SerializedFileReader},
};
use taper_core::Split;
use taper_data::{Content, Dataset, PictureSource, Sample, Window};
use taper_picture::{Defect, DefectKind, read_file};

use crate::{
    Error, FolderUse, Reading, Result, SourceOptions,
    options::Kind,
    rows::{self, Beside, Row},
    sets,
    split_words::split_named,
};
use columns::{Columns, Wrong};
pub use files::is_parquet;
use files::{files_in, split_of};
use thrift::Walker;

/// How many neighbouring pictures are read together, since a page of the file holds several.
const BLOCK_ROWS: u32 = 32;
/// The size in bytes beyond which the remaining pictures of a block are read separately.
const BLOCK_BYTES: usize = 8 << 20;
/// How many blocks are kept, each of at most [`BLOCK_BYTES`] and one picture.
const BLOCKS: usize = 8;
/// More rows than this are too many for one list.
const MOST_ROWS: i64 = 100_000_000;
/// The largest unpacked size of a page in bytes: a picture within the limits, and some more.
const MOST_PAGE: u64 = 320 << 20;
/// Class names are looked up in lists: a column of arbitrary numbers is not a label.
const MOST_CLASSES: usize = 1_000_000;

/// Opens Parquet files in the layout of the Hugging Face Hub: a file, or a folder with files such
/// as `[data/]SPLIT-00000-of-00001.parquet` or `SPLIT/0000.parquet`.
///
/// A row is a picture. The column with pictures is a group of `bytes` and `path`, or binary; if
/// bytes are missing, the file `path` below the Parquet file's folder is read. The column of labels
/// has numbers or names. The schema's metadata, under the key `huggingface`, say which columns
/// these are and what the classes are called; without them, the column with pictures is the only
/// group with `bytes`, or `image`, and the column of labels has one of the usual names. A column
/// `split` says the split of each row. The [options](SourceOptions) name other columns. Rows
/// without a label (none, or −1) are left out. Ids are `FILE/ROW/NAME`.
///
/// The list of rows is read once; pictures are read on demand, in runs of neighbouring rows, and
/// about 64 MiB of them are kept.
///
/// # Errors
/// [`Error::Table`] if a file is damaged, [`Error::Columns`] if it has no such columns or several
/// that could be meant; otherwise as
/// [`open_folder`](crate::open_folder).
pub fn open_parquet(path: impl AsRef<Path>, reading: impl Into<Reading>) -> Result<Dataset> {
    let path = path.as_ref();
    let mut beside = Beside::default();
    let mut files = vec![path.to_path_buf()];
    if path.is_dir() {
        files = files_in(path);
        beside.remarks.extend(files::left_out(path, &files));
    }
    open_files(&path.display().to_string(), &files, reading.into(), beside)
}

/// Opens Parquet files as one data set of this name; their splits follow from their names or
/// folders, if these tell.
///
/// # Errors
/// As [`open_parquet`].
pub fn open_parquet_files(
    place: &str,
    files: &[PathBuf],
    reading: impl Into<Reading>,
) -> Result<Dataset> {
    open_files(place, files, reading.into(), Beside::default())
}

fn open_files(
    place: &str,
    files: &[PathBuf],
    reading: Reading,
    mut beside: Beside,
) -> Result<Dataset> {
    let mut parts: Vec<(PathBuf, Option<Split>)> =
        files.iter().map(|file| (file.clone(), split_of(file))).collect();
    let trains = |split: &Option<Split>| matches!(split, None | Some(Split::Train));
    if reading.purpose == FolderUse::Train && !parts.iter().any(|(_, split)| trains(split)) {
        let splits: BTreeSet<Option<Split>> = parts.iter().map(|(_, split)| *split).collect();
        if let (1, Some(split)) = (splits.len(), parts[0].1) {
            beside.remarks.push(format!(
                "there is nothing else than {place}, so that its pictures are used for training although its name says {split}"
            ));
            parts.iter_mut().for_each(|(_, split)| *split = None);
        }
    }
    open_parts(place, &parts, &reading, beside)
}

fn open_parts(
    place: &str,
    parts: &[(PathBuf, Option<Split>)],
    reading: &Reading,
    mut beside: Beside,
) -> Result<Dataset> {
    reading.options.check(Kind::Table, place)?;
    let mut source = Tables { place: place.into(), ..Tables::default() };
    let mut rows = Vec::new();
    let mut names: Option<Vec<String>> = None;
    let mut splits: Vec<(String, Option<Split>)> = Vec::new();
    for (path, split) in parts {
        let fail = |problem: String| Error::Table { path: path.clone(), problem };
        let others_train =
            || parts.iter().any(|(_, split)| matches!(split, None | Some(Split::Train)));
        let (listed, table) = match open_and_list(path, reading)? {
            // As an unlabelled folder `test` beside `train`.
            Err(Problem::NoLabels(_))
                if split.is_some_and(|split| split != Split::Train) && others_train() =>
            {
                beside.remarks.push(format!(
                    "{0} has no labels and is left out; to classify its pictures with the trained model: taper predict MODEL {0}",
                    path.display()
                ));
                continue;
            }
            Err(Problem::Columns(problem) | Problem::NoLabels(problem)) => {
                return Err(Error::Columns { path: path.clone(), problem });
            }
            Err(Problem::Damaged(problem)) => {
                return Err(fail(format!(
                    "{problem}; this is not a data set in the Hub's layout, or it is damaged: download or export it again"
                )));
            }
            Ok(opened) => opened,
        };
        match (&names, &table.names) {
            (Some(before), Some(own)) if before != own => {
                return Err(fail(
                    "its class names differ from those of the files before it".into(),
                ));
            }
            (_, Some(own)) => names = Some(own.clone()),
            (_, None) => {}
        }
        let stem = files::stem(path, parts.len() > 1);
        let mut without_label = 0;
        let first_row = rows.len();
        beside
            .remarks
            .extend(table.remarks.iter().map(|remark| format!("{}: {remark}", path.display())));
        for row in listed {
            let Some(class) = row.class else {
                without_label += 1;
                continue;
            };
            let mut id = format!("{stem}/{:07}", row.number);
            if let Some(name) = &row.name {
                id = format!("{id}/{name}");
            }
            let slot = source.rows.len();
            source.rows.push(Place {
                table: source.tables.len() as u32,
                group: row.group,
                row: row.row,
            });
            let split = match row.split {
                Some(word) => Some(split_named(&word).ok_or_else(|| Error::Columns {
                    path: path.clone(),
                    problem: format!(
                        "row {} has the split '{word}': use train, val, test or nothing, or name another column with `split_column`",
                        row.number
                    ),
                })?),
                None => *split,
            };
            rows.push(Row { id, packaging: 0, class, split, group: None, slot });
        }
        if without_label > 0 {
            beside.remarks.push(format!(
                "{}: {without_label} row(s) have no label and are left out",
                path.display()
            ));
        }
        let known = split.or_else(|| rows[first_row..].iter().find_map(|row: &Row| row.split));
        splits.push((stem, known));
        source.tables.push(table);
    }
    let several = splits.len() > 1 && reading.purpose != FolderUse::Classify;
    let judged = if several { sets::judge("Parquet files", &splits) } else { Ok(None) };
    let ambiguous = |problem| Error::Ambiguous { path: place.into(), problem };
    beside.remarks.extend(judged.map_err(ambiguous)?);
    let names = names.map(|names| used_names(names, &rows, &mut beside));
    rows::dataset(place, rows, names, Arc::new(source), beside, reading)
}

/// Opens a file and lists its rows; what is wrong with its content is the inner error.
fn open_and_list(
    path: &Path,
    reading: &Reading,
) -> Result<std::result::Result<(Vec<Listed>, Table), Problem>> {
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing { path: path.into() },
        _ => Error::Io { path: path.into(), source },
    })?;
    let window = Window::new(file).map_err(|source| Error::Io { path: path.into(), source })?;
    // The reader trusts a file's own claims in more places than it checks them.
    let list = || {
        let table = Table::open(path, window, &reading.options)?;
        Ok((table.list().map_err(Problem::Damaged)?, table))
    };
    Ok(catch_unwind(AssertUnwindSafe(list))
        .unwrap_or_else(|_| Err(Problem::Damaged("the reader failed".into()))))
}

/// Classes without a picture are neither learned nor required.
fn used_names(names: Vec<String>, rows: &[Row], beside: &mut Beside) -> Vec<String> {
    let used: HashSet<&str> = rows.iter().map(|row| row.class.as_str()).collect();
    let (used, unused): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| used.contains(name.as_str()));
    if let Some(first) = unused.first() {
        let count = unused.len();
        beside.remarks.push(format!("{count} class(es) have no pictures, such as '{first}'"));
    }
    used
}

/// A file that several threads read at positions of their own: unlike `File`, whose clones share
/// their position.
struct Chunks(Window);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.length()
    }
}

/// A window whose end is an error: the underlying reader skips as many bytes as a damaged header
/// claims, and at the end of the data would do so for hours. The pages are always followed by the
/// footer, so no valid read reaches the end.
struct Unending(Window);

impl Read for Unending {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 if !buffer.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            n => Ok(n),
        }
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Unending>;

    fn get_read(&self, start: u64) -> std::result::Result<Self::T, ParquetError> {
        let mut window = self.0.clone();
        window.seek(SeekFrom::Start(start))?;
        Ok(BufReader::new(Unending(window)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> std::result::Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64);
        // Before memory is asked for.
        if end.is_none_or(|end| end > self.0.length()) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes from {start} are beyond its end"
            )));
        }
        let mut window = self.0.clone();
        window.seek(SeekFrom::Start(start))?;
        let mut buffer = vec![0; length];
        window.read_exact(&mut buffer)?;
        Ok(buffer.into())
    }
}

fn rest(window: &Window, start: u64) -> BufReader<Unending> {
    let mut window = window.clone();
    // Seeking within a window cannot fail.
    let _ = window.seek(SeekFrom::Start(start));
    BufReader::new(Unending(window))
}

/// The file's metadata lie before its last eight bytes: their length, and the magic.
fn check_footer(window: &Window) -> std::result::Result<(), String> {
    let short = || "it is not a Parquet file".to_string();
    let end = window.length().checked_sub(8).ok_or_else(short)?;
    let mut last = [0; 8];
    rest(window, end).read_exact(&mut last).map_err(|_| short())?;
    let [a, b, c, d, magic @ ..] = last;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let start = end.checked_sub(length).filter(|_| magic == *b"PAR1").ok_or_else(short)?;
    Walker::new(rest(window, start), length).numbers().map(drop)
}

/// Checks every page of a column: its header, and its claimed unpacked size.
fn check_pages(window: &Window, start: u64, length: u64) -> std::result::Result<(), String> {
    let end = start.checked_add(length).filter(|end| *end <= window.length());
    let end = end.ok_or("a column ends beyond the file")?;
    let mut at = start;
    while at < end {
        let mut walker = Walker::new(rest(window, at), end - at);
        let numbers = walker.numbers()?;
        let field = |id| {
            let value = numbers.iter().find(|(own, _)| *own == id).map(|(_, value)| *value);
            value.and_then(|value| u64::try_from(value).ok()).ok_or("a page has no size")
        };
        // As in `PageHeader` of parquet.thrift.
        let (unpacked, packed) = (field(2)?, field(3)?);
        if unpacked > MOST_PAGE {
            return Err(format!("a page unpacks to {} MiB", unpacked >> 20));
        }
        at = at.saturating_add(walker.len()).saturating_add(packed);
    }
    Ok(())
}

/// One file.
struct Table {
    reader: SerializedFileReader<Chunks>,
    folder: PathBuf,
    /// Columns.
    bytes: Option<usize>,
    path: Option<usize>,
    label: usize,
    split: Option<usize>,
    /// Class names, if the schema's metadata have them.
    names: Option<Vec<String>>,
    /// What was decided about the columns, or could be.
    remarks: Vec<String>,
}

/// What is wrong with a file.
enum Problem {
    /// It lacks a column, or leaves a choice.
    Columns(String),
    /// It has no column of labels.
    NoLabels(String),
    Damaged(String),
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A row of the list.
struct Listed {
    /// In the file, from 0.
    number: u64,
    group: u32,
    /// In the row group.
    row: u32,
    name: Option<String>,
    class: Option<String>,
    split: Option<String>,
}

fn damaged(error: ParquetError) -> String {
    format!("it cannot be read ({error})")
}

impl Table {
    fn open(
        path: &Path,
        window: Window,
        options: &SourceOptions,
    ) -> std::result::Result<Self, Problem> {
        let length = window.length();
        check_footer(&window).map_err(Problem::Damaged)?;
        let pages = window.clone();
        let reader = SerializedFileReader::new(Chunks(window));
        let reader = reader.map_err(|error| Problem::Damaged(damaged(error)))?;
        let metadata = reader.metadata().file_metadata();
        // Every row has a picture, and every picture has at least one byte.
        let most = i64::try_from(length).unwrap_or(MOST_ROWS).min(MOST_ROWS);
        let groups = reader.metadata().row_groups().iter();
        let rows = groups.fold(0i64, |sum, group| sum.saturating_add(group.num_rows().max(0)));
        if rows != metadata.num_rows() || rows > most {
            let problem = format!("it claims {} rows", metadata.num_rows().max(rows));
            return Err(Problem::Damaged(problem));
        }
        let columns = columns::choose(metadata, options).map_err(|wrong| match wrong {
            Wrong::Column(problem) => Problem::Columns(problem),
            Wrong::NoLabels(problem) => Problem::NoLabels(problem),
        })?;
        let Columns { bytes, path: file, label, split, names } = columns;
        for group in reader.metadata().row_groups() {
            for column in [bytes, file, Some(label), split].into_iter().flatten() {
                let (start, length) = group.column(column).byte_range();
                check_pages(&pages, start, length).map_err(Problem::Damaged)?;
            }
        }
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let remarks = Vec::new();
        let mut table = Self { bytes, path: file, label, split, names, folder, reader, remarks };
        if split.is_none() {
            table.find_split(&pages).map_err(Problem::Damaged)?;
        }
        Ok(table)
    }

    /// All rows, without their pictures.
    fn list(&self) -> std::result::Result<Vec<Listed>, String> {
        let mut listed = Vec::new();
        for group in 0..self.reader.num_row_groups() {
            let rows = self.reader.metadata().row_group(group).num_rows();
            let rows = u32::try_from(rows).map_err(|_| format!("a group of {rows} rows"))?;
            let classes = self.classes(group, rows)?;
            let names = match self.path {
                Some(column) => self.column(group, column, rows, |name: &ByteArray| {
                    Some(last_part(&String::from_utf8_lossy(name.data())))
                })?,
                None => vec![None; rows as usize],
            };
            let splits = match self.split {
                Some(column) => self.column(group, column, rows, |name: &ByteArray| {
                    let name = String::from_utf8_lossy(name.data()).trim().to_owned();
                    Some(name).filter(|name| !name.is_empty())
                })?,
                None => vec![None; rows as usize],
            };
            if [classes.len(), names.len(), splits.len()] != [rows as usize; 3] {
                return Err(format!("not all columns of a group have {rows} rows"));
            }
            let columns = classes.into_iter().zip(names).zip(splits);
            for (row, ((class, name), split)) in (0..rows).zip(columns) {
                let number = listed.len() as u64;
                let name = name.filter(|name| !name.is_empty());
                listed.push(Listed { number, group: group as u32, row, name, class, split });
            }
        }
        Ok(listed)
    }

    fn classes(&self, group: usize, rows: u32) -> std::result::Result<Vec<Option<String>>, String> {
        let named = |number: i64| -> std::result::Result<Option<String>, String> {
            match (&self.names, usize::try_from(number)) {
                // The Hub uses −1 where the label is not given.
                (_, Err(_)) => Ok(None),
                (Some(names), Ok(at)) => match names.get(at) {
                    Some(name) => Ok(Some(name.clone())),
                    None => Err(format!(
                        "the label {at} is out of range: there are {} classes",
                        names.len()
                    )),
                },
                (None, Ok(at)) if at < MOST_CLASSES => Ok(Some(at.to_string())),
                (None, Ok(at)) => Err(format!("the label {at} is not a class number")),
            }
        };
        let column = self.label;
        let kind = self.reader.metadata().file_metadata().schema_descr().column(column);
        let numbers = match kind.physical_type() {
            Type::INT32 => self.column(group, column, rows, |n: &i32| Some(i64::from(*n)))?,
            Type::INT64 => self.column(group, column, rows, |n: &i64| Some(*n))?,
            Type::BOOLEAN => self.column(group, column, rows, |n: &bool| Some(i64::from(*n)))?,
            _ => {
                return self.column(group, column, rows, |name: &ByteArray| {
                    let name = String::from_utf8_lossy(name.data()).into_owned();
                    Some(name).filter(|name| !name.is_empty())
                });
            }
        };
        numbers.into_iter().map(|n| n.map_or(Ok(None), named)).collect()
    }

    /// A whole column of a row group; none where it is null.
    fn column<V: Typed, T>(
        &self,
        group: usize,
        column: usize,
        rows: u32,
        of: impl Fn(&V) -> Option<T>,
    ) -> std::result::Result<Vec<Option<T>>, String> {
        let mut reader = self.typed::<V::Type>(group, column)?;
        let mut all = Vec::new();
        while (all.len() as u64) < u64::from(rows) {
            let before = all.len();
            // In parts, so that a file that claims more rows than it has costs no memory for them.
            let wanted = (rows as usize - before).min(1 << 14);
            let values = read::<V::Type>(&mut reader, wanted)?;
            all.extend(values.iter().map(|value| of(V::of(value.as_ref()?)?)));
            if all.len() == before {
                break;
            }
        }
        Ok(all)
    }

    fn typed<D: DataType>(
        &self,
        group: usize,
        column: usize,
    ) -> std::result::Result<ColumnReaderImpl<D>, String> {
        let group = self.reader.get_row_group(group).map_err(damaged)?;
        let reader: ColumnReader = group.get_column_reader(column).map_err(damaged)?;
        Ok(get_typed_column_reader(reader))
    }

    /// The pictures of a block, as many as fit, from `first` on.
    fn block(
        &self,
        group: u32,
        first: u32,
        rows: u32,
    ) -> std::result::Result<Vec<Option<Vec<u8>>>, String> {
        let Some(column) = self.bytes else { return Ok(vec![None; rows as usize]) };
        let mut reader = self.typed::<ByteArrayType>(group as usize, column)?;
        let skipped = reader.skip_records(first as usize).map_err(damaged)?;
        if skipped != first as usize {
            return Err(format!("it ends before row {first} of group {group}"));
        }
        let (mut block, mut size) = (Vec::new(), 0);
        while block.len() < rows as usize && size < BLOCK_BYTES {
            let values = read::<ByteArrayType>(&mut reader, 1)?;
            let Some(value) = values.into_iter().next() else { break };
            // A copy: the value would keep its whole page.
            let bytes = value.map(|value| value.data().to_vec());
            size += bytes.as_ref().map_or(0, Vec::len);
            block.push(bytes);
        }
        Ok(block)
    }

    /// The picture file that a row refers to instead of containing it.
    fn named(&self, place: Place, limit: u64) -> std::result::Result<Vec<u8>, Defect> {
        let io = |reason: &str| Defect::new(DefectKind::Io, reason.to_string());
        let name = self.path.and_then(|column| {
            let mut reader = self.typed::<ByteArrayType>(place.group as usize, column).ok()?;
            reader.skip_records(place.row as usize).ok()?;
            let value = read::<ByteArrayType>(&mut reader, 1).ok()?.into_iter().next()??;
            String::from_utf8(value.data().to_vec()).ok()
        });
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(io("has neither bytes nor a path"));
        };
        let below = Path::new(&name).components().all(|c| matches!(c, Component::Normal(_)));
        if !below || name.contains(['\\', ':', '\0']) {
            return Err(io("has no bytes, and its path leads out of the folder: not read"));
        }
        read_file(&self.folder.join(name), limit)
    }
}

/// The next records; none for nulls.
fn read<D: DataType>(
    reader: &mut ColumnReaderImpl<D>,
    most: usize,
) -> std::result::Result<Vec<Option<D::T>>, String> {
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

typed!(i32 => Int32Type, i64 => Int64Type, bool => BoolType, ByteArray => ByteArrayType);

/// The last part of a path, for an id.
fn last_part(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[derive(Debug, Clone, Copy)]
struct Place {
    table: u32,
    group: u32,
    row: u32,
}

/// Pictures that were read together.
#[derive(Debug)]
struct Block {
    table: u32,
    group: u32,
    first: u32,
    rows: OnceLock<std::result::Result<Vec<Option<Vec<u8>>>, String>>,
}

#[derive(Debug, Default)]
struct Tables {
    place: String,
    tables: Vec<Table>,
    /// By slot.
    rows: Vec<Place>,
    /// The last used at the end.
    blocks: Mutex<VecDeque<Arc<Block>>>,
}

impl Tables {
    fn block(&self, place: Place) -> Arc<Block> {
        let first = place.row - place.row % BLOCK_ROWS;
        let is_it = |block: &Arc<Block>| {
            (block.table, block.group, block.first) == (place.table, place.group, first)
        };
        // A panic while holding this lock leaves nothing inconsistent.
        let mut blocks = self.blocks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let found = blocks.iter().position(is_it).and_then(|at| blocks.remove(at));
        let block = found.unwrap_or_else(|| {
            let (table, group) = (place.table, place.group);
            Arc::new(Block { table, group, first, rows: OnceLock::new() })
        });
        blocks.push_back(Arc::clone(&block));
        while blocks.len() > BLOCKS {
            blocks.pop_front();
        }
        block
    }

    fn read(&self, place: Place, limit: u64) -> std::result::Result<Vec<u8>, Defect> {
        let corrupt =
            |problem: &str| Defect::new(DefectKind::Corrupt, format!("in the table: {problem}"));
        let table = &self.tables[place.table as usize];
        let guarded = |first: u32, rows: u32| {
            catch_unwind(AssertUnwindSafe(|| table.block(place.group, first, rows)))
                .unwrap_or_else(|_| Err("the reader failed".into()))
        };
        let block = self.block(place);
        let rows = block.rows.get_or_init(|| guarded(block.first, BLOCK_ROWS));
        let rows = rows.as_ref().map_err(|problem| corrupt(problem))?;
        let own = match rows.get((place.row - block.first) as usize) {
            Some(own) => own.clone(),
            // The pictures before it filled the block.
            None => guarded(place.row, 1).map_err(|problem| corrupt(&problem))?.pop().flatten(),
        };
        match own {
            Some(bytes) if bytes.len() as u64 > limit => Err(Defect::new(
                DefectKind::TooLarge,
                format!("has more than the limit of {} MiB: save it smaller", limit >> 20),
            )),
            Some(bytes) => Ok(bytes),
            None => table.named(place, limit),
        }
    }
}

impl PictureSource for Tables {
    fn fetch(&self, sample: &Sample, limit: u64) -> std::result::Result<Content, Defect> {
        match self.rows.get(sample.slot) {
            Some(place) => self.read(*place, limit).map(Content::Encoded),
            None => Err(Defect::new(DefectKind::Io, "is not a picture of this table")),
        }
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}
