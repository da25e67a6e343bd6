//! Figures for Prometheus.

use std::{fmt, sync::Arc};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Requests {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfModel {
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reloads {
    model: String,
    outcome: &'static str,
}

/// All figures of a server.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    requests: Family<Requests, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    pub(crate) connections: Gauge,
    pictures: Family<OfModel, Counter>,
    refused: Family<OfModel, Counter>,
    waiting: Family<OfModel, Gauge>,
    batches: Family<OfModel, Histogram, fn() -> Histogram>,
    classifying: Family<OfModel, Histogram, fn() -> Histogram>,
    reloads: Family<Reloads, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// The figures of one model.
#[derive(Debug, Clone)]
pub(crate) struct ModelMetrics {
    /// Pictures that were classified.
    pub(crate) pictures: Counter,
    /// Pictures that were refused since too many waited.
    pub(crate) refused: Counter,
    /// Pictures that wait.
    pub(crate) waiting: Gauge,
    /// Pictures that were classified together.
    pub(crate) batches: Histogram,
    /// Seconds that a batch took.
    pub(crate) seconds: Histogram,
}

/// From 1 ms to 33 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

/// From 1 to 256.
fn sizes() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 9))
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("taper");
        let requests = Family::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        let of_routes: Family<_, _, fn() -> Histogram> = Family::new_with_constructor(seconds);
        registry.register(
            "http_request_duration_seconds",
            "From a request's head to its answer",
            of_routes.clone(),
        );
        let connections = Gauge::default();
        registry.register("connections", "Open connections", connections.clone());
        let pictures = Family::default();
        registry.register("pictures", "Pictures classified", pictures.clone());
        let refused = Family::default();
        let help = "Pictures refused since too many were waiting";
        registry.register("pictures_refused", help, refused.clone());
        let waiting = Family::default();
        registry.register("pictures_waiting", "Pictures waiting", waiting.clone());
        let batches: Family<_, _, fn() -> Histogram> = Family::new_with_constructor(sizes);
        registry.register("batch_pictures", "Pictures classified together", batches.clone());
        let classifying: Family<_, _, fn() -> Histogram> = Family::new_with_constructor(seconds);
        let help = "Decoding, preparing and classifying a batch";
        registry.register("batch_duration_seconds", help, classifying.clone());
        let reloads = Family::default();
        registry.register("reloads", "Replaced model files read again", reloads.clone());
        Self {
            registry: Arc::new(registry),
            requests,
            seconds: of_routes,
            connections,
            pictures,
            refused,
            waiting,
            batches,
            classifying,
            reloads,
        }
    }

    /// The figures of a model.
    pub(crate) fn of_model(&self, model: &str) -> ModelMetrics {
        let own = OfModel { model: model.into() };
        ModelMetrics {
            pictures: self.pictures.get_or_create(&own).clone(),
            refused: self.refused.get_or_create(&own).clone(),
            waiting: self.waiting.get_or_create(&own).clone(),
            batches: self.batches.get_or_create(&own).clone(),
            seconds: self.classifying.get_or_create(&own).clone(),
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, seconds: f64) {
        let (method, route) = (method.to_owned(), route.to_owned());
        self.seconds.get_or_create(&Route { route: route.clone() }).observe(seconds);
        self.requests.get_or_create(&Requests { method, route, status }).inc();
    }

    /// A replaced model file was taken over, or not.
    pub(crate) fn reloaded(&self, model: &str, taken: bool) {
        let outcome = if taken { "taken" } else { "refused" };
        self.reloads.get_or_create(&Reloads { model: model.into(), outcome }).inc();
    }

    /// All figures in the text format of OpenMetrics.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
