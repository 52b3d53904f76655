//! The time is UTC for every guest: where the host runs is nobody's business, and must not change what is stored.
//!
//! SQLite's dates ask the C library for the local time (`localtime`, `utc`). It can be told to ask somebody else, though by a
//! call that is meant for its tests; should a new version have it no more, our test of it fails.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::ffi::{c_int, c_void};
use std::sync::Once;

use rusqlite::ffi;

/// Says that a function of one's own follows.
const OF_ONES_OWN: c_int = 2;

/// Makes the local time UTC, for all connections.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let function: unsafe extern "C" fn(*const c_void, *mut c_void) -> c_int = utc;
        // SAFETY: the arguments are those of this operation, and the function is there for ever.
        unsafe {
            ffi::sqlite3_test_control(ffi::SQLITE_TESTCTRL_LOCALTIME_FAULT, OF_ONES_OWN, function);
        }
    });
}

/// Answers 0, or 1 if the time cannot be told.
unsafe extern "C" fn utc(time: *const c_void, into: *mut c_void) -> c_int {
    // SAFETY: SQLite hands over a `time_t` and a `struct tm`.
    let told = unsafe { libc::gmtime_r(time.cast(), into.cast()) };
    c_int::from(told.is_null())
}
