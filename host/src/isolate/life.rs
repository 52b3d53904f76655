//! The life of one incarnation: wait for those before it, start, run, end. However it ends, who waits is answered first;
//! then the store is dropped, then the database is closed, and only then may a successor start.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};
use wasmtime::{AsContextMut, Store, Trap};
use wasmtime_wasi::I32Exit;

use crate::alarms::AlarmKey;
use crate::classes::Class;
use crate::error::Outcome;
use crate::ids::{FacetName, FileId};
use crate::isolate::alarm::{self, Lost};
use crate::isolate::dropped::drop_store;
use crate::isolate::limiter::Limiter;
use crate::isolate::pump::{Pump, PumpEnd};
use crate::isolate::state::{FacetState, GuestEnd, Identity, current_event};
use crate::isolate::turn::Unreleased;
use crate::isolate::{Exports, Pending, executor, meter};
use crate::limits::START_WALL_MS;
use crate::live::{Control, Ending, Launched, Mail, Object, Work, closing};
use crate::object::{Cause, Epoch, Owner};
use crate::startup::FacetId;
use crate::storage::{FacetStore, Lsn, StorageError, wait_settled, wait_stuck};
use crate::sys::clock;

/// Data that one host call may copy out of a guest. Above the largest payload, with room for its stubs and names.
const HOSTCALL_FUEL_BYTES: usize = 16 << 20;

/// Starts the task of an incarnation.
pub(crate) fn spawn(
    object: Arc<Object>,
    control: Arc<Control>,
    epoch: Arc<Epoch>,
    inbox: mpsc::Receiver<Mail>,
    mailbox: mpsc::Sender<Mail>,
    after: Vec<watch::Receiver<bool>>,
) {
    let watchdog = &object.host.watchdog;
    watchdog.watch(control.clone(), mailbox.downgrade(), object.room.clone());
    let tenant = executor::Tenant {
        namespace: Arc::as_ptr(&object.namespace) as usize,
        object: object.id,
    };
    let (runtime, lane, cpu) = (
        object.host.runtime.clone(),
        object.host.lane.clone(),
        control.cpu.clone(),
    );
    let life = Life {
        object,
        control,
        epoch,
        inbox,
        path: Vec::new(),
        closed: false,
    };
    match life.object.host.limits_off {
        true => executor::spawn(&runtime, &lane, tenant, life.run(after)),
        false => executor::spawn(&runtime, &lane, tenant, meter::metered(cpu, life.run(after))),
    }
}

/// How an incarnation ended.
enum End {
    Idle,
    /// The tree knows.
    Killed(Arc<Cause>),
    /// The tree has to be told.
    Broken {
        code: &'static str,
        message: String,
    },
    /// Not remembered: the next event tries again (S6).
    StartFailed(String),
    /// Not started, and not remembered: so much has room for so many.
    NoPlace {
        whose: &'static str,
        max: usize,
    },
}

struct Life {
    object: Arc<Object>,
    control: Arc<Control>,
    epoch: Arc<Epoch>,
    inbox: mpsc::Receiver<Mail>,
    /// Set when it is launched.
    path: Vec<FacetName>,
    closed: bool,
}

/// What is left when the guest has run for the last time.
#[derive(Default)]
struct Remains {
    store: Option<Store<FacetState>>,
    events: Vec<crate::isolate::Event>,
    /// Answers that were held back, and those of the lost turn.
    unreleased: Vec<Unreleased>,
    lost: Vec<Unreleased>,
    turns: u64,
    dep: Lsn,
}

