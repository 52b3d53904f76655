//! `outbound.program`: what is done with requests of children.

use facetd_sdk::http::{Header, Request, Response};
use facetd_sdk::{Error, Result as SdkResult, kv};
use serde_json::{Map, Value, json};

use crate::op::{Op, Outcome, invalid};
use crate::{OUTBOUND_PROGRAM, Puppet, thrown};

/// The most that is read of a body that is repeated.
const REPEATED_BYTES_MAX: usize = 1 << 20;

impl Puppet {
    /// `act`: `answer` (with `status`, `body`), `show` (the request itself, as JSON), `refuse` (with `code`), `pass` (by
    /// `egress.fetch`, with `headers` added and `url` in place of its own). `ops` are run before.
    pub(crate) fn outbound_program(&self, op: &Op<'_>) -> Outcome {
        let act = op.text("act")?;
        if !["answer", "show", "refuse", "pass"].contains(&act) {
            return Err(invalid(format!("`{act}` is nothing to do with a request")));
        }
        let fields = ["act", "status", "body", "code", "headers", "url", "ops"];
        let program: Map<_, _> = fields
            .map(|field| (field.to_owned(), op.value(field)))
            .into_iter()
            .collect();
        kv::put(OUTBOUND_PROGRAM, &program)?;
        Ok(Value::Null)
    }

    pub(crate) async fn run_outbound(&self, child: String, request: Request) -> SdkResult<Response> {
        let program = kv::get::<Value>(OUTBOUND_PROGRAM)?.ok_or_else(|| Error::msg("no outbound.program"))?;
        if let Some(ops) = program["ops"].as_array() {
            self.run(ops).await.map_err(thrown)?;
        }
        match program["act"].as_str() {
            Some("answer") => {
                let status = program["status"].as_u64().and_then(|status| status.try_into().ok());
                Ok(Response::text(
                    status.unwrap_or(200),
                    program["body"].as_str().unwrap_or_default(),
                ))
            }
            Some("show") => {
                let shown = json!({
                    "child": child,
                    "method": request.method,
                    "uri": request.uri,
                    "headers": headers_of(&request.headers),
                    "body": request.body.text(REPEATED_BYTES_MAX).await?,
                });
                Response::json(200, &shown)
            }
            Some("refuse") => Err(Error::new(
                program["code"].as_str().unwrap_or("refused"),
                "not through me",
            )),
            _ => pass(&program, request).await,
        }
    }
}

#[cfg(feature = "egress")]
async fn pass(program: &Value, mut request: Request) -> SdkResult<Response> {
    if let Some(url) = program["url"].as_str() {
        request.uri = url.to_owned();
    }
    request.headers.extend(headers_to(&program["headers"]));
    facetd_sdk::egress::fetch(request).await
}

#[cfg(not(feature = "egress"))]
async fn pass(_: &Value, _: Request) -> SdkResult<Response> {
    Err(Error::msg("this puppet has no egress itself"))
}

/// Headers as an object.
pub(crate) fn headers_of(headers: &[Header]) -> Value {
    let text = |header: &Header| {
        let value = String::from_utf8_lossy(&header.value).into_owned();
        (header.name.clone(), Value::from(value))
    };
    headers.iter().map(text).collect::<Map<_, _>>().into()
}

/// Those that differ from run to run are left out.
#[cfg(feature = "egress")]
pub(crate) fn known(headers: Vec<Header>) -> Vec<Header> {
    headers.into_iter().filter(|header| header.name != "date").collect()
}

#[cfg(feature = "egress")]
pub(crate) fn headers_to(headers: &Value) -> Vec<Header> {
    let pairs = headers.as_object().into_iter().flatten();
    let header = |(name, value): (&String, &Value)| Header {
        name: name.clone(),
        value: value.as_str().unwrap_or_default().as_bytes().to_vec(),
    };
    pairs.map(header).collect()
}
