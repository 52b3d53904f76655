//! Faults for tests: the n-th call on a file, or every call from then on, answers an error of the operating system.
//!
//! ```ignore
//! let fault = faults::inject(&file.wal_path(), Op::Write, When::Only(3), ffi::SQLITE_IOERR_WRITE);
//! // ... what is tested ...
//! assert!(fault.fired());
//! ```
//!
//! They hold for every connection that is opened by [`super::open`], in all threads, until the [`Fault`] is dropped.
//! Temporary files of a database are meant by [`temporary`].

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::TEMPORARY_SUFFIX;

/// What is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Open,
    Read,
    Write,
    Truncate,
    Sync,
}

/// Which calls fail, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    Only(u64),
    From(u64),
}

struct Plan {
    path: PathBuf,
    op: Op,
    when: When,
    rc: c_int,
    calls: AtomicU64,
    fired: AtomicU64,
}

static PLANS: Mutex<Vec<Arc<Plan>>> = Mutex::new(Vec::new());
/// Length of `PLANS`, for calls that need not look.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A fault that may strike; dropped, it does not any more.
pub(crate) struct Fault(Arc<Plan>);

/// Makes calls of `op` on the file at `path` answer `rc`.
pub(crate) fn inject(path: &Path, op: Op, when: When, rc: c_int) -> Fault {
    let plan = Arc::new(Plan {
        path: path.to_owned(),
        op,
        when,
        rc,
        calls: AtomicU64::new(0),
        fired: AtomicU64::new(0),
    });
    let mut plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
    plans.push(Arc::clone(&plan));
    COUNT.store(plans.len(), Ordering::SeqCst);
    Fault(plan)
}

/// The path that stands for the temporary files of a database.
pub(crate) fn temporary(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    name.into()
}

impl Fault {
    /// Calls seen, failed ones included.
    pub(crate) fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// True if it has struck.
    pub(crate) fn fired(&self) -> bool {
        self.0.fired.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let mut plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
        plans.retain(|plan| !Arc::ptr_eq(plan, &self.0));
        COUNT.store(plans.len(), Ordering::SeqCst);
    }
}

/// What the call has to answer instead of being made.
///
/// # Safety
/// `name` is NUL-terminated.
pub(super) unsafe fn strikes(name: *const c_char, op: Op) -> Option<c_int> {
    if COUNT.load(Ordering::SeqCst) == 0 {
        return None;
    }
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let temporary = |path: &Path| {
        let path = path.as_os_str().as_bytes();
        path.ends_with(TEMPORARY_SUFFIX.as_bytes()) && name.starts_with(path)
    };
    let plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut answer = None;
    for plan in plans.iter().filter(|plan| plan.op == op) {
        if plan.path.as_os_str() != OsStr::from_bytes(name) && !temporary(&plan.path) {
            continue;
        }
        let call = plan.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let strikes = match plan.when {
            When::Only(number) => call == number,
            When::From(number) => call >= number,
        };
        if strikes {
            plan.fired.fetch_add(1, Ordering::SeqCst);
            answer = Some(plan.rc);
        }
    }
    answer
}
