//! Bodies between the network and a facet's pipes. A piece leaves when what it may reveal is durable; a body that breaks
//! off on one side breaks off on the other.

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::access::Admitted;
use crate::Host;
use crate::limits::{PIECE_BYTES_MAX, PIPE_PIECES_MAX};
use crate::live::{HttpBody, Piece};
use crate::storage::Lsn;

/// A request's body, pulled while the facet reads it.
pub(super) fn incoming(body: Body, runtime: &Handle) -> HttpBody {
    if http_body::Body::is_end_stream(&body) {
        return HttpBody::Bytes(Bytes::new());
    }
    let (pipe, reader) = mpsc::channel(PIPE_PIECES_MAX);
    runtime.spawn(async move {
        let mut pieces = body.into_data_stream();
        loop {
            let piece = tokio::select! {
                // The facet has dropped the body: nobody waits for a client that has stalled.
                () = pipe.closed() => return,
                piece = pieces.next() => piece,
            };
            let mut bytes = match piece {
                None => break,
                Some(Ok(bytes)) => bytes,
                // Broken off: without an `End` the facet can tell.
                Some(Err(_)) => return,
            };
            while !bytes.is_empty() {
                let piece = bytes.split_to(PIECE_BYTES_MAX.min(bytes.len()));
                if pipe.send(Piece::Bytes(piece, Lsn::ZERO)).await.is_err() {
                    return;
                }
            }
        }
        let _ = pipe.send(Piece::End(Lsn::ZERO)).await;
    });
    HttpBody::Pipe(reader)
}

/// A response's body; the request counts as under way until its end.
pub(super) fn outgoing(body: HttpBody, host: Host, admitted: Admitted) -> Body {
    let reader = match body {
        HttpBody::Bytes(bytes) => return Body::from(bytes),
        HttpBody::Pipe(reader) => reader,
    };
    let pieces = stream::unfold(Some((reader, host, admitted)), async |state| {
        let (mut reader, host, admitted) = state?;
        match reader.recv().await {
            Some(Piece::Bytes(bytes, dep)) => match host.durable(dep).await {
                Ok(()) => Some((Ok(bytes), Some((reader, host, admitted)))),
                Err(error) => Some((Err(std::io::Error::other(error.to_string())), None)),
            },
            Some(Piece::End(dep)) => match host.durable(dep).await {
                Ok(()) => None,
                Err(error) => Some((Err(std::io::Error::other(error.to_string())), None)),
            },
            None => Some((Err(std::io::Error::other("the facet broke the body off")), None)),
        }
    });
    Body::from_stream(pieces)
}
