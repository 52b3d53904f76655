//! Making a call: it is queued in the turn, leaves when the turn ends, and its answer is waited for until the deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{CallError, Kind, Outcome};
use crate::isolate::{FacetState, time_is_up, until};
use crate::limits::{METHOD_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::live::{Answer, Call, Chain, ChainLink, Delivered, Effect, ReplyTo, Stub, WaitId, Waited};
use crate::object::{Cause, Epoch, EventId};
use crate::startup::Payload;
use crate::storage::Lsn;
use crate::sys::clock;

/// Calls, pieces and answers that one turn sends.
pub(super) const EFFECTS_PER_TURN_MAX: usize = 1_024;

/// A call or request that has been queued or has left.
#[derive(Debug)]
pub(crate) struct Outgoing<T = Answer> {
    pub(super) answer: Delivered<T>,
    pub(super) deadline: Option<Instant>,
    /// The callee's, where it is known: why the answer will never come.
    pub(super) epoch: Option<Arc<Epoch>>,
    /// If the callee is in the same tree.
    pub(super) waited: Option<Waited>,
}

/// `blocking-calls.pending`: a call that a blocking guest has started.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub struct PendingCall(pub(crate) Option<Outgoing>);

impl FacetState {
    /// Queues a call.
    pub(crate) fn queue_call(
        &mut self,
        event: Option<EventId>,
        to: Stub,
        method: String,
        args: Payload,
        stubs: Vec<Stub>,
        timeout_ms: Option<u32>,
    ) -> Result<Outgoing, CallError> {
        check_payload(&args)?;
        if method.len() > METHOD_BYTES_MAX {
            return Err(CallError::limit(
                "method",
                format!("method names have at most {METHOD_BYTES_MAX} bytes"),
            ));
        }
        self.check_transfer(&to, &stubs)?;
        if self.turn.effects.len() >= EFFECTS_PER_TURN_MAX {
            let message = format!("a turn makes at most {EFFECTS_PER_TURN_MAX} calls; wait for some");
            return Err(CallError::limit("fan-out", message));
        }
        let caller = event.and_then(|event| self.events.get(&event));
        let inherited = caller.and_then(|c| c.deadline);
        let timeout = timeout_ms.map(|ms| clock::now() + Duration::from_millis(ms.into()));
        let deadline = [inherited, timeout].into_iter().flatten().min();
        if inherited.is_some_and(|deadline| deadline <= clock::now()) {
            return Err(time_is_up());
        }
        let chain = caller.map_or_else(|| self.chain_of_all(), |c| c.chain.clone());
        let epoch = match &to {
            Stub::Facet(target) => Some(target.epoch.clone()),
            Stub::Object { .. } => None,
        };
        let within = self.object.within(&to);
        let waited = within.map(|callee| self.control.waits.begin(event, callee));
        let (reply, answer) = ReplyTo::of(waited.clone());
        self.send(Effect::Call(Call {
            to,
            method,
            args,
            stubs,
            chain,
            deadline,
            reply,
        }));
        Ok(Outgoing {
            answer,
            deadline,
            epoch,
            waited,
        })
    }

    /// Who waits for this facet when it is not known which event calls: everybody who waits for any.
    pub(super) fn chain_of_all(&self) -> Chain {
        let mut chain: Vec<ChainLink> = Vec::new();
        let own = ChainLink {
            object: self.object.id,
            node: self.control.node,
        };
        for link in self.events.values().flat_map(|event| event.chain.iter()).chain([&own]) {
            if !chain.contains(link) {
                chain.push(link.clone());
            }
        }
        Arc::new(chain)
    }

    /// S15: a facet stub stays in its tree.
    fn check_transfer(&self, to: &Stub, stubs: &[Stub]) -> Result<(), CallError> {
        let stays = match to {
            Stub::Facet(_) => true,
            Stub::Object { id, .. } => *id == self.object.id,
        };
        if stays || stubs.iter().all(|stub| matches!(stub, Stub::Object { .. })) {
            return Ok(());
        }
        let message = "a facet stub cannot be given to another object; pass what it answers instead";
        Err(CallError::new(Kind::NotTransferable, "", message))
    }
}

impl<T> Outgoing<T> {
    pub(crate) fn wait(&self) -> Option<WaitId> {
        self.waited.as_ref().map(Waited::id)
    }

    /// Waits for the answer. A deadline ends the waiting only.
    pub(crate) async fn answer(self) -> (Result<T, CallError>, Lsn) {
        let Self {
            answer,
            deadline,
            epoch,
            waited: _waited,
        } = self;
        let Some(answered) = until(deadline, answer).await else {
            let error = CallError::new(Kind::Deadline, "", "no answer came in time");
            return (Err(error.outcome(Outcome::Unknown)), Lsn::ZERO);
        };
        match answered {
            Ok(reply) => (reply.result, reply.dep),
            Err(_dropped) => {
                let cause = epoch.as_ref().and_then(|e| e.cause().cloned());
                (
                    Err(cause.as_deref().unwrap_or(&Cause::Unavailable).error(Outcome::Unknown)),
                    Lsn::ZERO,
                )
            }
        }
    }
}

/// S25: payloads are bounded.
pub(crate) fn check_payload(payload: &Payload) -> Result<(), CallError> {
    if payload.body.len() <= PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "a payload has at most {PAYLOAD_BYTES_MAX} bytes, this one has {}",
        payload.body.len()
    );
    Err(CallError::limit("payload", message))
}
