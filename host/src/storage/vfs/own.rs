//! A database and its log are opened, read and written here and not by SQLite's own VFS, which looks through all open files
//! of the process for each that it opens. Every page that reaches the database gets its checksum here, and none leaves
//! it unchecked.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::{ptr, slice};

use rusqlite::ffi;

use super::Shim;
#[cfg(test)]
use super::faults::{self, Op};
use super::lock::{self, Level};
use crate::storage::page::{self, PAGE, PAGE_BYTES};

/// What a file is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The database.
    Database,
    /// Its write-ahead log.
    Log,
}

/// What SQLite sees as `sqlite3_file`.
#[repr(C)]
pub(super) struct Own {
    methods: ffi::sqlite3_file,
    shim: &'static Shim,
    /// SQLite's, which outlives the file.
    name: *const c_char,
    file: File,
    kind: Kind,
    level: Level,
    /// The operator has been told of a damaged page.
    told: bool,
}

/// Version 1: no shared memory and no mapping. The index of the log is on the heap, since the database is locked for one
/// connection, and a full disk must not become a signal.
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

/// The path behind SQLite's name.
///
/// # Safety
/// `name` is NUL-terminated, and lives as long as the answer is used.
pub(super) unsafe fn path<'a>(name: *const c_char) -> &'a Path {
    // SAFETY: the caller's promise.
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()))
}

impl Own {
    /// Opens a file.
    ///
    /// # Safety
    /// `file` has `szOsFile` bytes of the VFS in `shim`, which is not freed before the file is closed; `name` is NUL-terminated
    /// and lives as long.
    pub(super) unsafe fn open(
        file: *mut ffi::sqlite3_file,
        shim: &'static Shim,
        name: *const c_char,
        kind: Kind,
        flags: c_int,
        out_flags: *mut c_int,
    ) -> c_int {
        // SAFETY: the caller's promise.
        unsafe {
            #[cfg(test)]
            if let Some(rc) = faults::strikes(name, Op::Open) {
                return rc;
            }
            let opened = OpenOptions::new()
                .read(true)
                .write(flags & ffi::SQLITE_OPEN_READWRITE != 0)
                .create(flags & ffi::SQLITE_OPEN_CREATE != 0)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(path(name));
            let opened = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    shim.account.note_failure(&error);
                    return ffi::SQLITE_CANTOPEN;
                }
            };
            if !out_flags.is_null() {
                *out_flags = flags;
            }
            shim.open_files.fetch_add(1, Ordering::SeqCst);
            file.cast::<Self>().write(Self {
                methods: ffi::sqlite3_file {
                    pMethods: &raw const METHODS,
                },
                shim,
                name,
                file: opened,
                kind,
                level: Level::None,
                told: false,
            });
            ffi::SQLITE_OK
        }
    }

    fn failed(&self, error: &io::Error, rc: c_int) -> c_int {
        self.shim.account.note_failure(error);
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) if rc == ffi::SQLITE_IOERR_WRITE => ffi::SQLITE_FULL,
            Some(_) | None => rc,
        }
    }

    /// # Safety
    /// `out` has room for `bytes` bytes.
    unsafe fn read(&mut self, out: *mut u8, bytes: usize, offset: u64) -> c_int {
        // SAFETY: the caller's promise; as many bytes were written as are looked at.
        unsafe {
            if self.kind == Kind::Log || (offset < PAGE_BYTES && bytes < PAGE) {
                // Of the first page SQLite reads its header by itself, and then all of it.
                return match read_at(&self.file, out, bytes, offset) {
                    Ok(read) if read == bytes => ffi::SQLITE_OK,
                    Ok(read) => short(out, read, bytes),
                    Err(error) => self.failed(&error, ffi::SQLITE_IOERR_READ),
                };
            }
            let from = (offset % PAGE_BYTES) as usize;
            let Some(number) = page::number_at(offset).filter(|_| from + bytes <= PAGE) else {
                return ffi::SQLITE_IOERR_READ;
            };
            // Of a long value SQLite reads what it needs.
            let mut whole = [0; PAGE];
            let target = if bytes == PAGE { out } else { whole.as_mut_ptr() };
            let read = match read_at(&self.file, target, PAGE, offset - from as u64) {
                Ok(0) => return short(out, 0, bytes),
                Ok(read) => read,
                Err(error) => return self.failed(&error, ffi::SQLITE_IOERR_READ),
            };
            if !page::is_sound(slice::from_raw_parts(target, read), number) {
                return self.damaged(number);
            }
            if bytes < PAGE {
                ptr::copy_nonoverlapping(whole.as_ptr().add(from), out, bytes);
            }
            ffi::SQLITE_OK
        }
    }

    fn damaged(&mut self, number: u32) -> c_int {
        self.shim.account.note_damage(number);
        if !std::mem::replace(&mut self.told, true) {
            // SAFETY: the name lives as long as the file.
            let path = unsafe { path(self.name) };
            tracing::error!(file = %path.display(), page = number, "a page of a database does not match its checksum");
        }
        ffi::SQLITE_IOERR_DATA
    }

    fn write(&self, bytes: &[u8], offset: u64) -> c_int {
        let written = match self.kind {
            Kind::Log => {
                if !self.shim.account.write_log(offset, bytes) {
                    return ffi::SQLITE_FULL;
                }
                self.file.write_all_at(bytes, offset)
            }
            Kind::Database => {
                let (Ok(mut page), Some(number), 0) = (
                    <[u8; PAGE]>::try_from(bytes),
                    page::number_at(offset),
                    offset % PAGE_BYTES,
                ) else {
                    // A part of a page would leave the checksum of the whole as it was.
                    return ffi::SQLITE_IOERR_WRITE;
                };
                page::stamp(&mut page, number);
                self.file.write_all_at(&page, offset)
            }
        };
        match written {
            Ok(()) => ffi::SQLITE_OK,
            Err(error) => self.failed(&error, ffi::SQLITE_IOERR_WRITE),
        }
    }

    /// True if the file has another name by now, or none.
    fn has_moved(&self) -> bool {
        // SAFETY: the name lives as long as the file.
        let named = std::fs::metadata(unsafe { path(self.name) });
        let is_same = |named: &std::fs::Metadata| {
            self.file
                .metadata()
                .is_ok_and(|own| (own.dev(), own.ino()) == (named.dev(), named.ino()))
        };
        !named.is_ok_and(|named| is_same(&named))
    }
}

