//! Archives as sources.

mod webdataset;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use taper_archive::{Archives, stem};
use taper_core::Split;
use taper_data::{Content, Dataset, PictureSource, Sample};
use taper_names::{
    folders::{Node, is_unlabelled, says_no_class},
    sets,
    splits::split_named,
};
use taper_picture::{Defect, FileKind, unsupported};

use crate::{
    Error, FolderUse, LayoutChoice, Reading, Result, SourceOptions,
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
    // Shards have columns; whether it is one shows when it is listed.
    let options = &reading.options;
    let folders = SourceOptions { label_column: None, group_column: None, ..options.clone() };
    folders.check(SourceKind::Folders, name)?;
    if let Some((one, other)) = same_stem(archives) {
        let problem = format!(
            "'{}' and '{}' have the same name but for its ending, so that their pictures cannot be told apart: rename one, or move it away if it has the same pictures",
            one.display(),
            other.display()
        );
        let path = one.parent().map_or_else(|| name.into(), PathBuf::from);
        return Err(Error::Ambiguous { path, problem });
    }
    let mut source = Source { place: name.into(), ..Source::default() };
    let mut beside = Beside::default();
    let mut shards = folders == *options;
    let mut listed = Vec::with_capacity(archives.len());
    for (path, split) in archives {
        // An expression takes the labels from the names instead.
        let from_files = reading.purpose != FolderUse::Classify && options.label_from.is_none();
        // As an unlabelled folder `test` beside `train`.
        let must = trains(path) || archives.len() == 1;
        let contents = source.add(path, from_files.then_some((reading, must)), &mut beside)?;
        shards |= matches!(contents, Contents::Labelled(_));
        listed.push((*path, *split, contents));
    }
    if !shards {
        options.check(SourceKind::Folders, name)?;
    }
    let is_shard = listed.iter().any(|(.., contents)| matches!(contents, Contents::Labelled(_)));
    let rows = match are_classes(&listed, reading) {
        true => rows_of_classes(listed, &mut beside),
        false => {
            check_folders(name, &listed, reading)?;
            rows_of(name, listed, reading, &mut beside)?
        }
    };
    if let Some(found) = beside.instead().filter(|_| rows.is_empty()) {
        return Err(Error::Mixed { path: name.into(), found });
    }
    let mut rows = rows;
    if is_shard {
        rows::leave_out_unlabelled(&mut rows, &mut beside.remarks);
    }
    if archives.len() > 1 {
        let stems: Vec<String> = archives.iter().map(|(path, _)| stem(path)).collect();
        beside.remarks.extend(sets::missing(&stems));
    }
    rows::dataset(name, rows, None, Arc::new(source), beside, reading)
}

/// Two archives of the same name.
fn same_stem<'a>(archives: &[(&'a Path, Option<Split>)]) -> Option<(&'a Path, &'a Path)> {
    let mut stems = BTreeMap::new();
    archives
        .iter()
        .filter(|(_, split)| split.is_none())
        .find_map(|(path, _)| stems.insert(stem(path), *path).map(|other| (other, *path)))
}

/// Whether an archive has pictures to train on, going by its name.
fn trains(path: &Path) -> bool {
    matches!(split_named(&stem(path)), None | Some(Split::Train))
}

/// An archive, the split that was given for it, and what is in it.
type Listed<'a> = (&'a Path, Option<Split>, Contents);

