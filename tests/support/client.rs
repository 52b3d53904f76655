//! Every answer of the host is checked for its form here, whatever the test then does with it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

/// Longer than the wall limit of an event in the test namespaces, so that the host's limit is what a test sees.
const CALL_LIMIT: Duration = Duration::from_secs(150);
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Unreserved characters (RFC 3986) stay as they are.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A call that the host answered with an error.
#[derive(Debug, Deserialize)]
pub(crate) struct Failure {
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) outcome: String,
}

impl Failure {
    /// As it would stand in a puppet's result list.
    pub(crate) fn to_result(&self) -> Value {
        let Self {
            kind,
            code,
            message,
            outcome,
        } = self;
        json!({"err": {"kind": kind, "code": code, "message": message, "outcome": outcome}})
    }
}

/// Raw HTTP.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A connection pool of its own; clones share it.
#[derive(Clone)]
pub(crate) struct Client(ureq::Agent);

impl Client {
    pub(crate) fn new() -> Self {
        let config = ureq::Agent::config_builder();
        // A proxy of the environment has no business between a test and its loopback host.
        let config = config
            .http_status_as_error(false)
            .timeout_global(Some(CALL_LIMIT))
            .proxy(None)
            .max_redirects(0);
        Self(config.build().into())
    }

    /// Calls a method of a root: the outer error is a broken connection or a malformed answer, the inner one the host's.
    pub(crate) fn rpc(&self, url: &str, on: &str, method: &str, args: &Value) -> Result<Result<Value, Failure>> {
        let address = format!("{url}/rpc/{}/{method}", object_path(on)?);
        let headers = [("content-type", "application/json")];
        let response = self.http("POST", &address, &headers, args.to_string().as_bytes())?;
        let body: Value = serde_json::from_slice(&response.body).with_context(|| {
            format!(
                "status {}, body is no JSON: {:?}",
                response.status,
                String::from_utf8_lossy(&response.body)
            )
        })?;
        if response.status == 200 {
            return Ok(Ok(body));
        }
        #[derive(Deserialize)]
        struct Envelope {
            error: Failure,
        }
        let failure = serde_json::from_value::<Envelope>(body.clone());
        let failure = failure
            .with_context(|| format!("status {}, not an error's form: {body}", response.status))?
            .error;
        ensure!(
            status_of(&failure.kind) == Some(response.status),
            "status {} does not fit an error of kind {} (S18): {}",
            response.status,
            failure.kind,
            failure.message
        );
        ensure!(
            ["not-applied", "applied", "unknown"].contains(&failure.outcome.as_str()),
            "not an outcome (S18): {failure:?}"
        );
        Ok(Err(failure))
    }

    /// Has a puppet carry out operations; answers one result for each.
    pub(crate) fn run(&self, url: &str, on: &str, ops: &Value) -> Result<Result<Vec<Value>, Failure>> {
        match self.rpc(url, on, "run", &json!([ops]))? {
            Ok(Value::Array(results)) => Ok(Ok(results)),
            Ok(other) => bail!("the puppet did not answer a list of results but {other}"),
            Err(failure) => Ok(Err(failure)),
        }
    }

    pub(crate) fn http(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body {
            // A GET with a body, even an empty one, would be a chunked one.
            [] => self.0.run(request.body(())?),
            body => self.0.run(request.body(body)?),
        };
        let mut answer = answer.with_context(|| format!("{method} {url}"))?;
        let header = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        };
        let headers = answer.headers().iter().map(header).collect();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Response {
            status: answer.status().as_u16(),
            headers,
            body,
        })
    }
}

/// `ns/object name` as path segments. `id:` and 64 hex digits address by id; in a name a colon is encoded.
pub(crate) fn object_path(on: &str) -> Result<String> {
    let (namespace, name) = on
        .split_once('/')
        .with_context(|| format!("{on:?} is not \"namespace/object\""))?;
    let by_id = name
        .strip_prefix("id:")
        .is_some_and(|id| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    let name = if by_id {
        name.to_owned()
    } else {
        utf8_percent_encode(name, SEGMENT).to_string()
    };
    Ok(format!("{}/{name}", utf8_percent_encode(namespace, SEGMENT)))
}

/// S18's table.
fn status_of(kind: &str) -> Option<u16> {
    Some(match kind {
        "invalid-name" | "invalid-argument" => 400,
        "denied" | "not-transferable" => 403,
        "not-found" => 404,
        "aborted" | "restarted" | "deleted" | "reentrant-call" => 409,
        "limit" => 429,
        "failed" | "broken" | "storage" => 500,
        "unavailable" => 503,
        "deadline" => 504,
        _ => return None,
    })
}
