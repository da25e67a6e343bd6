//! Labels from names.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use taper_core::Split;
use taper_names::{
    folders::Node,
    paths::{Said, splits_of_paths},
    split_columns::split_of_value,
    splits::{split_named, told_apart_by_splits},
};

use super::{Arranger, Paths, list};
use crate::{
    Error, LayoutChoice, Result,
    rows::{Beside, Row},
};

/// A remark about labels with folders in them, with an expression that leaves these out.
fn with_folders(rows: &[Row], expression: &str) -> Option<String> {
    let found: BTreeSet<&str> =
        rows.iter().map(|row| row.class.as_str()).filter(|class| class.contains('/')).collect();
    let label = found.first()?;
    let better =
        expression.trim_start_matches('^').replace("(.+", "([^/]+").replace("(.*", "([^/]*");
    let id = &rows.iter().find(|row| row.class == **label)?.id;
    let matches = |regex: &Regex| {
        let label = regex.captures(id).and_then(|c| c.get(1).or_else(|| c.get(0)));
        label.is_some_and(|label| !label.as_str().contains('/'))
    };
    let remedy = match Regex::new(&better).ok().filter(matches) {
        Some(_) => format!("give `label_from` '{better}'"),
        None => "let the parentheses match no slash, as [^/]+ does".into(),
    };
    Some(format!(
        "{} label(s), such as '{label}', contain folders; if the class is only what follows the last slash, {remedy}",
        found.len()
    ))
}

impl Arranger<'_> {
    /// Labels from what an expression finds in the ids; folders only say the split.
    pub(super) fn label_from(
        &self,
        root: &Node<'_>,
        expression: &str,
        paths: &Paths,
        beside: &mut Beside,
    ) -> Result<Vec<Row>> {
        let fail = |problem: String| Error::LabelFrom { expression: expression.into(), problem };
        let regex = Regex::new(expression).map_err(|error| fail(error.to_string()))?;
        let splits_count = self.reading.options.layout != LayoutChoice::Classes;
        let in_splits =
            splits_count && !self.one_each(root.folders.keys().copied(), beside)?.is_empty();
        let (mut rows, mut strangers) = (Vec::new(), BTreeSet::new());
        let (mut unmatched, mut example) = (0, "");
        for (id, slot) in &paths.pictures {
            let mut split = None;
            if in_splits {
                split = id.split('/').nth(self.depth).and_then(split_named);
                if split.is_none() {
                    strangers.insert(id.split('/').nth(self.depth).unwrap_or(id));
                    continue;
                }
            }
            let label = regex.captures(id).and_then(|c| c.get(1).or_else(|| c.get(0)));
            let Some(label) = label.filter(|label| !label.as_str().trim().is_empty()) else {
                unmatched += 1;
                example = if unmatched == 1 { id } else { example };
                continue;
            };
            let (class, slot) = (label.as_str().to_owned(), *slot);
            rows.push(Row { id: id.clone(), packaging: 0, class, split, groups: Vec::new(), slot });
        }
        if rows.is_empty() {
            let (expression, example) = (expression.into(), example.into());
            return Err(Error::NoMatch { expression, count: unmatched, example });
        }
        if splits_count {
            let labels: BTreeSet<&str> = rows.iter().map(|row| row.class.as_str()).collect();
            if let Some((a, b)) = told_apart_by_splits(labels) {
                return Err(fail(format!(
                    "the labels '{a}' and '{b}' have the name of a split in them: let the first pair of parentheses match the class alone, or set `layout` to classes if these are the classes"
                )));
            }
        }
        beside.remarks.extend(with_folders(&rows, expression));
        if splits_count && !in_splits {
            self.splits_elsewhere(&mut rows, beside)?;
        }
        if unmatched > 0 {
            beside.remarks.push(format!(
                "{unmatched} picture(s), such as '{example}', do not match '{expression}', so that they have no label, and are left out"
            ));
        }
        beside.remarks.extend(strangers.into_iter().map(|name| self.left_out(name)));
        Ok(rows)
    }

    /// The topmost folders say no split: others, or the names of the files, may.
    fn splits_elsewhere(&self, rows: &mut [Row], beside: &mut Beside) -> Result<()> {
        let pictures: Vec<(&str, &str)> = rows.iter().map(|r| (&*r.id, &*r.class)).collect();
        match splits_of_paths(&pictures) {
            Said::Splits(splits, told) => {
                for (row, split) in rows.iter_mut().zip(splits) {
                    row.split = Some(split);
                }
                beside.remarks.push(format!(
                    "the splits are taken from {told}; to have them drawn instead, set `layout` to classes"
                ));
                return Ok(());
            }
            Said::Partly(told, path) => {
                return Err(self.ambiguous(format!(
                    "cannot tell what the splits are: {told} have the names of splits, but '{path}' is in none: move it, or set `layout` to classes to have the splits drawn"
                )));
            }
            Said::Nothing => {}
        }
        let mut folders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for row in rows.iter() {
            let mut parts = row.id.split('/').skip(self.depth);
            if let (Some(folder), Some(_)) = (parts.next(), parts.next()) {
                folders.entry(folder).or_default().insert(&row.class);
            }
        }
        let kinds: Option<BTreeSet<Split>> =
            folders.keys().map(|name| split_of_value(name)).collect();
        if kinds.is_some_and(|kinds| kinds.len() > 1) {
            return Err(self.ambiguous(format!(
                "cannot tell what the folders are: {} look like splits: rename them to train, val and test, or set `layout` to classes to have the splits drawn",
                list(folders.keys())
            )));
        }
        let has_partner = |name: &str, own: &BTreeSet<&str>| {
            folders.iter().any(|(other, theirs)| *other != name && !own.is_disjoint(theirs))
        };
        // Numbered folders are days, sessions or parts.
        let named = folders.keys().any(|name| !name.contains(|c: char| c.is_ascii_digit()));
        if named && folders.iter().any(|(name, own)| has_partner(name, own)) {
            beside.remarks.push(format!(
                "the folders {} have pictures of the same classes and are read as one set, from which the splits are drawn; if they are splits, rename them to train, val and test",
                list(folders.keys())
            ));
        }
        Ok(())
    }
}
