//! `POST /rpc/{namespace}/{object}/{method}` with a JSON array of arguments; 200 and the JSON result, or an error.

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use serde_json::value::RawValue;

use crate::error::CallError;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::server::{error_response, json_response};
use crate::startup::{Format, Payload};
use crate::{Host, ObjectRef};

pub(super) async fn call(
    State(host): State<Host>,
    Path((namespace, object, method)): Path<(String, String, String)>,
    body: Body,
) -> Response {
    match answer(&host, &namespace, &object, &method, body).await {
        Ok(body) => json_response(StatusCode::OK, body),
        Err(error) => error_response(&error),
    }
}

async fn answer(host: &Host, namespace: &str, object: &str, method: &str, body: Body) -> Result<Vec<u8>, CallError> {
    let body = to_bytes(body, PAYLOAD_BYTES_MAX).await.map_err(|_| {
        CallError::limit(
            "payload",
            format!("the arguments have at most {PAYLOAD_BYTES_MAX} bytes"),
        )
    })?;
    let body = if body.is_empty() { b"[]".to_vec() } else { body.into() };
    // Checked, not rewritten: numbers and the order of fields arrive as they were sent.
    serde_json::from_slice::<Vec<&RawValue>>(&body)
        .map_err(|error| CallError::invalid(format!("the body should be a JSON array of arguments: {error}")))?;
    let args = Payload {
        format: Format::Json,
        body,
    };
    let answer = host.call(namespace, &ObjectRef::parse(object), method, args).await?;
    Ok(match answer.format {
        Format::Json => answer.body,
        Format::Bytes | Format::Cbor => {
            let text = base64::engine::general_purpose::STANDARD.encode(answer.body);
            serde_json::json!({ "$b64": text }).to_string().into_bytes()
        }
    })
}
