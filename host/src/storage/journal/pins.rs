//! A segment is kept as long as it holds the only copy of a page: from the first commit that is not in the database file
//! until a checkpoint has moved all of them there.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use std::time::Instant;

use super::Lsn;
use crate::storage::file::DbFile;
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
    /// Who can be asked for a checkpoint.
    stores: HashMap<DbFile, Attended>,
    /// Databases beside which lies a log that this process wrote, or may: it may be read, others may not.
    logs: HashMap<DbFile, LogState>,
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
        self.lock().oldest.first().map(|(lsn, _)| *lsn)
    }

    /// Who holds that, and since when.
    pub(super) fn oldest_named(&self) -> Option<(Lsn, DbFile, Instant)> {
        let state = self.lock();
        let (lsn, file) = state.oldest.first()?;
        Some((*lsn, file.clone(), state.pinned[file].since))
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
        while state.logs.get(file) == Some(&LogState::Folding) {
            state = self.folded.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.logs.insert(file.clone(), LogState::Open).is_some()
    }

    /// The connection is closed. `clean`: there is no log any more, or nothing in it that counts.
    pub(crate) fn closed(&self, file: &DbFile, clean: bool) {
        let mut state = self.lock();
        if clean {
            state.logs.remove(file);
        } else {
            state.logs.insert(file.clone(), LogState::Left);
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
            state.logs.insert(file.clone(), LogState::Folding);
        }
        let seen = look();
        self.closed(file, true);
        self.folded.notify_all();
        Some(seen)
    }

    /// Databases beside which a log lies that nobody has opened since.
    pub(super) fn all_left(&self) -> Vec<DbFile> {
        let state = self.lock();
        let left = state.logs.iter().filter(|(_, log)| **log == LogState::Left);
        left.map(|(file, _)| file.clone()).collect()
    }

    /// Lifts the pins of databases, pinned at `upto` or before, beside which no log lies: whoever closed them has moved
    /// everything, or their files are gone. Nobody else would ever lift them.
    fn lift_closed(&self, upto: Lsn, durable: Lsn) {
        let mut state = self.lock();
        let State {
            pinned, oldest, logs, ..
        } = &mut *state;
        let pressed = oldest.iter().take_while(|(lsn, _)| *lsn <= upto);
        let closed = pressed.filter(|(_, file)| !logs.contains_key(file) && pinned[file].newest <= durable);
        for (first, file) in closed.cloned().collect::<Vec<_>>() {
            tracing::warn!(file = %file.path().display(), unit = first.0, "a closed database was kept in the journal");
            pinned.remove(&file);
            oldest.remove(&(first, file));
        }
    }

    /// Moves the pages of databases that are pinned at `upto` or before and that nobody has open. A log can only be moved as
    /// a whole: one that holds a commit which is not `durable` yet stays.
    pub(super) fn fold_abandoned(&self, upto: Lsn, durable: Lsn) {
        self.lift_closed(upto, durable);
        let abandoned: Vec<_> = {
            let mut state = self.lock();
            let State {
                pinned, oldest, logs, ..
            } = &mut *state;
            let pressed = oldest.iter().take_while(|(lsn, _)| *lsn <= upto);
            let left = pressed.filter(|(_, file)| logs.get(file) == Some(&LogState::Left));
            let found = left.map(|(_, file)| (file.clone(), pinned[file].newest));
            let found: Vec<_> = found.filter(|(_, newest)| *newest <= durable).collect();
            for (file, _) in &found {
                logs.insert(file.clone(), LogState::Folding);
            }
            found
        };
        for (file, newest) in abandoned {
            let folded = identity::fold(&file);
            if let Err(error) = &folded {
                tracing::warn!(file = %file.path().display(), %error, "a database cannot be checkpointed");
            }
            self.closed(&file, folded.is_ok());
            self.folded.notify_all();
            if folded.is_ok() {
                self.backfilled(&file, newest);
            }
        }
    }

    /// Asks the databases that are pinned at `upto` or before for a checkpoint. Those in a turn, or whose newest commit is not
    /// durable yet, make it when their turn ends: turns may follow each other without a gap.
    pub(super) fn press(&self, upto: Lsn, durable: Lsn) {
        self.fold_abandoned(upto, durable);
        let stores: Vec<_> = {
            let state = self.lock();
            let pinned = state.oldest.iter().take_while(|(lsn, _)| *lsn <= upto);
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
            }
        }
    }
}
