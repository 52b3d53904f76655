//! What an app answered is passed on as it is: checked to be JSON, never taken apart, since it may be 8 MiB of anything.

use facetd_sdk::bindings::facetd::runtime::types::Format;
use facetd_sdk::prelude::*;
use facetd_sdk::{json, outcome_name};
use serde::Serialize;
use serde_json::value::RawValue;

/// An error as the host writes it.
#[derive(Serialize)]
pub(crate) struct Problem<'a> {
    kind: &'a str,
    code: &'a str,
    message: &'a str,
    outcome: &'a str,
}

impl<'a> Problem<'a> {
    pub(crate) fn of(error: &'a Error, outcome: facetd_sdk::Outcome) -> Self {
        Problem {
            kind: error.kind(),
            code: error.code(),
            message: error.message(),
            outcome: outcome_name(outcome),
        }
    }
}

/// JSON as it stands; what is not JSON as the bytes it is.
pub(crate) fn as_json(answer: Payload) -> Result<Box<RawValue>> {
    let text = match answer.format {
        Format::Json if answer.body.is_empty() => "null".into(),
        Format::Json => String::from_utf8(answer.body).map_err(not_json)?,
        Format::Bytes | Format::Cbor => json::to_string(&Bytes(answer.body))?,
    };
    RawValue::from_string(text).map_err(not_json)
}

/// An error of a call as callers over RPC get it. Passed on it becomes the supervisor's own, of kind `failed`; what the
/// host said about the app goes along as its detail.
pub(crate) fn explain(error: Error) -> Error {
    if error.is_failure() {
        return error;
    }
    match Payload::json(&Problem::of(&error, error.outcome())) {
        Ok(detail) => error.with_detail(detail),
        Err(_) => error,
    }
}

fn not_json(error: impl std::fmt::Display) -> Error {
    Error::new(
        "not-json",
        format!("the app called its answer JSON, and it is none: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(format: Format, body: &[u8]) -> Result<String> {
        let body = body.to_vec();
        as_json(Payload { format, body }).map(|json| json.get().to_owned())
    }

    #[test]
    fn json_keeps_its_order_and_its_numbers() {
        let text = r#"{"b": 12345678901234567890, "a": 1e400}"#;
        assert_eq!(answered(Format::Json, text.as_bytes()).expect("JSON"), text);
        assert_eq!(answered(Format::Json, b"").expect("nothing"), "null");
        assert_eq!(answered(Format::Bytes, &[0, 255]).expect("bytes"), r#"{"$b64":"AP8="}"#);
    }

    #[test]
    fn what_is_no_json_is_said_to_be_none() {
        for bad in [&b"{"[..], b"1 2", b"\xff", b"<p>"] {
            assert_eq!(answered(Format::Json, bad).expect_err("no JSON").code(), "not-json");
        }
    }
}
