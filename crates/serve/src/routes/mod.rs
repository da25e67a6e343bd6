//! What requests get, one file for each group of addresses.

mod about;
mod answer;
mod infer;
mod predict;

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State, rejection::BytesRejection},
    http::StatusCode,
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use tokio::sync::watch;
use tower_http::{limit::RequestBodyLimitLayer, timeout::TimeoutLayer};

pub(crate) use answer::Refusal;

use crate::{metrics::Metrics, models::Model, options::ServeOptions};

/// What all requests share.
#[derive(Debug, Clone)]
pub(crate) struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    models: Vec<Arc<Model>>,
    max_body: usize,
    metrics: Metrics,
    stopping: watch::Receiver<bool>,
}

impl App {
    pub(crate) fn new(
        models: Vec<Arc<Model>>,
        options: &ServeOptions,
        metrics: Metrics,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let max_body = options.max_body;
        Self(Arc::new(Inner { models, max_body, metrics, stopping }))
    }

    /// The refusal of a body that is too large.
    fn too_large(&self) -> Refusal {
        let most = self.0.max_body;
        let reason = format!("the body is larger than the {most} bytes that this server takes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
    }

    /// The refusal of a body that cannot be read.
    fn of_body(&self, rejection: &BytesRejection) -> Refusal {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => self.too_large(),
            _ => Refusal::bad("the body is malformed, or ended before its announced length"),
        }
    }

    pub(crate) fn models(&self) -> &[Arc<Model>] {
        &self.0.models
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Whether the server is ending.
    fn stopping(&self) -> bool {
        *self.0.stopping.borrow()
    }

    /// The model of this name; the first one without a name.
    fn model(&self, name: Option<&str>) -> Result<&Arc<Model>, Refusal> {
        let models = &self.0.models;
        let found = match name {
            None => models.first(),
            Some(name) => models.iter().find(|model| model.source.name == name),
        };
        found.ok_or_else(|| {
            let known: Vec<&str> = models.iter().map(|model| model.source.name.as_str()).collect();
            let name = name.unwrap_or_default();
            Refusal::new(
                StatusCode::NOT_FOUND,
                format!("there is no model '{name}': the models are {}", known.join(", ")),
            )
        })
    }
}

/// All addresses, within the limits.
pub(crate) fn router(app: App, options: &ServeOptions) -> Router {
    Router::new()
        .route("/", get(about::page))
        .route("/predict", post(predict::predict))
        .route("/models", get(about::models))
        .route("/metrics", get(about::metrics))
        .route("/openapi.json", get(about::openapi))
        .route("/v2", get(infer::server))
        .route("/v2/health/live", get(infer::live))
        .route("/v2/health/ready", get(infer::ready))
        .route("/v2/models/{model}", get(infer::model))
        .route("/v2/models/{model}/ready", get(infer::model_ready))
        .route("/v2/models/{model}/infer", post(infer::infer))
        .fallback(about::nowhere)
        .method_not_allowed_fallback(about::no_such_method)
        // One limit, with our own message.
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(options.max_body))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, options.timeout))
        .layer(middleware::from_fn_with_state(app.clone(), observed))
        .with_state(app)
}

/// Counts requests, and tells of them.
async fn observed(State(app): State<App>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = match request.method().as_str() {
        known @ ("GET" | "POST" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "PATCH") => known,
        _ => "other",
    }
    .to_owned();
    // Addresses that clients make up must not become figures of their own.
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = matched.unwrap_or_else(|| "other".into());
    let response = answer::worded(&app, next.run(request).await).await;
    let (status, seconds) = (response.status().as_u16(), start.elapsed().as_secs_f64());
    app.metrics().answered(&method, &route, status, seconds);
    tracing::info!(%method, %route, status, milliseconds = 1e3 * seconds, "request");
    response
}
