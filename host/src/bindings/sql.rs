//! `facetd:runtime/sql`.

use wasmtime::component::Resource;

use crate::bindings::convert::{Answered, answered};
use crate::bindings::wit::facetd::runtime::sql::{Column, Host, HostCursor, Rows, Usage, Value};
use crate::isolate::FacetState;
use crate::storage::{self, CursorId};

/// `sql.cursor`.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub struct CursorHandle(CursorId);

fn value_in(value: Value) -> storage::Value {
    match value {
        Value::Null => storage::Value::Null,
        Value::Integer(integer) => storage::Value::Integer(integer),
        Value::Real(real) => storage::Value::Real(real),
        Value::Text(text) => storage::Value::Text(text),
        Value::Blob(blob) => storage::Value::Blob(blob),
    }
}

fn value_out(value: storage::Value) -> Value {
    match value {
        storage::Value::Null => Value::Null,
        storage::Value::Integer(integer) => Value::Integer(integer),
        storage::Value::Real(real) => Value::Real(real),
        storage::Value::Text(text) => Value::Text(text),
        storage::Value::Blob(blob) => Value::Blob(blob),
    }
}

fn rows_out(rows: storage::Rows) -> Rows {
    let storage::Rows { columns, rows, more } = rows;
    let rows = rows
        .into_iter()
        .map(|row| row.into_iter().map(value_out).collect())
        .collect();
    Rows { columns, rows, more }
}

impl Host for FacetState {
    fn query(&mut self, text: String, params: Vec<Value>, max_rows: u32) -> Answered<Rows> {
        self.alive()?;
        let params: Vec<_> = params.into_iter().map(value_in).collect();
        answered(
            FacetState::query(self, |storage| storage.query(&text, &params, max_rows))?
                .map(rows_out)
                .map_err(Into::into),
        )
    }

    fn open(&mut self, text: String, params: Vec<Value>) -> Answered<Resource<CursorHandle>> {
        self.alive()?;
        if let Err(full) = self.room_for_handle() {
            return answered(Err(full));
        }
        let params: Vec<_> = params.into_iter().map(value_in).collect();
        let opened = FacetState::query(self, |storage| storage.open_cursor(&text, &params))?;
        answered(match opened {
            Err(error) => Err(error.into()),
            Ok(id) => self
                .keep(CursorHandle(id))
                .inspect_err(|_| self.lock_storage().close_cursor(id)),
        })
    }

    fn statistics(&mut self) -> wasmtime::Result<Usage> {
        self.alive()?;
        let storage::Usage {
            rows_read,
            rows_written,
            database_bytes,
        } = self.lock_storage().statistics();
        Ok(Usage {
            rows_read,
            rows_written,
            database_bytes,
        })
    }
}

impl HostCursor for FacetState {
    fn next(&mut self, cursor: Resource<CursorHandle>, max_rows: u32, max_bytes: u32) -> Answered<Rows> {
        self.alive()?;
        let id = self.table.get(&cursor)?.0;
        answered(
            FacetState::query(self, |storage| storage.cursor_next(id, max_rows, max_bytes))?
                .map(rows_out)
                .map_err(Into::into),
        )
    }

    fn columns(&mut self, cursor: Resource<CursorHandle>) -> Answered<Vec<Column>> {
        self.alive()?;
        let id = self.table.get(&cursor)?.0;
        let columns = self.lock_storage().cursor_columns(id);
        let columns_out = |columns: Vec<storage::Column>| {
            let column_out = |storage::Column { name, declared }| Column { name, declared };
            columns.into_iter().map(column_out).collect()
        };
        answered(columns.map(columns_out).map_err(Into::into))
    }

    fn drop(&mut self, cursor: Resource<CursorHandle>) -> wasmtime::Result<()> {
        let CursorHandle(id) = self.table.delete(cursor)?;
        self.lock_storage().close_cursor(id);
        Ok(())
    }
}
