//! A picture's appearance: a few measured properties, and a thumbnail by which it is recognised.

use std::cell::RefCell;

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::U8x3,
};
use image::RgbImage;

/// The measured properties, in the order of [`FEATURES`].
pub(crate) type Features = [f32; FEATURES.len()];

/// A property that is measured for every picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feature {
    /// The name in answers.
    pub(crate) name: &'static str,
    /// What it says, for people.
    pub(crate) meaning: &'static str,
    /// What makes training robust to it.
    pub(crate) remedy: &'static str,
}

const fn feature(name: &'static str, meaning: &'static str, remedy: &'static str) -> Feature {
    Feature { name, meaning, remedy }
}

const COLOUR_JITTER: &str = "`augment` standard with `views`, or pictures in that light";

/// All properties. Brightness, contrast, colours and shares are fractions of the full range.
pub(crate) const FEATURES: [Feature; 16] = [
    feature("megapixels", "size in million pixels", "pictures of that size, or `size`"),
    feature(
        "aspect",
        "width over height",
        "`fit` crop or `fit` squash, whichever keeps the subject",
    ),
    feature("brightness", "mean luma", COLOUR_JITTER),
    feature("contrast", "standard deviation of the luma", COLOUR_JITTER),
    feature("saturation", "mean saturation", COLOUR_JITTER),
    feature("colourfulness", "spread of the opponent colours", COLOUR_JITTER),
    feature("red", "mean of the red channel", COLOUR_JITTER),
    feature("green", "mean of the green channel", COLOUR_JITTER),
    feature("blue", "mean of the blue channel", COLOUR_JITTER),
    feature("warmth", "red minus blue", COLOUR_JITTER),
    feature("sharpness", "strength of fine edges, in decades", "pictures of that sharpness"),
    feature("entropy", "bits of the luma's histogram", COLOUR_JITTER),
    feature(
        "subject-share",
        "share of the picture that differs from its border",
        "`augment` standard (zoom), or pictures framed alike",
    ),
    feature(
        "subject-brightness",
        "mean luma of what differs from the border",
        "pictures of the other subjects (skin, material, light), or `augment` standard",
    ),
    feature(
        "subject-saturation",
        "mean saturation of what differs from the border",
        "pictures of the other subjects (skin, material, light), or `augment` standard",
    ),
    feature(
        "subject-warmth",
        "red minus blue of what differs from the border",
        "pictures of the other subjects (skin, material, light), or `augment` standard",
    ),
];

/// Side of the thumbnail.
pub(crate) const SIDE: usize = 32;
/// Numbers of the descriptor.
pub(crate) const WIDTH: usize = 64;
/// Longer side at which pictures are measured, so that a property does not depend on the number of
/// pixels.
const WORKING: u32 = 256;
/// How much a channel must differ from the border's colour to count as part of the subject.
const SUBJECT: i32 = 32;

/// The features by which a picture is recognised, whatever its size and encoding.
#[derive(Debug, Clone)]
pub(crate) struct Thumbnail {
    /// Luma, `SIDE` × `SIDE`, whatever the aspect ratio.
    pub(crate) luma: Box<[u8; SIDE * SIDE]>,
    /// Mean colour, R, G, B in 0…255.
    pub(crate) colour: [f32; 3],
    /// The lowest spatial frequencies except the mean: 8 × 8 coefficients of the thumbnail's DCT,
    /// row by row, of unit length.
    pub(crate) descriptor: Box<[f32; WIDTH]>,
    /// How much structure there is: standard deviation of the luma, 0…255.
    pub(crate) spread: f32,
    /// Signs of the coefficients against their median: the perceptual hash.
    pub(crate) hash: u64,
    /// The hash of the picture's mirror image.
    pub(crate) mirrored: u64,
}

/// Measures a picture.
pub(crate) fn look(picture: &RgbImage) -> (Features, Thumbnail) {
    let (width, height) = picture.dimensions();
    let longer = width.max(height);
    let working = if longer > WORKING {
        let side = |length: u32| {
            ((u64::from(length) * u64::from(WORKING)) / u64::from(longer)).max(1) as u32
        };
        &scaled(picture, side(width), side(height))
    } else {
        picture
    };
    let mut features = measure(working);
    features[0] = (f64::from(width) * f64::from(height) / 1e6) as f32;
    features[1] = width as f32 / height.max(1) as f32;
    (features, thumbnail(working))
}

