//! A facet's storage opens and begins a transaction when it is first used in a turn, creates its file when something must
//! be kept in it, and never goes on after SQLite has dropped the transaction.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::alarm::AlarmState;
use super::connection::Connected;
use super::error::StorageError;
use super::file::{DbFile, remove_db};
use super::interrupt::InterruptCell;
use super::journal::{Committed, Journal, Lsn};
use super::transaction::TxId;
use super::value::Usage;
use crate::budget::Budget;

const BEGIN: &str = "BEGIN";
const USED_PAGES: &str = "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count";
pub(super) const HAS_USER_OBJECTS: &str = "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE substr(name, 1, 7) <> '_facetd' \
     AND substr(name, 1, 7) <> 'sqlite_')";
pub(super) const HAS_KEYS: &str = "SELECT EXISTS(SELECT 1 FROM _facetd_kv)";
pub(super) const USER_VERSION: &str = "PRAGMA user_version";
pub(super) const HAS_ALARM: &str = "SELECT EXISTS(SELECT 1 FROM _facetd_alarm)";

/// The database of one facet, owned by its task.
pub(crate) struct FacetStore {
    pub(super) file: DbFile,
    /// Names from the root, joined by `/`.
    pub(super) path: String,
    /// Something was committed to the file, now or earlier.
    pub(super) stored: bool,
    pub(super) quota_bytes: u64,
    /// What it shares with others, beside its quota.
    pub(super) shared: Option<Arc<Budget>>,
    pub(super) interrupt: Arc<InterruptCell>,
    pub(super) open: Option<Box<Connected>>,
    /// Explicit transactions that are open, outermost first.
    pub(super) transactions: Vec<TxId>,
    /// Numbers of cursors and transactions, never used twice.
    pub(super) last_number: u64,
    /// Why SQLite ended the turn's transaction. Everything fails with it until the turn is discarded.
    pub(super) lost: Option<StorageError>,
    pub(super) alarm: AlarmState,
    pub(super) rows_read: u64,
    pub(super) rows_written: u64,
    pub(super) journal: Arc<dyn Journal>,
    /// What the index may record when something is first stored: the facet's entry and those above it, bytes.
    pub(super) entries_bytes: u64,
    /// The newest commit that is not in the database file.
    pub(super) newest: Newest,
    /// The journal needs the room that this database's pages hold in it: the log is folded when the turn ends.
    pub(super) checkpoint_wanted: Arc<AtomicBool>,
    /// The journal counts this turn among those it waits for.
    pub(super) counted: bool,
    /// Something was committed since the database was opened.
    pub(super) wrote: bool,
    /// It was closed with nothing in it, and nobody has opened it since.
    pub(super) rests_empty: bool,
    /// How commits of the host's own are recorded; none: whoever has this store has the object, too.
    pub(super) door: Option<Door>,
    /// Told when the alarm is due, or that there is none, whenever the database is opened.
    tells_alarm: Option<TellsAlarm>,
    /// The operator has been told that the file cannot be used.
    refusal_logged: bool,
}

/// See [`FacetStore::tell_alarm`].
type TellsAlarm = Box<dyn Fn(Option<u64>) + Send>;

/// See [`FacetStore::record_by`].
type Door = Box<dyn Fn(Committed) -> Option<Lsn> + Send>;

/// What the log holds that the database file does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Newest {
    /// Nothing that this store knows of.
    Nothing,
    /// A commit that is not queued in the journal yet: nobody else may see it.
    Unrecorded,
    /// Commits up to this one.
    Recorded(Lsn),
}

impl FacetStore {
    /// The storage of the facet at `path`; opens nothing. `stored`: the index says that something was committed, so the
    /// file must be there; otherwise a file that is there is refused.
    pub(crate) fn new(
        file: DbFile,
        path: String,
        stored: bool,
        quota_bytes: u64,
        interrupt: Arc<InterruptCell>,
        journal: Arc<dyn Journal>,
    ) -> Self {
        Self {
            file,
            path,
            stored,
            quota_bytes,
            shared: None,
            interrupt,
            open: None,
            transactions: Vec::new(),
            last_number: 0,
            lost: None,
            alarm: AlarmState::default(),
            rows_read: 0,
            rows_written: 0,
            entries_bytes: 0,
            newest: Newest::Nothing,
            checkpoint_wanted: Arc::default(),
            counted: false,
            wrote: false,
            rests_empty: false,
            journal,
            door: None,
            tells_alarm: None,
            refusal_logged: false,
        }
    }

