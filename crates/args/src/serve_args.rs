//! What is served.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use taper_core::Precision;
use taper_serve::ServeOptions;

use crate::{ComputeArgs, time::time};

/// The arguments of `taper serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// The models: run folders, or the model.safetensors in them; each is called what its folder is
    /// called, or NAME with NAME=MODEL. The first one answers requests that name none.
    #[arg(required = true, value_name = "MODEL")]
    pub models: Vec<PathBuf>,
    /// Where to listen, with a port, 0 for a free one; 0.0.0.0:8080 for other machines too, which
    /// anyone can then use: there is no authentication.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        value_parser = address_of
    )]
    address: SocketAddr,
    /// How many pictures go through the network together at most [default: 8].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// How long pictures wait for others to make up a batch, e.g. 5ms, at most 1s; a few
    /// milliseconds may help on a GPU [default: 0s].
    #[arg(long, value_name = "TIME", value_parser = time)]
    delay: Option<humantime::Duration>,
    /// How many pictures may wait for each model; beyond that, requests get status 503 [default:
    /// 256].
    #[arg(long, value_name = "N")]
    queue: Option<usize>,
    /// The largest body of a request in MiB, up to 1024 [default: 16].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_body: Option<u32>,
    /// The largest number of pixels of a picture [default: 40000000].
    #[arg(long, value_name = "N")]
    max_pixels: Option<u64>,
    /// How long a request may take, 100ms to 1h [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<humantime::Duration>,
    /// The precision of the networks: f32 or bf16; on CUDA also f16 or tf32 [default: the one they
    /// were trained with; on the CPU f32 instead of f16 and tf32].
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<Precision>,
    /// Where and how they compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Say where it listens with one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// Print only warnings and where it listens.
    #[arg(long, short)]
    pub quiet: bool,
}

impl ServeArgs {
    /// The settings of the server.
    pub fn options(&self) -> ServeOptions {
        let own = ServeOptions::default();
        ServeOptions {
            address: self.address,
            batch: self.batch.unwrap_or(own.batch),
            delay: self.delay.map_or(own.delay, Into::into),
            queue: self.queue.unwrap_or(own.queue),
            max_body: self.max_body.map_or(own.max_body, |mebibytes| (mebibytes as usize) << 20),
            max_pixels: self.max_pixels.unwrap_or(own.max_pixels),
            timeout: self.timeout.map_or(own.timeout, Into::into),
            connections: own.connections,
        }
    }
}

/// An address with a port, by number or by name.
fn address_of(text: &str) -> Result<SocketAddr, String> {
    let advice = "use an address with a port, such as 127.0.0.1:8080, localhost:8080 or [::1]:8080";
    let found = text.to_socket_addrs().map_err(|_| advice.to_owned())?;
    found.into_iter().next().ok_or_else(|| advice.to_owned())
}
