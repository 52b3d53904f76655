//! Every connection gets the same settings before anything is read, and no database is used whose identity does not match.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::ffi::c_int;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, ffi};

use super::authorizer::Authorizer;
use super::cache::{GuestStatements, HostStatements};
use super::counters::Counters;
use super::cursor::Cursors;
use super::error::{StorageCode, StorageError};
use super::file::{DbFile, remove_companions, remove_if_there};
use super::heap::{HeapRefusal, Meter};
use super::interrupt::InterruptCell;
use super::quota::Quota;
use super::settings::ForeignKeys;
use super::statement::{self, Statement};
use super::vfs::{self, Opened, Refusal, Vfs};
use super::{allow, functions, identity, limited, template};

/// The largest text, blob and row.
pub(crate) const VALUE_BYTES_MAX: i32 = 8 * 1024 * 1024;
/// The longest text of SQL.
pub(crate) const SQL_BYTES_MAX: i32 = 100 * 1024;
/// Depth of an expression, and of views and subqueries in each other. SQLite recurses over it on 512 KiB of stack.
pub(crate) const EXPRESSION_DEPTH_MAX: i32 = 100;
/// Depth of the parser's stack, which bounds what the depth of expressions does not.
pub(crate) const PARSER_DEPTH_MAX: i32 = 500;
/// Parameters of a statement.
pub(crate) const PARAMETERS_MAX: i32 = 1000;
/// Triggers and foreign key actions that set each other off.
pub(crate) const TRIGGER_DEPTH_MAX: i32 = 10;
/// Statements in one trigger.
pub(crate) const TRIGGER_STEPS_MAX: i32 = 100;
/// Bytes of a LIKE or GLOB pattern. One match cannot be interrupted and takes time up to text times pattern: with 50 and
/// the longest text half a second, with 1,000 twenty.
pub(crate) const PATTERN_BYTES_MAX: i32 = 50;
/// Columns of a table, an index or a result.
pub(crate) const COLUMNS_MAX: i32 = 500;
/// Parts of a compound SELECT.
pub(crate) const COMPOUND_MAX: i32 = 50;
/// Instructions of a compiled statement.
pub(crate) const INSTRUCTIONS_MAX: i32 = 100_000;
/// Arguments of a function.
pub(crate) const ARGUMENTS_MAX: i32 = 127;
/// Tables, indexes, views and triggers. The schema is read anew each time the database is opened.
pub(crate) const SCHEMA_OBJECTS_MAX: i32 = 2000;

/// Instructions between two looks at whether the facet was stopped: about 20 us, and no cost that could be measured.
const PROGRESS_INSTRUCTIONS: i32 = 1000;
/// SQLite's page cache for one connection. The operating system's cache is behind it.
pub(super) const CACHE_KIB: u32 = 256;

/// An open database: its statements, then the connection under them.
pub(super) struct Connected {
    // Fields drop in order: statements must be finalised before the connection closes.
    pub(super) cursors: Cursors,
    pub(super) guests: GuestStatements,
    pub(super) hosts: HostStatements,
    pub(super) authorizer: Arc<Authorizer>,
    /// Frames in the WAL after the last commit, by the WAL hook; 0 since it was last taken if no commit wrote any.
    pub(super) committed_frames: Arc<AtomicU32>,
    /// Frames in the log that are captured, or were there when it was opened.
    pub(super) frames: u32,
    /// Which use of the log they belong to; none: the one that is there.
    pub(super) salts: Option<super::capture::Salts>,
    pub(super) quota: Quota,
    pub(super) foreign_keys: ForeignKeys,
    pub(super) counters: Arc<Counters>,
    pub(super) conn: Connection,
    /// After the connection, which uses it until it is closed.
    pub(super) vfs: Vfs,
    /// What guests' statements hold of memory.
    pub(super) heap: Arc<Meter>,
}

/// A guest's statement, compiled.
pub(super) struct Prepared<'s> {
    /// None if there are only blanks and comments.
    pub(super) statement: Option<Statement>,
    /// What follows it in the text.
    pub(super) rest: &'s str,
    /// It was not written anew: another schema makes no other text of it.
    pub(super) as_written: bool,
}

