//! `seal_turn` ends a turn: commit, record, release. It is idempotent, and runs where a turn can end: in the first-polled
//! future of `run_concurrent`, which wasmtime 48 polls between every two resumptions of the guest and never inside one,
//! and on the way into a blocking import. (The first poll of a concurrent import runs inside the guest and is no boundary.)

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;

use crate::error::CallError;
use crate::ids::FileId;
use crate::isolate::{FacetState, GuestEnd, executor};
use crate::live::{Effect, Killed, Sealed, TurnEnd};
use crate::object::{Copy, TurnChanges};

/// What the running turn has done beside writing.
#[derive(Default)]
pub(crate) struct Turn {
    pub(crate) touched_storage: bool,
    pub(crate) changes: TurnChanges,
    pub(crate) effects: Vec<Effect>,
    /// Nobody waits for what it writes.
    unconfirmed: bool,
    /// Databases that were copied.
    adopted: Vec<FileId>,
    /// Databases to be copied before the turn can end.
    pub(crate) copies: Vec<Copy>,
    copying: Option<Copying>,
}

type Copying = Pin<Box<dyn Future<Output = Result<Vec<FileId>, CallError>> + Send>>;

impl FacetState {
    /// Ends the turn, if it did anything. While databases are copied for a `clone` the turn goes on, with the gate closed
    /// to all events; `poll_copying` ends it then.
    pub(crate) fn seal_turn(&mut self) -> Result<(), GuestEnd> {
        self.turns += 1;
        self.limiter.refused = None;
        if self.turn.copying.is_some() {
            return Ok(());
        }
        if !self.turn.copies.is_empty() {
            let copies = std::mem::take(&mut self.turn.copies);
            self.turn.adopted.extend(copies.iter().map(|copy| copy.to));
            self.gate.set_host(true);
            self.turn.copying = Some(Box::pin(self.object.clone().copy_databases(copies)));
            return Ok(());
        }
        if !self.turn.touched_storage && self.turn.effects.is_empty() && self.turn.changes.is_empty() {
            return Ok(());
        }
        self.commit()
    }

    /// Ends the turn by a commit, whatever is in it.
    pub(super) fn commit(&mut self) -> Result<(), GuestEnd> {
        if !self.control.begin_seal() {
            return Err(GuestEnd::Killed);
        }
        let mut committed = None;
        let touched = std::mem::take(&mut self.turn.touched_storage);
        if touched {
            let mut storage = self.lock_storage();
            // A journal that is full makes COMMIT wait: other facets of this thread go on elsewhere.
            let ended = match storage.may_wait() {
                true => executor::block_in_place(|| storage.end_turn()),
                false => storage.end_turn(),
            };
            committed = match ended {
                Ok(committed) => committed,
                Err(error) => {
                    drop(storage);
                    if error.transaction_lost() {
                        // The turn is not over but undone: events that entered in it were not applied (S18).
                        self.turns -= 1;
                    }
                    return Err(GuestEnd::Commit(error.to_string()));
                }
            };
            if committed.is_some() {
                self.control.storage_bytes.store(storage.bytes(), Ordering::Relaxed);
            }
        }
        let wrote = committed.is_some();
        let turn = TurnEnd {
            file: self.identity.file,
            committed,
            changes: std::mem::take(&mut self.turn.changes),
            adopted: std::mem::take(&mut self.turn.adopted),
            effects: std::mem::take(&mut self.turn.effects),
            dep: self.dep,
            unconfirmed: std::mem::take(&mut self.turn.unconfirmed),
        };
        let ended = self.object.end_turn(&self.control, &mut self.forwarder, turn);
        // What was committed is waited for before the database is closed, by a facet that was killed as well.
        let recorded = match &ended {
            Ok(Sealed { dep, recorded }) => {
                self.dep = *dep;
                *recorded
            }
            Err(Killed(recorded)) => {
                self.dep = *recorded;
                *recorded
            }
        };
        if wrote {
            let mut storage = self.lock_storage();
            storage.recorded(recorded);
            if storage.must_checkpoint() {
                // Waits for the journal, and delays this facet only.
                let done = executor::block_in_place(|| storage.checkpoint());
                if let Err(error) = done {
                    tracing::warn!(%error, "a database cannot be checkpointed; its log grows");
                }
            }
        }
        if touched {
            self.control.storage_changed.notify_waiters();
        }
        ended.map(|_| ()).map_err(|_| GuestEnd::Killed)
    }

    /// True while databases are copied. When they all are, the turn ends.
    pub(super) fn poll_copying(&mut self, cx: &mut std::task::Context<'_>) -> Result<bool, GuestEnd> {
        let Some(copying) = &mut self.turn.copying else {
            return Ok(false);
        };
        let std::task::Poll::Ready(result) = copying.as_mut().poll(cx) else {
            return Ok(true);
        };
        self.turn.copying = None;
        self.gate.set_host(false);
        let unmade = result.map_err(|error| GuestEnd::Commit(error.message))?;
        self.turn.adopted.retain(|file| !unmade.contains(file));
        let changes = &mut self.turn.changes;
        self.object.decide(|tree, _| tree.unmake(changes, &unmade));
        self.commit()?;
        Ok(false)
    }

    /// Ends the turn on the way into a blocking import, whatever it takes.
    pub(crate) async fn seal_before_blocking(&mut self) -> Result<(), GuestEnd> {
        self.seal_turn()?;
        std::future::poll_fn(|cx| match self.poll_copying(cx) {
            Ok(true) => std::task::Poll::Pending,
            Ok(false) => std::task::Poll::Ready(Ok(())),
            Err(end) => std::task::Poll::Ready(Err(end)),
        })
        .await
    }

    /// The turn is lost: neither its writes nor anything it sent have happened.
    pub(super) fn lose_turn(&mut self) {
        let turn = std::mem::take(&mut self.turn);
        self.lock_storage().discard_turn();
        self.object.undo(turn.changes);
    }

    /// What the turn has done to the tree so far.
    pub(crate) fn changes(&mut self) -> &mut TurnChanges {
        &mut self.turn.changes
    }

    /// Has databases copied before the turn ends.
    pub(crate) fn copy_before_commit(&mut self, copies: Vec<Copy>) {
        self.turn.copies.extend(copies);
    }

    /// Nobody waits for what the running turn writes, unless it has written already.
    pub(crate) fn allow_unconfirmed_turn(&mut self) {
        let written = self.lock_storage().has_written();
        self.turn.unconfirmed |= !written;
    }

    /// Sends something when the turn ends.
    pub(crate) fn send(&mut self, effect: Effect) {
        self.turn.effects.push(effect);
    }

    /// Writes a line of the guest to the operator's log.
    pub(crate) fn log(&self, level: tracing::Level, message: &str) {
        self.control
            .log(&self.object.describe(&self.identity.path), level, message);
    }
}
