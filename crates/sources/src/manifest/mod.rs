//! A list of pictures: CSV or JSON Lines.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::{Cursor, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value};
use taper_archive::lfs_pointer;
use taper_core::Split;
use taper_data::{Content, Dataset, PictureSource, Sample};
use taper_names::{
    columns::{self, Columns, Values, Wanted, Wrong},
    group_columns::group_of,
    multi_label,
    paths::splits_of_paths,
    sets,
    split_columns::{of_flags, truth},
};
use taper_path_lists::{self as text, find_files, plain};
use taper_picture::{Defect, DefectKind, read_file};

use crate::{
    Error, FolderUse, LayoutChoice, Reading, Result, SourceOptions,
    options::Kind,
    rows::{self, Beside, Row, Told, split_of_row},
    split_named,
};

/// The extensions of manifests, for messages.
pub const MANIFESTS: &str = ".csv, .tsv, .jsonl, .ndjson";

/// The longest line of a JSON Lines manifest, in bytes: far longer than any path, and a guard
/// against files that are not text.
const LONGEST_LINE: usize = 1 << 20;

#[derive(Debug)]
struct Manifest {
    place: String,
    /// The folder that paths are relative to.
    folder: PathBuf,
    /// By slot.
    paths: Vec<Box<str>>,
}

