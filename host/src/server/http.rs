//! `/o/{namespace}/{object}/...`: requests for the `http` export of a root facet, as they are.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::access::Admitted;
use super::body;
use crate::error::{CallError, Kind, Outcome};
use crate::live::{HttpRequest, HttpResponse};
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
pub(super) fn to_folder(uri: &Uri) -> Response {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Redirect::permanent(&format!("{}/{query}", uri.path())).into_response()
}

/// `path` is as it came, undecoded, after `/o/namespace/object/`; `admitted` is held until the answer's end.
pub(super) async fn deliver(
    host: &Host,
    admitted: Admitted,
    namespace: &str,
    object: &ObjectRef,
    path: &str,
    request: Request,
) -> Result<Response, CallError> {
    let (head, body) = request.into_parts();
    let uri = match head.uri.query() {
        Some(query) => format!("/{path}?{query}"),
        None => format!("/{path}"),
    };
    // A secret that was shown to the host is not the guest's to see.
    let kept = |name: &HeaderName| *name != header::AUTHORIZATION || !admitted.token_shown;
    let headers = head
        .headers
        .iter()
        .filter(|(name, _)| !HOP_BY_HOP.contains(name) || **name == header::CONTENT_LENGTH)
        .filter(|(name, _)| kept(name))
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    let body = body::incoming(body, host.runtime());
    let request = HttpRequest {
        method: head.method.as_str().to_owned(),
        uri,
        headers,
        body,
    };
    let response = host.request(namespace, object, request).await?;
    outgoing(host, response, admitted)
}

fn outgoing(host: &Host, response: HttpResponse, admitted: Admitted) -> Result<Response, CallError> {
    let wrong = |what: String| {
        CallError::new(Kind::Failed, "http", format!("the facet answered {what}")).outcome(Outcome::Applied)
    };
    let status = StatusCode::from_u16(response.status).map_err(|_| wrong(format!("status {}", response.status)))?;
    let mut answer = Response::new(body::outgoing(response.body, host.clone(), admitted));
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
