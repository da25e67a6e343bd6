//! Benchmarks of Taper, alone or against its peers. `cargo xtask bench` builds and runs this;
//! `docs/performance.md` says how to read the results.
//!
//! Everything that is measured, Taper too, is a process of its own that is asked for one timed
//! burst of work at a time ([`protocol`]): nothing is loaded twice, and waiting processes are
//! stopped, so that only one computes ([`process`]). All take turns ([`rounds`]), and ratios are
//! taken within a round. A benchmark is a module like [`backbone`]: it says what its cases are,
//! which peers there are for each, and what the workers do.

mod backbone;
mod cuda;
mod data;
mod finetune;
mod head;
mod process;
mod protocol;
mod python;
mod rounds;
mod row;
mod serve;
mod tutorial;
mod web;

use clap::{Parser, Subcommand};

/// Measures Taper, alone or against its peers.
#[derive(Debug, Parser)]
#[command(name = "taper-bench")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pictures per second of the frozen backbones.
    Backbone(backbone::Options),
    /// Rows per second of training the tutorial's head on features in memory.
    Head(head::Options),
    /// Pictures per second of training a network's layers, from maps in memory.
    Finetune(finetune::Options),
    /// The same for `finetune`, as a worker.
    #[command(hide = true)]
    WorkFinetune,
    /// The whole tutorial: its time, and the accuracy of its recipe.
    Tutorial(tutorial::Options),
    /// Requests per second of `taper serve`, and how long they take at half of a peer's load.
    Serve(serve::Options),
    /// Pictures per second of exported models in Node.js and in Chromium.
    Web(web::Options),
    /// Pictures per second of the frozen backbones on a GPU.
    Cuda(cuda::Options),
    /// The same for `cuda`, as a worker.
    #[command(hide = true)]
    CudaWork,
    /// The other side of the pipe: works as requested on standard input.
    #[command(hide = true)]
    Work(backbone::WorkerOptions),
    /// The same for `head`.
    #[command(hide = true)]
    WorkHead,
    /// Pictures per second from files to batches.
    Data(data::Options),
    /// The same for `data`.
    #[command(hide = true)]
    DataWork(data::WorkerOptions),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Backbone(options) => backbone::run(&options),
        Command::Head(options) => head::run(&options),
        Command::Finetune(options) => finetune::run(&options),
        Command::WorkFinetune => finetune::work(),
        Command::Tutorial(options) => tutorial::run(&options),
        Command::Serve(options) => serve::run(&options),
        Command::Web(options) => web::run(&options),
        Command::Cuda(options) => cuda::run(&options),
        Command::CudaWork => cuda::work(),
        Command::Work(options) => backbone::work(&options),
        Command::WorkHead => head::work(),
        Command::Data(options) => data::run(&options),
        Command::DataWork(options) => data::work(&options),
    }
}
