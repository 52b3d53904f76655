//! The only module that calls SQLite's statement functions. A statement never outlives its connection: `Connected` keeps
//! all of them and drops them first.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::ptr::{self, NonNull};

use rusqlite::{Connection, ffi};

use super::value::{Column, Value};

/// Bytes that a value takes in a result beside its text or blob; bounds results of many small values.
pub(super) const VALUE_OVERHEAD_BYTES: usize = 32;

/// A compiled statement.
pub(super) struct Statement {
    raw: NonNull<ffi::sqlite3_stmt>,
}

// SAFETY: SQLite is built with THREADSAFE=1, so a statement may be used from any thread, and `&mut self` on everything
// that changes it keeps that to one at a time.
unsafe impl Send for Statement {}

/// What a step led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Row,
    Done,
}

/// SQLite's own words for the last failure of a connection.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) rc: c_int,
    pub(super) message: String,
}

impl Failure {
    /// # Safety
    /// `db` is an open connection.
    unsafe fn of(db: *mut ffi::sqlite3, rc: c_int) -> Self {
        // SAFETY: the caller's promise; the message is a NUL-terminated string that lives until the next call on `db`.
        let message = unsafe {
            let text = ffi::sqlite3_errmsg(db);
            if text.is_null() {
                String::new()
            } else {
                CStr::from_ptr(text).to_string_lossy().into_owned()
            }
        };
        Self { rc, message }
    }
}

