//! Keys and values are rows of one table, ordered by the bytes of the key; reads of a facet without a file make none.

use super::connection::Connected;
use super::error::{StorageCode, StorageError, StorageLimit};
use super::quota::Reach;
use super::statement::{Statement, Step};
use super::store::FacetStore;

/// The longest key.
pub(crate) const KEY_BYTES_MAX: usize = 2048;
/// The longest value.
pub(crate) const KV_VALUE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Keys of one `get-many`, entries of one `put-many`.
pub(crate) const KV_BATCH_MAX: usize = 1000;
/// Entries that one `list` answers.
pub(crate) const KV_LIST_MAX: usize = 10_000;
/// Bytes of keys and values that one `list` or `get-many` answers.
pub(crate) const KV_RESULT_BYTES_MAX: usize = 8 * 1024 * 1024;

const GET: &str = "SELECT value FROM _facetd_kv WHERE key = ?1";
// A value that stays the same must not write a page.
const PUT: &str = "INSERT INTO _facetd_kv(key, value) VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value \
     WHERE value IS NOT excluded.value";
const DELETE: &str = "DELETE FROM _facetd_kv WHERE key = ?1";
const SAVEPOINT: &str = "SAVEPOINT _facetd_put_many";
const ROLLBACK: &str = "ROLLBACK TO _facetd_put_many";
const RELEASE: &str = "RELEASE _facetd_put_many";

/// Which keys to list; all conditions hold together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct KvRange {
    /// Keys that begin with it.
    pub(crate) prefix: Option<String>,
    /// From it on.
    pub(crate) start: Option<String>,
    /// Strictly after it.
    pub(crate) start_after: Option<String>,
    /// Before it.
    pub(crate) end: Option<String>,
    /// From the last to the first.
    pub(crate) reverse: bool,
    /// At most so many entries.
    pub(crate) limit: Option<u32>,
}

impl FacetStore {
    /// The value of a key.
    pub(crate) fn kv_get(&mut self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        check_key(key)?;
        let value = self.access(false, |open| open.kv_get(key))?.flatten();
        self.rows_read += u64::from(value.is_some());
        Ok(value)
    }

    /// Sets the value of a key.
    pub(crate) fn kv_put(&mut self, key: &str, value: &[u8]) -> Result<(), StorageError> {
        check_key(key)?;
        check_value(key, value)?;
        self.access_made(|open| open.kv_put(key, value))?;
        self.rows_written += 1;
        Ok(())
    }

    /// True if there was such a key.
    pub(crate) fn kv_delete(&mut self, key: &str) -> Result<bool, StorageError> {
        check_key(key)?;
        let deleted = self.access(false, |open| {
            open.host(DELETE, |statement| {
                statement.bind_text(1, key.as_bytes())?;
                statement.step()?;
                Ok(())
            })?;
            Ok(open.conn.changes() > 0)
        })?;
        let deleted = deleted.unwrap_or(false);
        self.rows_written += u64::from(deleted);
        Ok(deleted)
    }

    /// The entries that exist, in the order asked for.
    pub(crate) fn kv_get_many(&mut self, keys: &[String]) -> Result<Vec<(String, Vec<u8>)>, StorageError> {
        check_batch(keys.len())?;
        keys.iter().try_for_each(|key| check_key(key))?;
        let found = self.access(false, |open| {
            let (mut found, mut bytes) = (Vec::new(), 0);
            for key in keys {
                let Some(value) = open.kv_get(key)? else { continue };
                bytes += key.len() + value.len();
                if bytes > KV_RESULT_BYTES_MAX {
                    let message =
                        format!("these values take more than {KV_RESULT_BYTES_MAX} bytes: ask for fewer keys");
                    return Err(StorageError::limit(StorageLimit::Result, message));
                }
                found.push((key.clone(), value));
            }
            Ok(found)
        })?;
        let found = found.unwrap_or_default();
        self.rows_read += found.len() as u64;
        Ok(found)
    }

    /// Sets all or none.
    pub(crate) fn kv_put_many(&mut self, entries: &[(String, Vec<u8>)]) -> Result<(), StorageError> {
        check_batch(entries.len())?;
        for (key, value) in entries {
            check_key(key)?;
            check_value(key, value)?;
        }
        if entries.is_empty() {
            return Ok(());
        }
        self.access_made(|open| {
            let log_mark = open.vfs.account().mark();
            open.host_run(SAVEPOINT)?;
            let result = entries.iter().try_for_each(|(key, value)| open.kv_put(key, value));
            if !open.conn.is_autocommit() {
                let released = if result.is_ok() { open.host_run(RELEASE) } else { Ok(()) };
                if result.is_err() || released.is_err() {
                    open.undo(ROLLBACK, RELEASE)?;
                    open.vfs.account().rewind(log_mark);
                }
                released?;
            }
            result
        })?;
        self.rows_written += entries.len() as u64;
        Ok(())
    }

    /// Entries in key order, at most [`KV_LIST_MAX`] and [`KV_RESULT_BYTES_MAX`] in one call.
    pub(crate) fn kv_list(&mut self, range: &KvRange) -> Result<Vec<(String, Vec<u8>)>, StorageError> {
        let limit = range
            .limit
            .map_or(KV_LIST_MAX, |limit| (limit as usize).min(KV_LIST_MAX));
        let bounds = Bounds::of(range);
        if limit == 0 || bounds.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.access(false, |open| {
            open.host(bounds.sql(range.reverse), |statement| {
                statement.bind_text(1, &bounds.lower)?;
                if let Some(upper) = &bounds.upper {
                    statement.bind_text(2, upper)?;
                }
                entries(statement, limit)
            })
        })?;
        let found = found.unwrap_or_default();
        self.rows_read += found.len() as u64;
        Ok(found)
    }
}

