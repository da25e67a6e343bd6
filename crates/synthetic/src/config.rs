use image::RgbImage;
use serde::{Deserialize, Serialize};
use taper_core::{ClassNames, OutOfRange, Split};

use crate::Result;

/// How many pictures the data set has, how large they are, and which ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticConfig {
    /// Chooses the pictures: another seed is another data set from the same distributions. Default
    /// 0, any value.
    pub seed: u64,
    /// Width and height of a picture in pixels. Default 192, 32 to 1024; best viewed from 128 up.
    pub size: u32,
    /// Training pictures. Default 600, 3 to 1,000,000. A multiple of 3 has equally many of each
    /// class; otherwise the numbers differ by one.
    pub train: u32,
    /// Validation pictures, from the same distribution as the training pictures. Default 150, 0 to
    /// 1,000,000.
    pub val: u32,
    /// Test pictures, from the shifted distribution. Default 150, 0 to 1,000,000.
    pub test: u32,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self { seed: 0, size: 192, train: 600, val: 150, test: 150 }
    }
}

impl SyntheticConfig {
    /// Checks the ranges and returns the data set.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) names the first field that is outside its range.
    pub fn check(self) -> Result<Synthetic> {
        const MOST: u32 = 1_000_000;
        let ranges = [
            ("size", self.size, 32, 1024),
            ("train", self.train, 3, MOST),
            ("val", self.val, 0, MOST),
            ("test", self.test, 0, MOST),
        ];
        for (field, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return Err(OutOfRange::new(field, value, format!("use {low} to {high}")).into());
            }
        }
        Ok(Synthetic { config: self })
    }
}

/// The data set: a checked [`SyntheticConfig`]. Holds no pixels; each picture is rendered on
/// demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synthetic {
    config: SyntheticConfig,
}

impl Synthetic {
    /// The configuration, now known to be within its ranges.
    pub fn config(&self) -> &SyntheticConfig {
        &self.config
    }

    /// `paper`, `rock`, `scissors`: labels 0, 1 and 2.
    pub fn classes(&self) -> ClassNames {
        crate::class_names()
    }

    /// Number of pictures in a split.
    pub fn len(&self, split: Split) -> usize {
        (match split {
            Split::Train => self.config.train,
            Split::Val => self.config.val,
            Split::Test => self.config.test,
        }) as usize
    }

    /// Whether a split has no pictures. The training split always has some.
    pub fn is_empty(&self, split: Split) -> bool {
        self.len(split) == 0
    }

    /// The label of a picture. Its class is the same in all splits: see [`label`](crate::label).
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn label(&self, split: Split, index: usize) -> u32 {
        self.in_range(split, index);
        crate::label(index)
    }

    /// A stable name for a picture, in the form of a path in an image folder: `train/rock/000004`.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn name(&self, split: Split, index: usize) -> String {
        self.in_range(split, index);
        format!("{split}/{}/{index:06}", crate::CLASSES[crate::label(index) as usize])
    }

    /// Renders one picture: `size` × `size`, 8-bit sRGB. See [`render`](crate::render).
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn render(&self, split: Split, index: usize) -> RgbImage {
        self.in_range(split, index);
        crate::render(self.config.seed, split, index, self.config.size)
    }

    fn in_range(&self, split: Split, index: usize) {
        let len = self.len(split);
        assert!(index < len, "the {split} split has {len} pictures, so none has index {index}");
    }
}
