use image::RgbImage;
use taper_core::{
    Preprocessing,
    random::{Key, Purpose},
};
use taper_picture::Warper;

use crate::{
    Change, CheckedFactors, CropBox, Factors, Geometry, Policy, Result,
    auto::{self, RAND, TRIVIAL},
    policy::MOST_MAGNITUDE,
};

const AUGMENT: Purpose = Purpose::new("augment");

/// The version of what policies and factors mean: raised when the same ones begin to make other
/// views, so that nobody takes features of the old ones for theirs.
pub const VERSION: u64 = 1;

/// Makes views of pictures: a pure function of (seed, view or epoch, sample).
#[derive(Debug, Clone)]
pub struct Augmenter {
    how: How,
    key: Key,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Factors(CheckedFactors),
    Trivial,
    Rand { operations: u8, magnitude: u8 },
}

impl Augmenter {
    /// An augmenter with these factors and this seed.
    pub fn new(factors: CheckedFactors, seed: u64) -> Self {
        Self { how: How::Factors(factors), key: Key::new(seed, AUGMENT) }
    }

    /// An augmenter of a policy.
    pub fn of(policy: Policy, seed: u64) -> Self {
        let how = match (policy, policy.factors()) {
            (Policy::RandAugment { operations, magnitude }, _) => {
                How::Rand { operations, magnitude }
            }
            (_, Some(factors)) => How::Factors(factors),
            (_, None) => How::Trivial,
        };
        Self { how, key: Key::new(seed, AUGMENT) }
    }

    /// The factors that decide its views, if it is made of factors.
    pub fn factors(&self) -> Option<Factors> {
        match self.how {
            How::Factors(factors) => Some(*factors),
            How::Trivial | How::Rand { .. } => None,
        }
    }

    /// What happens to this view (or epoch) of this sample. `aspect` is the picture's width divided
    /// by its height; only crops depend on it.
    ///
    /// Every step has a stream of its own, so that turning one on or off does not change what the
    /// others draw.
    pub fn draw(&self, view: u32, sample: u64, aspect: f32) -> Change {
        match self.how {
            How::Factors(factors) => self.draw_factors(&factors, view, sample, aspect),
            How::Trivial => {
                let mut stream = self.key.part("trivial-augment").stream(view, sample);
                let magnitude = stream.below(u32::from(MOST_MAGNITUDE) + 1) as u8;
                let mut change = Change::default();
                auto::draw(&TRIVIAL, magnitude, &mut stream, &mut change);
                change
            }
            How::Rand { operations, magnitude } => {
                let mut stream = self.key.part("rand-augment").stream(view, sample);
                let mut change = Change::default();
                for _ in 0..operations {
                    auto::draw(&RAND, magnitude, &mut stream, &mut change);
                }
                change
            }
        }
    }

    fn draw_factors(&self, factors: &Factors, view: u32, sample: u64, aspect: f32) -> Change {
        let stream = |step: &str| self.key.part(step).stream(view, sample);
        let around = |step: &str, most: f32| stream(step).range(-most, most);
        let pair = |step: &str, most: f32| {
            let mut stream = stream(step);
            [stream.range(-most, most), stream.range(-most, most)]
        };
        let happens = |step: &str, probability: f32| stream(step).bernoulli(probability);
        let geometry = Geometry {
            crop: self.crop(factors, view, sample, aspect),
            flip: happens("flip", factors.flip),
            flip_vertical: happens("flip_vertical", factors.flip_vertical),
            rotation: around("rotation", factors.rotation),
            shear: pair("shear", factors.shear),
            zoom: 1.0 + around("zoom", factors.zoom),
            translation: pair("translation", factors.translation),
            perspective: (factors.perspective > 0.0).then(|| {
                let mut stream = stream("perspective");
                let most = factors.perspective / 2.0;
                std::array::from_fn(|_| [stream.range(0.0, most), stream.range(0.0, most)])
            }),
        };
        let adjustments = factors.draw(stream);
        Change { geometry, adjustments, fill: factors.fill }
    }

    /// As `RandomResizedCrop.make_params`: ten attempts, then the central part of an allowed aspect
    /// ratio.
    fn crop(&self, factors: &Factors, view: u32, sample: u64, aspect: f32) -> Option<CropBox> {
        let [least, most] = factors.crop_area;
        if least >= 1.0 {
            return None;
        }
        let mut stream = self.key.part("crop").stream(view, sample);
        let [narrow, wide] = factors.crop_aspect;
        for _ in 0..10 {
            let area = stream.range(least, most);
            let ratio = stream.range(narrow.ln(), wide.ln()).exp();
            // In fractions of the sides: width / height · aspect is the ratio in pixels.
            let (width, height) = ((area * ratio / aspect).sqrt(), (area / ratio * aspect).sqrt());
            if width <= 1.0 && height <= 1.0 {
                let left = stream.uniform() * (1.0 - width);
                let top = stream.uniform() * (1.0 - height);
                return Some(CropBox { left, top, width, height });
            }
        }
        let ratio = aspect.clamp(narrow, wide);
        let (width, height) = ((ratio / aspect).min(1.0), (aspect / ratio).min(1.0));
        let (left, top) = ((1.0 - width) / 2.0, (1.0 - height) / 2.0);
        Some(CropBox { left, top, width, height })
    }

    /// The view of a picture: u8 RGB, same size.
    ///
    /// # Errors
    /// As [`Change::apply`].
    pub fn augment(&self, picture: &RgbImage, view: u32, sample: u64) -> Result<RgbImage> {
        self.draw(view, sample, aspect(picture)).apply(picture)
    }

    /// The view of a picture as a network wants it, in one resampling: u8, layout \[size, size, 3\]
    /// (RGB), range 0…255.
    ///
    /// # Errors
    /// As [`Change::render`].
    pub fn render(
        &self,
        picture: &RgbImage,
        view: u32,
        sample: u64,
        spec: &Preprocessing,
        warper: &mut Warper,
        out: &mut [u8],
    ) -> Result<()> {
        self.draw(view, sample, aspect(picture)).render(picture, spec, warper, out)
    }
}

fn aspect(picture: &RgbImage) -> f32 {
    picture.width().max(1) as f32 / picture.height().max(1) as f32
}
