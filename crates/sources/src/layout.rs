//! From paths such as `train/cat/1.jpg` to splits and classes: for folders and archives alike.

mod label_from;
mod unsplit;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use taper_core::Split;
use taper_names::{
    companions,
    folders::{
        self, Node, WithinSplit, Wrong, is_generic, is_neutral, is_no_picture, is_unlabelled,
    },
    paths::{Said, splits_of_paths},
    splits::{differ_in_number, is_plain, split_named, without_split},
};

use crate::{
    Error, FolderUse, LayoutChoice, Reading, Result, is_archive,
    rows::{Beside, Row},
};

/// The paths of a source.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// Pictures: the path relative to the root, with forward slashes, and the slot.
    pub(crate) pictures: Vec<(String, usize)>,
    /// Folders without a picture anywhere below them, if the source knows them.
    pub(crate) empty: Vec<String>,
}

/// What the folders below the packaging are.
#[derive(Debug)]
enum Layout {
    /// `CLASS/…`
    Classes,
    /// `SPLIT/…/CLASS/…`; other folders are left out.
    Splits(BTreeMap<String, SplitFolder>),
    /// `CLASS/…` to train on, beside `SPLIT/…/CLASS/…`.
    ClassesAndSplits(BTreeMap<String, SplitFolder>),
    /// `CLASS/SPLIT/…`
    SplitsInClasses,
}

#[derive(Debug)]
struct SplitFolder {
    split: Split,
    /// Folders between the split and its classes, as in `seg_train/seg_train/CLASS`.
    inner: usize,
    /// Whether its pictures lie in class folders.
    labelled: bool,
    /// The folder of those with labels if others lie beside it, and how many folders lie between.
    part: Option<(usize, String)>,
}

/// Tells splits and classes apart and makes rows.
pub(crate) fn arrange(
    place: &Path,
    mut paths: Paths,
    reading: &Reading,
    beside: &mut Beside,
) -> Result<Vec<Row>> {
    if reading.purpose == FolderUse::Classify {
        let unlabelled = |(id, slot)| Row {
            id,
            packaging: 0,
            class: "unlabelled".into(),
            split: None,
            groups: Vec::new(),
            slot,
        };
        return Ok(paths.pictures.into_iter().map(unlabelled).collect());
    }
    let tree = Node::of(paths.pictures.iter().map(|(id, _)| id.as_str()));
    let (root, packaging) = tree.without_packaging(reading.options.layout != LayoutChoice::Classes);
    let auto = reading.options.layout == LayoutChoice::Auto && reading.options.label_from.is_none();
    let labelled = folders::labelled_part(root).filter(|_| auto);
    let outer = packaging.len();
    let (root, packaging) = match labelled {
        Some((name, node)) => {
            let (root, inner) = node.without_packaging(true);
            (root, [packaging, vec![name], inner].concat())
        }
        None => (root, packaging),
    };
    let packaging: Vec<String> = packaging.into_iter().map(String::from).collect();
    let place = packaging.iter().fold(place.to_path_buf(), |path, part| path.join(part));
    let mut arranger = Arranger { place, depth: packaging.len(), reading, keep: true };
    if let Some(expression) = &reading.options.label_from {
        let rows = arranger.label_from(root, expression, &paths, beside)?;
        beside.remarks.extend(companions::remark(rows.iter().map(|row| (&*row.id, &*row.class))));
        return Ok(rows);
    }
    let layout = arranger.layout(root, beside)?;
    arranger.judge(&layout, root, beside)?;
    arranger.keep = arranger.keeps_unlabelled(&layout, root);
    let is_labelled = labelled.is_some();
    drop(tree);
    if is_labelled {
        arranger.pass_over_unlabelled(&mut paths.pictures, &packaging[outer], outer, beside);
    }
    arranger.empty(&layout, &paths.empty, &packaging, beside)?;
    let rows = arranger.rows(&layout, paths.pictures, beside)?;
    beside.remarks.extend(companions::remark(rows.iter().map(|row| (&*row.id, &*row.class))));
    if matches!(layout, Layout::Classes) && arranger.is_auto() {
        beside.remarks.extend(unused_splits(&rows));
    }
    Ok(rows)
}

/// A remark about paths in class folders that look like splits.
fn unused_splits(rows: &[Row]) -> Option<String> {
    let pictures: Vec<(&str, &str)> = rows.iter().map(|r| (&*r.id, &*r.class)).collect();
    match splits_of_paths(&pictures) {
        Said::Splits(_, told) => Some(format!(
            "{told} look like splits, but are not used, and the splits are drawn; if they say them, give `label_from` '([^/]+)/[^/]+$', or move the pictures into folders train, val and test"
        )),
        Said::Partly(..) | Said::Nothing => None,
    }
}

