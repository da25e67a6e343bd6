use std::{fmt, sync::Arc};

use taper_core::{Identity, Split, hex};
use taper_data::{Content, Dataset, PictureSource, Sample};
use taper_picture::{Defect, DefectKind};

use crate::{Result, Synthetic, SyntheticConfig};

/// The rendered hands as a source of pictures: each is rendered on demand.
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

impl SyntheticSource {
    /// What determines its pictures: the version of the renderer, and its configuration.
    fn identify(&self) -> Identity {
        Identity::new("taper/synthetic", crate::VERSION).structure("config", self.set.config())
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
        // Rendering is a pure function of the configuration, the split and the index; the version
        // is that of the renderer.
        let (split, index) = self.pictures.get(sample.slot)?;
        let picture = self.identify().text("split", split.name()).number("index", *index as u64);
        Some(picture.finish())
    }

    fn place(&self) -> String {
        "synthetic".into()
    }

    fn identity(&self) -> String {
        hex(&self.identify().finish())
    }
}
