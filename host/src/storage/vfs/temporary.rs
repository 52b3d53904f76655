//! A temporary file: SQLite's own one, behind a few fields that tell whose it is and how large.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::ffi::{CString, c_int, c_void};
use std::ptr;
use std::sync::atomic::Ordering;

use rusqlite::ffi;

use super::Shim;
use super::account::Refusal;
#[cfg(test)]
use super::faults::{self, Op};

/// What SQLite sees as `sqlite3_file`. Behind it in memory is the file of SQLite's own VFS.
#[repr(C)]
pub(super) struct Temporary {
    file: ffi::sqlite3_file,
    shim: &'static Shim,
    /// Bytes of it, as far as they are counted.
    counted: u64,
    name: CString,
}

/// Version 1: no mapping; a full disk must not become a signal.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

impl Temporary {
    /// Opens a file with SQLite's own VFS, into the memory behind our fields.
    ///
    /// # Safety
    /// `file` has `szOsFile` bytes of the VFS in `shim`, which is not freed before the file is closed.
    pub(super) unsafe fn open(
        file: *mut ffi::sqlite3_file,
        shim: &'static Shim,
        name: CString,
        flags: c_int,
        out_flags: *mut c_int,
    ) -> c_int {
        // SAFETY: the caller's promise. `real` is where `szOsFile` has room for it, aligned as `Temporary` is, which is as
        // malloc does. The name is valid for as long as SQLite's own file keeps it.
        unsafe {
            #[cfg(test)]
            if let Some(rc) = faults::strikes(name.as_ptr(), Op::Open) {
                return rc;
            }
            let Some(open) = (*shim.base).xOpen else {
                return ffi::SQLITE_CANTOPEN;
            };
            let real = real(file);
            (*real).pMethods = ptr::null();
            let rc = open(shim.base, name.as_ptr(), real, flags, out_flags);
            if rc != ffi::SQLITE_OK {
                // A file that has methods is to be closed, says SQLite, also after an error.
                if let Some(close) = (*real).pMethods.as_ref().and_then(|methods| methods.xClose) {
                    close(real);
                }
                return rc;
            }
            shim.open_files.fetch_add(1, Ordering::SeqCst);
            file.cast::<Self>().write(Self {
                file: ffi::sqlite3_file {
                    pMethods: &raw const METHODS,
                },
                shim,
                counted: 0,
                name,
            });
            rc
        }
    }
}

/// The file of SQLite's own VFS.
///
/// # Safety
/// `file` has `szOsFile` bytes of our VFS.
unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: the caller's promise: there is more behind `Temporary`.
    unsafe { file.cast::<Temporary>().add(1).cast() }
}

/// Our fields.
///
/// # Safety
/// `file` was opened by [`Temporary::open`], and nobody else has a reference to the fields.
unsafe fn fields<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Temporary {
    // SAFETY: the caller's promise.
    unsafe { &mut *file.cast::<Temporary>() }
}

/// Calls a method of the real file.
macro_rules! real_call {
    ($file:ident, $method:ident($($arg:expr),*), $missing:expr) => {{
        let real = real($file);
        match (*real).pMethods.as_ref().and_then(|methods| methods.$method) {
            Some(method) => method(real, $($arg),*),
            None => $missing,
        }
    }};
}

pub(super) unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite's contract of xClose: the file is open, and not used any more afterwards.
    unsafe {
        let rc = real_call!(file, xClose(), ffi::SQLITE_OK);
        let fields = file.cast::<Temporary>().read();
        fields.shim.account.shrink_temporary(fields.counted);
        (*file).pMethods = ptr::null();
        fields.shim.open_files.fetch_sub(1, Ordering::SeqCst);
        rc
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, bytes: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's contract of xRead, passed on as it is.
    unsafe {
        #[cfg(test)]
        if let Some(rc) = faults::strikes(fields(file).name.as_ptr(), Op::Read) {
            return rc;
        }
        real_call!(file, xRead(out, bytes, offset), ffi::SQLITE_IOERR_READ)
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, bytes: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's contract of xWrite: `bytes` bytes can be read at `from`.
    unsafe {
        let fields = fields(file);
        #[cfg(test)]
        if let Some(rc) = faults::strikes(fields.name.as_ptr(), Op::Write) {
            if rc == ffi::SQLITE_FULL {
                fields.shim.account.refuse(Refusal::Disk);
            }
            return rc;
        }
        let account = &fields.shim.account;
        let end = u64::try_from(offset.saturating_add(i64::from(bytes))).unwrap_or(0);
        let growth = end.saturating_sub(fields.counted);
        if growth > 0 && !account.grow_temporary(growth) {
            // "Full" would cost the turn its transaction. A statement that reads and is interrupted does not.
            return if account.only_reads() {
                ffi::SQLITE_INTERRUPT
            } else {
                ffi::SQLITE_FULL
            };
        }
        fields.counted += growth;
        let rc = real_call!(file, xWrite(from, bytes, offset), ffi::SQLITE_IOERR_WRITE);
        if rc == ffi::SQLITE_FULL {
            account.refuse(Refusal::Disk);
        }
        rc
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: SQLite's contract of xTruncate.
    unsafe {
        let fields = fields(file);
        #[cfg(test)]
        if let Some(rc) = faults::strikes(fields.name.as_ptr(), Op::Truncate) {
            return rc;
        }
        let freed = fields.counted.saturating_sub(u64::try_from(size).unwrap_or(0));
        fields.shim.account.shrink_temporary(freed);
        fields.counted -= freed;
        real_call!(file, xTruncate(size), ffi::SQLITE_IOERR_TRUNCATE)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite's contract of xSync, passed on as it is.
    unsafe {
        #[cfg(test)]
        if let Some(rc) = faults::strikes(fields(file).name.as_ptr(), Op::Sync) {
            return rc;
        }
        real_call!(file, xSync(flags), ffi::SQLITE_IOERR_FSYNC)
    }
}

unsafe extern "C" fn control(file: *mut ffi::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: SQLite's contract of xFileControl, passed on as it is.
    unsafe {
        // These make a file grow without a write.
        let grows = matches!(operation, ffi::SQLITE_FCNTL_SIZE_HINT | ffi::SQLITE_FCNTL_CHUNK_SIZE);
        if grows {
            return ffi::SQLITE_NOTFOUND;
        }
        real_call!(file, xFileControl(operation, argument), ffi::SQLITE_NOTFOUND)
    }
}

/// Methods that the real file answers.
macro_rules! passed_on {
    ($($name:ident = $method:ident($($arg:ident: $type:ty),*) else $missing:expr;)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($arg: $type),*) -> c_int {
            // SAFETY: SQLite's contract of the method, passed on as it is.
            unsafe { real_call!(file, $method($($arg),*), $missing) }
        }
    )*};
}

passed_on! {
    size = xFileSize(out: *mut i64) else ffi::SQLITE_IOERR_FSTAT;
    lock = xLock(level: c_int) else ffi::SQLITE_IOERR_LOCK;
    unlock = xUnlock(level: c_int) else ffi::SQLITE_IOERR_UNLOCK;
    check_reserved_lock = xCheckReservedLock(out: *mut c_int) else ffi::SQLITE_IOERR_CHECKRESERVEDLOCK;
    sector_size = xSectorSize() else 0;
    device_characteristics = xDeviceCharacteristics() else 0;
}