/// Reads until that many bytes are there, or the file ends.
///
/// # Safety
/// `out` has room for them.
unsafe fn read_at(file: &File, out: *mut u8, bytes: usize, offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes {
        let at = libc::off_t::try_from(offset + read as u64).map_err(io::Error::other)?;
        // SAFETY: the caller's promise; the descriptor is open while `file` is borrowed.
        let more = unsafe { libc::pread(file.as_raw_fd(), out.add(read).cast(), bytes - read, at) };
        match usize::try_from(more) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(read)
}

/// SQLite wants zeroes behind the end of the file.
///
/// # Safety
/// `out` has room for `bytes` bytes.
unsafe fn short(out: *mut u8, read: usize, bytes: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { ptr::write_bytes(out.add(read), 0, bytes - read) };
    ffi::SQLITE_IOERR_SHORT_READ
}

/// Our fields.
///
/// # Safety
/// `file` was opened by [`Own::open`], and nobody else has a reference to the fields.
unsafe fn fields<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Own {
    // SAFETY: the caller's promise.
    unsafe { &mut *file.cast::<Own>() }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite's contract of xClose: the file is open, and not used any more afterwards.
    unsafe {
        let own = file.cast::<Own>().read();
        (*file).pMethods = ptr::null();
        own.shim.open_files.fetch_sub(1, Ordering::SeqCst);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, bytes: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's contract of xRead: `bytes` bytes can be written at `out`.
    unsafe {
        let own = fields(file);
        #[cfg(test)]
        if let Some(rc) = faults::strikes(own.name, Op::Read) {
            return rc;
        }
        match (usize::try_from(bytes), u64::try_from(offset)) {
            (Ok(bytes), Ok(offset)) => own.read(out.cast(), bytes, offset),
            (_, _) => ffi::SQLITE_IOERR_READ,
        }
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, bytes: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's contract of xWrite: `bytes` bytes can be read at `from`.
    unsafe {
        let own = fields(file);
        #[cfg(test)]
        if let Some(rc) = faults::strikes(own.name, Op::Write) {
            if rc == ffi::SQLITE_FULL {
                own.shim.account.refuse(super::Refusal::Disk);
            }
            return rc;
        }
        match (usize::try_from(bytes), u64::try_from(offset)) {
            (Ok(bytes), Ok(offset)) => own.write(slice::from_raw_parts(from.cast(), bytes), offset),
            (_, _) => ffi::SQLITE_IOERR_WRITE,
        }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: SQLite's contract of xTruncate.
    let own = unsafe { fields(file) };
    #[cfg(test)]
    // SAFETY: the name lives as long as the file.
    if let Some(rc) = unsafe { faults::strikes(own.name, Op::Truncate) } {
        return rc;
    }
    if own.kind == Kind::Log {
        own.shim.account.forget_transaction();
    }
    match own.file.set_len(u64::try_from(size).unwrap_or(0)) {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) => own.failed(&error, ffi::SQLITE_IOERR_TRUNCATE),
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite's contract of xSync.
    let own = unsafe { fields(file) };
    #[cfg(test)]
    // SAFETY: the name lives as long as the file.
    if let Some(rc) = unsafe { faults::strikes(own.name, Op::Sync) } {
        return rc;
    }
    match own.file.sync_all() {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) => own.failed(&error, ffi::SQLITE_IOERR_FSYNC),
    }
}

unsafe extern "C" fn size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: SQLite's contract of xFileSize.
    let own = unsafe { fields(file) };
    match own.file.metadata() {
        Ok(found) => {
            // SAFETY: as above.
            unsafe { *out = i64::try_from(found.len()).unwrap_or(i64::MAX) };
            ffi::SQLITE_OK
        }
        Err(error) => own.failed(&error, ffi::SQLITE_IOERR_FSTAT),
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite's contract of xLock.
    let own = unsafe { fields(file) };
    let wanted = Level::of(level);
    match lock::raise(&own.file, own.level, wanted) {
        Ok(()) => {
            own.level = own.level.max(wanted);
            ffi::SQLITE_OK
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ffi::SQLITE_BUSY,
        Err(error) => own.failed(&error, ffi::SQLITE_IOERR_LOCK),
    }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite's contract of xUnlock.
    let own = unsafe { fields(file) };
    let wanted = Level::of(level);
    if wanted >= own.level {
        return ffi::SQLITE_OK;
    }
    match lock::lower(&own.file, wanted) {
        Ok(()) => {
            own.level = wanted;
            ffi::SQLITE_OK
        }
        Err(error) => own.failed(&error, ffi::SQLITE_IOERR_UNLOCK),
    }
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite's contract of xCheckReservedLock.
    let own = unsafe { fields(file) };
    let reserved = match own.level >= Level::Reserved {
        true => Ok(true),
        false => lock::is_reserved(&own.file),
    };
    match reserved {
        Ok(reserved) => {
            // SAFETY: as above.
            unsafe { *out = c_int::from(reserved) };
            ffi::SQLITE_OK
        }
        Err(error) => own.failed(&error, ffi::SQLITE_IOERR_CHECKRESERVEDLOCK),
    }
}

unsafe extern "C" fn control(file: *mut ffi::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    if operation != ffi::SQLITE_FCNTL_HAS_MOVED {
        return ffi::SQLITE_NOTFOUND;
    }
    // SAFETY: SQLite's contract of xFileControl: this operation has an integer for its answer.
    unsafe { *argument.cast::<c_int>() = c_int::from(fields(file).has_moved()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    PAGE as c_int
}

/// A write of some bytes leaves those beside them as they are, and parts of a page can be read.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE | ffi::SQLITE_IOCAP_SUBPAGE_READ
}