impl Life {
    async fn run(mut self, after: Vec<watch::Receiver<bool>>) {
        for mut gone in after {
            let progress = self.object.host.journal.progress().clone();
            let is_gone = tokio::select! {
                biased;
                // An error means that the predecessor's control is gone, and so is the predecessor.
                _ = gone.wait_for(|gone| *gone) => true,
                // Nobody knows when it goes: its files are to be removed, and cannot be.
                () = wait_stuck(&progress, self.object.id) => false,
            };
            if !is_gone {
                let why = self.object.host.journal.stuck(self.object.id).unwrap_or_default();
                let end = End::StartFailed(StorageError::stuck(&why).to_string());
                return self.close(end, None, None).await;
            }
        }
        let place = tokio::select! {
            biased;
            _ = self.control.ended() => Err(self.ended_from_outside()),
            place = self.object.room.enter() => place.map_err(|full| End::NoPlace { whose: full.whose(), max: full.max() }),
        };
        let place = match place {
            Ok(place) => place,
            Err(end) => return self.close(end, None, None).await,
        };
        let Some(launched) = self.object.launch(&self.control) else {
            let end = self.ended_from_outside();
            return self.close(end, None, None).await;
        };
        let (file, path) = (launched.stored.file, launched.stored.path.clone());
        self.path.clone_from(&path);
        let mut storage = FacetStore::new(
            launched.file.clone(),
            crate::live::join(&path),
            launched.stored.has_database,
            launched.limits.storage_bytes,
            self.control.interrupt().clone(),
            self.object.host.journal.clone(),
        );
        storage.share(launched.storage.clone());
        let entries = launched
            .stored
            .lineage
            .iter()
            .zip(std::iter::once("").chain(path.iter().map(FacetName::as_str)));
        let entries_bytes = entries.map(|(startup, name)| startup.recorded_bytes() + name.len());
        storage.expect_entries(entries_bytes.sum::<usize>() as u64);
        let (alarms, key) = (
            self.object.namespace.alarms.clone(),
            AlarmKey {
                object: self.object.id,
                file,
            },
        );
        storage.tell_alarm(move |due_ms| alarms.found(key, due_ms));
        // This task keeps the object until it has closed the store.
        let object = Arc::downgrade(&self.object);
        storage.record_by(move |committed| object.upgrade()?.record_alone(committed));
        let storage = Arc::new(Mutex::new(storage));
        self.object.host.journal.pins().attend(&launched.file, &storage);
        // Both are set once, here.
        let _ = self.control.storage.set(storage.clone());
        let _ = self.control.limits.set(launched.limits);
        let _ = self.control.storage_budget.set(launched.storage.clone());
        self.control.storage_changed.notify_waiters();
        let (end, remains) = self.live(launched, storage.clone()).await;
        self.close(end, remains, Some((storage, file))).await;
        // Not before its database is closed.
        drop(place);
    }

    fn ended_from_outside(&self) -> End {
        match self.control.ending() {
            Some(Ending::Killed(cause)) => End::Killed(cause.clone()),
            Some(Ending::Broken { code, message }) => End::Broken {
                code,
                message: message.clone(),
            },
            None => End::Killed(Arc::new(Cause::Unavailable)),
        }
    }

    /// From the class to the end of the store.
    async fn live(&mut self, launched: Launched, storage: Arc<Mutex<FacetStore>>) -> (End, Option<Remains>) {
        let digest = launched
            .stored
            .lineage
            .last()
            .expect("a lineage ends with the facet itself")
            .class;
        let class = tokio::select! {
            biased;
            _ = self.control.ended() => return (self.ended_from_outside(), None),
            class = self.object.host.classes.load(&self.object.namespace.name, digest) => match class {
                Ok(class) => class,
                Err(error) => return (End::StartFailed(error.to_string()), None),
            },
        };
        if let Err(missing) = launched.grants.suffice(&class.inspected.imports) {
            return (End::StartFailed(missing), None);
        }
        let mut store = self.new_store(launched, class.clone(), storage);
        let deadline_ms = clock::monotonic_ms().saturating_add(START_WALL_MS);
        self.control.wall_deadline_ms.store(deadline_ms, Ordering::Relaxed);
        let instantiated = tokio::select! {
            biased;
            _ = self.control.ended() => Err(self.ended_from_outside()),
            instantiated = instantiate(&class, &mut store) => instantiated.map_err(|error| self.lost(&store, &error)),
        };
        let exports = match instantiated {
            Ok(exports) => exports,
            Err(end) => return (unstarted(end), Some(remains(store))),
        };
        self.control.wall_deadline_ms.store(0, Ordering::Relaxed);
        let mut started = false;
        let inbox = &mut self.inbox;
        let result = tokio::select! {
            biased;
            _ = self.control.ended() => None,
            result = store.run_concurrent(async |accessor| {
                let mut pump = Pump::new(accessor, exports, inbox, &mut started, class.inspected.interleaves)?;
                std::future::poll_fn(|cx| pump.poll(cx)).await
            }) => Some(result.and_then(|end| end)),
        };
        let end = match result {
            None => self.ended_from_outside(),
            Some(Ok(PumpEnd::Idle)) => End::Idle,
            Some(Ok(PumpEnd::StartFailed(message))) => End::StartFailed(message),
            Some(Err(error)) => self.lost(&store, &error),
        };
        let end = if started { end } else { unstarted(end) };
        (end, Some(remains(store)))
    }

