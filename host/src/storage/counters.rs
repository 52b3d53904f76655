//! `changes()`, `total_changes()` and `last_insert_rowid()` tell of the guest's own statements of the running turn. The
//! host's, for keys, the alarm and the identity, run on the same connection and are counted by SQLite like any others; and
//! what another event did before is nobody's to see.
//!
//! SQLite lets the last row id be set, but not the counts. So these two functions are ours: they take SQLite's counts, less
//! what the host did. After a statement of the host's SQLite's count of the last change is the host's, until the guest has
//! changed something; meanwhile the count from before is answered.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::ffi::{CStr, c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::{Connection, ffi};

use super::statement::Statement;
use super::text::first_word;

/// No statement of the host's has run since the guest's last one.
const NOTHING: i64 = -1;

/// What SQLite counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    changes: i64,
    total: i64,
    rowid: i64,
}

impl Counts {
    pub(super) fn of(conn: &Connection) -> Self {
        // SAFETY: the handle is valid while `conn` is borrowed.
        unsafe {
            let db = conn.handle();
            Self {
                changes: ffi::sqlite3_changes64(db),
                total: ffi::sqlite3_total_changes64(db),
                rowid: ffi::sqlite3_last_insert_rowid(db),
            }
        }
    }
}

/// What the guest is to see instead. One thread uses it at a time, so all orders are relaxed.
pub(super) struct Counters {
    /// Rows that are not the guest's, or not of this turn.
    hidden: AtomicI64,
    /// The guest's last count, if SQLite has another one since; else [`NOTHING`].
    before: AtomicI64,
    /// SQLite's sum when that was so.
    at_total: AtomicI64,
}

impl Counters {
    /// Puts these functions in the place of SQLite's.
    pub(super) fn install(conn: &Connection) -> Result<Arc<Self>, rusqlite::Error> {
        let counters = Arc::new(Self {
            hidden: AtomicI64::new(0),
            before: AtomicI64::new(NOTHING),
            at_total: AtomicI64::new(0),
        });
        let functions: [(&CStr, Function); 2] = [(c"changes", changes), (c"total_changes", total_changes)];
        for (name, function) in functions {
            let own = Arc::into_raw(Arc::clone(&counters)).cast_mut().cast();
            // SAFETY: the handle is valid while `conn` is borrowed. SQLite gives the reference back by `forget`, once, also
            // if this fails.
            let rc = unsafe {
                ffi::sqlite3_create_function_v2(
                    conn.handle(),
                    name.as_ptr(),
                    0,
                    ffi::SQLITE_UTF8 | ffi::SQLITE_INNOCUOUS,
                    own,
                    Some(function),
                    None,
                    None,
                    Some(forget),
                )
            };
            if rc != ffi::SQLITE_OK {
                return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(rc), None));
            }
        }
        Ok(counters)
    }

    /// A turn begins: nothing was done in it.
    pub(super) fn begin_turn(&self, conn: &Connection) {
        let now = Counts::of(conn);
        self.hidden.store(now.total, Ordering::Relaxed);
        self.before.store(0, Ordering::Relaxed);
        self.at_total.store(now.total, Ordering::Relaxed);
        if now.rowid != 0 {
            set_last_rowid(conn, 0);
        }
    }

    /// A statement of the host's has run.
    pub(super) fn hide(&self, before: Counts, conn: &Connection) {
        let after = Counts::of(conn);
        if after == before {
            return;
        }
        self.before.store(self.changes(before), Ordering::Relaxed);
        self.at_total.store(after.total, Ordering::Relaxed);
        self.hidden.fetch_add(after.total - before.total, Ordering::Relaxed);
        if after.rowid != before.rowid {
            set_last_rowid(conn, before.rowid);
        }
    }

    /// A statement of the guest's has run. SQLite's count is its own again if it was one that is counted.
    pub(super) fn show(&self, statement: &Statement) {
        if self.before.load(Ordering::Relaxed) == NOTHING || statement.is_readonly() {
            return;
        }
        let counted = ["INSERT", "REPLACE", "UPDATE", "DELETE", "WITH"];
        let text = statement.text();
        let word = first_word(&text);
        if counted.iter().any(|one| one.eq_ignore_ascii_case(word)) {
            self.before.store(NOTHING, Ordering::Relaxed);
        }
    }

    fn changes(&self, now: Counts) -> i64 {
        match self.before.load(Ordering::Relaxed) {
            NOTHING => now.changes,
            // A trigger has changed something meanwhile.
            _ if now.total != self.at_total.load(Ordering::Relaxed) => now.changes,
            before => before,
        }
    }
}

type Function = unsafe extern "C" fn(*mut ffi::sqlite3_context, c_int, *mut *mut ffi::sqlite3_value);

fn set_last_rowid(conn: &Connection, rowid: i64) {
    // SAFETY: the handle is valid while `conn` is borrowed.
    unsafe { ffi::sqlite3_set_last_insert_rowid(conn.handle(), rowid) }
}

/// What a function is asked for.
///
/// # Safety
/// `context` is that of a function that was made by [`Counters::install`] and runs.
unsafe fn asked<'a>(context: *mut ffi::sqlite3_context) -> (&'a Counters, Counts) {
    // SAFETY: the caller's promise: SQLite keeps the reference as long as the function, and the connection is open.
    unsafe {
        let db = ffi::sqlite3_context_db_handle(context);
        let counts = Counts {
            changes: ffi::sqlite3_changes64(db),
            total: ffi::sqlite3_total_changes64(db),
            rowid: 0,
        };
        (&*ffi::sqlite3_user_data(context).cast::<Counters>(), counts)
    }
}

unsafe extern "C" fn changes(context: *mut ffi::sqlite3_context, _: c_int, _: *mut *mut ffi::sqlite3_value) {
    // SAFETY: SQLite calls this as the function that it is.
    unsafe {
        let (counters, now) = asked(context);
        ffi::sqlite3_result_int64(context, counters.changes(now));
    }
}

unsafe extern "C" fn total_changes(context: *mut ffi::sqlite3_context, _: c_int, _: *mut *mut ffi::sqlite3_value) {
    // SAFETY: as above.
    unsafe {
        let (counters, now) = asked(context);
        ffi::sqlite3_result_int64(context, now.total - counters.hidden.load(Ordering::Relaxed));
    }
}

unsafe extern "C" fn forget(own: *mut c_void) {
    // SAFETY: it came from `Arc::into_raw`, and SQLite gives it back once.
    unsafe { drop(Arc::from_raw(own.cast_const().cast::<Counters>())) }
}
