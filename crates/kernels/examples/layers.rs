//! GFLOP/s of every layer shape of ResNet-50 (256²), VGG-16 (224²) and EfficientNet-Lite0 (224²).
//!
//! `cargo run --release -p taper-kernels --example layers -- [resnet50|vgg16|lite0] [f32|bf16]
//! [batch] [auto|avx512|avx2|portable] [threads]`
//!
//! FLOPs are those of the direct convolution, whatever the algorithm; the best of several runs
//! counts.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Instant;

use taper_kernels::{
    Activation, AlignedBuffer, Bf16, Border, Conv2dShape, Element, Epilogue, KernelError, Kernels,
    PackedFilter, PixelFilter, Team, Window,
};

/// A layer: the shape, whether it reads pixels, and how often the network has it.
struct Layer {
    shape: Conv2dShape,
    pixels: bool,
    count: usize,
}

fn same(input: usize, kernel: usize, stride: usize) -> Window {
    let total = ((input.div_ceil(stride) - 1) * stride + kernel).saturating_sub(input);
    let before = total / 2;
    Window::square(kernel).stride(stride).padding(Border {
        top: before,
        bottom: total - before,
        left: before,
        right: total - before,
    })
}

fn conv(size: usize, cin: usize, cout: usize, kernel: usize, stride: usize, count: usize) -> Layer {
    Layer {
        shape: Conv2dShape::new([size; 2], cin, cout, same(size, kernel, stride)),
        pixels: false,
        count,
    }
}

fn depthwise(size: usize, channels: usize, kernel: usize, stride: usize, count: usize) -> Layer {
    Layer {
        shape: Conv2dShape::depthwise([size; 2], channels, same(size, kernel, stride)),
        pixels: false,
        count,
    }
}

fn stem(mut layer: Layer) -> Layer {
    layer.pixels = true;
    layer
}

fn resnet50() -> Vec<Layer> {
    let mut layers = vec![stem(conv(256, 3, 64, 7, 2, 1))];
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let (size, width) = (64 >> stage, 64 << stage);
        let out = 4 * width;
        if stage == 0 {
            layers.push(conv(size, 64, width, 1, 1, 1));
            layers.push(conv(size, 64, out, 1, 1, 1));
            layers.push(conv(size, width, width, 3, 1, blocks));
        } else {
            layers.push(conv(2 * size, out / 2, width, 1, 1, 1));
            layers.push(conv(2 * size, out / 2, out, 1, 2, 1));
            layers.push(conv(2 * size, width, width, 3, 2, 1));
            layers.push(conv(size, width, width, 3, 1, blocks - 1));
        }
        layers.push(conv(size, width, out, 1, 1, blocks));
        layers.push(conv(size, out, width, 1, 1, blocks - 1));
    }
    layers
}

fn vgg16() -> Vec<Layer> {
    vec![
        stem(conv(224, 3, 64, 3, 1, 1)),
        conv(224, 64, 64, 3, 1, 1),
        conv(112, 64, 128, 3, 1, 1),
        conv(112, 128, 128, 3, 1, 1),
        conv(56, 128, 256, 3, 1, 1),
        conv(56, 256, 256, 3, 1, 2),
        conv(28, 256, 512, 3, 1, 1),
        conv(28, 512, 512, 3, 1, 2),
        conv(14, 512, 512, 3, 1, 3),
    ]
}

fn lite0() -> Vec<Layer> {
    let mut layers = vec![
        stem(conv(224, 3, 32, 3, 2, 1)),
        depthwise(112, 32, 3, 1, 1),
        conv(112, 32, 16, 1, 1, 1),
    ];
    let (mut size, mut cin) = (112, 16);
    for (kernel, stride, cout, blocks) in [
        (3, 2, 24, 2),
        (5, 2, 40, 2),
        (3, 2, 80, 3),
        (5, 1, 112, 3),
        (5, 2, 192, 4),
        (3, 1, 320, 1),
    ] {
        let out = size / stride;
        layers.push(conv(size, cin, 6 * cin, 1, 1, 1));
        layers.push(depthwise(size, 6 * cin, kernel, stride, 1));
        layers.push(conv(out, 6 * cin, cout, 1, 1, 1));
        if blocks > 1 {
            layers.push(conv(out, cout, 6 * cout, 1, 1, blocks - 1));
            layers.push(depthwise(out, 6 * cout, kernel, 1, blocks - 1));
            layers.push(conv(out, 6 * cout, cout, 1, 1, blocks - 1));
        }
        (size, cin) = (out, cout);
    }
    layers.push(conv(7, 320, 1280, 1, 1, 1));
    layers
}

