//! A facet's database does not outgrow its quota, and after "full" the turn goes on: reads and deletes work.
//!
//! SQLite's own `max_page_count` cannot do that alone. A statement without a statement journal, an ordinary INSERT, that
//! runs into it takes the whole transaction with it. So that limit lies higher by a slack, and a statement that begins
//! within the slack below the quota is undone by a savepoint if it ends above. Only a single statement that grows
//! the database by more than the slack meets SQLite's limit. Pages that are not used do not count: SQLite takes them before it
//! makes new ones. The same holds for the bytes of the turn's transaction.

use std::sync::Arc;

use rusqlite::Connection;

use super::authorizer::RESERVED_PREFIX;
use super::connection::{CACHE_KIB, Connected};
use super::error::{StorageCode, StorageError};
use super::page::PAGE_BYTES;
use super::vfs::{TRANSACTION_BYTES_MAX, TRANSACTION_SLACK_BYTES};
use crate::budget::Budget;

/// How far below the quota statements get a savepoint, and how far above it SQLite stops them.
const SLACK_PAGES: u64 = 16 * 1024 * 1024 / PAGE_BYTES;
/// Pages a single row may take beside its bytes: new inner pages of the tree, the freelist.
const ROW_EXTRA_PAGES: u64 = 16;
/// SQLite's page cache holds about so many bytes that are not in the log yet.
const CACHE_BYTES: u64 = CACHE_KIB as u64 * 1024;
/// What a statement has changed and not written to the log: the page cache, which holds more for a moment.
const UNWRITTEN_BYTES_MAX: u64 = 4 << 20;
/// The internal tables; what else begins like them was made by ALTER TABLE ... RENAME TO.
const INTERNAL_TABLES: i64 = 3;

const SAVEPOINT: &str = "SAVEPOINT _facetd_write";
const ROLLBACK: &str = "ROLLBACK TO _facetd_write";
const RELEASE: &str = "RELEASE _facetd_write";
const RESERVED_NAMES: &str = "SELECT count(*) FROM sqlite_schema WHERE lower(substr(name, 1, 7)) = '_facetd'";

/// What is known of a database's size.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    pages_max: u64,
    /// At most so many pages of the database are used; none: ask.
    pages_bound: Option<u64>,
    /// What all facets of a tree may store together.
    pub(super) shared: Option<Arc<Budget>>,
    /// Pages before the turn's first write, which are counted in `shared`; only if there is one.
    pages_begun: Option<u64>,
    /// Bytes by which the statement that runs may grow the database before SQLite stops it.
    headroom_bytes: u64,
    /// Where the log ended before it.
    log_mark: u64,
}

impl Quota {
    /// Tells SQLite its limit.
    pub(super) fn install(conn: &Connection, quota_bytes: u64) -> Result<Self, rusqlite::Error> {
        let pages_max = quota_bytes / PAGE_BYTES;
        let limit = pages_max.saturating_add(SLACK_PAGES).min(u64::from(u32::MAX - 1));
        conn.query_row(&format!("PRAGMA max_page_count={limit}"), (), |_| Ok(()))?;
        Ok(Self {
            pages_max,
            pages_bound: None,
            shared: None,
            pages_begun: None,
            headroom_bytes: 0,
            log_mark: 0,
        })
    }

    /// Forgets what the turn before has written. Of a database that nothing was ever committed to all pages are new.
    pub(super) fn begin_turn(&mut self, stored: bool) {
        self.pages_begun = (!stored).then_some(0);
    }

    /// Its first pages are not counted for all together yet, though no write has made them.
    fn is_uncounted(&self) -> bool {
        self.shared.is_some() && self.pages_begun == Some(0)
    }

    /// Pages that the database may have now, by its own quota and by what is left for all together.
    fn pages_max_now(&self) -> u64 {
        match (&self.shared, self.pages_begun) {
            (Some(shared), Some(begun)) => self.pages_max.min(begun + shared.left().0 / PAGE_BYTES),
            (_, _) => self.pages_max,
        }
    }

    /// Why a write was undone.
    fn full(&self) -> StorageError {
        let own_mib = self.pages_max * PAGE_BYTES / (1024 * 1024);
        let whose = match &self.shared {
            Some(shared) if self.pages_max_now() < self.pages_max => {
                let (_, tightest) = shared.left();
                let mib = tightest.limit() >> 20;
                format!(
                    "the {mib} MiB of storage that {} has for all together are",
                    tightest.whose()
                )
            }
            Some(_) | None => format!("the facet's storage quota of {own_mib} MiB is"),
        };
        let message = format!("{whose} used up: delete something first (reads and deletes still work)");
        StorageError::new(StorageCode::Full, message)
    }