    /// What the host commits while the facet rests is recorded by its object, as everything of it is: units of an object are
    /// queued under its lock. `record` answers none if the facet has been deleted meanwhile.
    pub(crate) fn record_by(&mut self, record: impl Fn(Committed) -> Option<Lsn> + Send + 'static) {
        self.door = Some(Box::new(record));
    }

    /// Bounds it by what is left of a budget, too.
    pub(crate) fn share(&mut self, budget: Option<Arc<Budget>>) {
        self.shared = budget;
    }

    /// The first commit sets aside so much for the entries that come with it.
    pub(crate) fn expect_entries(&mut self, bytes: u64) {
        self.entries_bytes = bytes;
    }

    /// `tell` is told when the alarm is due, or that there is none, whenever the database is opened: the file may have been
    /// put in its place by hand, and nothing else is true of alarms.
    pub(crate) fn tell_alarm(&mut self, tell: impl Fn(Option<u64>) + Send + 'static) {
        self.tells_alarm = Some(Box::new(tell));
    }

    /// True if something was committed to the file, even if nothing is in it any more.
    #[cfg(test)]
    pub(crate) fn exists(&self) -> bool {
        self.stored
    }

    /// True between a turn's first access and the moment its commit is queued in the journal: what the connection sees
    /// may never have been.
    pub(crate) fn in_turn(&self) -> bool {
        self.newest == Newest::Unrecorded || self.open.as_ref().is_some_and(|open| !open.conn.is_autocommit())
    }

    /// True if nothing is stored: no key, no table, no `user_version` and no alarm (S12).
    pub(crate) fn is_empty(&mut self) -> Result<bool, StorageError> {
        Ok(!self.has_data()? && !self.has(HAS_ALARM)?)
    }

    /// True if there is anything that a clone would copy: an alarm alone is not.
    pub(super) fn has_data(&mut self) -> Result<bool, StorageError> {
        Ok(self.has(HAS_KEYS)? || self.has(HAS_USER_OBJECTS)? || self.has(USER_VERSION)?)
    }

    fn has(&mut self, question: &'static str) -> Result<bool, StorageError> {
        match self.opened(false)? {
            Some(open) => Ok(open.host_integer(question)? != 0),
            None => Ok(false),
        }
    }

    /// Bytes of the pages in use; of the whole file while it is closed.
    pub(crate) fn bytes(&mut self) -> u64 {
        match &mut self.open {
            Some(open) => open.used_bytes().unwrap_or(0),
            None if self.stored => std::fs::metadata(self.file.path()).map_or(0, |found| found.len()),
            None => 0,
        }
    }

    /// What the facet has used since the store was made.
    pub(crate) fn statistics(&mut self) -> Usage {
        Usage {
            rows_read: self.rows_read,
            rows_written: self.rows_written,
            database_bytes: self.bytes(),
        }
    }

