//! What a turn sends waits for the turn's commit and is then released in order, under the object's lock (S19). Inside the
//! object it carries its dep along; to other objects it goes through a forwarder, which waits for durability (S20).

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::error::{CallError, Kind};
use crate::host::HostInner;
use crate::limits::{CALL_CHAIN_MAX, IN_FLIGHT_MAX, MAILBOX_LEN_MAX};
use crate::live::object::{Inner, refuse};
use crate::live::{
    AlarmEnd, Answer, Chain, ChainLink, Fetch, HttpResponse, Mail, Object, Outbound, Piece, ReplyTo, Stub, Work,
};
use crate::object::{NodeId, is_never_taken};
use crate::startup::Payload;
use crate::storage::Lsn;

/// A call on its way out of a facet.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) to: Stub,
    pub(crate) method: String,
    pub(crate) args: Payload,
    pub(crate) stubs: Vec<Stub>,
    pub(crate) chain: Chain,
    pub(crate) deadline: Option<Instant>,
    pub(crate) reply: ReplyTo<Answer>,
}

/// Something that leaves a facet at the end of a turn.
#[derive(Debug)]
pub(crate) enum Effect {
    Call(Call),
    Answer(ReplyTo<Answer>, Result<Answer, CallError>),
    Respond(ReplyTo<HttpResponse>, Result<HttpResponse, CallError>),
    Fetch(Fetch),
    Outbound(Outbound),
    /// Tells the scheduler that it may deliver the next alarm.
    Alarm(ReplyTo<AlarmEnd>, AlarmEnd),
    /// A piece of a body; room for it has been reserved.
    Piece(mpsc::OwnedPermit<Piece>, bytes::Bytes),
    /// The end of a body; waits for room, for the pipe may be full.
    Finish(mpsc::Sender<Piece>),
    /// Tells a `durability.sync` what to wait for.
    Sync(oneshot::Sender<Lsn>),
}

/// Calls to other objects, in order; each waits until the journal is durable up to its dep.
pub(crate) type Forwarder = mpsc::Sender<(Call, Lsn)>;

/// Calls that wait in a forwarder: as many as could be in flight from one facet's events.
const FORWARD_LEN_MAX: usize = MAILBOX_LEN_MAX * IN_FLIGHT_MAX;

impl Inner {
    /// Releases one effect.
    pub(super) fn release(
        &mut self,
        object: &Arc<Object>,
        forwarder: &mut Option<Forwarder>,
        effect: Effect,
        dep: Lsn,
    ) {
        match effect {
            Effect::Answer(to, result) => to.send(result, dep),
            Effect::Respond(to, result) => to.send(result, dep),
            Effect::Fetch(fetch) => fetch.leave(object, dep),
            Effect::Outbound(outbound) => self.release_outbound(object, outbound, dep),
            Effect::Alarm(to, end) => to.send(Ok(end), dep),
            Effect::Piece(room, bytes) => {
                room.send(Piece::Bytes(bytes, dep));
            }
            Effect::Finish(pipe) => {
                object
                    .host
                    .runtime
                    .spawn(async move { pipe.send(Piece::End(dep)).await });
            }
            Effect::Sync(tell) => {
                let _ = tell.send(dep);
            }
            Effect::Call(call) => self.release_call(object, forwarder, call, dep),
        }
    }

    fn release_call(&mut self, object: &Arc<Object>, forwarder: &mut Option<Forwarder>, call: Call, dep: Lsn) {
        if let Err(refused) = self.may_enter(object, &call.chain, object.within(&call.to)) {
            return call.reply.send(Err(refused), dep);
        }
        let target = match &call.to {
            Stub::Facet(target) => target.clone(),
            Stub::Object { .. } => {
                let queue = forwarder.get_or_insert_with(|| spawn_forwarder(object.host.clone()));
                if let Err(error) = queue.try_send((call, dep)) {
                    let (call, dep) = error.into_inner();
                    let message = format!("{FORWARD_LEN_MAX} calls to other objects wait already");
                    call.reply.send(Err(CallError::limit("fan-out", message)), dep);
                }
                return;
            }
        };
        let Call {
            method,
            args,
            stubs,
            chain,
            deadline,
            reply,
            ..
        } = call;
        let work = Work::Call {
            method,
            args,
            stubs,
            badge: target.badge.clone(),
            reply,
        };
        let mail = Mail::Event {
            work,
            chain,
            deadline,
            dep,
        };
        if let Err(refused) = self.deliver(object, target.node, Some(&target.epoch), mail) {
            refuse(refused);
        }
    }

