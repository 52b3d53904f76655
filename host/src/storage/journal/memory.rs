//! A journal without a disk, whose delays and failures a test commands.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Followers, Journal, JournalFull, Lsn, Pins, Progress, Reservation, Unit};

/// Acknowledges at once, unless it is held or has failed.
pub(crate) struct MemoryJournal {
    state: Mutex<State>,
    progress: Arc<Progress>,
    pins: Arc<Pins>,
    followers: Arc<Followers>,
}

#[derive(Default)]
struct State {
    last: u64,
    held: bool,
    ended: bool,
    full: bool,
}

impl MemoryJournal {
    /// A journal in which everything is durable at once.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            progress: Progress::new(Lsn::ZERO),
            pins: Arc::default(),
            followers: Arc::default(),
        })
    }

    /// From now on nothing becomes durable.
    pub(crate) fn hold(&self) {
        self.locked(|state| state.held = true);
    }

    /// Everything becomes durable again, what was held included.
    pub(crate) fn release(&self) {
        self.locked(|state| {
            state.held = false;
            self.publish(state);
        });
    }

    /// From now on there is room for nothing, or for everything again.
    pub(crate) fn set_full(&self, full: bool) {
        self.locked(|state| state.full = full);
    }

    fn locked<R>(&self, run: impl FnOnce(&mut State) -> R) -> R {
        run(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish(&self, state: &State) {
        if !state.held && !state.ended {
            self.progress.publish(Lsn::local(state.last));
            self.progress.settle(Lsn::local(state.last), Default::default());
        }
    }
}

impl Journal for MemoryJournal {
    fn reserve(&self, _: u64) -> Result<Reservation, JournalFull> {
        self.locked(|state| match state.full {
            true => Err(JournalFull("a test has filled it".into())),
            false => Ok(Reservation::none()),
        })
    }

    fn stuck(&self, _: crate::ids::ObjectId) -> Option<Arc<str>> {
        None
    }

    fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        self.reserve(bytes).ok()
    }

    fn append(&self, unit: Unit) -> Lsn {
        self.locked(|state| {
            state.last += 1;
            let lsn = Lsn::local(state.last);
            if !state.ended {
                for member in &unit.members {
                    self.pins.pin(&member.file, lsn);
                }
                self.publish(state);
            }
            lsn
        })
    }

    fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    fn pins(&self) -> &Arc<Pins> {
        &self.pins
    }

    fn followers(&self) -> &Arc<Followers> {
        &self.followers
    }

    fn is_tight(&self) -> bool {
        self.locked(|state| state.full)
    }

    /// Fails for ever.
    fn fail(&self, why: &str) {
        self.locked(|state| {
            state.ended = true;
            self.progress.fail(why);
        });
    }

    fn close(&self) -> bool {
        self.locked(|state| state.ended = true);
        true
    }
}
