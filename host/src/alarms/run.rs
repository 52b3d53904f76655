//! One task for each namespace sleeps until the next alarm is due and hands out what is; another one brings changes to the
//! index. Both wait for something that happens and look at nothing regularly, except that a sleeper looks at the clock
//! once a minute: the system's may have been set.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::schedule::{Moment, Taken};
use super::{AlarmKey, Alarms, WINDOW_LEN, WINDOW_MS};
use crate::storage::Durability;
use crate::sys::clock;

/// Alarms of a host that are being delivered at a time: from loading the object to the end of the handler.
pub(crate) const IN_FLIGHT_MAX: usize = 256;
/// So many more of each namespace, when the others have taken all: handlers of one that take long make nobody else's late.
pub(crate) const IN_FLIGHT_OF_EACH: usize = 8;
/// The longest sleep, ms.
const SLEEP_MS_MAX: u64 = 60_000;
/// Pause after a host without room, ms; or after an index that could not be read or written.
const PAUSE_MS: u64 = 250;

/// How a delivery ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivered {
    /// The handler has run, well or not; the facet's row says what comes next.
    Ran,
    /// The facet has no alarm, or not for now.
    NotDue(Option<u64>),
    /// The facet was not reached.
    Not,
    /// It runs a class without alarm handler: the alarm waits for one that has it, and no try is counted.
    NoHandler,
    /// Nor will another one be at the moment.
    NoRoom,
}

/// The time, as alarms are set.
pub(crate) trait Clock: Send + Sync + 'static {
    fn now_ms(&self) -> u64;
    /// The time of the clock that nobody sets; where it begins means nothing.
    fn steady_ms(&self) -> u64;
    /// Waits until that time, or a shorter one.
    fn sleep_until(&self, ms: u64) -> impl Future<Output = ()> + Send;
}

/// Who may deliver now: those of the whole host, and what one namespace has for itself.
#[derive(Clone)]
pub(crate) struct Slots {
    shared: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

impl Slots {
    pub(crate) fn new(shared: Arc<Semaphore>, own: usize) -> Self {
        let own = Arc::new(Semaphore::new(own));
        Self { shared, own }
    }

    async fn take(&self) -> OwnedSemaphorePermit {
        if let Ok(slot) = self.shared.clone().try_acquire_owned() {
            return slot;
        }
        let slot = tokio::select! {
            slot = self.shared.clone().acquire_owned() => slot,
            slot = self.own.clone().acquire_owned() => slot,
        };
        slot.expect("these semaphores are never closed")
    }
}

/// Takes an alarm to its facet.
pub(crate) trait Deliver: Send + Sync + 'static {
    /// `waited_ms`: the wait for a retry that was to end then has passed, whatever the clock says now.
    fn deliver(&self, key: AlarmKey, waited_ms: Option<u64>) -> impl Future<Output = Delivered> + Send;
}

/// The machine's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        clock::unix_ms()
    }

    fn steady_ms(&self) -> u64 {
        clock::monotonic_ms()
    }

    async fn sleep_until(&self, ms: u64) {
        let wait_ms = ms.saturating_sub(clock::unix_ms()).min(SLEEP_MS_MAX);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
}

/// Delivers what is due until `Alarms::stop`.
pub(crate) async fn run<C: Clock, D: Deliver>(alarms: Arc<Alarms>, clock: Arc<C>, deliver: Arc<D>, slots: Slots) {
    loop {
        alarms.read_ahead(&*clock).await;
        let slot = slots.take().await;
        let now_ms = clock.now_ms();
        let now = Moment {
            unix_ms: now_ms,
            steady_ms: clock.steady_ms(),
        };
        let taken = {
            let mut state = alarms.state();
            if state.stopped {
                return;
            }
            state.schedule.tick(now);
            state.schedule.take(now_ms)
        };
        if let Some(taken) = taken {
            let (alarms, clock, deliver) = (alarms.clone(), clock.clone(), deliver.clone());
            tokio::spawn(async move {
                let _slot = slot;
                let delivered = deliver.deliver(taken.key, taken.waited_ms).await;
                if delivered == Delivered::NoRoom {
                    // With the slot in hand: as many as find no room wait here, not in memory.
                    clock.sleep_until(clock.now_ms() + PAUSE_MS).await;
                }
                alarms.delivered(&taken, delivered, clock.steady_ms());
            });
            continue;
        }
        drop(slot);
        let next_ms = alarms.state().schedule.next_ms();
        let until_ms = next_ms.map_or(u64::MAX, |ms| ms.max(now_ms));
        if until_ms > now_ms {
            tokio::select! {
                () = alarms.due.notified() => {}
                () = clock.sleep_until(until_ms) => {}
            }
        }
    }
}

