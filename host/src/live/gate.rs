//! While an event holds the gate, no other event begins and no other event's wait ends (S21).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::task::{Poll, Waker};

use tokio::sync::Notify;

use crate::object::EventId;

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
    /// For how many reasons the host keeps it shut: it copies databases for a `clone` of this facet's turn, or for those of
    /// others whose source this facet is.
    host: u32,
    /// The pump, if it has found the gate shut.
    pump: Option<Waker>,
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

    /// Stops everybody, the holder included, until as many `set_host(false)`.
    pub(crate) fn set_host(&self, closed: bool) {
        let mut state = self.state();
        match closed {
            true => state.host += 1,
            false => state.host -= 1,
        }
        if state.host > 0 {
            return;
        }
        let pump = state.pump.take();
        drop(state);
        self.opened.notify_waiters();
        if let Some(pump) = pump {
            pump.wake();
        }
    }

    /// False if it is open. Otherwise the host wakes the pump when it lets it go.
    pub(crate) fn is_shut(&self, pump: &Waker) -> bool {
        let mut state = self.state();
        let shut = state.holder.is_some() || state.host > 0;
        state.pump = shut.then(|| pump.clone());
        shut
    }

    /// The event that holds it; `Some(None)` for code that runs outside of any.
    pub(crate) fn holder(&self) -> Option<Option<EventId>> {
        self.state().holder
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
        self.host == 0 && self.holder.is_none_or(|holder| holder == event)
    }
}
