//! `http.program`: what the `http` export answers.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use facetd_sdk::http::{Body, Request, Response, Writer, pipe};
use facetd_sdk::{Error, Result as SdkResult, json, kv, log, spawn, timers};
use serde_json::{Value, json};

use crate::op::{Op, Outcome, invalid};
use crate::{HTTP_PROGRAM, Puppet};

/// A longer body is an error.
const ECHO_BYTES_MAX: usize = 16 << 20;

impl Puppet {
    /// `stream` instead of `body`: steps of a task that fills the body after the response was answered. `echo`: what came.
    pub(crate) fn http_program(&self, op: &Op<'_>) -> Outcome {
        let status = op.optional_number("status")?.unwrap_or(200);
        if !(100..=999).contains(&status) {
            return Err(invalid(format!("{status} is no HTTP status")));
        }
        let headers = op.get("headers").cloned().unwrap_or_else(|| json!({}));
        let body = op.optional_text("body")?.unwrap_or_default();
        let times =
            json!({ "body": op.optional_number("body_times")?, "headers": op.optional_number("headers_times")? });
        let stream = op.optional("stream", "a list", Value::as_array)?;
        let echo = op.optional("echo", "a boolean", Value::as_bool)?;
        let program = json!({
            "status": status, "headers": headers, "body": body, "times": times, "stream": stream, "echo": echo,
        });
        kv::put(HTTP_PROGRAM, &program)?;
        Ok(Value::Null)
    }
}

impl Puppet {
    /// Writes pieces into a pipe that nobody reads, until it has waited for room for so long; how many went in.
    pub(crate) async fn pipe(&self, op: &Op<'_>) -> Outcome {
        let (pieces, wait_ms) = (op.number("pieces")?, op.number("wait_ms")?);
        let (mut writer, body) = pipe();
        let taken = Rc::new(Cell::new(0u64));
        let count = taken.clone();
        spawn(async move {
            while count.get() < pieces && writer.write(b"x").await.is_ok() {
                count.set(count.get() + 1);
            }
        });
        timers::sleep(Duration::from_millis(wait_ms)).await;
        // Its reader goes, which ends a wait for room.
        drop(body);
        Ok(taken.get().into())
    }
}

/// What a request with a program for it is answered.
pub(crate) async fn answer(program: &Value, request: Request) -> SdkResult<Response> {
    match program["echo"].as_bool() {
        Some(true) => echo(request).await,
        Some(false) | None => response(program),
    }
}

/// `{"headers": [[name, value], ...], "body": bytes}`, or an `error` instead of the body if it broke off.
async fn echo(request: Request) -> SdkResult<Response> {
    let pair = |name: &str, value: &[u8]| json!([name, String::from_utf8_lossy(value)]);
    let headers = request.headers.iter().map(|header| pair(&header.name, &header.value));
    let mut answer = json!({ "headers": headers.collect::<Vec<_>>() });
    match request.body.bytes(ECHO_BYTES_MAX).await {
        Ok(body) => answer["body"] = json!(body.len()),
        Err(error) => answer["error"] = json!(error.to_string()),
    }
    Ok(Response::stream(200, Body::of_bytes(answer.to_string().as_bytes())))
}

/// The response that `http.program` stored. Headers are an object, or pairs where a name occurs twice.
fn response(program: &Value) -> SdkResult<Response> {
    let status = program["status"]
        .as_u64()
        .and_then(|status| status.try_into().ok())
        .unwrap_or(200);
    let times = |what: &str| program["times"][what].as_u64().map_or(1, |times| times as usize);
    let body = match program["stream"].as_array() {
        None => Body::of_bytes(
            program["body"]
                .as_str()
                .unwrap_or_default()
                .repeat(times("body"))
                .as_bytes(),
        ),
        Some(steps) => {
            let (mut writer, body) = pipe();
            let steps = steps.clone();
            spawn(async move {
                for step in &steps {
                    if let Err(error) = streamed(&mut writer, step).await {
                        // Dropping the writer breaks the body off, which a test sees.
                        return log::error(format!("{step}: {error}"));
                    }
                }
                writer.finish();
            });
            body
        }
    };
    let mut response = Response::stream(status, body);
    let pairs: Vec<(String, String)> = match &program["headers"] {
        Value::Object(map) => map
            .iter()
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect(),
        list => json::from_value(list.clone())?,
    };
    for (name, value) in vec![pairs; times("headers")].concat() {
        response = response.with_header(&name, &value);
    }
    Ok(response)
}

/// One step of a stream: `["put", key, value]`, `["sleep", ms]`, `["log", message]`, `["write", text]`.
pub(crate) async fn streamed(writer: &mut Writer, step: &Value) -> SdkResult<()> {
    match (step[0].as_str(), step[1].as_str(), step[1].as_u64()) {
        (Some("put"), Some(key), _) => kv::put_text(key, step[2].as_str().unwrap_or_default()),
        (Some("sleep"), _, Some(ms)) => {
            timers::sleep(Duration::from_millis(ms)).await;
            Ok(())
        }
        (Some("log"), Some(message), _) => {
            log::info(message);
            Ok(())
        }
        (Some("write"), Some(text), _) => writer.write(text.as_bytes()).await,
        _ => Err(Error::msg("not a step of a stream")),
    }
}
