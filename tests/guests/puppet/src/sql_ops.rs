//! `sql` and `sql.*`: one call, or a cursor that is read in pieces.

use facetd_sdk::bindings::facetd::runtime::sql as host;
use facetd_sdk::sql::Value as SqlValue;
use facetd_sdk::{Bytes, Error, json};
use serde_json::{Value, json};

use crate::Puppet;
use crate::op::{Op, Outcome, Problem, invalid};

/// How the real numbers of an answer are written.
#[derive(Clone, Copy)]
enum Reals {
    Json,
    /// `{"bits": 16 hexadecimal digits}`: exact, where JSON has no NaN, no infinities and no -0.0.
    Bits,
}

impl Puppet {
    /// `cursor`: rows per piece, to read through a cursor instead of one call. `max_rows`: the answer says whether there
    /// are more.
    /// `types`: the types of the values as well, row by row.
    pub(crate) fn sql(&self, op: &Op<'_>) -> Outcome {
        let (text, params, reals) = (op.text("q")?, params(op)?, reals(op)?);
        if let Some(max) = op.optional_number("max_rows")? {
            let found = host::query(text, &params, u32_of(max)).map_err(Error::from)?;
            return piece(&found, reals);
        }
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
                    let found = cursor.next(u32_of(piece), 0).map_err(Error::from)?;
                    rows.extend(found.rows);
                    if !found.more {
                        break found.columns;
                    }
                }
            }
        };
        let mut answer = json!({ "columns": columns, "rows": values(&rows, reals)? });
        if op.optional("types", "a bool", Value::as_bool)? == Some(true) {
            answer["types"] = rows
                .iter()
                .map(|row| row.iter().map(type_name).collect::<Value>())
                .collect();
        }
        Ok(answer)
    }

    pub(crate) fn sql_open(&self, op: &Op<'_>) -> Outcome {
        let keep = op.text("as")?;
        let cursor = host::open(op.text("q")?, &params(op)?).map_err(Error::from)?;
        self.cursors.borrow_mut().insert(keep.to_owned(), cursor);
        Ok(Value::Null)
    }

    pub(crate) fn sql_next(&self, op: &Op<'_>) -> Outcome {
        let cursors = self.cursors.borrow();
        let cursor = cursors.get(op.text("as")?).ok_or_else(|| no_cursor(op))?;
        let max = |field| Ok::<_, Problem>(u32_of(op.optional_number(field)?.unwrap_or(0)));
        let found = cursor.next(max("rows")?, max("bytes")?).map_err(Error::from)?;
        piece(&found, reals(op)?)
    }

    /// Reads to the end in pieces of `rows` rows and keeps nothing: for results larger than the facet's memory.
    pub(crate) fn sql_walk(&self, op: &Op<'_>) -> Outcome {
        let cursor = host::open(op.text("q")?, &params(op)?).map_err(Error::from)?;
        let piece_rows = u32_of(op.optional_number("rows")?.unwrap_or(0));
        let (mut rows, mut pieces, mut last) = (0, 0, Value::Null);
        loop {
            let found = cursor.next(piece_rows, 0).map_err(Error::from)?;
            (rows, pieces) = (rows + found.rows.len(), pieces + 1);
            if let Some(row) = found.rows.last() {
                last = row
                    .iter()
                    .map(|value| column(value, Reals::Json))
                    .collect::<Outcome>()?;
            }
            if !found.more {
                return Ok(json!({ "rows": rows, "pieces": pieces, "last": last }));
            }
        }
    }

    pub(crate) fn sql_drop(&self, op: &Op<'_>) -> Outcome {
        let dropped = self.cursors.borrow_mut().remove(op.text("as")?);
        dropped.map(|_| Value::Null).ok_or_else(|| no_cursor(op))
    }

    pub(crate) fn sql_statistics(&self) -> Outcome {
        let usage = host::statistics();
        Ok(json!({
            "rows_read": usage.rows_read,
            "rows_written": usage.rows_written,
            "database_bytes": usage.database_bytes,
        }))
    }
}

fn no_cursor(op: &Op<'_>) -> Problem {
    invalid(format!("no cursor is kept as `{}`", op.value("as")))
}

fn u32_of(number: u64) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

fn params(op: &Op<'_>) -> Outcome<Vec<SqlValue>> {
    let params = op.optional("params", "a list", Value::as_array)?;
    params.into_iter().flatten().map(parameter).collect()
}

fn reals(op: &Op<'_>) -> Outcome<Reals> {
    Ok(match op.optional("bits", "a bool", Value::as_bool)? {
        Some(true) => Reals::Bits,
        _ => Reals::Json,
    })
}

fn piece(found: &host::Rows, reals: Reals) -> Outcome {
    Ok(json!({ "columns": found.columns, "rows": values(&found.rows, reals)?, "more": found.more }))
}

fn values(rows: &[Vec<SqlValue>], reals: Reals) -> Outcome<Vec<Value>> {
    rows.iter()
        .map(|row| row.iter().map(|value| column(value, reals)).collect())
        .collect()
}

/// A parameter by the JSON conventions: a decimal string beyond 2^53 is an integer, any other string is text; `bits` are
/// those of a real.
fn parameter(value: &Value) -> Outcome<SqlValue> {
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
        Value::Object(fields) => match fields.get("bits").and_then(Value::as_str) {
            Some(bits) => {
                let bits = u64::from_str_radix(bits, 16).map_err(|_| invalid("`bits` is not hexadecimal"))?;
                SqlValue::Real(f64::from_bits(bits))
            }
            None => SqlValue::Blob(json::from_value::<Bytes>(value.clone())?.0),
        },
        Value::Array(_) => return Err(invalid("a list is no SQL value")),
    })
}

fn column(value: &SqlValue, reals: Reals) -> Outcome {
    Ok(match (value, reals) {
        (SqlValue::Null, _) => Value::Null,
        (SqlValue::Integer(integer), _) => json::to_value(integer)?,
        (SqlValue::Real(real), Reals::Json) => json::to_value(real)?,
        (SqlValue::Real(real), Reals::Bits) => json!({ "bits": format!("{:016x}", real.to_bits()) }),
        (SqlValue::Text(text), _) => Value::String(text.clone()),
        (SqlValue::Blob(bytes), _) => json::to_value(&Bytes(bytes.clone()))?,
    })
}

fn type_name(value: &SqlValue) -> Value {
    let name = match value {
        SqlValue::Null => "null",
        SqlValue::Integer(_) => "integer",
        SqlValue::Real(_) => "real",
        SqlValue::Text(_) => "text",
        SqlValue::Blob(_) => "blob",
    };
    name.into()
}
