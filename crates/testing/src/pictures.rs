//! Real pictures: clip art that is committed, photographs where this machine has them.

use std::path::{Path, PathBuf};

/// Pictures in `train/CLASS` and `test/CLASS`, as many of each class.
#[derive(Debug, Clone)]
pub struct PictureSet {
    /// What it is called.
    pub name: &'static str,
    /// Where it lies.
    pub folder: PathBuf,
    /// The classes, in the order of their names.
    pub classes: [&'static str; 3],
    /// Training pictures of each class.
    pub train: usize,
    /// Test pictures of each class.
    pub test: usize,
}

impl PictureSet {
    /// All pictures of both splits.
    pub fn pictures(&self) -> usize {
        self.classes.len() * (self.train + self.test)
    }
}

/// 66 pictures of clip art in this crate's folder `pictures`.
pub fn clip_art() -> PictureSet {
    PictureSet {
        name: "clip art",
        folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("pictures"),
        classes: ["bird", "fruit", "insect"],
        train: 16,
        test: 6,
    }
}

/// 2,892 photographs of hands, where they lie in `../shared` beside the workspace.
pub fn rock_paper_scissors() -> Option<PictureSet> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/rock-paper-scissors");
    Some(PictureSet {
        name: "rock-paper-scissors",
        folder: folder.canonicalize().ok()?,
        classes: ["paper", "rock", "scissors"],
        train: 840,
        test: 124,
    })
}

/// Every set that is on this machine: tests run on each, on the clip art everywhere.
pub fn picture_sets() -> Vec<PictureSet> {
    [clip_art()].into_iter().chain(rock_paper_scissors()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_what_they_say() {
        for set in picture_sets() {
            for (split, count) in [("train", set.train), ("test", set.test)] {
                for class in set.classes {
                    let folder = set.folder.join(split).join(class);
                    assert_eq!(folder.read_dir().unwrap().count(), count, "{}", folder.display());
                }
            }
        }
    }
}
