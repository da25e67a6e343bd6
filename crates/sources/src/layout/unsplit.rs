//! Topmost folders that are no splits, or contain no classes.

use std::collections::{BTreeMap, BTreeSet};

use taper_core::Split;
use taper_names::{
    folders::{self, Node, alike, in_common, is_neutral},
    splits::{is_plain, split_named},
};

use super::{Arranger, Layout, list, rest_of, says};
use crate::{Error, Result, rows::Beside};

impl Arranger<'_> {
    /// No folder has the name of a split.
    pub(super) fn without_split_names(
        &self,
        folders: &BTreeMap<&str, &Node<'_>>,
        beside: &mut Beside,
    ) -> Result<Layout> {
        let all_split = |node: &&Node<'_>| {
            node.is_nested()
                && node
                    .folders
                    .iter()
                    .all(|(name, inner)| split_named(name).is_some() && !inner.is_nested())
        };
        if folders.len() >= 2 && folders.values().all(all_split) {
            return Ok(Layout::SplitsInClasses);
        }
        // One of several folders is a data set of its own.
        let data_set = folders.iter().find_map(|(name, node)| {
            let (node, within) = node.innermost();
            let mut inner = node.folders.iter();
            let is = inner.any(|(n, f)| split_named(n) == Some(Split::Train) && f.is_nested());
            is.then_some((*name, within))
        });
        if let Some((name, within)) = data_set {
            let inner = within.iter().fold(self.place.join(name), |path, name| path.join(name));
            return Err(Error::OneDeeper { path: self.place.clone(), inner });
        }
        let with_split = folders.iter().find_map(|(name, node)| {
            let inner = node.innermost().0.folders.keys().find(|inner| is_plain(inner))?;
            Some(format!("'{name}' contains a folder '{inner}', which is the name of a split"))
        });
        if let Some(found) = with_split {
            let problem = format!(
                "cannot tell what the folders are: {found}, but not every folder is divided into splits; set `layout` to classes if {} are the classes",
                list(folders.keys())
            );
            return Err(self.ambiguous(problem));
        }
        let alike = alike(folders);
        if alike.len() >= 2 && 2 * alike.len() >= folders.len() {
            if let Some((masks, pictures)) = folders::masks_in(folders, &alike) {
                return Err(self.ambiguous(format!(
                    "cannot tell which pictures count: {} contain {masks}, which are no pictures to learn from by their names, beside {pictures}: move the folders {masks} out of the data set, or set `layout` to classes to train on them too",
                    list(&alike)
                )));
            }
            return Err(self.ambiguous(format!(
                "cannot tell what the folders are: {} contain the same folders, so they look like splits rather than classes; rename them to train, val and test, or set `layout` to classes",
                list(&alike)
            )));
        }
        if let Some((names, common)) = in_common(folders) {
            beside.remarks.push(format!(
                "the folders {} are taken as classes, although they contain folders of the same name, '{common}', as splits do; if they are splits, rename them to train, val and test",
                list(&names)
            ));
        }
        if folders.len() >= 2 && folders.keys().all(|name| is_neutral(name)) {
            return Err(self.ambiguous(format!(
                "cannot tell what the classes are: the folders {} do not look like classes; set `layout` to classes if they are",
                list(folders.keys())
            )));
        }
        Ok(Layout::Classes)
    }

    /// Folders with the names of splits contain pictures, not folders.
    pub(super) fn flat(
        &self,
        splits: &BTreeMap<&str, &Node<'_>>,
        others: &BTreeMap<&str, &Node<'_>>,
        beside: &mut Beside,
    ) -> Result<Layout> {
        let kinds: BTreeSet<Split> = splits.keys().filter_map(|name| split_named(name)).collect();
        if others.is_empty() && kinds.len() != splits.len() && kinds.len() == 1 {
            // Such as bullet_train and freight_train.
        } else if others.is_empty() {
            let names = list(splits.keys());
            let problem = match splits.len() {
                1 => format!(
                    "{names} contains pictures and no class folders: move the pictures into class folders, or give `label_from` if their names say the class"
                ),
                _ => format!(
                    "{names} contain pictures and no class folders: move the pictures into class folders, give `label_from` if their names say the class, or set `layout` to classes if these folders are the classes"
                ),
            };
            return Err(self.ambiguous(problem));
        }
        // Such as `test tube` and `train_station`.
        let other_things = kinds.len() == 1 && splits.keys().all(|name| says(&rest_of(name)));
        for name in splits.keys().filter(|_| !other_things) {
            beside.remarks.push(format!(
                "the folder '{name}' is taken as a class, not as a split: like those beside it, it contains no class folders"
            ));
        }
        Ok(Layout::Classes)
    }
}
