//! The index of due times of one namespace: `alarms.sqlite`. It is derived, so it is never in the way: what cannot be read
//! is made anew from the databases. What it must not do is to say *later* than a facet's own database does after a crash,
//! for then an alarm would be late. Each change is therefore written when its commit is durable, and again by
//! whoever recovers (`apply` may be repeated); what says earlier, or of an alarm that there is not, is found out when
//! the facet is asked.
//!
//! Between two hosts anybody may put an older database in its place, or an older index. A clean stop writes down when it was.
//! A database whose file has changed since is read when the next host starts; without that moment all of them are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::{AlarmKey, databases};
use crate::ids::{FileId, ObjectId};
use crate::storage::{DbFile, stored_alarm};

/// SQLite's name for no file.
const IN_MEMORY: &str = ":memory:";
/// The file's name in the namespace's directory.
pub(crate) const FILE_NAME: &str = "alarms.sqlite";
/// "Fcal"; another one is not this index.
const APPLICATION_ID: i32 = 0x4663_616c;
/// The layout of the table; another one is made anew.
const FORMAT: i32 = 2;

const SCHEMA: &str = "
CREATE TABLE alarm(object BLOB NOT NULL, file INTEGER NOT NULL, due_ms INTEGER NOT NULL, PRIMARY KEY(object, file)) WITHOUT ROWID;
CREATE INDEX alarm_due ON alarm(due_ms, object, file);
CREATE TABLE stop(one INTEGER PRIMARY KEY CHECK(one = 1), at_ms INTEGER NOT NULL);
";

/// A due time and whose it is, in the order of the index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) due_ms: u64,
    pub(super) key: AlarmKey,
}

impl Default for Place {
    /// Before everything.
    fn default() -> Self {
        let (object, file) = (ObjectId([0; 32]), FileId(0));
        Self {
            due_ms: 0,
            key: AlarmKey { object, file },
        }
    }
}

impl Place {
    /// Behind everything that is due at that time.
    pub(super) fn last_at(due_ms: u64) -> Self {
        let (object, file) = (ObjectId([u8::MAX; 32]), FileId(u32::MAX));
        Self {
            due_ms,
            key: AlarmKey { object, file },
        }
    }
}

/// What an alarm has become: due then, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AlarmUpdate {
    pub(crate) key: AlarmKey,
    pub(crate) due_ms: Option<u64>,
}

/// Why an index cannot be used, or made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AlarmIndexError {
    #[error("the alarms of a namespace: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
}

impl AlarmIndexError {
    fn io(path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::Io {
            path: path.to_owned(),
            error,
        }
    }
}

/// An open index.
#[derive(Debug)]
pub(crate) struct AlarmIndex {
    conn: Connection,
    path: PathBuf,
    /// All databases could be read. If not, the next start makes it anew: they may be readable then.
    is_whole: bool,
}

