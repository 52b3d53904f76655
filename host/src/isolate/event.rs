//! An event is one delivery to a facet. It is answered once; if the facet is lost first, the answer says whether anything
//! of the event can have stayed (S18).

use std::time::Instant;

use crate::error::{CallError, Outcome};
use crate::live::{AlarmEnd, Answer, Chain, HttpResponse, ReplyTo};
use crate::object::Cause;
use crate::storage::Lsn;

/// Who waits for the event.
#[derive(Debug)]
pub(crate) enum Pending {
    Call(ReplyTo<Answer>),
    Http(ReplyTo<HttpResponse>),
    Alarm(ReplyTo<AlarmEnd>),
    /// The start hook; nobody but the isolate itself.
    Start,
}

impl Pending {
    pub(crate) fn fail(self, error: CallError, dep: Lsn) {
        match self {
            Self::Call(reply) => reply.send(Err(error), dep),
            Self::Http(reply) => reply.send(Err(error), dep),
            // What becomes of it is in the facet's row.
            Self::Alarm(reply) => reply.send(Ok(AlarmEnd::Ran), dep),
            Self::Start => {}
        }
    }
}

/// An event that has entered the guest and has not been answered.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) pending: Pending,
    /// Those who wait for it, the facet itself last: the chain of the calls it makes.
    pub(crate) chain: Chain,
    pub(crate) deadline: Option<Instant>,
    /// `sys::clock::monotonic_ms` at which it has taken too long.
    pub(crate) wall_deadline_ms: u64,
    /// The turn it entered in; while that one is not over, all it did can be undone.
    pub(crate) entered_in: u64,
    pub(crate) cpu_ns: u64,
    /// A statement of it was stopped, and it was given some time to end with.
    pub(crate) had_grace: bool,
}

impl Event {
    /// The facet is lost in turn number `turn`.
    pub(crate) fn lose(self, cause: &Cause, turn: u64, dep: Lsn) {
        let outcome = if self.entered_in == turn {
            Outcome::NotApplied
        } else {
            Outcome::Unknown
        };
        self.pending.fail(cause.error(outcome), dep);
    }
}
