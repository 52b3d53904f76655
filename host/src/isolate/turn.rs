//! `seal_turn` ends a turn: commit, record, release. It is idempotent, and runs where a turn can end: in the first-polled
//! future of `run_concurrent`, which wasmtime 48 polls between every two resumptions of the guest and never inside one,
//! and on the way into a blocking import. (The first poll of a concurrent import runs inside the guest and is no boundary.)

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::Poll;

use crate::error::{CallError, Outcome};
use crate::isolate::{FacetState, GuestEnd, Pending, executor};
use crate::live::{Effect, Fate, HeldSources, Killed, Made, Sealed, TurnEnd};
use crate::object::{Cause, CopiesError, TurnChanges};
use crate::storage::{Copied, Lsn, Reservation, StorageError};

/// What the running turn has done beside writing.
#[derive(Default)]
pub(crate) struct Turn {
    pub(crate) touched_storage: bool,
    pub(crate) changes: TurnChanges,
    pub(crate) effects: Vec<Effect>,
    /// The turns in which those events entered whose answers are among the effects, in order.
    answered: Vec<u64>,
    /// Nobody waits for what it writes.
    unconfirmed: bool,
    /// Databases that were copied.
    copied: Vec<Copied>,
    copying: Option<Copying>,
}

/// The answer to an event that was sealed or lost with its facet before it could leave.
#[derive(Debug)]
pub(crate) struct Unreleased {
    pub(crate) pending: Pending,
    outcome: Outcome,
}

impl Unreleased {
    /// The facet is lost, for that reason.
    pub(crate) fn lose(self, cause: &Cause, dep: Lsn) {
        self.pending.fail(cause.error(self.outcome), dep);
    }
}

/// Those among a turn's effects who wait for an answer.
fn answers(effects: Vec<Effect>, outcome: impl FnMut() -> Outcome) -> Vec<Unreleased> {
    let pending = effects.into_iter().filter_map(|effect| match effect {
        Effect::Answer(reply, _) => Some(Pending::Call(reply)),
        Effect::Respond(reply, _) => Some(Pending::Http(reply)),
        Effect::Alarm(reply, _) => Some(Pending::Alarm(reply)),
        Effect::Call(_)
        | Effect::Fetch(_)
        | Effect::Outbound(_)
        | Effect::Piece(..)
        | Effect::Finish(_)
        | Effect::Sync(_) => None,
    });
    let outcomes = std::iter::repeat_with(outcome);
    pending
        .zip(outcomes)
        .map(|(pending, outcome)| Unreleased { pending, outcome })
        .collect()
}

impl Turn {
    /// Who still waits for an answer that it has given. `turns`: ended before it.
    fn lost_answers(&mut self, turns: u64) -> Vec<Unreleased> {
        let mut entered = std::mem::take(&mut self.answered).into_iter();
        // Of what entered in this very turn nothing is left.
        answers(std::mem::take(&mut self.effects), || match entered.next() {
            Some(entered_in) if entered_in == turns => Outcome::NotApplied,
            Some(_) | None => Outcome::Unknown,
        })
    }
}

/// What a turn that has cloned something waits for.
enum Copying {
    Holding(Pin<Box<dyn Future<Output = HeldSources> + Send>>),
    /// Answers which were not made.
    Making(Pin<Box<dyn Future<Output = Result<Made, CallError>> + Send>>),
}

impl FacetState {
    /// Ends the turn, if it did anything. While databases are copied for a `clone` the turn goes on, with the gate closed
    /// to all events that have not begun; `poll_copying` ends it then.
    pub(crate) fn seal_turn(&mut self) -> Result<(), GuestEnd> {
        self.limiter.refused = None;
        if self.turn.copying.is_some() {
            return Ok(());
        }
        if self.turn.changes.has_undecided() {
            self.gate.set_host(true);
            let nothing = HeldSources::default();
            self.turn.copying = Some(Copying::Holding(Box::pin(std::future::ready(nothing))));
            return Ok(());
        }
        if !self.turn.touched_storage && self.turn.effects.is_empty() && self.turn.changes.is_empty() {
            self.turns += 1;
            if self.control.turn_is_open.load(Ordering::SeqCst) {
                self.turn_is_over();
            }
            return Ok(());
        }
        self.commit()
    }

