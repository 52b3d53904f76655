//! What a store knows of the facet that runs in it. Guests reach it through `bindings` only.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use tokio::sync::Semaphore;
use wasmtime::component::{GuestTaskId, Resource, ResourceTable};
use wasmtime::{AsContextMut, StoreContextMut};
use wasmtime_wasi::WasiCtx;

use crate::classes::Class;
use crate::error::CallError;
use crate::grants::Grants;
use crate::host::HostInner;
use crate::ids::{FacetName, FileId};
use crate::isolate::cpu::Charged;
use crate::isolate::egress::REQUESTS_MAX;
use crate::isolate::limiter::Limiter;
use crate::isolate::turn::{Turn, Unreleased};
use crate::isolate::{Event, executor};
use crate::limits::{HANDLES_MAX, START_WALL_MS};
use crate::live::{Control, Forwarder, Gate, Object, WaitId};
use crate::object::{Epoch, EventId, NodeId};
use crate::startup::{FacetId, Payload};
use crate::storage::{FacetStore, Lsn, StorageError};
use crate::sys::clock;

/// Why guest code must not go on. Returned as `Err` from an import or the epoch callback, it ends the store.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum GuestEnd {
    #[error("ended from outside")]
    Killed,
    #[error("an event used more than {0} ms of CPU time")]
    Cpu(u64),
    #[error("abort-self: {0}")]
    AbortSelf(String),
    #[error("the gate of context.block was dropped unopened")]
    Gate,
    #[error("the turn could not be committed: {0}")]
    Commit(String),
    #[error("the facet asked for {0} random bytes at once; at most {max} are given", max = crate::limits::RANDOM_BYTES_MAX)]
    Random(u32),
}

impl GuestEnd {
    /// Storage could not keep the turn.
    pub(crate) fn uncommitted(error: StorageError) -> Self {
        Self::Commit(error.logged().to_string())
    }

    /// The code of `broken`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Killed | Self::Random(_) => "trap",
            Self::Cpu(_) => "cpu",
            Self::AbortSelf(_) => "abort-self",
            Self::Gate => "gate",
            Self::Commit(_) => "commit",
        }
    }
}

/// What the facet is told about itself.
pub(crate) struct Identity {
    pub(crate) id: FacetId,
    pub(crate) path: Vec<FacetName>,
    pub(crate) props: Payload,
    pub(crate) file: FileId,
    pub(crate) is_root: bool,
    pub(crate) parent: Option<NodeId>,
    pub(crate) cpu_ms_max: u64,
}

/// The data of one store.
pub(crate) struct FacetState {
    pub(crate) object: Arc<Object>,
    pub(crate) control: Arc<Control>,
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) class: Arc<Class>,
    pub(crate) identity: Identity,
    /// Handles that the guest holds. Bounded: some languages never give one back.
    pub(crate) table: ResourceTable,
    /// Made when the guest first uses WASI; most never do.
    pub(super) wasi: Option<WasiCtx>,
    storage: Arc<Mutex<FacetStore>>,
    pub(super) turn: Turn,
    /// What the last turn answered, if that was sealed and then held back.
    pub(super) unreleased: Vec<Unreleased>,
    /// Turns ended so far.
    pub(super) turns: u64,
    pub(crate) events: BTreeMap<EventId, Event>,
    /// Which event a guest task belongs to.
    pub(super) tasks: HashMap<GuestTaskId, EventId>,
    pub(crate) gate: Arc<Gate>,
    pub(super) forwarder: Option<Forwarder>,
    /// What it may do beyond what every facet may.
    pub(crate) grants: Grants,
    /// Requests to the network that may still be begun.
    pub(super) requests: Arc<Semaphore>,
    /// The newest commit that the facet's state may depend on (S20).
    pub(crate) dep: Lsn,
    pub(super) limiter: Limiter,
    /// Blocking imports that the guest is in, or 0 (S16).
    pub(crate) blocked: u32,
    /// The call that the blocking import waits for.
    pub(super) blocked_for: Option<WaitId>,
    /// Calls that a blocking guest has started and not dropped.
    pub(crate) pending_calls: usize,
    pub(super) charged: Charged,
}

impl FacetState {
    #[allow(clippy::too_many_arguments, reason = "one call, where an incarnation is started")]
    pub(super) fn new(
        object: Arc<Object>,
        control: Arc<Control>,
        epoch: Arc<Epoch>,
        class: Arc<Class>,
        identity: Identity,
        grants: Grants,
        storage: Arc<Mutex<FacetStore>>,
        limiter: Limiter,
    ) -> Self {
        let mut table = ResourceTable::new();
        let gate = control.gate.clone();
        table.set_max_capacity(HANDLES_MAX);
        Self {
            object,
            control,
            epoch,
            class,
            identity,
            table,
            wasi: None,
            storage,
            turn: Turn::default(),
            unreleased: Vec::new(),
            turns: 0,
            events: BTreeMap::new(),
            tasks: HashMap::new(),
            gate,
            forwarder: None,
            grants,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            dep: Lsn::ZERO,
            limiter,
            blocked: 0,
            blocked_for: None,
            pending_calls: 0,
            charged: Charged::default(),
        }
    }

