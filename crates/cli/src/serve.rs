//! `taper serve`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use taper_args::ServeArgs;
use taper_core::AnyFault;
use taper_model::OpenOptions;
use taper_run::{Session, model_file, open_classifier};
use taper_serve::{Server, Source};

use crate::{
    export::name_of,
    output::{Status, answer_json, answer_line, in_line},
};

/// How often a request to end is looked for.
const POLL: Duration = Duration::from_millis(20);

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
