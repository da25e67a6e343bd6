//! `taper serve`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use taper_core::{AnyFault, Precision};
use taper_model::OpenOptions;
use taper_run::{Session, model_file, open_classifier};
use taper_serve::{ServeOptions, Server, Source};

use crate::{
    args::ComputeArgs,
    export::name_of,
    output::{Status, answer_json, answer_line, in_line},
};

/// How often a request to end is looked for.
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// The models: run folders, or the model.safetensors in them; each is called what its folder is
    /// called, or NAME with NAME=MODEL. The first one answers requests that name none.
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<PathBuf>,
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
    #[arg(long, value_name = "TIME")]
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
    #[arg(long, value_name = "TIME")]
    timeout: Option<humantime::Duration>,
    /// The precision of the networks: f32 or bf16; on CUDA also f16 or tf32 [default: the one they
    /// were trained with; on the CPU f32 instead of f16 and tf32].
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Precision>,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Say where it listens with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Print only warnings and where it listens.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl ServeArgs {
    fn options(&self) -> ServeOptions {
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

/// A model as it was given: `NAME=MODEL`, or a path, which may have an = in it.
fn source(given: &Path) -> anyhow::Result<Source> {
    let named = given.to_str().filter(|_| !given.exists()).and_then(|text| text.split_once('='));
    let (name, path) = match named {
        Some((name, path)) => (name.to_owned(), Path::new(path)),
        None => (name_of(given), given),
    };
    Ok(Source { name, path: model_file(path)? })
}

pub(crate) fn serve(args: &ServeArgs, session: &Session) -> anyhow::Result<Status> {
    let options = args.options().check()?;
    let models = args.models.iter().map(|given| source(given)).collect::<anyhow::Result<_>>()?;
    let (device, opening) = (
        args.compute.device,
        OpenOptions { precision: args.precision, kernels: args.compute.kernels },
    );
    let quiet = session.muted();
    let opener = Arc::new(move |path: &Path| {
        open_classifier(path, device, &opening, &quiet).map_err(AnyFault::new)
    });
    let server = Server::bind(models, opener, &options)?;
    let address = server.address();
    if !address.ip().is_loopback() {
        session.progress().warn(&format!(
            "{address} can be reached from other machines, and there is no authentication: put a proxy in front that has one, or listen on 127.0.0.1"
        ));
    }
    if args.json {
        answer_json(&json!({ "address": format!("http://{address}"), "models": server.models() }))?;
    } else {
        for (at, name) in server.models().into_iter().enumerate() {
            let about = if at == 0 { ", for requests that name no model" } else { "" };
            answer_line(&format!("model         {}{about}", in_line(name)))?;
        }
        // What stands for all addresses of the machine cannot be opened itself.
        let here = match address.ip().is_unspecified() {
            true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
            false => address,
        };
        answer_line(&format!("page          http://{here}/"))?;
        answer_line(&format!(
            "classify      curl --data-binary @picture.jpg http://{here}/predict"
        ))?;
        session.progress().say("Ctrl-C ends it, once the requests that it has are answered");
    }
    let stop = server.stop_handle();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !session.interrupted() && !done.load(std::sync::atomic::Ordering::Relaxed) {
                std::thread::sleep(POLL);
            }
            stop.stop();
        });
        server.run();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    Ok(Status::Done)
}
