//! Guest SQL: several statements in one text, parameters to the last one, whose rows are answered, bounded. A statement that
//! fails has changed nothing.

use std::sync::Arc;

use super::connection::{Connected, Prepared};
use super::cursor::{Cursor, CursorId, take_rows};
use super::error::{StorageCode, StorageError, StorageLimit};
use super::quota::Reach;
use super::statement::{Statement, total_changes};
use super::store::FacetStore;
use super::text::{first_word, is_blank};
use super::value::{Column, Rows, Value};

/// Bytes of rows that one call answers, each value counted with some overhead.
pub(crate) const RESULT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Rows that one piece of a cursor's result has.
pub(crate) const CURSOR_ROWS_MAX: u32 = 10_000;
/// Cursors open at a time.
pub(crate) const CURSORS_MAX: usize = 64;

impl FacetStore {
    /// Runs `text` and answers the first rows of its last statement; the rest is not computed.
    pub(crate) fn query(&mut self, text: &str, params: &[Value], max_rows: u32) -> Result<Rows, StorageError> {
        let inside = self.in_transaction();
        self.counted(|open, read| {
            let Some(last) = open.run_all_but_last(text, params, inside, read)? else {
                return Ok(Rows::default());
            };
            let Last {
                mut statement,
                text,
                reach,
            } = last;
            let run = |open: &mut Connected| {
                let mut place = Default::default();
                let rows = take_rows(open, &mut statement, &mut place, max_rows as usize, RESULT_BYTES_MAX);
                // Also after an error: SQLite ends no savepoint while a statement that writes runs.
                statement.reset();
                rows
            };
            let result = open.write(reach, run);
            open.counters.show(&statement);
            *read += statement
                .take_scan_steps()
                .max(result.as_ref().map_or(0, |rows| rows.rows.len() as u64));
            if let (Some(text), Ok(_)) = (text, &result) {
                open.guests.keep(text, statement);
            }
            result
        })
    }

    /// Runs `text` and answers a cursor over the rows of its last statement.
    pub(crate) fn open_cursor(&mut self, text: &str, params: &[Value]) -> Result<CursorId, StorageError> {
        let id = CursorId(self.next_number());
        let inside = self.in_transaction();
        self.counted(|open, read| {
            if open.cursors.len() >= CURSORS_MAX {
                let message = format!("at most {CURSORS_MAX} cursors can be open: drop one, or use query");
                return Err(StorageError::limit(StorageLimit::Cursors, message));
            }
            let cursor = match open.run_all_but_last(text, params, inside, read)? {
                None => Cursor::kept(Vec::new(), Vec::new()),
                Some(Last {
                    mut statement,
                    reach: Reach::Nothing,
                    ..
                }) => {
                    let place = Cursor::begin(open, &mut statement)?;
                    Cursor::live(statement, place)
                }
                // While a statement that writes is not finished, SQLite begins no savepoint. Its rows are few: what
                // RETURNING answers.
                Some(Last {
                    mut statement, reach, ..
                }) => open.write(reach, |open| {
                    let mut place = Default::default();
                    let rows = take_rows(open, &mut statement, &mut place, usize::MAX, RESULT_BYTES_MAX);
                    statement.reset();
                    open.counters.show(&statement);
                    let rows = rows?;
                    if rows.more {
                        let message = format!(
                            "RETURNING answers more than {RESULT_BYTES_MAX} bytes: change fewer rows at a time"
                        );
                        return Err(StorageError::new(StorageCode::TooBig, message));
                    }
                    Ok(Cursor::kept(statement.columns(), rows.rows))
                })?,
            };
            open.cursors.insert(id, cursor);
            Ok(id)
        })
    }

    /// The next rows of a cursor: at most `max_rows` and about `max_bytes`, at least one; 0 stands for the most.
    pub(crate) fn cursor_next(&mut self, id: CursorId, max_rows: u32, max_bytes: u32) -> Result<Rows, StorageError> {
        let rows_max = if max_rows == 0 {
            CURSOR_ROWS_MAX
        } else {
            max_rows.min(CURSOR_ROWS_MAX)
        } as usize;
        let bytes_max = if max_bytes == 0 {
            RESULT_BYTES_MAX
        } else {
            (max_bytes as usize).min(RESULT_BYTES_MAX)
        };
        if self.lost.is_none() && !self.open.as_ref().is_some_and(|open| open.cursors.contains(id)) {
            return Err(closed());
        }
        self.counted(|open, read| {
            let mut cursor = open.cursors.take(id).ok_or_else(closed)?;
            open.authorizer.begin_statement();
            let rows = cursor.next(open, rows_max, bytes_max)?;
            *read += cursor.take_scan_steps().max(rows.rows.len() as u64);
            open.cursors.insert(id, cursor);
            Ok(rows)
        })
    }

    /// The columns of a cursor's rows.
    pub(crate) fn cursor_columns(&self, id: CursorId) -> Result<Vec<Column>, StorageError> {
        let open = self.open.as_ref().filter(|_| self.lost.is_none());
        open.and_then(|open| open.cursors.get(id))
            .map(Cursor::columns)
            .ok_or_else(closed)
    }

