//! What users of the data set rely on: the same bytes always and everywhere, balanced classes,
//! disjoint splits, and a task that raw pixels do not solve.

use std::collections::HashSet;

use image::RgbImage;
use rayon::prelude::*;
use taper_core::OutOfRange;
use taper_core::{
    Split,
    random::{Key, Purpose},
};
use taper_synthetic::{Error, SyntheticConfig, label, render};

/// FNV-1a, 64 bits.
fn hash(picture: &RgbImage) -> u64 {
    picture
        .as_raw()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

/// A change here means that the default data set changes for all users: update the hashes only if
/// that is intended.
///
/// The hashes are exact, not a tolerance on averages: the renderer uses only operations that IEEE
/// 754 defines bit for bit. A machine on which this fails (x87 would) renders another data set, and
/// should say so here.
#[test]
fn pictures_are_the_same_everywhere() {
    let rendered: Vec<u64> = [
        (0, Split::Train, 0, 192),
        (0, Split::Val, 1, 128),
        (0, Split::Test, 2, 192),
        (7, Split::Test, 100_000, 97),
    ]
    .into_iter()
    .map(|(seed, split, index, size)| hash(&render(seed, split, index, size)))
    .collect();
    assert_eq!(rendered, HASHES, "{rendered:#018x?}");
}

const HASHES: [u64; 4] =
    [0x19d7_8bb6_458f_e807, 0xe5ff_4956_49f3_23f7, 0x8f64_f47a_b962_90de, 0xa972_b0a4_a1b5_0f33];

#[test]
fn pictures_do_not_depend_on_threads_or_order() {
    let data = SyntheticConfig { size: 64, ..Default::default() }.check().unwrap();
    let in_order: Vec<RgbImage> = (0..24).map(|i| data.render(Split::Test, i)).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    let mut parallel: Vec<RgbImage> = pool
        .install(|| (0..24).into_par_iter().rev().map(|i| data.render(Split::Test, i)).collect());
    parallel.reverse();
    assert!(in_order == parallel);
}

#[test]
fn classes_are_balanced_in_every_split() {
    let data = SyntheticConfig::default().check().unwrap();
    for split in Split::ALL {
        let mut counts = [0; 3];
        for index in 0..data.len(split) {
            counts[data.label(split, index) as usize] += 1;
        }
        assert_eq!(counts, [data.len(split) / 3; 3], "{split}");
    }
    let uneven = SyntheticConfig { test: 8, ..Default::default() }.check().unwrap();
    let labels: Vec<u32> =
        (0..uneven.len(Split::Test)).map(|i| uneven.label(Split::Test, i)).collect();
    assert_eq!(labels, [0, 1, 2, 0, 1, 2, 0, 1]);
}

#[test]
fn no_picture_occurs_twice() {
    let all: Vec<u64> = Split::ALL
        .into_par_iter()
        .flat_map(|split| (0..150).into_par_iter().map(move |index| (split, index)))
        .flat_map(|(split, index)| [0, 1].map(|seed| hash(&render(seed, split, index, 32))))
        .collect();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 3 * 150 * 2);
}

#[test]
fn size_changes_the_sampling_and_nothing_else() {
    // Averages over 8 × 8 blocks of the picture agree, apart from the noise.
    let blocks = |size: u32| {
        let picture = render(3, Split::Train, 5, size);
        let mut sums = [0.0f32; 64];
        for (x, y, pixel) in picture.enumerate_pixels() {
            sums[(y * 8 / size * 8 + x * 8 / size) as usize] += f32::from(pixel.0[1]);
        }
        sums.map(|s| s * 64.0 / (size * size) as f32)
    };
    for (small, large) in blocks(96).into_iter().zip(blocks(192)) {
        assert!((small - large).abs() < 4.0, "{small} {large}");
    }
}

#[test]
fn names_are_unique_paths_of_an_image_folder() {
    let data = SyntheticConfig::default().check().unwrap();
    assert_eq!(data.name(Split::Train, 4), "train/rock/000004");
    let names: HashSet<String> = Split::ALL
        .into_iter()
        .flat_map(|split| (0..data.len(split)).map(move |i| (split, i)))
        .map(|(split, i)| data.name(split, i))
        .collect();
    assert_eq!(names.len(), 900);
}

