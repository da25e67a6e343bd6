//! Milliseconds of the gradients that are not convolutions, beside their forward passes.
//!
//! `cargo run --release -p taper-backward --example others -- [batch] [auto|avx512|avx2|portable]
//! [threads]`
//!
//! Attention and norms have the sizes of ViT-Base at 224², maps those of ResNet-50's first block.
//! The best of several runs counts.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Instant;

use taper_backward::{
    Affine, AttentionGradient, BatchNorm, LayerNormGradient, NormParameters, Normalised,
    PoolGradient, activate, activation_gradient,
};
use taper_kernels::{
    Activation, AlignedBuffer, Attention, Border, Epilogue, KernelClass, Kernels, LayerNorm, Pool,
    PoolKind, Team, Window,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn values(len: usize) -> AlignedBuffer<f32> {
    let mut buffer = AlignedBuffer::new(len);
    for (i, value) in buffer.iter_mut().enumerate() {
        *value = (i * 7919 % 251) as f32 / 125.0 - 1.0;
    }
    buffer
}

fn time(mut run: impl FnMut()) -> f64 {
    run();
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    1e3 * best
}

fn report(name: &str, forward: f64, backward: f64) {
    println!("{name:<30} {forward:>8.2} ms {backward:>8.2} ms {:>6.2}", backward / forward);
}

fn attention(class: KernelClass, batch: usize) -> Result<()> {
    let (tokens, width, heads) = (197, 768, 12);
    let threads = rayon::current_num_threads();
    let input = values(batch * tokens * 3 * width);
    let mut out = AlignedBuffer::new(batch * tokens * width);
    let kernel = Attention::new(class, tokens, width, heads)?;
    let mut scratch = AlignedBuffer::new(threads * kernel.scratch_len());
    let forward = time(|| {
        kernel.run(&mut Team::current(&mut scratch), batch, &input, &mut out).expect("fits");
    });
    let kernel = AttentionGradient::new(class, tokens, width, heads)?;
    let mut scratch = AlignedBuffer::new(threads * kernel.scratch_len());
    let mut data = AlignedBuffer::new(input.len());
    let backward = time(|| {
        let team = &mut Team::current(&mut scratch);
        kernel.run(team, batch, &input, &out, &mut data).expect("fits");
    });
    report("attention 197 × 768, 12 heads", forward, backward);
    Ok(())
}

fn token_wise(class: KernelClass, batch: usize) -> Result<()> {
    let (rows, channels) = (batch * 197, 768);
    let input = values(rows * channels);
    let mut out = values(rows * channels);
    let (scale, bias) = (values(channels), values(channels));
    let (mut of_scale, mut of_bias) = (values(channels), values(channels));
    let norm = LayerNorm::new(class, &scale, &bias, 1e-6)?;
    let team = &mut Team::current(&mut []);
    let forward = time(|| norm.run(team, rows, &input, &mut out).expect("fits"));
    let norm = LayerNormGradient::new(class, channels, 1e-6)?;
    let mut shared = AlignedBuffer::new(norm.shared_len(rows));
    let backward = time(|| {
        let into = Affine { scale: &mut of_scale, bias: &mut of_bias, accumulate: false };
        norm.run(team, &mut shared, [&input, &scale], None, &mut out, into).expect("fits");
    });
    report("layer norm 197 × 768", forward, backward);

    let input = values(4 * rows * channels);
    let mut out = values(input.len());
    let gelu = Activation::Gelu;
    let forward = time(|| activate(class, team, gelu, &input, &mut out).expect("fits"));
    let backward = time(|| {
        activation_gradient(class, team, gelu, &input, &mut out).expect("fits");
    });
    report("GELU 197 × 3072", forward, backward);
    Ok(())
}

fn maps(class: KernelClass, batch: usize) -> Result<()> {
    let (rows, channels) = (batch * 56 * 56, 256);
    let input = values(rows * channels);
    let (mut out, mut gradient) = (values(input.len()), values(input.len()));
    let (scale, bias) = (values(channels), values(channels));
    let (mut mean, mut variance) = (values(channels), values(channels));
    let (mut of_scale, mut of_bias) = (values(channels), values(channels));
    let norm = BatchNorm::new(class, channels, 1e-5)?;
    let mut shared = AlignedBuffer::new(norm.shared_len(rows));
    let team = &mut Team::current(&mut []);
    let forward = time(|| {
        norm.statistics(team, &mut shared, &input, &mut mean, &mut variance).expect("fits");
        let parameters =
            NormParameters { mean: &mean, variance: &variance, scale: &scale, bias: &bias };
        let epilogue = Epilogue::activation(Activation::Relu);
        norm.run(team, &mut shared, &input, &parameters, epilogue, &mut out).expect("fits");
    });
    let parameters =
        NormParameters { mean: &mean, variance: &variance, scale: &scale, bias: &bias };
    let mask = Some((Activation::Relu, &*out));
    let of = Normalised { input: &input, parameters, fixed: false, mask };
    let backward = time(|| {
        let into = Affine { scale: &mut of_scale, bias: &mut of_bias, accumulate: false };
        norm.gradient(team, &mut shared, &of, &mut gradient, into, None).expect("fits");
    });
    report("batch norm, ReLU 56² × 256", forward, backward);

    let window = Window::square(3).stride(2).padding(Border::uniform(1));
    let input = values(batch * 112 * 112 * 64);
    let mut pooled = values(batch * 56 * 56 * 64);
    let mut data = AlignedBuffer::new(input.len());
    let pool = Pool::new(class, PoolKind::Max, [112, 112], 64, window)?;
    let forward = time(|| pool.run(team, batch, &input, &mut pooled).expect("fits"));
    let pool = PoolGradient::new(class, PoolKind::Max, [112, 112], 64, window)?;
    let backward = time(|| {
        let epilogue = Epilogue { mask: Some(&input), ..Epilogue::activation(Activation::Relu) };
        pool.run(team, batch, &input, &pooled, epilogue, &mut data).expect("fits");
    });
    report("max pool 3 × 3 / 2, 112² × 64", forward, backward);
    Ok(())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg =
        |i: usize, default: &str| args.get(i).map_or_else(|| default.to_owned(), String::clone);
    let batch = arg(0, "8").parse()?;
    let class = arg(1, "auto").parse::<Kernels>()?.resolve()?;
    let threads = arg(2, "0").parse()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    println!("{:<30} {:>11} {:>11}  ratio", "", "forward", "backward");
    pool.install(|| {
        attention(class, batch)?;
        token_wise(class, batch)?;
        maps(class, batch)
    })
}