    /// Ends the turn by a commit, whatever is in it.
    pub(super) fn commit(&mut self) -> Result<(), GuestEnd> {
        self.settle_foreign_keys()?;
        if !self.control.begin_seal() {
            return Err(GuestEnd::Killed);
        }
        let mut committed = None;
        let room = self.room_for_changes()?;
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
                    if !error.transaction_lost() {
                        // Else the turn is not over but undone: events that entered in it were not applied (S18).
                        self.turns += 1;
                    }
                    return Err(GuestEnd::uncommitted(error));
                }
            };
            if committed.is_some() {
                self.control.storage_bytes.store(storage.bytes(), Ordering::Relaxed);
            }
        }
        self.turns += 1;
        self.turn.answered.clear();
        let wrote = committed.is_some();
        let turn = TurnEnd {
            file: self.identity.file,
            committed,
            changes: std::mem::take(&mut self.turn.changes),
            room,
            copied: std::mem::take(&mut self.turn.copied),
            effects: std::mem::take(&mut self.turn.effects),
            dep: self.dep,
            unconfirmed: std::mem::take(&mut self.turn.unconfirmed),
        };
        let ended = self.object.end_turn(&self.control, &mut self.forwarder, turn);
        // What was committed is waited for before the database is closed, by a facet that was killed as well.
        let (fate, ended) = match ended {
            Ok(Sealed { dep, fate }) => {
                self.dep = dep;
                (fate, Ok(()))
            }
            Err(Killed { dep, fate, effects }) => {
                self.dep = dep;
                self.unreleased = answers(effects, || Outcome::Unknown);
                (fate, Err(GuestEnd::Killed))
            }
        };
        if touched {
            let mut storage = self.lock_storage();
            match fate {
                Fate::Recorded(lsn) if wrote => storage.recorded(lsn),
                Fate::Recorded(_) => {}
                Fate::Forgotten => storage.forget_commit(),
            }
            if storage.must_checkpoint() {
                // Waits for the journal, and delays this facet only.
                let done = executor::block_in_place(|| storage.checkpoint());
                if let Err(error) = done {
                    let error = error.for_operator();
                    tracing::warn!(error, "a database cannot be checkpointed; its log grows");
                }
            }
        }
        self.turn_is_over();
        ended
    }

    /// Room in the journal for what the turn has changed of the tree, and for what copies differ in; deletes need none.
    fn room_for_changes(&self) -> Result<Option<Reservation>, GuestEnd> {
        let copied = self.turn.copied.iter().map(|copied| copied.pages.bytes.len() as u64);
        let bytes = self.turn.changes.recorded_bytes() as u64 + copied.sum::<u64>();
        if bytes == 0 {
            return Ok(None);
        }
        let journal = &self.object.host.journal;
        if let Some(why) = journal.stuck(self.object.id) {
            return Err(GuestEnd::uncommitted(StorageError::stuck(&why)));
        }
        let room = match journal.is_tight() {
            true => executor::block_in_place(|| journal.reserve(bytes)),
            false => journal.reserve(bytes),
        };
        // Nothing is committed yet: the turn is undone.
        room.map(Some)
            .map_err(|full| GuestEnd::uncommitted(StorageError::journal(full)))
    }

    /// A turn that had foreign keys off is looked at as a whole. The event pays for it, and an abort ends it: only then is the
    /// turn sealed.
    fn settle_foreign_keys(&mut self) -> Result<(), GuestEnd> {
        if !self.turn.touched_storage || !self.lock_storage().has_unchecked_references() {
            return Ok(());
        }
        let max_ms = self.identity.cpu_ms_max;
        match self.query(|storage| storage.settle_foreign_keys()) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.code() == "cpu" => Err(GuestEnd::Cpu(max_ms)),
            Ok(Err(error)) => Err(GuestEnd::uncommitted(error)),
            Err(error) => Err(error.downcast().unwrap_or(GuestEnd::Cpu(max_ms))),
        }
    }

    /// Whoever waits to hold this facet between two turns can.
    fn turn_is_over(&self) {
        self.control.turn_is_open.store(false, Ordering::SeqCst);
        self.control.storage_changed.notify_waiters();
    }

    /// True while databases are copied. When they all are, the turn ends.
    pub(super) fn poll_copying(&mut self, cx: &mut std::task::Context<'_>) -> Result<bool, GuestEnd> {
        let made = loop {
            match &mut self.turn.copying {
                None => return Ok(false),
                Some(Copying::Holding(holding)) => {
                    let Poll::Ready(held) = holding.as_mut().poll(cx) else {
                        return Ok(true);
                    };
                    self.turn.copying = Some(self.copy_or_hold(held)?);
                }
                Some(Copying::Making(making)) => match making.as_mut().poll(cx) {
                    Poll::Pending => return Ok(true),
                    Poll::Ready(Ok(made)) => break made,
                    Poll::Ready(Err(error)) => return Err(GuestEnd::Commit(error.message)),
                },
            }
        };
        self.turn.copying = None;
        self.gate.set_host(false);
        self.turn.copied.extend(made.copied);
        let changes = &mut self.turn.changes;
        self.object.decide(|tree, _| tree.unmake(changes, &made.unmade));
        if self.turn.changes.has_undecided() {
            // No event has come in, but those that were in flight went on meanwhile, and one has cloned something.
            self.seal_turn()?;
            return self.poll_copying(cx);
        }
        self.commit()?;
        Ok(false)
    }

    /// Copies what is committed at this moment, unless some of it is not held yet.
    fn copy_or_hold(&mut self, held: HeldSources) -> Result<Copying, GuestEnd> {
        let changes = &mut self.turn.changes;
        let fixed = self
            .object
            .decide(|tree, _| tree.fix_copies(changes, |node| held.contains(node)));
        let object = self.object.clone();
        match fixed {
            Ok(copies) => Ok(Copying::Making(Box::pin(object.copy_databases(held, copies)))),
            Err(CopiesError::NotHeld(sources)) => Ok(Copying::Holding(Box::pin(object.hold_sources(held, sources)))),
            Err(CopiesError::Tree(error)) => Err(GuestEnd::Commit(format!("the clone could not be made: {error}"))),
        }
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

    /// The turn is lost: neither its writes nor anything it sent have happened. Answers who waits for what it answered.
    pub(super) fn lose_turn(&mut self) -> Vec<Unreleased> {
        let mut turn = std::mem::take(&mut self.turn);
        // First, so that what is still being copied is known to be unwanted before its files are removed.
        turn.copying = None;
        self.lock_storage().discard_turn();
        let lost = turn.lost_answers(self.turns);
        self.object.undo(turn.changes);
        self.turn_is_over();
        lost
    }

    /// What the turn has done to the tree so far.
    pub(crate) fn changes(&mut self) -> &mut TurnChanges {
        &mut self.turn.changes
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

    /// Answers an event when the turn ends.
    pub(super) fn send_answer(&mut self, entered_in: u64, effect: Effect) {
        self.turn.answered.push(entered_in);
        self.send(effect);
    }

    /// Writes a line of the guest to the operator's log.
    pub(crate) fn log(&self, level: tracing::Level, message: &str) {
        self.control
            .log(&self.object.describe(&self.identity.path), level, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::live::{Answer, Delivered, ReplyTo};
    use crate::startup::Payload;

    fn answer(result: Payload) -> (Effect, Delivered<Answer>) {
        let (reply, answered) = ReplyTo::new();
        let answer = Answer {
            value: result,
            stubs: Vec::new(),
        };
        (Effect::Answer(reply, Ok(answer)), answered)
    }

    #[test]
    fn who_was_answered_by_a_lost_turn_hears_why_and_whether_anything_stays() {
        let mut turn = Turn::default();
        let (told, _waits) = tokio::sync::oneshot::channel();
        let (before, mut heard_before) = answer(Payload::empty());
        let (within, mut heard_within) = answer(Payload::empty());
        // Not all that a turn sends is an answer.
        turn.effects = vec![before, Effect::Sync(told), within];
        turn.answered = vec![2, 3];
        let cause = Cause::Broken {
            code: "wall",
            message: "too long".into(),
        };
        for lost in turn.lost_answers(3) {
            lost.lose(&cause, Lsn::local(7));
        }
        for (heard, outcome) in [
            (&mut heard_before, Outcome::Unknown),
            (&mut heard_within, Outcome::NotApplied),
        ] {
            let reply = heard.try_recv().expect("nobody is left without an answer");
            let error = reply.result.expect_err("the turn is lost");
            assert_eq!(
                (error.kind, &*error.code, error.outcome),
                (Kind::Broken, "wall", outcome)
            );
            assert_eq!(reply.dep, Lsn::local(7));
        }
    }
}
