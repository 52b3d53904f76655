//! All writes of a turn are one transaction: it is committed when the turn ends or it never happened (S19). COMMIT never
//! syncs; what it answers is handed to the journal, which does.

use std::sync::atomic::Ordering;

use rusqlite::config::DbConfig;

use super::connection::Connected;
use super::error::{StorageCode, StorageError};
use super::file::remove_db;
use super::identity;
use super::journal::{Committed, NewFile};
use super::statement::has_written;
use super::store::FacetStore;
use crate::ids::FileId;

/// From so many frames in the WAL on a checkpoint is due; see [`FacetStore::checkpoint_due`].
pub(crate) const WAL_FRAMES_SOFT: u32 = 1000;
/// With so many the turn that ends checkpoints itself, whatever thread it is on: opening would get slow.
pub(crate) const WAL_FRAMES_HARD: u32 = 8000;

const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

impl FacetStore {
    /// Ends the turn: cursors close, open explicit transactions are undone from the outermost on, the rest is committed.
    /// Answers what the journal must make durable, or none if nothing was written. After an error the turn is discarded
    /// and the facet must break.
    pub(crate) fn end_turn(&mut self) -> Result<Option<Committed>, StorageError> {
        let result = self.commit_turn();
        if result.is_err() {
            self.discard_turn();
        }
        result
    }

    fn commit_turn(&mut self) -> Result<Option<Committed>, StorageError> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        open.cursors.clear();
        if open.conn.is_autocommit() {
            return Ok(None);
        }
        // The turn is sealed: an abort that comes now finds it committed.
        let interrupt = std::sync::Arc::clone(&self.interrupt);
        let _sealed = interrupt.seal();
        self.rollback_from(0)?;
        let Self {
            open,
            file,
            path,
            stored,
            alarm,
            ..
        } = self;
        let open = open.as_deref_mut().expect("it was open above");
        let alarm_change = open.alarm_change(alarm)?;
        alarm.settle();
        if !*stored && has_written(&open.conn) {
            identity::stamp(open, file, path)?;
        }
        open.committed_frames.store(0, Ordering::Relaxed);
        if let Err(error) = open.host_run(COMMIT) {
            // An interrupt that came just before the seal; nothing is undone by it.
            if error.code() != "interrupted" || open.conn.is_autocommit() {
                return Err(error.lost());
            }
            open.host_run(COMMIT).map_err(StorageError::lost)?;
        }
        let frames = open.committed_frames.swap(0, Ordering::Relaxed);
        if frames == 0 {
            return Ok(None);
        }
        let first = !std::mem::replace(stored, true);
        let new_wal = std::mem::replace(&mut open.new_wal, false);
        let new_file = open
            .new_file
            .as_ref()
            .filter(|_| first)
            .map(|file| NewFile::new(std::sync::Arc::clone(file)));
        let committed = Committed {
            file: file.clone(),
            new_name: first || new_wal,
            new_file,
            alarm: alarm_change,
        };
        open.frames = frames;
        if frames >= WAL_FRAMES_HARD {
            open.checkpoint()?;
        }
        Ok(Some(committed))
    }

    /// Undoes everything since the last turn ended.
    pub(crate) fn discard_turn(&mut self) {
        self.transactions.clear();
        self.lost = None;
        self.alarm.settle();
        let Some(open) = &mut self.open else { return };
        open.cursors.clear();
        if open.conn.is_autocommit() {
            return;
        }
        let interrupt = std::sync::Arc::clone(&self.interrupt);
        let _sealed = interrupt.seal();
        if let Err(error) = open.host_run(ROLLBACK).or_else(|_| open.host_run(ROLLBACK)) {
            // Closing rolls back as well; the next use opens again.
            tracing::warn!(path = self.path, %error, "cannot roll back; the database is closed");
            self.disconnect();
        }
    }

    /// True if the WAL has grown so long that it should be checkpointed when the facet has nothing else to do.
    pub(crate) fn checkpoint_due(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.frames >= WAL_FRAMES_SOFT)
    }

    /// Moves the committed pages from the WAL into the database and syncs both. Takes milliseconds, so not on a thread
    /// that runs turns. Discards a turn that is open.
    pub(crate) fn checkpoint(&mut self) -> Result<(), StorageError> {
        self.discard_turn();
        match &mut self.open {
            Some(open) => open.checkpoint(),
            None => Ok(()),
        }
    }

    /// Closes the database so that stock sqlite3 finds one ordinary file: what was not committed is dropped, the WAL is
    /// checkpointed and removed. A file that was never committed to is removed. The store can be used again.
    pub(crate) fn close(&mut self) -> Result<(), StorageError> {
        self.discard_turn();
        let Some(open) = &mut self.open else { return Ok(()) };
        if !self.stored {
            self.disconnect();
            self.remove_uncommitted();
            return Ok(());
        }
        open.checkpoint()?;
        open.conn
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        // The checkpoint has synced the database: the journal need not, and must not once another connection is open.
        let new_file = open.new_file.take();
        self.disconnect();
        if let Some(file) = new_file {
            drop(NewFile::new(file).take());
        }
        Ok(())
    }

    /// Closes the database for good. True if nothing is stored in it (S12): a root's is removed then; another one's goes
    /// after the record that takes its name out of the index.
    pub(crate) fn close_for_good(&mut self) -> Result<bool, StorageError> {
        self.discard_turn();
        // An abort has interrupted the facet's statements for ever; these are the host's.
        self.interrupt.retire();
        // One that was not even opened has not been emptied.
        let emptied = !(self.stored && self.open.is_none()) && self.is_empty()?;
        self.close()?;
        if emptied && self.file.file == FileId::ROOT {
            remove_db(&self.file).map_err(StorageError::from_io)?;
        }
        Ok(emptied)
    }

    /// Drops the connection without a checkpoint, its statements first.
    pub(super) fn disconnect(&mut self) {
        self.interrupt.set_handle(None);
        self.open = None;
    }

    /// Removes a file that was created but never committed to.
    pub(super) fn remove_uncommitted(&self) {
        if self.stored {
            return;
        }
        if let Err(error) = remove_db(&self.file) {
            tracing::warn!(path = %self.file.path().display(), %error, "cannot remove a database that was never used");
        }
    }
}

impl Connected {
    /// Outside of a transaction only.
    pub(super) fn checkpoint(&mut self) -> Result<(), StorageError> {
        self.cursors.clear();
        let _trusted = self.authorizer.trust();
        // NORMAL: the WAL is synced before pages are copied, and the database after.
        self.conn.execute_batch("PRAGMA synchronous=NORMAL")?;
        let outcome = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, i64>(0));
        self.conn.execute_batch("PRAGMA synchronous=OFF")?;
        if outcome? != 0 {
            return Err(StorageError::new(
                StorageCode::Io,
                "the WAL could not be checkpointed: a reader is in the way",
            ));
        }
        self.frames = 0;
        Ok(())
    }
}
