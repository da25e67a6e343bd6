//! Tables for what treats channels one by one, mixtures for what does not.

use pulp::{Arch, NullaryFnOnce};

use crate::Adjustment;

type Histogram = [[u32; 256]; 3];

/// One table per channel, from the pixels as they are to what they will be.
pub(crate) struct Tables {
    tables: [[u8; 256]; 3],
    changed: bool,
    /// Of the pixels as they are.
    histogram: Option<Box<Histogram>>,
}

impl Tables {
    pub(crate) fn new() -> Self {
        let same = std::array::from_fn(|v| v as u8);
        Self { tables: [same; 3], changed: false, histogram: None }
    }

    /// Takes up an adjustment if it treats channels one by one.
    pub(crate) fn join(&mut self, adjustment: &Adjustment, pixels: &[u8]) -> bool {
        match *adjustment {
            Adjustment::Brightness(delta) => {
                self.then(|_, v| (v + delta * 255.0).clamp(0.0, 255.0).round());
            }
            Adjustment::Contrast(factor) => {
                let means = self.means(pixels);
                self.then(|c, v| ((v - means[c]) * factor + means[c]).clamp(0.0, 255.0).round());
            }
            Adjustment::BrightnessFactor(factor) => self.then(|_, v| v * factor),
            Adjustment::ContrastFactor(factor) => {
                let means = self.means(pixels);
                // torchvision cuts the grey of each pixel off to an integer: half a level on
                // average.
                let grey = grey(means[0], means[1], means[2]) - 0.5;
                self.then(|_, v| v * factor + (1.0 - factor) * grey);
            }
            Adjustment::Gamma(gamma) => {
                self.then(|_, v| (v / 255.0).powf(gamma) * NEARLY_256);
            }
            Adjustment::Posterize(bits) => {
                let mask = if bits >= 8 { 255 } else { !(255 >> bits) };
                self.then(|_, v| f32::from(v as u8 & mask));
            }
            Adjustment::Solarize(threshold) => {
                let threshold = f32::from(threshold);
                self.then(|_, v| if v >= threshold { 255.0 - v } else { v });
            }
            Adjustment::Invert => self.then(|_, v| 255.0 - v),
            Adjustment::AutoContrast => {
                let range = self.seen(pixels).map(|seen| {
                    let low = seen.iter().position(|n| *n > 0).unwrap_or(0);
                    let high = seen.iter().rposition(|n| *n > 0).unwrap_or(0);
                    (low as f32, high as f32)
                });
                self.then(|c, v| match range[c] {
                    (low, high) if high > low => (v - low) / ((high - low) * (1.0 / 255.0)),
                    _ => v,
                });
            }
            Adjustment::Equalize => {
                let tables = self.seen(pixels).map(|seen| equalizing(&seen));
                self.then(|c, v| f32::from(tables[c][v as usize]));
            }
            _ => return false,
        }
        true
    }

    /// Joins a function of channel and value, cut off to an integer.
    fn then(&mut self, change: impl Fn(usize, f32) -> f32) {
        for (c, table) in self.tables.iter_mut().enumerate() {
            for value in table {
                *value = change(c, f32::from(*value)).clamp(0.0, 255.0) as u8;
            }
        }
        self.changed = true;
    }

    fn histogram(&mut self, pixels: &[u8]) -> &Histogram {
        self.histogram.get_or_insert_with(|| {
            let mut counts = Box::new([[0u32; 256]; 3]);
            for [r, g, b] in pixels.as_chunks::<3>().0 {
                counts[0][usize::from(*r)] += 1;
                counts[1][usize::from(*g)] += 1;
                counts[2][usize::from(*b)] += 1;
            }
            counts
        })
    }

    /// The histogram of the pixels as they will be.
    fn seen(&mut self, pixels: &[u8]) -> Histogram {
        let own = *self.histogram(pixels);
        let mut seen = [[0; 256]; 3];
        for c in 0..3 {
            for (value, count) in own[c].iter().enumerate() {
                seen[c][usize::from(self.tables[c][value])] += count;
            }
        }
        seen
    }

    /// The mean of each channel of the pixels as they will be.
    fn means(&mut self, pixels: &[u8]) -> [f32; 3] {
        let count = (pixels.len() / 3).max(1) as f64;
        if !self.changed && self.histogram.is_none() {
            return Arch::new().dispatch(Sums { pixels }).map(|sum| (sum as f64 / count) as f32);
        }
        self.seen(pixels).map(|seen| {
            let sum: u64 = seen.iter().enumerate().map(|(v, n)| v as u64 * u64::from(*n)).sum();
            (sum as f64 / count) as f32
        })
    }

    pub(crate) fn apply(&self, pixels: &mut [u8]) {
        if self.changed {
            let [reds, greens, blues] = &self.tables;
            for [r, g, b] in pixels.as_chunks_mut::<3>().0 {
                *r = reds[usize::from(*r)];
                *g = greens[usize::from(*g)];
                *b = blues[usize::from(*b)];
            }
        }
    }
}

/// torchvision turns [0, 1] into u8 by this factor, cut off.
const NEARLY_256: f32 = 255.999;

#[inline(always)]
fn grey(r: f32, g: f32, b: f32) -> f32 {
    0.2989 * r + 0.587 * g + 0.114 * b
}

