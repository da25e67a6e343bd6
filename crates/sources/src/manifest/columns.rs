//! Which column is which.

use super::values::Values;
use crate::{SourceOptions, sets::listed};

/// Names of columns with paths. An `id` counts only where there is no other.
const PATHS: [&str; 14] = [
    "path",
    "file_name",
    "filename",
    "file",
    "file_path",
    "filepath",
    "image",
    "image_path",
    "image_file",
    "image_name",
    "img",
    "img_path",
    "picture",
    "photo",
];
const IDS: [&str; 3] = ["id", "image_id", "img_id"];
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
const GROUPS: [&str; 1] = ["group"];
/// Columns that number the rows.
const INDEXES: [&str; 4] = ["", "index", "unnamed: 0", "row"];

/// The names that were asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    path: Option<&'a str>,
    label: Option<&'a str>,
    split: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(options: &'a SourceOptions) -> Self {
        Self {
            path: options.image_column.as_deref(),
            label: options.label_column.as_deref(),
            split: options.split_column.as_deref(),
        }
    }
}

/// Whether a name, in small letters, is that of a column of labels.
pub(crate) fn is_label(name: &str) -> bool {
    LABELS.contains(&name) || name.ends_with("_label") || name.ends_with("_class")
}

/// The column that holds the paths of pictures, by its name in any case of letters; none if there
/// is none, or if several could be it.
pub fn path_column<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<usize> {
    let plain: Vec<String> = names.into_iter().map(|name| name.trim().to_lowercase()).collect();
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
pub(super) struct Columns {
    pub(super) path: usize,
    pub(super) label: usize,
    pub(super) split: Option<usize>,
    pub(super) group: Option<usize>,
}

impl Columns {
    /// What looks like splits, but is not taken for them.
    fn unused_splits(&self, names: &[String], values: &Values) -> Vec<String> {
        let taken = [Some(self.path), Some(self.label), self.group];
        let free = values.look_like_splits().into_iter().filter(|at| !taken.contains(&Some(*at)));
        free.map(|at| {
            format!(
                "the column '{0}' looks like splits, but is not used: if it says them, give `split_column` '{0}'",
                names[at]
            )
        })
        .collect()
    }
}

/// Finds the columns, or says what is wrong.
///
/// A column in which every value is a word for a split, or nothing, is the split if no column is
/// called so.
pub(super) fn choose(
    names: &[String],
    values: &Values,
    wanted: &Wanted<'_>,
    remarks: &mut Vec<String>,
) -> Result<Columns, String> {
    let plain: Vec<String> = names.iter().map(|name| name.trim().to_lowercase()).collect();
    let there = names.iter().take(12).map(String::as_str).collect::<Vec<_>>().join(", ");
    let asked = |name: Option<&str>, field: &str| {
        let Some(name) = name else { return Ok(None) };
        let exact = names.iter().position(|own| own == name);
        let at = exact.or_else(|| plain.iter().position(|own| *own == name.to_lowercase()));
        at.map(Some).ok_or_else(|| {
            format!("there is no column '{name}', which `{field}` asks for; there are: {there}")
        })
    };
    let path = asked(wanted.path, "image_column")?;
    let label = asked(wanted.label, "label_column")?;
    let split = asked(wanted.split, "split_column")?;
    let among = |list: &[&str]| -> Vec<usize> {
        (0..plain.len())
            .filter(|at| list.contains(&plain[*at].as_str()))
            .filter(|at| ![path, label, split].contains(&Some(*at)))
            .collect()
    };
    let several = |found: &[usize], what: &str, field: &str| {
        let names: Vec<String> = found.iter().map(|at| format!("'{}'", names[*at])).collect();
        format!("{} could all hold the {what}: say which with `{field}`", names.join(", "))
    };
    let path = match (path, among(&PATHS).as_slice(), among(&IDS).as_slice()) {
        (Some(at), _, _) => at,
        (None, [at], _) | (None, [], [at]) => *at,
        (None, [], []) => {
            return Err(format!(
                "there is no column 'path': the first line names the columns, such as path,label,split; found '{there}'; say which holds the paths with `image_column`"
            ));
        }
        (None, [], ids) => return Err(several(ids, "paths", "image_column")),
        (None, paths, _) => return Err(several(paths, "paths", "image_column")),
    };
    let mut split = match (split, among(&SPLITS).as_slice()) {
        (Some(at), _) => Some(at),
        (None, [at]) => Some(*at).filter(|at| *at != path),
        (None, []) => None,
        (None, found) => return Err(several(found, "splits", "split_column")),
    };
    if split.is_none() {
        let known = |at: &usize| *at != path && label != Some(*at);
        let found: Vec<usize> = values.words().into_iter().filter(known).collect();
        match found.as_slice() {
            [] => {}
            [at] => {
                remarks.push(format!("the splits are taken from the column '{}'", names[*at]));
                split = Some(*at);
            }
            found => return Err(several(found, "splits", "split_column")),
        }
    }
    let group = among(&GROUPS).first().copied();
    let label = match label {
        Some(at) => at,
        None => {
            let free = |at: &usize| split != Some(*at) && path != *at;
            let found: Vec<usize> =
                (0..plain.len()).filter(|at| free(at) && is_label(&plain[*at])).collect();
            let rest: Vec<usize> = (0..plain.len())
                .filter(|at| ![Some(path), split, group].contains(&Some(*at)))
                .filter(|at| !INDEXES.contains(&plain[*at].as_str()))
                .collect();
            match (found.as_slice(), rest.as_slice()) {
                ([at], _) => *at,
                ([], [at]) => {
                    remarks.push(format!("the labels are taken from the column '{}'", names[*at]));
                    *at
                }
                ([], rest) if rest.len() > 1 && rest.iter().all(|at| values.is_binary(*at)) => {
                    let columns: Vec<&str> = rest.iter().map(|at| names[*at].as_str()).collect();
                    return Err(format!(
                        "the columns {} hold only 0 and 1, as for several labels for one picture (multi-label), which is not supported: write one column 'label' with the name of the class",
                        listed(&columns)
                    ));
                }
                ([], _) => {
                    return Err(format!(
                        "there is no column 'label': found '{there}'; say which holds the labels with `label_column`"
                    ));
                }
                (found, _) => return Err(several(found, "labels", "label_column")),
            }
        }
    };
    let columns = Columns { path, label, split, group };
    if split.is_none() {
        remarks.extend(columns.unused_splits(names, values));
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &str, wanted: &Wanted<'_>) -> Result<[Option<usize>; 4], String> {
        let names: Vec<String> = names.split(',').map(String::from).collect();
        let c = choose(&names, &Values::new(0), wanted, &mut Vec::new())?;
        Ok([Some(c.path), Some(c.label), c.split, c.group])
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
    fn columns_that_were_asked_for_are_taken() {
        let wanted = Wanted { label: Some("coarse_label"), ..Wanted::default() };
        let names = "image,fine_label,coarse_label";
        assert_eq!(chosen(names, &wanted).unwrap(), [Some(0), Some(2), None, None]);
        let wanted = Wanted { path: Some("b"), label: Some("A"), split: Some("c") };
        assert_eq!(chosen("a,b,c,label", &wanted).unwrap(), [Some(1), Some(0), Some(2), None]);
        let error = chosen("a,label", &wanted).unwrap_err();
        assert!(error.contains("'b'") && error.contains("a, label"), "{error}");
    }
}
