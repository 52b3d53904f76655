//! The bytes by which SQLite's programs keep each other out of a database, locked for an open file and not for the process:
//! another sqlite3 that comes by is told that the database is locked, and so is a second connection of our own.

#![allow(
    unsafe_code,
    reason = "locks of open files, which std and rustix have only for whole files"
)]

use std::ffi::{c_int, c_short};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use rusqlite::ffi;

/// Where the bytes are; SQLite's file format says so.
const PENDING: i64 = 1 << 30;
const RESERVED: i64 = PENDING + 1;
const SHARED: i64 = PENDING + 2;
const SHARED_BYTES: i64 = 510;

/// What a connection has locked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum Level {
    #[default]
    None,
    Shared,
    Reserved,
    Exclusive,
}

impl Level {
    /// SQLite's number; the level between the two highest it never asks for.
    pub(super) fn of(number: c_int) -> Self {
        match number {
            ffi::SQLITE_LOCK_NONE => Self::None,
            ffi::SQLITE_LOCK_SHARED => Self::Shared,
            ffi::SQLITE_LOCK_RESERVED => Self::Reserved,
            _ => Self::Exclusive,
        }
    }
}

/// Goes up from `held` to `wanted`. An error of the kind `WouldBlock`: somebody else is in the way.
pub(super) fn raise(file: &File, held: Level, wanted: Level) -> io::Result<()> {
    if wanted <= held {
        return Ok(());
    }
    match wanted {
        Level::None => Ok(()),
        Level::Shared => {
            // Whoever waits to write holds this one, so that no new readers come.
            set(file, libc::F_RDLCK, PENDING, 1)?;
            let shared = set(file, libc::F_RDLCK, SHARED, SHARED_BYTES);
            let pending = set(file, libc::F_UNLCK, PENDING, 1);
            shared.and(pending)
        }
        Level::Reserved => set(file, libc::F_WRLCK, RESERVED, 1),
        Level::Exclusive => {
            set(file, libc::F_WRLCK, PENDING, 1)?;
            let exclusive = set(file, libc::F_WRLCK, SHARED, SHARED_BYTES);
            if exclusive.is_err() {
                set(file, libc::F_UNLCK, PENDING, 1)?;
            }
            exclusive
        }
    }
}

/// Goes down to `wanted`, which is at most a reader's.
pub(super) fn lower(file: &File, wanted: Level) -> io::Result<()> {
    match wanted {
        Level::None => set(file, libc::F_UNLCK, PENDING, 2 + SHARED_BYTES),
        Level::Shared | Level::Reserved | Level::Exclusive => {
            set(file, libc::F_RDLCK, SHARED, SHARED_BYTES)?;
            set(file, libc::F_UNLCK, PENDING, 2)
        }
    }
}

/// True if somebody else is going to write.
pub(super) fn is_reserved(file: &File) -> io::Result<bool> {
    let mut lock = range(libc::F_WRLCK, RESERVED, 1);
    // SAFETY: the descriptor is open while `file` is borrowed, and the call writes one `flock`.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(c_int::from(lock.l_type) != libc::F_UNLCK),
    }
}

fn set(file: &File, kind: c_int, start: i64, bytes: i64) -> io::Result<()> {
    let lock = range(kind, start, bytes);
    // SAFETY: the descriptor is open while `file` is borrowed, and the call reads one `flock`.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn range(kind: c_int, start: i64, bytes: i64) -> libc::flock {
    libc::flock {
        l_type: kind as c_short,
        l_whence: libc::SEEK_SET as c_short,
        l_start: start,
        l_len: bytes,
        // Must be zero for locks of open files.
        l_pid: 0,
    }
}
