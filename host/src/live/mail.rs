//! What travels between facets. A piece of mail is answered exactly once: by its facet, or by being dropped.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::error::CallError;
use crate::ids::{FacetName, ObjectId};
use crate::live::{Stub, Waited};
use crate::object::{EventId, NodeId};
use crate::startup::Payload;
use crate::storage::Lsn;

/// What a method answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) value: Payload,
    pub(crate) stubs: Vec<Stub>,
}

/// A facet that waits for the event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ChainLink {
    pub(crate) object: ObjectId,
    pub(crate) node: NodeId,
}

/// Who waits for whom, the first caller first (S16).
pub(crate) type Chain = Arc<Vec<ChainLink>>;

/// An answer and the commit that it may reveal.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    pub(crate) result: Result<T, CallError>,
    /// Nothing of this leaves the object before the journal is durable up to here (S20).
    pub(crate) dep: Lsn,
}

/// Where an answer goes. Dropped unused, it tells the caller that the facet was lost.
#[derive(Debug)]
pub(crate) struct ReplyTo<T> {
    sender: oneshot::Sender<Reply<T>>,
    /// The caller's wait, if it is one that others may have to follow.
    waited: Option<Waited>,
}

/// The caller's end of a `ReplyTo`.
pub(crate) type Delivered<T> = oneshot::Receiver<Reply<T>>;

impl<T> ReplyTo<T> {
    pub(crate) fn new() -> (Self, Delivered<T>) {
        Self::of(None)
    }

    /// The answer to a call of a facet to one of its own tree.
    pub(crate) fn of(waited: Option<Waited>) -> (Self, Delivered<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self { sender, waited }, receiver)
    }

    /// The callee has taken the event, under this number.
    pub(crate) fn taken(&self, event: EventId) {
        if let Some(waited) = &self.waited {
            waited.taken(event);
        }
    }

    /// Waits until nobody waits for the answer any more.
    pub(crate) async fn dropped(&mut self) {
        self.sender.closed().await;
    }

    pub(crate) fn send(self, result: Result<T, CallError>, dep: Lsn) {
        let Self { sender, waited } = self;
        // First: whom the answer wakes may be called at once.
        drop(waited);
        // The caller may have stopped waiting; that is its own business.
        let _ = sender.send(Reply { result, dep });
    }
}

/// A piece of an HTTP body on its way.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes, Lsn),
    /// The end. A channel that closes without it was broken off.
    End(Lsn),
}

/// A body to be read once.
#[derive(Debug)]
pub(crate) enum HttpBody {
    Bytes(Bytes),
    Pipe(mpsc::Receiver<Piece>),
}

/// A request to a root facet.
#[derive(Debug)]
pub(crate) struct HttpRequest {
    pub(crate) method: String,
    /// Path and query after the object's address.
    pub(crate) uri: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: HttpBody,
}

/// What a root facet answers to one.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: HttpBody,
}

/// How an alarm's event ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AlarmEnd {
    /// The handler has run, well or not, or would have if the facet could be started; the row says what comes next.
    Ran,
    /// There is no alarm, or not for now.
    NotDue(Option<u64>),
    /// It is due, and the class of the facet has no handler.
    NoHandler,
}

/// What is asked of a facet.
#[derive(Debug)]
pub(crate) enum Work {
    Call {
        method: String,
        args: Payload,
        stubs: Vec<Stub>,
        badge: Arc<str>,
        reply: ReplyTo<Answer>,
    },
    Http {
        request: HttpRequest,
        reply: ReplyTo<HttpResponse>,
    },
    /// What a child fetches through its parent.
    Outbound {
        child: FacetName,
        request: HttpRequest,
        reply: ReplyTo<HttpResponse>,
    },
    /// Its alarm may be due. An error as the answer: it did not get to ask.
    Alarm {
        reply: ReplyTo<AlarmEnd>,
        /// The wait for a retry has passed that was to end then, whatever the clock says now.
        waited_ms: Option<u64>,
    },
}

impl Work {
    /// Answers an error instead of doing it.
    pub(crate) fn fail(self, error: CallError, dep: Lsn) {
        match self {
            Self::Call { reply, .. } => reply.send(Err(error), dep),
            Self::Http { reply, .. } | Self::Outbound { reply, .. } => reply.send(Err(error), dep),
            Self::Alarm { reply, .. } => reply.send(Err(error), dep),
        }
    }
}

/// What lies in a mailbox.
#[derive(Debug)]
pub(crate) enum Mail {
    Event {
        work: Work,
        chain: Chain,
        /// Dropped unseen after this (S17).
        deadline: Option<Instant>,
        dep: Lsn,
    },
    /// The watchdog thinks that the facet has been idle for long enough.
    Evict,
}

impl Mail {
    /// Who waits for this event.
    pub(crate) fn chain(&self) -> &[ChainLink] {
        match self {
            Self::Event { chain, .. } => chain,
            Self::Evict => &[],
        }
    }
}