/// The picture at another size, antialiased.
pub(crate) fn scaled(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    thread_local! {
        static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
    }
    let mut pixels = vec![0; width as usize * height as usize * 3];
    let done = (|| {
        let from =
            TypedImageRef::<U8x3>::from_buffer(picture.width(), picture.height(), picture).ok()?;
        let mut to = TypedImage::<U8x3>::from_buffer(width, height, &mut pixels).ok()?;
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .use_alpha(false);
        RESIZER.with_borrow_mut(|resizer| resizer.resize_typed(&from, &mut to, &options)).ok()
    })();
    match done.and_then(|()| RgbImage::from_raw(width, height, pixels)) {
        Some(scaled) => scaled,
        // The resizer only refuses pictures without pixels.
        None => RgbImage::new(width, height),
    }
}

/// Rec. 601, as JPEG has it.
pub(crate) fn luma([r, g, b]: [u8; 3]) -> f32 {
    0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)
}

fn saturation([r, g, b]: [u8; 3]) -> f32 {
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    if high == 0 { 0.0 } else { f32::from(high - low) / f32::from(high) }
}

#[derive(Default)]
struct Moments {
    n: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f32) {
        self.n += 1.0;
        self.sum += f64::from(value);
        self.squares += f64::from(value) * f64::from(value);
    }

    fn mean(&self) -> f64 {
        if self.n == 0.0 { 0.0 } else { self.sum / self.n }
    }

    fn deviation(&self) -> f64 {
        if self.n == 0.0 {
            return 0.0;
        }
        (self.squares / self.n - self.mean().powi(2)).max(0.0).sqrt()
    }
}

/// All features except the first two, which depend on the original size.
fn measure(picture: &RgbImage) -> Features {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let pixels = picture.as_chunks::<3>().0;
    let border = border_colour(pixels, width, height);
    let [mut brightness, mut saturated, mut red_green, mut yellow_blue] =
        std::array::from_fn(|_| Moments::default());
    let mut channels: [Moments; 3] = Default::default();
    let [mut subject_luma, mut subject_saturation, mut subject_warmth] =
        std::array::from_fn(|_| Moments::default());
    let mut histogram = [0u32; 256];
    let mut lumas = Vec::with_capacity(pixels.len());
    for pixel in pixels {
        let y = luma(*pixel);
        lumas.push(y);
        histogram[(y + 0.5) as usize & 255] += 1;
        brightness.add(y);
        let s = saturation(*pixel);
        saturated.add(s);
        let [r, g, b] = pixel.map(f32::from);
        for (moments, value) in channels.iter_mut().zip([r, g, b]) {
            moments.add(value);
        }
        red_green.add(r - g);
        yellow_blue.add(0.5 * (r + g) - b);
        if pixel.iter().zip(&border).any(|(c, b)| (i32::from(*c) - b).abs() > SUBJECT) {
            subject_luma.add(y);
            subject_saturation.add(s);
            subject_warmth.add(r - b);
        }
    }
    let n = pixels.len().max(1) as f64;
    // Hasler and Süsstrunk, Measuring colourfulness in natural images, 2003.
    let colourfulness = red_green.deviation().hypot(yellow_blue.deviation())
        + 0.3 * red_green.mean().hypot(yellow_blue.mean());
    let entropy: f64 = histogram
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / n;
            -share * share.log2()
        })
        .sum();
    let whole = brightness.mean();
    let or = |moments: &Moments, other: f64| if moments.n == 0.0 { other } else { moments.mean() };
    let [red, green, blue] = [0, 1, 2].map(|i| channels[i].mean() / 255.0);
    [
        0.0,
        0.0,
        whole / 255.0,
        brightness.deviation() / 255.0,
        saturated.mean(),
        colourfulness / 255.0,
        red,
        green,
        blue,
        red - blue,
        edges(&lumas, width, height),
        entropy,
        subject_luma.n / n,
        or(&subject_luma, whole) / 255.0,
        or(&subject_saturation, saturated.mean()),
        or(&subject_warmth, (red - blue) * 255.0) / 255.0,
    ]
    .map(|value| value as f32)
}

