//! Archives as sources.

mod webdataset;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use taper_archive::{Archives, stem};
use taper_core::Split;
use taper_data::{Content, Dataset, PictureSource, Sample};
use taper_names::{sets, splits::split_named};
use taper_picture::{Defect, FileKind, unsupported};

use crate::{
    Error, FolderUse, Reading, Result, SourceOptions,
    folder::is_hidden,
    layout::{Paths, arrange},
    options::Kind as SourceKind,
    own_files::{HEAD, Output, has_own_name, is_own_head, is_within, may_be_own, output_folders},
    rows::{self, Beside, Row},
};
use webdataset::Problem;

/// Opens an archive of pictures, in the layouts of [`open_folder`](crate::open_folder), under any
/// number of common parent folders; or a WebDataset shard, in which files of one sample share a
/// name: `0001.jpg` and its label `0001.cls`, or `0001.json` with a field `label`, `class` or
/// `cls`.
///
/// Nothing is written, so paths that lead outside could do no harm; those that would (absolute
/// ones, `..`) are refused anyway, as such an archive is not what it claims to be. Links and other
/// special entries are ignored and counted. A picture that unpacks to more than the decoding limit
/// is a [finding](taper_picture::Finding), and is not unpacked further. Names in zip archives that
/// are not UTF-8 are Shift-JIS if all of them together are Japanese in it, else CP437, as in
/// `unzip`, with a remark; backslashes separate folders. A compressed tar has no index and cannot
/// be read from the middle: it is unpacked once, as a whole, into an unnamed temporary file (in
/// `TMPDIR`), which is removed with the data set. It may grow to 20 times its size and 1 GiB.
///
/// What Taper wrote is passed over as in a folder, and so a file counts as a picture.
///
/// # Errors
/// [`Error::Archive`] if it is damaged, encrypted, or has paths that lead out of it; otherwise as
/// [`open_folder`](crate::open_folder).
pub fn open_archive(path: impl AsRef<Path>, reading: impl Into<Reading>) -> Result<Dataset> {
    open_archives(&[(path.as_ref(), None)], reading)
}

/// Opens several archives as one data set, each with the split that all of its pictures belong to,
/// if it has one; otherwise its name may say so, as in `train.zip` and `my-test-set.tar`.
///
/// # Errors
/// As [`open_archive`]; [`Error::Ambiguous`] if only some of the names say a split.
pub fn open_archives(
    archives: &[(&Path, Option<Split>)],
    reading: impl Into<Reading>,
) -> Result<Dataset> {
    let places: Vec<String> = archives.iter().map(|(path, _)| path.display().to_string()).collect();
    open_parts(&places.join(" + "), archives, &reading.into())
}