impl Connected {
    /// Opens a database that has been committed to. Answers also when its alarm is due.
    pub(super) fn open(
        file: &DbFile,
        path: &str,
        quota_bytes: u64,
        interrupt: &Arc<InterruptCell>,
    ) -> Result<(Self, Option<u64>), StorageError> {
        let has_log = file.wal_path().exists();
        identity::check_unopened(file)?;
        let mut connected = Self::connect(file, quota_bytes, interrupt)?;
        let trusted = connected.authorizer.trust();
        let alarm_ms =
            identity::check(&connected.conn, file, path).map_err(|error| connected.vfs.account().explain(error))?;
        if has_log {
            // Its frames are in the journal; the next commit begins behind them.
            let frames: i64 = connected
                .conn
                .query_row("PRAGMA wal_checkpoint(NOOP)", (), |row| row.get(1))?;
            connected.frames = u32::try_from(frames).unwrap_or(0);
            if connected.frames > 0 {
                // Else the next use of the log, whose frames are counted from its beginning, would pass for this one.
                connected.salts = Some(super::capture::salts(&connected.conn)?);
            }
        }
        drop(trusted);
        Ok((connected, alarm_ms))
    }

    /// Creates a database. One that is there already, and was committed to, has lost its entry in the index: it is refused, not
    /// overwritten. To one that a crash left nothing was committed; but what this process committed may be in its log only.
    pub(super) fn create(
        file: &DbFile,
        has_own_log: bool,
        quota_bytes: u64,
        interrupt: &Arc<InterruptCell>,
    ) -> Result<Self, StorageError> {
        let path = file.path();
        let image = template::image()?;
        let make = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let is_in_the_way = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AlreadyExists;
        let created = match make() {
            Err(error) if is_in_the_way(&error) => {
                let is_blank = || identity::is_blank(file).map_err(|error| StorageError::io("read", &path, &error));
                if has_own_log || !is_blank()? {
                    let message = "a database is in the way that the object's index does not name. It is left as it is; \
                                   restore the index from a backup, or move the file away";
                    return Err(StorageError::new(StorageCode::Identity, message).private(path.display()));
                }
                // Nothing was ever committed to it.
                remove_if_there(&path).map_err(|error| StorageError::io("remove the left-over", &path, &error))?;
                make()
            }
            made => made,
        };
        let mut created = created.map_err(|error| StorageError::io("create", &path, &error))?;
        // A log without its database would be taken for the new one's.
        remove_companions(file).map_err(|error| StorageError::io("remove the left-over", &path, &error))?;
        created
            .write_all(image)
            .map_err(|error| StorageError::io("write", &path, &error))?;
        drop(created);
        Self::connect(file, quota_bytes, interrupt)
    }

    fn connect(file: &DbFile, quota_bytes: u64, interrupt: &Arc<InterruptCell>) -> Result<Self, StorageError> {
        // Not CREATE: SQLite would make up an empty database for one that is lost. No URI.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let path = file.path();
        let opened = vfs::open(&path, flags)?;
        let account = Arc::clone(opened.vfs.account());
        Self::set_up(opened, &path, quota_bytes, interrupt).map_err(|error| account.explain(error))
    }

    fn set_up(
        mut opened: Opened,
        path: &Path,
        quota_bytes: u64,
        interrupt: &Arc<InterruptCell>,
    ) -> Result<Self, StorageError> {
        let conn = &mut opened.conn;
        // rusqlite waits five seconds for a lock; nobody who holds one here gives it back.
        conn.busy_timeout(Duration::ZERO)?;
        // Before anything is read: the limits are to hold for the schema, too.
        set_limits(conn)?;
        set_config(conn)?;
        // Exclusive before the WAL is touched: its index is on the heap then, no -shm exists. `synchronous` is OFF because
        // the journal makes commits durable, and a barrier checkpoints. Autocheckpoint last: it replaces the WAL hook.
        conn.execute_batch(&format!(
            "PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-{CACHE_KIB}; PRAGMA synchronous=OFF;
             PRAGMA wal_autocheckpoint=0;"
        ))?;
        let mode: String = conn.query_row("PRAGMA journal_mode=WAL", (), |row| row.get(0))?;
        if mode != "wal" {
            let message = "the database cannot be switched to WAL";
            return Err(StorageError::new(StorageCode::Io, message).private(path.display()));
        }
        functions::install(conn)?;
        let counters = Counters::install(conn)?;
        let quota = Quota::install(conn, quota_bytes)?;
        let stop = Arc::clone(interrupt);
        conn.progress_handler(PROGRESS_INSTRUCTIONS, Some(move || stop.progress()))?;
        let committed_frames = Arc::new(AtomicU32::new(0));
        let frames = Arc::clone(&committed_frames);
        conn.wal_hook(Some(move |_: &mut Wal, count: i32| {
            frames.store(u32::try_from(count).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let account = Arc::clone(opened.vfs.account());
        conn.rollback_hook(Some(move || account.forget_transaction()))?;
        let authorizer = Arc::new(Authorizer::default());
        let check = Arc::clone(&authorizer);
        statement::keep_modules(conn, &allow::MODULES_KEPT);
        conn.authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| {
            check.check(&context)
        }))?;
        Ok(Self {
            cursors: Default::default(),
            guests: Default::default(),
            hosts: Default::default(),
            authorizer,
            committed_frames,
            frames: 0,
            salts: None,
            quota,
            foreign_keys: ForeignKeys::default(),
            counters,
            conn: opened.conn,
            vfs: opened.vfs,
            heap: Arc::new(Meter::new(Arc::clone(interrupt))),
        })
    }

    /// True if the file that is open has lost its name, or another file has it.
    pub(super) fn has_moved(&self) -> bool {
        let mut moved: c_int = 0;
        // SAFETY: the connection is open, and this operation writes one integer.
        let rc = unsafe {
            ffi::sqlite3_file_control(
                self.conn.handle(),
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_HAS_MOVED,
                (&raw mut moved).cast(),
            )
        };
        rc != ffi::SQLITE_OK || moved != 0
    }

    /// Compiles the first statement of a guest's text.
    pub(super) fn prepare_guest<'s>(&mut self, sql: &'s str) -> Result<Prepared<'s>, StorageError> {
        // SAFETY: guests' statements go to `cursors` and `guests`, or are dropped before the call that made them ends.
        let failure = match unsafe { Statement::prepare(&self.conn, sql, false) } {
            Ok((statement, rest)) => {
                return Ok(Prepared {
                    statement,
                    rest,
                    as_written: true,
                });
            }
            Err(failure) => failure,
        };
        let refused = self.explain(failure.clone());
        if refused.code() != "sql" || !limited::may_be_meant(&failure) {
            return Err(refused);
        }
        let Some(limited::Rewritten { text, rest }) = self.rewrite_limited(sql)? else {
            return Err(refused);
        };
        self.authorizer.begin_statement();
        // SAFETY: as above.
        let (statement, behind) =
            unsafe { Statement::prepare(&self.conn, &text, false) }.map_err(|failure| self.explain(failure))?;
        if !behind.trim().is_empty() {
            return Err(refused);
        }
        Ok(Prepared {
            statement,
            rest,
            as_written: false,
        })
    }

