//! A segment is kept as long as it holds the only copy of a page: from the first commit that is not in the database file
//! until a checkpoint has moved all of them there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use super::Lsn;
use crate::storage::file::DbFile;
use crate::storage::store::FacetStore;

/// Which databases need the journal.
#[derive(Default)]
pub(crate) struct Pins {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pinned: HashMap<DbFile, Pinned>,
    /// The first commit of each that is not in its file.
    oldest: BTreeSet<(Lsn, DbFile)>,
    /// Who can be asked for a checkpoint.
    stores: HashMap<DbFile, Weak<Mutex<FacetStore>>>,
    /// Logs that this process wrote and left behind: they may be read, others may not.
    left: HashSet<DbFile>,
}

#[derive(Clone, Copy)]
struct Pinned {
    first: Lsn,
    newest: Lsn,
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

    /// The databases that are pinned.
    pub(super) fn files(&self) -> Vec<(DbFile, Lsn)> {
        let state = self.lock();
        state
            .pinned
            .iter()
            .map(|(file, pinned)| (file.clone(), pinned.newest))
            .collect()
    }

    /// From now on this store can be asked for a checkpoint.
    pub(crate) fn attend(&self, file: &DbFile, store: &Arc<Mutex<FacetStore>>) {
        self.lock().stores.insert(file.clone(), Arc::downgrade(store));
    }

    /// The store is closed.
    pub(crate) fn leave(&self, file: &DbFile) {
        self.lock().stores.remove(file);
    }

    /// A connection was dropped without a checkpoint: its log is read by the next one.
    pub(crate) fn log_left(&self, file: &DbFile) {
        self.lock().left.insert(file.clone());
    }

    /// True if this process wrote the log that lies beside the database; asks once.
    pub(crate) fn take_left(&self, file: &DbFile) -> bool {
        self.lock().left.remove(file)
    }

    /// Asks the databases that are pinned at `upto` or before for a checkpoint. Those in a turn are left out.
    pub(super) fn press(&self, upto: Lsn) {
        let stores: Vec<_> = {
            let state = self.lock();
            let pinned = state.oldest.iter().take_while(|(lsn, _)| *lsn <= upto);
            pinned
                .filter_map(|(_, file)| state.stores.get(file).and_then(Weak::upgrade))
                .collect()
        };
        for store in stores {
            // Its facet is using it: next time.
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