/// The median of each channel along the picture's edge.
fn border_colour(pixels: &[[u8; 3]], width: usize, height: usize) -> [i32; 3] {
    let mut edge: Vec<[u8; 3]> = Vec::with_capacity(2 * (width + height));
    for y in 0..height {
        if y == 0 || y + 1 == height {
            edge.extend(&pixels[y * width..(y + 1) * width]);
        } else {
            edge.push(pixels[y * width]);
            edge.push(pixels[(y + 1) * width - 1]);
        }
    }
    [0, 1, 2].map(|channel| {
        let mut values: Vec<u8> = edge.iter().map(|pixel| pixel[channel]).collect();
        let middle = values.len() / 2;
        if values.is_empty() { 0 } else { i32::from(*values.select_nth_unstable(middle).1) }
    })
}

/// log10 of the variance of the Laplacian, the usual measure of sharpness (Pech-Pacheco et al.,
/// 2000).
fn edges(lumas: &[f32], width: usize, height: usize) -> f64 {
    let mut moments = Moments::default();
    for y in 1..height.saturating_sub(1) {
        let row = y * width;
        for x in row + 1..row + width.saturating_sub(1) {
            let around = lumas[x - 1] + lumas[x + 1] + lumas[x - width] + lumas[x + width];
            moments.add(around - 4.0 * lumas[x]);
        }
    }
    moments.deviation().powi(2).max(1e-3).log10()
}

fn thumbnail(picture: &RgbImage) -> Thumbnail {
    let small = scaled(picture, SIDE as u32, SIDE as u32);
    let mut colour = [0.0; 3];
    let mut grey = Box::new([0u8; SIDE * SIDE]);
    let mut values = [0f32; SIDE * SIDE];
    for (i, pixel) in small.as_chunks::<3>().0.iter().enumerate() {
        values[i] = luma(*pixel);
        grey[i] = (values[i] + 0.5) as u8;
        for (sum, channel) in colour.iter_mut().zip(pixel) {
            *sum += f32::from(*channel);
        }
    }
    let n = (SIDE * SIDE) as f32;
    let colour = colour.map(|sum: f32| sum / n);
    let mean = values.iter().sum::<f32>() / n;
    let spread = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
    let descriptor = Box::new(descriptor(&values));
    let hash = hash(&descriptor, false);
    let mirrored = self::hash(&descriptor, true);
    Thumbnail { luma: grey, colour, descriptor, spread, hash, mirrored }
}

/// The lowest 8 × 8 coefficients of the DCT (type II), without the mean, at unit length.
fn descriptor(values: &[f32; SIDE * SIDE]) -> [f32; WIDTH] {
    let cosines: [[f32; SIDE]; 8] = std::array::from_fn(|u| {
        std::array::from_fn(|x| {
            ((2 * x + 1) as f32 * u as f32 * std::f32::consts::PI / (2 * SIDE) as f32).cos()
                * if u == 0 { std::f32::consts::FRAC_1_SQRT_2 } else { 1.0 }
        })
    });
    // Rows first.
    let mut rows = [[0f32; 8]; SIDE];
    for (row, out) in values.as_chunks::<SIDE>().0.iter().zip(&mut rows) {
        for (cosine, out) in cosines.iter().zip(out) {
            *out = row.iter().zip(cosine).map(|(v, c)| v * c).sum();
        }
    }
    let mut coefficients = [0f32; WIDTH];
    for (v, cosine) in cosines.iter().enumerate() {
        for u in 0..8 {
            coefficients[v * 8 + u] = rows.iter().zip(cosine).map(|(row, c)| row[u] * c).sum();
        }
    }
    coefficients[0] = 0.0;
    let length = coefficients.iter().map(|c| c * c).sum::<f32>().sqrt();
    if length > 1e-3 {
        for coefficient in &mut coefficients {
            *coefficient /= length;
        }
    } else {
        coefficients = [0.0; WIDTH];
    }
    coefficients
}

/// Bit i: whether coefficient i is above the median of all. A mirror image has the same
/// coefficients, with the other sign where the horizontal frequency is odd.
fn hash(descriptor: &[f32; WIDTH], mirrored: bool) -> u64 {
    let sign = |i: usize| if mirrored && i % 2 == 1 { -1.0 } else { 1.0 };
    let values: Vec<f32> = (1..WIDTH).map(|i| descriptor[i] * sign(i)).collect();
    let mut sorted = values.clone();
    let median = *sorted.select_nth_unstable_by(values.len() / 2, f32::total_cmp).1;
    values.iter().enumerate().fold(0, |hash, (i, v)| hash | (u64::from(*v > median) << i))
}

