//! The page, and what the server says of itself.

use std::sync::LazyLock;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    App, Refusal,
    answer::{asset, json_response},
};

static PAGE: LazyLock<String> = LazyLock::new(taper_browser::served_page);
const OPENAPI: &str = include_str!("../../assets/openapi.json");

pub(super) async fn page() -> Response {
    asset("text/html; charset=utf-8", PAGE.as_str())
}

pub(super) async fn openapi() -> Response {
    asset("application/json", OPENAPI)
}

/// The models with their classes, the first one being that of requests that name none.
pub(super) async fn models(State(app): State<App>) -> Response {
    let of = |model: &std::sync::Arc<crate::models::Model>| {
        let loaded = model.current();
        json!({
            "name": model.source.name,
            "version": loaded.version,
            "size": loaded.classifier.preprocessing().size,
            "classes": loaded.classifier.classes(),
        })
    };
    json_response(&Value::from(app.models().iter().map(of).collect::<Vec<_>>()))
}

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics().text()).into_response()
}

pub(super) async fn nowhere() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is nothing here: /openapi.json lists what there is")
}

pub(super) async fn no_such_method() -> Refusal {
    let reason = "this address does not take that method: /openapi.json lists what there is";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, reason)
}
