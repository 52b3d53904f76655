//! `highlight` and `snippet` of FTS5. SQLite's own copy the whole text for each match, and score each match against all
//! others. What these answer is the same, so each step says what it stands for.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

mod snippet;
mod writer;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::{ptr, slice};

use rusqlite::{Connection, ffi};

use super::{answer_text, bytes};
use crate::storage::heap;
use snippet::snippet;
use writer::{Matches, Writer};

/// Matches between two looks at whether the statement is to stop.
const LOOK_MATCHES: i32 = 1000;

/// Puts these functions in the place of SQLite's own.
pub(super) fn install(conn: &Connection) -> Result<(), c_int> {
    let mut api: *mut ffi::fts5_api = ptr::null_mut();
    // SAFETY: the handle is valid while `conn` is borrowed, the statement is finalised, and FTS5 writes one pointer to
    // `api`, which is asked for in the way that FTS5 documents. The functions are there for ever.
    unsafe {
        let mut statement = ptr::null_mut();
        let text = c"SELECT fts5(?1)".as_ptr();
        let rc = ffi::sqlite3_prepare_v2(conn.handle(), text, -1, &raw mut statement, ptr::null_mut());
        if rc != ffi::SQLITE_OK {
            return Err(rc);
        }
        let to: *mut *mut ffi::fts5_api = &raw mut api;
        ffi::sqlite3_bind_pointer(statement, 1, to.cast(), c"fts5_api_ptr".as_ptr(), None);
        ffi::sqlite3_step(statement);
        let rc = ffi::sqlite3_finalize(statement);
        let create = api.as_ref().and_then(|api| api.xCreateFunction);
        let (ffi::SQLITE_OK, Some(create)) = (rc, create) else {
            return Err(ffi::SQLITE_ERROR);
        };
        let functions: [(&CStr, ffi::fts5_extension_function); 2] =
            [(c"highlight", Some(highlight)), (c"snippet", Some(snippet))];
        for (name, function) in functions {
            match create(api, name.as_ptr(), ptr::null_mut(), function, None) {
                ffi::SQLITE_OK => {}
                rc => return Err(rc),
            }
        }
    }
    Ok(())
}

/// A result code of SQLite's, where something failed.
type Checked<T> = Result<T, c_int>;

fn checked(rc: c_int) -> Checked<()> {
    if rc == ffi::SQLITE_OK { Ok(()) } else { Err(rc) }
}

/// One match of one phrase.
struct Match {
    phrase: c_int,
    column: c_int,
    /// The number of its first token in the column.
    token: c_int,
}

/// The row that a function is called for.
#[derive(Clone, Copy)]
struct Row<'a> {
    api: &'a ffi::Fts5ExtensionApi,
    fts: *mut ffi::Fts5Context,
}

/// Calls a method of FTS5.
macro_rules! fts5 {
    ($row:expr, $method:ident($($arg:expr),*)) => {{
        let method = $row.api.$method.ok_or(ffi::SQLITE_ERROR)?;
        // SAFETY: FTS5 hands over `api` and `fts` together, for the time of the call.
        unsafe { method($row.fts, $($arg),*) }
    }};
}

impl<'a> Row<'a> {
    fn match_count(self) -> Checked<c_int> {
        let mut count = 0;
        checked(fts5!(self, xInstCount(&raw mut count)))?;
        Ok(count)
    }

    /// Matches are in the order of columns, then of tokens.
    fn match_at(self, index: c_int) -> Checked<Match> {
        let (mut phrase, mut column, mut token) = (0, 0, 0);
        checked(fts5!(
            self,
            xInst(index, &raw mut phrase, &raw mut column, &raw mut token)
        ))?;
        if index % LOOK_MATCHES == 0 && heap::is_stopped() {
            return Err(ffi::SQLITE_INTERRUPT);
        }
        Ok(Match { phrase, column, token })
    }

    fn phrase_tokens(self, phrase: c_int) -> Checked<c_int> {
        Ok(fts5!(self, xPhraseSize(phrase)))
    }

    fn column_count(self) -> Checked<c_int> {
        Ok(fts5!(self, xColumnCount()))
    }

    fn phrase_count(self) -> Checked<usize> {
        Ok(usize::try_from(fts5!(self, xPhraseCount())).unwrap_or(0))
    }

    fn column_tokens(self, column: c_int) -> Checked<c_int> {
        let mut tokens = 0;
        checked(fts5!(self, xColumnSize(column, &raw mut tokens)))?;
        Ok(tokens)
    }