    pub(crate) fn host(&self) -> &Arc<HostInner> {
        &self.object.host
    }

    /// Every import begins with this: a facet that was ended does nothing more (S8).
    pub(crate) fn alive(&self) -> wasmtime::Result<()> {
        if self.control.is_dead() {
            Err(GuestEnd::Killed.into())
        } else {
            Ok(())
        }
    }

    /// The facet's database, as part of the running turn.
    pub(crate) fn storage(&mut self) -> MutexGuard<'_, FacetStore> {
        self.turn.touched_storage = true;
        self.open_turn();
        self.lock_storage()
    }

    /// Comes before the first change that the running turn makes: no clone sees a part of them.
    pub(crate) fn open_turn(&self) {
        while !self.control.turn_is_open.load(Ordering::SeqCst) {
            let storage = self.lock_storage();
            if storage.in_turn() || !self.control.is_paused() {
                self.control.turn_is_open.store(true, Ordering::SeqCst);
                return;
            }
            drop(storage);
            // Held for a clone, which came while this turn ran already. Other facets of this thread go on elsewhere.
            executor::block_in_place(|| self.object.host.runtime.block_on(self.control.unpaused()));
        }
    }

    /// The same for a turn of the host's, which moves an alarm: no clone sees that.
    pub(super) fn storage_of_host(&mut self) -> MutexGuard<'_, FacetStore> {
        self.turn.touched_storage = true;
        self.lock_storage()
    }

    /// The facet's database, to be looked at only.
    pub(crate) fn lock_storage(&self) -> MutexGuard<'_, FacetStore> {
        let expect = "storage does not panic: a panic would end this task first";
        match self.storage.try_lock() {
            Ok(storage) => storage,
            // Somebody copies or inspects it, which may take a while: other facets of this thread go on elsewhere.
            Err(TryLockError::WouldBlock) => executor::block_in_place(|| self.storage.lock().expect(expect)),
            Err(TryLockError::Poisoned(_)) => panic!("{expect}"),
        }
    }

    /// WASI's context, made when first used, and the handles.
    pub(crate) fn wasi_parts(
        &mut self,
        make: impl FnOnce(Arc<str>, Arc<Control>) -> WasiCtx,
    ) -> (&mut WasiCtx, &mut ResourceTable) {
        let Self {
            wasi,
            table,
            object,
            identity,
            control,
            ..
        } = self;
        (
            wasi.get_or_insert_with(|| make(object.describe(&identity.path).into(), control.clone())),
            table,
        )
    }

    /// Keeps something for the guest.
    pub(crate) fn keep<T: Send + 'static>(&mut self, entry: T) -> Result<Resource<T>, CallError> {
        self.table.push(entry).map_err(|_| {
            let message = format!("the facet holds {HANDLES_MAX} handles already; drop some");
            CallError::limit("handles", message)
        })
    }

    /// Before anything is done whose handle could not be kept: what is refused has not happened.
    pub(crate) fn room_for_handle(&mut self) -> Result<(), CallError> {
        let probe = self.keep(())?;
        self.table.delete(probe).expect("it has just been put there");
        Ok(())
    }

    /// Into a blocking import that waits for a call.
    pub(crate) async fn begin_block_for(&mut self, wait: Option<WaitId>) -> wasmtime::Result<Lsn> {
        self.blocked_for = wait;
        self.begin_block().await
    }

    /// Into a blocking import: ends the turn. Until `end_block` no other event gets in. Answers the facet's dep.
    pub(crate) async fn begin_block(&mut self) -> wasmtime::Result<Lsn> {
        self.alive()?;
        self.blocked += 1;
        // Before the turn's calls leave: whom they reach must see that this facet is held.
        self.note_held();
        self.seal_before_blocking().await?;
        if self.events.is_empty() {
            // Code that runs for no event has no wall limit of its own; its waits have the facet's.
            let wall_ms = self.control.limits.get().map_or(START_WALL_MS, |limits| limits.wall_ms);
            let deadline_ms = clock::monotonic_ms().saturating_add(wall_ms);
            self.control.wall_deadline_ms.store(deadline_ms, Ordering::Relaxed);
        }
        Ok(self.dep)
    }

    /// Out of a blocking import.
    pub(crate) fn end_block(&mut self) -> wasmtime::Result<()> {
        self.blocked -= 1;
        self.blocked_for = None;
        self.note_events();
        self.alive()
    }

    /// The event that runs, if only one is there to ask about: for imports without access to the store.
    pub(crate) fn sole_event(&self) -> Option<EventId> {
        match self.events.len() {
            1 => self.events.keys().next().copied(),
            _ => None,
        }
    }
}

/// The event on whose behalf the guest runs right now.
pub(crate) fn current_event(mut store: StoreContextMut<'_, FacetState>) -> Option<EventId> {
    if store.data().events.len() <= 1 {
        return store.data().sole_event();
    }
    let stack: Vec<GuestTaskId> = store.as_context_mut().async_call_stack().ok()?.collect();
    let event = stack.iter().find_map(|task| store.data().tasks.get(task).copied());
    store.data_mut().saw(event);
    event
}
