//! SQL on this facet's own database. Nothing here waits; all of it is part of the turn, so a failed call can simply be
//! handed on with `?` and undone with [`transaction`](crate::storage::transaction).
//!
//! Integers are exact in all 64 bits, booleans are the integers 0 and 1.

mod value;

use std::rc::Rc;

use crate::bindings::facetd::runtime::sql as host;
pub use crate::bindings::facetd::runtime::sql::{Column, Usage, Value};
use crate::error::{Error, Result};
pub use value::{FromSql, ToSql};

/// Rows fetched from the host at a time, and the most that [`query`] answers.
const MAX_ROWS: u32 = 10_000;

/// Parameters for a statement: `params![id, "title", None::<i64>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::sql::ToSql::to_sql(&$value)),*] as &[$crate::sql::Value] };
}

/// Runs statements for their effect. Parameters go to the last one.
pub fn execute(text: &str, params: &[Value]) -> Result<()> {
    host::query(text, params, 1)?;
    Ok(())
}

/// The rows of the last statement of `text`. More than 10,000 rows are an error; use [`stream`] for those.
pub fn query(text: &str, params: &[Value]) -> Result<Vec<Row>> {
    let rows = host::query(text, params, MAX_ROWS)?;
    if rows.more {
        return Err(Error::new(
            "too-many-rows",
            "the result is too long for `query`; use `stream` or LIMIT",
        ));
    }
    Ok(into_rows(&rows.columns.into(), rows.rows).collect())
}

/// The first row, if there is one.
pub fn query_row(text: &str, params: &[Value]) -> Result<Option<Row>> {
    let rows = host::query(text, params, 1)?;
    let row = into_rows(&rows.columns.into(), rows.rows).next();
    Ok(row)
}

/// The first column of the first row: `sql::query_value::<i64>("SELECT count(*) FROM t", &[])`.
pub fn query_value<T: FromSql>(text: &str, params: &[Value]) -> Result<Option<T>> {
    query_row(text, params)?.map(|row| row.at(0)).transpose()
}

/// The rows of the last statement, fetched in pieces. Lives until the end of the turn: do not wait while reading.
pub fn stream(text: &str, params: &[Value]) -> Result<Rows> {
    Ok(Rows {
        cursor: Some(host::open(text, params)?),
        fetched: Vec::new().into_iter(),
        columns: Rc::from([]),
    })
}

/// Rows read and written since this facet was started, and the size of its database.
pub fn statistics() -> Usage {
    host::statistics()
}

/// See [`stream`].
///
/// ```ignore
/// let rows = sql::stream("SELECT id, title FROM notes", &[])?;
/// for column in rows.columns()? {
///     log::info(&format!("{} {}", column.name, column.declared.as_deref().unwrap_or("any")));
/// }
/// ```
pub struct Rows {
    cursor: Option<host::Cursor>,
    fetched: std::vec::IntoIter<Vec<Value>>,
    columns: Rc<[String]>,
}

impl Rows {
    /// Names of the columns, and their types in CREATE TABLE. To be asked before the rows are read to the end.
    pub fn columns(&self) -> Result<Vec<Column>> {
        match &self.cursor {
            Some(cursor) => Ok(cursor.columns()?),
            None => Err(Error::new(
                "no-columns",
                "the rows were read to their end; ask for columns before",
            )),
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(values) = self.fetched.next() {
                return Some(Ok(Row {
                    columns: self.columns.clone(),
                    values,
                }));
            }
            let next = self.cursor.as_ref()?.next(1_000, 1 << 20);
            match next {
                Ok(rows) => {
                    if !rows.more {
                        self.cursor = None;
                    }
                    self.columns = rows.columns.into();
                    self.fetched = rows.rows.into_iter();
                }
                Err(error) => {
                    self.cursor = None;
                    return Some(Err(error.into()));
                }
            }
        }
    }
}

fn into_rows(columns: &Rc<[String]>, rows: Vec<Vec<Value>>) -> impl Iterator<Item = Row> {
    let columns = columns.clone();
    rows.into_iter().map(move |values| Row {
        columns: columns.clone(),
        values,
    })
}

/// One row of a result.
#[derive(Clone, Debug)]
pub struct Row {
    columns: Rc<[String]>,
    values: Vec<Value>,
}

impl Row {
    /// The value of the column of that name.
    pub fn get<T: FromSql>(&self, column: &str) -> Result<T> {
        match self.columns.iter().position(|name| name == column) {
            Some(index) => self.at(index),
            None => Err(Error::new(
                "no-such-column",
                format_args!("no column `{column}` among {:?}", self.columns),
            )),
        }
    }

    /// The value of the column at that place, from 0.
    pub fn at<T: FromSql>(&self, index: usize) -> Result<T> {
        let column = || self.columns.get(index).map_or("?", String::as_str);
        let value = self
            .values
            .get(index)
            .ok_or_else(|| Error::new("no-such-column", format_args!("no column {index}")))?;
        T::from_sql(value).ok_or_else(|| {
            let message = format!(
                "column `{}` holds {}, expected {}",
                column(),
                type_of(value),
                T::EXPECTED
            );
            Error::new("wrong-type", message)
        })
    }

    /// Names of the columns, in order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The values, in order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Integer(_) => "an integer",
        Value::Real(_) => "a real",
        Value::Text(_) => "text",
        Value::Blob(_) => "a blob",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: Vec<Value>) -> Row {
        Row {
            columns: (0..values.len()).map(|i| format!("c{i}")).collect(),
            values,
        }
    }

    #[test]
    fn parameters_keep_their_values() {
        let params: &[Value] = params![
            i64::MIN,
            true,
            1.5,
            "x",
            String::from("y"),
            vec![1u8],
            None::<i64>,
            Some(2u32)
        ];
        let text = format!("{params:?}");
        assert_eq!(
            text,
            "[Value::Integer(-9223372036854775808), Value::Integer(1), Value::Real(1.5), Value::Text(\"x\"), \
             Value::Text(\"y\"), Value::Blob([1]), Value::Null, Value::Integer(2)]"
        );
    }

    #[test]
    fn columns_are_read_by_name_and_place() {
        let row = row(vec![
            Value::Integer(i64::MAX),
            Value::Null,
            Value::Text("t".into()),
            Value::Integer(1),
        ]);
        assert_eq!(row.get::<i64>("c0").unwrap(), i64::MAX);
        assert_eq!(row.get::<Option<String>>("c1").unwrap(), None);
        assert_eq!(row.at::<String>(2).unwrap(), "t");
        assert!(row.get::<bool>("c3").unwrap());
        assert_eq!(row.at::<f64>(3).unwrap(), 1.0);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let row = row(vec![Value::Integer(300), Value::Text("7".into())]);
        assert_eq!(
            row.get::<u8>("c0").unwrap_err().message(),
            "column `c0` holds an integer, expected u8"
        );
        assert_eq!(
            row.get::<i64>("c1").unwrap_err().message(),
            "column `c1` holds text, expected i64"
        );
        assert_eq!(row.get::<i64>("x").unwrap_err().code(), "no-such-column");
        assert_eq!(row.at::<i64>(2).unwrap_err().code(), "no-such-column");
        assert_eq!(row.at::<f64>(1).unwrap_err().code(), "wrong-type");
    }
}
