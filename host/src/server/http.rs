//! `/o/{namespace}/{object}/...`: requests for the `http` export of a root facet, as they are.

use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use crate::error::{CallError, Kind, Outcome};
use crate::live::{HttpRequest, HttpResponse};
use crate::server::{body, error_response};
use crate::{Host, ObjectRef};

/// Headers that belong to one connection and are not passed on. `content-length` is the server's to say: a guest that said
/// another would have the rest of its body read as the next response.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A folder's address ends in `/`, so that links on its page work.
pub(super) async fn to_folder(request: Request) -> Response {
    let query = request
        .uri()
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    Redirect::permanent(&format!("{}/{query}", request.uri().path())).into_response()
}

pub(super) async fn deliver(State(host): State<Host>, Path(parts): Path<Vec<String>>, request: Request) -> Response {
    let [namespace, object, ..] = parts.as_slice() else {
        return error_response(&CallError::not_found("no such address here"));
    };
    let (head, body) = request.into_parts();
    // The path as it came, undecoded, after `/o/namespace/object`.
    let path = head.uri.path().splitn(5, '/').nth(4).unwrap_or_default();
    let uri = match head.uri.query() {
        Some(query) => format!("/{path}?{query}"),
        None => format!("/{path}"),
    };
    let headers = head
        .headers
        .iter()
        .filter(|(name, _)| !HOP_BY_HOP.contains(name) || **name == header::CONTENT_LENGTH)
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    let body = body::incoming(body, host.runtime());
    let request = HttpRequest {
        method: head.method.as_str().to_owned(),
        uri,
        headers,
        body,
    };
    match host.request(namespace, &ObjectRef::parse(object), request).await {
        Ok(response) => outgoing(&host, response).unwrap_or_else(|error| error_response(&error)),
        Err(error) => error_response(&error),
    }
}

fn outgoing(host: &Host, response: HttpResponse) -> Result<Response, CallError> {
    let wrong = |what: String| {
        CallError::new(Kind::Failed, "http", format!("the facet answered {what}")).outcome(Outcome::Applied)
    };
    let status = StatusCode::from_u16(response.status).map_err(|_| wrong(format!("status {}", response.status)))?;
    let mut answer = Response::new(body::outgoing(response.body, host.clone()));
    *answer.status_mut() = status;
    for (name, value) in response.headers {
        let name_ok = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong(format!("a header {name:?}")))?;
        let value = HeaderValue::from_bytes(&value).map_err(|_| wrong(format!("a bad value of header {name:?}")))?;
        if !HOP_BY_HOP.contains(&name_ok) {
            answer.headers_mut().append(name_ok, value);
        }
    }
    Ok(answer)
}