fn values(len: usize, scale: f32) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| scale * next()).collect()
}

fn time(layer: &Layer, batch: usize, run: &mut dyn FnMut()) -> Result<f64, KernelError> {
    run();
    let flops = layer.shape.flops()? as f64 * batch as f64;
    // About 0.15 s at 100 GFLOP/s, at least three runs.
    let runs = ((1.5e10 / flops) as usize).clamp(3, 200);
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn bench<E: Element>(
    layers: &[Layer],
    kernels: Kernels,
    batch: usize,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let class = kernels.resolve()?;
    let (mut total, mut total_flops) = (0.0, 0.0);
    for layer in layers {
        let shape = &layer.shape;
        let [oh, ow] = shape.output()?;
        let weights = values(
            shape.filter_len(),
            (shape.filter_len() as f32 / shape.out_channels as f32).powf(-0.5),
        );
        let mut out = AlignedBuffer::<E>::new(batch * oh * ow * shape.out_channels);
        let threads = rayon::current_num_threads();
        let (seconds, algorithm) = if layer.pixels {
            let filter =
                PixelFilter::<E>::pack(class, shape, &weights, None, &[0.485; 3], &[0.229; 3])?;
            let pixels: Vec<u8> =
                (0..batch * shape.input_len()).map(|i| (i * 7919 % 251) as u8).collect();
            let mut scratch = AlignedBuffer::new(threads * filter.scratch_len());
            let mut run = || {
                filter
                    .run(
                        &mut Team::current(&mut scratch),
                        batch,
                        &pixels,
                        Some(Activation::Relu),
                        &mut out,
                    )
                    .expect("shapes fit");
            };
            (time(layer, batch, &mut run)?, "pixels")
        } else {
            let filter = PackedFilter::<E>::pack(class, shape, &weights, None)?;
            let input = values(batch * shape.input_len(), 1.0);
            let mut aligned = AlignedBuffer::<E>::new(input.len());
            for (to, from) in aligned.iter_mut().zip(&input) {
                *to = E::from_f32(*from);
            }
            let mut scratch = AlignedBuffer::new(threads * filter.scratch_len());
            let mut run = || {
                filter
                    .run(
                        &mut Team::current(&mut scratch),
                        batch,
                        &aligned,
                        Epilogue::activation(Activation::Relu),
                        &mut out,
                    )
                    .expect("shapes fit");
            };
            (time(layer, batch, &mut run)?, filter.algorithm().name())
        };
        let flops = shape.flops()? as f64 * batch as f64;
        println!(
            "{:>8.1} GFLOP/s {:>8.3} ms × {}  {algorithm:<10} {shape}",
            flops / seconds / 1e9,
            seconds * 1e3,
            layer.count
        );
        total += seconds * layer.count as f64;
        total_flops += flops * layer.count as f64;
    }
    println!(
        "{:>8.1} GFLOP/s {:>8.1} pictures/s, convolutions only",
        total_flops / total / 1e9,
        batch as f64 / total
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg =
        |i: usize, default: &str| args.get(i).map_or_else(|| default.to_owned(), String::clone);
    let network = arg(0, "resnet50");
    let layers = match network.as_str() {
        "resnet50" => resnet50(),
        "vgg16" => vgg16(),
        "lite0" => lite0(),
        other => {
            return Err(
                format!("unknown network {other}: expected resnet50, vgg16 or lite0").into()
            );
        }
    };
    let batch = arg(2, "8").parse()?;
    let kernels: Kernels = arg(3, "auto").parse()?;
    let threads = arg(4, "0").parse()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let precision = arg(1, "f32");
    match precision.as_str() {
        "f32" => pool.install(|| bench::<f32>(&layers, kernels, batch))?,
        "bf16" => pool.install(|| bench::<Bf16>(&layers, kernels, batch))?,
        other => return Err(format!("unknown precision {other}: expected f32 or bf16").into()),
    }
    Ok(())
}