/// Brings changes to the index as the journal gets durable, until `Alarms::stop`.
pub(crate) async fn keep_index(alarms: Arc<Alarms>, mut durability: watch::Receiver<Durability>) {
    loop {
        alarms.changed.notified().await;
        loop {
            let newest = {
                let state = alarms.state();
                if state.stopped {
                    return;
                }
                if state.unsettled.is_empty() && state.found.is_empty() {
                    break;
                }
                state.newest
            };
            let comparer = alarms.clone();
            let compared = tokio::task::spawn_blocking(move || comparer.compare()).await;
            if let Ok(Err(error)) = compared {
                tracing::error!(%error, "the index of alarms cannot be read; it is tried again");
                tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
                continue;
            }
            if alarms.state().unsettled.is_empty() {
                continue;
            }
            if crate::storage::wait_durable(&mut durability, newest).await.is_err() {
                // The host stops and recovers: what is not in the index is found then.
                return;
            }
            let writer = alarms.clone();
            let settled = tokio::task::spawn_blocking(move || writer.settle(newest)).await;
            if let Ok(Err(error)) = settled {
                tracing::error!(%error, "the index of alarms cannot be written; it is tried again");
                tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
            }
        }
    }
}

impl Alarms {
    /// Reads from the index what is due soon, if what is in memory runs short.
    async fn read_ahead<C: Clock>(self: &Arc<Self>, clock: &C) {
        loop {
            let now_ms = clock.now_ms();
            if self.state().schedule.wants(now_ms).is_none() {
                return;
            }
            let alarms = self.clone();
            let read = tokio::task::spawn_blocking(move || alarms.read_window(now_ms)).await;
            match read {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "the index of alarms cannot be read; it is tried again");
                    clock.sleep_until(now_ms + PAUSE_MS).await;
                    return;
                }
                // The runtime ends.
                Err(_) => return,
            }
        }
    }

    fn read_window(&self, now_ms: u64) -> Result<(), super::AlarmIndexError> {
        // Held to the end: nothing is written to the index between looking and telling.
        let guard = self.index();
        let Some(after) = self.state().schedule.wants(now_ms) else {
            return Ok(());
        };
        let (found, next_ms) = match &*guard {
            None => (Vec::new(), None),
            Some(index) => {
                let until_ms = now_ms.saturating_add(WINDOW_MS);
                let found = index.due(after, until_ms, WINDOW_LEN)?;
                (found, index.next_after(until_ms)?)
            }
        };
        self.state().schedule.read(&found, next_ms, now_ms);
        Ok(())
    }

    fn delivered(&self, taken: &Taken, delivered: Delivered, steady_ms: u64) {
        let Taken { key, version, .. } = *taken;
        {
            let mut state = self.state();
            match delivered {
                Delivered::Ran => state.schedule.ran(key),
                Delivered::Not | Delivered::NoRoom => {
                    state.schedule.undelivered(key, steady_ms);
                }
                Delivered::NoHandler => {
                    if state.schedule.undelivered(key, steady_ms) == 0 {
                        let AlarmKey { object, file } = key;
                        tracing::warn!(%object, %file, "an alarm waits: its facet runs a class without alarm handler now");
                    }
                }
                Delivered::NotDue(due_ms) => {
                    if let Some((change, version)) = state.schedule.stale(key, version, due_ms) {
                        // Behind whatever of this facet is on its way to the index.
                        let lsn = state.newest;
                        state.push(key, change, version, lsn);
                    }
                }
            }
        }
        self.due.notify_one();
        self.changed.notify_one();
    }

    /// Alarms that are being delivered.
    pub(crate) fn running(&self) -> usize {
        self.state().schedule.running()
    }
}