/// Several archives under one name. If an archive has a split, its ids are `SPLIT/CLASS/…`, without
/// the parent folders.
pub(crate) fn open_parts(
    name: &str,
    archives: &[(&Path, Option<Split>)],
    reading: &Reading,
) -> Result<Dataset> {
    // Shards have fields for labels; whether it is one shows when it is listed.
    let options = &reading.options;
    SourceOptions { label_column: None, ..options.clone() }.check(SourceKind::Folders, name)?;
    let mut shards = options.label_column.is_none();
    let mut source = Source { place: name.into(), ..Source::default() };
    let mut beside = Beside::default();
    let mut rows = Vec::new();
    let mut splits: Vec<(String, Option<Split>)> = Vec::new();
    let trains = |path: &Path| matches!(split_named(&stem(path)), None | Some(Split::Train));
    for (path, split) in archives {
        let labelled = reading.purpose != FolderUse::Classify;
        // An expression takes the labels from the names instead.
        let from_files = labelled && options.label_from.is_none();
        let column = from_files.then_some(options.label_column.as_deref());
        // As an unlabelled folder `test` beside `train`.
        let must = trains(path) || archives.len() == 1;
        let arranged = match source.add(path, column, must, &mut beside)? {
            Contents::Paths(paths) => arrange(path, paths, reading, &mut beside),
            Contents::Labelled(rows) => {
                shards = true;
                Ok(rows)
            }
        };
        let mut own = match arranged {
            Err(
                Error::LoosePictures { count, example, .. } | Error::NoMatch { count, example, .. },
            ) if !trains(path) && archives.iter().any(|(other, _)| trains(other)) => {
                beside.remarks.push(format!(
                    "{} has {count} picture(s) without a label, such as '{example}', which are left out; to classify them with the trained model: taper predict MODEL {}",
                    path.display(),
                    path.display()
                ));
                continue;
            }
            other => other.map_err(|error| with_table(error, &beside))?,
        };
        let unsplit = labelled && own.iter().all(|row| row.split.is_none());
        if let Some(split) = split {
            for row in &mut own {
                row.split = Some(*split);
                row.id = format!("{split}/{}", &row.id[row.packaging..]);
            }
        } else if archives.len() > 1 {
            let split = split_named(&stem(path)).filter(|_| unsplit);
            for row in &mut own {
                row.split = split.or(row.split);
                // Different archives may have the same names in them.
                row.id = format!("{}/{}", stem(path), row.id);
            }
            let known = split.or_else(|| own.iter().find_map(|row| row.split));
            splits.push((stem(path), known));
        } else if let Some(split) = split_named(&stem(path)).filter(|_| unsplit) {
            if split == Split::Train || reading.purpose == FolderUse::Evaluate {
                own.iter_mut().for_each(|row| row.split = Some(split));
            } else {
                beside.remarks.push(format!(
                    "'{}' is the only archive, so that its pictures are used for training although its name says {split}",
                    path.display()
                ));
            }
        }
        rows.extend(own);
    }
    if let Some(found) = beside.instead().filter(|_| rows.is_empty()) {
        return Err(Error::Mixed { path: name.into(), found });
    }
    if !shards {
        options.check(SourceKind::Folders, name)?;
    }
    if reading.purpose != FolderUse::Classify {
        let judged = sets::judge("archives", &splits);
        let place = archives.first().and_then(|(path, _)| path.parent()).map(PathBuf::from);
        let path = place.unwrap_or_else(|| name.into());
        beside.remarks.extend(judged.map_err(|problem| Error::Ambiguous { path, problem })?);
    }
    if shards {
        rows::leave_out_unlabelled(&mut rows, &mut beside.remarks);
    }
    if archives.len() > 1 {
        let stems: Vec<String> = archives.iter().map(|(path, _)| stem(path)).collect();
        beside.remarks.extend(sets::missing(&stems));
    }
    rows::dataset(name, rows, None, Arc::new(source), beside, reading)
}

/// Points at a table within the archive.
fn with_table(error: Error, beside: &Beside) -> Error {
    match (error, beside.tables.first()) {
        (source @ Error::LoosePictures { .. }, Some(table)) => {
            Error::TableInside { table: table.clone(), source: Box::new(source) }
        }
        (error, _) => error,
    }
}

/// What an archive has in it.
enum Contents {
    /// Files whose paths say what they are.
    Paths(Paths),
    /// Samples with labels.
    Labelled(Vec<Row>),
}

#[derive(Debug, Default)]
struct Source {
    place: String,
    archives: Archives,
}