    /// Forgets the size: a statement of unknown reach was run.
    pub(super) fn forget(&mut self) {
        self.pages_bound = None;
    }
}

/// What is known of a write before it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// It only reads.
    Nothing,
    /// One row of so many bytes.
    Row(usize),
    /// Any number of rows.
    Any,
    /// Any number of rows, which are also answered; that can fail after they were written.
    Returning,
    /// ALTER TABLE: any number, and the new name must be looked at afterwards.
    Alter,
}

impl Connected {
    /// Runs a write so that it can be undone if it goes beyond the quota or takes a name of the host's.
    pub(super) fn write<R>(
        &mut self,
        reach: Reach,
        run: impl FnOnce(&mut Self) -> Result<R, StorageError>,
    ) -> Result<R, StorageError> {
        if reach == Reach::Nothing {
            return run(self);
        }
        let before = match self.quota.pages_bound {
            Some(pages) => pages,
            None => self.used_pages()?,
        };
        self.quota.pages_bound = match reach {
            Reach::Row(bytes) => Some(before + bytes as u64 / PAGE_BYTES + ROW_EXTRA_PAGES),
            Reach::Nothing | Reach::Any | Reach::Returning | Reach::Alter => None,
        };
        let limit = self.quota.pages_max.saturating_add(SLACK_PAGES);
        self.quota.headroom_bytes = limit.saturating_sub(before).saturating_mul(PAGE_BYTES);
        self.quota.log_mark = self.vfs.account().mark();
        // What was refused before is not why this one fails.
        self.vfs.account().take_refusal();
        let undoable = matches!(reach, Reach::Returning | Reach::Alter);
        if self.quota.shared.is_some() {
            self.quota.pages_begun.get_or_insert(before);
        }
        let near = before + SLACK_PAGES > self.quota.pages_max_now()
            || self.vfs.account().transaction_bytes() + TRANSACTION_SLACK_BYTES > TRANSACTION_BYTES_MAX;
        let writes = self.vfs.account().set_writes(true);
        let result = if near || undoable {
            self.write_undoably(reach, run)
        } else {
            run(self)
        };
        self.vfs.account().set_writes(writes);
        result
    }

    fn write_undoably<R>(
        &mut self,
        reach: Reach,
        run: impl FnOnce(&mut Self) -> Result<R, StorageError>,
    ) -> Result<R, StorageError> {
        let before = self.used_pages()?;
        self.quota.forget();
        let mark = self.vfs.account().mark();
        self.host_run(SAVEPOINT)?;
        let lenient = self.vfs.account().set_lenient(true);
        let result = run(self).and_then(|value| self.check_written(before, reach).map(|()| value));
        self.vfs.account().set_lenient(lenient);
        if !self.conn.is_autocommit() {
            let released = if result.is_ok() { self.host_run(RELEASE) } else { Ok(()) };
            if result.is_err() || released.is_err() {
                self.undo(ROLLBACK, RELEASE)?;
                self.vfs.account().rewind(mark);
            }
            released?;
        }
        result
    }

    /// "Full" of a statement that has not written as much as the database may still grow, which is not much less than what
    /// a file holds that grows: SQLite says so, too, if it finds no number for a row.
    pub(super) fn found_no_number(&self) -> bool {
        let end = self.vfs.account().mark();
        // The log may have begun anew.
        let written = end.checked_sub(self.quota.log_mark).unwrap_or(end);
        written + UNWRITTEN_BYTES_MAX < self.quota.headroom_bytes
    }

    fn check_written(&mut self, before: u64, reach: Reach) -> Result<(), StorageError> {
        let after = self.used_pages()?;
        if (after > before || self.quota.is_uncounted()) && after > self.quota.pages_max_now() {
            return Err(self.quota.full());
        }
        // What is still in SQLite's cache goes into the log with the COMMIT.
        if self.vfs.account().transaction_bytes() + CACHE_BYTES > TRANSACTION_BYTES_MAX {
            return Err(StorageError::transaction_too_big());
        }
        if reach == Reach::Alter && self.host_integer(RESERVED_NAMES)? != INTERNAL_TABLES {
            let message = format!("names beginning with {RESERVED_PREFIX} are the host's: choose another name");
            return Err(StorageError::new(StorageCode::Denied, message));
        }
        Ok(())
    }
}
