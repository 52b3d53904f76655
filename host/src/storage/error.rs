//! Every failure of storage has a kind, a code and a sentence; kind and code are the contract, `wit/storage.wit` names them.
//!
//! The sentence goes to guests and to whoever calls them, so it names no path of the host and no object but the facet's own.
//! What only the operator may know is kept beside it, and goes to the log where the error leaves the host.

use std::sync::Arc;

use rusqlite::ffi;

use super::connection::{COMPOUND_MAX, PATTERN_BYTES_MAX, SCHEMA_OBJECTS_MAX};
use super::heap::HEAP_BYTES_MAX;
use super::vfs::{Refusal, TEMPORARY_BYTES_MAX, TRANSACTION_BYTES_MAX};
use crate::error;

/// Why an operation of a facet's storage failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StorageError {
    /// The arguments make no sense in this state; nothing happened.
    #[error("{0}")]
    InvalidArgument(String),
    /// Refused because of a limit; the facet lives.
    #[error("{message}")]
    Limit {
        /// Which limit.
        limit: StorageLimit,
        /// What was exceeded and what to do.
        message: String,
        /// As below.
        transaction_lost: bool,
    },
    /// SQLite refused or failed, or the database cannot be used.
    #[error("{message}")]
    Storage {
        /// What kind of failure.
        code: StorageCode,
        /// What failed and what to do.
        message: String,
        /// What only the operator is told; none if there is no more, or if the log has it.
        private: Option<Arc<str>>,
        /// SQLite ended the turn's transaction by itself: nothing of the turn can be kept, so the facet must break.
        transaction_lost: bool,
    },
}

/// The limits a storage call can run into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StorageLimit {
    /// A key's length.
    Key,
    /// A value's length.
    Value,
    /// Keys or entries in one call.
    Entries,
    /// Bytes that one call may answer.
    Result,
    /// Open cursors.
    Cursors,
    /// Nested transactions.
    Transactions,
    /// Bytes that one turn writes.
    Transaction,
    /// CPU time of the event.
    Cpu,
}

/// What kind of failure it was, as guests see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StorageCode {
    /// The text is no SQL that SQLite accepts, or failed for a reason of its own.
    Sql,
    /// A constraint of the guest's tables.
    Constraint,
    /// Not allowed to guests.
    Denied,
    /// The quota, or the disk.
    Full,
    /// The journal has no room, or has failed.
    JournalFull,
    /// A text, blob, row or statement beyond SQLite's limits.
    TooBig,
    /// Stopped from outside.
    Interrupted,
    /// The operating system failed.
    Io,
    /// The file is no database, or a damaged one.
    Corrupt,
    /// The file belongs to another facet.
    Identity,
    /// SQLite could not allocate.
    Memory,
    /// The cursor's turn is over.
    CursorClosed,
    /// The transaction's turn is over, or it was ended.
    TransactionClosed,
}

// SQLite's messages.
const SCHEMA_FULL: &str = "too many schema objects";
const PATTERN_LONG: &str = "LIKE or GLOB pattern too complex";
const COMPOUND_LONG: &str = "too many terms in compound SELECT";