impl Connected {
    fn kv_get(&mut self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.host(GET, |statement| {
            statement.bind_text(1, key.as_bytes())?;
            Ok(match statement.step()? {
                Step::Row => Some(statement.column_bytes(0).to_vec()),
                Step::Done => None,
            })
        })
    }

    fn kv_put(&mut self, key: &str, value: &[u8]) -> Result<(), StorageError> {
        self.write(Reach::Row(key.len() + value.len()), |open| {
            open.host(PUT, |statement| {
                statement.bind_text(1, key.as_bytes())?;
                statement.bind_blob(2, value)?;
                statement.step()?;
                Ok(())
            })
        })
    }
}

fn entries(statement: &mut Statement, limit: usize) -> Result<Vec<(String, Vec<u8>)>, StorageError> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    while found.len() < limit && statement.step()? == Step::Row {
        bytes += statement.column_bytes(0).len() + statement.column_bytes(1).len();
        // The first one always goes: a walk must get on.
        if bytes > KV_RESULT_BYTES_MAX && !found.is_empty() {
            break;
        }
        let key = String::from_utf8(statement.column_bytes(0).to_vec())
            .map_err(|_| StorageError::new(StorageCode::Corrupt, "a key in the database is not UTF-8"))?;
        found.push((key, statement.column_bytes(1).to_vec()));
    }
    Ok(found)
}

/// What a range comes to: one bound below, at most one above (exclusive). As bytes, because the first key after all those
/// with a prefix may end within a character.
struct Bounds {
    lower: Vec<u8>,
    lower_inclusive: bool,
    upper: Option<Vec<u8>>,
}

impl Bounds {
    fn of(range: &KvRange) -> Self {
        let mut lower = range.prefix.as_deref().unwrap_or("");
        let mut lower_inclusive = true;
        if let Some(start) = range.start.as_deref().filter(|start| *start > lower) {
            lower = start;
        }
        if let Some(after) = range.start_after.as_deref().filter(|after| *after >= lower) {
            (lower, lower_inclusive) = (after, false);
        }
        let after_prefix = range.prefix.as_deref().and_then(after_prefix);
        let end = range.end.as_ref().map(|end| end.as_bytes().to_vec());
        let upper = match (after_prefix, end) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            lower: lower.as_bytes().to_vec(),
            lower_inclusive,
            upper,
        }
    }

    fn is_empty(&self) -> bool {
        self.upper.as_ref().is_some_and(|upper| *upper <= self.lower)
    }

    fn sql(&self, reverse: bool) -> &'static str {
        match (self.lower_inclusive, self.upper.is_some(), reverse) {
            (true, false, false) => "SELECT key, value FROM _facetd_kv WHERE key >= ?1 ORDER BY key",
            (true, false, true) => "SELECT key, value FROM _facetd_kv WHERE key >= ?1 ORDER BY key DESC",
            (true, true, false) => "SELECT key, value FROM _facetd_kv WHERE key >= ?1 AND key < ?2 ORDER BY key",
            (true, true, true) => "SELECT key, value FROM _facetd_kv WHERE key >= ?1 AND key < ?2 ORDER BY key DESC",
            (false, false, false) => "SELECT key, value FROM _facetd_kv WHERE key > ?1 ORDER BY key",
            (false, false, true) => "SELECT key, value FROM _facetd_kv WHERE key > ?1 ORDER BY key DESC",
            (false, true, false) => "SELECT key, value FROM _facetd_kv WHERE key > ?1 AND key < ?2 ORDER BY key",
            (false, true, true) => "SELECT key, value FROM _facetd_kv WHERE key > ?1 AND key < ?2 ORDER BY key DESC",
        }
    }
}

/// The least bytes above everything that begins with `prefix`. No byte of UTF-8 is 255, so the last one can be raised.
fn after_prefix(prefix: &str) -> Option<Vec<u8>> {
    let mut bytes = prefix.as_bytes().to_vec();
    let last = bytes.last_mut()?;
    *last += 1;
    Some(bytes)
}

fn check_key(key: &str) -> Result<(), StorageError> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(());
    }
    let message = format!("a key has 1 to {KEY_BYTES_MAX} bytes, this one has {}", key.len());
    Err(StorageError::limit(StorageLimit::Key, message))
}

fn check_value(key: &str, value: &[u8]) -> Result<(), StorageError> {
    if value.len() <= KV_VALUE_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "a value has at most {KV_VALUE_BYTES_MAX} bytes, the one for {key:?} has {}",
        value.len()
    );
    Err(StorageError::limit(StorageLimit::Value, message))
}

fn check_batch(count: usize) -> Result<(), StorageError> {
    if count <= KV_BATCH_MAX {
        return Ok(());
    }
    let message = format!("one call takes at most {KV_BATCH_MAX} keys, this one has {count}: make several calls");
    Err(StorageError::limit(StorageLimit::Entries, message))
}

#[cfg(test)]
mod tests;
