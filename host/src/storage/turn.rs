//! All writes of a turn are one transaction: it is committed when the turn ends or it never happened (S19). COMMIT never
//! syncs; what it wrote is handed to the journal, which does, and only what is durable reaches the database file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::config::DbConfig;

use super::capture;
use super::connection::Connected;
use super::error::{StorageCode, StorageError};
use super::file::{remove_companions, remove_db};
use super::identity;
use super::journal::rules::{self, Rule};
use super::journal::{Committed, Lsn, Unit};
use super::space::Rest;
use super::statement::has_written;
use super::store::{FacetStore, Newest};
use crate::sys::die::{self, Point};

/// From so many frames in the log on it is checkpointed before the next turn, if the newest commit is durable.
pub(crate) const WAL_FRAMES_SOFT: u32 = 1000;
/// With so many the next turn waits until the newest commit is durable: reading and opening would get slow.
pub(crate) const WAL_FRAMES_HARD: u32 = 8000;

const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";
const OPTIMIZE: &str = "PRAGMA optimize";

/// The unit of a commit that nothing else is a part of.
pub(super) fn alone(committed: Committed) -> Unit {
    let unit = Unit::of(committed.file.dir.clone(), committed.file.object);
    Unit {
        members: vec![committed],
        ..unit
    }
}