impl AlarmIndex {
    /// Opens the index of a namespace's directory. One that is missing or cannot be read is made anew.
    pub(crate) fn open(dir: &Path) -> Result<Self, AlarmIndexError> {
        let path = dir.join(FILE_NAME);
        if path.exists() {
            match Self::open_existing(&path) {
                Ok((mut index, stopped_ms)) => match index.read_changed(dir, stopped_ms) {
                    Ok(()) => return Ok(index),
                    Err(AlarmIndexError::Sqlite(error)) => {
                        tracing::warn!(file = %path.display(), %error, "the index of alarms cannot be written; it is made anew");
                    }
                    Err(error) => return Err(error),
                },
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "the index of alarms cannot be read; it is made anew");
                }
            }
        }
        match Self::rebuild(dir) {
            // Nothing is lost by that, and without room nothing can be set anyway.
            Err(AlarmIndexError::Sqlite(error)) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                tracing::warn!(file = %path.display(), %error, "the index of alarms is kept in memory until the next start");
                remove(&path)?;
                Self::rebuild_at(dir, Path::new(IN_MEMORY))
            }
            made => made,
        }
    }

    /// Answers also when it was closed.
    fn open_existing(path: &Path) -> Result<(Self, u64), rusqlite::Error> {
        let index = Self::connect(path)?;
        let found: (i32, i32) = (index.pragma("application_id")?, index.pragma("user_version")?);
        if found != (APPLICATION_ID, FORMAT) {
            return Err(rusqlite::Error::InvalidQuery);
        }
        // Damage that nobody notices would make alarms late; a few milliseconds for each 100,000.
        let sound: String = index.conn.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
        if sound != "ok" {
            return Err(rusqlite::Error::InvalidColumnName(sound));
        }
        let stopped_ms: i64 = index.conn.query_row("SELECT at_ms FROM stop", (), |row| row.get(0))?;
        Ok((index, u64::try_from(stopped_ms).unwrap_or(0)))
    }

    /// Brings what databases say that were put in their place since then, and forgets when that was: from now on the index is
    /// behind the databases, until it is closed again.
    fn read_changed(&mut self, dir: &Path, stopped_ms: u64) -> Result<(), AlarmIndexError> {
        let shared: std::sync::Arc<Path> = dir.into();
        let io = AlarmIndexError::io(dir);
        #[cfg(test)]
        tests::refuse_room(&self.path)?;
        let transaction = self.conn.transaction()?;
        let mut changed = 0_u64;
        for found in databases::of_namespace(dir) {
            let found = found.map_err(&io)?;
            if found.changed_ms().map_err(&io)? < stopped_ms {
                continue;
            }
            changed += 1;
            match alarm_in(&shared, found.key) {
                Some(due_ms) => apply_one(&transaction, &AlarmUpdate { key: found.key, due_ms })?,
                None => self.is_whole = false,
            }
        }
        transaction.execute("DELETE FROM stop", ())?;
        transaction.commit()?;
        if changed > 0 {
            tracing::info!(dir = %dir.display(), changed, "read the alarms of databases that were changed since the last stop");
        }
        Ok(())
    }

    /// What the index of a namespace's directory says that no host uses; none if there is none, or one of another layout: the next
    /// start makes it. Changes nothing. An error says what is wrong with it.
    pub(crate) fn read_unchanged(dir: &Path) -> Result<Option<BTreeMap<AlarmKey, u64>>, String> {
        let path = dir.join(FILE_NAME);
        let wrong = |why: &dyn std::fmt::Display| {
            format!(
                "{}: {why}; remove it while no host runs, and the next start makes it anew from the databases",
                path.display()
            )
        };
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => return Err(wrong(&error)),
        }
        let read = || -> Result<Option<BTreeMap<AlarmKey, u64>>, AlarmIndexError> {
            let index = Self::connect_unchanged(&path)?;
            let sound: String = index.conn.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
            if sound != "ok" {
                return Err(rusqlite::Error::InvalidColumnName(sound).into());
            }
            if index.pragma("application_id")? != APPLICATION_ID {
                return Err(rusqlite::Error::InvalidQuery.into());
            }
            if index.pragma("user_version")? != FORMAT {
                return Ok(None);
            }
            let all = index.due(Place::default(), u64::MAX, u32::MAX)?;
            Ok(Some(all.into_iter().map(|place| (place.key, place.due_ms)).collect()))
        };
        read().map_err(|error| wrong(&format!("the index of alarms is damaged, or is none ({error})")))
    }

    fn connect_unchanged(path: &Path) -> Result<Self, rusqlite::Error> {
        let escaped =
            percent_encoding::percent_encode(path.as_os_str().as_encoded_bytes(), percent_encoding::NON_ALPHANUMERIC);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        Ok(Self {
            conn: Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)?,
            path: path.to_owned(),
            is_whole: true,
        })
    }

    fn connect(path: &Path) -> Result<Self, rusqlite::Error> {
        let conn = Connection::open(path)?;
        // NORMAL syncs at checkpoints only: a change that a crash takes away comes again from the journal.
        conn.execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")?;
        conn.set_prepared_statement_cache_capacity(8);
        Ok(Self {
            conn,
            path: path.to_owned(),
            is_whole: true,
        })
    }

    fn pragma(&self, name: &str) -> Result<i32, rusqlite::Error> {
        self.conn.query_row(&format!("PRAGMA {name}"), (), |row| row.get(0))
    }

    /// Removes the index of a namespace's directory, so that it is made anew when the namespace is opened.
    pub(crate) fn forget(dir: &Path) -> Result<(), AlarmIndexError> {
        remove(&dir.join(FILE_NAME))
    }

    /// Makes the index anew from the databases of the directory, which nobody has open.
    fn rebuild(dir: &Path) -> Result<Self, AlarmIndexError> {
        let path = dir.join(FILE_NAME);
        remove(&path)?;
        Self::rebuild_at(dir, &path)
    }

    fn rebuild_at(dir: &Path, path: &Path) -> Result<Self, AlarmIndexError> {
        #[cfg(test)]
        tests::refuse_room(path)?;
        let mut index = Self::connect(path)?;
        let begun = crate::sys::clock::now();
        let (mut files, mut alarms, mut is_whole) = (0_u64, 0_u64, true);
        let io = AlarmIndexError::io(dir);
        let shared: std::sync::Arc<Path> = dir.into();
        let transaction = index.conn.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        for found in databases::of_namespace(dir) {
            let key = found.map_err(&io)?.key;
            files += 1;
            match alarm_in(&shared, key) {
                Some(None) => {}
                Some(due_ms) => {
                    alarms += 1;
                    apply_one(&transaction, &AlarmUpdate { key, due_ms })?;
                }
                None => is_whole = false,
            }
        }
        // In the same transaction: an index that was not finished is none.
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.commit()?;
        let took_ms = crate::sys::clock::now().saturating_duration_since(begun).as_millis();
        if files > 0 {
            tracing::info!(file = %path.display(), databases = files, alarms, took_ms, "made the index of alarms anew");
        }
        index.is_whole = is_whole;
        Ok(index)
    }

    /// Brings changes to the index, in their order, together. May be repeated, also with older ones as long as the newer
    /// follow: recovery does.
    pub(crate) fn apply(&mut self, updates: &[AlarmUpdate]) -> Result<(), AlarmIndexError> {
        let transaction = self.conn.transaction()?;
        updates.iter().try_for_each(|update| apply_one(&transaction, update))?;
        transaction.commit()?;
        Ok(())
    }

    /// At most `max` alarms behind `after` that are due at or before `until_ms`, in order.
    pub(super) fn due(&self, after: Place, until_ms: u64, max: u32) -> Result<Vec<Place>, AlarmIndexError> {
        let text = "SELECT due_ms, object, file FROM alarm WHERE (due_ms, object, file) > (?1, ?2, ?3) AND due_ms <= ?4 \
                    ORDER BY due_ms, object, file LIMIT ?5";
        let mut statement = self.conn.prepare_cached(text)?;
        let Place { due_ms, key } = after;
        let until = integer(until_ms);
        let found = statement.query_map(
            params![integer(due_ms), &key.object.0[..], key.file.0, until, max],
            |row| {
                Ok(Place {
                    due_ms: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
                    key: AlarmKey {
                        object: ObjectId(row.get(1)?),
                        file: FileId(row.get(2)?),
                    },
                })
            },
        )?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// When the first alarm behind `until_ms` is due.
    pub(super) fn next_after(&self, until_ms: u64) -> Result<Option<u64>, AlarmIndexError> {
        let text = "SELECT min(due_ms) FROM alarm WHERE due_ms > ?1";
        let found: Option<i64> = self
            .conn
            .prepare_cached(text)?
            .query_row([integer(until_ms)], |row| row.get(0))?;
        Ok(found.and_then(|ms| u64::try_from(ms).ok()))
    }

    /// When an alarm is due.
    pub(super) fn due_of(&self, key: AlarmKey) -> Result<Option<u64>, AlarmIndexError> {
        let text = "SELECT due_ms FROM alarm WHERE object = ?1 AND file = ?2";
        let found: Option<i64> = self
            .conn
            .prepare_cached(text)?
            .query_row(params![&key.object.0[..], key.file.0], |row| row.get(0))
            .optional()?;
        Ok(found.and_then(|ms| u64::try_from(ms).ok()))
    }

    /// Closes it so that stock sqlite3 finds one ordinary file, on disk. All databases are closed: whatever happens to them from
    /// now on is not known here.
    pub(super) fn close(self) -> Result<(), AlarmIndexError> {
        let at_ms = integer(crate::sys::clock::unix_ms());
        if self.is_whole {
            self.conn
                .execute("INSERT OR REPLACE INTO stop(one, at_ms) VALUES(1, ?1)", [at_ms])?;
        }
        self.conn.close().map_err(|(_, error)| error)?;
        Ok(())
    }

    /// Closes and removes it: what it says is not to be relied upon.
    pub(super) fn discard(self) -> Result<(), AlarmIndexError> {
        let path = self.path.clone();
        drop(self);
        remove(&path)
    }
}