    /// The error for a failure of this connection. Says so if SQLite has ended the transaction.
    pub(super) fn explain(&self, failure: statement::Failure) -> StorageError {
        let denial = self.authorizer.take_denial();
        self.name_limit(StorageError::from_sqlite(failure.rc, &failure.message, denial))
    }
}

impl Connected {
    /// Says which limit it was where SQLite only knows that it is full or was interrupted.
    pub(super) fn name_limit(&self, error: StorageError) -> StorageError {
        let stopped = || {
            if self.heap.is_overdue() {
                StorageError::out_of_time()
            } else {
                StorageError::interrupted()
            }
        };
        match error.code() {
            "full" | "interrupted" => match self.vfs.account().take_refusal() {
                // A checkpoint found that earlier; who is interrupted has not.
                Some(Refusal::Disk) if error.code() == "interrupted" => error,
                Some(Refusal::Disk) => self.vfs.account().explain(StorageError::refused(Refusal::Disk)),
                Some(refusal) => StorageError::refused(refusal),
                None if error.code() == "full" && !self.vfs.account().has_failure() && self.found_no_number() => {
                    StorageError::no_number_left()
                }
                None if error.code() == "interrupted" && self.heap.is_overdue() => stopped(),
                None => self.vfs.account().explain(error),
            },
            "corrupt" | "io" => self.vfs.account().explain(error),
            "memory" => match self.heap.take_refusal() {
                Some(HeapRefusal::Full) => StorageError::memory_full(),
                Some(HeapRefusal::Stopped) => stopped(),
                None => error,
            },
            _ => error,
        }
    }
}

fn set_limits(conn: &Connection) -> Result<(), rusqlite::Error> {
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES_MAX),
        (Limit::SQLITE_LIMIT_COLUMN, COLUMNS_MAX),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, EXPRESSION_DEPTH_MAX),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, COMPOUND_MAX),
        (Limit::SQLITE_LIMIT_VDBE_OP, INSTRUCTIONS_MAX),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, ARGUMENTS_MAX),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN_BYTES_MAX),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, PARAMETERS_MAX),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, TRIGGER_DEPTH_MAX),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        (Limit::SQLITE_LIMIT_PARSER_DEPTH, PARSER_DEPTH_MAX),
        (Limit::SQLITE_LIMIT_SCHEMA, SCHEMA_OBJECTS_MAX),
        (Limit::SQLITE_LIMIT_TRIGGER_STEPS, TRIGGER_STEPS_MAX),
    ] {
        conn.set_limit(limit, value)?;
    }
    Ok(())
}

fn set_config(conn: &Connection) -> Result<(), rusqlite::Error> {
    for (option, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
        // A connection that is merely dropped leaves its log: what is in it may not be durable.
        (DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
    ] {
        conn.set_db_config(option, on)?;
    }
    Ok(())
}
