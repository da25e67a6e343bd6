//! MixUp and CutMix for a frozen backbone: pictures are mixed before it, so views and labels stay
//! fixed.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    str::FromStr,
    sync::Arc,
};

use image::RgbImage;
use serde::{Deserialize, Serialize};
use taper_augment::{Mix, Mixed, Mixer};
use taper_core::{
    OutOfRange,
    random::{Key, Purpose},
};
use taper_data::{Augment, Dataset, Item};
use taper_picture::Preparer;

type Result<T> = std::result::Result<T, OutOfRange>;

const PARTNER: Purpose = Purpose::new("train/mix-partner");

/// How views are mixed with those of other training pictures. Written `none`, `mixup`,
/// `mixup:ALPHA`, `cutmix`, or `cutmix:ALPHA`; α is 1 by default, as in torchvision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum MixChoice {
    /// Not at all.
    #[default]
    None,
    /// λ·x + (1 − λ)·x′, λ from Beta(α, α).
    MixUp {
        /// α, from 0.001 to 1000.
        alpha: f32,
    },
    /// A rectangle of x′ in x, its share from Beta(α, α).
    CutMix {
        /// α, from 0.001 to 1000.
        alpha: f32,
    },
}

impl MixChoice {
    fn mix(self) -> Option<Mix> {
        match self {
            Self::None => None,
            Self::MixUp { alpha } => Some(Mix::MixUp { alpha }),
            Self::CutMix { alpha } => Some(Mix::CutMix { alpha }),
        }
    }
}

impl fmt::Display for MixChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::MixUp { alpha } => f.pad(&format!("mixup:{alpha}")),
            Self::CutMix { alpha } => f.pad(&format!("cutmix:{alpha}")),
        }
    }
}

impl From<MixChoice> for String {
    fn from(choice: MixChoice) -> String {
        choice.to_string()
    }
}

impl TryFrom<String> for MixChoice {
    type Error = OutOfRange;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for MixChoice {
    type Err = OutOfRange;
    fn from_str(text: &str) -> Result<Self> {
        let (name, alpha) = text.split_once(':').unwrap_or((text, "1"));
        let alpha = alpha.parse::<f32>().ok().filter(|a| (1e-3..=1000.0).contains(a));
        match (text, name, alpha) {
            ("none", ..) => Ok(Self::None),
            (_, "mixup", Some(alpha)) => Ok(Self::MixUp { alpha }),
            (_, "cutmix", Some(alpha)) => Ok(Self::CutMix { alpha }),
            _ => Err(OutOfRange::new(
                "mix",
                format!("'{text}'"),
                "use none, mixup, cutmix, or mixup:ALPHA with an α from 0.001 to 1000, e.g. mixup:0.2",
            )),
        }
    }
}

/// Which pictures are mixed with which, and by how much: a pure function of seed, view and picture.
///
/// Every view above 0 of a training picture is mixed with the same view of another training
/// picture, which is drawn at random. torchvision mixes the pictures of a batch, all with the same
/// ratio; here every picture has a ratio of its own, since a frozen backbone sees each picture
/// once, whichever batch its features end up in.
#[derive(Debug)]
pub struct Mixing {
    dataset: Arc<Dataset>,
    mixer: Mixer,
    key: Key,
    /// The pictures that partners are drawn from.
    training: Vec<usize>,
    /// The position in `training` of the picture with this key.
    places: HashMap<u64, usize>,
    identity: String,
}

impl Mixing {
    /// Mixes the pictures `training` of a data set with each other; none if no mixing is chosen.
    ///
    /// # Errors
    /// If α is out of range.
    pub fn new(
        choice: MixChoice,
        seed: u64,
        dataset: &Arc<Dataset>,
        training: &[usize],
    ) -> Result<Option<Self>> {
        let Some(mix) = choice.mix() else { return Ok(None) };
        let mixer = Mixer::new(mix, seed)
            .map_err(|_| OutOfRange::new("mix", choice, "use an α from 0.001 to 1000"))?;
        let samples = dataset.samples();
        let places = training.iter().enumerate().map(|(at, i)| (samples[*i].key(), at)).collect();
        Ok(Some(Self {
            dataset: Arc::clone(dataset),
            mixer,
            key: Key::new(seed, PARTNER),
            training: training.to_vec(),
            places,
            identity: format!("{choice} {seed}"),
        }))
    }

