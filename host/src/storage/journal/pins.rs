//! A segment is kept as long as it holds the only copy of a page: from the first commit that is not in the database file
//! until a checkpoint has moved all of them there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use std::time::Instant;

use super::Lsn;
use super::rules::{self, Rule};
use crate::storage::error::StorageError;
use crate::storage::file::{DbFile, Inode};
use crate::storage::identity;
use crate::storage::store::FacetStore;
use crate::sys::clock;

/// Which databases need the journal.
#[derive(Default)]
pub(crate) struct Pins {
    state: Mutex<State>,
    /// A fold has ended.
    folded: Condvar,
}

#[derive(Default)]
struct State {
    pinned: HashMap<DbFile, Pinned>,
    /// The first commit of each that is not in its file.
    oldest: BTreeSet<(Lsn, DbFile)>,
    /// Copies that are being made, and the units that announce them: without those nobody would know, after a crash, that the files
    /// are nobody's.
    announced: BTreeMap<(Lsn, DbFile), Instant>,
    /// Who can be asked for a checkpoint.
    stores: HashMap<DbFile, Attended>,
    /// Databases beside which lies a log that this process wrote, or may: it may be read, others may not.
    logs: HashMap<DbFile, Log>,
}

/// A log that this process writes, or has written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Log {
    state: LogState,
    /// The database that it belongs to, if it was ever opened.
    of: Option<Inode>,
}

/// Who has a database whose log this process writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LogState {
    /// A store.
    Open,
    /// Nobody: its store could not be closed as it should.
    Left,
    /// Somebody who folds it or looks at it, for a moment.
    Folding,
}

struct Attended {
    store: Weak<Mutex<FacetStore>>,
    /// The store's own: set, it folds its log when its turn ends, and waits for that.
    wanted: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
struct Pinned {
    first: Lsn,
    newest: Lsn,
    since: Instant,
}

impl Pins {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database has a commit of that number in the journal.
    pub(super) fn pin(&self, file: &DbFile, lsn: Lsn) {
        let mut state = self.lock();
        if let Some(pinned) = state.pinned.get_mut(file) {
            pinned.newest = lsn;
            return;
        }
        let pinned = Pinned {
            first: lsn,
            newest: lsn,
            since: clock::now(),
        };
        state.pinned.insert(file.clone(), pinned);
        state.oldest.insert((lsn, file.clone()));
    }

    /// The unit of that number removes the database. Its pages are needed until it is durable: till then a crash brings the
    /// facet back.
    pub(super) fn removed(&self, file: &DbFile, lsn: Lsn) {
        if let Some(pinned) = self.lock().pinned.get_mut(file)
            && rules::hold(Rule::RemovalHoldsPin, &file.dir)
        {
            pinned.newest = lsn;
        }
    }

    /// Everything up to `newest` is in the database file.
    pub(crate) fn backfilled(&self, file: &DbFile, newest: Lsn) {
        let mut state = self.lock();
        if let Some(pinned) = state.pinned.get(file).copied()
            && pinned.newest <= newest
        {
            state.pinned.remove(file);
            state.oldest.remove(&(pinned.first, file.clone()));
        }
    }

    /// The newest commit of a database that is not in its file.
    pub(crate) fn newest(&self, file: &DbFile) -> Option<Lsn> {
        self.lock().pinned.get(file).map(|pinned| pinned.newest)
    }

    /// No segment that holds this number or a later one can go.
    pub(super) fn oldest(&self) -> Option<Lsn> {
        self.oldest_named().map(|(lsn, ..)| lsn)
    }

    /// A copy is going to be made, as the unit of that number says.
    pub(super) fn announce(&self, file: DbFile, lsn: Lsn) {
        self.lock().announced.insert((lsn, file), clock::now());
    }

    /// A copy is somebody's, or its file is gone.
    pub(crate) fn is_copied(&self, file: &DbFile) {
        self.lock().announced.retain(|(_, announced), _| announced != file);
    }

    /// Who holds that, and since when.
    pub(super) fn oldest_named(&self) -> Option<(Lsn, DbFile, Instant)> {
        let state = self.lock();
        let pinned = state
            .oldest
            .first()
            .map(|(lsn, file)| (*lsn, file, state.pinned[file].since));
        let announced = state.announced.first_key_value();
        let announced = announced.map(|((lsn, file), since)| (*lsn, file, *since));
        let oldest = pinned.into_iter().chain(announced).min_by_key(|(lsn, ..)| *lsn);
        oldest.map(|(lsn, file, since)| (lsn, file.clone(), since))
    }

