use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

use taper_core::OutOfRange;
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};

use crate::{
    CheckedOptions, Error, Result,
    connections::{raise_limit_of_files, serve},
    metrics::Metrics,
    models::{Model, Opener, Source, Stamp},
    options::ServeOptions,
    reload,
    routes::{App, router},
};

/// Threads that read and write; pictures are decoded and classified on rayon's.
const THREADS: usize = 2;

/// A server whose models are open and whose address is taken.
pub struct Server {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    options: ServeOptions,
    app: App,
    opener: Opener,
    /// What the files were when they were read.
    stamps: Vec<Option<Stamp>>,
    stop: watch::Sender<bool>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Ends a server from elsewhere: it answers what it has accepted, and no more.
#[derive(Debug, Clone)]
pub struct StopHandle(watch::Sender<bool>);

impl StopHandle {
    /// Asks the server to end.
    pub fn stop(&self) {
        // It may have ended already.
        let _ = self.0.send(true);
    }
}

impl Server {
    /// Opens the models and takes the address. The first model answers requests that name none.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is no model or two have one name, [`Error::Model`],
    /// [`Error::Listen`], [`Error::Start`].
    pub fn bind(models: Vec<Source>, opener: Opener, options: &CheckedOptions) -> Result<Self> {
        let options = options.options().clone();
        let mut names = BTreeMap::new();
        for source in &models {
            let unusable = |c: char| c.is_control() || c == '/';
            let (name, path) = (source.name.as_str(), source.path.display());
            if name.trim().is_empty() || matches!(name, "." | "..") || name.contains(unusable) {
                let remedy = format!("it is to be the name of '{path}' in addresses: NAME=MODEL");
                return Err(
                    OutOfRange::new("the name of a model", format!("{name:?}"), remedy).into()
                );
            }
            if let Some(other) = names.insert(&source.name, &source.path) {
                let remedy = format!(
                    "both '{}' and '{path}' are called that: give one of them another, NAME=MODEL",
                    other.display()
                );
                return Err(OutOfRange::new("the name of a model", name, remedy).into());
            }
        }
        if models.is_empty() {
            return Err(OutOfRange::new("model", "missing", "give at least one").into());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .thread_name("serve")
            .build()
            .map_err(Error::Start)?;
        let address = options.address;
        let listen = |source| Error::Listen { address, source };
        // Before the models are opened, which takes longer.
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let metrics = Metrics::new();
        let stamps = models.iter().map(|source| Stamp::of(&source.path).ok()).collect();
        let models = models
            .into_iter()
            .map(|source| Model::open(source, &opener, &options, &metrics))
            .collect::<Result<Vec<_>>>()?;
        let (stop, stopping) = watch::channel(false);
        let app = App::new(models, &options, metrics, stopping);
        raise_limit_of_files();
        Ok(Self { runtime, listener, address, options, app, opener, stamps, stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names of its models.
    pub fn models(&self) -> Vec<&str> {
        self.app.models().iter().map(|model| model.source.name.as_str()).collect()
    }

    /// A way to end it from elsewhere.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.stop.clone())
    }

    /// Answers requests until it is [asked to end](Self::stop_handle), and then what it has
    /// accepted until then.
    pub fn run(self) {
        let Self { runtime, listener, options, app, opener, stamps, stop, .. } = self;
        for (model, stamp) in app.models().iter().zip(stamps) {
            let (model, opener) = (Arc::clone(model), Arc::clone(&opener));
            let metrics = app.metrics().clone();
            runtime.spawn(reload::watch(model, stamp, opener, options.clone(), metrics));
        }
        let metrics = app.metrics().clone();
        let router = router(app, &options);
        runtime.block_on(serve(listener, router, &options, &metrics, stop.subscribe()));
        // A model that is being read again does not matter any more.
        runtime.shutdown_background();
    }
}