    fn new_store(&self, launched: Launched, class: Arc<Class>, storage: Arc<Mutex<FacetStore>>) -> Store<FacetState> {
        let Launched {
            stored,
            limits,
            memory,
            grants,
            ..
        } = launched;
        let own = stored.lineage.last().expect("a lineage ends with the facet itself");
        let id = stored
            .lineage
            .iter()
            .rev()
            .find_map(|s| s.id.clone())
            .unwrap_or(FacetId::Object(self.object.id));
        let identity = Identity {
            id,
            is_root: stored.path.is_empty(),
            parent: stored.parent,
            path: stored.path,
            props: own.props.clone(),
            file: stored.file,
            cpu_ms_max: limits.cpu_ms,
        };
        let limiter = Limiter::new(limits.memory_bytes, memory, self.control.clone());
        let (object, control, epoch) = (self.object.clone(), self.control.clone(), self.epoch.clone());
        let engine = &self.object.host.engine;
        let mut store = Store::new(
            engine,
            FacetState::new(object, control, epoch, class, identity, grants, storage, limiter),
        );
        store.data_mut().forgive();
        if self.object.host.limits_off {
            return store;
        }
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(HOSTCALL_FUEL_BYTES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            let event = current_event(store.as_context_mut());
            Ok(store.data_mut().epoch_ended(event)?)
        });
        store
    }

    /// What an error of the event loop means.
    fn lost(&self, store: &Store<FacetState>, error: &wasmtime::Error) -> End {
        if self.control.ending().is_some() {
            return self.ended_from_outside();
        }
        let (code, message) = if let Some(end) = error.downcast_ref::<GuestEnd>() {
            (end.code(), end.to_string())
        } else if let Some(refused) = &store.data().limiter.refused {
            ("memory", refused.clone())
        } else if let Some(I32Exit(status)) = error.downcast_ref() {
            (
                "trap",
                format!("the facet left by exit({status}); a facet answers its events and stays"),
            )
        } else if let Some(trap) = error.downcast_ref::<Trap>() {
            ("trap", trap.to_string())
        } else {
            ("trap", format!("{error:#}"))
        };
        End::Broken { code, message }
    }

    /// Tells everybody, closes the database, and lets a successor start.
    async fn close(&mut self, end: End, remains: Option<Remains>, storage: Option<(Arc<Mutex<FacetStore>>, FileId)>) {
        let rested = matches!(end, End::Idle);
        let start_failed = matches!(end, End::StartFailed(_));
        let cause = match end {
            End::Idle => Arc::new(Cause::Unavailable),
            End::Killed(cause) => cause,
            End::Broken { code, message } => {
                info!(facet = %self.describe(), code, %message, "a facet broke");
                self.object.broken(&self.control, code, message.clone());
                Arc::new(Cause::Broken { code, message })
            }
            End::NoPlace { whose, max } => {
                self.object.retire_failed(&self.control);
                Arc::new(Cause::Full { whose, max })
            }
            End::StartFailed(message) => {
                info!(facet = %self.describe(), %message, "a facet could not be started");
                self.object.retire_failed(&self.control);
                Arc::new(Cause::Broken {
                    code: "start",
                    message: format!("the facet could not be started: {message}"),
                })
            }
        };
        let Remains {
            store,
            events,
            unreleased,
            lost,
            turns,
            dep,
        } = remains.unwrap_or_default();
        unreleased.into_iter().for_each(|answer| answer.lose(&cause, dep));
        let (mut alarm, mut alarm_waited_ms) = (None, None);
        for answer in lost {
            match answer.pending {
                // What its handler has done about it is undone.
                Pending::Alarm(reply) => alarm = Some(reply),
                Pending::Call(_) | Pending::Http(_) | Pending::Start => answer.lose(&cause, dep),
            }
        }
        for event in events {
            match event.pending {
                Pending::Alarm(reply) => alarm = Some(reply),
                Pending::Call(_) | Pending::Http(_) | Pending::Start => event.lose(&cause, turns, dep),
            }
        }
        self.inbox.close();
        while let Ok(mail) = self.inbox.try_recv() {
            match mail {
                Mail::Event {
                    work: Work::Alarm { reply, waited_ms },
                    ..
                } if start_failed => (alarm, alarm_waited_ms) = (Some(reply), waited_ms),
                mail => crate::live::refuse((cause.error(Outcome::NotApplied), mail)),
            }
        }
        let mut dep = dep;
        if let (Some(reply), Some((storage, _))) = (alarm, &storage) {
            let how = match &*cause {
                _ if start_failed => Lost::Unstarted {
                    waited_ms: alarm_waited_ms,
                },
                Cause::Unavailable | Cause::Full { .. } => Lost::Interrupted,
                Cause::Aborted(_) | Cause::Restarted | Cause::Deleted | Cause::Broken { .. } => Lost::Failed,
            };
            let why = cause.error(Outcome::Unknown).to_string();
            let (end, lsn) = alarm::settle_lost(&self.object, &self.control, &self.path, storage, how, &why);
            dep = dep.max(lsn.unwrap_or(dep));
            reply.send(end, dep);
        }
        if let Some(store) = store {
            drop_store(store).await;
        }
        if let Some((storage, of)) = storage {
            self.close_database(storage, of, dep, rested).await;
        }
        self.closed = true;
        self.object.gone(&self.control);
        debug!(facet = %self.describe(), "closed");
    }

    /// However it ends, the connection is gone afterwards: a successor must not meet it.
    async fn close_database(&self, storage: Arc<Mutex<FacetStore>>, of: FileId, dep: Lsn, rested: bool) {
        let file = self.object.db_file(of);
        let journal = &self.object.host.journal;
        // What is not durable must not be moved into the database.
        let durable = self.object.host.durable(dep).await.is_ok();
        journal.pins().leave(&file);
        let closed = loop {
            // A clone copies it as it is.
            self.control.unpaused().await;
            // No other facet ever gets its file.
            let is_removed = self.object.owner(of) == Owner::Nobody;
            let control = self.control.clone();
            let close = move |store: &mut FacetStore| {
                if control.is_paused() {
                    return Ok(None);
                }
                control.storage_closed.store(true, Ordering::SeqCst);
                if is_removed {
                    store.forsake();
                    Ok(Some(false))
                } else if durable {
                    store.close_for_good(rested).map(Some)
                } else {
                    store.abandon();
                    Ok(Some(false))
                }
            };
            let at_once = match storage.try_lock() {
                Ok(mut store) if store.is_closed() => Some(close(&mut store)),
                Ok(_) | Err(_) => None,
            };
            let closed = match at_once {
                Some(closed) => Ok(closed),
                None => {
                    let storage = storage.clone();
                    let close = move || {
                        let mut store = storage
                            .lock()
                            .expect("storage does not panic: a panic would end this task first");
                        close(&mut store)
                    };
                    closing(close).await
                }
            };
            match closed {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(emptied))) => break Ok(Ok(emptied)),
                Ok(Err(error)) => break Ok(Err(error)),
                Err(panicked) => break Err(panicked),
            }
        };
        match closed {
            Ok(Ok(true)) => {
                if let Some(lsn) = self.object.emptied(of) {
                    // A host that stops starts no successor that could meet the files.
                    let mut stopping = self.object.host.stopping.subscribe();
                    tokio::select! {
                        () = wait_settled(journal.progress(), self.object.id, lsn) => {}
                        _ = stopping.wait_for(|stopping| *stopping) => {}
                    }
                }
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                let error = error.for_operator();
                warn!(file = %file.path().display(), error, "a database cannot be used or was not closed cleanly");
            }
            // After a failure of the journal the runtime ends first; the next start recovers.
            Err(error) if error.is_cancelled() => {
                debug!(file = %file.path().display(), "the host ended before a database was closed")
            }
            Err(error) => warn!(file = %file.path().display(), %error, "closing a database panicked"),
        }
    }

    fn describe(&self) -> String {
        self.object.describe(&self.path)
    }
}

