//! Which alarms are due, pure: what of the index is in memory, what is newer than the index, what runs. No clock and no I/O.
//!
//! In memory is what is due before a *horizon*, beside what runs, waits for another try, or is newer than the index. So memory is bounded by what happens, not by how many alarms there are. Three rules keep an alarm from being
//! lost between the two:
//!
//! - The index is read and written under one lock (`Alarms`), so the horizon moves only over what has been read.
//! - What a commit says is newer than what the index says until exactly that has been written to it.
//! - What a delivery finds out counts only if no commit has come in between.

use std::collections::{BTreeSet, HashMap};

use super::index::Place;
use super::{AlarmKey, WINDOW_LEN, WINDOW_MS};
use crate::storage::AlarmChange;

/// By so much the clock and the one that never goes back may drift apart before waits are looked at again, ms.
const DRIFT_MS: u64 = 100;
/// After a delivery that did not reach its facet, ms; each further one in a row waits twice as long.
const UNDELIVERED_MS: u64 = 250;
/// Doublings of it: at most 64 s.
const UNDELIVERED_DOUBLINGS_MAX: u32 = 8;
/// So many are read at once.
const FULL_LEN: usize = WINDOW_LEN as usize;
/// With so few left in memory more are read, if there are more.
const LOW_LEN: usize = FULL_LEN / 4;
/// With so many in memory the later ones are left to the index again.
const HIGH_LEN: usize = 2 * FULL_LEN;

/// One moment on both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Moment {
    /// Since 1970, as alarms are set; it can be set back and forth.
    pub(super) unix_ms: u64,
    /// On the clock of this process that never goes back, which waits are counted on.
    pub(super) steady_ms: u64,
}

/// The wait for a retry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Retry {
    /// As long as this at most; it is in the row when it ends.
    New { wait_ms: u64 },
    /// Until then, on the steady clock.
    Until(u64),
}

/// Tells one state of an entry from all later ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Version(u64);

#[derive(Debug)]
struct Entry {
    change: AlarmChange,
    version: Version,
    /// The index does not know it yet.
    unsettled: bool,
    running: bool,
    retry: Option<Retry>,
    /// Deliveries in a row that did not reach the facet, and until when on the steady clock the next one waits.
    undelivered: u32,
    not_before: Option<u64>,
}

impl Entry {
    /// When it is to be delivered, as the clock is now; none if it is not set, or runs.
    fn at_ms(&self, now: Moment) -> Option<u64> {
        let due_ms = match (self.change.due_ms()?, self.retry) {
            (_, Some(Retry::Until(steady_ms))) => now.unix_at(steady_ms),
            (due_ms, Some(Retry::New { .. }) | None) => due_ms,
        };
        let not_before_ms = self.not_before.map_or(0, |steady_ms| now.unix_at(steady_ms));
        (!self.running).then_some(due_ms.max(not_before_ms))
    }

    /// It waits for something that the index does not know of.
    fn waits(&self) -> bool {
        self.undelivered > 0 || self.retry.is_some()
    }
}

impl Moment {
    /// What the clock shows at a moment of the steady one, if nobody sets it.
    fn unix_at(self, steady_ms: u64) -> u64 {
        (self.unix_ms + steady_ms).saturating_sub(self.steady_ms)
    }

    /// By how much the clock was set since `before`.
    fn set_since(self, before: Self) -> u64 {
        self.unix_ms.abs_diff(before.unix_at(self.steady_ms))
    }
}

/// The alarms of one namespace.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    entries: HashMap<AlarmKey, Entry>,
    /// Those to be delivered, by when.
    queue: BTreeSet<Place>,
    /// Everything in the index up to this place is in memory, but for what is newer there.
    horizon: Place,
    /// The index has more directly behind the horizon.
    more: bool,
    /// When the index has to be read again at the latest; none if there is `more`, or nothing at all beyond the horizon.
    read_at_ms: Option<u64>,
    versions: u64,
    running: usize,
    /// Those in the queue that wait for another try.
    again: usize,
    /// When the clock was last looked at.
    now: Moment,
    /// Retries whose wait is to be put on the steady clock.
    new_retries: Vec<AlarmKey>,
    /// From so many in the queue on it is tried again to leave some to the index.
    high_len: usize,
}

impl Schedule {
    /// A schedule that has read nothing yet.
    pub(super) fn new() -> Self {
        Self {
            more: true,
            ..Self::default()
        }
    }

