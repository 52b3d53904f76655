//! Counts what a connection writes beside its database: temporary files, and frames of the log since the last commit. Beyond
//! a limit the write is refused, and the account remembers why; SQLite itself only knows "full". It also remembers which page
//! was damaged and what the operating system said, of which SQLite only knows that they were errors.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::storage::error::StorageError;
use crate::storage::page::PAGE_BYTES;

/// Bytes of all temporary files of one facet: sorts, materialised subqueries, statement journals.
pub(crate) const TEMPORARY_BYTES_MAX: u64 = 256 << 20;
/// Bytes that one transaction appends to the log (S25).
pub(crate) const TRANSACTION_BYTES_MAX: u64 = 64 << 20;
/// What may go beyond that where the statement can be undone, or is the COMMIT itself.
pub(crate) const TRANSACTION_SLACK_BYTES: u64 = 16 << 20;

/// Every frame of a log begins with so many bytes, written by themselves.
const FRAME_HEADER_BYTES: u64 = 24;
/// Where the frame's header says that it ends a transaction: not zero.
const FRAME_COMMIT: std::ops::Range<usize> = 4..8;
/// No transaction has written anything.
const NOWHERE: u64 = u64::MAX;

/// Why a write was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::storage) enum Refusal {
    /// [`TEMPORARY_BYTES_MAX`].
    Temporary,
    /// [`TRANSACTION_BYTES_MAX`].
    Transaction,
    /// The disk, or whatever the operating system gives of it.
    Disk,
}

/// The counters of one connection. One thread uses them at a time, so all orders are relaxed.
pub(in crate::storage) struct Account {
    temporary_bytes: AtomicU64,
    /// Where the running transaction begins in the log.
    log_base: AtomicU64,
    /// Behind the frame that was written last.
    log_end: AtomicU64,
    /// A statement that writes is running.
    writes: AtomicBool,
    /// The slack may be used.
    lenient: AtomicBool,
    refusal: AtomicU8,
    /// The number of the page that was damaged; 0 for none.
    damaged: AtomicU32,
    /// What the operating system answered to the last call that failed; 0 for none.
    errno: AtomicI32,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            temporary_bytes: AtomicU64::new(0),
            log_base: AtomicU64::new(NOWHERE),
            log_end: AtomicU64::new(0),
            writes: AtomicBool::new(false),
            lenient: AtomicBool::new(false),
            refusal: AtomicU8::new(0),
            damaged: AtomicU32::new(0),
            errno: AtomicI32::new(0),
        }
    }
}

impl Account {
    /// Bytes in the log since the last commit. What is still in SQLite's page cache is not among them.
    pub(in crate::storage) fn transaction_bytes(&self) -> u64 {
        match self.log_base.load(Ordering::Relaxed) {
            NOWHERE => 0,
            base => self.log_end.load(Ordering::Relaxed).saturating_sub(base),
        }
    }

    /// Where the log ends, to be handed to [`Self::rewind`] when what comes after is undone.
    pub(in crate::storage) fn mark(&self) -> u64 {
        self.log_end.load(Ordering::Relaxed)
    }

    /// A savepoint was rolled back: SQLite writes over what came after it.
    pub(in crate::storage) fn rewind(&self, mark: u64) {
        self.log_end.fetch_min(mark, Ordering::Relaxed);
    }

    /// The transaction was rolled back, or the log begins anew.
    pub(in crate::storage) fn forget_transaction(&self) {
        self.log_base.store(NOWHERE, Ordering::Relaxed);
    }

    /// Says whether the statement that comes writes; answers what was said before.
    pub(in crate::storage) fn set_writes(&self, writes: bool) -> bool {
        replace(&self.writes, writes)
    }

    /// Says whether the slack may be used; answers what was said before.
    pub(in crate::storage) fn set_lenient(&self, lenient: bool) -> bool {
        replace(&self.lenient, lenient)
    }

    /// Why something was refused since this was last asked.
    pub(in crate::storage) fn take_refusal(&self) -> Option<Refusal> {
        // Not `swap`, which is a locked instruction: each write asks.
        let refusal = self.refusal.load(Ordering::Relaxed);
        if refusal != 0 {
            self.refusal.store(0, Ordering::Relaxed);
        }
        match refusal {
            1 => Some(Refusal::Temporary),
            2 => Some(Refusal::Transaction),
            3 => Some(Refusal::Disk),
            _ => None,
        }
    }