    /// Forgets a cursor.
    pub(crate) fn close_cursor(&mut self, id: CursorId) {
        if let Some(open) = &mut self.open {
            open.cursors.take(id);
        }
    }

    /// True if SQLite has ended the turn's transaction: nothing of the turn can be kept.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Runs guest SQL and counts what it reads and writes.
    fn counted<R>(
        &mut self,
        run: impl FnOnce(&mut Connected, &mut u64) -> Result<R, StorageError>,
    ) -> Result<R, StorageError> {
        let (mut read, mut written) = (0, 0);
        let result = self.access_made(|open| {
            let heap = Arc::clone(&open.heap);
            let _counted = heap.enter();
            let before = total_changes(&open.conn);
            let result = run(open, &mut read);
            written = total_changes(&open.conn) - before;
            result
        });
        self.rows_read += read;
        self.rows_written += written;
        result
    }
}

fn closed() -> StorageError {
    let message = "this cursor is closed: cursors live until the end of the turn that opened them";
    StorageError::new(StorageCode::CursorClosed, message)
}

fn reach(statement: &Statement, alters: bool) -> Reach {
    match (alters, statement.is_readonly(), statement.column_count()) {
        (true, _, _) => Reach::Alter,
        (false, true, _) => Reach::Nothing,
        (false, false, 0) => Reach::Any,
        (false, false, _) => Reach::Returning,
    }
}

/// The last statement of a text, parameters bound.
struct Last<'t> {
    statement: Statement,
    /// The text, if it is worth keeping the statement for.
    text: Option<&'t str>,
    reach: Reach,
}

impl Connected {
    /// Runs all statements of a text but the last, which it answers; none if there is no statement at all. `inside`: an
    /// explicit transaction is open.
    fn run_all_but_last<'t>(
        &mut self,
        text: &'t str,
        params: &[Value],
        inside: bool,
        read: &mut u64,
    ) -> Result<Option<Last<'t>>, StorageError> {
        self.authorizer.begin_statement();
        if let Some(mut statement) = self.guests.take(text) {
            let reach = reach(&statement, false);
            self.bind(&mut statement, params)?;
            return Ok(Some(Last {
                statement,
                text: Some(text),
                reach,
            }));
        }
        if text.contains('\0') {
            // SQLite would stop there and not run the rest.
            return Err(StorageError::new(
                StorageCode::Sql,
                "the text of a statement cannot contain NUL",
            ));
        }
        let (mut rest, mut first) = (text, true);
        loop {
            if first_word(rest).eq_ignore_ascii_case("VACUUM") {
                let message = "VACUUM is not available: the host decides when a database is compacted";
                return Err(StorageError::new(StorageCode::Denied, message));
            }
            self.authorizer.begin_statement();
            let Prepared {
                statement,
                rest: tail,
                as_written,
            } = self.prepare_guest(rest)?;
            let last = is_blank(tail);
            let Some(mut statement) = statement else {
                if last {
                    return self.bind_nothing(params);
                }
                rest = tail;
                continue;
            };
            let alters = self.authorizer.alters();
            let reach = reach(&statement, alters);
            if let Some(wish) = self.authorizer.take_wish() {
                self.carry_out(wish, inside)?;
            }
            if last {
                self.bind(&mut statement, params)?;
                // ALTER and PRAGMA must be seen by the authorizer each time.
                let kept = first && as_written && !alters && !self.authorizer.is_pragma();
                return Ok(Some(Last {
                    statement,
                    text: kept.then_some(text),
                    reach,
                }));
            }
            self.run_through(&mut statement, reach)?;
            *read += statement.take_scan_steps();
            (rest, first) = (tail, false);
        }
    }

    /// Runs a statement whose rows nobody wants.
    fn run_through(&mut self, statement: &mut Statement, reach: Reach) -> Result<(), StorageError> {
        if statement.parameter_count() > 0 {
            let message = "only the last statement of a text can have parameters: run the others by themselves";
            return Err(StorageError::new(StorageCode::Sql, message));
        }
        self.write(reach, |open| {
            let rows = take_rows(open, statement, &mut Default::default(), 0, RESULT_BYTES_MAX);
            statement.reset();
            open.counters.show(statement);
            rows.map(|_| ())
        })
    }

    fn bind(&self, statement: &mut Statement, params: &[Value]) -> Result<(), StorageError> {
        let expected = statement.parameter_count();
        if expected != params.len() {
            let message = format!(
                "the statement has {expected} parameters, {} values were given",
                params.len()
            );
            return Err(StorageError::new(StorageCode::Sql, message));
        }
        for (index, value) in params.iter().enumerate() {
            statement
                .bind(index + 1, value)
                .map_err(|failure| self.explain(failure))?;
        }
        Ok(())
    }

    fn bind_nothing<'t>(&self, params: &[Value]) -> Result<Option<Last<'t>>, StorageError> {
        if params.is_empty() {
            return Ok(None);
        }
        Err(StorageError::new(
            StorageCode::Sql,
            "values were given, but the text holds no statement",
        ))
    }
}

#[cfg(test)]
mod tests;