struct Arranger<'a> {
    /// The folder below the packaging.
    place: PathBuf,
    /// How many folders of packaging there are.
    depth: usize,
    reading: &'a Reading,
    /// Whether folders called `unlabeled` and the like are classes.
    keep: bool,
}

impl Arranger<'_> {
    fn is_auto(&self) -> bool {
        self.reading.options.layout == LayoutChoice::Auto
    }

    /// What is in the folder of a split.
    fn within<'n, 'a>(&self, split: &'n Node<'a>) -> WithinSplit<'n, 'a> {
        WithinSplit::of(split, self.is_auto())
    }

    fn ambiguous(&self, problem: String) -> Error {
        Error::Ambiguous { path: self.place.clone(), problem }
    }

    fn layout(&self, root: &Node<'_>, beside: &mut Beside) -> Result<Layout> {
        let named = |split: bool| {
            let folders = root.folders.iter();
            folders
                .filter(move |(name, _)| split_named(name).is_some() == split)
                .map(|(name, node)| (*name, node))
                .collect::<BTreeMap<&str, &Node<'_>>>()
        };
        let (splits, others) = (named(true), named(false));
        match self.reading.options.layout {
            LayoutChoice::Classes => return Ok(Layout::Classes),
            LayoutChoice::Splits if splits.is_empty() => {
                let problem = format!(
                    "`layout` is splits, but none of the folders {} has the name of a split such as train, val or test",
                    list(others.keys())
                );
                return Err(self.ambiguous(problem));
            }
            LayoutChoice::Splits => return self.splits(&splits, beside).map(Layout::Splits),
            LayoutChoice::Auto => {}
        }
        if splits.is_empty() {
            return self.without_split_names(&others, beside);
        }
        let nested: BTreeMap<&str, &Node<'_>> = splits
            .iter()
            .filter(|(_, node)| !node.folders.is_empty())
            .map(|(n, f)| (*n, *f))
            .collect();
        if nested.is_empty() {
            return self.flat(&splits, &others, beside);
        }
        if others.is_empty() {
            return self.splits(&splits, beside).map(Layout::Splits);
        }
        if let Some(name) = of_another_thing(&nested, &splits) {
            return Err(self.ambiguous(format!(
                "cannot tell what the folders are: there is the name of a split in '{name}', but beside it lie {}: set `layout` to classes, or to splits",
                list(others.keys())
            )));
        }
        let kinds: BTreeSet<Split> = nested.keys().filter_map(|name| split_named(name)).collect();
        let inner: BTreeSet<&str> =
            nested.values().flat_map(|node| node.folders.keys().copied()).collect();
        let flat_others = others.values().filter(|node| !node.is_nested()).count();
        let known = others.keys().filter(|name| inner.contains(*name)).count();
        if !kinds.contains(&Split::Train) && known >= 2 {
            beside.remarks.push(format!(
                "the folders {} are classes to train on, beside {}",
                list(others.keys()),
                list(nested.keys())
            ));
            return self.splits(&nested, beside).map(Layout::ClassesAndSplits);
        }
        let unlike = others.len() >= 2
            && others.values().all(|node| node.folders.keys().all(|name| !inner.contains(name)));
        // As bus/a, car/a, train/a: classes with a folder in each.
        let single = others.len() >= 2
            && nested.values().all(|node| node.without_split_packaging().0.folders.len() == 1);
        let trains = kinds.contains(&Split::Train);
        if kinds.len() == 1 && (flat_others >= 2 || unlike || single || !trains) {
            let remedy = match trains {
                true => "set `layout` to splits or to classes",
                false => {
                    "rename the folder of the training pictures to train if these are splits, or set `layout` to classes"
                }
            };
            let problem = format!(
                "cannot tell what the folders are: {} has the name of a split and contains folders, but beside it lie {}; {remedy}",
                list(nested.keys()),
                list(others.keys())
            );
            return Err(self.ambiguous(problem));
        }
        self.splits(&splits, beside).map(Layout::Splits)
    }

    /// The folders of classes, by the path of the folder that they lie in.
    fn class_folders<'n, 'a>(
        &self,
        layout: &Layout,
        root: &'n Node<'a>,
    ) -> Vec<(String, BTreeMap<&'a str, &'n Node<'a>>)> {
        let of = |node: &'n Node<'a>| -> BTreeMap<&'a str, &'n Node<'a>> {
            node.folders.iter().map(|(name, inner)| (*name, inner)).collect()
        };
        let splits = match layout {
            Layout::Classes | Layout::SplitsInClasses => return vec![(String::new(), of(root))],
            Layout::Splits(splits) | Layout::ClassesAndSplits(splits) => splits,
        };
        let mut found = Vec::new();
        if matches!(layout, Layout::ClassesAndSplits(_)) {
            let mut own = of(root);
            own.retain(|name, _| !splits.contains_key(*name));
            found.push((String::new(), own));
        }
        let mut labelled: Vec<(&String, &SplitFolder)> =
            splits.iter().filter(|(_, folder)| folder.labelled).collect();
        labelled.sort_by_key(|(_, folder)| folder.split);
        for (name, _) in labelled {
            let Some(node) = root.folders.get(name.as_str()) else { continue };
            found.push((format!("{name}/"), of(self.within(node).node)));
        }
        found
    }

    /// What speaks against the folders that are taken as classes.
    fn judge(&self, layout: &Layout, root: &Node<'_>, beside: &mut Beside) -> Result<()> {
        if !self.is_auto() {
            for (within, folders) in self.class_folders(layout, root) {
                beside.remarks.extend(folders::misplaced(&folders, &within));
            }
            return Ok(());
        }
        let settle = match layout {
            Layout::Splits(_) => "`layout` to splits",
            _ => "`layout` to classes",
        };
        let mut said = BTreeSet::new();
        for (within, mut folders) in self.class_folders(layout, root) {
            if !folders::keep_unlabelled(&folders) {
                folders.retain(|name, _| !is_unlabelled(name));
            }
            if matches!(layout, Layout::SplitsInClasses) {
                // What is in them are splits, not parts of classes.
                beside.remarks.extend(folders::doubtful(&folders, &within));
                continue;
            }
            let mut remarks = Vec::new();
            let judged = folders::judge(&folders, &within, settle, &mut remarks);
            judged.map_err(|wrong| match wrong {
                Wrong::Ambiguous(problem) => self.ambiguous(problem),
                Wrong::OneDeeper(name) => {
                    let inner = self.place.join(&within).join(name);
                    Error::OneDeeper { path: self.place.clone(), inner }
                }
            })?;
            // The folders of a second split are like those of the first.
            for remark in remarks {
                if said.insert(remark.replace(&format!("'{within}"), "'")) {
                    beside.remarks.push(remark);
                }
            }
        }
        Ok(())
    }

    /// Whether folders called `unlabeled` and the like are classes: if they were asked for, or
    /// hardly any would be left without them.
    fn keeps_unlabelled(&self, layout: &Layout, root: &Node<'_>) -> bool {
        let all = self.class_folders(layout, root);
        !self.is_auto() || all.iter().any(|(_, folders)| folders::keep_unlabelled(folders))
    }

    /// The folders of each split; two of one split are refused, unless they are numbered and no
    /// other split has several, as folds have.
    fn one_each<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        beside: &mut Beside,
    ) -> Result<Vec<(Split, &'a str)>> {
        let mut found: BTreeMap<Split, Vec<&str>> = BTreeMap::new();
        for name in names {
            if let Some(split) = split_named(name) {
                found.entry(split).or_default().push(name);
            }
        }
        let several = found.values().filter(|names| names.len() > 1).count();
        for (split, names) in found.iter().filter(|(_, names)| names.len() > 1) {
            let numbered = names.windows(2).all(|pair| differ_in_number(pair[0], pair[1]));
            if several > 1 || !numbered {
                return Err(self.twice(*split, names[0], names[1]));
            }
            beside.remarks.push(format!(
                "the folders {} are numbered parts of the split {split}, and are read as one",
                list(names)
            ));
        }
        let all = found.into_iter();
        Ok(all.flat_map(|(split, names)| names.into_iter().map(move |n| (split, n))).collect())
    }

    fn twice(&self, split: Split, first: &str, second: &str) -> Error {
        let (path, first, second) = (self.place.clone(), first.into(), second.into());
        Error::SplitTwice { path, split, first, second }
    }

    fn splits(
        &self,
        folders: &BTreeMap<&str, &Node<'_>>,
        beside: &mut Beside,
    ) -> Result<BTreeMap<String, SplitFolder>> {
        let mut found = BTreeMap::new();
        let all = self.one_each(folders.keys().copied(), beside)?;
        let classes_of = |name: &str| -> Vec<&str> {
            self.within(folders[name]).node.folders.keys().copied().collect()
        };
        let mut parts = all.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        if let Some(pair) = parts.find(|pair| classes_of(pair[0].1) != classes_of(pair[1].1)) {
            return Err(self.twice(pair[0].0, pair[0].1, pair[1].1));
        }
        for (split, name) in all {
            let node = folders[name];
            let WithinSplit { node, depth: inner, labelled: part } = self.within(node);
            let part = part.map(|(depth, name)| (depth, name.to_owned()));
            let labelled = !node.folders.is_empty();
            let of_splits = node.folders.keys().filter(|inner| is_plain(inner)).count();
            if of_splits >= 2 && of_splits == node.folders.len() && self.is_auto() {
                let inner = list(node.folders.keys());
                return Err(self.ambiguous(format!(
                    "cannot tell what the folders are: '{name}' contains {inner}, which are names of splits; give '{}', or set `layout` to splits if they are classes",
                    self.place.join(name).display()
                )));
            }
            let packed =
                node.folders.iter().find(|(inner, node)| is_plain(inner) && node.is_nested());
            if let Some((packed, _)) = packed.filter(|_| self.is_auto()) {
                let beside = node.folders.keys().filter(|inner| *inner != packed);
                return Err(self.ambiguous(format!(
                    "cannot tell what the classes are: '{name}' contains '{packed}', which is the name of a split and contains folders, and beside it {}: move what is in '{name}/{packed}' up into '{name}', or set `layout` to splits if '{packed}' is a class",
                    list(beside)
                )));
            }
            found.insert(name.to_owned(), SplitFolder { split, inner, labelled, part });
        }
        // A single folder of loose pictures beside labelled ones, as in `test/images/1.jpg`.
        let classes: BTreeSet<&str> = folders
            .iter()
            .filter(|(name, _)| split_named(name) == Some(Split::Train))
            .flat_map(|(_, node)| self.within(node).node.folders.keys().copied())
            .collect();
        for (name, folder) in &mut found {
            let node = self.within(folders[name.as_str()]).node;
            if folder.split != Split::Train
                && !classes.is_empty()
                && let Some((only, inside)) = node.only_folder()
                && !inside.is_nested()
                && !classes.contains(only)
                && (split_named(only).is_some() || is_generic(only))
            {
                folder.labelled = false;
            }
        }
        Ok(found)
    }

    /// The class and the split of a path, or why it has none.
    fn place_of<'a>(&self, layout: &'a Layout, parts: &[&'a str]) -> Told<'a> {
        match self.class_of(layout, parts) {
            Told::Class(_, class) if !self.keep && is_unlabelled(class) => Told::Unlabelled(class),
            told => told,
        }
    }

    fn class_of<'a>(&self, layout: &'a Layout, parts: &[&'a str]) -> Told<'a> {
        let Some(top) = parts.get(self.depth).filter(|_| parts.len() > self.depth + 1) else {
            return Told::Loose(None);
        };
        let folder = match layout {
            Layout::Classes => return Told::Class(None, top),
            Layout::SplitsInClasses => {
                return match parts.get(self.depth + 1).and_then(|name| split_named(name)) {
                    Some(split) => Told::Class(Some(split), top),
                    None => Told::Loose(None),
                };
            }
            Layout::Splits(splits) => match splits.get(*top) {
                Some(folder) => folder,
                None => return Told::Stranger(top),
            },
            Layout::ClassesAndSplits(splits) => match splits.get(*top) {
                Some(folder) => folder,
                None => return Told::Class(Some(Split::Train), top),
            },
        };
        if let Some((depth, name)) = &folder.part
            && let Some(part) = parts.get(self.depth + 1 + depth).filter(|part| *part != name)
        {
            return Told::Unlabelled(part);
        }
        let class_at = self.depth + 1 + folder.inner;
        match parts.get(class_at).filter(|_| folder.labelled && parts.len() > class_at + 1) {
            Some(class) => Told::Class(Some(folder.split), class),
            None => Told::Loose(Some((top, folder.split))),
        }
    }

    fn rows(
        &self,
        layout: &Layout,
        pictures: Vec<(String, usize)>,
        beside: &mut Beside,
    ) -> Result<Vec<Row>> {
        let mut rows = Vec::with_capacity(pictures.len());
        let mut strangers: BTreeSet<String> = BTreeSet::new();
        let mut unlabelled: BTreeSet<String> = BTreeSet::new();
        let mut loose: BTreeMap<Option<(String, Split)>, (usize, String)> = BTreeMap::new();
        for (id, slot) in pictures {
            let parts: Vec<&str> = id.split('/').collect();
            let packaging = parts[..self.depth.min(parts.len())].iter().map(|p| p.len() + 1).sum();
            match self.place_of(layout, &parts) {
                Told::Class(split, class) => {
                    let class = class.to_owned();
                    rows.push(Row { id, packaging, class, split, groups: Vec::new(), slot });
                }
                Told::Stranger(name) => {
                    strangers.insert(name.into());
                }
                Told::Unlabelled(class) => {
                    let end = parts.iter().position(|part| *part == class).unwrap_or(0);
                    unlabelled.insert(parts[self.depth..=end.max(self.depth)].join("/"));
                }
                Told::Loose(folder) => {
                    let folder = folder.map(|(name, split)| (name.to_owned(), split));
                    let (count, _) =
                        loose.entry(folder).or_insert_with(|| (0, last(&parts).into()));
                    *count += 1;
                }
            }
        }
        let labelled: BTreeSet<Split> = rows.iter().filter_map(|row| row.split).collect();
        for (folder, (count, example)) in loose {
            match folder {
                Some((name, split)) if split != Split::Train && !labelled.is_empty() => {
                    let how = self.predicting(&name);
                    beside.remarks.push(format!(
                        "'{name}' has {count} picture(s) without a label, such as '{example}', which are left out; to classify them with the trained model: {how}"
                    ));
                }
                folder => {
                    let path = folder.map_or(self.place.clone(), |(n, _)| self.place.join(n));
                    return Err(Error::LoosePictures { path, count, example });
                }
            }
        }
        for name in unlabelled {
            beside.remarks.push(format!(
                "the folder '{name}' is no class by its name, and is left out; if it is one, rename it or set `layout`; to classify its pictures with the trained model: {}",
                self.predicting(&name)
            ));
        }
        beside.remarks.extend(strangers.iter().map(|name| self.left_out(name)));
        if self.is_auto() && self.reading.purpose == FolderUse::Train {
            self.leave_out_placeholders(&mut rows, beside);
        }
        Ok(rows)
    }

    /// Leaves out the pictures of val or test that all lie in one folder such as `test/all/`, as
    /// loaders ask for that want a folder for each class: they have no labels.
    fn leave_out_placeholders(&self, rows: &mut Vec<Row>, beside: &mut Beside) {
        const NAMES: [&str; 9] =
            ["all", "dummy", "unknown", "unk", "none", "everything", "test", "nolabel", "no_label"];
        let of = |rows: &[Row], split: Split| -> BTreeSet<String> {
            let own = rows.iter().filter(|row| row.split == Some(split));
            own.map(|row| row.class.clone()).collect()
        };
        let train = of(rows, Split::Train);
        for split in [Split::Val, Split::Test] {
            let own = of(rows, split);
            let Some(class) = own.first().filter(|class| {
                own.len() == 1
                    && !train.contains(*class)
                    && NAMES.contains(&class.to_lowercase().as_str())
            }) else {
                continue;
            };
            let count = rows.iter().filter(|row| row.split == Some(split)).count();
            rows.retain(|row| row.split != Some(split));
            beside.remarks.push(format!(
                "the {count} picture(s) of {split} are all in a folder '{class}', which is no class of train, and are left out as pictures without labels; to classify them with the trained model, give taper predict MODEL their folder"
            ));
        }
    }

    fn left_out(&self, name: &str) -> String {
        format!(
            "the folder '{name}' beside the split folders is not a split and is left out; if it is one, write train, val or test into its name; to classify its pictures with the trained model: {}",
            self.predicting(name)
        )
    }

    /// Leaves out what lies beside the folder of labelled pictures, `depth` folders below the root.
    fn pass_over_unlabelled(
        &self,
        pictures: &mut Vec<(String, usize)>,
        labelled: &str,
        depth: usize,
        beside: &mut Beside,
    ) {
        let mut left: BTreeSet<String> = BTreeSet::new();
        pictures.retain(|(id, _)| {
            let part = id.split('/').nth(depth).unwrap_or_default();
            if part != labelled {
                left.insert(part.to_owned());
            }
            part == labelled
        });
        let mut above = self.place.ancestors().skip(self.depth - depth);
        let place = above.next().unwrap_or(&self.place);
        beside.remarks.extend(left.iter().map(|name| {
            let how = predicting(&place.join(name));
            format!(
                "the folder '{name}' beside '{labelled}', which has the classes, is left out; to classify its pictures with the trained model: {how}"
            )
        }));
    }

    /// How to classify the pictures in a folder.
    fn predicting(&self, name: &str) -> String {
        predicting(&self.place.join(name))
    }

    /// Class folders without pictures.
    fn empty(
        &self,
        layout: &Layout,
        empty: &[String],
        packaging: &[String],
        beside: &mut Beside,
    ) -> Result<()> {
        for folder in empty {
            let parts: Vec<&str> = folder.split('/').collect();
            if !parts.iter().zip(packaging).all(|(a, b)| a == b) || parts.len() <= self.depth {
                continue;
            }
            // As if there were a picture in it.
            let inside: Vec<&str> = parts.iter().copied().chain(["picture"]).collect();
            let (split, class) = match self.place_of(layout, &inside) {
                Told::Class(split, class) if parts.last() == Some(&class) => (split, class),
                Told::Stranger(name) | Told::Unlabelled(name) if parts.last() == Some(&name) => {
                    let empty = "has no pictures and is left out";
                    beside.remarks.push(format!("the folder '{name}' {empty}"));
                    continue;
                }
                _ => continue,
            };
            let trains = matches!(split, None | Some(Split::Train));
            if trains && self.reading.purpose == FolderUse::Train && is_no_picture(class) {
                return Err(self.ambiguous(format!(
                    "'{class}' has no pictures, but is called like the annotations of a data set for detection or segmentation, such as YOLO's or VOC's: classification needs one class for each picture: a folder for each class, or a table with the columns path and label"
                )));
            }
            if trains && self.reading.purpose == FolderUse::Train {
                let path = parts[self.depth..].iter().fold(self.place.clone(), |p, n| p.join(n));
                let within = format!("{folder}/");
                let foreign: Vec<&str> = beside
                    .findings
                    .iter()
                    .map(|finding| finding.path.as_str())
                    .filter(|path| path.starts_with(&within))
                    .collect();
                let class = class.into();
                let example = foreign.first().map(|path| (*path).to_owned());
                let unsupported = example.map(|example| (foreign.len(), example));
                return Err(Error::EmptyClass { path, class, unsupported });
            }
            if split.is_none() {
                beside
                    .remarks
                    .push(format!("the folder '{class}' has no pictures and is not a class"));
            }
        }
        Ok(())
    }
}

/// A folder of folders whose name is that of a split and of something else, and no other split is
/// called by that or by nothing else: `training_shoe`, but not `seg_train` beside `seg_test`,
/// `val_hard` beside `train`, or `Training Images`.
fn of_another_thing<'a>(
    nested: &BTreeMap<&'a str, &Node<'_>>,
    splits: &BTreeMap<&str, &Node<'_>>,
) -> Option<&'a str> {
    nested.keys().copied().find(|name| {
        let own = rest_of(name);
        let same =
            |other: &&str| other != name && (rest_of(other) == own || !says(&rest_of(other)));
        says(&own) && !splits.keys().any(same)
    })
}

