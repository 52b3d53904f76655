//! One request, one connection: nothing of one facet's request is left for another's. Redirects are not followed, and no proxy
//! of the environment is asked.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;

use crate::egress::connect::{self, Stream};
use crate::egress::request::strip;
use crate::egress::resolve::{Resolve, System};
use crate::egress::response::{Connection, ResponseBody};
use crate::egress::{
    BODY_BYTES_MAX, CONNECT_MS_MAX, CONNECTIONS_MAX, CONNECTIONS_PER_NAMESPACE_MAX, EgressError, HEAD_MS_MAX,
    HEADER_BYTES_MAX, HEADERS_MAX, LOOKUPS_MAX, LOOKUPS_PER_NAMESPACE_MAX, RequestHead, TOTAL_MS_MAX,
};
use crate::sys::clock;

/// A body on its way out.
pub(crate) type RequestBody = BoxBody<Bytes, std::io::Error>;

/// What one namespace may do, and has under way.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Ranges of addresses that are not public and may be reached all the same.
    pub(crate) allow_private: Vec<IpNet>,
    pub(super) connections: Arc<Semaphore>,
    pub(super) lookups: Arc<Semaphore>,
}

impl Rules {
    pub(crate) fn new(allow_private: Vec<IpNet>) -> Self {
        Self {
            allow_private,
            connections: Arc::new(Semaphore::new(CONNECTIONS_PER_NAMESPACE_MAX)),
            lookups: Arc::new(Semaphore::new(LOOKUPS_PER_NAMESPACE_MAX)),
        }
    }
}

/// The client of a whole host.
pub(crate) struct Client {
    pub(super) tls: TlsConnector,
    pub(super) resolver: Box<dyn Resolve>,
    connections: Arc<Semaphore>,
    pub(super) lookups: Arc<Semaphore>,
}

/// Has a byte of the request left? Until then it is certain that nothing came of it.
#[derive(Debug, Default)]
pub(crate) struct Sent(AtomicBool);

impl Sent {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The head of a response, and its body to come.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: ResponseBody,
}

impl Client {
    /// Trusts the certificates in that file, too.
    pub(crate) fn new(roots: Option<&Path>) -> Result<Self, String> {
        let read =
            |path: &Path| std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
        let pem = roots.map(read).transpose()?;
        let wrong = |error| match roots {
            Some(path) => format!("{}: {error}", path.display()),
            None => error,
        };
        Ok(Self::with(
            connect::tls(pem.as_deref()).map_err(wrong)?,
            Box::new(System),
        ))
    }

    pub(super) fn with(tls: TlsConnector, resolver: Box<dyn Resolve>) -> Self {
        Self {
            tls,
            resolver,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }
    }

    /// Sends a request whose host is on the list, and answers when the head of the response is there.
    pub(crate) async fn fetch(
        &self,
        rules: &Rules,
        head: RequestHead,
        body: RequestBody,
        sent: &Sent,
    ) -> Result<Response, EgressError> {
        let begun = clock::now();
        let after = |ms: u64| (begun + Duration::from_millis(ms)).into();
        let permits = self.admit(rules)?;
        let (origin, host) = (head.origin.clone(), head.origin.authority());
        let connected = timeout_at(after(CONNECT_MS_MAX), self.connect(rules, &origin)).await;
        let stream = connected.map_err(|_| EgressError::Connect {
            host: host.clone(),
            why: format!("there was no connection after {CONNECT_MS_MAX} ms"),
        })??;
        let answered = timeout_at(after(CONNECT_MS_MAX + HEAD_MS_MAX), exchange(stream, head, body, sent)).await;
        let (response, connection) = answered.map_err(|_| EgressError::Deadline)??;
        let until = begun + Duration::from_millis(TOTAL_MS_MAX);
        receive(
            response,
            Connection {
                _connection: connection,
                _permits: permits,
            },
            until,
            host,
        )
    }

    fn admit(&self, rules: &Rules) -> Result<[OwnedSemaphorePermit; 2], EgressError> {
        let permit = |of: &Arc<Semaphore>, max: usize, whose: &str| {
            of.clone().try_acquire_owned().map_err(|_| EgressError::Limit {
                code: "connections",
                message: format!("{whose} has {max} connections to the network already; try again"),
            })
        };
        Ok([
            permit(&rules.connections, CONNECTIONS_PER_NAMESPACE_MAX, "this namespace")?,
            permit(&self.connections, CONNECTIONS_MAX, "this host")?,
        ])
    }
}

type Task = tokio::task::JoinHandle<()>;

/// Ends the task with whoever waits for it.
pub(super) struct Ends(pub(super) Task);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn exchange(
    stream: Stream,
    head: RequestHead,
    body: RequestBody,
    sent: &Sent,
) -> Result<(hyper::Response<hyper::body::Incoming>, Ends), EgressError> {
    let host = head.origin.authority();
    let http = |error: hyper::Error| wrong(&host, &error);
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(http)?;
    let connection = Ends(tokio::spawn(async move {
        // What goes wrong is told to who waits for the response or reads its body.
        let _ = connection.await;
    }));
    let mut request = hyper::Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = head
        .path_and_query
        .parse()
        .map_err(|_| EgressError::Invalid("the path of the URI cannot be sent".into()))?;
    *request.headers_mut() = head.headers;
    let authority = HeaderValue::from_str(&host).map_err(|_| EgressError::Invalid("the host cannot be sent".into()))?;
    request.headers_mut().insert(header::HOST, authority);
    request
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    sent.0.store(true, Ordering::Relaxed);
    let response = sender.send_request(request).await.map_err(http)?;
    Ok((response, connection))
}

fn wrong(host: &str, error: &hyper::Error) -> EgressError {
    let why = std::error::Error::source(error).map(ToString::to_string);
    if error.is_parse_too_large() {
        return head_too_large();
    }
    if error.is_user() {
        return EgressError::Body(why.unwrap_or_else(|| error.to_string()));
    }
    EgressError::Http {
        host: host.to_owned(),
        why: why.map_or_else(|| error.to_string(), |why| format!("{error}: {why}")),
    }
}

fn head_too_large() -> EgressError {
    EgressError::Limit {
        code: "headers",
        message: format!(
            "the head of the response has more than {HEADER_BYTES_MAX} bytes, or more than {HEADERS_MAX} headers"
        ),
    }
}

fn receive(
    response: hyper::Response<hyper::body::Incoming>,
    connection: Connection,
    until: Instant,
    host: String,
) -> Result<Response, EgressError> {
    let (mut head, body) = response.into_parts();
    if head.status == hyper::StatusCode::SWITCHING_PROTOCOLS {
        let why = "it wants to speak another protocol".into();
        return Err(EgressError::Http { host, why });
    }
    // hyper looks at its buffer only while it waits for more.
    let bytes: usize = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > HEADER_BYTES_MAX {
        return Err(head_too_large());
    }
    let announced = http_body::Body::size_hint(&body).lower();
    if announced > BODY_BYTES_MAX {
        let message = format!("the body of a response has at most {BODY_BYTES_MAX} bytes, this one has {announced}");
        return Err(EgressError::Limit { code: "body", message });
    }
    // How long it is may be of use; the rest is of a connection that the facet does not see.
    let length = head.headers.get(header::CONTENT_LENGTH).cloned();
    strip(&mut head.headers);
    if let Some(length) = length {
        head.headers.insert(header::CONTENT_LENGTH, length);
    }
    Ok(Response {
        status: head.status.as_u16(),
        headers: head.headers,
        body: ResponseBody::new(body, connection, until),
    })
}
