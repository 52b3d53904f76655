//! `facetd:runtime/http-types`, `bodies` and its blocking twin: bodies are pulled and pushed piece by piece, with a limit
//! on what waits in between.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};
use wasmtime::AsContextMut;
use wasmtime::component::{Accessor, HasSelf, Resource};

use crate::bindings::convert::{Answered, answered};
use crate::bindings::wit::facetd::runtime::http_types::{self, Header, Request, Response};
use crate::bindings::wit::facetd::runtime::{blocking_bodies, bodies};
use crate::error::{CallError, Kind, Outcome};
use crate::isolate::{FacetState, current_event, time_is_up, until};
use crate::limits::{PAYLOAD_BYTES_MAX, PIECE_BYTES_MAX, PIPE_PIECES_MAX};
use crate::live::{Effect, HttpBody, HttpRequest, HttpResponse, Piece};
use crate::storage::Lsn;

/// Headers of one request or response.
const HEADERS_MAX: usize = 100;

/// `http-types.body`.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub struct BodyEntry {
    /// Shared with a read that is under way: a guest may drop the handle meanwhile.
    source: Arc<Mutex<Source>>,
}

#[derive(Debug)]
struct Source {
    /// What was pulled and not asked for yet.
    rest: Bytes,
    pipe: Option<mpsc::Receiver<Piece>>,
}

/// `http-types.body-writer`; dropping it breaks the body off.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub struct WriterEntry {
    pipe: mpsc::Sender<Piece>,
}

impl BodyEntry {
    fn new(body: HttpBody) -> Self {
        let (rest, pipe) = match body {
            HttpBody::Bytes(bytes) => (bytes, None),
            HttpBody::Pipe(pipe) => (Bytes::new(), Some(pipe)),
        };
        Self {
            source: Arc::new(Mutex::new(Source { rest, pipe })),
        }
    }

    /// None while a read is under way.
    fn into_body(self) -> Option<HttpBody> {
        let source = Arc::try_unwrap(self.source).ok()?.into_inner();
        match source.pipe {
            None => Some(HttpBody::Bytes(source.rest)),
            Some(pipe) if source.rest.is_empty() => Some(HttpBody::Pipe(pipe)),
            // Begun to be read, and then passed on: the part pulled already would be lost.
            Some(_) => None,
        }
    }
}

impl Source {
    async fn read(&mut self, max_bytes: u32) -> (Result<Option<Vec<u8>>, CallError>, Lsn) {
        let max = PIECE_BYTES_MAX.min(max_bytes.max(1) as usize);
        let mut dep = Lsn::ZERO;
        while self.rest.is_empty() {
            let Some(pipe) = &mut self.pipe else {
                return (Ok(None), dep);
            };
            match pipe.recv().await {
                Some(Piece::Bytes(bytes, of)) => {
                    self.rest = bytes;
                    dep = of;
                }
                Some(Piece::End(of)) => {
                    self.pipe = None;
                    dep = of;
                }
                None => {
                    let message = "the sender broke the body off";
                    return (Err(CallError::new(Kind::Unavailable, "body", message)), dep);
                }
            }
        }
        let piece = self.rest.split_to(max.min(self.rest.len()));
        (Ok(Some(piece.to_vec())), dep)
    }
}

/// The next piece, or the error of an event that has no more time; then nothing is lost of the body.
async fn read(
    source: Arc<Mutex<Source>>,
    max_bytes: u32,
    deadline: Option<Instant>,
) -> (Result<Option<Vec<u8>>, CallError>, Lsn) {
    let piece = until(deadline, async { source.lock().await.read(max_bytes).await }).await;
    piece.unwrap_or_else(|| (Err(time_is_up()), Lsn::ZERO))
}

/// Room for one more piece.
async fn room(pipe: mpsc::Sender<Piece>, deadline: Option<Instant>) -> Result<mpsc::OwnedPermit<Piece>, CallError> {
    match until(deadline, pipe.reserve_owned()).await {
        Some(Ok(room)) => Ok(room),
        Some(Err(_closed)) => Err(reader_gone()),
        None => Err(time_is_up()),
    }
}

