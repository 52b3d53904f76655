//! Each incarnation has one atomic state, Running, Sealing or Dead. A turn commits only by Running -> Sealing; an abort
//! swaps to Dead; that is where the two are ordered. Waking the task and interrupting SQL follow.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tracing::warn;

use crate::budget::Budget;
use crate::isolate::CpuTime;
use crate::limits::{LOG_BYTES_PER_EVENT_MAX, Limits};
use crate::live::{Gate, Waits, closing};
use crate::object::{Cause, IncarnationId, NodeId};
use crate::storage::{FacetStore, InterruptCell, Rest};

const RUNNING: u8 = 0;
const SEALING: u8 = 1;
const DEAD: u8 = 2;

/// Why an incarnation ends.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// From outside; the tree knows already.
    Killed(Arc<Cause>),
    /// By itself: a trap, a limit, a failed commit. The tree is told afterwards (S9).
    Broken { code: &'static str, message: String },
}

/// What others share with the task of one incarnation.
pub(crate) struct Control {
    pub(crate) incarnation: IncarnationId,
    pub(crate) node: NodeId,
    state: AtomicU8,
    ending: OnceLock<Ending>,
    /// Wakes the task when `ending` is set.
    stop: Notify,
    interrupt: Arc<InterruptCell>,
    /// Set when the facet starts. Locked by the facet for each storage call, and by a clone between two turns.
    pub(crate) storage: OnceLock<Arc<Mutex<FacetStore>>>,
    /// Set, under the lock of `storage`, when its file is about to be closed for good.
    pub(crate) storage_closed: AtomicBool,
    /// The running turn may have changed the database or children. Set under the lock of `storage`, by the facet's task only.
    pub(crate) turn_is_open: AtomicBool,
    /// Woken when `storage` is set and at the end of each turn that was open, for clones.
    pub(crate) storage_changed: Notify,
    /// How many hold the facet between two turns. Grows under the lock of `storage` only.
    pub(super) pauses: AtomicU32,
    pub(super) resumed: Notify,
    pub(crate) gate: Arc<Gate>,
    pub(crate) limits: OnceLock<Limits>,
    /// Set with `limits`.
    pub(crate) storage_budget: OnceLock<Option<Arc<Budget>>>,
    pub(crate) memory_bytes: AtomicU64,
    pub(crate) cpu: Arc<CpuTime>,
    pub(crate) storage_bytes: AtomicU64,
    /// Bytes logged since an event last entered.
    log_bytes: AtomicUsize,
    /// When the oldest event in flight exceeds its wall limit, `sys::clock::monotonic_ms`; 0 for none.
    pub(crate) wall_deadline_ms: AtomicU64,
    /// When the gate held by the facet breaks it; 0 for none.
    pub(crate) gate_deadline_ms: AtomicU64,
    /// Since when there is nothing to do; 0 while there is.
    pub(crate) idle_since_ms: AtomicU64,
    pub(crate) idle_evict_ms: u64,
    /// The `idle_since_ms` for which the connection was closed.
    connection_closed_ms: AtomicU64,
    runtime: Handle,
    /// What the facet waits for, and whether another event may enter meanwhile (S16).
    pub(crate) waits: Arc<Waits>,
    /// Set by the task when store and database are closed.
    gone: tokio::sync::watch::Sender<bool>,
}

impl Control {
    pub(crate) fn new(incarnation: IncarnationId, node: NodeId, idle_evict_ms: u64, runtime: &Handle) -> Arc<Self> {
        Arc::new(Self {
            incarnation,
            node,
            state: AtomicU8::new(RUNNING),
            ending: OnceLock::new(),
            stop: Notify::new(),
            interrupt: Arc::new(InterruptCell::new(crate::isolate::lingers)),
            storage: OnceLock::new(),
            storage_closed: AtomicBool::new(false),
            turn_is_open: AtomicBool::new(false),
            storage_changed: Notify::new(),
            pauses: AtomicU32::new(0),
            resumed: Notify::new(),
            gate: Arc::default(),
            limits: OnceLock::new(),
            storage_budget: OnceLock::new(),
            memory_bytes: AtomicU64::new(0),
            cpu: Arc::default(),
            storage_bytes: AtomicU64::new(0),
            log_bytes: AtomicUsize::new(0),
            wall_deadline_ms: AtomicU64::new(0),
            gate_deadline_ms: AtomicU64::new(0),
            idle_since_ms: AtomicU64::new(0),
            idle_evict_ms,
            connection_closed_ms: AtomicU64::new(0),
            runtime: runtime.clone(),
            waits: Arc::default(),
            gone: tokio::sync::watch::channel(false).0,
        })
    }

