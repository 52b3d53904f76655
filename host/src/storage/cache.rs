//! Compiled statements are kept by their text, within a limit: a held statement takes half the time of a compiled one.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use super::connection::Connected;
use super::counters::Counts;
use super::error::StorageError;
use super::statement::Statement;

/// Guests' statements kept for each connection; each takes some KiB.
const GUEST_STATEMENTS_MAX: usize = 16;
/// A longer text is compiled each time.
const GUEST_TEXT_BYTES_MAX: usize = 4096;

/// The most recently used statements of the guest, last used last.
#[derive(Default)]
pub(super) struct GuestStatements(Vec<(Box<str>, Statement)>);

impl GuestStatements {
    pub(super) fn take(&mut self, text: &str) -> Option<Statement> {
        let at = self.0.iter().position(|(kept, _)| **kept == *text)?;
        Some(self.0.remove(at).1)
    }

    /// Keeps a statement that is the whole of `text`.
    pub(super) fn keep(&mut self, text: &str, mut statement: Statement) {
        statement.reset();
        if text.len() > GUEST_TEXT_BYTES_MAX || self.0.iter().any(|(kept, _)| **kept == *text) {
            return;
        }
        if self.0.len() == GUEST_STATEMENTS_MAX {
            self.0.remove(0);
        }
        self.0.push((text.into(), statement));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The host's own statements; their texts are constants, so there are only so many.
#[derive(Default)]
pub(super) struct HostStatements(Vec<(&'static str, Statement)>);

impl Connected {
    /// Runs one of the host's statements, which may do what guests may not.
    pub(super) fn host<R>(
        &mut self,
        sql: &'static str,
        run: impl FnOnce(&mut Statement) -> Result<R, StorageError>,
    ) -> Result<R, StorageError> {
        let _trusted = self.authorizer.trust();
        let at = match self
            .hosts
            .0
            .iter()
            .position(|(text, _)| std::ptr::eq(*text, sql) || *text == sql)
        {
            Some(at) => at,
            None => {
                // SAFETY: the statement goes to `hosts`, which drops before `conn`.
                let (statement, _) = unsafe { Statement::prepare(&self.conn, sql, true) }?;
                let statement = statement.expect("the host's texts hold a statement");
                self.hosts.0.push((sql, statement));
                self.hosts.0.len() - 1
            }
        };
        let lenient = self.vfs.account().set_lenient(true);
        let counts = Counts::of(&self.conn);
        let statement = &mut self.hosts.0[at].1;
        let result = run(statement);
        statement.reset();
        self.counters.hide(counts, &self.conn);
        self.vfs.account().set_lenient(lenient);
        result.map_err(|error| self.name_limit(error))
    }

    /// Runs one of the host's statements that answers nothing.
    pub(super) fn host_run(&mut self, sql: &'static str) -> Result<(), StorageError> {
        self.host(sql, |statement| {
            statement.step()?;
            Ok(())
        })
    }

    /// Runs one of the host's statements that answers one integer.
    pub(super) fn host_integer(&mut self, sql: &'static str) -> Result<i64, StorageError> {
        self.host(sql, |statement| {
            statement.step()?;
            Ok(statement.column_integer(0))
        })
    }
}
