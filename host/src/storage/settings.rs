//! What a guest sets of its connection is gone when the turn ends. A turn is uninterrupted, so nobody else ever sees it: not
//! the next call, nor another event that goes on while this one waits.
//!
//! Foreign keys can be switched off for a turn, because a table that others reference cannot be rebuilt otherwise. SQLite
//! does that outside of transactions only, and passes it over inside one. A turn is a transaction; as long as nothing is
//! written in it nothing was checked, so that is when the host does it. What SQLite has not checked then is checked before
//! the turn can be committed.

use rusqlite::config::DbConfig;

use super::connection::Connected;
use super::error::{StorageCode, StorageError};
use super::statement::{Step, has_written};

/// Back to how a connection is opened. Those of [`super::allow::PragmaArgument::Setting`].
const RESET: &str = "PRAGMA ignore_check_constraints=OFF; PRAGMA legacy_alter_table=OFF; PRAGMA recursive_triggers=OFF;
     PRAGMA reverse_unordered_selects=OFF;";
/// Compiled anew each time: it holds the tables that there were.
const CHECK: &str = "PRAGMA foreign_key_check";
/// Rows that are named where a reference leads nowhere.
const VIOLATIONS_NAMED_MAX: usize = 5;

/// What a PRAGMA asks the host to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    ForeignKeysOff,
    ForeignKeysOn,
    /// SQLite forgets with it which deferred references lead nowhere.
    DeferralOff,
}

impl Wish {
    pub(super) fn of(pragma: &str, on: bool) -> Option<Self> {
        match (pragma.eq_ignore_ascii_case("foreign_keys"), on) {
            (true, true) => Some(Self::ForeignKeysOn),
            (true, false) => Some(Self::ForeignKeysOff),
            (false, false) => Some(Self::DeferralOff),
            (false, true) => None,
        }
    }
}

/// Whether SQLite checks references in this turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum ForeignKeys {
    /// As ever.
    #[default]
    Checked,
    /// It does, but some that were written before were not: the turn's end looks at all of them.
    Unchecked,
    /// It does not.
    Off,
}

impl Connected {
    /// Carries out what the PRAGMA that was compiled last asks for. `inside`: an explicit transaction is open.
    pub(super) fn carry_out(&mut self, wish: Wish, inside: bool) -> Result<(), StorageError> {
        match (wish, self.foreign_keys) {
            (Wish::ForeignKeysOn, ForeignKeys::Checked | ForeignKeys::Unchecked)
            | (Wish::ForeignKeysOff, ForeignKeys::Off)
            | (Wish::DeferralOff, ForeignKeys::Off) => {}
            (Wish::DeferralOff, ForeignKeys::Checked | ForeignKeys::Unchecked) => {
                if has_written(&self.conn) {
                    self.foreign_keys = ForeignKeys::Unchecked;
                }
            }
            (Wish::ForeignKeysOff, ForeignKeys::Checked | ForeignKeys::Unchecked) => {
                if inside || has_written(&self.conn) {
                    let message = "foreign keys can be switched off for a turn before anything is written in it, outside of \
                                   a transaction of storage.begin: make this the first statement of a turn (awaiting \
                                   ends one)";
                    return Err(StorageError::new(StorageCode::Denied, message));
                }
                self.switch_foreign_keys(false)?;
                self.foreign_keys = ForeignKeys::Off;
            }
            (Wish::ForeignKeysOn, ForeignKeys::Off) => {
                self.check_foreign_keys()?;
                self.switch_foreign_keys(true)?;
                self.foreign_keys = ForeignKeys::Checked;
            }
        }
        Ok(())
    }

    /// Everything is as it was when the connection was opened. An error: it is not, and the connection must be closed.
    pub(super) fn reset_settings(&mut self) -> Result<(), StorageError> {
        if self.foreign_keys == ForeignKeys::Off {
            self.switch_foreign_keys(true)?;
        }
        self.foreign_keys = ForeignKeys::Checked;
        if self.authorizer.take_sets() {
            let _trusted = self.authorizer.trust();
            self.conn.execute_batch(RESET)?;
        }
        Ok(())
    }

    /// True if [`Self::check_foreign_keys`] is due before the turn's end.
    pub(super) fn is_unchecked(&self) -> bool {
        self.foreign_keys != ForeignKeys::Checked && has_written(&self.conn)
    }

    /// Looks at every reference of every table.
    pub(super) fn check_foreign_keys(&mut self) -> Result<(), StorageError> {
        let authorizer = std::sync::Arc::clone(&self.authorizer);
        let _trusted = authorizer.trust();
        // SAFETY: the statement is dropped before the connection, at the end of this call.
        #[allow(unsafe_code, reason = "a statement knows nothing of its connection's life")]
        let prepared = unsafe { super::statement::Statement::prepare(&self.conn, CHECK, false) };
        let (statement, _) = prepared.map_err(|failure| self.explain(failure))?;
        let mut statement = statement.expect("the text holds a statement");
        let mut named = Vec::new();
        while statement.step().map_err(|failure| self.explain(failure))? == Step::Row {
            if named.len() == VIOLATIONS_NAMED_MAX {
                named.push("and others".to_owned());
                break;
            }
            let table = String::from_utf8_lossy(statement.column_bytes(0)).into_owned();
            let row = match statement.column_bytes(1) {
                // Of a table without row ids.
                [] => "a row".to_owned(),
                number => format!("row {}", String::from_utf8_lossy(number)),
            };
            let parent = String::from_utf8_lossy(statement.column_bytes(2)).into_owned();
            named.push(format!("{row} of {table:?} refers to no row of {parent:?}"));
        }
        if named.is_empty() {
            return Ok(());
        }
        let message = format!(
            "FOREIGN KEY constraint failed, found by foreign_key_check: {}",
            named.join(", ")
        );
        Err(StorageError::new(StorageCode::Constraint, message))
    }

    /// Whether SQLite checks references, with or without a transaction.
    fn switch_foreign_keys(&self, on: bool) -> Result<(), StorageError> {
        self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, on)?;
        Ok(())
    }

    /// Does something without references being looked at.
    pub(super) fn without_foreign_keys<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<R, StorageError>,
    ) -> Result<R, StorageError> {
        self.switch_foreign_keys(false)?;
        let result = work(self);
        self.switch_foreign_keys(self.foreign_keys != ForeignKeys::Off)?;
        result
    }
}
