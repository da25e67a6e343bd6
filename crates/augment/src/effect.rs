//! How adjustments work on pixels, and how those that follow each other share their passes.

use pulp::{Arch, NullaryFnOnce};

use crate::{Adjustment, Result};

type Joined = Box<dyn FnOnce(&mut Tables, &[u8])>;
type Mixture = Box<dyn Fn(&mut Planes)>;
type Pass = Box<dyn FnOnce(&mut [u8], (usize, usize)) -> Result<()>>;

/// What an adjustment does, by how much of the picture it has to see.
pub(crate) enum Effect {
    /// Each channel by itself: joins the tables, for pixels as they were before them.
    Channel(Joined),
    /// The three channels of a pixel together.
    Pixel(Mixture),
    /// The whole picture, of this width and height.
    Picture(Pass),
}

impl Effect {
    /// A function of channel and value, 0 to 255, cut off to an integer.
    pub(crate) fn value(change: impl Fn(usize, f32) -> f32 + 'static) -> Self {
        Self::channel(|tables, _| tables.then(change))
    }

    /// The same where the function depends on the picture: [`Tables::means`], [`Tables::seen`].
    pub(crate) fn channel(join: impl FnOnce(&mut Tables, &[u8]) + 'static) -> Self {
        Self::Channel(Box::new(join))
    }

    /// A function of red, green and blue, 0 to 255. It gives integers in the same range, as floats;
    /// what it calls is to be `#[inline(always)]`, so that it is compiled for wide registers.
    pub(crate) fn pixel(change: impl Fn([f32; 3]) -> [f32; 3] + 'static) -> Self {
        Self::Pixel(Box::new(move |planes| {
            Arch::new().dispatch(EachPixel { planes, change: &change });
        }))
    }

    /// A function of the pixels, layout \[height, width, 3\], and of (width, height).
    pub(crate) fn picture(
        change: impl FnOnce(&mut [u8], (usize, usize)) -> Result<()> + 'static,
    ) -> Self {
        Self::Picture(Box::new(change))
    }
}

/// Carries out adjustments on u8 RGB pixels, layout \[height, width, 3\].
///
/// Whatever treats each channel by itself becomes a table of 256 values; tables are joined, and
/// applied in the same pass as the mixtures of channels that follow.
pub(crate) fn adjust(
    adjustments: &[Adjustment],
    (width, height): (u32, u32),
    pixels: &mut [u8],
) -> Result<()> {
    if pixels.is_empty() {
        return Ok(());
    }
    let mut pending = Pending { tables: Tables::new(), mixtures: Vec::new() };
    for adjustment in adjustments {
        match adjustment.effect() {
            Effect::Channel(join) => {
                if !pending.mixtures.is_empty() {
                    pending.carry_out(pixels);
                }
                join(&mut pending.tables, pixels);
            }
            Effect::Pixel(mixture) => pending.mixtures.push(mixture),
            Effect::Picture(change) => {
                pending.carry_out(pixels);
                change(pixels, (width as usize, height as usize))?;
            }
        }
    }
    pending.carry_out(pixels);
    Ok(())
}

/// What is still to be done in one pass: tables, then mixtures.
struct Pending {
    tables: Tables,
    mixtures: Vec<Mixture>,
}

impl Pending {
    fn carry_out(&mut self, pixels: &mut [u8]) {
        let tables = std::mem::replace(&mut self.tables, Tables::new());
        if self.mixtures.is_empty() {
            tables.apply(pixels);
        } else {
            mix(&tables, &std::mem::take(&mut self.mixtures), pixels);
        }
    }
}

type Histogram = [[u32; 256]; 3];

/// One table per channel, from the pixels as they are to what they will be.
pub(crate) struct Tables {
    tables: [[u8; 256]; 3],
    changed: bool,
    /// Of the pixels as they are.
    histogram: Option<Box<Histogram>>,
}

impl Tables {
    fn new() -> Self {
        let same = std::array::from_fn(|v| v as u8);
        Self { tables: [same; 3], changed: false, histogram: None }
    }

    /// Joins a function of channel and value, cut off to an integer.
    pub(crate) fn then(&mut self, change: impl Fn(usize, f32) -> f32) {
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
    pub(crate) fn seen(&mut self, pixels: &[u8]) -> Histogram {
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
    pub(crate) fn means(&mut self, pixels: &[u8]) -> [f32; 3] {
        let count = (pixels.len() / 3).max(1) as f64;
        if !self.changed && self.histogram.is_none() {
            return Arch::new().dispatch(Sums { pixels }).map(|sum| (sum as f64 / count) as f32);
        }
        self.seen(pixels).map(|seen| {
            let sum: u64 = seen.iter().enumerate().map(|(v, n)| v as u64 * u64::from(*n)).sum();
            (sum as f64 / count) as f32
        })
    }

    fn apply(&self, pixels: &mut [u8]) {
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
pub(crate) const NEARLY_256: f32 = 255.999;

/// torchvision's grey of red, green and blue.
#[inline(always)]
pub(crate) fn grey(r: f32, g: f32, b: f32) -> f32 {
    0.2989 * r + 0.587 * g + 0.114 * b
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

/// Pixels that are worked on at a time.
const LANES: usize = 64;

/// Pixels channel by channel.
type Planes = [[f32; LANES]; 3];

/// Tables, then mixtures, in one pass over the pixels.
fn mix(tables: &Tables, mixtures: &[Mixture], pixels: &mut [u8]) {
    let tables = &tables.tables;
    let mut planes = [[0.0f32; LANES]; 3];
    for block in pixels.chunks_mut(3 * LANES) {
        let pixels = block.as_chunks_mut::<3>().0;
        for (i, pixel) in pixels.iter().enumerate() {
            for c in 0..3 {
                planes[c][i] = f32::from(tables[c][usize::from(pixel[c])]);
            }
        }
        for mixture in mixtures {
            mixture(&mut planes);
        }
        for (i, pixel) in pixels.iter_mut().enumerate() {
            *pixel = [planes[0][i] as u8, planes[1][i] as u8, planes[2][i] as u8];
        }
    }
}

struct EachPixel<'a, F> {
    planes: &'a mut Planes,
    change: &'a F,
}

impl<F: Fn([f32; 3]) -> [f32; 3]> NullaryFnOnce for EachPixel<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [reds, greens, blues] = self.planes;
        for i in 0..LANES {
            [reds[i], greens[i], blues[i]] = (self.change)([reds[i], greens[i], blues[i]]);
        }
    }
}
