//! Which column of a table is which.

pub use crate::values::Values;
use crate::{
    group_columns::kind_of,
    sets::listed,
    split_columns::{flag_of, flags_remark, is_hint, unused_remark},
};
use taper_core::Split;

/// Names of columns with paths. An `id` counts only where there is no other.
const PATHS: [&str; 29] = [
    "path",
    "paths",
    "file_name",
    "filename",
    "filenames",
    "file",
    "fname",
    "file_path",
    "filepath",
    "filepaths",
    "image",
    "images",
    "image_path",
    "image_file",
    "image_filename",
    "image_file_name",
    "image_name",
    "image_index",
    "imagename",
    "imagepath",
    "img",
    "img_path",
    "img_name",
    "img_file",
    "picture",
    "picture_path",
    "photo",
    "photo_path",
    "pic",
];
const IDS: [&str; 5] = ["id", "image_id", "img_id", "imageid", "photo_id"];
/// Names of columns with labels; others end with `_label` or `_class`.
const LABELS: [&str; 12] = [
    "label",
    "labels",
    "class",
    "classes",
    "class_name",
    "classname",
    "label_name",
    "category",
    "target",
    "class_id",
    "species",
    "breed",
];
const SPLITS: [&str; 3] = ["split", "subset", "partition"];
/// Columns that number the rows.
const INDEXES: [&str; 4] = ["", "index", "unnamed:_0", "row"];

/// What is wrong with the columns of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// One is missing, or several could be meant.
    Choice(String),
    /// Nothing looks like labels.
    NoLabels(String),
}

impl Wrong {
    /// What to say.
    pub fn into_problem(self) -> String {
        match self {
            Self::Choice(problem) | Self::NoLabels(problem) => problem,
        }
    }
}

impl From<String> for Wrong {
    fn from(problem: String) -> Self {
        Self::Choice(problem)
    }
}

/// The names that were asked for.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    /// The column of paths.
    pub path: Option<&'a str>,
    /// The column of labels.
    pub label: Option<&'a str>,
    /// The column of splits.
    pub split: Option<&'a str>,
    /// The column of groups.
    pub group: Option<&'a str>,
}

/// Whether columns are those of the tables that `taper predict` writes.
pub fn are_predictions(names: &[String]) -> bool {
    let has = |name: &str| names.iter().any(|own| own == name);
    names.iter().take(3).eq(["path", "label", "probability"])
        || ["path", "label", "probability", "probabilities"].into_iter().all(has)
}

/// Whether a name, in small letters, is that of a column of labels.
pub fn is_label(name: &str) -> bool {
    let name = plain(name);
    LABELS.contains(&name.as_str())
        || ["_label", "_labels", "_class"].iter().any(|end| name.ends_with(end))
}

/// The column that holds the paths of pictures, by its name in any case of letters; none if there
/// is none, or if several could be it.
pub fn path_column<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<usize> {
    let plain: Vec<String> = names.into_iter().map(plain).collect();
    let among = |list: &[&str]| {
        let mut found = (0..plain.len()).filter(|at| list.contains(&plain[*at].as_str()));
        (found.next(), found.next().is_some())
    };
    match (among(&PATHS), among(&IDS)) {
        ((Some(at), false), _) | ((None, _), (Some(at), false)) => Some(at),
        _ => None,
    }
}

/// The numbers of the columns.
#[derive(Debug, PartialEq, Eq)]
pub struct Columns {
    /// The column of paths.
    pub path: usize,
    /// The column of labels; the first of them if each class has its own.
    pub label: usize,
    /// The columns of which one is 1 in each row, if each class has its own: one-hot labels.
    pub one_hot: Vec<usize>,
    /// The column of splits.
    pub split: Option<usize>,
    /// Columns of truth values that say the splits, if there is no column of words.
    pub flags: Vec<(usize, Split)>,
    /// The column of groups, if it was asked for, or else those that may say them.
    pub groups: Vec<usize>,
}