    /// None for NULL.
    fn text(self, column: c_int) -> Checked<Option<&'a [u8]>> {
        let (mut start, mut length) = (ptr::null(), 0);
        checked(fts5!(self, xColumnText(column, &raw mut start, &raw mut length)))?;
        if start.is_null() {
            return Ok(None);
        }
        let length = usize::try_from(length).unwrap_or(0);
        // SAFETY: FTS5 answers so many bytes, which live until the function returns.
        Ok(Some(unsafe { slice::from_raw_parts(start.cast(), length) }))
    }

    /// Calls `seen` for each token that has a place of its own: where it begins and ends in the text.
    fn tokenize<F: FnMut(usize, usize) -> Checked<()>>(self, column: c_int, text: &[u8], mut seen: F) -> Checked<()> {
        unsafe extern "C" fn token<F: FnMut(usize, usize) -> Checked<()>>(
            context: *mut c_void,
            flags: c_int,
            _token: *const c_char,
            _bytes: c_int,
            start: c_int,
            end: c_int,
        ) -> c_int {
            if flags & ffi::FTS5_TOKEN_COLOCATED != 0 {
                return ffi::SQLITE_OK;
            }
            // SAFETY: FTS5 hands on what `tokenize` gave it, which nobody else uses meanwhile.
            let seen = unsafe { &mut *context.cast::<F>() };
            let (start, end) = (usize::try_from(start).unwrap_or(0), usize::try_from(end).unwrap_or(0));
            seen(start, end).err().unwrap_or(ffi::SQLITE_OK)
        }
        let (mut locale, mut locale_bytes) = (ptr::null(), 0);
        checked(fts5!(
            self,
            xColumnLocale(column, &raw mut locale, &raw mut locale_bytes)
        ))?;
        let length = c_int::try_from(text.len()).unwrap_or(0);
        let context: *mut F = &raw mut seen;
        checked(fts5!(
            self,
            xTokenize_v2(
                text.as_ptr().cast(),
                length,
                locale,
                locale_bytes,
                context.cast(),
                Some(token::<F>)
            )
        ))
    }

    /// The first match in the column at or behind a token.
    fn first_match(self, count: c_int, column: c_int, token: c_int) -> Checked<c_int> {
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.match_at(middle)?;
            if (found.column, found.token) < (column, token) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// Answers what a function came to.
///
/// # Safety
/// `context` is that of the function that runs.
unsafe fn answer(context: *mut ffi::sqlite3_context, result: Checked<Option<Vec<u8>>>) {
    // SAFETY: the caller's promise.
    unsafe {
        match result {
            Ok(Some(text)) => answer_text(context, &text),
            Ok(None) => {}
            Err(rc) => ffi::sqlite3_result_error_code(context, rc),
        }
    }
}

/// A column number, where numbers that are none stay none.
///
/// # Safety
/// `value` is an argument of the function that runs.
unsafe fn column_number(value: *mut ffi::sqlite3_value) -> c_int {
    // SAFETY: the caller's promise.
    let number = unsafe { ffi::sqlite3_value_int64(value) };
    c_int::try_from(number.clamp(-1, i64::from(c_int::MAX))).unwrap_or(-1)
}

/// `highlight(table, column, open, close)`.
unsafe extern "C" fn highlight(
    api: *const ffi::Fts5ExtensionApi,
    fts: *mut ffi::Fts5Context,
    context: *mut ffi::sqlite3_context,
    count: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: FTS5's contract of an auxiliary function; the arguments live until this returns.
    unsafe {
        if count != 3 {
            let message = c"wrong number of arguments to function highlight()";
            return ffi::sqlite3_result_error(context, message.as_ptr(), -1);
        }
        let arguments = slice::from_raw_parts(arguments, 3);
        let row = Row { api: &*api, fts };
        let (open, close) = (bytes(arguments[1]), bytes(arguments[2]));
        let marks = (open.unwrap_or(&[]), close.unwrap_or(&[]));
        answer(context, highlighted(row, column_number(arguments[0]), marks));
    }
}

fn highlighted(row: Row<'_>, column: c_int, marks: (&[u8], &[u8])) -> Checked<Option<Vec<u8>>> {
    let text = match row.text(column) {
        Err(ffi::SQLITE_RANGE) => return Ok(Some(Vec::new())),
        text => text?,
    };
    let Some(text) = text else { return Ok(None) };
    let mut writer = Writer::new(marks, text, Matches::new(row, column)?, None);
    writer.write(row, column)?;
    writer.text_up_to(text.len())?;
    Ok(Some(writer.out))
}
