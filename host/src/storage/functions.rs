//! Functions that SQLite has in a form that takes time with the product of its arguments' lengths, minutes for megabytes,
//! and looks for no interrupt meanwhile. These take linear time, and answer the same.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

mod excerpts;
mod patch;
mod search;
mod sets;

use std::ffi::{CStr, c_int, c_void};
use std::{ptr, slice};

use rusqlite::{Connection, ffi};

type Function = unsafe extern "C" fn(*mut ffi::sqlite3_context, c_int, *mut *mut ffi::sqlite3_value);

const FUNCTIONS: [(&CStr, c_int, Function); 8] = [
    (c"instr", 2, search::instr),
    (c"replace", 3, search::replace),
    (c"trim", 2, sets::trim),
    (c"ltrim", 2, sets::ltrim),
    (c"rtrim", 2, sets::rtrim),
    (c"unhex", 2, sets::unhex),
    (c"json_patch", 2, patch::json_patch),
    (c"jsonb_patch", 2, patch::jsonb_patch),
];

/// Puts these functions in the place of SQLite's own. Reads the schema.
pub(super) fn install(conn: &Connection) -> Result<(), rusqlite::Error> {
    let flags = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS | ffi::SQLITE_RESULT_SUBTYPE;
    for (name, arguments, function) in FUNCTIONS {
        // SAFETY: the handle is valid while `conn` is borrowed, and the functions are there for ever.
        let rc = unsafe {
            ffi::sqlite3_create_function_v2(
                conn.handle(),
                name.as_ptr(),
                arguments,
                flags,
                ptr::null_mut::<c_void>(),
                Some(function),
                None,
                None,
                None,
            )
        };
        if rc != ffi::SQLITE_OK {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(rc), None));
        }
    }
    excerpts::install(conn).map_err(|rc| rusqlite::Error::SqliteFailure(ffi::Error::new(rc), None))
}

/// The bytes of an argument as text, or as they are if it is a blob; none for NULL, or if there is no memory.
///
/// # Safety
/// `value` is an argument of the function that runs, and the bytes are not used when that has returned.
unsafe fn bytes<'a>(value: *mut ffi::sqlite3_value) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise. The length is asked for after the conversion, as SQLite wants it. A blob is not
    // converted: SQLite would take it for text from then on.
    unsafe {
        let is_blob = ffi::sqlite3_value_type(value) == ffi::SQLITE_BLOB;
        let start = if is_blob {
            ffi::sqlite3_value_blob(value).cast()
        } else {
            ffi::sqlite3_value_text(value)
        };
        let count = usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or(0);
        match (start.is_null(), is_blob) {
            (false, _) => Some(slice::from_raw_parts(start, count)),
            (true, true) if count == 0 => Some(&[]),
            (true, _) => None,
        }
    }
}

/// Answers text, which SQLite copies.
///
/// # Safety
/// `context` is that of the function that runs.
unsafe fn answer_text(context: *mut ffi::sqlite3_context, text: &[u8]) {
    let (start, count) = (text.as_ptr().cast(), text.len() as u64);
    // SAFETY: the caller's promise, and SQLITE_TRANSIENT: nothing of the text is used after the call.
    unsafe { ffi::sqlite3_result_text64(context, start, count, ffi::SQLITE_TRANSIENT(), ffi::SQLITE_UTF8 as u8) }
}

#[cfg(test)]
mod tests;