    pub(crate) fn interrupt(&self) -> &Arc<InterruptCell> {
        &self.interrupt
    }

    /// Ends the incarnation; the first ending counts. From here on it commits nothing and sends nothing.
    pub(crate) fn end(&self, ending: Ending) {
        let _ = self.ending.set(ending);
        self.state.store(DEAD, Ordering::SeqCst);
        self.interrupt.interrupt_for_ever();
        self.stop.notify_one();
    }

    /// Closes the database of a facet that has been idle for a while, and goes on being so. It is opened again when it is
    /// needed.
    pub(crate) fn close_connection(self: &Arc<Self>, idle_since_ms: u64) {
        if self.connection_closed_ms.swap(idle_since_ms, Ordering::Relaxed) == idle_since_ms {
            return;
        }
        let control = self.clone();
        self.runtime.spawn(closing(move || {
            let Some(storage) = control.storage.get() else { return };
            // Somebody is using it: then it is not idle.
            let Ok(mut store) = storage.try_lock() else { return };
            let is_idle = control.idle_since_ms.load(Ordering::Relaxed) == idle_since_ms;
            if !is_idle || store.in_turn() || control.storage_closed.load(Ordering::SeqCst) {
                return;
            }
            match store.rest() {
                Ok(Rest::Closed) => {}
                // Asked for again if it is still idle then.
                Ok(Rest::GoesOn) => control.connection_closed_ms.store(0, Ordering::Relaxed),
                Err(error) => {
                    let error = error.for_operator();
                    warn!(error, "the database of an idle facet cannot be closed");
                }
            }
        }));
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state.load(Ordering::Relaxed) == DEAD
    }

    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.ending.get()
    }

    /// Waits for `end`. For the one task of this incarnation.
    pub(crate) async fn ended(&self) -> Ending {
        loop {
            if let Some(ending) = self.ending.get() {
                return ending.clone();
            }
            self.stop.notified().await;
        }
    }

    /// The linearisation point of a turn. False if the incarnation is dead: the turn is lost.
    pub(crate) fn begin_seal(&self) -> bool {
        self.state
            .compare_exchange(RUNNING, SEALING, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// False if the incarnation was ended while its turn was committed: what the turn wrote stays, what it sent does not
    /// leave. Called under the object's lock, as `end` is for kills, so that nothing leaves after an abort has returned.
    pub(crate) fn end_seal(&self) -> bool {
        self.state
            .compare_exchange(SEALING, RUNNING, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Writes a line of the guest to the operator's log, unless the facet has ended or its event has logged too much.
    pub(crate) fn log(&self, facet: &str, level: tracing::Level, message: &str) {
        if self.is_dead() {
            return;
        }
        let before = self.log_bytes.fetch_add(message.len() + 1, Ordering::Relaxed);
        // One more than the limit is what a line leaves that just fits: the next one is told of.
        if before > LOG_BYTES_PER_EVENT_MAX + 1 {
            return;
        }
        if before + message.len() > LOG_BYTES_PER_EVENT_MAX {
            warn!(target: "facet", facet, "an event logged more than {LOG_BYTES_PER_EVENT_MAX} bytes; the rest is dropped");
            return;
        }
        // One line stays one line: a guest does not write those of others.
        let message = message.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}");
        match level {
            tracing::Level::ERROR => tracing::error!(target: "facet", facet, "{message}"),
            tracing::Level::WARN => tracing::warn!(target: "facet", facet, "{message}"),
            tracing::Level::INFO => tracing::info!(target: "facet", facet, "{message}"),
            tracing::Level::DEBUG => tracing::debug!(target: "facet", facet, "{message}"),
            tracing::Level::TRACE => tracing::trace!(target: "facet", facet, "{message}"),
        }
    }

    /// The log budget is each event's own.
    pub(crate) fn reset_log(&self) {
        self.log_bytes.store(0, Ordering::Relaxed);
    }

    /// Store and database are closed: the successor may start.
    pub(crate) fn set_gone(&self) {
        self.gone.send_replace(true);
    }

    pub(crate) fn gone(&self) -> tokio::sync::watch::Receiver<bool> {
        self.gone.subscribe()
    }
}
