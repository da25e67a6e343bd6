use std::{fmt, sync::Arc};

use taper_core::Split;
use taper_data::{
    Content, Dataset, Defect, DefectKind, FolderUse, PictureSource, Sample, open_path,
};
use taper_feature_cache::digest;
use taper_synthetic::{Synthetic, SyntheticConfig};

use crate::Result;

/// A data set that has a name.
#[derive(Debug, Clone, Copy)]
pub struct KnownDataset {
    /// The name, as given to `--data`.
    pub name: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// The licence of the pictures.
    pub licence: &'static str,
    /// Whether it is part of the program.
    pub embedded: bool,
}

/// All data sets that have a name.
pub const KNOWN_DATASETS: [KnownDataset; 1] = [KnownDataset {
    name: "synthetic",
    description: "rendered hands that show rock, paper and scissors; the test split has other hands and light",
    licence: "MIT OR Apache-2.0",
    embedded: true,
}];

/// Opens a data set by its name, its folder, its manifest or its archive.
///
/// # Errors
/// As [`open_path`]. A folder called like a known data set is given as `./NAME`.
pub fn open_data(data: &str, purpose: FolderUse) -> Result<Dataset> {
    match data {
        "synthetic" => SyntheticSource::dataset(SyntheticConfig::default()),
        path => Ok(open_path(path, purpose)?),
    }
}

/// The rendered hands as a source of pictures: each is rendered when it is asked for.
pub struct SyntheticSource {
    set: Synthetic,
    /// By slot.
    pictures: Vec<(Split, usize)>,
}

impl SyntheticSource {
    /// A data set of rendered hands.
    ///
    /// # Errors
    /// If the configuration is out of range.
    pub fn dataset(config: SyntheticConfig) -> Result<Dataset> {
        let set = config.check()?;
        let mut samples = Vec::new();
        let mut pictures = Vec::new();
        for split in Split::ALL {
            for index in 0..set.len(split) {
                let label = set.label(split, index);
                samples.push(Sample::new(
                    set.name(split, index),
                    Some(split),
                    label,
                    pictures.len(),
                ));
                pictures.push((split, index));
            }
        }
        let classes = set.classes();
        Ok(Dataset::new(classes, samples, Arc::new(Self { set, pictures }))?)
    }
}

impl fmt::Debug for SyntheticSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyntheticSource").field("config", self.set.config()).finish_non_exhaustive()
    }
}

impl PictureSource for SyntheticSource {
    fn fetch(&self, sample: &Sample, _: u64) -> std::result::Result<Content, Defect> {
        match self.pictures.get(sample.slot) {
            Some(&(split, index)) => Ok(Content::Pixels(self.set.render(split, index))),
            None => Err(Defect::new(DefectKind::Io, "is not a picture of the synthetic set")),
        }
    }

    fn digest(&self, sample: &Sample) -> Option<[u8; 32]> {
        // Rendering is a pure function of the configuration, the split and the index; the version is that of the renderer.
        let picture = format!("{:?} {:?}", self.set.config(), self.pictures.get(sample.slot)?);
        let version = env!("CARGO_PKG_VERSION");
        Some(digest([b"synthetic".as_slice(), version.as_bytes(), picture.as_bytes()]))
    }

    fn place(&self) -> String {
        "synthetic".into()
    }

    fn identity(&self) -> String {
        format!("{:?}", self.set.config())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_synthetic_set_has_all_splits_and_readable_pictures() {
        let dataset = open_data("synthetic", FolderUse::Train).unwrap();
        for split in Split::ALL {
            let indices = dataset.indices(Some(split));
            assert!(!indices.is_empty());
            let counts = dataset.counts(&indices);
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
            let picture = dataset.read(indices[0]).unwrap();
            assert!(picture.pixels.width() >= 128);
        }
    }
}
