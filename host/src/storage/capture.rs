//! What a commit wrote is read back from the log through SQLite's own handle. Exactly the frames between two commits are
//! taken, never what the length of the file says, for spilled and undone frames lie in it as well.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::ffi::c_int;
use std::ptr;

use rusqlite::{Connection, ffi};

use super::error::{StorageCode, StorageError};
use super::journal::Pages;
use super::journal::rules::{self, Rule};
use super::page::{self, PAGE, PAGE_BYTES};
use super::template;

const LOG_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const FRAME_BYTES: usize = FRAME_HEADER_BYTES + PAGE;
/// Frames read at a time.
const FRAMES_AT_ONCE: usize = 64;
/// Where the salts are in the header of the log; those of a frame lie at 8..16 of its own.
const LOG_SALTS: std::ops::Range<usize> = 16..24;
const FRAME_SALTS: std::ops::Range<usize> = 8..16;

/// What tells one use of a log from the next; SQLite begins it anew after a full checkpoint.
pub(super) type Salts = [u8; 8];

/// Reads the frames after the first `from` of the log with these salts up to the first `to`, which are one commit; answers
/// the salts as well. `whole`: it is the first one of a new database, whose other pages are those of the template.
pub(super) fn commit(
    conn: &Connection,
    salts: Option<Salts>,
    from: u32,
    to: u32,
    whole: bool,
) -> Result<(Pages, Salts), StorageError> {
    let log = Log::of(conn)?;
    let mut header = [0; LOG_HEADER_BYTES];
    log.read(&mut header, 0)?;
    let found: Salts = header[LOG_SALTS].try_into().expect("the range has eight bytes");
    let from = if salts.is_none_or(|salts| salts == found) {
        from
    } else {
        0
    };
    let many = match to.checked_sub(from) {
        None | Some(0) => return Err(impossible("the log is shorter than it was")),
        Some(many) => many as usize,
    };
    let ships_all = rules::hold(Rule::AllFramesAreShipped, conn.path().unwrap_or_default().as_ref());
    let (mut numbers, mut raw) = (Vec::new(), Vec::new());
    if whole {
        let image = template::image()?;
        let pages = u32::try_from(image.len() / PAGE).expect("the template is small");
        numbers.extend(1..=pages);
        raw.extend_from_slice(image);
    }
    numbers.reserve(many);
    raw.reserve(many * PAGE);
    let mut piece = vec![0; FRAME_BYTES * many.min(FRAMES_AT_ONCE)];
    let mut page_count = 0;
    let mut at = from as usize;
    while at < to as usize {
        let frames = (to as usize - at).min(FRAMES_AT_ONCE);
        let piece = &mut piece[..frames * FRAME_BYTES];
        log.read(piece, LOG_HEADER_BYTES + at * FRAME_BYTES)?;
        for frame in piece.chunks_exact(FRAME_BYTES) {
            at += 1;
            if frame[FRAME_SALTS] != header[LOG_SALTS] {
                return Err(impossible("a frame of the log is of another generation"));
            }
            page_count = u32_at(frame, 4);
            if (page_count != 0) != (at == to as usize) {
                return Err(impossible("the log does not end a commit where SQLite says"));
            }
            if !ships_all && many > 1 && at == from as usize + 1 {
                continue;
            }
            numbers.push(u32_at(frame, 0));
            raw.extend_from_slice(&frame[FRAME_HEADER_BYTES..]);
        }
    }
    // What SQLite does not use is not shipped: there may be the checksum that the page had when it was read.
    raw.chunks_exact_mut(PAGE).for_each(page::clear_reserved);
    Ok((Pages::new(whole, page_count, numbers, raw), found))
}

/// The salts of the log that is there.
pub(super) fn salts(conn: &Connection) -> Result<Salts, StorageError> {
    let mut header = [0; LOG_HEADER_BYTES];
    Log::of(conn)?.read(&mut header, 0)?;
    Ok(header[LOG_SALTS].try_into().expect("the range has eight bytes"))
}

/// Bytes that a COMMIT may have to write, at most: pages that were written ahead of it, and all that are in the cache.
pub(super) fn pending_bytes(conn: &Connection) -> u64 {
    let pages_written = status(conn, ffi::SQLITE_DBSTATUS_CACHE_WRITE, false);
    pages_written * PAGE_BYTES + status(conn, ffi::SQLITE_DBSTATUS_CACHE_USED, false)
}

/// After a commit: what is written from now on belongs to the next.
pub(super) fn forget_written(conn: &Connection) {
    status(conn, ffi::SQLITE_DBSTATUS_CACHE_WRITE, true);
}

fn status(conn: &Connection, what: c_int, reset: bool) -> u64 {
    let (mut current, mut highest) = (0, 0);
    // SAFETY: the handle is valid while `conn` is borrowed; both numbers are written before it returns.
    unsafe {
        ffi::sqlite3_db_status(
            conn.handle(),
            what,
            &raw mut current,
            &raw mut highest,
            c_int::from(reset),
        )
    };
    u64::try_from(current).unwrap_or(0)
}

/// SQLite's handle of the log, as long as the connection is borrowed.
struct Log<'a> {
    _conn: &'a Connection,
    file: *mut ffi::sqlite3_file,
}

impl<'a> Log<'a> {
    fn of(conn: &'a Connection) -> Result<Self, StorageError> {
        let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
        // SAFETY: the handle is valid while `conn` is borrowed; the name is NUL-terminated; this operation writes one
        // pointer to where the last argument points.
        let rc = unsafe {
            ffi::sqlite3_file_control(
                conn.handle(),
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_JOURNAL_POINTER,
                (&raw mut file).cast(),
            )
        };
        // SAFETY: SQLite answers null or its own open file; `pMethods` is null for one that is not open.
        if rc != ffi::SQLITE_OK || file.is_null() || unsafe { (*file).pMethods.is_null() } {
            return Err(impossible("the log is not open after a commit"));
        }
        Ok(Self { _conn: conn, file })
    }

    fn read(&self, bytes: &mut [u8], at: usize) -> Result<(), StorageError> {
        let length = c_int::try_from(bytes.len()).expect("pieces are small");
        let at = i64::try_from(at).expect("a log is shorter than this");
        // SAFETY: the file is open while the connection is borrowed, and the buffer has `length` bytes.
        let rc = unsafe {
            let methods = &*(*self.file).pMethods;
            let read = methods.xRead.ok_or_else(|| impossible("the log cannot be read"))?;
            read(self.file, bytes.as_mut_ptr().cast(), length, at)
        };
        match rc {
            ffi::SQLITE_OK => Ok(()),
            rc => Err(impossible(&format!("the log cannot be read back (SQLite's code {rc})"))),
        }
    }
}

fn impossible(why: &str) -> StorageError {
    StorageError::new(StorageCode::Io, why.to_owned())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("the slice has four bytes"))
}