    /// A commit, in the order of the commits of its facet. True if the driver may have to wake up earlier.
    pub(super) fn changed(&mut self, key: AlarmKey, change: AlarmChange) -> (Version, bool) {
        self.versions += 1;
        let version = Version(self.versions);
        let before_ms = self.next_ms();
        self.with(key, |entry| {
            entry.change = change;
            entry.version = version;
            entry.unsettled = true;
            entry.retry = match change {
                AlarmChange::Retry { wait_ms, .. } => Some(Retry::New { wait_ms }),
                AlarmChange::Due(_) | AlarmChange::Trying(_) | AlarmChange::None => None,
            };
        });
        let is_retry = matches!(change, AlarmChange::Retry { .. });
        if is_retry {
            self.new_retries.push(key);
        }
        (version, is_retry || self.next_ms() != before_ms)
    }

    /// Looks at the clock. Whoever waits goes on to wait as long as was said, however it is set meanwhile. Done before
    /// anything is taken, and soon after each change.
    pub(super) fn tick(&mut self, now: Moment) {
        if now.set_since(self.now) > DRIFT_MS {
            let waiting = self.entries.iter().filter(|(_, entry)| entry.waits());
            let waiting: Vec<_> = waiting.map(|(key, entry)| (*key, entry.at_ms(self.now))).collect();
            for (key, at_ms) in &waiting {
                at_ms.map(|due_ms| self.queue.remove(&Place { due_ms, key: *key }));
            }
            self.now = now;
            for (key, _) in waiting {
                let at_ms = self.entries.get(&key).and_then(|entry| entry.at_ms(now));
                at_ms.map(|due_ms| self.queue.insert(Place { due_ms, key }));
            }
        }
        for key in std::mem::take(&mut self.new_retries) {
            if self.entries.contains_key(&key) {
                self.with(key, |entry| {
                    if let (Some(Retry::New { wait_ms }), Some(due_ms)) = (entry.retry, entry.change.due_ms()) {
                        let left_ms = due_ms.saturating_sub(now.unix_ms).min(wait_ms);
                        entry.retry = Some(Retry::Until(now.steady_ms + left_ms));
                    }
                });
            }
        }
    }

    /// The facet's database has been opened, and says that.
    pub(super) fn found(&mut self, key: AlarmKey, due_ms: Option<u64>) -> Found {
        let Some(entry) = self.entries.get(&key) else {
            return Found::Unknown;
        };
        if entry.change.due_ms() == due_ms {
            // It can be reached: who waits for that need not.
            if entry.not_before.is_some() && !entry.running {
                self.with(key, |entry| entry.not_before = None);
            }
            return Found::Known;
        }
        Found::Differs
    }

    /// The index says now what that version said.
    pub(super) fn settled(&mut self, key: AlarmKey, version: Version) {
        let known = self.entries.get(&key).is_some_and(|entry| entry.version == version);
        if known {
            self.with(key, |entry| entry.unsettled = false);
        }
    }

    /// Takes one that is due for delivery.
    pub(super) fn take(&mut self, now_ms: u64) -> Option<Taken> {
        let first = *self.queue.first().filter(|first| first.due_ms <= now_ms)?;
        let entry = self.entries.get(&first.key)?;
        let taken = Taken {
            key: first.key,
            version: entry.version,
            waited_ms: entry.change.due_ms().filter(|_| entry.retry.is_some()),
        };
        self.with(first.key, |entry| entry.running = true);
        self.running += 1;
        Some(taken)
    }

    /// The delivery has reached the facet, which has run its handler.
    pub(super) fn ran(&mut self, key: AlarmKey) {
        self.returned(key, |entry| {
            entry.undelivered = 0;
            entry.not_before = None;
        });
    }

    /// The facet says that its alarm is not due. Answers the change to be brought to the index, unless something newer is
    /// known than what was delivered.
    pub(super) fn stale(
        &mut self,
        key: AlarmKey,
        taken: Version,
        due_ms: Option<u64>,
    ) -> Option<(AlarmChange, Version)> {
        let current = self.entries.get(&key).is_some_and(|entry| entry.version == taken);
        self.ran(key);
        let change = due_ms.map_or(AlarmChange::None, AlarmChange::Due);
        current.then(|| (change, self.changed(key, change).0))
    }

    /// The delivery has not reached the facet, or no handler: it is tried again later. Answers how often in a row that was so
    /// before. `steady_ms`: now.
    pub(super) fn undelivered(&mut self, key: AlarmKey, steady_ms: u64) -> u32 {
        let mut before = 0;
        self.returned(key, |entry| {
            before = entry.undelivered;
            let doublings = entry.undelivered.min(UNDELIVERED_DOUBLINGS_MAX);
            entry.not_before = Some(steady_ms.saturating_add(UNDELIVERED_MS << doublings));
            entry.undelivered = entry.undelivered.saturating_add(1);
        });
        before
    }

    fn returned(&mut self, key: AlarmKey, then: impl FnOnce(&mut Entry)) {
        self.running -= 1;
        self.with(key, |entry| {
            entry.running = false;
            then(entry);
        });
    }