fn check_piece(chunk: &[u8]) -> Result<(), CallError> {
    if chunk.len() > PIECE_BYTES_MAX {
        return Err(CallError::limit(
            "piece",
            format!("a piece has at most {PIECE_BYTES_MAX} bytes"),
        ));
    }
    Ok(())
}

fn reader_gone() -> CallError {
    CallError::new(Kind::Unavailable, "body", "the reader of the body has gone")
}

/// Gives a request to the guest.
pub(crate) fn request_in(state: &mut FacetState, request: HttpRequest) -> Result<Request, CallError> {
    let HttpRequest {
        method,
        uri,
        headers,
        body,
    } = request;
    let headers = headers
        .into_iter()
        .map(|(name, value)| Header { name, value })
        .collect();
    Ok(Request {
        method,
        uri,
        headers,
        body: state.keep(BodyEntry::new(body))?,
    })
}

/// Takes a request from the guest.
pub(super) fn request_out(state: &mut FacetState, request: Request) -> Result<HttpRequest, CallError> {
    let Request {
        method,
        uri,
        headers,
        body,
    } = request;
    let body = state.table.delete(body).ok().and_then(BodyEntry::into_body);
    let body = body.ok_or_else(|| CallError::invalid("the body of the request has been read already"))?;
    Ok(HttpRequest {
        method,
        uri,
        headers: headers.into_iter().map(|header| (header.name, header.value)).collect(),
        body,
    })
}

/// Gives a response to the guest.
pub(super) fn response_in(state: &mut FacetState, response: HttpResponse) -> Result<Response, CallError> {
    let HttpResponse { status, headers, body } = response;
    let headers = headers
        .into_iter()
        .map(|(name, value)| Header { name, value })
        .collect();
    // It was sent, and what came back is lost.
    let body = state
        .keep(BodyEntry::new(body))
        .map_err(|error| error.outcome(Outcome::Unknown))?;
    Ok(Response { status, headers, body })
}

/// Takes a response from the guest.
pub(crate) fn response_out(state: &mut FacetState, response: Response) -> Result<HttpResponse, CallError> {
    let Response { status, headers, body } = response;
    let body = state.table.delete(body).ok().and_then(BodyEntry::into_body);
    let body = body.ok_or_else(|| {
        CallError::invalid("the body of the response has been read already").outcome(Outcome::Applied)
    })?;
    if headers.len() > HEADERS_MAX {
        let message = format!("a response has at most {HEADERS_MAX} headers");
        return Err(CallError::limit("headers", message).outcome(Outcome::Applied));
    }
    let headers = headers.into_iter().map(|header| (header.name, header.value)).collect();
    Ok(HttpResponse { status, headers, body })
}

impl FacetState {
    fn new_pipe(&mut self) -> wasmtime::Result<(Resource<WriterEntry>, Resource<BodyEntry>)> {
        self.alive()?;
        let (pipe, reader) = mpsc::channel(PIPE_PIECES_MAX);
        let body = self.keep(BodyEntry::new(HttpBody::Pipe(reader)))?;
        Ok((self.keep(WriterEntry { pipe })?, body))
    }

    fn finish_pipe(&mut self, writer: Resource<WriterEntry>) -> wasmtime::Result<()> {
        self.alive()?;
        let WriterEntry { pipe } = self.table.delete(writer)?;
        self.send(Effect::Finish(pipe));
        Ok(())
    }
}

impl http_types::Host for FacetState {}

impl http_types::HostBody for FacetState {
    fn of_bytes(&mut self, bytes: Vec<u8>) -> wasmtime::Result<Resource<BodyEntry>> {
        self.alive()?;
        if bytes.len() > PAYLOAD_BYTES_MAX {
            let message = format!("a body given at once has at most {PAYLOAD_BYTES_MAX} bytes; use bodies.pipe");
            return Err(CallError::limit("payload", message).into());
        }
        Ok(self.keep(BodyEntry::new(HttpBody::Bytes(bytes.into())))?)
    }