impl Drop for Life {
    /// Only after a panic of the host inside this task: that costs the facet, not its object.
    fn drop(&mut self) {
        if !self.closed {
            if let Some(storage) = self.control.storage.get() {
                let mut storage = storage.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                self.control.storage_closed.store(true, Ordering::SeqCst);
                // Slow, on whatever thread this is; it happens once in a bug's lifetime.
                let _ = storage.close_for_good(false);
            }
            self.object
                .broken(&self.control, "host", "the host failed while it ran this facet".into());
            self.object.gone(&self.control);
        }
    }
}

/// What breaks before it has started raises no epoch: the next event tries again (S6).
fn unstarted(end: End) -> End {
    match end {
        End::Broken { message, .. } => End::StartFailed(message),
        End::Idle | End::Killed(_) | End::StartFailed(_) | End::NoPlace { .. } => end,
    }
}

async fn instantiate(class: &Class, store: &mut Store<FacetState>) -> wasmtime::Result<Exports> {
    let instance = class.pre.instantiate_async(&mut *store).await?;
    class.exports.of(store, &instance)
}

/// Ends the guest; its last turn is lost.
fn remains(mut store: Store<FacetState>) -> Remains {
    let state = store.data_mut();
    let lost = state.lose_turn();
    let events = std::mem::take(&mut state.events).into_values().collect();
    Remains {
        events,
        unreleased: std::mem::take(&mut state.unreleased),
        lost,
        turns: state.turns,
        dep: state.dep,
        store: Some(store),
    }
}