impl Columns {
    /// Whether columns say the splits.
    pub fn say_splits(&self) -> bool {
        self.split.is_some() || !self.flags.is_empty()
    }
}

/// The class of a row with one-hot labels in these columns: the name of the only one that holds a
/// 1. `value` gives the row's value in a column.
///
/// # Errors
/// Says what is wrong if another number of columns holds one.
pub fn class_of_row(
    one_hot: &[usize],
    names: &[String],
    value: impl Fn(usize) -> Option<bool>,
) -> Result<String, String> {
    let mut set = one_hot.iter().filter(|at| value(**at) == Some(true));
    match (set.next(), set.next()) {
        (Some(at), None) => Ok(names[*at].clone()),
        (first, _) => {
            let columns: Vec<&str> = one_hot.iter().map(|at| &*names[*at]).collect();
            let what = match first {
                None => "none of them is 1",
                Some(_) => "several of them are 1",
            };
            Err(format!(
                "the columns {} hold only 0 and 1, and here {what}, as for several labels for one picture (multi-label), which is not supported: write one column 'label' with the name of the class",
                listed(&columns)
            ))
        }
    }
}

/// The remark about classes that are columns.
pub fn one_hot_remark(columns: &[&str]) -> String {
    format!("the classes are the columns {}, of which one is 1 in each row", listed(columns))
}

/// A name in small letters, with one kind of separator: `Image Index` is `image_index`.
fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '-'], "_")
}

/// What there is to choose from.
struct Table<'a> {
    names: &'a [String],
    plain: Vec<String>,
    values: &'a Values,
    there: String,
    /// Columns that were asked for.
    asked: [Option<usize>; 4],
}

/// Finds the columns, or says what is wrong.
///
/// A column in which every value is a word for a split, or nothing, is the split if no column is
/// called so; or else columns of truth values such as `is_train`.
pub fn choose(
    names: &[String],
    values: &Values,
    wanted: &Wanted<'_>,
    remarks: &mut Vec<String>,
) -> Result<Columns, Wrong> {
    let mut table = Table {
        names,
        plain: names.iter().map(|name| plain(name)).collect(),
        values,
        there: names.iter().take(12).map(String::as_str).collect::<Vec<_>>().join(", "),
        asked: [None; 4],
    };
    table.asked = [
        table.find(wanted.path, "image_column")?,
        table.find(wanted.label, "label_column")?,
        table.find(wanted.split, "split_column")?,
        table.find(wanted.group, "group_column")?,
    ];
    if let Some(entry) = names.iter().find(|name| is_picture(name)) {
        return Err(Wrong::Choice(format!(
            "the first line, '{}', has a picture, '{entry}', and not the names of the columns: put a line with the names before it, such as path,label",
            table.there
        )));
    }
    let path = table.path()?;
    table.check_group(path)?;
    let split = table.split(path, remarks)?;
    let flags = if split.is_none() { table.flags(path) } else { Vec::new() };
    if !flags.is_empty() {
        let told: Vec<(&str, Split)> =
            flags.iter().map(|(at, split)| (names[*at].as_str(), *split)).collect();
        remarks.push(flags_remark(&told));
    }
    let mut taken: Vec<usize> = [Some(path), split, table.asked[3]]
        .into_iter()
        .flatten()
        .chain(flags.iter().map(|f| f.0))
        .collect();
    let labels = table.labels(&taken, remarks)?;
    let label = labels[0];
    let groups = table.groups(&taken, &labels);
    taken.extend(&groups);
    let one_hot = if labels.len() > 1 { labels } else { Vec::new() };
    if split.is_none() && flags.is_empty() {
        let free = |at: &usize| *at != label && !one_hot.contains(at) && !taken.contains(at);
        let unused: Vec<(&str, bool)> = (0..names.len())
            .filter(|at| free(at) && table.may_say_splits(*at))
            .map(|at| (names[at].as_str(), values.understood(at)))
            .collect();
        remarks.extend(unused_remark(&unused));
    }
    Ok(Columns { path, label, one_hot, split, flags, groups })
}

