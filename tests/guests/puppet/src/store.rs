//! `kv.*`, `sql`, `tx.*`, `storage.*`: the facet's own database.

use facetd_sdk::bindings::facetd::runtime::sql as host;
use facetd_sdk::sql::Value as SqlValue;
use facetd_sdk::{Bytes, Error, json, kv, storage};
use serde_json::{Value, json};

use crate::Puppet;
use crate::op::{Op, Outcome, Problem, invalid};

impl Puppet {
    pub(crate) fn kv_get(&self, op: &Op<'_>) -> Outcome {
        Ok(kv::get_text(op.text("key")?)?.into())
    }

    pub(crate) fn kv_put(&self, op: &Op<'_>) -> Outcome {
        kv::put_text(op.text("key")?, op.text("value")?)?;
        Ok(Value::Null)
    }

    pub(crate) fn kv_delete(&self, op: &Op<'_>) -> Outcome {
        Ok(kv::delete(op.text("key")?)?.into())
    }

    pub(crate) fn kv_list(&self, op: &Op<'_>) -> Outcome {
        let text = |field| op.optional_text(field).map(|text| text.map(str::to_owned));
        let range = kv::Range {
            prefix: text("prefix")?,
            start: text("start")?,
            start_after: text("start_after")?,
            end: text("end")?,
            reverse: op.optional("reverse", "a bool", Value::as_bool)?.unwrap_or(false),
            limit: op
                .optional_number("limit")?
                .map(|limit| limit.try_into().unwrap_or(u32::MAX)),
        };
        let entries = kv::list(&range)?;
        Ok(entries
            .iter()
            .map(|entry| json!([entry.key, String::from_utf8_lossy(&entry.value)]))
            .collect())
    }

    /// `cursor`: rows per piece, to read through a cursor instead of one call.
    pub(crate) fn sql(&self, op: &Op<'_>) -> Outcome {
        let text = op.text("q")?;
        let params = op
            .optional("params", "a list", Value::as_array)?
            .map_or(&[][..], Vec::as_slice);
        let params = params.iter().map(parameter).collect::<Result<Vec<_>, _>>()?;
        let mut rows = Vec::new();
        let columns = match op.optional_number("cursor")? {
            None => {
                let found = host::query(text, &params, u32::MAX).map_err(Error::from)?;
                if found.more {
                    return Err(invalid("more rows than one query answers; use `cursor`"));
                }
                rows.extend(found.rows);
                found.columns
            }
            Some(piece) => {
                let cursor = host::open(text, &params).map_err(Error::from)?;
                loop {
                    let found = cursor
                        .next(piece.try_into().unwrap_or(u32::MAX), 0)
                        .map_err(Error::from)?;
                    rows.extend(found.rows);
                    if !found.more {
                        break found.columns;
                    }
                }
            }
        };
        let rows = rows
            .iter()
            .map(|row| row.iter().map(column).collect::<Outcome>())
            .collect::<Outcome>()?;
        Ok(json!({ "columns": columns, "rows": rows }))
    }

    pub(crate) fn tx_begin(&self) -> Outcome {
        self.transactions.borrow_mut().push(storage::begin()?);
        Ok(Value::Null)
    }

    /// Ends the innermost transaction; dropping it afterwards changes nothing.
    pub(crate) fn tx_commit(&self) -> Outcome {
        self.innermost()?.commit().map_err(Error::from)?;
        Ok(Value::Null)
    }

    pub(crate) fn tx_rollback(&self) -> Outcome {
        self.innermost()?.rollback();
        Ok(Value::Null)
    }

    fn innermost(&self) -> Outcome<storage::Transaction> {
        self.transactions
            .borrow_mut()
            .pop()
            .ok_or_else(|| invalid("no transaction is open"))
    }

    pub(crate) async fn storage_sync(&self) -> Outcome {
        storage::sync().await?;
        Ok(Value::Null)
    }

    pub(crate) fn storage_delete_all(&self) -> Outcome {
        storage::delete_all()?;
        Ok(Value::Null)
    }
}

/// A parameter by the JSON conventions: a decimal string beyond 2^53 is an integer, any other string is text.
fn parameter(value: &Value) -> Result<SqlValue, Problem> {
    Ok(match value {
        Value::Null => SqlValue::Null,
        Value::Bool(yes) => SqlValue::Integer((*yes).into()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => SqlValue::Integer(integer),
            (None, Some(real)) => SqlValue::Real(real),
            (None, None) => return Err(invalid(format!("{number} is out of range"))),
        },
        Value::String(text) => match text.parse::<i64>() {
            Ok(integer) if integer.unsigned_abs() > 1 << 53 && integer.to_string() == *text => {
                SqlValue::Integer(integer)
            }
            _ => SqlValue::Text(text.clone()),
        },
        Value::Object(_) => SqlValue::Blob(json::from_value::<Bytes>(value.clone())?.0),
        Value::Array(_) => return Err(invalid("a list is no SQL value")),
    })
}

fn column(value: &SqlValue) -> Outcome {
    Ok(match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(integer) => json::to_value(integer)?,
        SqlValue::Real(real) => json::to_value(real)?,
        SqlValue::Text(text) => Value::String(text.clone()),
        SqlValue::Blob(bytes) => json::to_value(&Bytes(bytes.clone()))?,
    })
}
