//! `POST /rpc/{namespace}/{object}/{method}` with a JSON array of arguments; 200 and the JSON result, or an error.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use futures_util::StreamExt as _;
use serde_json::value::RawValue;

use super::access::Admitted;
use super::{Served, json_response};
use crate::Host;
use crate::ObjectRef;
use crate::error::CallError;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::startup::{Format, Payload};

/// `admitted` is held until the call is answered, and counts its arguments until then.
pub(super) async fn call(
    served: &Served,
    host: &Host,
    mut admitted: Admitted,
    namespace: &str,
    object: &ObjectRef,
    method: &str,
    body: Body,
) -> Result<Response, CallError> {
    let limit = served.http.rpc_body();
    let read = tokio::time::timeout(limit, read(&mut admitted, body)).await;
    let body = read.map_err(|_| too_slow(&format!("the arguments took more than {limit:?} to come")))??;
    let body = if body.is_empty() { b"[]".to_vec() } else { body };
    check(&body)?;
    let args = Payload {
        format: Format::Json,
        body,
    };
    let answer = host.call(namespace, object, method, args).await?;
    let body = match answer.format {
        Format::Json => answer.body,
        Format::Bytes | Format::Cbor => {
            let text = base64::engine::general_purpose::STANDARD.encode(answer.body);
            serde_json::json!({ "$b64": text }).to_string().into_bytes()
        }
    };
    Ok(json_response(StatusCode::OK, body))
}

/// Checked, not rewritten: numbers and the order of fields arrive as they were sent.
pub(super) fn check(body: &[u8]) -> Result<(), CallError> {
    serde_json::from_slice::<Vec<&RawValue>>(body)
        .map(drop)
        .map_err(|error| CallError::invalid(format!("the body should be a JSON array of arguments: {error}")))
}

fn too_slow(message: &str) -> CallError {
    CallError::limit("time", message)
}

async fn read(admitted: &mut Admitted, body: Body) -> Result<Vec<u8>, CallError> {
    let too_long = || {
        let message = format!("the arguments have at most {PAYLOAD_BYTES_MAX} bytes");
        CallError::limit("payload", message)
    };
    if http_body::Body::size_hint(&body).lower() > PAYLOAD_BYTES_MAX as u64 {
        return Err(too_long());
    }
    let mut pieces = body.into_data_stream();
    let mut read = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| too_slow(&format!("the arguments did not come to their end: {error}")))?;
        if read.len() + piece.len() > PAYLOAD_BYTES_MAX {
            return Err(too_long());
        }
        admitted.keep(piece.len())?;
        read.extend_from_slice(&piece);
    }
    Ok(read)
}
