//! What SQLite may do with files for one facet: its own database, the log of that, and temporary files without a name. The
//! bytes of temporary files and of one transaction are counted and bounded here, where they are written, and pages of the
//! database get their checksums and are checked here.
//!
//! Every connection has a VFS object of its own, which SQLite knows by name only while the connection is being opened and
//! by address as long as it lives. So a temporary file, which has no name, is its facet's whoever runs the statement: the
//! thread of a turn, a checkpoint, a clone. (A thread-local would have to be set around every call, drops included, and
//! parameters of a URI do not reach files without a name.) Temporary files and the rest are left to SQLite's own VFS.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

mod account;
#[cfg(test)]
pub(crate) mod faults;
mod lock;
mod own;
mod temporary;

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rusqlite::{Connection, OpenFlags, ffi};

use super::error::StorageError;
use super::{heap, utc};
use crate::sys::layout::TEMPORARY_SUFFIX;
pub(super) use account::{Account, Refusal};
pub(crate) use account::{TEMPORARY_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_SLACK_BYTES};
use own::{Kind, Own};
use temporary::Temporary;

/// What a connection may open beside its database.
const OWN_SUFFIXES: [(&str, Kind); 2] = [("", Kind::Database), ("-wal", Kind::Log)];
/// Bytes of a path, as the operating system has them.
const PATH_BYTES_MAX: c_int = libc::PATH_MAX;

/// A connection and the files it may use.
pub(super) struct Opened {
    // Fields drop in order: the connection uses the VFS until it is closed.
    pub(super) conn: Connection,
    pub(super) vfs: Vfs,
}

impl Opened {
    /// Does something with the connection; of a failure it is said what the files know of it.
    pub(super) fn run<R>(
        &self,
        work: impl FnOnce(&Connection) -> Result<R, rusqlite::Error>,
    ) -> Result<R, StorageError> {
        work(&self.conn).map_err(|error| self.vfs.account().explain(error.into()))
    }
}

/// Opens a database that exists, confined to it.
pub(super) fn open(path: &Path, flags: OpenFlags) -> Result<Opened, StorageError> {
    heap::install();
    utc::install();
    let vfs = Vfs::new()?;
    match vfs.while_known(|name| Connection::open_with_flags_and_vfs(path, flags, name)) {
        Ok(conn) => Ok(Opened { conn, vfs }),
        // Not SQLite's own words: there is the path in them.
        Err(rusqlite::Error::SqliteFailure(failure, _)) => {
            let error = StorageError::from_sqlite(failure.extended_code, "the database file cannot be opened", None);
            Err(vfs.account().explain(error))
        }
        Err(error) => Err(error.into()),
    }
}

/// The VFS object of one connection. It must be dropped after the connection; otherwise its memory is given up.
pub(super) struct Vfs(NonNull<Shim>);

// SAFETY: what the pointer leads to is not changed through `Vfs` but by atomics; SQLite uses it from one thread at a time.
unsafe impl Send for Vfs {}

/// What SQLite sees as `sqlite3_vfs`, and what is ours behind it.
#[repr(C)]
struct Shim {
    /// SQLite links it with others as long as it is registered.
    vfs: UnsafeCell<ffi::sqlite3_vfs>,
    base: *mut ffi::sqlite3_vfs,
    name: CString,
    /// The database as SQLite calls it, set when it is opened; nothing else can be opened.
    own: OnceLock<CString>,
    account: Arc<Account>,
    open_files: AtomicUsize,
    temporaries: AtomicU64,
}