impl PictureSource for Manifest {
    fn fetch(&self, sample: &Sample, limit: u64) -> std::result::Result<Content, Defect> {
        let file = self.file(sample).ok_or_else(|| {
            Defect::new(DefectKind::Io, "is not a picture of this manifest".to_string())
        })?;
        read_file(&file, limit).map(Content::Encoded).map_err(|defect| match file.exists() {
            true => defect,
            false => {
                let folder = self.folder.display();
                Defect::new(defect.kind, format!("does not exist; looked for in '{folder}'"))
            }
        })
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn file(&self, sample: &Sample) -> Option<PathBuf> {
        Some(self.folder.join(&**self.paths.get(sample.slot)?))
    }

    fn bytes(&self, sample: &Sample) -> Option<u64> {
        fs::metadata(self.file(sample)?).ok().map(|m| m.len())
    }
}

/// Whether a file's name is that of a manifest: `.csv`, `.tsv`, `.jsonl` or `.ndjson`.
pub fn is_manifest(path: &Path) -> bool {
    has_extension(path, &["csv", "tsv"]) || is_json_lines(path)
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
    extension.is_some_and(|e| extensions.contains(&e.as_str()))
}

fn is_json_lines(path: &Path) -> bool {
    has_extension(path, &["jsonl", "ndjson"])
}

/// Whether a file may be a list without a header, by its name.
pub(crate) fn has_name_of_list(path: &Path) -> bool {
    has_extension(path, &["txt", "lst"])
}

/// Whether a file is a list of pictures and labels without a header, going by its name and its
/// first line.
pub(crate) fn is_list(path: &Path) -> bool {
    if !has_name_of_list(path) {
        return false;
    }
    let mut head = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
    let (text, _) = text::decode(&head);
    let first = text::entries(&text).next().map(|(_, entry)| text::path_and_label(entry));
    read.is_ok() && first.is_some_and(|(path, label)| label.is_some() && text::is_picture(path))
}

/// Opens a manifest: a table with a column of paths, one of labels, and perhaps ones of splits and
/// groups, as CSV with a header line (separated by commas, semicolons or tabs) or as JSON Lines.
///
/// - Text is UTF-8, UTF-16, or else Windows-1252.
/// - The columns are found by their names (`path`, `file_name`, `image`, `id` and others; `label`,
///   `class` and others; `split`; `group`), or named by the
///   [options](crate::SourceOptions); other columns are ignored.
/// - Paths have forward slashes and are relative to the manifest's folder, or else to the folder
///   beside it that has the files, or to several that have some each; absolute ones are used
///   unchanged. An extension that is missing is filled in. Whether all files exist is found out
///   when they are read.
/// - `split` is empty or a word for a split, or else columns of truth values such as `is_train` say
///   it; outside `train`, pictures without a label are left out. Pictures of one `group` stay in
///   one split when splits are [drawn](Dataset::splits).
/// - Classes are sorted by the bytes of their names.
///
/// # Errors
/// [`Error::Manifest`] names the first line that cannot be understood, [`Error::Columns`] the
/// columns that there are; otherwise as [`open_folder`](crate::open_folder).
pub fn open_manifest(path: impl AsRef<Path>, reading: impl Into<Reading>) -> Result<Dataset> {
    let (path, reading) = (path.as_ref(), reading.into());
    let place = path.display().to_string();
    reading.options.check(Kind::Table, &place)?;
    let mut beside = Beside::default();
    let Listed { mut rows, paths, folder } = read(path, None, &reading, &mut beside)?;
    let own = path.file_stem().and_then(|stem| stem.to_str()).and_then(split_named);
    if let Some(split) = own.filter(|split| *split != Split::Train)
        && reading.purpose == FolderUse::Train
        && rows.iter().all(|row| row.split.is_none())
    {
        beside.remarks.push(format!(
            "there is nothing else than {place}, so that its pictures are used for training although its name says {split}"
        ));
    }
    rows::leave_out_unlabelled(&mut rows, &mut beside.remarks);
    let source = Arc::new(Manifest { place: place.clone(), folder, paths });
    rows::dataset(&place, rows, None, source, beside, &reading)
}

/// Opens the tables of a folder, of which each has the pictures of one split. Those of val or test
/// without labels, and the folders of splits without a table, are left out, with a remark.
pub(crate) fn open_tables(
    root: &Path,
    tables: &[(PathBuf, Split)],
    without: &[PathBuf],
    reading: &Reading,
) -> Result<Dataset> {
    let place = root.display().to_string();
    // Folders of splits with a table in each are both.
    let in_folders = tables.iter().all(|(table, _)| table.parent() != Some(root));
    let layout = reading.options.layout;
    let layout = if in_folders { LayoutChoice::Auto } else { layout };
    SourceOptions { layout, ..reading.options.clone() }.check(Kind::Table, &place)?;
    let trains = tables.iter().any(|(_, split)| *split == Split::Train);
    let mut beside = Beside::default();
    let names: Vec<String> =
        tables.iter().map(|(table, _)| relative(root, table).display().to_string()).collect();
    beside.remarks.push(format!(
        "the labels are taken from the tables {}, one for each split",
        sets::listed(&names)
    ));
    let (mut rows, mut paths) = (Vec::new(), Vec::new());
    // What paths are relative to, as those of a table in the folder would be.
    let within = root.join("table");
    let mut seen: HashMap<String, &Path> = HashMap::new();
    for (table, split) in tables {
        let listed = match read(table, Some(*split), reading, &mut beside) {
            Err(Error::NoLabels { .. }) if trains && *split != Split::Train => {
                beside.remarks.push(without_labels(table));
                continue;
            }
            other => other?,
        };
        let first = paths.len();
        let folder = relative(root, &listed.folder);
        let whole = |path: &str| folder.join(path).display().to_string();
        for row in &listed.rows {
            let path = plain(&within, &whole(&row.id));
            if let Some(other) = seen.insert(path, table).filter(|other| other != table) {
                let problem = format!(
                    "'{}' is in {} too: keep it in one of the two",
                    whole(&row.id),
                    other.display()
                );
                return Err(Error::Table { path: table.clone(), problem });
            }
        }
        paths.extend(listed.paths.iter().map(|path| whole(path).into()));
        rows.extend(listed.rows.into_iter().map(|row| Row {
            id: whole(&row.id),
            slot: first + row.slot,
            ..row
        }));
    }
    beside.remarks.extend(without.iter().map(|folder| without_labels(folder)));
    rows::leave_out_unlabelled(&mut rows, &mut beside.remarks);
    let source = Arc::new(Manifest { place: place.clone(), folder: root.into(), paths });
    rows::dataset(&place, rows, None, source, beside, reading)
}

/// A remark about a table or a folder of pictures of val or test.
fn without_labels(path: &Path) -> String {
    format!(
        "{0} has no labels and is left out; to classify its pictures with the trained model: taper predict MODEL {0}",
        path.display()
    )
}

fn relative<'a>(root: &Path, path: &'a Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}