    /// S16: would the event that these wait for ever be taken? `within`: the callee, if it is in this tree.
    pub(super) fn may_enter(
        &self,
        object: &Object,
        chain: &[ChainLink],
        within: Option<NodeId>,
    ) -> Result<(), CallError> {
        if chain.len() > CALL_CHAIN_MAX {
            let message = format!("more than {CALL_CHAIN_MAX} facets wait for each other");
            return Err(CallError::limit("chain", message));
        }
        if within.is_some_and(|callee| self.is_held_in(object, chain, callee) || self.is_never_taken(callee)) {
            return Err(reentrant());
        }
        Ok(())
    }

    /// S16: the callee waits for the caller, and can take no event before it has its answer.
    fn is_held_in(&self, object: &Object, chain: &[ChainLink], node: NodeId) -> bool {
        let link = ChainLink {
            object: object.id,
            node,
        };
        if !chain.contains(&link) {
            return false;
        }
        let running = self
            .tree
            .live_at(node)
            .and_then(|incarnation| self.control(incarnation));
        running.is_some_and(|control| control.waits.is_held())
    }

    /// S16: the callee waits, over however many others and events, for this very call.
    fn is_never_taken(&self, callee: NodeId) -> bool {
        let control = |node| self.control(self.tree.live_at(node)?);
        control(callee).is_some_and(|callee| callee.waits.is_held())
            && is_never_taken(callee, |node| control(node).map(|control| control.waits.look()))
    }
}

fn reentrant() -> CallError {
    let message = "the callee waits for this very call, and takes no other before; it would never return";
    CallError::new(Kind::ReentrantCall, "", message)
}

fn spawn_forwarder(host: Arc<HostInner>) -> Forwarder {
    let (sender, mut queue) = mpsc::channel::<(Call, Lsn)>(FORWARD_LEN_MAX);
    let runtime = host.runtime.clone();
    runtime.spawn(async move {
        while let Some((call, dep)) = queue.recv().await {
            if let Err(error) = host.durable(dep).await {
                call.reply.send(Err(error), dep);
                continue;
            }
            let Stub::Object { namespace, id, name } = &call.to else {
                continue;
            };
            match host.object(namespace, *id, name.as_ref()) {
                Ok(object) => forward(&host, &object, call),
                Err(error) => call.reply.send(Err(error), Lsn::ZERO),
            }
        }
    });
    sender
}

/// Delivers to another object and passes its answer on once that is durable there.
fn forward(host: &Arc<HostInner>, object: &Arc<Object>, call: Call) {
    let Call {
        method,
        args,
        stubs,
        chain,
        deadline,
        reply,
        ..
    } = call;
    let (reply_here, answered) = ReplyTo::new();
    let work = Work::Call {
        method,
        args,
        stubs,
        badge: "".into(),
        reply: reply_here,
    };
    let mail = Mail::Event {
        work,
        chain,
        deadline,
        dep: Lsn::ZERO,
    };
    let root = object.root();
    if object.lock().is_held_in(object, mail.chain(), root) {
        return reply.send(Err(reentrant()), Lsn::ZERO);
    }
    let epoch = match object.deliver(root, None, mail) {
        Ok(epoch) => epoch,
        Err((error, _)) => return reply.send(Err(error), Lsn::ZERO),
    };
    let host = host.clone();
    host.runtime.clone().spawn(async move {
        let result = host.outside(answered, &epoch).await;
        reply.send(result, Lsn::ZERO);
    });
}