impl Vfs {
    fn new() -> Result<Self, rusqlite::Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // SAFETY: null asks for the default VFS, which is SQLite's own and is never unregistered.
        let base = unsafe {
            ffi::sqlite3_initialize();
            ffi::sqlite3_vfs_find(ptr::null())
        };
        if base.is_null() {
            return Err(rusqlite::Error::InvalidPath("SQLite has no VFS here".into()));
        }
        let name = CString::new(format!("facetd-{}", NUMBER.fetch_add(1, Ordering::Relaxed)))?;
        // SAFETY: `base` is valid, and this field does not change.
        let file_bytes = unsafe { (*base).szOsFile };
        let shim = Box::leak(Box::new(Shim {
            vfs: UnsafeCell::new(ffi::sqlite3_vfs {
                iVersion: 2,
                szOsFile: (size_of::<Temporary>() as c_int + file_bytes).max(size_of::<Own>() as c_int),
                mxPathname: PATH_BYTES_MAX,
                pNext: ptr::null_mut(),
                zName: name.as_ptr(),
                pAppData: ptr::null_mut(),
                xOpen: Some(open_file),
                xDelete: Some(delete),
                xAccess: Some(access),
                xFullPathname: Some(full_pathname),
                xDlOpen: None,
                xDlError: None,
                xDlSym: None,
                xDlClose: None,
                xRandomness: Some(randomness),
                xSleep: Some(sleep),
                xCurrentTime: Some(current_time),
                xGetLastError: Some(last_error),
                xCurrentTimeInt64: Some(current_time_int64),
                xSetSystemCall: None,
                xGetSystemCall: None,
                xNextSystemCall: None,
            }),
            base,
            name,
            own: OnceLock::new(),
            account: Arc::default(),
            open_files: AtomicUsize::new(0),
            temporaries: AtomicU64::new(0),
        }));
        Ok(Self(NonNull::from(shim)))
    }

    /// What the connection has written.
    pub(super) fn account(&self) -> &Arc<Account> {
        // SAFETY: the object lives as long as `self`.
        unsafe { &self.0.as_ref().account }
    }

    /// Opens something under the VFS's name. SQLite looks for names when a database is opened or attached, and never again;
    /// a list of thousands would have to be walked at each opening and closing.
    fn while_known<R>(&self, open: impl FnOnce(&CStr) -> R) -> R {
        // SAFETY: the object is not changed by us, and outlives the connection: see Drop.
        unsafe {
            ffi::sqlite3_vfs_register(self.0.as_ptr().cast(), 0);
            let result = open(&self.0.as_ref().name);
            ffi::sqlite3_vfs_unregister(self.0.as_ptr().cast());
            result
        }
    }
}

impl Drop for Vfs {
    fn drop(&mut self) {
        // SAFETY: the object was made by `Box::leak` and is freed once. A connection has its database open for all of its
        // life; so where no file is open, no connection is left that would use the object.
        unsafe {
            if self.0.as_ref().open_files.load(Ordering::SeqCst) == 0 {
                drop(Box::from_raw(self.0.as_ptr()));
            } else {
                tracing::error!("a database was not closed; what belongs to its connection stays in memory");
            }
        }
    }
}

/// The object behind SQLite's pointer.
///
/// # Safety
/// `vfs` is the first field of a living `Shim`, and the reference is not kept beyond the call, but by files: SQLite hands on
/// what it was given, and the object is not freed before all files are closed.
unsafe fn shim(vfs: *mut ffi::sqlite3_vfs) -> &'static Shim {
    // SAFETY: the caller's promise; `Shim` is `repr(C)`.
    unsafe { &*vfs.cast::<Shim>() }
}

impl Shim {
    /// What file of the connection's own it is; none for any other.
    fn own_kind(&self, name: &CStr) -> Option<Kind> {
        let suffix = name.to_bytes().strip_prefix(self.own.get()?.to_bytes())?;
        let (_, kind) = OWN_SUFFIXES.iter().find(|(own, _)| own.as_bytes() == suffix)?;
        Some(*kind)
    }

    /// A name in the database's directory that nothing has which lives.
    fn temporary_name(&self) -> Option<CString> {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        let mut name = self.own.get()?.to_bytes().to_vec();
        name.extend_from_slice(format!("{TEMPORARY_SUFFIX}{number}").as_bytes());
        CString::new(name).ok()
    }
}

unsafe extern "C" fn open_file(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's contract of xOpen: `file` has `szOsFile` bytes, and a name that is not null lives until the file is
    // closed. A file whose methods are null is not closed.
    unsafe {
        (*file).pMethods = ptr::null();
        let shim = shim(vfs);
        if name.is_null() {
            return open_temporary(shim, file, flags, out_flags);
        }
        match shim.own_kind(CStr::from_ptr(name)) {
            Some(kind) => Own::open(file, shim, name, kind, flags, out_flags),
            None => ffi::SQLITE_CANTOPEN,
        }
    }
}

