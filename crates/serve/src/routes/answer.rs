//! Answers and refusals as JSON.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use taper_model::Error;
use taper_picture::DefectKind;

use super::App;
use crate::batcher::NotTaken;

/// Why a request is refused: a status, and a sentence as `{"error": …}`.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    pub(crate) fn bad(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json_response(&json!({ "error": self.reason }));
        *response.status_mut() = self.status;
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<NotTaken> for Refusal {
    fn from(reason: NotTaken) -> Self {
        match reason {
            NotTaken::Full => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many pictures are waiting: try again in a second",
            ),
            NotTaken::Failed => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the classification failed: the server's log says why",
            ),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Bytes(defect) => match defect.kind {
                DefectKind::Empty => StatusCode::BAD_REQUEST,
                DefectKind::NotAPicture | DefectKind::Unsupported => {
                    StatusCode::UNSUPPORTED_MEDIA_TYPE
                }
                DefectKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            Error::NoMap(_) => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        match status {
            StatusCode::BAD_REQUEST => Self::bad("the picture is empty: 0 bytes"),
            // What the server's own settings are is not the client's concern.
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(status, "the picture has more pixels than this server takes")
            }
            _ => match error {
                Error::Bytes(defect) if defect.reason.starts_with("the ") => {
                    Self::new(status, defect.reason)
                }
                Error::Bytes(defect) => Self::new(status, format!("the file {}", defect.reason)),
                error => Self::new(status, error.to_string()),
            },
        }
    }
}

/// JSON with status 200.
pub(crate) fn json_response(value: &Value) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, value.to_string()).into_response()
}

/// Refusals of the layers around the routes have no words of their own.
pub(crate) async fn worded(app: &App, response: Response) -> Response {
    let status = response.status();
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => app.too_large().into_response(),
        StatusCode::REQUEST_TIMEOUT => {
            let mut response = Refusal::new(status, "the request took too long").into_response();
            // The rest of its body is not waited for.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
            response
        }
        _ => {
            let (parts, body) = response.into_parts();
            let text = axum::body::to_bytes(body, 1 << 16).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let reason = if text.is_empty() { status.to_string() } else { text };
            let mut worded = Refusal::new(status, reason).into_response();
            for (name, value) in &parts.headers {
                if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
                    worded.headers_mut().insert(name.clone(), value.clone());
                }
            }
            worded
        }
    }
}

/// A text that is part of the program. Pages load nothing from elsewhere.
pub(crate) fn asset(kind: &'static str, text: &'static str) -> Response {
    let own = HeaderValue::from_static(
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob: data:; connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, own);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