    /// From where on the index has to be read, if it has to.
    pub(super) fn wants(&self, now_ms: u64) -> Option<Place> {
        let low = self.more && self.queue.len() <= LOW_LEN + self.again;
        let time = self.read_at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        (low || time).then_some(self.horizon)
    }

    /// What the index has behind the horizon, up to `WINDOW_LEN` alarms due within `WINDOW_MS` of now, in order; `next_ms`
    /// is when the first of the others is due.
    pub(super) fn read(&mut self, found: &[Place], next_ms: Option<u64>, now_ms: u64) {
        let until = Place::last_at(now_ms.saturating_add(WINDOW_MS));
        self.more = found.len() >= FULL_LEN;
        let reached = match found.last() {
            Some(last) if self.more => *last,
            Some(_) | None => until,
        };
        self.horizon = self.horizon.max(reached);
        self.read_at_ms = next_ms.filter(|_| !self.more).map(read_at_ms);
        for Place { due_ms, key } in found {
            if !self.entries.contains_key(key) {
                self.versions += 1;
                let version = Version(self.versions);
                self.with(*key, |entry| {
                    entry.change = AlarmChange::Due(*due_ms);
                    entry.version = version;
                });
            }
        }
    }

    /// When something is to be done, if nothing else happens.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let first_ms = self.queue.first().map(|first| first.due_ms);
        first_ms.into_iter().chain(self.read_at_ms).min()
    }

    /// What is known of an alarm: none says to ask the index.
    pub(super) fn known(&self, key: AlarmKey) -> Option<AlarmChange> {
        self.entries.get(&key).map(|entry| entry.change)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Alarms that are being delivered.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Changes an entry, which is made if there is none, and goes if the index says as much.
    fn with(&mut self, key: AlarmKey, change: impl FnOnce(&mut Entry)) {
        let entry = self.entries.entry(key).or_insert(Entry {
            change: AlarmChange::None,
            version: Version(0),
            unsettled: false,
            running: false,
            retry: None,
            undelivered: 0,
            not_before: None,
        });
        if let Some(due_ms) = entry.at_ms(self.now) {
            self.queue.remove(&Place { due_ms, key });
            self.again -= usize::from(entry.waits());
        }
        change(entry);
        if let Some(due_ms) = entry.at_ms(self.now) {
            self.queue.insert(Place { due_ms, key });
            self.again += usize::from(entry.waits());
        }
        self.tidy(key);
        if self.queue.len() > self.high_len.max(HIGH_LEN) {
            self.lower_horizon();
            // Those that the index does not know yet stay: not to be looked through again for each that comes.
            self.high_len = self.queue.len() + FULL_LEN;
        } else if self.queue.len() <= HIGH_LEN {
            self.high_len = HIGH_LEN;
        }
    }

    /// Forgets an entry of which the index knows all there is, if that is nothing or lies behind the horizon.
    fn tidy(&mut self, key: AlarmKey) {
        let Some(entry) = self.entries.get(&key) else { return };
        let due_ms = entry.change.due_ms();
        let known = due_ms.is_none_or(|due_ms| Place { due_ms, key } > self.horizon);
        if entry.unsettled || entry.running || (due_ms.is_some() && entry.waits()) || !known {
            return;
        }
        if let Some(due_ms) = due_ms {
            if !self.more {
                let at_ms = read_at_ms(due_ms);
                self.read_at_ms = Some(self.read_at_ms.map_or(at_ms, |before_ms| before_ms.min(at_ms)));
            }
            // It is set, waits, and has been delivered whenever that was tried: it lies in the queue as it is due.
            self.queue.remove(&Place { due_ms, key });
        }
        self.entries.remove(&key);
    }

    /// Leaves the later half to the index.
    fn lower_horizon(&mut self) {
        let Some(last) = self.queue.iter().nth(FULL_LEN).copied() else {
            return;
        };
        if last >= self.horizon {
            // All of them are newer than the index: they go when they have been written.
            return;
        }
        self.horizon = last;
        self.more = true;
        self.read_at_ms = None;
        let later: Vec<_> = self.queue.range(last..).map(|place| place.key).collect();
        for key in later {
            self.tidy(key);
        }
    }
}

/// What is taken for delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Taken {
    pub(super) key: AlarmKey,
    pub(super) version: Version,
    /// The wait for a retry has passed that was to end then, whatever the clock says now.
    pub(super) waited_ms: Option<u64>,
}

/// What is known of an alarm that a database tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// The same.
    Known,
    /// Something else.
    Differs,
    /// Nothing that is not in the index.
    Unknown,
}

/// When to read the index for an alarm that is in it: early enough.
fn read_at_ms(due_ms: u64) -> u64 {
    due_ms.saturating_sub(WINDOW_MS / 2)
}

#[cfg(test)]
mod tests;
