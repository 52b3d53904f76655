//! While an event holds the gate, no other event begins and no other event's wait ends (S21).

use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::live::EventId;

/// The input gate of one incarnation.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    opened: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The event that closed it; `Some(None)` for code that runs outside of any event.
    holder: Option<Option<EventId>>,
    /// The host copies databases for a `clone`: the turn is not over, and nobody may go on.
    host: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    /// False if it is held already.
    pub(crate) fn close(&self, event: Option<EventId>) -> bool {
        let mut state = self.state();
        let free = state.holder.is_none();
        state.holder.get_or_insert(event);
        free
    }

    pub(crate) fn open(&self) {
        self.state().holder = None;
        self.opened.notify_waiters();
    }

    /// Stops everybody, the holder included, until `set_host(false)`.
    pub(crate) fn set_host(&self, closed: bool) {
        self.state().host = closed;
        if !closed {
            self.opened.notify_waiters();
        }
    }

    /// New events may begin.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.state();
        state.holder.is_none() && !state.host
    }

    /// Waits until a wait of this event may end.
    pub(crate) async fn pass(&self, event: Option<EventId>) {
        loop {
            let opened = self.opened.notified();
            tokio::pin!(opened);
            // Registered before looking, so that an `open` in between is not missed.
            opened.as_mut().enable();
            {
                let state = self.state();
                if !state.host && state.holder.is_none_or(|holder| holder == event) {
                    return;
                }
            }
            opened.await;
        }
    }
}
