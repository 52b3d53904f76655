//! The index of due times of one namespace: `alarms.sqlite`. It is derived, so it is never in the way: what cannot be read
//! is made anew from the databases, while the host serves (`survey.rs`). What it must not do is to say *later* than a facet's
//! own database does after a crash, for then an alarm would be late. Each change is therefore written when its commit is
//! durable, and is in the index before the journal lets go of the commit; what a crash takes away of it comes again from the
//! journal (`repeat`). What says earlier, or of an alarm that there is not, is found out when the facet is asked.
//!
//! Between two hosts anybody may put an older database in its place, or an older index. So the index says up to when it was
//! compared with the databases: one whose file was changed later is read again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::AlarmKey;
use crate::ids::{FileId, ObjectId};

/// SQLite's name for no file.
const IN_MEMORY: &str = ":memory:";
/// The file's name in the namespace's directory.
pub(crate) const FILE_NAME: &str = "alarms.sqlite";
/// "Fcal"; another one is not this index.
const APPLICATION_ID: i32 = 0x4663_616c;
/// The layout of the table; another one is made anew.
const FORMAT: i32 = 3;

const SCHEMA: &str = "
CREATE TABLE alarm(object BLOB NOT NULL, file INTEGER NOT NULL, due_ms INTEGER NOT NULL, PRIMARY KEY(object, file)) WITHOUT ROWID;
CREATE INDEX alarm_due ON alarm(due_ms, object, file);
CREATE TABLE compared(one INTEGER PRIMARY KEY CHECK(one = 1), until_ms INTEGER NOT NULL);
INSERT INTO compared(one, until_ms) VALUES(1, 0);
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
}

impl AlarmIndex {
    /// Opens the index of a namespace's directory. One that is missing or cannot be used is begun anew: nothing is compared then.
    pub(crate) fn open(dir: &Path) -> Result<Self, AlarmIndexError> {
        let path = dir.join(FILE_NAME);
        if path.exists() {
            match Self::open_existing(&path) {
                Ok(index) => return Ok(index),
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "the index of alarms cannot be read; it is made anew");
                }
            }
        }
        remove(dir)?;
        match Self::begin(&path) {
            // Nothing is lost by that, and without room nothing can be set anyway.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                tracing::warn!(file = %path.display(), %error, "the index of alarms is kept in memory until the next start");
                remove(dir)?;
                Ok(Self::begin(Path::new(IN_MEMORY))?)
            }
            made => Ok(made?),
        }
    }

    fn open_existing(path: &Path) -> Result<Self, rusqlite::Error> {
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
        index.read_compared()?;
        Ok(index)
    }

    fn begin(path: &Path) -> Result<Self, rusqlite::Error> {
        #[cfg(test)]
        tests::refuse_room(path)?;
        let mut index = Self::connect(path)?;
        let transaction = index.conn.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.commit()?;
        Ok(index)
    }

    /// What the journal says of alarms, for an index that a crash may have left behind it. One that cannot be written is removed.
    pub(crate) fn repeat(dir: &Path, updates: &[AlarmUpdate]) -> Result<(), AlarmIndexError> {
        let path = dir.join(FILE_NAME);
        if !path.exists() {
            return Ok(());
        }
        let repeated = Self::open_existing(&path)
            .map_err(AlarmIndexError::from)
            .and_then(|mut index| {
                index.apply(updates)?;
                index.close()
            });
        match repeated {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the index of alarms cannot be recovered; it is made anew");
                remove(dir)
            }
        }
    }

    fn read_compared(&self) -> Result<u64, rusqlite::Error> {
        let text = "SELECT until_ms FROM compared";
        let until_ms: i64 = self.conn.query_row(text, (), |row| row.get(0))?;
        Ok(u64::try_from(until_ms).unwrap_or(0))
    }

    /// Databases whose files were not changed since then say what the index says; 0 if none was ever looked at.
    pub(super) fn compared_ms(&self) -> Result<u64, AlarmIndexError> {
        Ok(self.read_compared()?)
    }

    /// They have been compared, up to then.
    pub(super) fn set_compared(&self, until_ms: u64) -> Result<(), AlarmIndexError> {
        let text = "UPDATE compared SET until_ms = ?1";
        self.conn.execute(text, [integer(until_ms)])?;
        Ok(())
    }

    /// What the index of a namespace's directory says that no host uses; none if it is to be made anew anyway. Changes nothing. An error
    /// says what is wrong with it.
    pub(crate) fn read_unchanged(dir: &Path) -> Result<Option<BTreeMap<AlarmKey, u64>>, String> {
        let path = dir.join(FILE_NAME);
        let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => return Err(wrong(&error)),
        }
        if std::fs::metadata(dir.join(format!("{FILE_NAME}-wal"))).is_ok_and(|log| log.len() > 0) {
            // Of a host that was killed; the next one goes on with both.
            return Ok(None);
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
            if index.pragma("user_version")? != FORMAT || index.compared_ms()? == 0 {
                return Ok(None);
            }
            let all = index.due(Place::default(), u64::MAX, u32::MAX)?;
            Ok(Some(all.into_iter().map(|place| (place.key, place.due_ms)).collect()))
        };
        read().map_err(|error| {
            wrong(&format!(
                "the index of alarms is damaged, or is none ({error}); the next start makes it anew"
            ))
        })
    }

    fn connect_unchanged(path: &Path) -> Result<Self, rusqlite::Error> {
        let escaped =
            percent_encoding::percent_encode(path.as_os_str().as_encoded_bytes(), percent_encoding::NON_ALPHANUMERIC);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        Ok(Self {
            conn: Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)?,
            path: path.to_owned(),
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
        })
    }

    fn pragma(&self, name: &str) -> Result<i32, rusqlite::Error> {
        self.conn.query_row(&format!("PRAGMA {name}"), (), |row| row.get(0))
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

    /// Closes it so that stock sqlite3 finds one ordinary file, on disk.
    pub(super) fn close(self) -> Result<(), AlarmIndexError> {
        self.conn.close().map_err(|(_, error)| error)?;
        Ok(())
    }

    /// Closes and removes it, for good: what it says is not to be relied upon.
    pub(super) fn discard(self) -> Result<(), AlarmIndexError> {
        let path = self.path.clone();
        drop(self);
        let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) else {
            return Ok(());
        };
        remove(dir)?;
        crate::sys::data_dir::sync_dir(dir).map_err(AlarmIndexError::io(dir))
    }
}

/// The files of the index of a namespace's directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let suffixes = ["", "-wal", "-shm", "-journal"];
    suffixes.map(|suffix| dir.join(format!("{FILE_NAME}{suffix}"))).into()
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

fn remove(dir: &Path) -> Result<(), AlarmIndexError> {
    for path in files(dir) {
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