impl StorageError {
    /// The `kind` of the call error.
    #[cfg(test)]
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::InvalidArgument(_) => "invalid-argument",
            Self::Limit { .. } => "limit",
            Self::Storage { .. } => "storage",
        }
    }

    /// The `code` of the call error.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::InvalidArgument(_) => "argument",
            Self::Limit { limit, .. } => match limit {
                StorageLimit::Key => "key",
                StorageLimit::Value => "value",
                StorageLimit::Entries => "entries",
                StorageLimit::Result => "result",
                StorageLimit::Cursors => "cursors",
                StorageLimit::Transactions => "transactions",
                StorageLimit::Transaction => "transaction",
                StorageLimit::Cpu => "cpu",
            },
            Self::Storage { code, .. } => match code {
                StorageCode::Sql => "sql",
                StorageCode::Constraint => "constraint",
                StorageCode::Denied => "denied",
                StorageCode::Full => "full",
                StorageCode::JournalFull => "journal-full",
                StorageCode::TooBig => "too-big",
                StorageCode::Interrupted => "interrupted",
                StorageCode::Io => "io",
                StorageCode::Corrupt => "corrupt",
                StorageCode::Identity => "identity",
                StorageCode::Memory => "memory",
                StorageCode::CursorClosed => "cursor-closed",
                StorageCode::TransactionClosed => "transaction-closed",
            },
        }
    }

    /// True if the transaction of the turn is gone, so that the facet must break.
    pub(crate) fn transaction_lost(&self) -> bool {
        match self {
            Self::InvalidArgument(_) => false,
            Self::Limit { transaction_lost, .. } | Self::Storage { transaction_lost, .. } => *transaction_lost,
        }
    }

    pub(super) fn new(code: StorageCode, message: impl Into<String>) -> Self {
        Self::Storage {
            code,
            message: message.into(),
            private: None,
            transaction_lost: false,
        }
    }

    /// Adds what only the operator is told.
    pub(super) fn private(mut self, more: impl std::fmt::Display) -> Self {
        if let Self::Storage { private, .. } = &mut self {
            *private = Some(more.to_string().into());
        }
        self
    }

    /// Says whose database it is, by the path inside its own object, where the operator is told which file.
    pub(super) fn of_facet(mut self, path: &str) -> Self {
        if let Self::Storage {
            message,
            private: Some(_),
            ..
        } = &mut self
        {
            let whose = match path {
                "" => "the root facet".to_owned(),
                path => format!("the facet {path:?}"),
            };
            *message = format!("{whose}: {message}");
        }
        self
    }

    /// The whole of it, for the log.
    pub(crate) fn for_operator(&self) -> String {
        match self {
            Self::Storage {
                message,
                private: Some(private),
                ..
            } => format!("{message} ({private})"),
            Self::InvalidArgument(message) | Self::Limit { message, .. } | Self::Storage { message, .. } => {
                message.clone()
            }
        }
    }

    /// The log has what only the operator is told.
    pub(super) fn told(mut self) -> Self {
        if let Self::Storage { private, .. } = &mut self {
            *private = None;
        }
        self
    }

    /// Writes to the log what only the operator is told, once.
    pub(crate) fn logged(mut self) -> Self {
        let whole = self.for_operator();
        if let Self::Storage { code, private, .. } = &mut self
            && private.take().is_some()
        {
            tracing::warn!(?code, error = whole, "storage failed");
        }
        self
    }

    /// The journal takes nothing, for that reason.
    pub(crate) fn journal(why: impl std::fmt::Display) -> Self {
        let message =
            "the journal of this host is full, or cannot be written, so nothing can be committed: try again later";
        Self::new(StorageCode::JournalFull, message).private(why)
    }

    /// The files of this object cannot be written, for that reason: what was committed last is not in them yet.
    pub(crate) fn stuck(why: &str) -> Self {
        let message =
            "the files of this object cannot be written, so it commits nothing until they can be: try again later";
        Self::new(StorageCode::Io, message).private(why)
    }

    /// No row of this table can get a number: its AUTOINCREMENT, or all that were tried, are used up.
    pub(super) fn no_number_left() -> Self {
        let message = format!(
            "the table has no row number left: with AUTOINCREMENT none is used twice, and {} was. Give the row a number of \
             its own, or lower `seq` of the table in sqlite_sequence",
            i64::MAX
        );
        Self::new(StorageCode::Sql, message)
    }

    pub(super) fn limit(limit: StorageLimit, message: impl Into<String>) -> Self {
        Self::Limit {
            limit,
            message: message.into(),
            transaction_lost: false,
        }
    }

    /// The event has no CPU time left for its statement.
    pub(super) fn out_of_time() -> Self {
        let message = "the statement was stopped: the event's CPU time is used up, but for a little to end with";
        Self::limit(StorageLimit::Cpu, message)
    }

    /// The turn has written more than one may.
    pub(super) fn transaction_too_big() -> Self {
        let message = format!(
            "a turn writes at most {} MiB: do the work in several turns",
            TRANSACTION_BYTES_MAX >> 20
        );
        Self::limit(StorageLimit::Transaction, message)
    }

    /// The statements hold more memory than they may.
    pub(super) fn memory_full() -> Self {
        let message = format!(
            "the statement needs more than {} MiB of memory: use smaller values, or fewer of them at a time",
            HEAP_BYTES_MAX >> 20
        );
        Self::new(StorageCode::Memory, message)
    }

    /// A write was refused by a limit that SQLite does not know.
    pub(super) fn refused(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Transaction => Self::transaction_too_big(),
            Refusal::Disk => {
                let message =
                    "the disk is full: reads go on, and nothing can be written until the operator has made room";
                Self::new(StorageCode::Full, message)
            }
            Refusal::Temporary => {
                let message = format!(
                    "temporary files are full: sorting, grouping and subqueries of one facet take at most {} MiB; an \
                     index, or fewer rows, need less",
                    TEMPORARY_BYTES_MAX >> 20
                );
                Self::new(StorageCode::Full, message)
            }
        }
    }

    pub(super) fn interrupted() -> Self {
        Self::new(StorageCode::Interrupted, "interrupted: the facet is being stopped")
    }

    /// The file is not there any more under its name, or another one is.
    pub(super) fn moved(file: &super::file::DbFile) -> Self {
        let message = "the database was removed, renamed or replaced while the host had it open: nothing more is written to it, \
                       and its newest commits are kept in the journal. The operator can put the file back";
        Self::new(StorageCode::Io, message).private(file.path().display())
    }

    /// A file could not be handled.
    pub(crate) fn from_io(error: std::io::Error) -> Self {
        Self::new(
            StorageCode::Io,
            format!("a file of the database cannot be used: {}", error::told(&error)),
        )
        .private(error)
    }

    pub(super) fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let message = format!("the host cannot {what} its database: {}", error::told(error));
        Self::new(StorageCode::Io, message).private(format!("{}: {error}", path.display()))
    }

    /// What SQLite's result code means to a guest. `denial` is what the authorizer said while the statement ran: SQLite
    /// reports a denied function or a denied step inside ALTER as an ordinary error.
    pub(super) fn from_sqlite(rc: i32, message: &str, denial: Option<String>) -> Self {
        if let Some(denial) = denial {
            return Self::new(StorageCode::Denied, denial);
        }
        let code = match rc & 0xff {
            _ if rc == ffi::SQLITE_CORRUPT_VTAB => {
                let message = format!(
                    "a virtual table does not agree with what it was made from ({message}). The database file is sound. \
                     FTS5: INSERT INTO name(name) VALUES('rebuild'), or keep the index in step by triggers; R-tree: drop \
                     the table and fill it again"
                );
                return Self::new(StorageCode::Sql, message);
            }
            _ if rc == ffi::SQLITE_CORRUPT_INDEX => {
                let message = format!("an index does not agree with its table ({message}): REINDEX makes it anew");
                return Self::new(StorageCode::Corrupt, message);
            }
            ffi::SQLITE_CANTOPEN => {
                let said = "the database file cannot be opened";
                return Self::new(StorageCode::Io, said).private(message);
            }
            ffi::SQLITE_CONSTRAINT => StorageCode::Constraint,
            ffi::SQLITE_AUTH => StorageCode::Denied,
            ffi::SQLITE_FULL => StorageCode::Full,
            ffi::SQLITE_TOOBIG => StorageCode::TooBig,
            ffi::SQLITE_INTERRUPT => StorageCode::Interrupted,
            ffi::SQLITE_NOMEM => StorageCode::Memory,
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => StorageCode::Corrupt,
            // A page that does not match its checksum.
            _ if rc == ffi::SQLITE_IOERR_DATA => StorageCode::Corrupt,
            // SQLite notices when it reads the new schema, and gives that up with the code for rows that are gone.
            ffi::SQLITE_ABORT if message == SCHEMA_FULL => {
                let message = format!(
                    "a database has at most {SCHEMA_OBJECTS_MAX} tables, indexes, views and triggers, the host's own \
                     included: drop some first"
                );
                return Self::new(StorageCode::Sql, message);
            }
            ffi::SQLITE_ABORT => StorageCode::CursorClosed,
            ffi::SQLITE_IOERR | ffi::SQLITE_PERM | ffi::SQLITE_READONLY | ffi::SQLITE_BUSY => StorageCode::Io,
            _ => StorageCode::Sql,
        };
        let message = match code {
            StorageCode::Full => {
                "there is no room: either the facet's storage quota is used up, then delete something; or the \
                host's disk is full, then its operator must make room. Reads and deletes still work"
                    .to_owned()
            }
            StorageCode::Interrupted => "interrupted while the statement ran".to_owned(),
            StorageCode::CursorClosed => {
                format!("the rows under this cursor are gone ({message}): run the query again")
            }
            StorageCode::Io if rc & 0xff == ffi::SQLITE_BUSY => {
                "the database is locked: another process, perhaps a sqlite3 shell, has it open; close that one"
                    .to_owned()
            }
            StorageCode::Corrupt => {
                format!("the database file is damaged ({message}); restore it from a backup, it is left as it is")
            }
            StorageCode::Sql if message == PATTERN_LONG => {
                format!("{message}: a pattern has at most {PATTERN_BYTES_MAX} bytes")
            }
            StorageCode::Sql if message == COMPOUND_LONG => format!("{message}: at most {COMPOUND_MAX}"),
            StorageCode::Sql
            | StorageCode::Constraint
            | StorageCode::JournalFull
            | StorageCode::Denied
            | StorageCode::TooBig
            | StorageCode::Io
            | StorageCode::Identity
            | StorageCode::Memory
            | StorageCode::TransactionClosed => message.to_owned(),
        };
        Self::new(code, message)
    }

    /// A page of the database is not what was written there.
    pub(super) fn damaged(page: u32) -> Self {
        let message = format!(
            "the database file is damaged (page {page} does not match its checksum); restore it from a backup, it is left as \
             it is"
        );
        Self::new(StorageCode::Corrupt, message)
    }

    /// Says which page it was that is damaged.
    pub(super) fn on_page(self, page: u32) -> Self {
        match self.transaction_lost() {
            true => Self::damaged(page).lost(),
            false => Self::damaged(page),
        }
    }

    /// Says what the operating system has said.
    pub(super) fn because(mut self, cause: &std::io::Error) -> Self {
        match &mut self {
            Self::InvalidArgument(message) | Self::Limit { message, .. } | Self::Storage { message, .. } => {
                message.push_str(&format!(": {cause}"));
            }
        }
        self
    }

    pub(super) fn lost(self) -> Self {
        match self {
            Self::Storage {
                code, message, private, ..
            } => Self::Storage {
                code,
                message,
                private,
                transaction_lost: true,
            },
            Self::Limit { limit, message, .. } => Self::Limit {
                limit,
                message,
                transaction_lost: true,
            },
            Self::InvalidArgument(_) => self,
        }
    }
}

impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::SqliteFailure(failure, message) => {
                let message = message.clone().unwrap_or_else(|| failure.to_string());
                Self::from_sqlite(failure.extended_code, &message, None)
            }
            _ => Self::new(StorageCode::Sql, error.to_string()),
        }
    }
}

impl From<super::statement::Failure> for StorageError {
    fn from(failure: super::statement::Failure) -> Self {
        Self::from_sqlite(failure.rc, &failure.message, None)
    }
}
