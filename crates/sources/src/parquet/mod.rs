//! Parquet in the layout of the Hugging Face Hub as a source.

mod files;
mod rows_of;

use std::{
    collections::{BTreeSet, HashSet},
    fs::File,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use taper_archive::lfs_pointer;
use taper_core::Split;
use taper_data::{Content, Dataset, PictureSource, Sample};
use taper_names::{paths::splits_of_paths, sets};
use taper_parquet::Pictures;
use taper_picture::Defect;

use crate::{
    Error, FolderUse, Reading, Result,
    options::Kind,
    rows::{self, Beside, Row, Told, split_of_row},
};
pub use files::is_parquet;
use files::{files_in, split_of};
use rows_of::{Listing, Problem, last_part, list};

/// Opens Parquet files in the layout of the Hugging Face Hub: a file, or a folder with files such
/// as `[data/]SPLIT-00000-of-00001.parquet` or `SPLIT/0000.parquet`.
///
/// A row is a picture. The column with pictures is a group of `bytes` and `path`, or binary; if
/// bytes are missing, the file `path` below the Parquet file's folder is read. The column of labels
/// has numbers or names. The schema's metadata, under the key `huggingface`, say which columns
/// these are and what the classes are called; without them, the column with pictures is the only
/// group with `bytes`, or `image`, and the column of labels has one of the usual names. A column
/// `split` says the split of each row. The [options](crate::SourceOptions) name other columns. Rows
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
        beside.remarks.extend(files::missing(&files));
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
    let mut pictures = Pictures::default();
    let mut rows = Vec::new();
    let mut names: Option<Vec<String>> = None;
    let mut stems: Vec<(String, Option<Split>, Range<usize>)> = Vec::new();
    let mut paths: Vec<Option<String>> = Vec::new();
    let mut labels: Option<(&Path, String)> = None;
    for (path, split) in parts {
        let fail = |problem: String| Error::Table { path: path.clone(), problem };
        let others_train =
            || parts.iter().any(|(_, split)| matches!(split, None | Some(Split::Train)));
        let Listing { table, columns, rows: listed, remarks } = match list(path, reading)? {
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
            Err(Problem::Damaged(problem)) => return Err(fail(problem)),
            Ok(listing) => listing,
        };
        match (&names, &columns.names) {
            (Some(before), Some(own)) if before != own => {
                return Err(fail(
                    "its class names differ from those of the files before it".into(),
                ));
            }
            (_, Some(own)) => names = Some(own.clone()),
            (_, None) => {}
        }
        beside.remarks.extend(other_label(&mut labels, path, &columns.label_name));
        let stem = files::stem(path, parts.len() > 1);
        let mut without_label = 0;
        let mut told = Told::default();
        let first_row = rows.len();
        beside.remarks.extend(remarks.iter().map(|remark| format!("{}: {remark}", path.display())));
        let first_picture = pictures
            .add(table, columns.bytes, columns.path)
            .map_err(|error| damaged(path, error))?;
        for (number, row) in listed.into_iter().enumerate() {
            let Some(class) = row.class else {
                without_label += 1;
                continue;
            };
            let mut id = format!("{stem}/{number:07}");
            let name = row.path.as_deref().map(last_part).filter(|name| !name.is_empty());
            if let Some(name) = name {
                id = format!("{id}/{name}");
            }
            paths.push(row.path);
            let slot = first_picture + number;
            let split = split_of_row(row.split, *split, &mut told).map_err(|problem| {
                let problem = format!("row {number} {problem}");
                Error::Columns { path: path.clone(), problem }
            })?;
            rows.push(Row { id, packaging: 0, class, split, groups: row.groups, slot });
        }
        beside.remarks.extend(told.remark(&path.display().to_string()));
        if without_label > 0 {
            beside.remarks.push(format!(
                "{0}: {without_label} row(s) have no label and are left out; to classify them with the trained model: taper predict MODEL {0}",
                path.display()
            ));
        }
        stems.push((stem, *split, first_row..rows.len()));
    }
    if reading.purpose != FolderUse::Classify && rows.iter().all(|row| row.split.is_none()) {
        take_splits_of_paths(place, &mut rows, &paths, &mut beside)?;
    }
    let known = |split: Option<Split>, own: Range<usize>| {
        split.or_else(|| rows[own].iter().find_map(|row: &Row| row.split))
    };
    let splits: Vec<(String, Option<Split>)> =
        stems.into_iter().map(|(stem, split, own)| (stem, known(split, own))).collect();
    rows::leave_out_unlabelled(&mut rows, &mut beside.remarks);
    let several = splits.len() > 1 && reading.purpose != FolderUse::Classify;
    let judged = if several { sets::judge("Parquet files", &splits) } else { Ok(None) };
    let ambiguous = |problem| Error::Ambiguous { path: place.into(), problem };
    beside.remarks.extend(judged.map_err(ambiguous)?);
    let names = names.map(|names| used_names(names, &rows, &mut beside));
    let source = Tables { place: place.into(), pictures };
    rows::dataset(place, rows, names, Arc::new(source), beside, reading)
}

/// A remark about a file whose labels are in a column of another name than those of the first.
fn other_label<'a>(
    first: &mut Option<(&'a Path, String)>,
    path: &'a Path,
    name: &str,
) -> Option<String> {
    let place = |name: &str| match name {
        // The columns are the classes.
        "" => "columns of their own".to_owned(),
        name => format!("the column '{name}'"),
    };
    let (other, own) = first.get_or_insert_with(|| (path, name.to_owned()));
    (own != name).then(|| {
        format!(
            "the labels of {} are in {}, and those of {} in {}; if these do not mean the same, give the files one by one",
            other.display(),
            place(own),
            path.display(),
            place(name)
        )
    })
}

/// Splits that only the paths of the pictures say.
fn take_splits_of_paths(
    place: &str,
    rows: &mut [Row],
    paths: &[Option<String>],
    beside: &mut Beside,
) -> Result<()> {
    let of = |(row, path)| Some(((path as &Option<String>).as_deref()?, &*(row as &Row).class));
    let pictures: Option<Vec<(&str, &str)>> = rows.iter().zip(paths).map(of).collect();
    let Some(said) = pictures.map(|pictures| splits_of_paths(&pictures)) else { return Ok(()) };
    let choice = "a column called split or `split_column` says otherwise";
    let taken = rows::take_splits(rows, said, choice, &mut beside.remarks);
    taken.map_err(|problem| Error::Columns { path: place.into(), problem })
}

/// What a damaged file is as a data set.
fn damaged(path: &Path, error: taper_parquet::Error) -> Error {
    match error {
        taper_parquet::Error::Missing { path } => Error::Missing { path },
        taper_parquet::Error::Io { path, source } => Error::Io { path, source },
        taper_parquet::Error::Damaged { problem, .. } => {
            let mut head = Vec::new();
            // What cannot be read says nothing either.
            let _ = File::open(path).and_then(|file| file.take(64).read_to_end(&mut head));
            let unknown = || {
                format!(
                    "{problem}; this is not a data set in the Hub's layout, or it is damaged: download or export it again"
                )
            };
            let problem = lfs_pointer(&head).map_or_else(unknown, String::from);
            Error::Table { path: path.into(), problem }
        }
        other => Error::Table { path: path.into(), problem: other.to_string() },
    }
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

/// The pictures of all files.
#[derive(Debug)]
struct Tables {
    place: String,
    pictures: Pictures,
}

impl PictureSource for Tables {
    fn fetch(&self, sample: &Sample, limit: u64) -> std::result::Result<Content, Defect> {
        self.pictures.read(sample.slot, limit).map(Content::Encoded)
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}