#[test]
fn configurations_are_checked() {
    let error = |config: SyntheticConfig| config.check().unwrap_err().to_string();
    let default = SyntheticConfig::default;
    assert_eq!(error(SyntheticConfig { size: 16, ..default() }), "size is 16: use 32 to 1024");
    let refused = SyntheticConfig { train: 2, ..default() }.check();
    assert!(matches!(
        refused,
        Err(Error::Setting(setting)) if setting == OutOfRange::new("train", 2, "use 3 to 1000000")
    ));
    assert!(SyntheticConfig { val: 0, test: 0, ..default() }.check().unwrap().is_empty(Split::Val));
    let parsed: SyntheticConfig = serde_json::from_str(r#"{"seed": 3}"#).unwrap();
    assert_eq!(parsed, SyntheticConfig { seed: 3, ..default() });
    assert!(serde_json::from_str::<SyntheticConfig>(r#"{"sise": 64}"#).is_err());
}

#[test]
#[should_panic(expected = "the test split has 150 pictures")]
fn an_index_beyond_the_end_is_refused() {
    SyntheticConfig::default().check().unwrap().render(Split::Test, 150);
}

/// Raw pixels, averaged down to 32 × 32 × 3 values, each shifted and scaled by the training split's
/// mean and standard deviation.
struct Pixels {
    mean: Vec<f32>,
    scale: Vec<f32>,
}

const SIDE: usize = 32;
const VALUES: usize = SIDE * SIDE * 3;

fn pixels(split: Split, count: usize) -> Vec<Vec<f32>> {
    (0..count)
        .into_par_iter()
        .map(|index| {
            let picture = render(0, split, index, 2 * SIDE as u32);
            let mut values = vec![0.0; VALUES];
            for (x, y, pixel) in picture.enumerate_pixels() {
                let place = (y as usize / 2 * SIDE + x as usize / 2) * 3;
                for channel in 0..3 {
                    values[place + channel] += f32::from(pixel.0[channel]) / (4.0 * 255.0);
                }
            }
            values
        })
        .collect()
}

impl Pixels {
    fn fit(pictures: &[Vec<f32>]) -> Self {
        let n = pictures.len() as f32;
        let average = |f: &dyn Fn(&Vec<f32>) -> f32| pictures.iter().map(f).sum::<f32>() / n;
        let mean: Vec<f32> = (0..VALUES).map(|v| average(&|p| p[v])).collect();
        let scale = (0..VALUES)
            .map(|v| 1.0 / (average(&|p| (p[v] - mean[v]) * (p[v] - mean[v])).sqrt() + 1e-3))
            .collect();
        Self { mean, scale }
    }

    fn apply(&self, pictures: &mut [Vec<f32>]) {
        for picture in pictures {
            for (value, (mean, scale)) in picture.iter_mut().zip(self.mean.iter().zip(&self.scale))
            {
                *value = (*value - mean) * scale;
            }
        }
    }
}

/// Weights by class, the bias last.
struct Softmax([Vec<f32>; 3]);

impl Softmax {
    fn probabilities(&self, picture: &[f32]) -> [f32; 3] {
        let logits = self.0.each_ref().map(|weights| {
            weights[VALUES] + picture.iter().zip(weights).map(|(x, w)| x * w).sum::<f32>()
        });
        let largest = logits.into_iter().fold(f32::MIN, f32::max);
        let exp = logits.map(|l| (l - largest).exp());
        exp.map(|e| e / exp.iter().sum::<f32>())
    }

    /// Stochastic gradient descent with a little weight decay, one picture at a time.
    fn train(pictures: &[Vec<f32>], epochs: u32) -> Self {
        let mut model = Self([(); 3].map(|()| vec![0.0; VALUES + 1]));
        let key = Key::new(0, Purpose::new("synthetic/linear"));
        for epoch in 0..epochs {
            let mut order: Vec<usize> = (0..pictures.len()).collect();
            key.stream(epoch, 0).shuffle(&mut order);
            let rate = 3e-4 / (1.0 + epoch as f32 * 0.2);
            for index in order {
                let picture = &pictures[index];
                let probabilities = model.probabilities(picture);
                for (class, weights) in model.0.iter_mut().enumerate() {
                    let target = f32::from(u8::from(class == label(index) as usize));
                    let step = rate * (probabilities[class] - target);
                    for (w, x) in weights.iter_mut().zip(picture) {
                        *w -= step * x + rate * 0.01 * *w;
                    }
                    weights[VALUES] -= step;
                }
            }
        }
        model
    }

    fn accuracy(&self, pictures: &[Vec<f32>]) -> f32 {
        let right = pictures.iter().enumerate().filter(|(index, picture)| {
            let p = self.probabilities(picture);
            let best = (0..3).max_by(|a, b| p[*a].total_cmp(&p[*b]));
            best == Some(label(*index) as usize)
        });
        right.count() as f32 / pictures.len() as f32
    }
}

fn linear_accuracies(mut pictures: [Vec<Vec<f32>>; 3]) -> [f32; 3] {
    let scaling = Pixels::fit(&pictures[0]);
    pictures.iter_mut().for_each(|split| scaling.apply(split));
    let model = Softmax::train(&pictures[0], 30);
    pictures.each_ref().map(|split| model.accuracy(split))
}

/// The task must need more than a linear look at pixels, or it would show nothing about transfer
/// learning; and pixels must say something, or the pictures would be broken.
#[test]
fn raw_pixels_are_not_enough() {
    let pictures =
        [(Split::Train, 600), (Split::Val, 300), (Split::Test, 300)].map(|(s, n)| pixels(s, n));
    let [train, val, test] = linear_accuracies(pictures.clone());
    eprintln!("linear model on raw pixels: train {train:.3}, val {val:.3}, test {test:.3}");
    assert!(train > 0.9, "it should fit the training split: {train}");
    assert!(val > 0.5, "the validation split is drawn like the training split: {val}");
    assert!(test < 0.8, "too easy: {test}");
    assert!(test > 0.38, "no better than chance: {test}");
    assert!(val - test > 0.05, "the test split is not shifted: {val} and {test}");

    // The check can fail: pictures that show their label in a corner are too easy.
    let mut leaking = pictures;
    for split in &mut leaking {
        for (index, picture) in split.iter_mut().enumerate() {
            picture[label(index) as usize * 30..][..30].fill(0.0);
        }
    }
    let [_, _, test] = linear_accuracies(leaking);
    assert!(test > 0.8, "{test}");
}