/// What is left of the name of a split without the word for it.
fn rest_of(name: &str) -> String {
    without_split(name).map(|(_, rest)| rest).unwrap_or_default()
}

/// Whether that is the name of something.
fn says(rest: &str) -> bool {
    rest.split(' ').any(|word| word.chars().count() > 1 && word != "set" && !is_neutral(word))
}

/// What a path says.
enum Told<'a> {
    Class(Option<Split>, &'a str),
    /// In no class folder: directly in a split, or above splits and classes.
    Loose(Option<(&'a str, Split)>),
    /// In a folder beside the splits.
    Stranger(&'a str),
    /// In a folder among the classes whose name says that it is none.
    Unlabelled(&'a str),
}

fn last<'a>(parts: &[&'a str]) -> &'a str {
    parts.last().copied().unwrap_or_default()
}

/// How to classify the pictures in a folder.
fn predicting(path: &Path) -> String {
    match path.ancestors().any(|path| is_archive(path) && path.is_file()) {
        true => "unpack them and give taper predict MODEL their folder".into(),
        false => format!("taper predict MODEL {}", path.display()),
    }
}

/// Names for a message: the first few.
fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    const SHOWN: usize = 6;
    let names: Vec<String> = names.into_iter().map(|n| format!("'{}'", n.as_ref())).collect();
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