impl FacetStore {
    /// Ends the turn: cursors close, open explicit transactions are undone from the outermost on, the rest is committed.
    /// Answers what the journal must make durable, or none if nothing was written; [`Self::recorded`] follows. After an
    /// error the turn is discarded and the facet must break.
    pub(crate) fn end_turn(&mut self) -> Result<Option<Committed>, StorageError> {
        let result = self.commit_turn();
        match &result {
            Ok(Some(_)) => {}
            Ok(None) => self.uncount(),
            Err(_) => self.discard_turn(),
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
        // By now whoever has a clock has done it; that takes as long as the tables are.
        self.settle_foreign_keys()?;
        // The turn is sealed: an abort that comes now finds it committed.
        let interrupt = Arc::clone(&self.interrupt);
        let _sealed = interrupt.seal();
        self.rollback_from(0)?;
        let Self {
            open,
            file,
            path,
            stored,
            journal,
            alarm,
            entries_bytes,
            ..
        } = self;
        let open = open.as_deref_mut().expect("it was open above");
        open.reset_settings().map_err(StorageError::lost)?;
        let alarm_change = open.alarm_change(alarm)?;
        alarm.settle();
        let mut reservation = None;
        if has_written(&open.conn) {
            if !*stored {
                identity::stamp(open, file, path)?;
            }
            if let Some(why) = journal.stuck(file.object) {
                return Err(StorageError::stuck(&why).lost());
            }
            // Room first: what is committed must be queued, with the entries that a first commit makes.
            let pending_bytes = match rules::hold(Rule::RoomBeforeCommit, &file.dir) {
                true if *stored => capture::pending_bytes(&open.conn),
                true => capture::pending_bytes(&open.conn) + *entries_bytes,
                false => 0,
            };
            let room = journal.reserve(pending_bytes);
            reservation = Some(room.map_err(|full| StorageError::journal(full).lost())?);
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
        die::pass(Point::Committed);
        let whole = !std::mem::replace(stored, true) && rules::hold(Rule::FirstCommitIsWhole, &file.dir);
        let from = open.frames;
        self.newest = Newest::Unrecorded;
        self.wrote = true;
        let captured = capture::commit(&open.conn, open.salts, from, frames, whole);
        let (pages, salts) = match captured {
            Ok(captured) => captured,
            // Nothing but this commit is in the log, and nobody has heard of it: it goes with the log.
            Err(error) if from == 0 => {
                *stored &= !whole;
                return Err(self.drop_log(error));
            }
            // Not an error of this facet alone: the commit stands behind others, and the journal cannot be told of it.
            Err(error) => {
                journal.fail(&format!("a commit cannot be read back: {}", error.for_operator()));
                return Err(error);
            }
        };
        (open.frames, open.salts) = (frames, Some(salts));
        Ok(Some(Committed {
            file: file.clone(),
            pages,
            alarm: alarm_change,
            reservation: reservation.expect("what was written to has set room aside"),
        }))
    }

    /// Undoes a commit that could not be read back from the log, in which there is nothing else.
    fn drop_log(&mut self, error: StorageError) -> StorageError {
        self.newest = Newest::Nothing;
        self.uncount();
        self.disconnect();
        self.remove_uncommitted();
        match remove_companions(&self.file) {
            Ok(()) => self.journal.pins().closed(&self.file, true),
            Err(left) => self.journal.fail(&format!(
                "a commit cannot be read back ({}), nor be undone: {left}",
                error.for_operator()
            )),
        }
        error.lost()
    }

    /// The last commit is queued in the journal under this number.
    pub(crate) fn recorded(&mut self, lsn: Lsn) {
        self.newest = Newest::Recorded(lsn);
        self.uncount();
    }

    /// The journal holds all of the log again, if nobody is in a turn and `newest` is the last commit; the unit in which it does
    /// stands for it.
    pub(super) fn repeat_newest(&mut self, newest: Lsn, again: impl FnOnce(Lsn) -> Option<Lsn>) {
        if !self.in_turn()
            && self.newest == Newest::Recorded(newest)
            && let Some(lsn) = again(newest)
        {
            self.newest = Newest::Recorded(lsn);
        }
    }

    /// The facet has been deleted meanwhile, and the last commit goes with its file.
    pub(crate) fn forget_commit(&mut self) {
        self.newest = Newest::Nothing;
        self.uncount();
        self.forsake();
    }

    /// True if ending the turn takes as long as all references take to be looked at: [`Self::settle_foreign_keys`].
    pub(crate) fn has_unchecked_references(&self) -> bool {
        self.lost.is_none() && self.open.as_ref().is_some_and(|open| open.is_unchecked())
    }

    /// Looks at all references if the turn may have broken some. After an error the turn is to be discarded.
    pub(crate) fn settle_foreign_keys(&mut self) -> Result<(), StorageError> {
        if !self.has_unchecked_references() {
            return Ok(());
        }
        // What will be undone at the turn's end does not count.
        self.rollback_from(0)?;
        let open = self.open.as_deref_mut().expect("it was open above");
        open.cursors.clear();
        open.check_foreign_keys().map_err(StorageError::lost)?;
        open.reset_settings().map_err(StorageError::lost)
    }

    /// Records a commit of the host's own, and says so to the store. False if the facet has been deleted meanwhile: then the commit
    /// goes with its file, and the store is closed.
    pub(super) fn record_own(&mut self, committed: Committed) -> bool {
        let recorded = match &self.door {
            Some(record) => record(committed),
            None => Some(self.journal.append(alone(committed))),
        };
        match recorded {
            Some(lsn) => self.recorded(lsn),
            None => self.forget_commit(),
        }
        recorded.is_some()
    }

    /// Queues a commit that is a unit of its own, and says so to the store.
    #[cfg(test)]
    pub(crate) fn record_alone(&mut self, committed: Committed) -> Lsn {
        let lsn = self.journal.append(alone(committed));
        self.recorded(lsn);
        lsn
    }

    /// Undoes everything since the last turn ended.
    pub(crate) fn discard_turn(&mut self) {
        self.transactions.clear();
        self.lost = None;
        if self.newest != Newest::Unrecorded {
            self.uncount();
        }
        self.alarm.settle();
        let Some(open) = &mut self.open else { return };
        open.cursors.clear();
        let interrupt = Arc::clone(&self.interrupt);
        let _sealed = interrupt.seal();
        let rolled_back = match open.conn.is_autocommit() {
            true => Ok(()),
            false => open.host_run(ROLLBACK).or_else(|_| open.host_run(ROLLBACK)),
        };
        if let Err(error) = rolled_back.and_then(|()| open.reset_settings()) {
            // Closing rolls back as well; the next use opens again.
            tracing::warn!(
                path = self.path,
                error = error.for_operator(),
                "cannot roll back; the database is closed"
            );
            self.disconnect();
            self.remove_uncommitted();
        }
    }

    /// Before a turn begins: a long log makes everything slow. Waits for nothing, and what fails is tried again.
    pub(super) fn checkpoint_if_long(&mut self) {
        let frames = self.open.as_ref().map_or(0, |open| open.frames);
        if frames >= WAL_FRAMES_SOFT
            && let Err(error) = self.checkpoint_between_turns()
        {
            let error = error.for_operator();
            tracing::warn!(
                path = self.path,
                error,
                "a database cannot be checkpointed; its log grows"
            );
        }
    }

    /// True if the running turn has written something.
    pub(crate) fn has_written(&self) -> bool {
        self.open.as_ref().is_some_and(|open| has_written(&open.conn))
    }

    /// True if the facet must wait for a checkpoint: the log has grown too long, or the journal needs the room.
    pub(crate) fn must_checkpoint(&self) -> bool {
        let is_wanted = self.checkpoint_wanted.load(Ordering::SeqCst) && matches!(self.newest, Newest::Recorded(_));
        is_wanted || self.open.as_ref().is_some_and(|open| open.frames >= WAL_FRAMES_HARD)
    }

    /// Set by the journal when it needs the room that this database's pages hold in it.
    pub(crate) fn checkpoint_wanted(&self) -> Arc<AtomicBool> {
        self.checkpoint_wanted.clone()
    }

    /// True if ending the turn may have to wait for room in the journal.
    pub(crate) fn may_wait(&self) -> bool {
        self.in_turn() && self.journal.is_tight()
    }

    /// Moves the pages of the log into the database if nobody is in a turn and all of them are durable already.
    pub(super) fn checkpoint_between_turns(&mut self) -> Result<(), StorageError> {
        match self.newest {
            Newest::Recorded(newest)
                if !self.in_turn() && (self.journal.progress().durable() >= newest || !self.waits_for_durable()) =>
            {
                self.checkpoint()
            }
            Newest::Nothing | Newest::Unrecorded | Newest::Recorded(_) => Ok(()),
        }
    }

    /// Moves the committed pages from the log into the database, once they are durable: pages in the database file cannot
    /// be taken back. Syncs nothing. Outside of a transaction only.
    pub(crate) fn checkpoint(&mut self) -> Result<(), StorageError> {
        let newest = match self.newest {
            Newest::Nothing => Lsn::ZERO,
            Newest::Recorded(newest) => newest,
            Newest::Unrecorded => {
                let message = "a commit that is not in the journal cannot be checkpointed";
                return Err(StorageError::new(StorageCode::Io, message));
            }
        };
        if self.waits_for_durable() {
            let progress = self.journal.progress();
            // After a failure the log may hold commits that nobody knows of here.
            let durable = progress.is_whole().and_then(|()| progress.wait(newest));
            durable.map_err(StorageError::journal)?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.has_moved() {
            // Whatever has its name now is not what the log belongs to.
            self.disconnect();
            return Err(StorageError::moved(&self.file));
        }
        // What fails is asked for again.
        self.checkpoint_wanted.store(false, Ordering::SeqCst);
        open.checkpoint()?;
        die::pass(Point::LogFolded);
        self.newest = Newest::Nothing;
        self.journal.pins().backfilled(&self.file, newest);
        Ok(())
    }

    fn waits_for_durable(&self) -> bool {
        rules::hold(Rule::CheckpointAfterDurable, &self.file.dir)
    }

    /// Closes the database so that stock sqlite3 finds one ordinary file: what was not committed is dropped, the log is
    /// checkpointed, once it is durable, and removed. A file that was never committed to is removed. The store can be
    /// used again.
    pub(crate) fn close(&mut self) -> Result<(), StorageError> {
        self.discard_turn();
        if self.open.is_none() {
            return Ok(());
        }
        if !self.stored {
            self.disconnect();
            self.remove_uncommitted();
            return Ok(());
        }
        self.checkpoint()?;
        if let Some(open) = &mut self.open {
            open.conn
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        }
        self.interrupt.set_handle(None);
        self.open = None;
        die::pass(Point::DatabaseClosed);
        let clean = !self.file.wal_path().exists();
        self.journal.pins().closed(&self.file, clean);
        Ok(())
    }

    /// Closes the database of a facet that goes on living: the next access opens it again. Before that, pages that are not used
    /// are given back; if there are many that takes several rests.
    pub(crate) fn rest(&mut self) -> Result<Rest, StorageError> {
        if self.open.is_none() {
            // It rests since earlier.
            return Ok(Rest::Closed);
        }
        // Asked now, so that nobody need open it for that when the facet stops.
        let empty = self.is_empty()?;
        if !empty {
            self.optimize_once();
        }
        if self.give_back() == Rest::GoesOn {
            return Ok(Rest::GoesOn);
        }
        self.close()?;
        self.rests_empty = empty;
        Ok(Rest::Closed)
    }

    /// Closes the database for good. True if nothing is stored in it (S12): its file goes after the record that says so.
    /// However it ends, the connection is gone: what could not be moved out of the log is left to the next opening.
    /// `rested`: the facet was evicted, not stopped.
    pub(crate) fn close_for_good(&mut self, rested: bool) -> Result<bool, StorageError> {
        let result = self.try_close_for_good(rested);
        if result.is_err() {
            self.abandon();
        }
        result
    }

    fn try_close_for_good(&mut self, rested: bool) -> Result<bool, StorageError> {
        self.discard_turn();
        // An abort has interrupted the facet's statements for ever; these are the host's.
        self.interrupt.retire();
        let emptied = match self.stored && self.open.is_none() {
            // One that was not even opened has not been emptied.
            true => self.rests_empty,
            false => self.is_empty()?,
        };
        if !emptied && rested {
            self.optimize_once();
        }
        self.close()?;
        Ok(emptied && self.stored)
    }

    /// Drops the connection as it is.
    pub(crate) fn abandon(&mut self) {
        self.discard_turn();
        // A file that was never opened here may be somebody's: one whom the index has lost.
        if self.open.is_some() {
            self.disconnect();
            self.remove_uncommitted();
        }
    }

    /// Drops the connection to a database that a recorded unit removes: nothing in it counts any more, nor in its log.
    pub(crate) fn forsake(&mut self) {
        let was_open = self.open.is_some();
        self.abandon();
        if was_open {
            self.journal.pins().closed(&self.file, true);
        }
    }

    /// Closing it touches no disk.
    pub(crate) fn is_closed(&self) -> bool {
        self.open.is_none()
    }

    /// If something was written since the last time; not for that alone is a database opened, or a full journal filled.
    fn optimize_once(&mut self) {
        if self.open.is_some() && self.wrote && !self.journal.is_tight() {
            self.optimize();
            self.wrote = false;
        }
    }

    /// Lets SQLite refresh its statistics, as a turn of the host.
    fn optimize(&mut self) {
        let turn = self
            .access(false, |open| open.host_run(OPTIMIZE))
            .and_then(|_| self.end_turn());
        match turn {
            Ok(Some(committed)) => {
                self.record_own(committed);
            }
            Ok(None) => {}
            Err(error) => {
                self.discard_turn();
                tracing::debug!(path = self.path, %error, "the statistics of a database were not refreshed");
            }
        }
    }

    /// A log belongs to one file, whatever has its name now.
    pub(super) fn refuse_moved(&self) -> Result<(), StorageError> {
        match !self.stored
            || self
                .journal
                .pins()
                .is_in_place(&self.file)
                .map_err(StorageError::from_io)?
        {
            true => Ok(()),
            false => Err(StorageError::moved(&self.file)),
        }
    }

    /// A log that this process did not write is never read: the database and the journal are complete without it, and it
    /// may be of another time.
    pub(super) fn refuse_strange_log(&self, ours: bool) -> Result<(), StorageError> {
        let has_log = self.stored && self.file.wal_path().exists();
        if has_log && !ours && rules::hold(Rule::StrangeLogIsRemoved, &self.file.dir) {
            let path = self.file.wal_path();
            tracing::warn!(path = %path.display(), "removed a log that this process did not write");
            remove_companions(&self.file).map_err(|error| StorageError::io("remove", &path, &error))?;
        }
        Ok(())
    }

    /// Drops the connection without a checkpoint, its statements first.
    pub(super) fn disconnect(&mut self) {
        self.interrupt.set_handle(None);
        if self.open.take().is_some() {
            self.journal.pins().closed(&self.file, !self.stored);
        }
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
    fn checkpoint(&mut self) -> Result<(), StorageError> {
        self.cursors.clear();
        let _trusted = self.authorizer.trust();
        let busy = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, i64>(0))?;
        if busy != 0 {
            return Err(StorageError::new(
                StorageCode::Io,
                "the log could not be checkpointed: a reader is in the way",
            ));
        }
        (self.frames, self.salts) = (0, None);
        Ok(())
    }
}
