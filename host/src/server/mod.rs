//! HTTP in and out. Status codes and error bodies come from one place, and nothing here decides anything about facets.

mod access;
mod admin;
mod body;
mod connections;
mod doors;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod hosted;
mod http;
mod names;
mod patience;
mod rpc;
mod slots;
pub(crate) mod socket;
mod target;
#[cfg(test)]
mod tests;
mod tls;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Value, json};

use crate::Host;
use crate::config::{HttpConfig, Tokens};
use crate::error::{CallError, Kind};
use crate::startup::Format;

use access::Gate;
use target::Target;

pub use doors::{DoorError, Doors, LISTEN_DEFAULT, OpenDoors};
pub use hosted::Hosted;
pub(crate) use names::is_host_name;
pub use tls::TlsError;

/// What all requests of one door need.
struct Served {
    host: Hosted,
    http: HttpConfig,
    names: names::Names,
    guard: Guard,
}

/// What is behind a door, and who may in.
enum Guard {
    /// `/rpc` and `/o`, and on a developer's machine `/admin`.
    Calls {
        gate: Gate,
        /// Where `/` leads.
        open: Option<String>,
        with_admin: bool,
    },
    /// `/admin` alone; for those with a token, if there are any.
    Admin { tokens: Option<Tokens> },
}

/// Answers one request.
async fn answer(served: &Served, request: Request) -> Response {
    let asks_for_health = matches!(Target::parse(request.uri().path()), Ok(Target::Health));
    let host = match served.host.host(asks_for_health) {
        Ok(host) => host,
        Err(not_yet) => return *not_yet,
    };
    match route(served, host, request).await {
        Ok(response) => response,
        Err(error) => error_response(&error),
    }
}

/// `GET /healthz`: whoever may ask that may ask for no more than whether all is well.
fn health(host: &Host) -> Response {
    match host.trouble() {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}; see the log\n")).into_response(),
    }
}

async fn route(served: &Served, host: &Host, request: Request) -> Result<Response, CallError> {
    let uri = request.uri().clone();
    let length = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
    let most = served.http.uri_bytes_max;
    if length > most {
        return Err(CallError::limit(
            "uri",
            format!("path and query have at most {most} bytes"),
        ));
    }
    let target = Target::parse(uri.path());
    // Who watches over hosts asks for this by whatever name it has, and learns nothing else.
    if matches!(target, Ok(Target::Health)) && request.method() == Method::GET {
        return Ok(health(host));
    }
    if !served.names.accept(&uri, request.headers()) {
        let message =
            "this host has other names: use localhost or a loopback address, or list this name in `names` of [host]";
        return Err(CallError::new(Kind::Denied, "host", message));
    }
    if !names::same_origin(request.headers()) {
        let message = "requests from pages of other origins are not served";
        return Err(CallError::new(Kind::Denied, "origin", message));
    }
    if let Guard::Admin { tokens: Some(tokens) } = &served.guard
        && !access::bearer(request.headers()).is_some_and(|token| tokens.accept(token))
    {
        return Err(access::no_token());
    }
    let target = target?;
    if let Err(allow) = target.check_method(request.method()) {
        return Ok(wrong_method(allow));
    }
    match (target, &served.guard) {
        (Target::Health, _) => Ok(health(host)),
        (Target::Front, Guard::Calls { open: Some(open), .. }) => {
            Ok(Redirect::temporary(&format!("/o/{open}/")).into_response())
        }
        (Target::Front, Guard::Calls { open: None, .. }) => {
            Ok("facetd. POST a JSON array to /rpc/{namespace}/{object}/{method}.\n".into_response())
        }
        (
            Target::Rpc {
                namespace,
                object,
                method,
            },
            Guard::Calls { gate, .. },
        ) => {
            let admitted = gate.admit(&namespace, request.headers())?;
            rpc::call(
                served,
                host,
                admitted,
                &namespace,
                &object,
                &method,
                request.into_body(),
            )
            .await
        }
        (
            Target::Http {
                namespace,
                object,
                rest,
            },
            Guard::Calls { gate, .. },
        ) => {
            let admitted = gate.admit(&namespace, request.headers())?;
            http::deliver(host, admitted, &namespace, &object, rest, request).await
        }
        (Target::Folder, Guard::Calls { .. }) => Ok(http::to_folder(&uri)),
        (Target::Admin(what), Guard::Admin { .. } | Guard::Calls { with_admin: true, .. }) => {
            admin::answer(host, what, &uri).await
        }
        (Target::Admin(_), Guard::Calls { with_admin: false, .. }) => Err(CallError::not_found(
            "the admin API is not here: use its socket in the data directory (`facetd tree --data DIR`, `curl \
             --unix-socket DIR/admin.sock`), or where `admin` in [host] says",
        )),
        (Target::Front | Target::Rpc { .. } | Target::Http { .. } | Target::Folder, Guard::Admin { .. }) => {
            Err(CallError::not_found("only /admin is served here"))
        }
    }
}

fn wrong_method(allow: &'static str) -> Response {
    let mut response = error_response(&CallError::invalid(format!("the method should be one of: {allow}")));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// `{"error": {"kind", "code", "message", "outcome"}}` with the status of S18.
fn error_response(error: &CallError) -> Response {
    let mut body = json!({
        "kind": error.kind.word(),
        "code": error.code,
        "message": error.message,
        "outcome": error.outcome.word(),
    });
    if let Some(detail) = &error.detail
        && detail.format == Format::Json
        && let Ok(detail) = serde_json::from_slice::<Value>(&detail.body)
    {
        body["detail"] = detail;
    }
    let status = StatusCode::from_u16(error.kind.http_status()).expect("the table holds valid statuses");
    let mut response = json_response(status, json!({ "error": body }).to_string().into_bytes());
    if error.kind == Kind::Denied && error.code == "token" {
        // The one status that HTTP gives a meaning of its own, to go with the header.
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

/// Answers of the host itself; no page of another site can use them as a script or an image, whatever they contain.
fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = (status, body).into_response();
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
