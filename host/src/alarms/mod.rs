//! Alarms are delivered at least once, one at a time for each facet, and never early (S22).
//!
//! **What is true** is one row in the facet's own database (`storage/alarm`): written in the facet's turns, it comes, goes
//! and is rolled back with them. Everything here only finds out *whom to ask*. Who is asked without need answers "not
//! now", and that corrects what is known here. So nothing here can lose an alarm but by being late with it, and nothing
//! can fire one early, twice at once, or after it was deleted.
//!
//! **Late** is what must not happen, so the index (`index.rs`) says never later than the databases. A change is told here
//! under the object's lock (`committed`), which is the order of commits. It counts in memory at once, and is written to the
//! index when its commit is durable (`settle`), before the journal lets go of that; so what a crash takes away of the index
//! is repeated from the journal. An index that is lost is made anew while the host serves (`survey.rs`): its alarms may be late
//! then.
//!
//! **A try** goes like this. The facet's task takes the event like any other; the first thing it does is a turn of the
//! host's, which counts the try in the row and sets it to the time of the next one. Then the handler runs. If it answers,
//! the row goes in the same commit as its last writes, unless the handler has set a new alarm. If it fails, by an error,
//! a trap, a limit, an abort, or because the facet could not be started, the row is set to the time of the next try, or
//! goes after the last one. If the host dies, the row says already when to try again: a try that never ended
//! counts. A clean stop is not the handler's fault and does not count.
//!
//! Counting before and not after is what makes it safe that a try can end without a word. Clearing after and not before is
//! what makes it "at least once". The turn in between costs one commit without a sync.
//!
//! **A handler that sets an alarm and then fails** keeps the new one, if its turn was committed, and there is no retry
//! beside it: there is one alarm, and the facet has said when.
//!
//! **Found.** The file of a database may be put in its place by hand. So whoever opens one says what its row says (`found`), and
//! what is known here is corrected. A host reads those that were changed since the last time, while it serves (`survey.rs`).
//!
//! **Waits** are counted on the clock that never goes back: two seconds are two seconds if somebody sets the time meanwhile.
//!
//! A facet that runs a class without handler is asked again later, and no try is counted: the next deploy may bring it.
//! A facet that cannot be reached (its mailbox is full, its object cannot be read, the host has no room) is tried again
//! later, and no try is counted: it was not the handler that failed.

mod databases;
mod deliver;
mod host;
mod index;
mod run;
mod schedule;
mod survey;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::sync::Notify;

use crate::ids::{FileId, ObjectId};
use crate::storage::{AlarmChange, Follow, Followers, Lsn};
pub(crate) use host::serve;
pub(crate) use index::{AlarmIndex, AlarmIndexError, AlarmUpdate, FILE_NAME as INDEX_FILE_NAME};
use run::{Deliver, Delivered};
use schedule::{Found, Schedule, Version};

/// How far ahead alarms are kept in memory, ms.
const WINDOW_MS: u64 = 60_000;
/// How many of them, about; what is newer than the index comes on top.
const WINDOW_LEN: u32 = 4_096;

/// Whose alarm.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct AlarmKey {
    pub(crate) object: ObjectId,
    pub(crate) file: FileId,
}

/// A change that is not in the index yet. There are as many as there are commits that are not durable, which the journal
/// bounds.
#[derive(Debug)]
struct Unsettled {
    lsn: Lsn,
    version: Version,
    update: AlarmUpdate,
}

#[derive(Debug)]
struct State {
    schedule: Schedule,
    unsettled: Vec<Unsettled>,
    /// The highest number among all that ever were.
    newest: Lsn,
    /// What databases said when they were opened, where only the index can tell whether that is news. As many as facets have
    /// been opened since `keep_index` looked.
    found: HashMap<AlarmKey, Option<u64>>,
    compared: Compared,
    stopped: bool,
}

/// How far the index was compared with the databases, which is done while the host serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Compared {
    /// Since it was begun no database was.
    Never,
    /// Those that were not changed since then.
    Until(u64),
    /// All.
    Wholly,
}