/// What a manifest lists.
struct Listed {
    rows: Vec<Row>,
    /// By slot.
    paths: Vec<Box<str>>,
    /// What these are relative to.
    folder: PathBuf,
}

/// Reads a manifest, perhaps one of pictures of one split.
fn read(
    path: &Path,
    split: Option<Split>,
    reading: &Reading,
    beside: &mut Beside,
) -> Result<Listed> {
    let bytes = fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Missing { path: path.into() },
        _ => Error::Io { path: path.into(), source },
    })?;
    if let Some(problem) = lfs_pointer(&bytes) {
        return Err(Error::Table { path: path.into(), problem: problem.into() });
    }
    let (text, guessed) = text::decode(&bytes);
    if guessed {
        beside.remarks.push(format!("{} is not UTF-8 and is read as Windows-1252", path.display()));
    }
    let mut table = Table {
        manifest: path.into(),
        image_column: reading.options.image_column.clone(),
        given: split,
        ..Table::default()
    };
    let wanted = reading.wanted();
    if is_json_lines(path) {
        table.read_json_lines(&text, &wanted, beside)?;
    } else if has_name_of_list(path) {
        table.read_list(&text)?;
    } else {
        table.read_csv(&text, has_extension(path, &["tsv"]), &wanted, beside)?;
    }
    let column = table.label_column.as_deref();
    let classes = table.rows.iter().map(|row| row.class.as_str());
    if let Some(class) = multi_label::several(classes, column) {
        let at = table.rows.iter().position(|row| row.class.trim() == class).unwrap_or(0);
        return Err(table.fail(table.lines[at], multi_label::refusal(&format!("'{class}'"))));
    }
    if let Some((count, example)) = &table.unlabelled {
        beside.remarks.push(format!(
            "{count} picture(s) of val or test, such as '{example}', have no label and are left out; to classify them with the trained model, give taper predict MODEL a list of them"
        ));
    }
    beside.remarks.extend(table.told.remark(&path.display().to_string()));
    let Table { mut rows, mut paths, says_splits, .. } = table;
    let folder = find_files(path, &mut paths, &mut beside.remarks)?;
    for row in &mut rows {
        row.id = paths[row.slot].to_string();
    }
    if split.is_none() && reading.purpose != FolderUse::Classify {
        let pictures: Vec<(&str, &str)> = rows.iter().map(|r| (&*r.id, &*r.class)).collect();
        let said = splits_of_paths(&pictures);
        if says_splits {
            beside.remarks.extend(rows::contradicted(&rows, &said));
            return Ok(Listed { rows, paths, folder });
        }
        let choice = "a column called split, which may be empty, or `split_column` says otherwise";
        let taken = rows::take_splits(&mut rows, said, choice, &mut beside.remarks);
        taken.map_err(|problem| Error::Columns { path: path.into(), problem })?;
    }
    Ok(Listed { rows, paths, folder })
}

/// One line.
#[derive(Default)]
struct Entry {
    path: String,
    label: String,
    split: Option<String>,
    /// What columns of truth values say.
    flags: Vec<(Split, String)>,
    /// The columns that may say its group, by their names in [`Table::groups`].
    groups: Vec<String>,
}

#[derive(Debug, Default)]
struct Table {
    manifest: PathBuf,
    /// The split of rows that say none.
    given: Option<Split>,
    /// The names of the columns that may say groups.
    groups: Vec<Arc<str>>,
    rows: Vec<Row>,
    /// By row.
    lines: Vec<u64>,
    /// By slot.
    paths: Vec<Box<str>>,
    /// The line of each path.
    seen: HashMap<String, u64>,
    /// How many lines precede the header.
    skipped: u64,
    /// The column of paths, if it was asked for.
    image_column: Option<String>,
    /// The column of labels.
    label_column: Option<String>,
    /// Whether columns say the splits.
    says_splits: bool,
    /// What they say in a table of one split.
    told: Told,
    /// How many pictures outside train have no label, and the first of them.
    unlabelled: Option<(usize, String)>,
}

