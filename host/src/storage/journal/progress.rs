//! How far the journal has come, for those who wait for it and for those who only look. What is told once is never taken
//! back.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::sync::watch;

use super::Lsn;
use super::stuck::Firsts;
use crate::ids::ObjectId;

/// How far the journal has come.
#[derive(Clone, Debug)]
pub(crate) enum Durability {
    /// Every unit up to this one is durable.
    UpTo(Lsn),
    /// Writing or syncing failed, final: units that were not acknowledged before never are. Their state is unknown.
    Failed(Arc<str>),
}

/// The journal has failed; what was waited for may or may not be durable.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the journal failed: {0}")]
pub(crate) struct JournalFailed(pub(crate) Arc<str>);

/// How far files follow.
#[derive(Clone, Debug)]
struct Settled {
    upto: Lsn,
    /// But not those of these objects, from their units on.
    stuck: Firsts,
}

impl Settled {
    fn shows(&self, object: ObjectId, lsn: Lsn) -> bool {
        self.upto >= lsn && self.stuck.get(&object).is_none_or(|first| *first > lsn)
    }
}

/// The counters of one journal.
pub(crate) struct Progress {
    /// As in `durability`, cheaper to look at.
    durable: AtomicU64,
    durability: watch::Sender<Durability>,
    /// Files say what the units up to here did to the tree; files that they removed are gone.
    settled: watch::Sender<Settled>,
    /// Turns that have begun a transaction and not ended it: a batch waits a moment for them.
    open_turns: AtomicUsize,
    /// For those who wait on a thread.
    gate: Mutex<()>,
    changed: Condvar,
}

impl Progress {
    /// Everything up to `last` is done.
    pub(super) fn new(last: Lsn) -> Arc<Self> {
        Arc::new(Self {
            durable: AtomicU64::new(last.word()),
            durability: watch::channel(Durability::UpTo(last)).0,
            settled: watch::channel(Settled {
                upto: last,
                stuck: Firsts::new(),
            })
            .0,
            open_turns: AtomicUsize::new(0),
            gate: Mutex::new(()),
            changed: Condvar::new(),
        })
    }

    /// Every unit up to this one is durable.
    pub(crate) fn durable(&self) -> Lsn {
        Lsn::of_word(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn durability(&self) -> watch::Receiver<Durability> {
        self.durability.subscribe()
    }

    /// Files of the object show everything up to `lsn`.
    #[cfg(test)]
    pub(crate) fn is_settled(&self, object: ObjectId, lsn: Lsn) -> bool {
        self.settled.borrow().shows(object, lsn)
    }

    fn settled(&self) -> watch::Receiver<Settled> {
        self.settled.subscribe()
    }

    /// Waits on this thread until everything up to `lsn` is durable.
    pub(crate) fn wait(&self, lsn: Lsn) -> Result<(), JournalFailed> {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        while self.durable() < lsn {
            if let Durability::Failed(why) = &*self.durability.borrow() {
                return Err(JournalFailed(Arc::clone(why)));
            }
            gate = self.changed.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// An error if nothing can become durable any more.
    pub(crate) fn is_whole(&self) -> Result<(), JournalFailed> {
        match &*self.durability.borrow() {
            Durability::UpTo(_) => Ok(()),
            Durability::Failed(why) => Err(JournalFailed(Arc::clone(why))),
        }
    }

    pub(super) fn publish(&self, lsn: Lsn) {
        self.durable.store(lsn.word(), Ordering::Release);
        self.durability.send_if_modified(|state| match state {
            Durability::UpTo(before) => {
                *before = lsn;
                true
            }
            Durability::Failed(_) => false,
        });
        self.wake();
    }

    pub(super) fn fail(&self, why: &str) {
        self.durability.send_if_modified(|state| match state {
            Durability::UpTo(_) => {
                *state = Durability::Failed(why.into());
                true
            }
            Durability::Failed(_) => false,
        });
        self.wake();
    }

    pub(super) fn settle(&self, upto: Lsn, stuck: Firsts) {
        self.settled.send_replace(Settled { upto, stuck });
    }

    fn wake(&self) {
        // Under the lock: whoever looked before is waiting by now.
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// A turn has begun a transaction.
    pub(crate) fn turn_begins(&self) {
        self.open_turns.fetch_add(1, Ordering::Relaxed);
    }

    /// A turn's transaction is over, and queued if it wrote.
    pub(crate) fn turn_ends(&self) {
        self.open_turns.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn open_turns(&self) -> usize {
        self.open_turns.load(Ordering::Relaxed)
    }
}

/// Waits until everything up to `lsn` is durable.
pub(crate) async fn wait_durable(receiver: &mut watch::Receiver<Durability>, lsn: Lsn) -> Result<(), JournalFailed> {
    let reached = |state: &Durability| match state {
        Durability::UpTo(durable) => *durable >= lsn,
        Durability::Failed(_) => true,
    };
    let state = receiver
        .wait_for(reached)
        .await
        .map_err(|_| JournalFailed("it was closed".into()))?;
    match &*state {
        Durability::UpTo(_) => Ok(()),
        Durability::Failed(why) => Err(JournalFailed(Arc::clone(why))),
    }
}

/// Waits until the files of an object cannot be written.
pub(crate) async fn wait_stuck(progress: &Progress, object: ObjectId) {
    let mut settled = progress.settled();
    if settled
        .wait_for(|settled| settled.stuck.contains_key(&object))
        .await
        .is_err()
    {
        // The journal is gone, and nothing of it is going to happen.
        std::future::pending::<()>().await;
    }
}

/// Waits until the files of an object show everything up to `lsn`. Ends as well when the journal has failed or is closed: nothing of it
/// is going to happen then.
pub(crate) async fn wait_settled(progress: &Progress, object: ObjectId, lsn: Lsn) {
    let (mut settled, mut durability) = (progress.settled(), progress.durability());
    tokio::select! {
        _ = settled.wait_for(|settled| settled.shows(object, lsn)) => {}
        _ = durability.wait_for(|state| matches!(state, Durability::Failed(_))) => {}
    }
}
