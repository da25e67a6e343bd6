//! The Open Inference Protocol, version 2:
//! `specification/protocol/open_inference_rest.yaml` of `kserve/open-inference-protocol`.

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use taper_model::Prediction;

use super::{App, Refusal, answer::json_response, predict::finite};
use crate::{batcher::Picture, models::Loaded};

/// The names of inputs and outputs.
const PIXELS: &str = "pixels";
const IMAGE: &str = "image";
const PROBABILITIES: &str = "probabilities";
const LABEL: &str = "label";
const UNFAMILIAR: &str = "unfamiliar";

pub(super) async fn server() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    json_response(&json!({ "name": "taper", "version": version, "extensions": [] }))
}

pub(super) async fn live() -> Response {
    json_response(&json!({ "live": true }))
}

/// Not ready any more once it is ending, so that balancers send no new requests.
pub(super) async fn ready(State(app): State<App>) -> Response {
    let ready = !app.stopping();
    let mut response = json_response(&json!({ "ready": ready }));
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

pub(super) async fn model_ready(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    app.model(Some(&name))?;
    Ok(json_response(&json!({ "name": name, "ready": true })))
}

pub(super) async fn model(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let loaded = app.model(Some(&name))?.current();
    let size = loaded.classifier.preprocessing().size;
    let classes = loaded.classifier.classes().len();
    let port = |name: &str, datatype: &str, shape: Value| json!({ "name": name, "datatype": datatype, "shape": shape });
    Ok(json_response(&json!({
        "name": name,
        "platform": "taper",
        "inputs": [
            port(PIXELS, "UINT8", json!([-1, size, size, 3])),
            port(IMAGE, "BYTES", json!([-1])),
        ],
        "outputs": [
            port(PROBABILITIES, "FP64", json!([-1, classes])),
            port(LABEL, "BYTES", json!([-1])),
            port(UNFAMILIAR, "BOOL", json!([-1])),
        ],
        "parameters": { "labels": loaded.classifier.classes() },
    })))
}

#[derive(Debug, Deserialize)]
struct InferRequest {
    id: Option<String>,
    inputs: Vec<Tensor>,
    #[serde(default)]
    outputs: Vec<Wanted>,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    data: Value,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    name: String,
}

pub(super) async fn infer(
    State(app): State<App>,
    Path(name): Path<String>,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Refusal> {
    let model = app.model(Some(&name))?;
    let body = body.map_err(|error| app.of_body(&error))?;
    let request: InferRequest = serde_json::from_slice(&body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Refusal::bad(format!(
            "the request is not one of the Open Inference Protocol in JSON (line {line}, column {column}): /openapi.json describes it"
        ))
    })?;
    drop(body);
    let wanted: Vec<&str> = request.outputs.iter().map(|wanted| wanted.name.as_str()).collect();
    let known = [PROBABILITIES, LABEL, UNFAMILIAR];
    if let Some(other) = wanted.iter().find(|name| !known.contains(name)) {
        let known = known.join(", ");
        return Err(Refusal::bad(format!("there is no output '{other}': there are {known}")));
    }
    let [input] = &request.inputs[..] else {
        let given = request.inputs.len();
        return Err(Refusal::bad(format!("give one input, {PIXELS} or {IMAGE}, not {given}")));
    };
    let mut waiting = model.queue.together();
    for picture in pictures(input, &model.current())? {
        waiting.add(picture).await?;
    }
    let (mut predictions, mut version) = (Vec::new(), 0);
    for (at, answer) in waiting.answers().await?.into_iter().enumerate() {
        version = answer.version;
        let prediction = answer.prediction.map_err(Refusal::from).and_then(finite);
        predictions.push(prediction.map_err(|refusal| refusal.of_picture(at))?);
    }
    let outputs = outputs(&predictions, &wanted);
    let mut answer = json!({
        "model_name": name,
        "model_version": version.to_string(),
        "outputs": outputs,
    });
    if let Some(id) = request.id {
        answer["id"] = id.into();
    }
    Ok(json_response(&answer).into_response())
}

impl Refusal {
    /// The same, with the place of the picture that it is about.
    fn of_picture(self, at: usize) -> Self {
        let Self { status, reason } = self;
        Self { status, reason: format!("picture {at}: {reason}") }
    }
}

/// The pictures of an input.
fn pictures(input: &Tensor, loaded: &Loaded) -> Result<Vec<Picture>, Refusal> {
    let wrong = |kind: &str, shape: &str| {
        Refusal::bad(format!(
            "the input {} is {} {:?}: it should be {kind} {shape}",
            input.name, input.datatype, input.shape
        ))
    };
    let size = loaded.classifier.preprocessing().size as usize;
    match input.name.as_str() {
        PIXELS => {
            let shape = format!("[n, {size}, {size}, 3]");
            let [n, height, width, 3] = input.shape[..] else { return Err(wrong("UINT8", &shape)) };
            if input.datatype != "UINT8" || [height, width] != [size; 2] || n == 0 {
                return Err(wrong("UINT8", &shape));
            }
            let each = size * size * 3;
            let mut pixels = Vec::with_capacity(each.min(1 << 24));
            flattened(&input.data, &mut pixels)?;
            if Some(pixels.len()) != each.checked_mul(n) {
                let has = pixels.len();
                return Err(Refusal::bad(format!(
                    "the input {PIXELS} has {has} values, and its shape is {:?}",
                    input.shape
                )));
            }
            Ok(pixels.chunks_exact(each).map(|own| Picture::Pixels(own.to_vec())).collect())
        }
        IMAGE => {
            let texts = match &input.data {
                Value::Array(texts) if input.datatype == "BYTES" => texts,
                _ => return Err(wrong("BYTES", "[n], pictures in base64")),
            };
            if input.shape != [texts.len()] || texts.is_empty() {
                return Err(Refusal::bad(format!(
                    "the input {IMAGE} has {} pictures, and its shape is {:?}: it should be [n], with n of them",
                    texts.len(),
                    input.shape
                )));
            }
            let decoded = texts.iter().enumerate().map(|(at, text)| {
                let bytes = text.as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
                match bytes {
                    Some(bytes) => Ok(Picture::File(bytes.into())),
                    None => Err(Refusal::bad(format!("picture {at} is not a text in base64"))),
                }
            });
            decoded.collect()
        }
        other => Err(Refusal::bad(format!(
            "there is no input '{other}': there are {PIXELS} and {IMAGE}"
        ))),
    }
}

/// Numbers from 0 to 255, nested or not.
fn flattened(data: &Value, pixels: &mut Vec<u8>) -> Result<(), Refusal> {
    match data {
        Value::Array(values) => values.iter().try_for_each(|value| flattened(value, pixels)),
        value => match value.as_u64().and_then(|value| u8::try_from(value).ok()) {
            Some(value) => {
                pixels.push(value);
                Ok(())
            }
            None => Err(Refusal::bad(format!("{value} is not a whole number from 0 to 255"))),
        },
    }
}

/// The outputs that are wanted; all of them if none is named.
fn outputs(predictions: &[Prediction], wanted: &[&str]) -> Vec<Value> {
    let n = predictions.len();
    let classes = predictions.first().map_or(0, |first| first.probabilities.len());
    let is_wanted = |name: &str| wanted.is_empty() || wanted.contains(&name);
    let mut outputs = Vec::new();
    if is_wanted(PROBABILITIES) {
        let all = predictions.iter().flat_map(|one| one.probabilities.iter().map(|(_, p)| *p));
        let data: Vec<f64> = all.collect();
        outputs.push(json!({ "name": PROBABILITIES, "datatype": "FP64", "shape": [n, classes], "data": data }));
    }
    if is_wanted(LABEL) {
        let data: Vec<&str> = predictions.iter().map(|one| one.label.as_str()).collect();
        outputs.push(json!({ "name": LABEL, "datatype": "BYTES", "shape": [n], "data": data }));
    }
    let unfamiliar: Option<Vec<bool>> = predictions.iter().map(|one| one.unfamiliar).collect();
    if let Some(data) = unfamiliar.filter(|_| is_wanted(UNFAMILIAR)) {
        outputs.push(json!({ "name": UNFAMILIAR, "datatype": "BOOL", "shape": [n], "data": data }));
    }
    outputs
}
