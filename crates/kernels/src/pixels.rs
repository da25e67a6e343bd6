//! The first layer of a network, straight from 8-bit pixels.

use crate::ending::Ending;
use crate::error::product;
use crate::error::{bad_shape, check_len};
use crate::filter::PackedFilter;
use crate::scratch::{table, table_len};
use crate::team::SharedMut;
use crate::tile::Tile;
use crate::{Activation, Algorithm, Conv2dShape, Element, KernelClass, KernelError, Team};
use taper_simd::AlignedBuffer;
use taper_simd::{Simd, Task, dispatch};

const OPERATION: &str = "convolution of pixels";

/// Output rows that are computed from one band of normalised input.
const BAND: usize = 8;

/// The filters of a network's first convolution, together with the normalisation of its pixels.
///
/// It computes exactly what a convolution over `(x / 255 − mean) / std` with a border of zeros
/// computes: the border is added after normalisation. In bf16 the pixels enter as whole numbers (`x
/// − round(255 · mean)`, which bf16 holds exactly), and scale and shift are folded into filters and
/// bias.
#[derive(Debug, Clone)]
pub struct PixelFilter<E: Element> {
    filter: PackedFilter<E>,
    /// Per value of a row of pixels: factor and offset.
    scale: AlignedBuffer<f32>,
    shift: AlignedBuffer<f32>,
    /// Per value of a pixel: the value beyond the border.
    border: Vec<E>,
}

impl<E: Element> PixelFilter<E> {
    /// Packs filters and normalisation.
    ///
    /// `weights`: `[out_channels, in_channels, kernel height, kernel width]`; `bias`:
    /// `[out_channels]`, or zeros; `mean` and `std`: one value per input channel, of pixels in `[0,
    /// 1]`.
    ///
    /// # Errors
    /// [`KernelError::BadShape`] for groups, for a horizontal dilation, or for a `std` that is not
    /// positive; [`KernelError::BufferLength`].
    pub fn pack(
        class: KernelClass,
        shape: &Conv2dShape,
        weights: &[f32],
        bias: Option<&[f32]>,
        mean: &[f32],
        std: &[f32],
    ) -> Result<Self, KernelError> {
        shape.output()?;
        if shape.groups != 1 || shape.window.dilation[1] != 1 {
            return Err(bad_shape(
                OPERATION,
                format!("groups and horizontal dilation must be 1, got {shape}"),
            ));
        }
        let channels = shape.in_channels;
        check_len(OPERATION, "mean", mean.len(), channels)?;
        check_len(OPERATION, "std", std.len(), channels)?;
        if !std.iter().all(|&s| s > 0.0) {
            return Err(bad_shape(OPERATION, format!("std must be positive, got {std:?}")));
        }
        check_len(OPERATION, "weights", weights.len(), shape.filter_len())?;
        if let Some(bias) = bias {
            check_len(OPERATION, "bias", bias.len(), shape.out_channels)?;
        }
        let [kh, kw] = shape.window.kernel;
        let mean = |c: usize| f64::from(mean[c]);
        let std = |c: usize| f64::from(std[c]);
        let whole = |c: usize| (255.0 * mean(c)).round();
        let (scale, shift, border): (Vec<f64>, Vec<f64>, Vec<f64>) = if E::BF16 {
            (vec![1.0; channels], (0..channels).map(|c| -whole(c)).collect(), {
                (0..channels).map(|c| 255.0 * mean(c) - whole(c)).collect()
            })
        } else {
            (
                (0..channels).map(|c| 1.0 / (255.0 * std(c))).collect(),
                (0..channels).map(|c| -mean(c) / std(c)).collect(),
                vec![0.0; channels],
            )
        };
        let mut weights = weights.to_vec();
        let mut bias = bias.map_or_else(|| vec![0.0; shape.out_channels], <[f32]>::to_vec);
        if E::BF16 {
            let taps = kh * kw;
            for (out, bias) in bias.iter_mut().enumerate() {
                let mut sum = f64::from(*bias);
                for c in 0..channels {
                    for w in &mut weights[(out * channels + c) * taps..][..taps] {
                        *w = (f64::from(*w) / (255.0 * std(c))) as f32;
                        sum += f64::from(E::from_f32(*w).to_f32()) * (whole(c) - 255.0 * mean(c));
                    }
                }
                *bias = sum as f32;
            }
        }
        // Packed as a convolution whose runs are whole rows of taps: they are contiguous in a
        // padded row of pixels.
        let mut filter = PackedFilter::empty(class, shape, Algorithm::Direct)?;
        filter.lay_out(kh, kw * channels);
        filter.fill_panels(&mut Team::serial(&mut []), kh, kw * channels, |out, ky, at| {
            weights[((out * channels + at % channels) * kh + ky) * kw + at / channels]
        });
        filter.fill_bias(Some(&bias));
        let values = shape.input[1] * channels;
        let mut packed = Self {
            filter,
            scale: AlignedBuffer::new(values),
            shift: AlignedBuffer::new(values),
            border: border.iter().map(|&b| E::from_f32(b as f32)).collect(),
        };
        for i in 0..values {
            packed.scale[i] = scale[i % channels] as f32;
            packed.shift[i] = shift[i % channels] as f32;
        }
        Ok(packed)
    }

