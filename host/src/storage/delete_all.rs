//! `delete-all` empties the database as a part of the turn, whatever the guest has made in it.

use super::connection::Connected;
use super::error::StorageError;
use super::store::{FacetStore, USER_VERSION};

// Triggers and views first, they need nothing; virtual tables take their shadow tables with them.
const NEXT_OBJECT: &str = "SELECT type, name FROM sqlite_schema WHERE type IN ('trigger', 'view', 'table') \
     AND substr(name, 1, 7) <> '_facetd' AND (substr(name, 1, 7) <> 'sqlite_' OR substr(name, 1, 11) = 'sqlite_stat') \
     ORDER BY type = 'table', type = 'view', coalesce(sql, '') NOT LIKE 'CREATE VIRTUAL TABLE %', rowid LIMIT 1";
const ROLLBACK: &str = "ROLLBACK";
const BEGIN: &str = "BEGIN";
const DELETE_KEYS: &str = "DELETE FROM _facetd_kv";
const NO_VERSION: &str = "PRAGMA user_version=0";

impl FacetStore {
    /// Deletes all keys and tables, and the alarm. Refused inside an explicit transaction (S10a).
    pub(crate) fn delete_all(&mut self) -> Result<(), StorageError> {
        if self.in_transaction() {
            let message = "delete-all cannot be part of a transaction that may be undone: end the transaction first";
            return Err(StorageError::InvalidArgument(message.to_owned()));
        }
        self.access(false, Connected::delete_all)?;
        self.alarm.touch();
        Ok(())
    }
}

impl Connected {
    fn delete_all(&mut self) -> Result<(), StorageError> {
        self.cursors.clear();
        self.guests.clear();
        // What the turn wrote so far goes with the rest. Undoing it also clears the count of deferred foreign keys that
        // are violated, which would fail the COMMIT of an empty database.
        self.host_run(ROLLBACK)?;
        self.host_run(BEGIN)?;
        // Dropping a table checks and follows its foreign keys; they may lead nowhere.
        let result = self.without_foreign_keys(Self::drop_objects);
        self.quota.forget();
        result
    }

    fn drop_objects(&mut self) -> Result<(), StorageError> {
        self.host_run(DELETE_KEYS)?;
        self.put_alarm_row(None)?;
        if self.host_integer(USER_VERSION)? != 0 {
            self.host_run(NO_VERSION)?;
        }
        let _trusted = self.authorizer.trust();
        while let Some((kind, name)) = self.next_object()? {
            let name = name.replace('"', "\"\"");
            self.conn.execute_batch(&format!("DROP {kind} \"{name}\""))?;
        }
        Ok(())
    }

    fn next_object(&self) -> Result<Option<(String, String)>, StorageError> {
        let mut statement = self.conn.prepare_cached(NEXT_OBJECT)?;
        let mut rows = statement.query(())?;
        match rows.next()? {
            Some(row) => Ok(Some((row.get(0)?, row.get(1)?))),
            None => Ok(None),
        }
    }
}