/// As `equalize_image` in torchvision and `ImageOps.equalize` in Pillow.
fn equalizing(histogram: &[u32; 256]) -> [u8; 256] {
    let total: u32 = histogram.iter().sum();
    let brightest = histogram.iter().rev().find(|n| **n > 0).copied().unwrap_or(0);
    let step = (total - brightest) / 255;
    let mut table = std::array::from_fn(|v| v as u8);
    if step > 0 {
        let mut below = step / 2;
        for (entry, count) in table.iter_mut().zip(histogram) {
            *entry = (below / step).min(255) as u8;
            below += count;
        }
    }
    table
}

struct Sums<'a> {
    pixels: &'a [u8],
}

impl NullaryFnOnce for Sums<'_> {
    type Output = [u64; 3];

    #[inline(always)]
    fn call(self) -> [u64; 3] {
        let mut sums = [0u64; 3];
        // Columns of 96 bytes, each of one channel: sums of 16 bits that cannot overflow within 256
        // rows.
        for block in self.pixels.chunks(96 * 256) {
            let mut columns = [0u16; 96];
            let (rows, rest) = block.as_chunks::<96>();
            for row in rows {
                for (column, value) in columns.iter_mut().zip(row) {
                    *column += u16::from(*value);
                }
            }
            for (i, column) in columns.iter().enumerate() {
                sums[i % 3] += u64::from(*column);
            }
            for (i, value) in rest.iter().enumerate() {
                sums[i % 3] += u64::from(*value);
            }
        }
        sums
    }
}

/// What needs all three channels of a pixel at once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mixture {
    Saturation(f32),
    Hue(f32),
    Grey,
}

impl Mixture {
    pub(crate) fn of(adjustment: &Adjustment) -> Option<Self> {
        match *adjustment {
            Adjustment::Saturation(factor) => Some(Mixture::Saturation(factor)),
            Adjustment::Hue(turn) => Some(Mixture::Hue(turn)),
            Adjustment::Grey => Some(Mixture::Grey),
            _ => None,
        }
    }
}

/// Tables, then mixtures, in one pass over the pixels.
pub(crate) fn mix(tables: &Tables, mixtures: &[Mixture], pixels: &mut [u8]) {
    Arch::new().dispatch(Mixing { tables, mixtures, pixels });
}

struct Mixing<'a> {
    tables: &'a Tables,
    mixtures: &'a [Mixture],
    pixels: &'a mut [u8],
}

/// Pixels that are worked on at a time, channel by channel.
const LANES: usize = 64;

impl NullaryFnOnce for Mixing<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let tables = &self.tables.tables;
        let mut planes = [[0.0f32; LANES]; 3];
        for block in self.pixels.chunks_mut(3 * LANES) {
            let pixels = block.as_chunks_mut::<3>().0;
            for (i, pixel) in pixels.iter().enumerate() {
                for c in 0..3 {
                    planes[c][i] = f32::from(tables[c][usize::from(pixel[c])]);
                }
            }
            for mixture in self.mixtures {
                match *mixture {
                    Mixture::Saturation(factor) => saturate(&mut planes, factor),
                    Mixture::Hue(turn) => turn_hue(&mut planes, turn),
                    Mixture::Grey => saturate(&mut planes, 0.0),
                }
            }
            for (i, pixel) in pixels.iter_mut().enumerate() {
                *pixel = [planes[0][i] as u8, planes[1][i] as u8, planes[2][i] as u8];
            }
        }
    }
}

#[inline(always)]
fn saturate(planes: &mut [[f32; LANES]; 3], factor: f32) {
    let [reds, greens, blues] = planes;
    for i in 0..LANES {
        let (r, g, b) = (reds[i], greens[i], blues[i]);
        let rest = grey(r, g, b).floor() * (1.0 - factor);
        reds[i] = (r * factor + rest).clamp(0.0, 255.0).floor();
        greens[i] = (g * factor + rest).clamp(0.0, 255.0).floor();
        blues[i] = (b * factor + rest).clamp(0.0, 255.0).floor();
    }
}

/// Hue in sixths of the circle; then channel = max − (max − min)·clamp(min(k, 4 − k), 0, 1) with k
/// = (n + hue) mod 6 and n = 5, 3, 1 for red, green, blue: the branch-free form of HSV to RGB.
#[inline(always)]
fn turn_hue(planes: &mut [[f32; LANES]; 3], turn: f32) {
    let turn = 6.0 * turn;
    let [reds, greens, blues] = planes;
    for i in 0..LANES {
        let (r, g, b) = (reds[i], greens[i], blues[i]);
        let most = r.max(g).max(b);
        let range = most - r.min(g).min(b);
        let inverse = 1.0 / if range == 0.0 { 1.0 } else { range };
        let hue = if most == r {
            (g - b) * inverse
        } else if most == g {
            2.0 + (b - r) * inverse
        } else {
            4.0 + (r - g) * inverse
        } + turn;
        let channel = |n: f32| {
            let k = n + hue;
            let k = k - 6.0 * (k * (1.0 / 6.0)).floor();
            let share = k.min(4.0 - k).clamp(0.0, 1.0);
            ((most - range * share) * (NEARLY_256 / 255.0)).floor()
        };
        (reds[i], greens[i], blues[i]) = (channel(5.0), channel(3.0), channel(1.0));
    }
}
