//! The requirements on descriptors, and the convolution itself.

use super::descriptors::{Slide, Tensor};
use crate::{
    matrix::{Precision, Sum, Values, product},
    memory,
    status::{ERROR_ILLEGAL_ADDRESS, Status},
};

/// A convolution whose descriptors agree with each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convolution {
    pub(super) x: Tensor,
    pub(super) w: Tensor,
    pub(super) y: Tensor,
    pub(super) slide: Slide,
}

const IMPLICIT_GEMM: i32 = 0;
const IMPLICIT_PRECOMP_GEMM: i32 = 1;
const GEMM: i32 = 2;

impl Convolution {
    /// Checks the requirements in the documentation of `cudnnConvolutionForward`.
    pub(super) fn new(
        x: Tensor,
        (w, channels_last): (Tensor, bool),
        y: Tensor,
        slide: Slide,
    ) -> Result<Self, String> {
        let [_, channels, ..] = x.sizes;
        let [out, per_group, ..] = w.sizes;
        let groups = slide.groups;
        if channels != per_group * groups {
            return Err(format!("{channels} channels are not {groups} groups of {per_group}"));
        }
        if out % groups != 0 {
            return Err(format!("{out} filters cannot be divided by {groups} groups"));
        }
        let convolution = Self { x, w, y, slide };
        let expected = convolution.output()?;
        if y.sizes != expected {
            return Err(format!("the output is {expected:?}, not {:?}", y.sizes));
        }
        if x.precision != w.precision {
            return Err(format!("maps {:?}, filter {:?}", x.precision, w.precision));
        }
        let known = match (x.precision, slide.compute) {
            (Precision::F16, Precision::F16 | Precision::F32)
            | (Precision::BF16 | Precision::F32, Precision::F32)
            | (Precision::F64, Precision::F64) => x.precision == y.precision,
            _ => false,
        };
        if !known {
            let [a, b, c] = [x.precision, slide.compute, y.precision];
            return Err(format!("maps {a:?}, sums {b:?}, output {c:?}"));
        }
        let layout = usize::from(channels_last);
        if channels_last && !(x.layouts()[layout] && y.layouts()[layout]) {
            return Err("a filter channels last needs maps channels last, without gaps".to_owned());
        }
        let only_last = |tensor: &Tensor| tensor.layouts() == [false, true];
        if !channels_last && (only_last(&x) || only_last(&y)) {
            return Err("maps channels last need a filter channels last".to_owned());
        }
        let tensor_cores = matches!(slide.math, 1 | 2);
        if tensor_cores && x.precision == Precision::F64 {
            return Err("tensor cores do not compute these convolutions in f64".to_owned());
        }
        Ok(convolution)
    }

    /// The sizes that the output must have.
    pub(super) fn output(&self) -> Result<[usize; 4], String> {
        let Slide { padding, stride, dilation, .. } = self.slide;
        let side = |axis: usize| {
            let kernel = (self.w.sizes[axis + 2] - 1) * dilation[axis] + 1;
            let room = self.x.sizes[axis + 2] + 2 * padding[axis];
            match room.checked_sub(kernel) {
                Some(rest) => Ok(rest / stride[axis] + 1),
                None => Err(format!("a window of {kernel} is larger than {room}")),
            }
        };
        Ok([self.x.sizes[0], self.w.sizes[0], side(0)?, side(1)?])
    }

    /// The workspace size of an algorithm. The sizes are made up, so that no caller relies on there
    /// being none.
    pub(super) fn workspace(&self, algorithm: i32) -> Result<usize, String> {
        let channels_last = self.w.layouts() == [false, true];
        let [_, _, height, width] = self.y.sizes;
        match algorithm {
            IMPLICIT_GEMM => Ok(0),
            IMPLICIT_PRECOMP_GEMM => Ok(height * width * 8 + self.slide.groups * 16),
            GEMM if !channels_last && self.slide.dilation == [1, 1] => {
                let [_, c, h, w] = self.w.sizes;
                Ok(c * h * w * height * width * 4)
            }
            _ => Err(format!("algorithm {algorithm} does not compute this convolution here")),
        }
    }

    /// `y = alpha × convolution + beta × y`, with the following operations.
    pub(super) fn run(&self, places: &Places) -> Result<(), Status> {
        let allocated = places.x.allocated("x of cuDNN", self.x.extent())
            && places.w.allocated("w of cuDNN", self.w.extent())
            && places.y.allocated("y of cuDNN", self.y.extent())
            && memory::inside("workspace of cuDNN", places.workspace.0, places.workspace.1 as u64)
            && places.z.is_none_or(|z| z.values.allocated("z of cuDNN", z.tensor.extent()))
            && places.bias.is_none_or(|bias| bias.allocated("bias of cuDNN", self.w.sizes[0]));
        if !allocated {
            return Err(ERROR_ILLEGAL_ADDRESS);
        }
        if places.workspace.1 > 0 {
            // SAFETY: it was just found in a live allocation. What was there is lost.
            unsafe {
                std::ptr::write_bytes(places.workspace.0 as *mut u8, 0xEE, places.workspace.1)
            };
        }
        match self.x.precision {
            Precision::F64 => self.compute::<f64>(places),
            _ => self.compute::<f32>(places),
        }
        Ok(())
    }

