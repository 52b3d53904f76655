//! HTTP in and out. Status codes and error bodies come from one place, and nothing here decides anything about facets.

mod admin;
mod body;
mod http;
mod rpc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Host;
use crate::error::CallError;
use crate::startup::Format;

/// Serves a host until `stop` resolves; requests under way then are finished.
pub async fn serve(
    host: Host,
    listener: TcpListener,
    open: Option<String>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(host, open))
        .with_graceful_shutdown(stop)
        .await
}

fn router(host: Host, open: Option<String>) -> Router {
    let front = get(move || async move {
        match open {
            Some(open) => Redirect::temporary(&format!("/o/{open}/")).into_response(),
            None => "facetd. POST a JSON array to /rpc/{namespace}/{object}/{method}.\n".into_response(),
        }
    });
    Router::new()
        .route("/", front)
        .route("/rpc/{namespace}/{object}/{method}", post(rpc::call))
        .route("/o/{namespace}/{object}", any(http::to_folder))
        .route("/o/{namespace}/{object}/", any(http::deliver))
        .route("/o/{namespace}/{object}/{*path}", any(http::deliver))
        .route("/admin/tree/{namespace}/{object}", get(admin::tree))
        .route("/admin/rows/{namespace}/{object}", get(admin::rows))
        .route("/admin/classes", get(admin::classes))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(|| async { error_response(&CallError::not_found("no such address here")) })
        .layer(from_fn(same_origin))
        .with_state(host)
}

/// Pages of other sites cannot make a browser call facets: a request that says it comes from elsewhere is refused.
async fn same_origin(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let foreign = headers.get(header::ORIGIN).is_some_and(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        origin.split_once("://").is_none_or(|(_, authority)| authority != host)
    });
    if foreign {
        let message = "requests from pages of other origins are not served";
        return error_response(&CallError::new(crate::error::Kind::Denied, "origin", message));
    }
    next.run(request).await
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
    json_response(status, json!({ "error": body }).to_string().into_bytes())
}

fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = (status, body).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