impl Table {
    fn fail(&self, line: u64, problem: impl Into<String>) -> Error {
        Error::Manifest { path: self.manifest.clone(), line, problem: problem.into() }
    }

    /// What is wrong with a line that is no record.
    fn ragged(
        &self,
        error: &csv::Error,
        delimiter: u8,
        lines: &mut text::LineNumbers<'_>,
    ) -> Error {
        let line = lines.of(error.position()) + self.skipped;
        let problem = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                let delimiter = match delimiter {
                    b'\t' => "tabs".to_owned(),
                    byte => format!("'{}'", char::from(byte)),
                };
                let fields = if *len == 1 { "field" } else { "fields" };
                format!(
                    "the line has {len} {fields} between {delimiter}, but the first line has {expected_len}: correct it, and put values that contain {delimiter} between quotation marks"
                )
            }
            _ => error.to_string(),
        };
        self.fail(line, problem)
    }

    fn columns(
        &self,
        names: &[String],
        words: &Values,
        wanted: &Wanted<'_>,
        beside: &mut Beside,
    ) -> Result<Columns> {
        if columns::are_predictions(names) && wanted.label.is_none() {
            let problem = "this is a table that taper predict wrote, and its labels are what a model takes the pictures for: correct them, and give `label_column` label to use them nevertheless";
            return Err(Error::Columns { path: self.manifest.clone(), problem: problem.into() });
        }
        let found = columns::choose(names, words, wanted, &mut beside.remarks);
        let path = || self.manifest.clone();
        found.map_err(|wrong| match wrong {
            Wrong::Choice(problem) => Error::Columns { path: path(), problem },
            Wrong::NoLabels(problem) => Error::NoLabels { path: path(), problem },
        })
    }

    /// Takes note of what the columns are.
    fn note(&mut self, columns: &Columns, names: &[String]) {
        self.says_splits = columns.say_splits();
        self.label_column =
            names.get(columns.label).filter(|_| columns.one_hot.is_empty()).cloned();
        self.groups = columns.groups.iter().map(|at| names[*at].as_str().into()).collect();
    }

    fn read_csv(
        &mut self,
        text: &str,
        tabs: bool,
        wanted: &Wanted<'_>,
        beside: &mut Beside,
    ) -> Result<()> {
        let (told, text) = text::told_delimiter(text);
        self.skipped = u64::from(told.is_some());
        let header = text.lines().next().unwrap_or_default();
        // Some write commas whatever the name says.
        let delimiter = match told {
            Some(delimiter) => delimiter,
            None if tabs && header.contains('\t') => b'\t',
            None => text::delimiter(text),
        };
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::Headers)
            .delimiter(delimiter)
            .from_reader(Cursor::new(text.as_bytes()));
        let headers = reader.headers().map_err(|e| self.fail(1, e.to_string()))?.clone();
        let names: Vec<String> = headers.iter().map(String::from).collect();
        let mut words = Values::new(names.len());
        let start = reader.position().clone();
        for record in reader.records().flatten() {
            record.iter().enumerate().for_each(|(column, value)| words.see(column, value.trim()));
        }
        reader.seek(start).map_err(|e| self.fail(1, e.to_string()))?;
        let columns = self.columns(&names, &words, wanted, beside)?;
        self.note(&columns, &names);
        let mut lines = text::LineNumbers::new(text);
        for record in reader.into_records() {
            let record = record.map_err(|error| self.ragged(&error, delimiter, &mut lines))?;
            let line = lines.of(record.position()) + self.skipped;
            let plain = |column: usize| record.get(column).unwrap_or_default();
            let field = |column: usize| plain(column).trim().to_owned();
            let entry = Entry {
                path: field(columns.path),
                // Blanks around it may be part of a spelling, which a remark names.
                label: match columns.one_hot.is_empty() {
                    true => plain(columns.label).to_owned(),
                    false => self.one_hot(&columns, &names, line, |at| truth(plain(at)))?,
                },
                split: columns.split.map(field),
                flags: columns.flags.iter().map(|(at, split)| (*split, field(*at))).collect(),
                groups: columns.groups.iter().map(|at| field(*at)).collect(),
            };
            self.push(entry, line)?;
        }
        Ok(())
    }

    /// Lines of a path and a label without a header. Those of val or test may have no labels.
    fn read_list(&mut self, text: &str) -> Result<()> {
        let may_lack = self.given.is_some_and(|split| split != Split::Train);
        for (line, entry) in text::entries(text) {
            let (path, label) = text::path_and_label(entry);
            if label.is_none() && !(may_lack && text::is_picture(path)) {
                let problem = "there is no path and label, separated by a blank, as in 'cat/1.jpg 0': write a CSV file with the columns path and label";
                return Err(self.fail(line, problem));
            }
            let (first, more) = text::path_and_label(path);
            if !text::is_picture(path) && text::is_picture(first) && more.is_some() {
                let labels = &entry[first.len()..];
                return Err(self.fail(line, multi_label::refusal(&format!("'{}'", labels.trim()))));
            }
            let label = label.unwrap_or_default().into();
            self.push(Entry { path: path.into(), label, ..Entry::default() }, line)?;
        }
        if may_lack && self.rows.is_empty() && self.unlabelled.is_some() {
            let problem = "its lines have paths and no labels".into();
            return Err(Error::NoLabels { path: self.manifest.clone(), problem });
        }
        Ok(())
    }

    fn read_json_lines(
        &mut self,
        text: &str,
        wanted: &Wanted<'_>,
        beside: &mut Beside,
    ) -> Result<()> {
        let objects = || {
            (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()).map(
                |(line, text)| -> Result<(u64, Map<String, Value>)> {
                    if text.len() > LONGEST_LINE {
                        let problem = "the line is longer than 1 MiB: this is not a manifest";
                        return Err(self.fail(line, problem));
                    }
                    let object = serde_json::from_str(text);
                    Ok((line, object.map_err(|e| self.fail(line, e.to_string()))?))
                },
            )
        };
        // Any line may be the first one with a split.
        let mut names: BTreeSet<String> = BTreeSet::new();
        for object in objects() {
            for name in object?.1.into_iter().map(|(name, _)| name) {
                names.insert(name);
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = names.into_iter().collect();
        let mut words = Values::new(names.len());
        for object in objects() {
            let (_, object) = object?;
            for (column, name) in names.iter().enumerate() {
                match object.get(name) {
                    None | Some(Value::Null) => {}
                    Some(Value::String(text)) => words.see(column, text.trim()),
                    Some(value @ (Value::Bool(_) | Value::Number(_))) => {
                        words.see(column, &value.to_string());
                    }
                    Some(_) => words.see(column, "-"),
                }
            }
        }
        let columns = self.columns(&names, &words, wanted, beside)?;
        let mut entries = Vec::new();
        for object in objects() {
            let (line, object) = object?;
            let text = |column: usize| -> std::result::Result<String, String> {
                let name = &names[column];
                match object.get(name) {
                    None | Some(Value::Null) => Ok(String::new()),
                    Some(Value::String(text)) => Ok(text.clone()),
                    Some(Value::Number(number)) => Ok(number.to_string()),
                    Some(Value::Bool(value)) => Ok(value.to_string()),
                    Some(Value::Array(values)) if column == columns.label && values.len() == 1 => {
                        Ok(values[0].as_str().map_or_else(|| values[0].to_string(), String::from))
                    }
                    Some(Value::Array(_)) if column == columns.label => {
                        Err(multi_label::refusal(&object[name].to_string()))
                    }
                    Some(_) => Err(format!("'{name}' is neither text nor a number")),
                }
            };
            let optional = |column: Option<usize>| column.map(text).transpose();
            let flags = columns.flags.iter().map(|(at, split)| Ok((*split, text(*at)?)));
            // Other than text and numbers are no groups.
            let groups = columns.groups.iter().map(|at| text(*at).unwrap_or_default());
            let entry = || -> std::result::Result<Entry, String> {
                Ok(Entry {
                    path: text(columns.path)?,
                    label: text(columns.label)?,
                    split: optional(columns.split)?,
                    flags: flags.collect::<std::result::Result<_, String>>()?,
                    groups: groups.collect(),
                })
            };
            let mut entry = entry().map_err(|problem| self.fail(line, problem))?;
            if !columns.one_hot.is_empty() {
                let value = |at: usize| text(at).ok().and_then(|value| truth(&value));
                entry.label = self.one_hot(&columns, &names, line, value)?;
            }
            entries.push((entry, line));
        }
        self.note(&columns, &names);
        entries.into_iter().try_for_each(|(entry, line)| self.push(entry, line))
    }

    /// The class of a row that has a column for each class.
    fn one_hot(
        &self,
        columns: &Columns,
        names: &[String],
        line: u64,
        value: impl Fn(usize) -> Option<bool>,
    ) -> Result<String> {
        let class = columns::class_of_row(&columns.one_hot, names, value);
        class.map_err(|problem| {
            let problem = format!("line {line}: {problem}");
            Error::Columns { path: self.manifest.clone(), problem }
        })
    }

    fn push(&mut self, entry: Entry, line: u64) -> Result<()> {
        let given = |text: Option<String>| text.filter(|t| !t.is_empty());
        if entry.path.is_empty() {
            return Err(self.fail(line, "the path is empty"));
        }
        if entry.path.contains("://") {
            let url = &entry.path;
            let problem = match url.strip_prefix("file://") {
                Some(path) => format!("'{url}' is a URL: write the path alone, '{path}'"),
                None => {
                    format!("'{url}' is a URL: download the files first, and give their paths")
                }
            };
            return Err(self.fail(line, problem));
        }
        if entry.path.contains('\0') {
            return Err(self.fail(line, "the path contains a zero byte"));
        }
        let split = self.split(given(entry.split), &entry.flags, line)?;
        if entry.label.trim().is_empty() {
            if split.is_none_or(|split| split == Split::Train) {
                return Err(self.fail(line, format!("'{}' has no label", entry.path)));
            }
            // As competitions have it.
            self.unlabelled.get_or_insert((0, entry.path)).0 += 1;
            return Ok(());
        }
        let id = entry.path.replace('\\', "/");
        let id = id.strip_prefix("./").unwrap_or(&id).to_owned();
        if let Some(first) = self.seen.insert(plain(&self.manifest, &id), line) {
            let problem = format!("'{id}' is already in line {first}: keep one");
            return Err(match self.image_column.take() {
                None => self.fail(line, problem),
                // Labels, for example, are no paths.
                Some(column) => Error::Columns {
                    path: self.manifest.clone(),
                    problem: format!(
                        "line {line}: {problem}, or name another column than '{column}' with `image_column`"
                    ),
                },
            });
        }
        let (class, slot) = (multi_label::single(entry.label), self.paths.len());
        let groups = self.groups.iter().cloned().zip(&entry.groups);
        let groups = groups.filter_map(|(name, value)| Some((name, group_of(value)?))).collect();
        self.paths.push(id.into());
        self.lines.push(line);
        self.rows.push(Row { class, split, groups, slot, ..Row::default() });
        Ok(())
    }

    /// The split of a row.
    fn split(
        &mut self,
        word: Option<String>,
        flags: &[(Split, String)],
        line: u64,
    ) -> Result<Option<Split>> {
        let path = self.manifest.clone();
        let fail = |problem: String| Error::Columns { path, problem };
        if !flags.is_empty() {
            let flags: Vec<(Split, Option<bool>)> =
                flags.iter().map(|(split, value)| (*split, truth(value))).collect();
            let own = of_flags(&flags).map_err(|problem| {
                let remedy = "correct it, or name a column of words with `split_column`";
                format!("{problem}: {remedy}")
            });
            return own
                .and_then(|own| split_of_row(Some(own.name().into()), self.given, &mut self.told))
                .map_err(|problem| fail(format!("line {line}: the picture {problem}")));
        }
        split_of_row(word, self.given, &mut self.told)
            .map_err(|problem| fail(format!("line {line}: the picture {problem}")))
    }
}