/// # Safety
/// As for [`open_file`].
unsafe fn open_temporary(
    shim: &'static Shim,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let Some(name) = shim.temporary_name() else {
        return ffi::SQLITE_CANTOPEN;
    };
    // The operating system's name for it is gone before `Temporary::open` returns.
    let flags = flags
        | ffi::SQLITE_OPEN_CREATE
        | ffi::SQLITE_OPEN_EXCLUSIVE
        | ffi::SQLITE_OPEN_READWRITE
        | ffi::SQLITE_OPEN_DELETEONCLOSE;
    let mut opened_as = 0;
    // SAFETY: the caller's promise.
    unsafe {
        let mut rc = Temporary::open(file, shim, name.clone(), flags, &raw mut opened_as);
        // The name was left by a process that was killed before it could take it away. SQLite's VFS cannot make the file
        // then, reads what is there, and takes that name away.
        if rc == ffi::SQLITE_OK && opened_as & ffi::SQLITE_OPEN_READONLY != 0 {
            temporary::close(file);
            rc = Temporary::open(file, shim, name, flags, &raw mut opened_as);
        }
        if !out_flags.is_null() {
            *out_flags = opened_as;
        }
        rc
    }
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _: c_int) -> c_int {
    // SAFETY: SQLite's contract of xDelete: the name is NUL-terminated.
    let (shim, name) = unsafe { (shim(vfs), CStr::from_ptr(name)) };
    if shim.own_kind(name) != Some(Kind::Log) {
        return ffi::SQLITE_IOERR_DELETE;
    }
    // SAFETY: as above.
    match std::fs::remove_file(unsafe { own::path(name.as_ptr()) }) {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(error) => {
            shim.account.note_failure(&error);
            ffi::SQLITE_IOERR_DELETE
        }
    }
}

unsafe extern "C" fn access(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _: c_int, answer: *mut c_int) -> c_int {
    // SAFETY: SQLite's contract of xAccess: the name is NUL-terminated, and one integer is written.
    unsafe {
        let is_own = shim(vfs).own_kind(CStr::from_ptr(name)).is_some();
        // An empty log is none.
        let exists = is_own && std::fs::metadata(own::path(name)).is_ok_and(|found| found.len() > 0);
        *answer = c_int::from(exists);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    bytes: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite's contract of xFullPathname: the name is NUL-terminated, and `out` has `bytes` bytes.
    unsafe {
        // No link is followed: the file itself must be none, which is seen when it is opened.
        let Ok(full) = std::path::absolute(own::path(name)) else {
            return ffi::SQLITE_CANTOPEN;
        };
        let full = full.as_os_str().as_bytes();
        let (Ok(own), true) = (CString::new(full), full.len() < usize::try_from(bytes).unwrap_or(0)) else {
            return ffi::SQLITE_CANTOPEN;
        };
        ptr::copy_nonoverlapping(own.as_ptr(), out, full.len() + 1);
        // The first one asked for is the database that is being opened.
        let _ = shim(vfs).own.set(own);
        ffi::SQLITE_OK
    }
}

/// Functions of a VFS that SQLite's own one answers; it is handed its own object, not ours.
macro_rules! passed_on {
    ($($name:ident = $method:ident($($arg:ident: $type:ty),*) else $missing:expr;)*) => {$(
        unsafe extern "C" fn $name(vfs: *mut ffi::sqlite3_vfs, $($arg: $type),*) -> c_int {
            // SAFETY: SQLite's contract of the method, passed on as it is.
            unsafe {
                let base = shim(vfs).base;
                (*base).$method.map_or($missing, |method| method(base, $($arg),*))
            }
        }
    )*};
}

passed_on! {
    randomness = xRandomness(bytes: c_int, out: *mut c_char) else 0;
    sleep = xSleep(microseconds: c_int) else 0;
    current_time = xCurrentTime(out: *mut f64) else ffi::SQLITE_ERROR;
    last_error = xGetLastError(bytes: c_int, out: *mut c_char) else 0;
    current_time_int64 = xCurrentTimeInt64(out: *mut i64) else ffi::SQLITE_ERROR;
}

#[cfg(test)]
mod tests;
