//! Milliseconds and GFLOP/s of forward pass, data gradient and weight gradient of every
//! convolution of a network, and how much longer than the forward pass all three take.
//!
//! `cargo run --release -p taper-backward --example gradients --
//! [resnet50|vgg16|efficientnet_lite0|mobilenet_v2] [batch] [auto|avx512|avx2|portable] [threads]
//! [size]`
//!
//! FLOPs are those of the direct convolution, whatever the algorithm; the best of several runs
//! counts. The first layer has no data gradient.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Instant;

use taper_backward::{DataGradient, Gradients, WeightGradient};
use taper_graph::{Graph, Op, Shape};
use taper_kernels::{
    Activation, AlignedBuffer, Border, Conv2dShape, Epilogue, KernelClass, Kernels, PackedFilter,
    Team, Window,
};
use taper_networks as networks;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A shape, whether it is the first layer's, and how often the network has it.
struct Layer {
    shape: Conv2dShape,
    first: bool,
    count: usize,
}

fn layers(graph: &Graph, size: usize) -> Result<Vec<Layer>> {
    let shapes = graph.shapes(size, size)?;
    let mut layers: Vec<Layer> = Vec::new();
    for node in graph.nodes() {
        let Op::Conv2d(conv) = node.op else { continue };
        let Shape::Map { height, width, .. } = shapes[node.inputs[0]] else { continue };
        let amounts = |n| conv.padding.amounts(n, conv.kernel, conv.stride, conv.dilation);
        let ((top, bottom), (left, right)) = (amounts(height), amounts(width));
        let window = Window::square(conv.kernel)
            .stride(conv.stride)
            .dilation(conv.dilation)
            .padding(Border { top, bottom, left, right });
        let shape = Conv2dShape {
            groups: conv.groups,
            ..Conv2dShape::new([height, width], conv.in_channels, conv.out_channels, window)
        };
        match layers.iter_mut().find(|layer| layer.shape == shape) {
            Some(layer) => layer.count += 1,
            None => layers.push(Layer { shape, first: conv.in_channels == 3, count: 1 }),
        }
    }
    Ok(layers)
}

fn values(len: usize, scale: f32) -> AlignedBuffer<f32> {
    let mut state = 1_u32;
    let mut buffer = AlignedBuffer::new(len);
    for value in buffer.iter_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value = scale * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0);
    }
    buffer
}

/// Seconds, the best of several runs.
fn time(flops: f64, mut run: impl FnMut()) -> f64 {
    run();
    // About 0.3 s at 100 GFLOP/s, at least two runs.
    let runs = ((3e10 / flops) as usize).clamp(2, 100);
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

/// Seconds of forward pass, data gradient, weight gradient, and of packing the filters anew for the
/// first two.
fn bench(layer: &Layer, class: KernelClass, batch: usize) -> Result<[f64; 4]> {
    let shape = &layer.shape;
    let flops = shape.flops()? as f64 * batch as f64;
    let threads = rayon::current_num_threads();
    let weights = values(shape.filter_len(), 0.05);
    let input = values(batch * shape.input_len(), 1.0);
    let mut output = values(batch * shape.output_len()?, 1.0);

    let mut filter = PackedFilter::<f32>::pack(class, shape, &weights, None)?;
    let mut scratch = AlignedBuffer::new(threads * filter.scratch_len());
    let forward = time(flops, || {
        let team = &mut Team::current(&mut scratch);
        let epilogue = Epilogue::activation(Activation::Relu);
        filter.run(team, batch, &input, epilogue, &mut output).expect("shapes fit");
    });

    let mut packing = time(1e10, || {
        filter.repack(&mut Team::current(&mut []), &weights, None).expect("shapes fit");
    });

    let mut data = 0.0;
    if !layer.first {
        let mut kernel = DataGradient::new(class, shape, &weights)?;
        let mut scratch = AlignedBuffer::new(threads * kernel.scratch_len());
        let mut out = AlignedBuffer::new(input.len());
        let epilogue = Epilogue { mask: Some(&input), ..Epilogue::activation(Activation::Relu) };
        data = time(flops, || {
            let team = &mut Team::current(&mut scratch);
            kernel.run(team, batch, &output, epilogue, &mut out).expect("shapes fit");
        });
        packing += time(1e10, || {
            kernel.repack(&mut Team::current(&mut []), &weights).expect("shapes fit");
        });
    }

    let kernel = WeightGradient::new(class, shape)?;
    let mut scratch = AlignedBuffer::new(threads * kernel.scratch_len());
    let mut shared = AlignedBuffer::new(kernel.shared_len(batch)?);
    let (mut gradient, mut bias) = (weights.clone(), vec![0.0; shape.out_channels]);
    let weights = time(flops, || {
        let team = &mut Team::current(&mut scratch);
        let into = Gradients { weights: &mut gradient, bias: Some(&mut bias), accumulate: false };
        kernel.run(team, &mut shared, batch, &input, &output, into).expect("shapes fit");
    });
    Ok([forward, data, weights, packing])
}

fn run(layers: &[Layer], class: KernelClass, batch: usize) -> Result<()> {
    println!("     forward          data          weights       ratio  packing");
    println!("    ms GFLOP/s     ms GFLOP/s     ms GFLOP/s                ms");
    let mut total = [0.0; 4];
    for layer in layers {
        let seconds = bench(layer, class, batch)?;
        let flops = layer.shape.flops()? as f64 * batch as f64;
        for (total, seconds) in total.iter_mut().zip(seconds) {
            *total += seconds * layer.count as f64;
        }
        let columns = [0, 1, 2].map(|i| {
            let s: f64 = seconds[i];
            let rate = if s > 0.0 { flops / s / 1e9 } else { 0.0 };
            format!("{:>7.2} {rate:>6.0}", s * 1e3)
        });
        let ratio = seconds[..3].iter().sum::<f64>() / seconds[0];
        let packing = seconds[3] * 1e3;
        println!(
            "{} {ratio:>6.2} {packing:>8.2}  × {} {}",
            columns.join(" "),
            layer.count,
            layer.shape
        );
    }
    let ratio = total[..3].iter().sum::<f64>() / total[0];
    let [forward, data, weights, packing] = total.map(|s| s * 1e3);
    println!(
        "forward {forward:.1} ms, data {data:.1} ms, weights {weights:.1} ms, all / forward \
         {ratio:.2}; packing filters {packing:.1} ms"
    );
    Ok(())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg =
        |i: usize, default: &str| args.get(i).map_or_else(|| default.to_owned(), String::clone);
    let graph = match arg(0, "resnet50").as_str() {
        "resnet50" => networks::resnet50(0),
        "vgg16" => networks::vgg16(0),
        "efficientnet_lite0" => networks::efficientnet_lite0(0),
        "mobilenet_v2" => networks::mobilenet_v2(0),
        other => return Err(format!("unknown network {other}").into()),
    };
    let batch = arg(1, "8").parse()?;
    let class = arg(2, "auto").parse::<Kernels>()?.resolve()?;
    let threads = arg(3, "0").parse()?;
    let layers = layers(&graph, arg(4, "224").parse()?)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(|| run(&layers, class, batch))
}
