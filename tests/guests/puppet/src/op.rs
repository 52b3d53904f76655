//! One operation as it comes in, and its result as it goes out. A field that is missing or of the wrong type is
//! `invalid-argument`, like an unknown name.

use facetd_sdk::{Error, outcome_name};
use serde_json::{Map, Value, json};

/// The whole list stops: operation `throw`.
pub struct Stop(pub String);

/// What an operation answers instead of a value.
pub enum Problem {
    /// Found by the puppet itself.
    Own { kind: &'static str, message: String },
    /// Made by the host, or by a facet that was called.
    Host(Error),
    /// Not a result at all.
    Stop(Stop),
}

pub type Outcome<T = Value> = Result<T, Problem>;

/// An error of kind `invalid-argument`.
pub fn invalid(message: impl Into<String>) -> Problem {
    Problem::Own {
        kind: "invalid-argument",
        message: message.into(),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Problem::Host(error)
    }
}

impl From<Stop> for Problem {
    fn from(stop: Stop) -> Self {
        Problem::Stop(stop)
    }
}

/// `{"ok": ...}` or `{"err": ...}`.
pub fn result(outcome: Outcome) -> Result<Value, Stop> {
    let (kind, code, message, outcome) = match outcome {
        Ok(value) => return Ok(json!({ "ok": value })),
        Err(Problem::Stop(stop)) => return Err(stop),
        Err(Problem::Own { kind, message }) => (kind.to_owned(), String::new(), message, "not-applied"),
        Err(Problem::Host(error)) => (
            error.kind().into(),
            error.code().into(),
            error.message().into(),
            outcome_name(error.outcome()),
        ),
    };
    Ok(json!({ "err": { "kind": kind, "code": code, "message": message, "outcome": outcome } }))
}

/// The fields of an operation.
pub struct Op<'a>(&'a Map<String, Value>);

impl<'a> Op<'a> {
    pub fn new(value: &'a Value) -> Outcome<Self> {
        value
            .as_object()
            .map(Op)
            .ok_or_else(|| invalid("an operation is an object"))
    }

    /// A field that may be missing; null is missing.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// Any value; null if missing.
    pub fn value(&self, field: &str) -> Value {
        self.get(field).cloned().unwrap_or(Value::Null)
    }

    pub fn text(&self, field: &str) -> Outcome<&'a str> {
        self.optional_text(field)?.ok_or_else(|| missing(field))
    }

    pub fn optional_text(&self, field: &str) -> Outcome<Option<&'a str>> {
        self.optional(field, "text", Value::as_str)
    }

    /// A text, repeated as often as the field of its name with `_times` says: for what is at its limit.
    pub fn long_text(&self, field: &str) -> Outcome<String> {
        let times = self.optional_number(&format!("{field}_times"))?.unwrap_or(1);
        Ok(self.text(field)?.repeat(times.try_into().unwrap_or(usize::MAX)))
    }

    pub fn number(&self, field: &str) -> Outcome<u64> {
        self.optional_number(field)?.ok_or_else(|| missing(field))
    }

    pub fn optional_number(&self, field: &str) -> Outcome<Option<u64>> {
        self.optional(field, "a number", Value::as_u64)
    }

    pub fn integer(&self, field: &str) -> Outcome<i64> {
        self.optional(field, "an integer", Value::as_i64)?
            .ok_or_else(|| missing(field))
    }

    pub fn list(&self, field: &str) -> Outcome<&'a [Value]> {
        self.optional(field, "a list", |value| value.as_array().map(Vec::as_slice))?
            .ok_or_else(|| missing(field))
    }

    pub fn optional<T>(&self, field: &str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Outcome<Option<T>> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .ok_or_else(|| invalid(format!("field `{field}` is not {what}"))),
        }
    }
}

fn missing(field: &str) -> Problem {
    invalid(format!("field `{field}` is missing"))
}