    /// What determines how pictures are mixed, besides the pictures themselves.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The sample that a view is mixed with; none for view 0, for pictures not used for training,
    /// and for a single picture.
    pub fn partner(&self, item: Item) -> Option<usize> {
        self.partner_of(self.dataset.samples().get(item.sample)?.key(), item.view)
    }

    fn partner_of(&self, key: u64, view: u32) -> Option<usize> {
        let own = *self.places.get(&key).filter(|_| view > 0)?;
        let others = (self.training.len() as u32).checked_sub(1).filter(|n| *n > 0)?;
        let drawn = self.key.stream(view, key).below(others) as usize;
        Some(self.training[drawn + usize::from(drawn >= own)])
    }

    fn draw(&self, key: u64, view: u32, size: u32) -> Mixed {
        self.mixer.draw(view, key, size, size)
    }

    /// The second label of an item and its share, for pictures of this size; `usable` are the
    /// samples that could be read.
    pub fn second(&self, item: Item, size: u32, usable: &HashSet<usize>) -> (u32, f32) {
        let samples = self.dataset.samples();
        let own = &samples[item.sample];
        match self.partner(item).filter(|partner| usable.contains(partner)) {
            Some(partner) => {
                let kept = self.draw(own.key(), item.view, size).share();
                (samples[partner].label, 1.0 - kept)
            }
            None => (own.label, 0.0),
        }
    }
}

/// Views that are mixed after they were made by `views`.
pub struct MixedViews {
    /// What makes the views.
    pub views: Arc<dyn Augment>,
    /// What they are mixed with.
    pub mixing: Arc<Mixing>,
}

impl Augment for MixedViews {
    fn augment_into(
        &self,
        picture: &RgbImage,
        view: u32,
        key: u64,
        preparer: &mut Preparer,
        out: &mut [u8],
    ) -> taper_data::Result<()> {
        self.views.augment_into(picture, view, key, preparer, out)?;
        let mixing = &self.mixing;
        let Some(partner) = mixing.partner_of(key, view) else { return Ok(()) };
        // A partner that cannot be read is reported for itself; this picture then stays unmixed,
        // and so does its label.
        let Ok(other) = mixing.dataset.read(partner) else { return Ok(()) };
        let mut pair = out.to_vec();
        pair.resize(2 * out.len(), 0);
        let other_key = mixing.dataset.samples()[partner].key();
        let (_, second) = pair.split_at_mut(out.len());
        self.views.augment_into(&other.pixels, view, other_key, preparer, second)?;
        let size = preparer.spec().size;
        // Of two, the first is mixed with the second.
        mixing
            .draw(key, view, size)
            .pixels(&mut pair, 2, size as usize, 3)
            .map_err(|e| taper_data::Error::View(e.into()))?;
        out.copy_from_slice(&pair[..out.len()]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use taper_core::{Fault, Fit, Interpolation, Preprocessing};
    use taper_data::fixture;
    use taper_sources::{FolderUse, open_folder};

    use super::*;

    #[test]
    fn choices_have_names_and_nonsense_is_refused() {
        for text in ["none", "mixup:0.2", "cutmix:1"] {
            assert_eq!(text.parse::<MixChoice>().unwrap().to_string(), text);
        }
        assert_eq!("mixup".parse::<MixChoice>().unwrap(), MixChoice::MixUp { alpha: 1.0 });
        for text in ["", "mix", "mixup:", "mixup:0", "cutmix:-1", "none:1", "cutmix:NaN"] {
            assert!(text.parse::<MixChoice>().unwrap_err().is_usage(), "{text}");
        }
    }

    fn data() -> (tempfile::TempDir, Arc<Dataset>) {
        let root = tempfile::tempdir().unwrap();
        fixture::write_folder(root.path(), &[("", 6)], &["a", "b"]).unwrap();
        let dataset = open_folder(root.path(), FolderUse::Train).unwrap();
        (root, Arc::new(dataset))
    }

    #[test]
    fn partners_are_other_training_pictures_and_depend_on_view_and_seed() {
        let (_root, dataset) = data();
        let training: Vec<usize> = (0..10).collect();
        let of = |seed| {
            let choice = MixChoice::MixUp { alpha: 1.0 };
            let mixing = Mixing::new(choice, seed, &dataset, &training).unwrap().unwrap();
            let of_view = |view| -> Vec<Option<usize>> {
                (0..12).map(|sample| mixing.partner(Item { sample, view })).collect()
            };
            (of_view(0), of_view(1), of_view(2))
        };
        let (untouched, first, second) = of(1);
        assert!(untouched.iter().all(Option::is_none));
        assert_ne!(first, second);
        assert_ne!(first, of(2).1);
        assert_eq!(first, of(1).1);
        for (sample, partner) in first.iter().enumerate() {
            match partner {
                Some(partner) => assert!(sample < 10 && *partner < 10 && *partner != sample),
                None => assert!(sample >= 10),
            }
        }
        let alone = Mixing::new(MixChoice::CutMix { alpha: 1.0 }, 0, &dataset, &[3]).unwrap();
        assert_eq!(alone.unwrap().partner(Item { sample: 3, view: 1 }), None);
    }

    /// The pixels match the labels: λ times the one and 1 − λ times the other picture.
    #[test]
    fn pixels_and_labels_are_mixed_by_the_same_share() {
        let (_root, dataset) = data();
        let all: Vec<usize> = (0..12).collect();
        let spec = Preprocessing {
            size: 32,
            interpolation: Interpolation::Bilinear,
            fit: Fit::Squash,
            mean: Preprocessing::IMAGENET_MEAN,
            std: Preprocessing::IMAGENET_STD,
        };
        let mut preparer = Preparer::new(spec).unwrap();
        let plain: Arc<dyn Augment> =
            Arc::new(|picture: &RgbImage, _: u32, _: u64| picture.clone());
        for choice in [MixChoice::MixUp { alpha: 1.0 }, MixChoice::CutMix { alpha: 1.0 }] {
            let mixing = Arc::new(Mixing::new(choice, 3, &dataset, &all).unwrap().unwrap());
            let views = MixedViews { views: Arc::clone(&plain), mixing: Arc::clone(&mixing) };
            for sample in 0..12 {
                let item = Item { sample, view: 1 };
                let mut prepared = |index: usize| {
                    let mut out = vec![0; 32 * 32 * 3];
                    let picture = dataset.read(index).unwrap().pixels;
                    preparer.prepare_into(&picture, &mut out).unwrap();
                    out
                };
                let (own, other) = (prepared(sample), prepared(mixing.partner(item).unwrap()));
                let usable: HashSet<usize> = all.iter().copied().collect();
                let (label, share) = mixing.second(item, 32, &usable);
                let partner = mixing.partner(item).unwrap();
                assert_eq!(label, dataset.samples()[partner].label);
                let mut out = vec![0; 32 * 32 * 3];
                let (picture, key) =
                    (dataset.read(sample).unwrap().pixels, dataset.samples()[sample].key());
                views.augment_into(&picture, 1, key, &mut preparer, &mut out).unwrap();
                match choice {
                    MixChoice::CutMix { .. } => {
                        let from_other = out
                            .as_chunks::<3>()
                            .0
                            .iter()
                            .zip(own.as_chunks::<3>().0)
                            .filter(|(mixed, own)| mixed != own)
                            .count() as f32
                            / 1024.0;
                        // Some pixels may be the same in both.
                        assert!(from_other <= share + 1e-6 && from_other > share * 0.9 - 0.01);
                    }
                    _ => {
                        for ((mixed, own), other) in out.iter().zip(&own).zip(&other) {
                            let expected =
                                f32::from(*own) * (1.0 - share) + f32::from(*other) * share;
                            assert!((f32::from(*mixed) - expected).abs() <= 0.51);
                        }
                    }
                }
                // A partner that cannot be read leaves the label unchanged.
                let own_label = dataset.samples()[sample].label;
                assert_eq!(mixing.second(item, 32, &HashSet::new()), (own_label, 0.0));
            }
        }
    }
}