fn integer(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn apply_one(conn: &Connection, AlarmUpdate { key, due_ms }: &AlarmUpdate) -> Result<(), rusqlite::Error> {
    let AlarmKey { object, file } = key;
    match due_ms {
        Some(due_ms) => {
            // A time that stays the same must not write a page.
            let text = "INSERT INTO alarm(object, file, due_ms) VALUES(?1, ?2, ?3) ON CONFLICT(object, file) \
                        DO UPDATE SET due_ms = excluded.due_ms WHERE due_ms <> excluded.due_ms";
            conn.prepare_cached(text)?
                .execute(params![&object.0[..], file.0, integer(*due_ms)])?;
        }
        None => {
            let text = "DELETE FROM alarm WHERE object = ?1 AND file = ?2";
            conn.prepare_cached(text)?.execute(params![&object.0[..], file.0])?;
        }
    }
    Ok(())
}

/// When the alarm of a database is due, or that there is none; nothing if it cannot be read.
fn alarm_in(dir: &std::sync::Arc<Path>, AlarmKey { object, file }: AlarmKey) -> Option<Option<u64>> {
    let database = DbFile {
        dir: std::sync::Arc::clone(dir),
        object,
        file,
    };
    match stored_alarm(&database) {
        Ok(due_ms) => Some(due_ms),
        // The facet says so to whoever calls it.
        Err(error) => {
            let error = error.for_operator();
            tracing::error!(%object, %file, error, "a database cannot be read; its alarm is not known");
            None
        }
    }
}

fn remove(path: &Path) -> Result<(), AlarmIndexError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let path = PathBuf::from(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(AlarmIndexError::Io { path, error });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