    /// Says of a failure what SQLite does not know of it.
    pub(in crate::storage) fn explain(&self, error: StorageError) -> StorageError {
        let (damaged, errno) = (
            self.damaged.swap(0, Ordering::Relaxed),
            self.errno.swap(0, Ordering::Relaxed),
        );
        match error.code() {
            "corrupt" if damaged != 0 => error.on_page(damaged),
            "io" | "full" if errno != 0 => error.because(&io::Error::from_raw_os_error(errno)),
            _ => error,
        }
    }

    /// The operating system has failed since that was last told.
    pub(in crate::storage) fn has_failure(&self) -> bool {
        self.errno.load(Ordering::Relaxed) != 0
    }

    /// A page of the database is not what was written.
    pub(super) fn note_damage(&self, page: u32) {
        self.damaged.store(page, Ordering::Relaxed);
    }

    /// The operating system has failed.
    pub(super) fn note_failure(&self, error: &io::Error) {
        self.errno.store(error.raw_os_error().unwrap_or(0), Ordering::Relaxed);
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            self.refuse(Refusal::Disk);
        }
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        let code = match refusal {
            Refusal::Temporary => 1,
            Refusal::Transaction => 2,
            Refusal::Disk => 3,
        };
        self.refusal.store(code, Ordering::Relaxed);
    }

    /// A temporary file is to grow. False: it must not.
    pub(super) fn grow_temporary(&self, bytes: u64) -> bool {
        let before = self.temporary_bytes.load(Ordering::Relaxed);
        if before.saturating_add(bytes) > TEMPORARY_BYTES_MAX {
            self.refuse(Refusal::Temporary);
            return false;
        }
        self.temporary_bytes.store(before + bytes, Ordering::Relaxed);
        true
    }

    /// A temporary file was cut or closed.
    pub(super) fn shrink_temporary(&self, bytes: u64) {
        let before = self.temporary_bytes.load(Ordering::Relaxed);
        self.temporary_bytes
            .store(before.saturating_sub(bytes), Ordering::Relaxed);
    }

    /// Bytes in temporary files.
    #[cfg(test)]
    pub(in crate::storage) fn temporary_bytes(&self) -> u64 {
        self.temporary_bytes.load(Ordering::Relaxed)
    }

    /// True if a statement that is refused takes the transaction with it unless it is told to stop instead.
    pub(super) fn only_reads(&self) -> bool {
        !self.writes.load(Ordering::Relaxed)
    }

    /// Something is to be written to the log. False: it must not.
    ///
    /// A frame is a header, written by itself, and a page. A page that the transaction has written already is written over
    /// in place, without its header. After a rollback the next frame goes where the undone ones were.
    pub(super) fn write_log(&self, offset: u64, bytes: &[u8]) -> bool {
        if bytes.len() as u64 != FRAME_HEADER_BYTES {
            if offset == 0 {
                self.forget_transaction();
            }
            return true;
        }
        let base = match self.log_base.load(Ordering::Relaxed) {
            NOWHERE => offset,
            base => base.min(offset),
        };
        let end = offset + FRAME_HEADER_BYTES + PAGE_BYTES;
        let slack = if self.lenient.load(Ordering::Relaxed) {
            TRANSACTION_SLACK_BYTES
        } else {
            0
        };
        if end - base > TRANSACTION_BYTES_MAX + slack {
            self.refuse(Refusal::Transaction);
            return false;
        }
        let commits = bytes[FRAME_COMMIT].iter().any(|byte| *byte != 0);
        self.log_base
            .store(if commits { NOWHERE } else { base }, Ordering::Relaxed);
        self.log_end.store(end, Ordering::Relaxed);
        true
    }
}

/// Not `swap`, which is a locked instruction: nobody else changes it meanwhile.
fn replace(flag: &AtomicBool, value: bool) -> bool {
    let before = flag.load(Ordering::Relaxed);
    flag.store(value, Ordering::Relaxed);
    before
}