/// Whether each archive has the pictures of one class: their names may be those of classes, and
/// what is in them says none, as in `cat.zip` and `dog.zip` with folders `s1` and `s2` in each.
fn are_classes(listed: &[Listed<'_>], reading: &Reading) -> bool {
    let stems: Vec<String> = listed.iter().map(|(path, ..)| stem(path)).collect();
    // Pictures without labels may lie beside the classes.
    let labelled: Vec<&str> =
        stems.iter().map(String::as_str).filter(|stem| !is_unlabelled(stem)).collect();
    is_free(reading)
        && sets::are_classes(&labelled)
        && listed.iter().all(|(_, split, contents)| split.is_none() && say_none(contents))
}

/// Whether labels count, and no option says what the folders are.
fn is_free(reading: &Reading) -> bool {
    let options = &reading.options;
    reading.purpose != FolderUse::Classify
        && options.layout == LayoutChoice::Auto
        && options.label_from.is_none()
}

/// Whether what is in an archive says no class.
fn say_none(contents: &Contents) -> bool {
    match contents {
        Contents::Paths(paths) => {
            let tree = Node::of(paths.pictures.iter().map(|(id, _)| id.as_str()));
            !paths.pictures.is_empty() && says_no_class(&tree)
        }
        Contents::Labelled(_) => false,
    }
}

/// Refuses several archives whose folders are called like sessions or parts, so that neither they
/// nor the archives say what the classes are.
fn check_folders(name: &str, listed: &[Listed<'_>], reading: &Reading) -> Result<()> {
    let folders = |contents: &Contents| match contents {
        Contents::Paths(paths) => {
            let tree = Node::of(paths.pictures.iter().map(|(id, _)| id.as_str()));
            tree.innermost().0.folders.keys().map(|name| (*name).to_owned()).collect()
        }
        Contents::Labelled(_) => Vec::new(),
    };
    let given = |(_, split, _): &Listed<'_>| split.is_some();
    if listed.len() < 2
        || !is_free(reading)
        || listed.iter().any(given)
        || !listed.iter().all(|(.., contents)| say_none(contents))
    {
        return Ok(());
    }
    let folders: BTreeSet<String> =
        listed.iter().flat_map(|(.., contents)| folders(contents)).collect();
    if folders.is_empty() {
        return Ok(());
    }
    let path = listed.first().and_then(|(path, ..)| path.parent());
    let problem = format!(
        "cannot tell what the classes are: the folders in the archives, {}, are not called like classes; if each archive is one, unpack it into a folder of its name, and give the folder that holds these; if the folders are, set `layout` to classes",
        sets::listed(&folders.iter().collect::<Vec<_>>())
    );
    Err(Error::Ambiguous { path: path.map_or_else(|| name.into(), PathBuf::from), problem })
}

/// The rows of archives of which each is a class.
fn rows_of_classes(listed: Vec<Listed<'_>>, beside: &mut Beside) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut classes = Vec::with_capacity(listed.len());
    for (path, _, contents) in listed {
        let class = stem(path);
        let Contents::Paths(paths) = contents else { continue };
        if is_unlabelled(&class) {
            beside.remarks.push(format!(
                "{} has pictures without labels, going by its name, and is left out; if it is a class, give it another name",
                path.display()
            ));
            continue;
        }
        rows.extend(paths.pictures.into_iter().map(|(id, slot)| Row {
            id: format!("{class}/{id}"),
            class: class.clone(),
            slot,
            ..Row::default()
        }));
        classes.push(class);
    }
    beside.remarks.push(format!(
        "each of the archives {} is a class, since what is in them says none; if the folders in them are the classes, set `layout` to classes",
        sets::listed(&classes)
    ));
    rows
}

/// The rows of archives with folders of splits or classes in them, or of shards.
fn rows_of(
    name: &str,
    listed: Vec<Listed<'_>>,
    reading: &Reading,
    beside: &mut Beside,
) -> Result<Vec<Row>> {
    let labelled = reading.purpose != FolderUse::Classify;
    let several = listed.len() > 1;
    let place = listed.first().and_then(|(path, ..)| path.parent()).map(PathBuf::from);
    let some_trains = listed.iter().any(|(path, ..)| trains(path));
    let mut rows = Vec::new();
    let mut splits: Vec<(String, Option<Split>)> = Vec::new();
    let mut folders = reading.options.label_from.is_none();
    let mut classes: Vec<BTreeSet<String>> = Vec::new();
    for (path, split, contents) in listed {
        folders &= matches!(contents, Contents::Paths(_));
        let arranged = match contents {
            Contents::Paths(paths) => arrange(path, paths, reading, beside),
            Contents::Labelled(rows) => Ok(rows),
        };
        let mut own = match arranged {
            Err(
                Error::LoosePictures { count, example, .. } | Error::NoMatch { count, example, .. },
            ) if !trains(path) && some_trains => {
                beside.remarks.push(format!(
                    "{} has {count} picture(s) without a label, such as '{example}', which are left out; to classify them with the trained model: taper predict MODEL {}",
                    path.display(),
                    path.display()
                ));
                continue;
            }
            other => other.map_err(|error| with_table(error, beside))?,
        };
        let unsplit = labelled && own.iter().all(|row| row.split.is_none());
        if let Some(split) = split {
            for row in &mut own {
                row.split = Some(split);
                row.id = format!("{split}/{}", &row.id[row.packaging..]);
            }
        } else if several {
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
        classes.push(own.iter().map(|row| row.class.clone()).collect());
        rows.extend(own);
    }
    if labelled {
        let path = place.unwrap_or_else(|| name.into());
        let judged = sets::judge("archives", &splits);
        let judged = judged.map_err(|problem| Error::Ambiguous { path, problem })?;
        let unsplit = splits.iter().all(|(_, split)| split.is_none());
        beside.remarks.extend(match judged {
            Some(remark) if folders => Some(format!("{remark}; {}", of_folders(&rows))),
            // Parts of one set have the same classes.
            None if folders && several && unsplit && are_disjoint(&classes) => {
                Some(of_folders(&rows))
            }
            judged => judged,
        });
    }
    Ok(rows)
}

/// Whether no class is in several archives.
fn are_disjoint(classes: &[BTreeSet<String>]) -> bool {
    let all: BTreeSet<&String> = classes.iter().flatten().collect();
    all.len() == classes.iter().map(BTreeSet::len).sum::<usize>()
}

/// What the classes of several archives are, for a remark.
fn of_folders(rows: &[Row]) -> String {
    let classes: BTreeSet<&str> = rows.iter().map(|row| row.class.as_str()).collect();
    format!(
        "the classes are the folders in them, {}; if each archive is a class, unpack each into a folder of its name, and give the folder that holds these",
        sets::listed(&classes.into_iter().collect::<Vec<_>>())
    )
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
    /// Lists an archive. If labels count, a shard has its own, which are read as asked for, and
    /// there `must` be some or not.
    fn add(
        &mut self,
        path: &Path,
        labels: Option<(&Reading, bool)>,
        beside: &mut Beside,
    ) -> Result<Contents> {
        let listing = self.archives.add(path)?;
        listing.special.iter().for_each(|name| beside.ignore(name));
        let links: Vec<&String> = listing.special.iter().filter(|name| !in_hidden(name)).collect();
        if !links.is_empty() {
            beside.remarks.push(format!(
                "{} in {}: links in archives are not followed; pack the files themselves (zip without -y, tar -h)",
                sets::listed(&links),
                path.display()
            ));
        }
        beside.remarks.extend(listing.remarks);
        let files = listing.files;
        let kind_of = |name: &str, slot: usize| self.kind_of(name, slot);
        if let Some(choice) = labels.filter(|_| webdataset::is_shard(&files, &kind_of)) {
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
                FileKind::Picture => paths.pictures.push((name.clone(), *slot)),
                FileKind::Foreign(format) => foreign.push((name.clone(), format)),
                FileKind::Other if in_hidden(name) => beside.ignore(name),
                FileKind::Other => beside.other_file(name),
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
        let pictures: Vec<&str> = paths.pictures.iter().map(|(id, _)| id.as_str()).collect();
        let folders: Vec<(String, Output)> =
            output_folders(files.iter().map(|(name, _)| name.as_str()), &pictures)
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
    name.split('/').any(|part| is_hidden(OsStr::new(part)))
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
