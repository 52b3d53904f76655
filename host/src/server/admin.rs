//! `/admin/...`: what operators and the example page see. Read only.

use std::collections::HashMap;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use serde_json::{Value, json};

use crate::error::CallError;
use crate::server::{error_response, json_response};
use crate::storage::{self, TableDump};
use crate::{Host, ObjectRef};

/// Rows of each table that are shown unless the request says how many.
const ROWS_SHOWN: u32 = 50;
/// Rows of each table that a request can ask for.
const ROWS_MAX: u32 = 1_000;
/// Integers beyond this are not exact in JSON readers; they are written as text.
const JSON_INTEGER_MAX: u64 = 1 << 53;

fn answer(result: Result<Value, CallError>) -> Response {
    match result {
        Ok(value) => json_response(StatusCode::OK, value.to_string().into_bytes()),
        Err(error) => error_response(&error),
    }
}

/// `GET /admin/tree/{namespace}/{object}`: the facets that exist, the root first.
pub(super) async fn tree(State(host): State<Host>, Path((namespace, object)): Path<(String, String)>) -> Response {
    let names: HashMap<_, _> = host
        .classes()
        .into_iter()
        .map(|(name, digest)| (digest, name))
        .collect();
    let reports = host.tree(&namespace, &ObjectRef::parse(&object)).map(|(id, reports)| {
        let facets = reports.into_iter().map(|report| {
            let name = names.get(&report.class).cloned();
            let mut facet = serde_json::to_value(report).expect("a report is plain data");
            facet["class_name"] = json!(name);
            facet
        });
        json!({ "namespace": namespace, "object": id.to_string(), "facets": facets.collect::<Vec<_>>() })
    });
    answer(reports)
}

/// `GET /admin/rows/{namespace}/{object}?path=a/b&rows=50`: the tables of one facet.
pub(super) async fn rows(
    State(host): State<Host>,
    Path((namespace, object)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let path = query.get("path").map(String::as_str).unwrap_or_default();
    let rows: Option<u32> = query.get("rows").and_then(|rows| rows.parse().ok());
    let rows_max = rows.unwrap_or(ROWS_SHOWN).min(ROWS_MAX);
    let tables = host.rows(&namespace, &ObjectRef::parse(&object), path, rows_max).await;
    answer(tables.map(|tables| json!({ "tables": tables.into_iter().map(table).collect::<Vec<_>>() })))
}

/// `GET /admin/classes`: names and digests.
pub(super) async fn classes(State(host): State<Host>) -> Response {
    let classes = host
        .classes()
        .into_iter()
        .map(|(name, digest)| json!({ "name": name, "digest": digest }));
    answer(Ok(json!({ "classes": classes.collect::<Vec<_>>() })))
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

fn cell(value: storage::Value) -> Value {
    match value {
        storage::Value::Null => Value::Null,
        storage::Value::Integer(integer) if integer.unsigned_abs() > JSON_INTEGER_MAX => json!(integer.to_string()),
        storage::Value::Integer(integer) => json!(integer),
        storage::Value::Real(real) => json!(real),
        storage::Value::Text(text) => json!(text),
        storage::Value::Blob(blob) => json!({ "$b64": base64::engine::general_purpose::STANDARD.encode(blob) }),
    }
}