/// Whether the name of a column is rather that of a file, as where there is no line of names.
fn is_picture(name: &str) -> bool {
    let extension = name.trim().rsplit_once('.').map(|(_, extension)| extension.to_lowercase());
    extension.is_some_and(|extension| {
        matches!(
            extension.as_str(),
            "jpg" | "jpeg" | "png" | "webp" | "bmp" | "gif" | "tif" | "tiff"
        )
    })
}

impl Table<'_> {
    /// Refuses a column of groups that has something else.
    fn check_group(&self, path: usize) -> Result<(), String> {
        let Some(at) = self.asked[3] else { return Ok(()) };
        let what = if at == path {
            "has the paths of the pictures"
        } else if self.asked[1] == Some(at)
            || (self.asked[1].is_none() && is_label(&self.plain[at]))
        {
            "has the labels"
        } else if self.asked[2] == Some(at) || SPLITS.contains(&self.plain[at].as_str()) {
            "has the splits"
        } else {
            return Ok(());
        };
        Err(format!(
            "the column '{}' {what}, and cannot also say which pictures belong together: name another one with `group_column`; there are: {}",
            self.names[at], self.there
        ))
    }

    fn find(&self, name: Option<&str>, field: &str) -> Result<Option<usize>, String> {
        let Some(name) = name else { return Ok(None) };
        let exact = self.names.iter().position(|own| own == name);
        let at = exact.or_else(|| self.plain.iter().position(|own| *own == plain(name)));
        at.map(Some).ok_or_else(|| {
            let there = &self.there;
            format!("there is no column '{name}', which `{field}` asks for; there are: {there}")
        })
    }

    fn among(&self, list: &[&str]) -> Vec<usize> {
        (0..self.plain.len())
            .filter(|at| list.contains(&self.plain[*at].as_str()))
            .filter(|at| !self.asked.contains(&Some(*at)))
            .collect()
    }

    fn several(&self, found: &[usize], what: &str, field: &str) -> String {
        let names: Vec<String> = found.iter().map(|at| format!("'{}'", self.names[*at])).collect();
        format!("{} could all hold the {what}: say which with `{field}`", names.join(", "))
    }

    fn path(&self) -> Result<usize, String> {
        let asked_group =
            |list: &[&str]| self.asked[3].filter(|at| list.contains(&self.plain[*at].as_str()));
        let mut paths = self.among(&PATHS);
        if paths.is_empty() && self.among(&IDS).is_empty() {
            paths.extend(asked_group(&PATHS).or_else(|| asked_group(&IDS)));
        }
        match (self.asked[0], paths.as_slice(), self.among(&IDS).as_slice()) {
            (Some(at), _, _) => Ok(at),
            (None, [at], _) | (None, [], [at]) => Ok(*at),
            (None, [], []) if let Some(name) = self.asked_path() => Err(format!(
                "'{name}' is the only column that looks like paths, and `label_column` or `split_column` asks for it: name another column there, or the one with the paths with `image_column`; there are: {}",
                self.there
            )),
            (None, [], []) => Err(format!(
                "there is no column 'path': the first line names the columns, such as path,label,split; found '{}'; say which holds the paths with `image_column`",
                self.there
            )),
            (None, [], found) | (None, found, _) => {
                Err(self.several(found, "paths", "image_column"))
            }
        }
    }

    /// A column of paths that was asked for as something else.
    fn asked_path(&self) -> Option<&str> {
        let mut asked = self.asked[1..].iter().flatten();
        let is_path = |at: &&usize| {
            let name = self.plain[**at].as_str();
            PATHS.contains(&name) || IDS.contains(&name)
        };
        asked.find(is_path).map(|at| self.names[*at].as_str())
    }

    fn split(&self, path: usize, remarks: &mut Vec<String>) -> Result<Option<usize>, String> {
        match (self.asked[2], self.among(&SPLITS).as_slice()) {
            (Some(at), _) => return Ok(Some(at)),
            (None, [at]) => return Ok(Some(*at).filter(|at| *at != path)),
            (None, []) => {}
            (None, found) => return Err(self.several(found, "splits", "split_column")),
        }
        let known = |at: &usize| *at != path && self.asked[1] != Some(*at);
        let found: Vec<usize> = self.values.words().into_iter().filter(known).collect();
        match found.as_slice() {
            [] => Ok(None),
            [at] => {
                remarks.push(format!("the splits are taken from the column '{}'", self.names[*at]));
                Ok(Some(*at))
            }
            found => Err(self.several(found, "splits", "split_column")),
        }
    }

    /// The columns of truth values that say the splits.
    fn flags(&self, path: usize) -> Vec<(usize, Split)> {
        let free = |at: &usize| *at != path && !self.asked.contains(&Some(*at));
        let mut flags: Vec<(usize, Split)> = Vec::new();
        for at in (0..self.names.len()).filter(free) {
            let Some(split) = flag_of(&self.names[at]) else { continue };
            let twice = flags.iter().any(|(_, own)| *own == split);
            // Pictures are held out in smaller numbers; `is_valid` may mean that one is good.
            let likely = split == Split::Train || self.values.is_minority(at);
            if self.values.is_binary(at) && likely && !twice {
                flags.push((at, split));
            }
        }
        flags
    }

    /// Whether a column that is not used may say the split.
    fn may_say_splits(&self, at: usize) -> bool {
        self.values.looks_like_splits(at) || (is_hint(&self.names[at]) && self.values.varies(at))
    }

    /// The columns that may say groups, by their names, or the one that was asked for.
    fn groups(&self, taken: &[usize], labels: &[usize]) -> Vec<usize> {
        if let Some(at) = self.asked[3] {
            return vec![at];
        }
        let free = |at: &usize| !taken.contains(at) && !labels.contains(at);
        (0..self.names.len()).filter(free).filter(|at| self.may_say_groups(*at)).collect()
    }

    fn may_say_groups(&self, at: usize) -> bool {
        // Zeros and ones are rather classes.
        kind_of(&self.names[at]).is_some() && !self.values.is_binary(at)
    }

    /// The column of labels, or several that hold one-hot labels.
    fn labels(&self, taken: &[usize], remarks: &mut Vec<String>) -> Result<Vec<usize>, Wrong> {
        if let Some(at) = self.asked[1] {
            return Ok(vec![at]);
        }
        let free = |at: &usize| !taken.contains(at);
        let all = || (0..self.plain.len()).filter(free);
        let found: Vec<usize> = all().filter(|at| is_label(&self.plain[*at])).collect();
        let mut rest: Vec<usize> = all()
            .filter(|at| !INDEXES.contains(&self.plain[*at].as_str()))
            .filter(|at| !self.may_say_splits(*at))
            .collect();
        // Unless there is nothing else.
        if rest.iter().any(|at| !self.may_say_groups(*at)) {
            rest.retain(|at| !self.may_say_groups(*at));
        }
        match (found.as_slice(), rest.as_slice()) {
            ([at], _) => Ok(vec![*at]),
            ([], [at]) => {
                remarks.push(format!("the labels are taken from the column '{}'", self.names[*at]));
                Ok(vec![*at])
            }
            ([], rest) if rest.len() > 1 && rest.iter().all(|at| self.values.is_binary(*at)) => {
                let columns: Vec<&str> = rest.iter().map(|at| self.names[*at].as_str()).collect();
                remarks.push(one_hot_remark(&columns));
                Ok(rest.to_vec())
            }
            ([], _) => Err(Wrong::NoLabels(format!(
                "there is no column 'label': found '{}'; say which holds the labels with `label_column`",
                self.there
            ))),
            (found, _) => Err(self.several(found, "labels", "label_column").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &str, wanted: &Wanted<'_>) -> Result<[Option<usize>; 4], String> {
        let names: Vec<String> = names.split(',').map(String::from).collect();
        let c = choose(&names, &Values::new(0), wanted, &mut Vec::new());
        let c = c.map_err(Wrong::into_problem)?;
        Ok([Some(c.path), Some(c.label), c.split, c.groups.first().copied()])
    }

    #[test]
    fn columns_are_found_by_name() {
        let none = Wanted::default();
        let of = |names| chosen(names, &none);
        assert_eq!(of("path,label").unwrap(), [Some(0), Some(1), None, None]);
        assert_eq!(
            of("Label,File_Name,split,group").unwrap(),
            [Some(1), Some(0), Some(2), Some(3)]
        );
        assert_eq!(of(",image,class,width").unwrap(), [Some(1), Some(2), None, None]);
        assert_eq!(of("id,breed").unwrap(), [Some(0), Some(1), None, None]);
        assert_eq!(of("id,filename,emotion,split").unwrap_err().matches("'label'").count(), 1);
        assert_eq!(of("filename,emotion,split").unwrap(), [Some(0), Some(1), Some(2), None]);
        let error = of("image,fine_label,coarse_label").unwrap_err();
        assert!(error.contains("'fine_label', 'coarse_label'"), "{error}");
        assert!(of("image,path,label").unwrap_err().contains("image_column"));
        assert!(of("a,b,c").unwrap_err().contains("no column 'path'"));
        let error = of("path,label,split,subset").unwrap_err();
        assert!(error.contains("'split', 'subset'") && error.contains("split_column"), "{error}");
    }

    #[test]
    fn lines_of_pictures_are_no_names_of_columns() {
        let error = chosen("cat/1.jpg,cat", &Wanted::default()).unwrap_err();
        assert!(error.contains("'cat/1.jpg'") && error.contains("path,label"), "{error}");
        let wanted = Wanted { path: Some("cat/1.jpg"), label: Some("cat"), ..Wanted::default() };
        assert!(chosen("cat/1.jpg,cat", &wanted).unwrap_err().contains("before it"));
    }

    #[test]
    fn groups_are_in_a_column_of_their_own() {
        for (column, what) in
            [("label", "has the labels"), ("file", "has the paths"), ("split", "has the splits")]
        {
            let wanted = Wanted { group: Some(column), ..Wanted::default() };
            let error = chosen("file,label,kind,split", &wanted).unwrap_err();
            assert!(error.contains(what) && error.contains("`group_column`"), "{error}");
        }
    }

    #[test]
    fn columns_of_groups_are_no_labels_unless_there_is_nothing_else() {
        let of = |names| chosen(names, &Wanted::default());
        assert_eq!(of("path,emotion,patient_id").unwrap(), [Some(0), Some(1), None, Some(2)]);
        assert_eq!(of("path,subject").unwrap(), [Some(0), Some(1), None, None]);
        assert_eq!(of("path,label,site").unwrap(), [Some(0), Some(1), None, Some(2)]);
        let wanted = Wanted { group: Some("who"), ..Wanted::default() };
        let found = chosen("path,who,label,patient", &wanted).unwrap();
        assert_eq!(found, [Some(0), Some(2), None, Some(1)]);
        assert!(chosen("path,label", &wanted).unwrap_err().contains("`group_column`"));
    }

    #[test]
    fn columns_that_were_asked_for_are_taken() {
        let wanted = Wanted { label: Some("coarse_label"), ..Wanted::default() };
        let names = "image,fine_label,coarse_label";
        assert_eq!(chosen(names, &wanted).unwrap(), [Some(0), Some(2), None, None]);
        let wanted = Wanted { path: Some("b"), label: Some("A"), split: Some("c"), group: None };
        assert_eq!(chosen("a,b,c,label", &wanted).unwrap(), [Some(1), Some(0), Some(2), None]);
        let error = chosen("a,label", &wanted).unwrap_err();
        assert!(error.contains("'b'") && error.contains("a, label"), "{error}");
    }
}
