//! A result is read in pieces that are bounded by rows and bytes; each piece has at least one row, so a reader gets on.

use std::collections::{HashMap, VecDeque};

use super::connection::Connected;
use super::error::StorageError;
use super::statement::{Statement, Step, VALUE_OVERHEAD_BYTES};
use super::value::{Column, Rows, Value};

/// Names a cursor of one store, for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct CursorId(pub(super) u64);

/// The open cursors of a connection.
#[derive(Default)]
pub(super) struct Cursors(HashMap<CursorId, Cursor>);

impl Cursors {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, id: CursorId) -> bool {
        self.0.contains_key(&id)
    }

    pub(super) fn insert(&mut self, id: CursorId, cursor: Cursor) {
        self.0.insert(id, cursor);
    }

    pub(super) fn get(&self, id: CursorId) -> Option<&Cursor> {
        self.0.get(&id)
    }

    pub(super) fn take(&mut self, id: CursorId) -> Option<Cursor> {
        self.0.remove(&id)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Where a running statement is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Place {
    /// Before the next row.
    #[default]
    Before,
    /// At a row that was not answered yet.
    At,
    /// Behind the last row.
    End,
}

pub(super) enum Cursor {
    /// A statement that runs on.
    Live { statement: Statement, place: Place },
    /// Rows that are there already.
    Kept {
        columns: Vec<Column>,
        rows: VecDeque<Vec<Value>>,
    },
}

impl Cursor {
    /// Runs up to the first row, so that what is wrong shows when the cursor is opened.
    pub(super) fn begin(open: &Connected, statement: &mut Statement) -> Result<Place, StorageError> {
        Ok(match statement.step().map_err(|failure| open.explain(failure))? {
            Step::Row => Place::At,
            Step::Done => Place::End,
        })
    }

    pub(super) fn live(statement: Statement, place: Place) -> Self {
        Self::Live { statement, place }
    }

    pub(super) fn kept(columns: Vec<Column>, rows: Vec<Vec<Value>>) -> Self {
        Self::Kept {
            columns,
            rows: rows.into(),
        }
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        match self {
            Self::Live { statement, .. } => statement.columns(),
            Self::Kept { columns, .. } => columns.clone(),
        }
    }

    pub(super) fn next(&mut self, open: &Connected, rows_max: usize, bytes_max: usize) -> Result<Rows, StorageError> {
        match self {
            Self::Live { statement, place } => take_rows(open, statement, place, rows_max, bytes_max),
            Self::Kept { columns, rows } => {
                let (mut taken, mut bytes) = (Vec::new(), 0);
                while taken.len() < rows_max
                    && let Some(row) = rows.front()
                {
                    bytes += row_bytes(row);
                    if bytes > bytes_max && !taken.is_empty() {
                        break;
                    }
                    taken.extend(rows.pop_front());
                }
                Ok(Rows {
                    columns: columns.iter().map(|column| column.name.clone()).collect(),
                    rows: taken,
                    more: !rows.is_empty(),
                })
            }
        }
    }

    pub(super) fn take_scan_steps(&mut self) -> u64 {
        match self {
            Self::Live { statement, .. } => statement.take_scan_steps(),
            Self::Kept { .. } => 0,
        }
    }
}

fn row_bytes(row: &[Value]) -> usize {
    let bytes = row.iter().map(|value| match value {
        Value::Text(text) => text.len(),
        Value::Blob(blob) => blob.len(),
        Value::Null | Value::Integer(_) | Value::Real(_) => 0,
    });
    VALUE_OVERHEAD_BYTES * (row.len() + 1) + bytes.sum::<usize>()
}

/// The next rows of a statement that runs. A row that does not fit stays for the next piece.
pub(super) fn take_rows(
    open: &Connected,
    statement: &mut Statement,
    place: &mut Place,
    rows_max: usize,
    bytes_max: usize,
) -> Result<Rows, StorageError> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    loop {
        if *place == Place::Before {
            *place = match statement.step().map_err(|failure| open.explain(failure))? {
                Step::Row => Place::At,
                Step::Done => Place::End,
            };
        }
        if *place == Place::End || rows.len() >= rows_max {
            break;
        }
        bytes += statement.row_bytes();
        if bytes > bytes_max && !rows.is_empty() {
            break;
        }
        rows.push(statement.row());
        *place = Place::Before;
    }
    // After the first step: a statement compiled again meanwhile may have other columns.
    Ok(Rows {
        columns: statement.column_names(),
        rows,
        more: *place == Place::At,
    })
}
