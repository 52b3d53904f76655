//! Requests on their way out: to the network when everything they could reveal is durable (S20), or to the parent, within the
//! object, at once. Who does not wait for the answer any more has no request under way: it is dropped wherever it is.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::debug;

use crate::egress::{BODY_BYTES_MAX, EgressError, RequestBody, RequestHead, Response, ResponseBody, Sent};
use crate::error::{CallError, Outcome};
use crate::host::HostInner;
use crate::ids::FacetName;
use crate::isolate::until;
use crate::limits::PIECE_BYTES_MAX;
use crate::live::object::{Inner, refuse};
use crate::live::{Chain, HttpBody, HttpRequest, HttpResponse, Mail, Object, Piece, ReplyTo, Work};
use crate::object::NodeId;
use crate::storage::Lsn;

/// Pieces of a response's body that wait for their reader; one is what hyper reads at a time, some 64 KiB at most.
const RESPONSE_PIECES_MAX: usize = 8;

/// A request for the network; its host is on the list.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) head: RequestHead,
    pub(crate) body: HttpBody,
    pub(crate) deadline: Option<Instant>,
    pub(crate) reply: ReplyTo<HttpResponse>,
    /// Of the facet's requests; given back at the end of the response's body.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// A request for the parent.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) parent: NodeId,
    pub(crate) child: FacetName,
    pub(crate) request: HttpRequest,
    pub(crate) chain: Chain,
    pub(crate) deadline: Option<Instant>,
    pub(crate) reply: ReplyTo<HttpResponse>,
}

impl Inner {
    pub(super) fn release_outbound(&mut self, object: &Arc<Object>, outbound: Outbound, dep: Lsn) {
        let Outbound {
            parent,
            child,
            request,
            chain,
            deadline,
            reply,
        } = outbound;
        if let Err(refused) = self.may_enter(object, &chain, Some(parent)) {
            return reply.send(Err(refused), dep);
        }
        let mail = Mail::Event {
            work: Work::Outbound { child, request, reply },
            chain,
            deadline,
            dep,
        };
        if let Err(refused) = self.deliver(object, parent, None, mail) {
            refuse(refused);
        }
    }
}

impl Fetch {
    /// Off it goes, in a task of its own.
    pub(super) fn leave(self, object: &Arc<Object>, dep: Lsn) {
        let object = object.clone();
        object.host.runtime.clone().spawn(async move {
            let Self {
                head,
                body,
                deadline,
                mut reply,
                permit,
            } = self;
            let sent = Sent::default();
            let result = tokio::select! {
                biased;
                () = reply.dropped() => return,
                result = until(deadline, send(&object, head, body, dep, &sent)) => result,
            };
            // What follows needs nothing of it: it may be unloaded.
            drop(object);
            let outcome = match sent.get() {
                true => Outcome::Unknown,
                false => Outcome::NotApplied,
            };
            let result = result.unwrap_or_else(|| Err(EgressError::Deadline.into()));
            match result {
                Ok(response) => receive(response, reply, permit).await,
                Err(error) if error.outcome == Outcome::Unknown => reply.send(Err(error), Lsn::ZERO),
                Err(error) => reply.send(Err(error.outcome(outcome)), Lsn::ZERO),
            }
        });
    }
}

async fn send(
    object: &Arc<Object>,
    head: RequestHead,
    body: HttpBody,
    dep: Lsn,
    sent: &Sent,
) -> Result<Response, CallError> {
    let host = &object.host;
    host.durable(dep).await?;
    let body = outgoing(body, host.clone());
    Ok(host.egress.fetch(&object.namespace.egress, head, body, sent).await?)
}

type Left = Option<(mpsc::Receiver<Piece>, Arc<HostInner>, u64)>;

fn broken_off(why: String) -> Option<(std::io::Result<Frame<Bytes>>, Left)> {
    Some((Err(std::io::Error::other(why)), None))
}

/// A body on its way out: each piece when it is durable, and no more in all than may be.
fn outgoing(body: HttpBody, host: Arc<HostInner>) -> RequestBody {
    let reader = match body {
        // Never so long as to be too long.
        HttpBody::Bytes(bytes) => return Full::new(bytes).map_err(|never| match never {}).boxed(),
        HttpBody::Pipe(reader) => reader,
    };
    let pieces = stream::unfold(Some((reader, host, BODY_BYTES_MAX)), async |state| {
        let (mut reader, host, left) = state?;
        match reader.recv().await {
            Some(Piece::Bytes(bytes, dep)) => {
                let Some(left) = left.checked_sub(bytes.len() as u64) else {
                    return broken_off(format!("it has more than {BODY_BYTES_MAX} bytes"));
                };
                match host.durable(dep).await {
                    Ok(()) => Some((Ok(Frame::data(bytes)), Some((reader, host, left)))),
                    Err(failed) => broken_off(failed.to_string()),
                }
            }
            Some(Piece::End(dep)) => match host.durable(dep).await {
                Ok(()) => None,
                Err(failed) => broken_off(failed.to_string()),
            },
            None => broken_off("who writes it has dropped it".into()),
        }
    });
    StreamBody::new(pieces).boxed()
}

/// Answers, and lets the body follow as it comes and is read.
async fn receive(response: Response, reply: ReplyTo<HttpResponse>, permit: OwnedSemaphorePermit) {
    let Response { status, headers, body } = response;
    let headers = headers.iter();
    let (pipe, reader) = mpsc::channel(RESPONSE_PIECES_MAX);
    let answer = HttpResponse {
        status,
        headers: headers
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        body: HttpBody::Pipe(reader),
    };
    reply.send(Ok(answer), Lsn::ZERO);
    tokio::select! {
        // The body was dropped, or the facet has ended.
        () = pipe.closed() => {}
        () = follow(body, &pipe) => {}
    }
    drop(permit);
}

async fn follow(mut body: ResponseBody, pipe: &mpsc::Sender<Piece>) {
    while let Some(piece) = body.next().await {
        let mut bytes = match piece {
            Ok(bytes) => bytes,
            // Broken off: without an `End` the facet can tell.
            Err(why) => return debug!(why, "the body of a response was broken off"),
        };
        while !bytes.is_empty() {
            let piece = bytes.split_to(PIECE_BYTES_MAX.min(bytes.len()));
            if pipe.send(Piece::Bytes(piece, Lsn::ZERO)).await.is_err() {
                return;
            }
        }
    }
    let _ = pipe.send(Piece::End(Lsn::ZERO)).await;
}