    /// One group of one picture at a time: im2col, and a matrix product.
    fn compute<T: Sum>(&self, places: &Places) {
        let Sizes { taps, pixels, out_per_group } = self.sizes();
        let (mut windows, mut sums) =
            (vec![T::default(); pixels * taps], vec![T::default(); pixels * out_per_group]);
        let out_width = self.y.sizes[3];
        for group in 0..self.slide.groups {
            let filter = self.filter::<T>(places.w, group);
            for picture in 0..self.x.sizes[0] {
                self.visit(group, |next, (c, iy, ix)| {
                    windows[next] = match (iy, ix) {
                        (Some(iy), Some(ix)) => {
                            let place = self.x.at([picture, c, iy, ix]);
                            // SAFETY: within the maps, which are in a live allocation.
                            T::from_f64(unsafe { places.x.get(place) })
                        }
                        _ => T::default(),
                    };
                });
                product(
                    [out_per_group, pixels, taps],
                    (&filter, 1, taps),
                    (&windows, taps, 1),
                    (&mut sums, out_per_group, 1),
                );
                for pixel in 0..pixels {
                    for k in 0..out_per_group {
                        let channel = group * out_per_group + k;
                        let place = [picture, channel, pixel / out_width, pixel % out_width];
                        let sum = sums[pixel * out_per_group + k].to_f64();
                        // SAFETY: all were found in live allocations.
                        unsafe { self.finish::<T>(places, place, sum) };
                    }
                }
            }
        }
    }

    pub(super) fn sizes(&self) -> Sizes {
        let [out, per_group, kernel_height, kernel_width] = self.w.sizes;
        Sizes {
            taps: per_group * kernel_height * kernel_width,
            pixels: self.y.sizes[2] * self.y.sizes[3],
            out_per_group: out / self.slide.groups,
        }
    }

    /// The taps of a group's filters, in the order of those of [`Convolution::visit`].
    pub(super) fn places_of_filter(&self, group: usize) -> Vec<usize> {
        let [_, per_group, height, width] = self.w.sizes;
        let Sizes { out_per_group, taps, .. } = self.sizes();
        let mut places = Vec::with_capacity(out_per_group * taps);
        for k in 0..out_per_group {
            for c in 0..per_group {
                for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                    // A true convolution flips its filter.
                    let (y, x) = if self.slide.cross_correlation {
                        (y, x)
                    } else {
                        (height - 1 - y, width - 1 - x)
                    };
                    places.push(self.w.at([group * out_per_group + k, c, y, x]));
                }
            }
        }
        places
    }

    /// A group's filters, `[out, taps]`.
    pub(super) fn filter<T: Sum>(&self, values: Values, group: usize) -> Vec<T> {
        let places = self.places_of_filter(group).into_iter();
        // SAFETY: within the filter, which is in a live allocation.
        places.map(|place| T::from_f64(unsafe { values.get(place) })).collect()
    }

    /// For each tap of each window in order, its number, and the channel, row and column of the
    /// maps; no row or column outside of them.
    pub(super) fn visit(
        &self,
        group: usize,
        mut each: impl FnMut(usize, (usize, Option<usize>, Option<usize>)),
    ) {
        let [_, _, height, width] = self.x.sizes;
        let [_, per_group, kernel_height, kernel_width] = self.w.sizes;
        let [_, _, out_height, out_width] = self.y.sizes;
        let mut next = 0;
        for (oy, ox) in (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x))) {
            for c in 0..per_group {
                for ky in 0..kernel_height {
                    let iy = self.input(0, oy, ky, height);
                    for kx in 0..kernel_width {
                        let ix = self.input(1, ox, kx, width);
                        each(next, (group * per_group + c, iy, ix));
                        next += 1;
                    }
                }
            }
        }
    }

    /// # Safety
    /// All places lie in live allocations.
    unsafe fn finish<T: Sum>(&self, places: &Places, place: [usize; 4], sum: f64) {
        let own = self.y.at(place);
        let mut value = sum * places.alpha;
        // SAFETY: by this function's contract.
        unsafe {
            match places.z {
                // A value multiplied by 0 is not read.
                _ if places.beta == 0.0 => {}
                Some(z) => value += places.beta * z.values.get(z.tensor.at(place)),
                None => value += places.beta * places.y.get(own),
            }
            if let Some(bias) = places.bias {
                value += bias.get(place[1]);
            }
            let value = T::from_f64(places.activation.apply(value)).to_f64();
            places.y.set(own, value);
        }
    }

    fn input(&self, axis: usize, output: usize, tap: usize, side: usize) -> Option<usize> {
        let Slide { padding, stride, dilation, .. } = self.slide;
        let place = output * stride[axis] + tap * dilation[axis];
        place.checked_sub(padding[axis]).filter(|place| *place < side)
    }
}

/// The sizes of a convolution as a matrix product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Taps of a window, over the channels of a group.
    pub(super) taps: usize,
    /// Windows of a picture.
    pub(super) pixels: usize,
    /// Filters of a group.
    pub(super) out_per_group: usize,
}

/// What comes after the sum.
#[derive(Clone, Copy, Debug)]
pub(super) enum Activation {
    Identity,
    Relu,
    ClippedRelu(f64),
}

impl Activation {
    fn apply(self, value: f64) -> f64 {
        // Not a number stays so.
        match self {
            Self::Relu | Self::ClippedRelu(_) if value < 0.0 => 0.0,
            Self::ClippedRelu(ceiling) if value > ceiling => ceiling,
            _ => value,
        }
    }
}

/// The values added before the activation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addend {
    pub(super) tensor: Tensor,
    pub(super) values: Values,
}

/// All addresses, and the factors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) x: Values,
    pub(super) w: Values,
    pub(super) y: Values,
    pub(super) z: Option<Addend>,
    pub(super) bias: Option<Values>,
    pub(super) workspace: (u64, usize),
    pub(super) alpha: f64,
    pub(super) beta: f64,
    pub(super) activation: Activation,
}
