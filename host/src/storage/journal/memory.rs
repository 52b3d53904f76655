//! A journal without a disk, whose delays and failures a test commands.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::{Durability, Journal, Lsn, Unit};

/// Acknowledges at once, unless it is held or has failed.
pub(crate) struct MemoryJournal {
    state: Mutex<State>,
    durability: watch::Sender<Durability>,
}

#[derive(Default)]
struct State {
    last: u64,
    held: bool,
    ended: bool,
    units: Vec<Unit>,
}

impl MemoryJournal {
    /// A journal in which everything is durable at once.
    pub(crate) fn new() -> Arc<Self> {
        let (durability, _) = watch::channel(Durability::UpTo(Lsn(0)));
        Arc::new(Self {
            state: Mutex::default(),
            durability,
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

    /// Fails for ever.
    pub(crate) fn fail(&self, why: &str) {
        self.locked(|state| {
            state.ended = true;
            self.durability.send_replace(Durability::Failed(why.into()));
        });
    }

    /// What was appended since this was last asked.
    pub(crate) fn take_units(&self) -> Vec<Unit> {
        self.locked(|state| std::mem::take(&mut state.units))
    }

    fn locked<R>(&self, run: impl FnOnce(&mut State) -> R) -> R {
        run(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish(&self, state: &State) {
        if !state.held && !state.ended {
            self.durability.send_replace(Durability::UpTo(Lsn(state.last)));
        }
    }
}

impl Journal for MemoryJournal {
    fn append(&self, unit: Unit) -> Lsn {
        self.locked(|state| {
            state.last += 1;
            state.units.push(unit);
            self.publish(state);
            Lsn(state.last)
        })
    }

    fn durability(&self) -> watch::Receiver<Durability> {
        self.durability.subscribe()
    }

    fn close(&self) {
        self.locked(|state| state.ended = true);
    }
}
