//! `/admin/...`: what operators and the example page see. Read only.

use std::collections::HashMap;

use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use base64::Engine as _;
use serde_json::{Value, json};

use super::json_response;
use super::target::Admin;
use crate::error::CallError;
use crate::storage::{self, Cell, TableDump};
use crate::{Host, ObjectRef};

/// Rows of each table that are shown unless the request says how many.
const ROWS_SHOWN: u32 = 50;
/// Rows of each table that a request can ask for.
const ROWS_MAX: u32 = 1_000;
/// Integers beyond this are not exact in JSON readers.
const JSON_INTEGER_MAX: u64 = 1 << 53;

pub(super) async fn answer(host: &Host, what: Admin<'_>, uri: &Uri) -> Result<Response, CallError> {
    let value = match what {
        Admin::Tree { namespace, object } => tree(host, &namespace, &object)?,
        Admin::Rows { namespace, object } => rows(host, &namespace, &object, uri).await?,
        Admin::Classes => classes(host),
        Admin::Unknown => {
            let message = "no such address here; there are /admin/tree, /admin/rows and /admin/classes";
            return Err(CallError::not_found(message));
        }
    };
    Ok(json_response(StatusCode::OK, value.to_string().into_bytes()))
}

/// `GET /admin/tree/{namespace}/{object}`: the facets that exist, the root first.
fn tree(host: &Host, namespace: &str, object: &ObjectRef) -> Result<Value, CallError> {
    let names: HashMap<_, _> = host
        .classes()
        .into_iter()
        .map(|(name, digest)| (digest, name))
        .collect();
    let (id, reports) = host.tree(namespace, object)?;
    let facets = reports.into_iter().map(|report| {
        let name = names.get(&report.class).cloned();
        let mut facet = serde_json::to_value(report).expect("a report is plain data");
        facet["class_name"] = json!(name);
        facet
    });
    Ok(json!({ "namespace": namespace, "object": id.to_string(), "facets": facets.collect::<Vec<_>>() }))
}

/// `GET /admin/rows/{namespace}/{object}?path=a/b&rows=50`: the tables of one facet.
async fn rows(host: &Host, namespace: &str, object: &ObjectRef, uri: &Uri) -> Result<Value, CallError> {
    let Query(query) = Query::<HashMap<String, String>>::try_from_uri(uri)
        .map_err(|error| CallError::invalid(format!("the query should be path=...&rows=...: {error}")))?;
    let path = query.get("path").map(String::as_str).unwrap_or_default();
    let rows: Option<u32> = query.get("rows").and_then(|rows| rows.parse().ok());
    let rows_max = rows.unwrap_or(ROWS_SHOWN).min(ROWS_MAX);
    let tables = host.rows(namespace, object, path, rows_max).await?;
    Ok(json!({ "tables": tables.into_iter().map(table).collect::<Vec<_>>() }))
}

/// `GET /admin/classes`: names and digests.
fn classes(host: &Host) -> Value {
    let classes = host
        .classes()
        .into_iter()
        .map(|(name, digest)| json!({ "name": name, "digest": digest }));
    json!({ "classes": classes.collect::<Vec<_>>() })
}

fn table(table: TableDump) -> Value {
    let TableDump {
        name,
        columns,
        rows,
        total,
        error,
    } = table;
    let rows: Vec<Vec<_>> = rows
        .into_iter()
        .map(|row| row.into_iter().map(cell).collect())
        .collect();
    json!({ "name": name, "columns": columns, "rows": rows, "total": total, "error": error })
}

/// One field of a row. What JSON has no word for is an object with one field, whose name says what it is; text and numbers are
/// never mistaken for each other.
fn cell(cell: Cell) -> Value {
    let base64 = |bytes: Vec<u8>| base64::engine::general_purpose::STANDARD.encode(bytes);
    let value = match cell {
        Cell::NotUtf8(bytes) => return json!({ "$text_b64": base64(bytes) }),
        Cell::Value(value) => value,
    };
    match value {
        storage::Value::Null => Value::Null,
        storage::Value::Integer(integer) if integer.unsigned_abs() > JSON_INTEGER_MAX => {
            json!({ "$integer": integer.to_string() })
        }
        storage::Value::Integer(integer) => json!(integer),
        storage::Value::Real(real) if real.is_infinite() => {
            json!({ "$real": if real > 0.0 { "Infinity" } else { "-Infinity" } })
        }
        storage::Value::Real(real) => json!(real),
        storage::Value::Text(text) => json!(text),
        storage::Value::Blob(blob) => json!({ "$b64": base64(blob) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_values_look_alike() {
        let value = |value| cell(Cell::Value(value)).to_string();
        let shown = [
            (value(storage::Value::Null), "null"),
            (value(storage::Value::Integer(1 << 53)), "9007199254740992"),
            (
                value(storage::Value::Integer(9_007_199_254_740_993)),
                r#"{"$integer":"9007199254740993"}"#,
            ),
            (
                value(storage::Value::Integer(i64::MIN)),
                r#"{"$integer":"-9223372036854775808"}"#,
            ),
            (
                value(storage::Value::Text("9007199254740993".into())),
                r#""9007199254740993""#,
            ),
            (value(storage::Value::Integer(1)), "1"),
            (value(storage::Value::Real(1.0)), "1.0"),
            (value(storage::Value::Real(f64::INFINITY)), r#"{"$real":"Infinity"}"#),
            (
                value(storage::Value::Real(f64::NEG_INFINITY)),
                r#"{"$real":"-Infinity"}"#,
            ),
            (value(storage::Value::Blob(b"a".to_vec())), r#"{"$b64":"YQ=="}"#),
            (
                cell(Cell::NotUtf8(b"a\xff".to_vec())).to_string(),
                r#"{"$text_b64":"Yf8="}"#,
            ),
        ];
        for (shown, wanted) in &shown {
            assert_eq!(shown, wanted);
        }
    }
}