    fn drop(&mut self, body: Resource<BodyEntry>) -> wasmtime::Result<()> {
        self.table.delete(body)?;
        Ok(())
    }
}

impl http_types::HostBodyWriter for FacetState {
    fn drop(&mut self, writer: Resource<WriterEntry>) -> wasmtime::Result<()> {
        self.table.delete(writer)?;
        Ok(())
    }
}

impl bodies::Host for FacetState {
    fn pipe(&mut self) -> wasmtime::Result<(Resource<WriterEntry>, Resource<BodyEntry>)> {
        self.new_pipe()
    }

    fn finish(&mut self, writer: Resource<WriterEntry>) -> wasmtime::Result<()> {
        self.finish_pipe(writer)
    }
}

impl bodies::HostWithStore<FacetState> for HasSelf<FacetState> {
    async fn read(
        accessor: &Accessor<FacetState, Self>,
        body: Resource<BodyEntry>,
        max_bytes: u32,
    ) -> Answered<Option<Vec<u8>>> {
        let (event, gate, deadline, source) = accessor.with(|mut access| {
            let event = current_event(access.as_context_mut());
            let state = access.get();
            state.alive()?;
            let source = state.table.get(&body)?.source.clone();
            wasmtime::error::Ok((event, state.gate.clone(), state.deadline_of(event), source))
        })?;
        let (piece, dep) = gate.wait(event, read(source, max_bytes, deadline)).await;
        accessor.with(|mut access| {
            let state = access.get();
            state.dep = state.dep.max(dep);
        });
        answered(piece)
    }

    async fn write(
        accessor: &Accessor<FacetState, Self>,
        writer: Resource<WriterEntry>,
        chunk: Vec<u8>,
    ) -> Answered<()> {
        if let Err(error) = check_piece(&chunk) {
            return answered(Err(error));
        }
        let (event, gate, deadline, pipe) = accessor.with(|mut access| {
            let event = current_event(access.as_context_mut());
            let state = access.get();
            state.alive()?;
            let pipe = state.table.get(&writer)?.pipe.clone();
            wasmtime::error::Ok((event, state.gate.clone(), state.deadline_of(event), pipe))
        })?;
        let room = gate.wait(event, room(pipe, deadline)).await;
        accessor.with(|mut access| answered(room.map(|room| access.get().send(Effect::Piece(room, chunk.into())))))
    }
}

impl blocking_bodies::Host for FacetState {
    async fn read(&mut self, body: Resource<BodyEntry>, max_bytes: u32) -> Answered<Option<Vec<u8>>> {
        let source = self.table.get(&body)?.source.clone();
        let deadline = self.deadline_of(self.sole_event());
        self.begin_block().await?;
        let (piece, dep) = read(source, max_bytes, deadline).await;
        self.dep = self.dep.max(dep);
        self.end_block()?;
        answered(piece)
    }

    fn pipe(&mut self) -> wasmtime::Result<(Resource<WriterEntry>, Resource<BodyEntry>)> {
        self.new_pipe()
    }

    async fn write(&mut self, writer: Resource<WriterEntry>, chunk: Vec<u8>) -> Answered<()> {
        if let Err(error) = check_piece(&chunk) {
            return answered(Err(error));
        }
        let pipe = self.table.get(&writer)?.pipe.clone();
        let deadline = self.deadline_of(self.sole_event());
        self.begin_block().await?;
        let room = room(pipe, deadline).await;
        self.end_block()?;
        answered(room.map(|room| self.send(Effect::Piece(room, chunk.into()))))
    }

    fn finish(&mut self, writer: Resource<WriterEntry>) -> wasmtime::Result<()> {
        self.finish_pipe(writer)
    }
}