/// The similarity of two pictures' lowest frequencies, −1…1: unchanged, and against the mirror
/// image.
pub(crate) fn likeness(a: &Thumbnail, b: &Thumbnail) -> [f32; 2] {
    let (mut even, mut odd) = (0.0, 0.0);
    for (a, b) in a.descriptor.as_chunks::<2>().0.iter().zip(b.descriptor.as_chunks::<2>().0) {
        even += a[0] * b[0];
        odd += a[1] * b[1];
    }
    [even + odd, even - odd]
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_data::fixture;

    fn named(features: &Features, name: &str) -> f32 {
        features[FEATURES.iter().position(|f| f.name == name).unwrap()]
    }

    #[test]
    fn features_of_plain_colours_are_what_they_should_be() {
        let red = RgbImage::from_pixel(40, 20, image::Rgb([255, 0, 0]));
        let (f, _) = look(&red);
        assert!((named(&f, "aspect") - 2.0).abs() < 1e-6);
        assert!((named(&f, "brightness") - 0.299).abs() < 1e-3);
        assert_eq!(named(&f, "contrast"), 0.0);
        assert_eq!(named(&f, "saturation"), 1.0);
        assert_eq!(named(&f, "warmth"), 1.0);
        assert_eq!(named(&f, "entropy"), 0.0);
        assert_eq!(named(&f, "subject-share"), 0.0);
        // A black square in a white field: half of the sides, a quarter of the area.
        let square = RgbImage::from_fn(64, 64, |x, y| {
            let inside = (16..48).contains(&x) && (16..48).contains(&y);
            image::Rgb([if inside { 0 } else { 255 }; 3])
        });
        let (f, _) = look(&square);
        assert!((named(&f, "subject-share") - 0.25).abs() < 1e-6);
        assert_eq!(named(&f, "subject-brightness"), 0.0);
        assert!((named(&f, "entropy") - 0.8113).abs() < 1e-3);
        assert!((named(&f, "contrast") - 0.433).abs() < 1e-3);
    }

    #[test]
    fn a_blurred_picture_is_less_sharp_and_size_hardly_matters() {
        let picture = fixture::picture(1, 3, 240, 240);
        let sharp = named(&look(&picture).0, "sharpness");
        let blurred = named(&look(&image::imageops::blur(&picture, 2.0)).0, "sharpness");
        assert!(blurred < sharp - 0.3, "{blurred} {sharp}");
        let large =
            image::imageops::resize(&picture, 960, 960, image::imageops::FilterType::Triangle);
        let (a, b) = (look(&picture).0, look(&large).0);
        for name in ["brightness", "saturation", "warmth"] {
            assert!((named(&a, name) - named(&b, name)).abs() < 0.01, "{name}");
        }
    }

    #[test]
    fn the_descriptor_survives_scaling_and_knows_mirror_images() {
        let blobs = |width: u32, height: u32| {
            RgbImage::from_fn(width, height, |x, y| {
                let (x, y) = (x as f32 / width as f32, y as f32 / height as f32);
                let blob =
                    |cx: f32, cy: f32, r: f32| (-((x - cx).powi(2) + (y - cy).powi(2)) / r).exp();
                let value = 100.0 + 120.0 * blob(0.3, 0.6, 0.03) - 80.0 * blob(0.8, 0.2, 0.02);
                image::Rgb([value as u8, (0.9 * value) as u8, (0.8 * value) as u8])
            })
        };
        let picture = blobs(200, 150);
        let (_, a) = look(&picture);
        let scaled =
            image::imageops::resize(&picture, 100, 90, image::imageops::FilterType::CatmullRom);
        let (_, b) = look(&scaled);
        assert!(likeness(&a, &b)[0] > 0.99);
        assert!((a.hash ^ b.hash).count_ones() <= 4);
        let (_, m) = look(&image::imageops::flip_horizontal(&picture));
        assert!(likeness(&a, &m)[1] > 0.99, "{:?}", likeness(&a, &m));
        assert!((a.mirrored ^ m.hash).count_ones() <= 2);
    }

    #[test]
    fn a_single_pixel_can_be_looked_at() {
        let (f, t) = look(&RgbImage::from_pixel(1, 1, image::Rgb([9, 9, 9])));
        assert!(f.iter().all(|v| v.is_finite()));
        assert!(t.descriptor.iter().all(|v| v.is_finite()));
        assert_eq!(t.spread, 0.0);
    }
}
