//! The convolution against a plain loop, and what is refused.

use super::{
    backward::gradient,
    convolution::{Activation, Convolution, Places},
    descriptors::{Slide, Tensor},
};
use crate::{
    matrix::{Precision, Values},
    memory::{self, Place},
};

fn device(values: &[f32]) -> Values {
    let address = memory::allocate(values.len() * 4, Place::Device, 0).unwrap();
    let placed = Values { address, precision: Precision::F32 };
    for (at, value) in values.iter().enumerate() {
        // SAFETY: so many values were just allocated.
        unsafe { placed.set(at, f64::from(*value)) };
    }
    placed
}

fn slide(padding: usize, stride: usize, dilation: usize, groups: usize) -> Slide {
    Slide {
        padding: [padding; 2],
        stride: [stride; 2],
        dilation: [dilation; 2],
        groups,
        cross_correlation: true,
        compute: Precision::F32,
        math: 3,
    }
}

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as f32 / 16.0 - 8.0
    };
    (0..count).map(|_| next()).collect()
}

fn agrees(channels_last: bool, slide: Slide, kernel: usize) {
    let (n, c, h, w, k) = (2, 4, 7, 6, 6);
    let per_group = c / slide.groups;
    let x = Tensor::packed(Precision::F32, [n, c, h, w], channels_last);
    let filter = Tensor::packed(Precision::F32, [k, per_group, kernel, kernel], channels_last);
    let side = |side: usize| {
        (side + 2 * slide.padding[0] - (kernel - 1) * slide.dilation[0] - 1) / slide.stride[0] + 1
    };
    let y = Tensor::packed(Precision::F32, [n, k, side(h), side(w)], channels_last);
    let convolution = Convolution::new(x, (filter, channels_last), y, slide).unwrap();
    let (maps, weights) = (numbers(x.extent(), 1), numbers(filter.extent(), 2));
    let workspace = convolution.workspace(1).unwrap();
    let space = memory::allocate(workspace, Place::Device, 0).unwrap();
    let places = Places {
        x: device(&maps),
        w: device(&weights),
        y: device(&vec![f32::NAN; y.extent()]),
        z: None,
        bias: None,
        workspace: (space, workspace),
        alpha: 1.0,
        beta: 0.0,
        activation: Activation::Identity,
    };
    convolution.run(&places).unwrap();
    let at = |tensor: &Tensor, place: [usize; 4]| -> usize {
        place.iter().zip(&tensor.strides).map(|(a, b)| a * b).sum()
    };
    let [_, _, height, width] = y.sizes;
    for place in 0..n * k * height * width {
        let (ox, oy) = (place % width, place / width % height);
        let (o, picture) = (place / width / height % k, place / width / height / k);
        let mut sum = 0.0;
        for tap in 0..per_group * kernel * kernel {
            let (kx, ky, ci) = (tap % kernel, tap / kernel % kernel, tap / kernel / kernel);
            let iy = (oy * slide.stride[0] + ky * slide.dilation[0]).wrapping_sub(slide.padding[0]);
            let ix = (ox * slide.stride[1] + kx * slide.dilation[1]).wrapping_sub(slide.padding[1]);
            if iy < h && ix < w {
                let channel = o / (k / slide.groups) * per_group + ci;
                let value = maps[at(&x, [picture, channel, iy, ix])];
                sum += value * weights[at(&filter, [o, ci, ky, kx])];
            }
        }
        // SAFETY: within the output.
        let found = unsafe { places.y.get(at(&y, [picture, o, oy, ox])) } as f32;
        assert!((found - sum).abs() <= 1e-3, "{found} for {sum}");
    }
}

#[test]
fn convolutions() {
    for channels_last in [false, true] {
        agrees(channels_last, slide(1, 1, 1, 1), 3);
        agrees(channels_last, slide(2, 2, 2, 2), 3);
        agrees(channels_last, slide(0, 1, 1, 1), 1);
    }
}

/// ⟨dy, convolution(x, w)⟩ is ⟨dx, x⟩ and ⟨dw, w⟩, as it is linear in both.
#[test]
fn gradients_are_transposes() {
    for (channels_last, slide, kernel) in
        [(true, slide(1, 2, 1, 1), 3), (false, slide(2, 1, 2, 2), 3), (true, slide(0, 1, 1, 2), 1)]
    {
        let (n, c, h, w, k) = (2, 4, 7, 6, 6);
        let x = Tensor::packed(Precision::F32, [n, c, h, w], channels_last);
        let sides = [k, c / slide.groups, kernel, kernel];
        let filter = Tensor::packed(Precision::F32, sides, channels_last);
        let side = |side: usize| {
            (side + 2 * slide.padding[0] - (kernel - 1) * slide.dilation[0] - 1) / slide.stride[0]
                + 1
        };
        let y = Tensor::packed(Precision::F32, [n, k, side(h), side(w)], channels_last);
        let convolution = Convolution::new(x, (filter, channels_last), y, slide).unwrap();
        let (maps, weights) = (numbers(x.extent(), 1), numbers(filter.extent(), 2));
        let slopes = numbers(y.extent(), 3);
        let empty = |tensor: &Tensor| device(&vec![f32::NAN; tensor.extent()]);
        let (space, bytes) = (memory::allocate(4096, Place::Device, 0).unwrap(), 4096);
        let places = Places {
            x: device(&maps),
            w: device(&weights),
            y: empty(&y),
            z: None,
            bias: None,
            workspace: (space, bytes),
            alpha: 1.0,
            beta: 0.0,
            activation: Activation::Identity,
        };
        convolution.run(&places).unwrap();
        let (dx, dw, dy) = (empty(&x), empty(&filter), device(&slopes));
        gradient(&convolution, false, [places.w, dy, dx]);
        gradient(&convolution, true, [places.x, dy, dw]);
        let dot = |values: Values, other: &[f32]| -> f64 {
            // SAFETY: so many values were allocated.
            let product = |(at, b): (usize, &f32)| unsafe { values.get(at) } * f64::from(*b);
            other.iter().enumerate().map(product).sum()
        };
        let expected = dot(places.y, &slopes);
        let bound = 1e-5 * slopes.len() as f64 * 64.0;
        assert!((dot(dx, &maps) - expected).abs() < bound, "{slide:?}");
        assert!((dot(dw, &weights) - expected).abs() < bound, "{slide:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = Tensor::packed(Precision::F32, [1, 4, 5, 5], true);
    let w = Tensor::packed(Precision::F32, [8, 4, 3, 3], true);
    let y = Tensor::packed(Precision::F32, [1, 8, 5, 5], true);
    let good = slide(1, 1, 1, 1);
    assert!(Convolution::new(x, (w, true), y, good).is_ok());
    let refused = |x, w, y, slide| Convolution::new(x, w, y, slide).is_err();
    assert!(refused(x, (w, true), y, slide(0, 1, 1, 1)));
    assert!(refused(x, (w, true), y, slide(1, 1, 1, 2)));
    assert!(refused(Tensor::packed(Precision::F32, [1, 4, 5, 5], false), (w, true), y, good));
    let first = Tensor::packed(Precision::F32, w.sizes, false);
    assert!(refused(x, (first, false), y, good));
    assert!(refused(x, (Tensor { precision: Precision::F16, ..w }, true), y, good));
    assert!(refused(x, (w, true), y, Slide { compute: Precision::F16, ..good }));
    let halves = [x, w, y].map(|t| Tensor { precision: Precision::BF16, ..t });
    assert!(Convolution::new(halves[0], (halves[1], true), halves[2], good).is_ok());
}