    /// The shape that the filters were packed for.
    #[must_use]
    pub fn shape(&self) -> &Conv2dShape {
        &self.filter.shape
    }

    /// Height and width of the output.
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        self.filter.output
    }

    /// Bytes of memory that the packed filters take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.filter.bytes() + 2 * self.scale.len() * size_of::<f32>()
    }

    /// Values of a padded row.
    fn pitch(&self) -> usize {
        let shape = &self.filter.shape;
        (shape.input[1] + shape.window.padding.left + shape.window.padding.right)
            * shape.in_channels
    }

    /// Rows of input under a band of output.
    fn band_rows(&self) -> usize {
        let window = &self.filter.shape.window;
        (BAND - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1
    }

    fn pointers(&self) -> usize {
        (BAND * self.filter.output[1]).next_multiple_of(self.filter.tiling.mr)
            * self.filter.shape.window.kernel[0]
    }

    fn rows_len(&self) -> usize {
        // In f32 values, for either element, and a whole number of cache lines.
        (self.pitch() * self.band_rows()).next_multiple_of(16)
    }

    /// Scratch values (f32) that each thread of the team needs.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        self.rows_len() + table_len(self.pointers()) + 16
    }

    /// Convolves a batch of pictures.
    ///
    /// `pixels`: `[n, height, width, in_channels]`, 0 to 255; `out`: `[n, out_height, out_width,
    /// out_channels]`.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`] or [`KernelError::ScratchTooSmall`]; nothing has been written
    /// then.
    pub fn run(
        &self,
        team: &mut Team<'_>,
        n: usize,
        pixels: &[u8],
        activation: Option<Activation>,
        out: &mut [E],
    ) -> Result<(), KernelError> {
        let filter = &self.filter;
        let [oh, ow] = filter.output;
        check_len(OPERATION, "input", pixels.len(), product(n, filter.shape.input_len())?)?;
        check_len(
            OPERATION,
            "output",
            out.len(),
            product(n, oh * ow * filter.shape.out_channels)?,
        )?;
        team.check(OPERATION, self.scratch_len())?;
        let bands = oh.div_ceil(BAND);
        let out = SharedMut::new(out);
        team.run(n * bands, &|item, scratch| {
            let (picture, band) = (item / bands, item % bands);
            let first = band * BAND;
            let start = scratch.as_ptr().align_offset(64).min(15);
            let (rows, rest) = scratch[start..].split_at_mut(self.rows_len());
            let task = Band {
                filter: self,
                pixels: &pixels[picture * filter.shape.input_len()..][..filter.shape.input_len()],
                rows: rows.as_mut_ptr().cast(),
                table: table(rest, self.pointers()),
                // SAFETY: within the output: `picture < n`.
                out: unsafe {
                    out.get().add((picture * oh + first) * ow * filter.shape.out_channels)
                },
                first,
                count: BAND.min(oh - first),
                activation,
            };
            // SAFETY: rows and table have the lengths that the band needs; the output rows exist
            // and belong to this item.
            unsafe { dispatch(filter.class, task) }
        });
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Band<'a, E: Element> {
    filter: &'a PixelFilter<E>,
    /// One picture.
    pixels: &'a [u8],
    /// Room for `rows_len` elements.
    rows: *mut E,
    table: *mut *const E,
    out: *mut E,
    /// First output row.
    first: usize,
    /// Output rows.
    count: usize,
    activation: Option<Activation>,
}

