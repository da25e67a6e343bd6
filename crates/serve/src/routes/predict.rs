//! `POST /predict`: a picture as the body, or several as a form.

use axum::{
    body::Bytes,
    extract::{FromRequest, Multipart, Query, Request, State, rejection::QueryRejection},
    http::header,
    response::Response,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use taper_model::Prediction;

use super::{
    App, Refusal,
    answer::{json_response, too_large},
};
use crate::{
    batcher::{Answer, NotTaken, Picture},
    models::Model,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The model; the first one without it.
    model: Option<String>,
    /// How many classes to name, most probable first; all without it.
    top: Option<usize>,
}

pub(super) async fn predict(
    State(app): State<App>,
    asked: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let Query(asked) = asked.map_err(|error| Refusal::bad(error.body_text()))?;
    let model = app.model(asked.model.as_deref())?;
    let form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/form-data"));
    if form {
        return of_form(&app, model, &asked, request).await;
    }
    let body = Bytes::from_request(request, &()).await?;
    let answer = classified(model, Picture::File(body)).await?;
    let version = answer.version;
    let mut object = described(&answer.prediction?, asked.top);
    object.insert("model".into(), model.source.name.as_str().into());
    object.insert("version".into(), version.into());
    Ok(json_response(&Value::Object(object)))
}

/// Each file of a form gets its own answer, or its own error.
async fn of_form(
    app: &App,
    model: &Model,
    asked: &Asked,
    request: Request,
) -> Result<Response, Refusal> {
    let bad = |error: axum::extract::multipart::MultipartError| match error.status() {
        axum::http::StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Refusal::bad(format!("the form cannot be read: {}", error.body_text())),
    };
    let mut form = Multipart::from_request(request, app)
        .await
        .map_err(|error| Refusal::bad(error.body_text()))?;
    let mut waiting = Vec::new();
    while let Some(field) = form.next_field().await.map_err(bad)? {
        let name = field.file_name().or(field.name()).unwrap_or_default().to_owned();
        let bytes = field.bytes().await.map_err(bad)?;
        waiting.push((name, model.queue.add(Picture::File(bytes))?));
    }
    if waiting.is_empty() {
        return Err(Refusal::bad("the form has no file"));
    }
    let mut predictions = Vec::new();
    for (name, answer) in waiting {
        let answer = answer.await.map_err(|_| NotTaken::Failed)?;
        let mut object = match answer.prediction {
            Ok(prediction) => described(&prediction, asked.top),
            Err(error) => {
                let error = Refusal::from(error);
                Map::from_iter([("error".to_owned(), error.reason().into())])
            }
        };
        object.insert("file".into(), name.into());
        predictions.push(Value::Object(object));
    }
    Ok(json_response(&json!({ "model": model.source.name, "predictions": predictions })))
}

/// Waits for the answer about a picture.
pub(super) async fn classified(model: &Model, picture: Picture) -> Result<Answer, Refusal> {
    let answer = model.queue.add(picture)?;
    answer.await.map_err(|_| NotTaken::Failed.into())
}

/// A prediction as an object, as `taper predict --json` has it.
fn described(prediction: &Prediction, top: Option<usize>) -> Map<String, Value> {
    let mut ranked: Vec<&(String, f64)> = prediction.probabilities.iter().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(top.unwrap_or(usize::MAX));
    let probabilities: Map<String, Value> =
        ranked.into_iter().map(|(label, p)| (label.clone(), json!(p))).collect();
    let mut object = Map::from_iter([
        ("label".to_owned(), json!(prediction.label)),
        ("probability".to_owned(), json!(prediction.probability)),
        ("probabilities".to_owned(), Value::Object(probabilities)),
    ]);
    if let (Some(unfamiliar), Some(distance)) = (prediction.unfamiliar, prediction.distance) {
        object.insert("unfamiliar".into(), unfamiliar.into());
        object.insert("distance".into(), json!(distance));
    }
    object
}