    /// From now on this store can be asked for a checkpoint.
    pub(crate) fn attend(&self, file: &DbFile, store: &Arc<Mutex<FacetStore>>) {
        let wanted = store.lock().unwrap_or_else(PoisonError::into_inner).checkpoint_wanted();
        let attended = Attended {
            store: Arc::downgrade(store),
            wanted,
        };
        self.lock().stores.insert(file.clone(), attended);
    }

    /// The store is closed.
    pub(crate) fn leave(&self, file: &DbFile) {
        self.lock().stores.remove(file);
    }

    /// A store is going to open the database. True if the log that may lie there is of this process.
    pub(crate) fn open(&self, file: &DbFile) -> bool {
        let mut state = self.lock();
        while state.logs.get(file).is_some_and(|log| log.state == LogState::Folding) {
            state = self.folded.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let ours = state.logs.get(file).copied();
        let log = Log {
            state: LogState::Open,
            of: ours.and_then(|log| log.of),
        };
        state.logs.insert(file.clone(), log);
        ours.is_some()
    }

    /// The store has opened that file.
    pub(crate) fn opened(&self, file: &DbFile, inode: Inode) {
        if let Some(log) = self.lock().logs.get_mut(file) {
            log.of = Some(inode);
        }
    }

    /// False if the log of a database cannot be read: what has its name is not the file that it belongs to, or the log itself is
    /// gone though commits are only there.
    pub(crate) fn is_in_place(&self, file: &DbFile) -> std::io::Result<bool> {
        let (of, is_pinned) = {
            let state = self.lock();
            (
                state.logs.get(file).and_then(|log| log.of),
                state.pinned.contains_key(file),
            )
        };
        let Some(of) = of else { return Ok(true) };
        Ok(file.inode()? == Some(of) && (!is_pinned || file.wal_path().try_exists()?))
    }

    /// The connection is closed. `clean`: there is no log any more, or nothing in it that counts.
    pub(crate) fn closed(&self, file: &DbFile, clean: bool) {
        let mut state = self.lock();
        if clean {
            state.logs.remove(file);
        } else if let Some(log) = state.logs.get_mut(file) {
            log.state = LogState::Left;
        }
    }

    /// Looks at a database that nobody has open and beside which lies no log of this process; whoever opens it waits for that. None
    /// if it is open, or a log lies there.
    pub(crate) fn while_closed<R>(&self, file: &DbFile, look: impl FnOnce() -> R) -> Option<R> {
        {
            let mut state = self.lock();
            if state.logs.contains_key(file) {
                return None;
            }
            let looked_at = Log {
                state: LogState::Folding,
                of: None,
            };
            state.logs.insert(file.clone(), looked_at);
        }
        let seen = look();
        self.closed(file, true);
        self.folded.notify_all();
        Some(seen)
    }

    /// The file of a database is gone, and what lay beside it: a file of the same name is another database.
    pub(super) fn is_gone(&self, file: &DbFile) {
        let mut state = self.lock();
        if state.logs.get(file).is_some_and(|log| log.state == LogState::Left) {
            state.logs.remove(file);
        }
    }

    /// Databases beside which a log lies that nobody has opened since.
    pub(super) fn all_left(&self) -> Vec<DbFile> {
        let state = self.lock();
        let left = state.logs.iter().filter(|(_, log)| log.state == LogState::Left);
        left.map(|(file, _)| file.clone()).collect()
    }

    /// Lifts the pins of databases, pinned at `upto` or before, beside which no log lies: whoever closed them has moved
    /// everything, or the unit that removes them is durable. Nobody else would ever lift them.
    pub(super) fn lift_closed(&self, upto: Lsn, durable: Lsn) {
        let mut state = self.lock();
        let State {
            pinned, oldest, logs, ..
        } = &mut *state;
        let pressed = oldest.iter().take_while(|(lsn, _)| *lsn <= upto);
        let closed = pressed.filter(|(_, file)| !logs.contains_key(file) && pinned[file].newest <= durable);
        for (first, file) in closed.cloned().collect::<Vec<_>>() {
            tracing::warn!(file = %file.path().display(), unit = %first, "a closed database was kept in the journal");
            pinned.remove(&file);
            oldest.remove(&(first, file));
        }
    }

    /// Moves the pages of databases that are pinned at `upto` or before and that nobody has open. A log can only be moved as
    /// a whole: one that holds a commit which is not `durable` yet stays. Answers those that could not be moved, and why.
    pub(super) fn fold_abandoned(&self, upto: Lsn, durable: Lsn) -> Vec<(DbFile, String)> {
        self.lift_closed(upto, durable);
        self.fold_those(|lsn, _| lsn <= upto, durable)
    }

    fn fold_those(&self, chosen: impl Fn(Lsn, &DbFile) -> bool, durable: Lsn) -> Vec<(DbFile, String)> {
        let mut failed = Vec::new();
        let abandoned: Vec<_> = {
            let mut state = self.lock();
            let State {
                pinned, oldest, logs, ..
            } = &mut *state;
            let pressed = oldest.iter().filter(|(lsn, file)| chosen(*lsn, file));
            let left = pressed.filter(|(_, file)| logs.get(file).is_some_and(|log| log.state == LogState::Left));
            let found = left.map(|(_, file)| (file.clone(), pinned[file].newest));
            let found: Vec<_> = found.filter(|(_, newest)| *newest <= durable).collect();
            for (file, _) in &found {
                if let Some(log) = logs.get_mut(file) {
                    log.state = LogState::Folding;
                }
            }
            found
        };
        for (file, newest) in abandoned {
            let folded = match self.is_in_place(&file) {
                Ok(true) => identity::fold(&file),
                Ok(false) => Err(StorageError::moved(&file)),
                Err(error) => Err(StorageError::from_io(error)),
            };
            if let Err(error) = &folded {
                tracing::warn!(file = %file.path().display(), %error, "a database cannot be checkpointed");
            }
            self.closed(&file, folded.is_ok());
            self.folded.notify_all();
            if folded.is_ok() {
                self.backfilled(&file, newest);
            }
            failed.extend(folded.err().map(|error| (file, error.for_operator())));
        }
        failed
    }

    /// The journal holds all of a database's log again, in the unit of this number: what it holds of it before that is not needed.
    pub(super) fn moved(&self, file: &DbFile, lsn: Lsn) {
        let mut state = self.lock();
        let State { pinned, oldest, .. } = &mut *state;
        if let Some(pinned) = pinned.get_mut(file)
            && pinned.newest == lsn
        {
            oldest.remove(&(pinned.first, file.clone()));
            pinned.first = lsn;
            oldest.insert((lsn, file.clone()));
        }
    }

    /// True if the database holds this unit or an earlier one.
    pub(super) fn holds(&self, file: &DbFile, upto: Lsn) -> bool {
        self.lock().pinned.get(file).is_some_and(|pinned| pinned.first <= upto)
    }

    /// Has what the log of a database holds written again, while nobody writes to it: `again` is given its newest unit, and answers
    /// the one that repeats it. Nothing is done if it is in use, or if not all of it is durable.
    pub(super) fn carry(&self, file: &DbFile, durable: Lsn, again: impl FnOnce(Lsn) -> Option<Lsn>) {
        let (store, newest) = {
            let mut state = self.lock();
            let Some(newest) = state.pinned.get(file).map(|pinned| pinned.newest) else {
                return;
            };
            if newest > durable {
                return;
            }
            let store = state.stores.get(file).and_then(|attended| attended.store.upgrade());
            if store.is_none() {
                // Whoever wants to open it waits for that.
                match state.logs.get_mut(file) {
                    Some(log) if log.state == LogState::Left => log.state = LogState::Folding,
                    Some(_) | None => return,
                }
            }
            (store, newest)
        };
        match store {
            Some(store) => {
                if let Ok(mut store) = store.try_lock() {
                    store.repeat_newest(newest, again);
                }
            }
            None => {
                again(newest);
                self.closed(file, false);
                self.folded.notify_all();
            }
        }
    }

    /// Asks the databases that are pinned at `upto` or before for a checkpoint. Those in a turn, or whose newest commit is not
    /// durable yet, make it when their turn ends: turns may follow each other without a gap. Answers those that cannot be written,
    /// and why.
    pub(super) fn press(&self, upto: Lsn, durable: Lsn) -> Vec<(DbFile, String)> {
        self.lift_closed(upto, durable);
        self.press_those(|lsn, _| lsn <= upto, durable)
    }

    /// The same for some of all that are pinned.
    pub(super) fn press_those(&self, chosen: impl Fn(Lsn, &DbFile) -> bool, durable: Lsn) -> Vec<(DbFile, String)> {
        let mut failed = self.fold_those(&chosen, durable);
        let stores: Vec<_> = {
            let state = self.lock();
            let pinned = state.oldest.iter().filter(|(lsn, file)| chosen(*lsn, file));
            let attended = pinned.filter_map(|(_, file)| state.stores.get(file));
            attended
                .filter_map(|attended| Some((attended.store.upgrade()?, attended.wanted.clone())))
                .collect()
        };
        for (store, wanted) in stores {
            // Before the lock is tried: whoever holds it sees this when it ends its turn.
            wanted.store(true, Ordering::SeqCst);
            let mut store = match store.try_lock() {
                Ok(store) => store,
                Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => continue,
            };
            if let Err(error) = store.checkpoint_between_turns() {
                tracing::warn!(%error, "a database cannot be checkpointed; the journal keeps its pages");
                failed.push((store.file.clone(), error.for_operator()));
            }
        }
        failed
    }
}