impl Statement {
    /// Compiles the first statement of `sql`; answers the statement (none if `sql` holds only blanks and comments) and
    /// what is left of the text.
    ///
    /// # Safety
    /// The statement is dropped before `conn`.
    pub(super) unsafe fn prepare<'s>(
        conn: &Connection,
        sql: &'s str,
        persistent: bool,
    ) -> Result<(Option<Self>, &'s str), Failure> {
        let mut raw = ptr::null_mut();
        let mut tail = ptr::null();
        let flags = if persistent { ffi::SQLITE_PREPARE_PERSISTENT } else { 0 };
        let bytes = c_int::try_from(sql.len()).unwrap_or(c_int::MAX);
        // SAFETY: the handle is valid while `conn` is borrowed; SQLite reads at most `bytes` of `sql`, which lives on, and
        // sets `tail` to a place in it or to its end.
        unsafe {
            let db = conn.handle();
            let start = sql.as_ptr().cast();
            let rc = ffi::sqlite3_prepare_v3(db, start, bytes, flags, &raw mut raw, &raw mut tail);
            if rc != ffi::SQLITE_OK {
                return Err(Failure::of(db, rc));
            }
            let used = if tail.is_null() {
                sql.len()
            } else {
                tail.offset_from(start) as usize
            };
            // A statement ends at an ASCII semicolon or at the end, so this is a character boundary.
            Ok((NonNull::new(raw).map(|raw| Self { raw }), sql.get(used..).unwrap_or("")))
        }
    }

    fn raw(&self) -> *mut ffi::sqlite3_stmt {
        self.raw.as_ptr()
    }

    fn failure(&self, rc: c_int) -> Failure {
        // SAFETY: a statement knows its connection, which is open as long as the statement exists.
        unsafe { Failure::of(ffi::sqlite3_db_handle(self.raw()), rc) }
    }

    /// The number of the highest parameter.
    pub(super) fn parameter_count(&self) -> usize {
        // SAFETY: the statement is valid.
        let count = unsafe { ffi::sqlite3_bind_parameter_count(self.raw()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// True if the statement itself changes nothing in the database.
    pub(super) fn is_readonly(&self) -> bool {
        // SAFETY: the statement is valid.
        unsafe { ffi::sqlite3_stmt_readonly(self.raw()) != 0 }
    }

    /// What it was compiled from.
    pub(super) fn text(&self) -> Cow<'_, str> {
        // SAFETY: the statement is valid; its text is NUL-terminated and lives as long.
        unsafe {
            let text = ffi::sqlite3_sql(self.raw());
            if text.is_null() {
                Cow::Borrowed("")
            } else {
                CStr::from_ptr(text).to_string_lossy()
            }
        }
    }

    /// Sets parameter `index`, counted from 1. SQLite keeps a copy.
    pub(super) fn bind(&mut self, index: usize, value: &Value) -> Result<(), Failure> {
        match value {
            Value::Null => {
                let index = c_int::try_from(index).unwrap_or(c_int::MAX);
                // SAFETY: the statement is valid; a wrong index is an error code.
                let rc = unsafe { ffi::sqlite3_bind_null(self.raw(), index) };
                self.check(rc)
            }
            Value::Integer(number) => self.bind_integer(index, *number),
            Value::Real(number) => {
                let index = c_int::try_from(index).unwrap_or(c_int::MAX);
                // SAFETY: the statement is valid; a wrong index is an error code.
                let rc = unsafe { ffi::sqlite3_bind_double(self.raw(), index, *number) };
                self.check(rc)
            }
            Value::Text(text) => self.bind_text(index, text.as_bytes()),
            Value::Blob(bytes) => self.bind_blob(index, bytes),
        }
    }

    pub(super) fn bind_integer(&mut self, index: usize, number: i64) -> Result<(), Failure> {
        let index = c_int::try_from(index).unwrap_or(c_int::MAX);
        // SAFETY: the statement is valid; a wrong index is an error code.
        let rc = unsafe { ffi::sqlite3_bind_int64(self.raw(), index, number) };
        self.check(rc)
    }

    /// Binds bytes as text. They need not be UTF-8: the bound of a range of keys may end within a character.
    pub(super) fn bind_text(&mut self, index: usize, text: &[u8]) -> Result<(), Failure> {
        let index = c_int::try_from(index).unwrap_or(c_int::MAX);
        let (start, bytes) = (text.as_ptr().cast(), text.len() as u64);
        // SAFETY: the statement is valid; SQLite copies `bytes` bytes from `start` before it returns (SQLITE_TRANSIENT).
        let rc = unsafe {
            ffi::sqlite3_bind_text64(
                self.raw(),
                index,
                start,
                bytes,
                ffi::SQLITE_TRANSIENT(),
                ffi::SQLITE_UTF8 as u8,
            )
        };
        self.check(rc)
    }

    pub(super) fn bind_blob(&mut self, index: usize, blob: &[u8]) -> Result<(), Failure> {
        let index = c_int::try_from(index).unwrap_or(c_int::MAX);
        // An empty slice's pointer is dangling, never null, so SQLite does not take it for NULL; no byte is read.
        let (start, bytes) = (blob.as_ptr().cast(), blob.len() as u64);
        // SAFETY: the statement is valid; SQLite copies `bytes` bytes from `start` before it returns (SQLITE_TRANSIENT).
        let rc = unsafe { ffi::sqlite3_bind_blob64(self.raw(), index, start, bytes, ffi::SQLITE_TRANSIENT()) };
        self.check(rc)
    }

    pub(super) fn step(&mut self) -> Result<Step, Failure> {
        // SAFETY: the statement is valid.
        match unsafe { ffi::sqlite3_step(self.raw()) } {
            ffi::SQLITE_ROW => Ok(Step::Row),
            ffi::SQLITE_DONE => Ok(Step::Done),
            rc => Err(self.failure(rc)),
        }
    }

    /// Ends the run, so that the statement holds no lock and can run again. Forgets parameters, which may be large.
    pub(super) fn reset(&mut self) {
        // SAFETY: the statement is valid. The answer of reset repeats the error of the last step, which was handled.
        unsafe {
            ffi::sqlite3_reset(self.raw());
            ffi::sqlite3_clear_bindings(self.raw());
        }
    }

    pub(super) fn column_count(&self) -> usize {
        // SAFETY: the statement is valid.
        let count = unsafe { ffi::sqlite3_column_count(self.raw()) };
        usize::try_from(count).unwrap_or(0)
    }

    pub(super) fn column_names(&self) -> Vec<String> {
        (0..self.column_count())
            .map(|column| {
                // SAFETY: the index is in range; the name is NUL-terminated and lives until the next call.
                unsafe {
                    let name = ffi::sqlite3_column_name(self.raw(), column as c_int);
                    if name.is_null() {
                        String::new()
                    } else {
                        CStr::from_ptr(name).to_string_lossy().into_owned()
                    }
                }
            })
            .collect()
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        let declared = |column| {
            // SAFETY: the index is in range; the type is null or NUL-terminated, and lives until the next call.
            unsafe {
                let text = ffi::sqlite3_column_decltype(self.raw(), column as c_int);
                (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        };
        let names = self.column_names().into_iter().enumerate();
        names
            .map(|(column, name)| Column {
                name,
                declared: declared(column),
            })
            .collect()
    }

    /// The bytes of a text or blob in the current row.
    pub(super) fn column_bytes(&mut self, column: usize) -> &[u8] {
        // SAFETY: the statement is at a row. `column_blob` converts nothing for text in a UTF-8 database, and the memory
        // lives until the next step, reset or conversion, all of which need `&mut self`. Null stands for no bytes.
        unsafe {
            let column = column as c_int;
            let start = ffi::sqlite3_column_blob(self.raw(), column);
            let bytes = usize::try_from(ffi::sqlite3_column_bytes(self.raw(), column)).unwrap_or(0);
            if start.is_null() || bytes == 0 {
                &[]
            } else {
                std::slice::from_raw_parts(start.cast(), bytes)
            }
        }
    }

    pub(super) fn column_integer(&self, column: usize) -> i64 {
        // SAFETY: the statement is at a row; a wrong index answers 0.
        unsafe { ffi::sqlite3_column_int64(self.raw(), column as c_int) }
    }

    fn column_type(&self, column: usize) -> c_int {
        // SAFETY: the statement is at a row; a wrong index answers NULL.
        unsafe { ffi::sqlite3_column_type(self.raw(), column as c_int) }
    }

    /// What the current row will take in a result.
    pub(super) fn row_bytes(&mut self) -> usize {
        let mut total = VALUE_OVERHEAD_BYTES;
        for column in 0..self.column_count() {
            let bytes = match self.column_type(column) {
                ffi::SQLITE_TEXT | ffi::SQLITE_BLOB => self.column_bytes(column).len(),
                _ => 0,
            };
            total += VALUE_OVERHEAD_BYTES + bytes;
        }
        total
    }

    /// The current row.
    pub(super) fn row(&mut self) -> Vec<Value> {
        (0..self.column_count()).map(|column| self.column(column)).collect()
    }

    /// The bytes of a text of the current row that is not UTF-8.
    pub(super) fn bad_text(&mut self, column: usize) -> Option<&[u8]> {
        if self.column_type(column) != ffi::SQLITE_TEXT {
            return None;
        }
        Some(self.column_bytes(column)).filter(|bytes| std::str::from_utf8(bytes).is_err())
    }

    /// SQLite takes text for bytes, and makes some that is not UTF-8 by itself: it cuts within a character, and JSON has
    /// halves of surrogates. One such value must not hide the others, so what is no character is given as U+FFFD.
    pub(super) fn column(&mut self, column: usize) -> Value {
        match self.column_type(column) {
            ffi::SQLITE_INTEGER => Value::Integer(self.column_integer(column)),
            // SAFETY: the statement is at a row.
            ffi::SQLITE_FLOAT => Value::Real(unsafe { ffi::sqlite3_column_double(self.raw(), column as c_int) }),
            ffi::SQLITE_BLOB => Value::Blob(self.column_bytes(column).to_vec()),
            ffi::SQLITE_TEXT => Value::Text(String::from_utf8_lossy(self.column_bytes(column)).into_owned()),
            _ => Value::Null,
        }
    }

    /// Steps over rows in scans of whole tables, since this was last asked.
    pub(super) fn take_scan_steps(&mut self) -> u64 {
        // SAFETY: the statement is valid.
        let steps = unsafe { ffi::sqlite3_stmt_status(self.raw(), ffi::SQLITE_STMTSTATUS_FULLSCAN_STEP, 1) };
        u64::try_from(steps).unwrap_or(0)
    }

    fn check(&self, rc: c_int) -> Result<(), Failure> {
        if rc == ffi::SQLITE_OK {
            Ok(())
        } else {
            Err(self.failure(rc))
        }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: the statement is valid and not used afterwards.
        unsafe { ffi::sqlite3_finalize(self.raw()) };
    }
}

/// True if the transaction has taken the write lock: something was, or might have been, written.
pub(super) fn has_written(conn: &Connection) -> bool {
    // SAFETY: the handle is valid while `conn` is borrowed; the name is NUL-terminated.
    unsafe { ffi::sqlite3_txn_state(conn.handle(), c"main".as_ptr()) == ffi::SQLITE_TXN_WRITE }
}

/// Rows changed since the connection was opened.
pub(super) fn total_changes(conn: &Connection) -> u64 {
    // SAFETY: the handle is valid while `conn` is borrowed.
    let changes = unsafe { ffi::sqlite3_total_changes64(conn.handle()) };
    u64::try_from(changes).unwrap_or(0)
}

/// Removes all virtual table modules but those named, so that no other can be reached even without CREATE VIRTUAL TABLE.
pub(super) fn keep_modules(conn: &Connection, names: &[&CStr]) {
    let mut keep: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    keep.push(ptr::null());
    // SAFETY: the handle is valid while `conn` is borrowed; the list ends with a null pointer and SQLite only reads it.
    unsafe { ffi::sqlite3_drop_modules(conn.handle(), keep.as_mut_ptr()) };
}

/// Keeps so many bytes at the end of every page of a database that has no table yet.
pub(super) fn reserve_bytes(conn: &Connection, bytes: usize) {
    let mut bytes = c_int::try_from(bytes).unwrap_or(0);
    // SAFETY: the handle is valid while `conn` is borrowed; the operation reads one integer, and writes what it was before.
    unsafe {
        ffi::sqlite3_file_control(
            conn.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_RESERVE_BYTES,
            (&raw mut bytes).cast(),
        )
    };
}

/// The content of the main database as one image, as it would be on disk.
pub(super) fn serialize(conn: &Connection) -> Option<Vec<u8>> {
    let mut bytes = 0;
    // SAFETY: the handle is valid while `conn` is borrowed; SQLite answers memory of its own of `bytes` bytes, or null,
    // which is copied and freed once.
    unsafe {
        let image = ffi::sqlite3_serialize(conn.handle(), c"main".as_ptr(), &raw mut bytes, 0);
        if image.is_null() {
            return None;
        }
        let copy = std::slice::from_raw_parts(image, usize::try_from(bytes).unwrap_or(0)).to_vec();
        ffi::sqlite3_free(image.cast());
        Some(copy)
    }
}