/// The alarms of one namespace.
#[derive(Debug)]
pub(crate) struct Alarms {
    /// Taken before `state`, and held over reading or writing the index *and* telling `state`. None: closed.
    index: Mutex<Option<AlarmIndex>>,
    /// The directory of the namespace.
    dir: PathBuf,
    /// When it was opened: whoever opens a database since tells of it.
    opened_ms: u64,
    /// Told what has been written to the index: until then the journal keeps it.
    followers: Arc<Followers>,
    /// Held for moments only; taken under the locks of objects.
    state: Mutex<State>,
    /// An alarm was ever set here: until then deleted facets need not be looked for.
    used: AtomicBool,
    /// Wakes `run`.
    due: Notify,
    /// Wakes `keep_index`.
    changed: Notify,
}

impl Alarms {
    /// Opens what a namespace's directory holds.
    pub(crate) fn open(dir: &Path, followers: &Arc<Followers>) -> Result<Arc<Self>, AlarmIndexError> {
        let index = AlarmIndex::open(dir)?;
        let used = index.next_after(0)?.is_some();
        let compared = match index.compared_ms()? {
            0 => Compared::Never,
            until_ms => Compared::Until(until_ms),
        };
        let alarms = Arc::new(Self {
            index: Mutex::new(Some(index)),
            dir: dir.to_owned(),
            opened_ms: crate::sys::clock::unix_ms(),
            followers: followers.clone(),
            state: Mutex::new(State {
                schedule: Schedule::new(),
                unsettled: Vec::new(),
                newest: Lsn::ZERO,
                found: HashMap::new(),
                compared,
                stopped: false,
            }),
            used: AtomicBool::new(used),
            due: Notify::new(),
            changed: Notify::new(),
        });
        let follows: Weak<Self> = Arc::downgrade(&alarms);
        followers.join(dir, index::files(dir), follows);
        Ok(alarms)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    fn index(&self) -> MutexGuard<'_, Option<AlarmIndex>> {
        self.index.lock().expect("nothing panics while it holds this lock")
    }

    /// What commit number `lsn` has made of alarms of an object, told under that object's lock. `removed`: databases that go.
    pub(crate) fn committed(&self, object: ObjectId, lsn: Lsn, changes: &[(FileId, AlarmChange)], removed: &[FileId]) {
        if !changes.is_empty() {
            self.used.store(true, Ordering::Relaxed);
        }
        let removed: &[FileId] = if self.used.load(Ordering::Relaxed) {
            removed
        } else {
            &[]
        };
        if changes.is_empty() && removed.is_empty() {
            // Nothing of it is going to be written.
            self.followers.followed(&self.dir, [lsn]);
            return;
        }
        let removed = removed.iter().map(|file| (*file, AlarmChange::None));
        let mut sooner = false;
        {
            let mut state = self.state();
            for (file, change) in changes.iter().copied().chain(removed) {
                let key = AlarmKey { object, file };
                sooner |= state.change(key, change, lsn);
            }
        }
        if sooner {
            self.due.notify_one();
        }
        self.changed.notify_one();
    }

    /// A database has been opened, and says when its alarm is due. Nothing but that is true: it may be another file than before.
    /// Waits for nothing.
    pub(crate) fn found(&self, key: AlarmKey, due_ms: Option<u64>) {
        if due_ms.is_none() && !self.used.load(Ordering::Relaxed) {
            return;
        }
        self.used.store(true, Ordering::Relaxed);
        {
            let mut state = self.state();
            match state.schedule.found(key, due_ms) {
                Found::Known => {}
                Found::Differs => state.correct(key, due_ms),
                Found::Unknown => {
                    state.found.insert(key, due_ms);
                }
            }
        }
        self.due.notify_one();
        self.changed.notify_one();
    }

    /// Compares what databases said with the index. May wait for a disk.
    fn compare(&self) -> Result<(), AlarmIndexError> {
        // Held to the end: nothing is written to the index between looking and telling.
        let guard = self.index();
        let Some(index) = &*guard else { return Ok(()) };
        let found: Vec<_> = self.state().found.iter().map(|(key, due_ms)| (*key, *due_ms)).collect();
        let mut news = Vec::new();
        for (key, due_ms) in &found {
            if index.due_of(*key)? != *due_ms {
                news.push((*key, *due_ms));
            }
        }
        let mut corrected = false;
        {
            let mut state = self.state();
            for (key, due_ms) in news {
                // A commit has come in between: that is newer.
                if state.found.get(&key) == Some(&due_ms) && state.schedule.known(key).is_none() {
                    state.correct(key, due_ms);
                    corrected = true;
                }
            }
            for (key, _) in found {
                state.found.remove(&key);
            }
        }
        if corrected {
            self.due.notify_one();
        }
        Ok(())
    }