impl<E: Element> Task for Band<'_, E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let filter = &self.filter.filter;
        let shape = &filter.shape;
        let window = &shape.window;
        let channels = shape.in_channels;
        let values = shape.input[1] * channels;
        let pitch = self.filter.pitch();
        let (left, right) = (window.padding.left * channels, window.padding.right * channels);
        let rows =
            (self.count - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1;
        let top = (self.first * window.stride[0]) as isize - window.padding.top as isize;
        let border = &self.filter.border;
        for row in 0..rows {
            let y = top + row as isize;
            // SAFETY: `rows ≤ band_rows`, and the scratch holds that many rows of `pitch` values.
            let to = unsafe { std::slice::from_raw_parts_mut(self.rows.add(row * pitch), pitch) };
            if y < 0 || y as usize >= shape.input[0] {
                fill(to, border);
                continue;
            }
            fill(&mut to[..left], border);
            fill(&mut to[pitch - right..], border);
            let from = &self.pixels[y as usize * values..][..values];
            let to = &mut to[left..left + values];
            let (scale, shift) = (&self.filter.scale[..values], &self.filter.shift[..values]);
            let mut at = 0;
            while at + S::LANES <= values {
                let mut wide = [0.0_f32; 16];
                for (wide, &pixel) in wide.iter_mut().zip(&from[at..at + S::LANES]) {
                    *wide = f32::from(pixel);
                }
                // SAFETY: `at + LANES ≤ values`, the length of all four.
                unsafe {
                    let pixel = S::load32(wide.as_ptr());
                    let scaled = S::fma(
                        pixel,
                        S::load32(scale.as_ptr().add(at)),
                        S::load32(shift.as_ptr().add(at)),
                    );
                    S::store(to.as_mut_ptr().add(at), scaled);
                }
                at += S::LANES;
            }
            for i in at..values {
                let mut wide = [0.0_f32; 16];
                wide[0] = f32::from(from[i]);
                // SAFETY: one value of each.
                unsafe {
                    let pixel = S::load32(wide.as_ptr());
                    let scaled = S::fma(pixel, S::splat(scale[i]), S::splat(shift[i]));
                    S::store_n(to.as_mut_ptr().add(i), scaled, 1);
                }
            }
        }
        let [_, ow] = filter.output;
        let mr = S::MR;
        let runs = window.kernel[0];
        let pixels = self.count * ow;
        let tiles = pixels.div_ceil(mr);
        let (mut row, mut column) = (0, 0);
        for tile in 0..tiles {
            for m in 0..mr.min(pixels - tile * mr) {
                for run in 0..runs {
                    let at = (row * window.stride[0] + run * window.dilation[0]) * pitch
                        + column * window.stride[1] * channels;
                    // SAFETY: the table has room for `tiles × runs × MR` pointers; the rows hold
                    // every run of this window.
                    unsafe { *self.table.add((tile * runs + run) * mr + m) = self.rows.add(at) };
                }
                column += 1;
                if column == ow {
                    column = 0;
                    row += 1;
                }
            }
        }
        for panel in &filter.panels {
            for tile in 0..tiles {
                // SAFETY: the table points to `kernel width × channels` values for each pixel of
                // the tile; filter and bias are packed for the panel; the output pixels exist.
                unsafe {
                    Tile {
                        pointers: self.table.add(tile * runs * mr),
                        pointers_stride: mr,
                        runs,
                        len: window.kernel[1] * channels,
                        filter: filter.weights.as_ptr().add(panel.weights),
                        bias: filter.bias.as_ptr().add(panel.bias),
                        out: self.out.add(tile * mr * shape.out_channels + panel.first),
                        ldc: shape.out_channels,
                        width: panel.width,
                        ending: Ending { activation: self.activation, ..Ending::none() },
                    }
                    .run::<S>(mr.min(pixels - tile * mr), panel.vectors);
                }
            }
        }
    }
}

#[inline(always)]
fn fill<E: Element>(to: &mut [E], border: &[E]) {
    for pixel in to.chunks_mut(border.len()) {
        pixel.copy_from_slice(&border[..pixel.len()]);
    }
}