    /// The connection, opened if there is a file, made if `create` and there is none. No transaction is begun.
    pub(super) fn opened(&mut self, create: bool) -> Result<Option<&mut Connected>, StorageError> {
        if self.open.is_none() && !self.stored && !create {
            return Ok(None);
        }
        if self.open.is_none() {
            let ours = self.journal.pins().open(&self.file);
            if let Err(error) = self.refuse_moved().and_then(|()| self.refuse_strange_log(ours)) {
                self.journal.pins().closed(&self.file, false);
                return Err(logged_once(&mut self.refusal_logged, &self.file, error));
            }
            let Self {
                file,
                path,
                stored,
                quota_bytes,
                shared,
                interrupt,
                refusal_logged,
                tells_alarm,
                journal,
                ..
            } = self;
            let mut open = match (*stored, create) {
                (true, _) => match Connected::open(file, path, *quota_bytes, interrupt) {
                    Ok((open, alarm_ms)) => {
                        if let Some(tell) = tells_alarm {
                            tell(alarm_ms);
                        }
                        open
                    }
                    Err(error) => {
                        // Its log, if it has one, is kept: another try may succeed.
                        journal.pins().closed(file, !file.wal_path().exists());
                        return Err(logged_once(refusal_logged, file, error.of_facet(path)));
                    }
                },
                (false, true) => match Connected::create(file, ours, *quota_bytes, interrupt) {
                    Ok(open) => open,
                    Err(error) => {
                        journal.pins().closed(file, !ours);
                        // What could not be opened must not stay behind half written; what was there before must.
                        let error = error.of_facet(path);
                        if error.code() == "identity" {
                            return Err(logged_once(refusal_logged, file, error));
                        }
                        if let Err(left) = remove_db(file) {
                            tracing::warn!(path = %file.path().display(), error = %left, "cannot remove a new database");
                        }
                        return Err(error);
                    }
                },
                (false, false) => unreachable!("nothing is opened then, see above"),
            };
            if let Ok(Some(inode)) = file.inode() {
                journal.pins().opened(file, inode);
            }
            open.quota.shared = shared.clone();
            interrupt.set_handle(Some(open.conn.get_interrupt_handle()));
            if open.frames > 0 {
                let newest = journal.pins().newest(file);
                self.newest = newest.map_or(Newest::Nothing, Newest::Recorded);
            }
            self.open = Some(Box::new(open));
            self.rests_empty = false;
        }
        Ok(self.open.as_deref_mut())
    }

    /// Does something in the turn's transaction, which begins here if it has not. Answers none, having done nothing, if
    /// there is no file and `create` does not ask for one.
    pub(super) fn access<R>(
        &mut self,
        create: bool,
        run: impl FnOnce(&mut Connected) -> Result<R, StorageError>,
    ) -> Result<Option<R>, StorageError> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        if self.interrupt.is_stopped() {
            return Err(StorageError::interrupted());
        }
        let Some(open) = self.opened(create)? else {
            return Ok(None);
        };
        if open.conn.is_autocommit() {
            self.begin_turn()?;
        }
        let open = self.open.as_deref_mut().expect("it was opened above");
        match run(open) {
            Ok(value) => Ok(Some(value)),
            Err(error) if open.conn.is_autocommit() => {
                let lost = error.lost();
                open.cursors.clear();
                self.transactions.clear();
                self.lost = Some(lost.clone());
                Err(lost)
            }
            Err(error) => Err(error),
        }
    }

    /// As [`Self::access`] with a file made if there is none.
    pub(super) fn access_made<R>(
        &mut self,
        run: impl FnOnce(&mut Connected) -> Result<R, StorageError>,
    ) -> Result<R, StorageError> {
        Ok(self.access(true, run)?.expect("a store that may create is open"))
    }

    fn begin_turn(&mut self) -> Result<(), StorageError> {
        self.checkpoint_if_long();
        // It has just been found gone.
        let Some(open) = self.open.as_deref_mut() else {
            return Err(StorageError::moved(&self.file).logged());
        };
        // What an earlier turn wrote ahead and undid does not count.
        super::capture::forget_written(&open.conn);
        open.quota.begin_turn(self.stored);
        open.host_run(BEGIN)?;
        open.counters.begin_turn(&open.conn);
        if !std::mem::replace(&mut self.counted, true) {
            self.journal.progress().turn_begins();
        }
        Ok(())
    }

    /// The turn's transaction is over.
    pub(super) fn uncount(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.journal.progress().turn_ends();
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

/// A facet may ask again and again: the log has it once.
fn logged_once(logged: &mut bool, file: &DbFile, error: StorageError) -> StorageError {
    if !std::mem::replace(logged, true) {
        let whole = error.for_operator();
        tracing::warn!(file = %file.path().display(), error = whole, "a database cannot be used");
    }
    error.told()
}

impl Connected {
    fn used_bytes(&mut self) -> Result<u64, StorageError> {
        let pages = self.host_integer(USED_PAGES)?;
        Ok(u64::try_from(pages).unwrap_or(0) * super::page::PAGE_BYTES)
    }
}

impl Drop for FacetStore {
    /// Drops what was not committed and leaves the log to the next opening by this process. [`Self::close`] is the tidy
    /// way.
    fn drop(&mut self) {
        self.uncount();
        if self.open.is_none() {
            return;
        }
        self.discard_turn();
        self.disconnect();
        self.remove_uncommitted();
    }
}