impl Source {
    /// Lists an archive. If labels count, a shard has its own, perhaps in a column that was asked
    /// for, unless it need not have any.
    fn add(
        &mut self,
        path: &Path,
        labels: Option<Option<&str>>,
        must: bool,
        beside: &mut Beside,
    ) -> Result<Contents> {
        let listing = self.archives.add(path)?;
        listing.special.iter().for_each(|name| beside.ignore(name));
        beside.remarks.extend(listing.remarks);
        let files = listing.files;
        let kind_of = |name: &str, slot: usize| self.kind_of(name, slot);
        if let Some(column) = labels.filter(|_| webdataset::is_shard(&files, &kind_of)) {
            let choice = (column, must);
            let rows = webdataset::rows(&self.archives, &files, &kind_of, choice, beside);
            return rows.map(Contents::Labelled).map_err(|problem| match problem {
                Problem::Choice(problem) => Error::Columns { path: path.into(), problem },
                Problem::Damaged(problem) => Error::Archive { path: path.into(), problem },
            });
        }
        let mut paths = Paths::default();
        let mut foreign: Vec<(String, &'static str)> = Vec::new();
        for (name, slot) in &files {
            match self.kind_of(name, *slot) {
                FileKind::Picture => paths.pictures.push((tidied(name), *slot)),
                FileKind::Foreign(format) => foreign.push((tidied(name), format)),
                FileKind::Other if in_hidden(name) => beside.ignore(name),
                FileKind::Other => beside.other_file(&tidied(name)),
            }
        }
        self.pass_over_own(&files, &mut paths, &mut foreign, beside);
        let findings = foreign.into_iter().map(|(path, format)| unsupported(format).at(None, path));
        beside.findings.extend(findings);
        Ok(Contents::Paths(paths))
    }

    /// Leaves out what Taper wrote, as in a folder.
    fn pass_over_own(
        &self,
        files: &[(String, usize)],
        paths: &mut Paths,
        foreign: &mut Vec<(String, &'static str)>,
        beside: &mut Beside,
    ) {
        let all: Vec<String> = files.iter().map(|(name, _)| tidied(name)).collect();
        let pictures: Vec<&str> = paths.pictures.iter().map(|(id, _)| id.as_str()).collect();
        let folders: Vec<(String, Output)> =
            output_folders(all.iter().map(String::as_str), &pictures)
                .into_iter()
                .map(|(folder, output)| (folder.to_owned(), output))
                .collect();
        let in_own = |id: &str| folders.iter().any(|(folder, _)| is_within(id, folder));
        for (folder, output) in &folders {
            beside.passed.add(*output, format!("{folder}/"));
        }
        foreign.retain(|(id, _)| !in_own(id));
        paths.pictures.retain(|(id, slot)| {
            if in_own(id) {
                return false;
            }
            let figure = self.is_figure(id, *slot);
            if figure {
                beside.passed.add(Output::Taper, id.clone());
            }
            !figure
        });
    }

    /// Whether a member is a figure of Taper's, as far as its place makes that likely.
    fn is_figure(&self, id: &str, slot: usize) -> bool {
        let name = id.rsplit('/').next().unwrap_or(id);
        (!id.contains('/') || has_own_name(OsStr::new(name)))
            && may_be_own(Path::new(name))
            && self.archives.head(slot, HEAD as usize).is_ok_and(|head| is_own_head(&head))
    }

    /// What a member is.
    fn kind_of(&self, name: &str, slot: usize) -> FileKind {
        if in_hidden(name) {
            return FileKind::Other;
        }
        let last = name.rsplit('/').next().unwrap_or(name);
        FileKind::of(last, || self.archives.head(slot, 16).unwrap_or_default())
    }
}

/// Whether a member lies in a folder that systems and tools leave behind, or is such a file.
fn in_hidden(name: &str) -> bool {
    name.split('/').any(|part| part != "." && is_hidden(OsStr::new(part)))
}

/// A path without empty parts and dots.
fn tidied(name: &str) -> String {
    let parts: Vec<&str> = name.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    parts.join("/")
}

impl PictureSource for Source {
    fn fetch(&self, sample: &Sample, limit: u64) -> std::result::Result<Content, Defect> {
        self.archives.read(sample.slot, limit).map(Content::Encoded)
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn bytes(&self, sample: &Sample) -> Option<u64> {
        self.archives.size(sample.slot)
    }
}
