//! Connections: accepted, limited in number and time, and brought to an end.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use crate::{metrics::Metrics, options::ServeOptions};

/// How long a client may take to send the head of a request. A connection without requests is
/// closed after it, too.
const HEAD: Duration = Duration::from_secs(15);
/// After an error of the operating system, such as too many open files, for others to end.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until `stop` says so, then finishes what was begun.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    options: &ServeOptions,
    metrics: &Metrics,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(options.connections));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD.min(options.timeout));
    let take = |stream: TcpStream| {
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::debug!("a connection was refused: {} are open", options.connections);
            return;
        };
        // Answers are small and should go out at once.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        let open = metrics.connections.clone();
        open.inc();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended: {error}");
            }
            open.dec();
            drop(place);
        });
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => take(stream),
                Err(error) => {
                    tracing::warn!("a connection cannot be accepted: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    // Those that had connected before the end was asked for.
    while let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        take(stream);
    }
    drop(listener);
    // No request takes longer than that.
    if tokio::time::timeout(options.timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections were cut: their requests took too long");
    }
}

/// Allows as many open files as the system lets a process have: each connection is one.
pub(crate) fn raise_limit_of_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        if limit.current != limit.maximum {
            limit.current = limit.maximum;
            if let Err(error) = setrlimit(Resource::Nofile, limit) {
                tracing::debug!("the limit of open files stays as it is: {error}");
            }
        }
    }
}