    /// Writes what commits up to `durable` have changed to the index. May wait for a disk. Whoever knows that the journal
    /// is durable up to there calls this; the order of the changes is kept whoever it is.
    pub(crate) fn settle(&self, durable: Lsn) -> Result<(), AlarmIndexError> {
        let mut guard = self.index();
        let Some(index) = &mut *guard else { return Ok(()) };
        let settled = {
            let mut state = self.state();
            let (settled, rest) = std::mem::take(&mut state.unsettled)
                .into_iter()
                .partition(|change| change.lsn <= durable);
            state.unsettled = rest;
            settled
        };
        let settled: Vec<Unsettled> = settled;
        if settled.is_empty() {
            return Ok(());
        }
        let updates: Vec<_> = settled.iter().map(|change| change.update).collect();
        if let Err(error) = index.apply(&updates) {
            // They stay for the next time, before all that came since.
            let mut state = self.state();
            let since = std::mem::replace(&mut state.unsettled, settled);
            state.unsettled.extend(since);
            return Err(error);
        }
        self.followers
            .followed(&self.dir, settled.iter().map(|change| change.lsn));
        let mut state = self.state();
        for change in settled {
            state.schedule.settled(change.update.key, change.version);
        }
        drop(state);
        self.due.notify_one();
        Ok(())
    }

    /// When the facet's alarm is due, retries included; none while its handler runs. For those who ask from outside.
    pub(crate) fn due_ms(&self, key: AlarmKey) -> Option<u64> {
        let known = self.state().schedule.known(key);
        match known {
            Some(AlarmChange::Due(due_ms) | AlarmChange::Retry { due_ms, .. }) => Some(due_ms),
            Some(AlarmChange::Trying(_) | AlarmChange::None) => None,
            None if !self.used.load(Ordering::Relaxed) => None,
            None => self.index().as_ref().and_then(|index| index.due_of(key).ok().flatten()),
        }
    }

    /// Delivers nothing more. What runs goes on.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.due.notify_one();
        self.changed.notify_one();
    }

    /// After the journal, which has let go of nothing that the index lacks: writes what was found since, and closes it.
    pub(crate) fn close(&self, durable: Lsn) -> Result<(), AlarmIndexError> {
        let settled = self.compare().and_then(|()| self.settle(durable));
        let Some(index) = self.index().take() else {
            return Ok(());
        };
        if settled.is_err() {
            return index.discard();
        }
        if self.state().compared == Compared::Wholly {
            // All databases are closed: whatever happens to them from now on is not known here.
            index.set_compared(crate::sys::clock::unix_ms())?;
        }
        index.close()
    }
}

impl Follow for Alarms {
    fn catch_up(&self, durable: Lsn) {
        if let Err(error) = self.settle(durable) {
            tracing::error!(dir = %self.dir.display(), %error, "the index of alarms cannot be written");
        }
    }
}

impl State {
    /// True if something may have become due sooner.
    fn change(&mut self, key: AlarmKey, change: AlarmChange, lsn: Lsn) -> bool {
        self.found.remove(&key);
        let (version, sooner) = self.schedule.changed(key, change);
        self.push(key, change, version, lsn);
        sooner
    }

    /// A database says something else than was known.
    fn correct(&mut self, key: AlarmKey, due_ms: Option<u64>) {
        let AlarmKey { object, file } = key;
        if self.compared != Compared::Never {
            tracing::warn!(%object, %file, due_ms, "the index of alarms did not know this alarm, and is corrected");
        }
        let change = due_ms.map_or(AlarmChange::None, AlarmChange::Due);
        // Behind whatever of this facet is on its way to the index.
        let lsn = self.newest;
        self.change(key, change, lsn);
    }

    fn push(&mut self, key: AlarmKey, change: AlarmChange, version: Version, lsn: Lsn) {
        let due_ms = change.due_ms();
        let update = AlarmUpdate { key, due_ms };
        self.newest = self.newest.max(lsn);
        self.unsettled.push(Unsettled { lsn, version, update });
    }
}

#[cfg(test)]
mod tests;
