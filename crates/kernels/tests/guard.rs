//! No kernel touches a byte outside its slices: all of them are flush against guard pages, at the
//! end and at the start.
#![allow(clippy::unwrap_used)] // helpers of tests
#![cfg(unix)]

mod common;

use common::guard::Guarded;
use common::{Random, random_shape, round};
use taper_kernels::{
    Activation, Algorithm, Bf16, Border, Conv2dShape, Element, Epilogue, KernelClass, LayerNorm,
    PackedFilter, PixelFilter, Pool, PoolKind, Team, Window, global_average_pool,
};

fn classes() -> Vec<KernelClass> {
    let mut classes: Vec<_> = KernelClass::available().collect();
    classes.push(classes[0].without_bf16());
    classes
}

fn convolve<E: Element>(
    class: KernelClass,
    shape: &Conv2dShape,
    algorithm: Algorithm,
    random: &mut Random,
) {
    let n = random.range(1, 2);
    let weights = random.values(shape.filter_len());
    let filter = PackedFilter::<E>::pack_for(class, shape, algorithm, &weights, None).unwrap();
    let input = round::<E>(&random.values(n * shape.input_len()));
    let len = n * shape.output_len().unwrap();
    let residual = round::<E>(&random.values(len));
    for at_end in [false, true] {
        let input = Guarded::new(&input, at_end);
        let residual = Guarded::new(&residual, at_end);
        let mut out = Guarded::new(&vec![E::default(); len], at_end);
        let mut scratch = Guarded::new(&vec![0.0; filter.scratch_len()], at_end);
        let residual: Option<&[E]> = if random.range(0, 1) == 1 { Some(&residual) } else { None };
        let epilogue = Epilogue { residual, ..Epilogue::activation(Activation::Relu) };
        filter.run(&mut Team::serial(&mut scratch), n, &input, epilogue, &mut out).unwrap();
    }
}

#[test]
fn convolutions_stay_inside() {
    for class in classes() {
        let mut random = Random(11);
        for _ in 0..150 {
            let shape = random_shape(&mut random);
            convolve::<f32>(class, &shape, Algorithm::for_shape(&shape), &mut random);
            convolve::<Bf16>(class, &shape, Algorithm::for_shape(&shape), &mut random);
        }
    }
}

#[test]
fn wide_depthwise_convolutions_stay_inside() {
    for class in classes() {
        let mut random = Random(15);
        for _ in 0..40 {
            let kernel = random.pick(&[3, 5]);
            let window = Window::square(kernel).stride(random.range(1, 2));
            let window = window.padding(Border::uniform(random.range(0, 2)));
            let shape = Conv2dShape::depthwise(
                [6, random.range(13, 33)],
                random.pick(&[3, 8, 16, 19, 40]),
                window,
            );
            convolve::<f32>(class, &shape, Algorithm::Depthwise, &mut random);
            convolve::<Bf16>(class, &shape, Algorithm::Depthwise, &mut random);
        }
    }
}

#[test]
fn winograd_stays_inside() {
    for class in classes() {
        let mut random = Random(14);
        for _ in 0..40 {
            let window = Window::square(3).padding(Border::uniform(random.range(0, 2)));
            let input = [random.range(3, 9), random.range(3, 9)];
            let channels = [1, 5, 16, 24, 40];
            let shape =
                Conv2dShape::new(input, random.pick(&channels), random.pick(&channels), window);
            convolve::<f32>(class, &shape, Algorithm::WinogradF2, &mut random);
            convolve::<f32>(class, &shape, Algorithm::WinogradF4, &mut random);
            convolve::<Bf16>(class, &shape, Algorithm::WinogradF4, &mut random);
        }
    }
}

fn pixels<E: Element>(class: KernelClass, shape: &Conv2dShape, random: &mut Random) {
    let weights = random.values(shape.filter_len());
    let channels = shape.in_channels;
    let (mean, std) = (vec![0.4; channels], vec![0.2; channels]);
    let filter = PixelFilter::<E>::pack(class, shape, &weights, None, &mean, &std).unwrap();
    let pixels = random.pixels(shape.input_len());
    let len = shape.output_len().unwrap();
    for at_end in [false, true] {
        let pixels = Guarded::new(&pixels, at_end);
        let mut out = Guarded::new(&vec![E::default(); len], at_end);
        let mut scratch = Guarded::new(&vec![0.0; filter.scratch_len()], at_end);
        filter
            .run(&mut Team::serial(&mut scratch), 1, &pixels, Some(Activation::Relu6), &mut out)
            .unwrap();
    }
}

#[test]
fn convolutions_of_pixels_stay_inside() {
    for class in classes() {
        let mut random = Random(12);
        for _ in 0..40 {
            let kernel = random.pick(&[1, 3, 7]);
            let padding = Border::uniform(random.range(0, kernel / 2));
            let window = Window::square(kernel).stride(random.range(1, 2)).padding(padding);
            let input = [random.range(7, 25), random.range(7, 25)];
            let shape =
                Conv2dShape::new(input, random.range(1, 3), random.pick(&[1, 16, 40]), window);
            pixels::<f32>(class, &shape, &mut random);
            pixels::<Bf16>(class, &shape, &mut random);
        }
    }
}

#[test]
fn layer_norms_stay_inside() {
    fn check<E: Element>(class: KernelClass, random: &mut Random) {
        let (rows, channels) = (random.range(1, 40), random.range(1, 40));
        let norm = LayerNorm::new(class, &random.values(channels), &random.values(channels), 1e-6)
            .unwrap();
        let input = round::<E>(&random.values(rows * channels));
        for at_end in [false, true] {
            let input = Guarded::new(&input, at_end);
            let mut out = Guarded::new(&vec![E::default(); rows * channels], at_end);
            norm.run(&mut Team::serial(&mut []), rows, &input, &mut out).unwrap();
        }
    }
    for class in classes() {
        let mut random = Random(14);
        for _ in 0..40 {
            check::<f32>(class, &mut random);
            check::<Bf16>(class, &mut random);
        }
    }
}

#[test]
fn pools_stay_inside() {
    fn check<E: Element>(class: KernelClass, random: &mut Random) {
        let channels = random.pick(&[1, 3, 8, 16, 21]);
        let window = Window::square(3).stride(2).padding(Border::uniform(random.range(0, 1)));
        let pool = Pool::new(class, PoolKind::Max, [6, 5], channels, window).unwrap();
        let [oh, ow] = pool.output();
        let input = round::<E>(&random.values(30 * channels));
        for at_end in [false, true] {
            let input = Guarded::new(&input, at_end);
            let mut out = Guarded::new(&vec![E::default(); oh * ow * channels], at_end);
            pool.run(&mut Team::serial(&mut []), 1, &input, &mut out).unwrap();
            let mut mean = Guarded::new(&vec![0.0; channels], at_end);
            global_average_pool(
                class,
                &mut Team::serial(&mut []),
                1,
                [30, channels],
                &input,
                &mut mean,
            )
            .unwrap();
        }
    }
    for class in classes() {
        let mut random = Random(13);
        for _ in 0..20 {
            check::<f32>(class, &mut random);
            check::<Bf16>(class, &mut random);
        }
    }
}
