//! While an event holds the gate, no other event begins and no other event's wait ends (S21).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;

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
    /// Work for the guest that was given to the event loop and may not have run yet, at most. The loop takes one piece at a
    /// time, and polls the pump before each. While there is any nobody else is let in or on: what runs first may close
    /// the gate.
    queued: usize,
    /// Somebody waits for `queued` to become 0.
    starved: bool,
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

    /// Nobody holds it.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.state();
        state.holder.is_none() && !state.host
    }

    /// Nothing that was given to the event loop can still close it.
    pub(crate) fn is_quiet(&self) -> bool {
        self.state().queued == 0
    }

    /// An event was given to the event loop.
    pub(crate) fn note_begun(&self) {
        self.state().queued += 1;
    }

    /// The event loop has taken a piece of work, if there was one. True if it must come here again, because somebody waits
    /// for it to have taken all.
    pub(crate) fn note_round(&self) -> bool {
        let mut state = self.state();
        state.queued = state.queued.saturating_sub(1);
        if state.queued == 0 && std::mem::take(&mut state.starved) {
            drop(state);
            self.opened.notify_waiters();
            return false;
        }
        state.starved
    }

    /// What `work` answers, once this event may go on. What is ready at the first poll, which runs inside the guest, lets
    /// it go on at once.
    pub(crate) async fn wait<T>(&self, event: Option<EventId>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let early = poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => Poll::Ready(None),
        });
        let answer = match early.await {
            Some(answer) if self.state().lets(event) => return answer,
            Some(answer) => {
                self.state().queued += 1;
                answer
            }
            None => {
                // The loop is given the rest of the waiting as a piece of work.
                self.state().queued += 1;
                work.await
            }
        };
        self.pass(event).await;
        answer
    }

    /// Waits until a wait of this event may end.
    async fn pass(&self, event: Option<EventId>) {
        loop {
            let opened = self.opened.notified();
            tokio::pin!(opened);
            // Registered before looking, so that an `open` in between is not missed.
            opened.as_mut().enable();
            {
                let mut state = self.state();
                if state.lets(event) {
                    if state.queued == 0 {
                        state.queued = 1;
                        return;
                    }
                    state.starved = true;
                }
            }
            opened.await;
        }
    }
}

impl State {
    /// A wait of this event may end.
    fn lets(&self, event: Option<EventId>) -> bool {
        !self.host && self.holder.is_none_or(|holder| holder == event)
    }
}
