//! `POST /predict`: a picture as the body, or several as a form.

use std::num::NonZeroUsize;

use axum::{
    body::Bytes,
    extract::{
        FromRequest, Multipart, Query, Request, State, multipart::MultipartError,
        rejection::QueryRejection,
    },
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use taper_model::{ActivationMap, Prediction};

use super::{App, Refusal, answer::json_response};
use crate::{
    batcher::{NotTaken, Picture},
    models::Model,
};

const FORM: &[u8] = b"multipart/form-data";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The model; the first one without it.
    model: Option<String>,
    /// How many classes to name, the most probable ones; all without it.
    top: Option<NonZeroUsize>,
    /// Whether to say where in the picture the network saw what speaks for the class.
    #[serde(default)]
    explain: bool,
}

impl Asked {
    fn picture(&self, content: Bytes) -> Picture {
        if self.explain { Picture::Explained(content) } else { Picture::File(content) }
    }
}

pub(super) async fn predict(
    State(app): State<App>,
    asked: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let Query(asked) = asked.map_err(|_| {
        Refusal::bad(
            "the address takes ?model=NAME, ?top=K, K from 1 on, ?explain=true, and nothing else",
        )
    })?;
    let model = app.model(asked.model.as_deref())?;
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    // Names of media types are compared without case.
    let form = kind.and_then(|kind| kind.get(..FORM.len()));
    if form.is_some_and(|kind| kind.eq_ignore_ascii_case(FORM)) {
        return of_form(&app, model, &asked, request).await;
    }
    let body = Bytes::from_request(request, &()).await.map_err(|error| app.of_body(&error))?;
    let answer = model.queue.add(asked.picture(body))?.await.map_err(|_| NotTaken::Failed)?;
    let version = answer.version;
    let mut object = described(&finite(answer.prediction?)?, asked.top, answer.map.as_ref());
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
    let bad = |error: MultipartError| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => app.too_large(),
        _ => Refusal::bad("the form is malformed, or ends before its last boundary"),
    };
    let mut form = Multipart::from_request(request, app)
        .await
        .map_err(|_| Refusal::bad("the type of the form has no boundary"))?;
    let (mut names, mut pictures) = (Vec::new(), model.queue.together());
    while let Some(field) = form.next_field().await.map_err(bad)? {
        let Some(name) = field.file_name().map(str::to_owned) else {
            let name = field.name().unwrap_or_default();
            return Err(Refusal::bad(format!(
                "the form's field '{name}' is no file: model and top belong into the address"
            )));
        };
        pictures.add(asked.picture(field.bytes().await.map_err(bad)?)).await?;
        names.push(name);
    }
    if names.is_empty() {
        return Err(Refusal::bad("the form has no file"));
    }
    let (mut predictions, mut failed) = (Vec::new(), Vec::new());
    for (name, answer) in names.into_iter().zip(pictures.answers().await?) {
        let prediction = answer.prediction.map_err(Refusal::from).and_then(finite);
        let mut object = match prediction {
            Ok(prediction) => described(&prediction, asked.top, answer.map.as_ref()),
            Err(error) => {
                let object = Map::from_iter([("error".to_owned(), error.reason().into())]);
                failed.push(error);
                object
            }
        };
        object.insert("file".into(), name.into());
        object.insert("version".into(), answer.version.into());
        predictions.push(Value::Object(object));
    }
    let mut answer = json!({ "model": model.source.name, "predictions": predictions });
    // Some that worked make it a success; none is what the first one is.
    let status = match failed.first() {
        Some(first) if failed.len() == predictions.len() => {
            answer["error"] = first.reason().into();
            first.status
        }
        _ => StatusCode::OK,
    };
    let mut response = json_response(&answer);
    *response.status_mut() = status;
    Ok(response)
}

/// Numbers that are none are no answer.
pub(super) fn finite(prediction: Prediction) -> Result<Prediction, Refusal> {
    match prediction.probability.is_finite() {
        true => Ok(prediction),
        false => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the model gives no numbers for this picture: some of its weights are damaged",
        )),
    }
}

/// A prediction as an object, as `taper predict --json` has it.
fn described(
    prediction: &Prediction,
    top: Option<NonZeroUsize>,
    map: Option<&ActivationMap>,
) -> Map<String, Value> {
    let mut ranked: Vec<&(String, f64)> = prediction.probabilities.iter().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(top.map_or(usize::MAX, NonZeroUsize::get));
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
    if let Some(map) = map {
        object.insert("map".into(), json!(map));
    }
    object
}
