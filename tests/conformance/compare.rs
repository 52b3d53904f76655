//! Comparison is pure and strict: whatever an expectation does not say with a matcher must be equal.
//!
//! The rules are those of `README.md`; `compare_checks.rs` holds each of them to examples that match and that do not.

use serde_json::{Map, Value, json};

/// Where an answer is not what was expected.
#[derive(Debug, PartialEq)]
pub(crate) struct Mismatch {
    /// From the result list inwards: `[2].ok[0].rows`.
    pub(crate) path: String,
    pub(crate) wanted: Value,
    pub(crate) got: Value,
    pub(crate) why: &'static str,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = if self.path.is_empty() { "the whole" } else { &self.path };
        write!(
            f,
            "{path}: {}\n  wanted: {}\n  got:    {}",
            self.why, self.wanted, self.got
        )
    }
}

type Outcome = Result<(), Box<Mismatch>>;

fn mismatch(path: &str, wanted: &Value, got: &Value, why: &'static str) -> Outcome {
    Err(Box::new(Mismatch {
        path: path.to_owned(),
        wanted: wanted.clone(),
        got: got.clone(),
        why,
    }))
}

/// A whole result list. Here, and only here, a bare `v` stands for `{"ok": v}`.
pub(crate) fn results(wanted: &[Value], got: &[Value]) -> Outcome {
    for (i, (wanted, got)) in wanted.iter().zip(got).enumerate() {
        if is_error_matcher(wanted) {
            value(&format!("[{i}]"), wanted, got)?;
            continue;
        }
        match got
            .as_object()
            .filter(|got| got.len() == 1)
            .and_then(|got| got.get("ok"))
        {
            Some(ok) => value(&format!("[{i}].ok"), wanted, ok)?,
            None => mismatch(&format!("[{i}]"), &json!({"ok": wanted}), got, "not {\"ok\": ...}")?,
        }
    }
    match wanted.len() == got.len() {
        true => Ok(()),
        false => mismatch("", &json!(wanted), &json!(got), "lists of different length"),
    }
}

/// A value, where matchers stand for themselves and everything else is equal.
pub(crate) fn value(path: &str, wanted: &Value, got: &Value) -> Outcome {
    if let Some(verdict) = matcher(path, wanted, got) {
        return verdict;
    }
    match (wanted, got) {
        (Value::Array(wanted_items), Value::Array(got_items)) => {
            for (i, (wanted, got)) in wanted_items.iter().zip(got_items).enumerate() {
                value(&format!("{path}[{i}]"), wanted, got)?;
            }
            match wanted_items.len() == got_items.len() {
                true => Ok(()),
                false => mismatch(path, wanted, got, "lists of different length"),
            }
        }
        (Value::Object(wanted_fields), Value::Object(got_fields)) => {
            for (name, wanted_field) in wanted_fields {
                match got_fields.get(name) {
                    Some(got) => value(&format!("{path}.{name}"), wanted_field, got)?,
                    None => mismatch(path, wanted, got, "a field is missing")?,
                }
            }
            match wanted_fields.len() == got_fields.len() {
                true => Ok(()),
                false => mismatch(path, wanted, got, "a field too many"),
            }
        }
        (Value::Number(_), Value::Number(_)) if order(wanted, got) == Some(std::cmp::Ordering::Equal) => Ok(()),
        _ if wanted == got => Ok(()),
        _ => mismatch(path, wanted, got, "different"),
    }
}

fn is_error_matcher(wanted: &Value) -> bool {
    wanted.as_object().is_some_and(|fields| fields.contains_key("$err"))
}

/// The verdict of a matcher, or none if `wanted` is an ordinary value.
fn matcher(path: &str, wanted: &Value, got: &Value) -> Option<Outcome> {
    use std::cmp::Ordering::{Greater, Less};
    let fields = wanted.as_object()?;
    if fields.contains_key("$err") {
        return Some(error(path, fields, wanted, got));
    }
    let (name, argument) = fields.iter().next().filter(|_| fields.len() == 1)?;
    let (holds, why) = match name.as_str() {
        "$any" => (true, ""),
        "$re" => (
            got.as_str().is_some_and(|got| regex_holds(argument, got)),
            "no text that the expression matches",
        ),
        "$gte" => (
            matches!(order(got, argument), Some(o) if o != Less),
            "no number as large",
        ),
        "$lte" => (
            matches!(order(got, argument), Some(o) if o != Greater),
            "no number as small",
        ),
        _ => return None,
    };
    Some(if holds {
        Ok(())
    } else {
        mismatch(path, wanted, got, why)
    })
}

/// `{"$err": kind, "message"?: contained text, "code"?, "outcome"?}`.
fn error(path: &str, fields: &Map<String, Value>, wanted: &Value, got: &Value) -> Outcome {
    let Some(got_error) = got
        .as_object()
        .filter(|got| got.len() == 1)
        .and_then(|got| got.get("err"))
    else {
        return mismatch(path, wanted, got, "not {\"err\": ...}");
    };
    for (name, wanted_field) in fields {
        let name = if name == "$err" { "kind" } else { name };
        let got_field = &got_error[name];
        if let ("message", Some(part), Some(text)) = (name, wanted_field.as_str(), got_field.as_str()) {
            if !text.contains(part) {
                return mismatch(
                    &format!("{path}.err.message"),
                    wanted,
                    got,
                    "the message does not contain the text",
                );
            }
            continue;
        }
        value(&format!("{path}.err.{name}"), wanted_field, got_field).map_err(|found| {
            // The whole error explains more than the one field that differs.
            Box::new(Mismatch {
                wanted: wanted.clone(),
                got: got.clone(),
                ..*found
            })
        })?;
    }
    Ok(())
}

/// JSON knows one kind of number, so 1 and 1.0 are equal; integers are compared exactly, in all 64 bits.
fn order(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    let integer = |v: &Value| v.as_i64().map(i128::from).or_else(|| v.as_u64().map(i128::from));
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn regex_holds(expression: &Value, text: &str) -> bool {
    // `check` has compiled it before the case ran.
    expression
        .as_str()
        .and_then(|e| regex_lite::Regex::new(e).ok())
        .is_some_and(|e| e.is_match(text))
}

/// Finds what is no valid expectation, such as a misspelt matcher, before it is compared with anything.
pub(crate) fn check(expectation: &Value) -> Result<(), String> {
    match expectation {
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Object(fields) if fields.contains_key("$err") => {
            fields
                .iter()
                .try_for_each(|(name, field)| match (name.as_str(), field) {
                    ("$err" | "message" | "code" | "outcome", Value::String(_)) => Ok(()),
                    ("$err" | "message" | "code" | "outcome", Value::Object(matcher))
                        if matcher.contains_key("$re") =>
                    {
                        check(field)
                    }
                    _ => Err(format!("{name:?}: {field} cannot stand in an $err")),
                })
        }
        Value::Object(fields) => fields.iter().try_for_each(|(name, argument)| {
            let alone = fields.len() == 1;
            match (name.as_str(), argument) {
                ("$any", one) if alone && *one == json!(1) => Ok(()),
                ("$gte" | "$lte", Value::Number(_)) if alone => Ok(()),
                ("$re", Value::String(e)) if alone => regex_lite::Regex::new(e)
                    .map(drop)
                    .map_err(|error| format!("$re {e:?}: {error}")),
                ("$b64", Value::String(_)) if alone => Ok(()),
                (name, _) if name.starts_with('$') => Err(format!("not a matcher: {expectation}")),
                _ => check(argument),
            }
        }),
        _ => Ok(()),
    }
}
