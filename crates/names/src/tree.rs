//! The folders that paths lie in.

use std::collections::BTreeMap;

use crate::splits::{is_plain, split_named};

/// A folder.
#[derive(Debug, Default)]
pub struct Node<'a> {
    /// The folders in it that have pictures, at whatever depth.
    pub folders: BTreeMap<&'a str, Node<'a>>,
    /// How many pictures lie directly in it.
    pictures: usize,
}

impl<'a> Node<'a> {
    /// The tree of these paths, which have forward slashes.
    pub fn of(paths: impl Iterator<Item = &'a str>) -> Self {
        let mut root = Self::default();
        for path in paths {
            let mut node = &mut root;
            let mut parts = path.split('/').peekable();
            while let Some(part) = parts.next() {
                if parts.peek().is_some() {
                    node = node.folders.entry(part).or_default();
                }
            }
            node.pictures += 1;
        }
        root
    }

    /// Whether it contains folders and no pictures of its own.
    pub fn is_nested(&self) -> bool {
        self.pictures == 0 && !self.folders.is_empty()
    }

    /// The only folder in it, if there is nothing else.
    pub fn only_folder(&self) -> Option<(&'a str, &Self)> {
        let mut folders = self.folders.iter().filter(|_| self.pictures == 0);
        let (name, folder) = folders.next()?;
        folders.next().is_none().then_some((*name, folder))
    }

    /// The folder below this one that holds everything, through any number of folders that are
    /// alone in theirs, and their names.
    pub fn innermost(&self) -> (&Self, Vec<&'a str>) {
        let (mut node, mut names) = (self, Vec::new());
        while let Some((name, only)) = node.only_folder().filter(|(_, only)| only.is_nested()) {
            names.push(name);
            node = only;
        }
        (node, names)
    }

    /// Folders that everything lies in are packaging, unless their name is that of a split and
    /// nothing else (and names of splits mean something), or only the class would be left. The
    /// folder below them, and their names.
    pub fn without_packaging(&self, splits_count: bool) -> (&Self, Vec<&'a str>) {
        let (mut node, mut names) = (self, Vec::new());
        while let Some((name, inner)) = node.only_folder()
            && (!splits_count || !is_plain(name))
            && inner.is_nested()
        {
            names.push(name);
            node = inner;
        }
        (node, names)
    }

    /// The same within a split, with the number of folders: `seg_train/seg_train/CLASS`,
    /// `train/images/CLASS`.
    pub fn without_split_packaging(&self) -> (&Self, usize) {
        let (mut node, mut depth) = (self, 0);
        while let Some((name, inner)) = node.only_folder()
            && inner.is_nested()
            && (split_named(name).is_some() || inner.folders.len() >= 2)
        {
            depth += 1;
            node = inner;
        }
        (node, depth)
    }
}
