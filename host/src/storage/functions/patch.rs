//! `json_patch` and `jsonb_patch`. SQLite looks for each name of the patch among all names of the target, one after the
//! other; so what they may have together is bounded. The work is done by SQLite's own function in a connection of its own,
//! because here it cannot be reached any more.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_int};

use rusqlite::{Connection, ffi};

use crate::storage::heap;

/// Bytes of the patch, times those of target and patch together. That many take up to about half a second.
pub(crate) const PATCH_BYTES_SQUARED_MAX: u64 = 1 << 32;
/// What SQLite calls text that is known to be JSON.
const JSON_SUBTYPE: u32 = b'J' as u32;

thread_local! {
    /// Has nothing stored, and no function but SQLite's.
    static OTHER: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

/// `json_patch(target, patch)`.
pub(super) unsafe extern "C" fn json_patch(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite's contract of a function of two arguments.
    unsafe {
        patch(context, arguments, c"SELECT json_patch(?1, ?2)");
        ffi::sqlite3_result_subtype(context, JSON_SUBTYPE);
    }
}

/// `jsonb_patch(target, patch)`.
pub(super) unsafe extern "C" fn jsonb_patch(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite's contract of a function of two arguments.
    unsafe { patch(context, arguments, c"SELECT jsonb_patch(?1, ?2)") }
}

/// # Safety
/// SQLite hands over two arguments, which live until this returns.
unsafe fn patch(context: *mut ffi::sqlite3_context, arguments: *mut *mut ffi::sqlite3_value, sql: &CStr) {
    // SAFETY: the caller's promise; a text is copied before this returns.
    unsafe {
        let [target, patch] = [0, 1].map(|index| {
            let bytes = ffi::sqlite3_value_bytes(*arguments.add(index));
            u64::try_from(bytes).unwrap_or(0)
        });
        if patch * (target + patch) > PATCH_BYTES_SQUARED_MAX {
            let message = c"these objects are too large to be patched together: set members one by one";
            return ffi::sqlite3_result_error(context, message.as_ptr(), -1);
        }
        // The connection outlives this statement's facet, so its memory is nobody's.
        let _nobody = heap::enter_nobodys();
        if let Err(message) = OTHER.with_borrow_mut(|other| in_other(other, context, arguments, sql)) {
            ffi::sqlite3_result_error(context, message.as_ptr(), -1);
        }
    }
}

/// # Safety
/// As for [`patch`].
unsafe fn in_other(
    other: &mut Option<Connection>,
    context: *mut ffi::sqlite3_context,
    arguments: *mut *mut ffi::sqlite3_value,
    sql: &CStr,
) -> Result<(), CString> {
    let conn = match other {
        Some(conn) => conn,
        None => {
            let conn = Connection::open_in_memory().map_err(|_| c"out of memory".to_owned())?;
            other.insert(conn)
        }
    };
    // SAFETY: the connection is open and this thread's alone; the statement is finalised here, after its answer and its
    // message have been copied. Arguments of a function may be bound anywhere.
    unsafe {
        let (db, mut statement) = (conn.handle(), std::ptr::null_mut());
        let mut rc = ffi::sqlite3_prepare_v2(db, sql.as_ptr(), -1, &raw mut statement, std::ptr::null_mut());
        if rc == ffi::SQLITE_OK {
            ffi::sqlite3_bind_value(statement, 1, *arguments);
            ffi::sqlite3_bind_value(statement, 2, *arguments.add(1));
            rc = ffi::sqlite3_step(statement);
        }
        let result = if rc == ffi::SQLITE_ROW {
            ffi::sqlite3_result_value(context, ffi::sqlite3_column_value(statement, 0));
            Ok(())
        } else {
            Err(CStr::from_ptr(ffi::sqlite3_errmsg(db)).to_owned())
        };
        ffi::sqlite3_finalize(statement);
        result
    }
}
