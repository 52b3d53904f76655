//! How long a connection is waited for. The time for a request's head, and for the pause before it, runs beside the
//! conversation; that between pieces of a body on the body, and only while somebody wants one; a client that takes nothing
//! of its answer is cut, too.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::config::HttpConfig;
use crate::sys::clock;

/// What a connection does, in the lowest two bits; the rest counts changes, so that a timer knows for which one it was set.
#[derive(Debug)]
pub(super) struct Phase(AtomicU64);

/// A request's head is coming, or the connection has just begun.
const HEAD: u64 = 0;
/// Nothing has come since the last answer.
const PAUSE: u64 = 1;
/// A request is being answered: others watch it.
const BUSY: u64 = 2;
const KIND: u64 = 3;

impl Phase {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(HEAD)))
    }

    fn enter(&self, kind: u64) {
        // One connection's: hyper reads, serves and writes it in one task.
        let changes = self.0.load(Ordering::Relaxed) | KIND;
        self.0.store((changes + 1) | kind, Ordering::Relaxed);
    }

    /// A head was read to its end.
    pub(super) fn busy(&self) {
        self.enter(BUSY);
    }
}

/// Holds a conversation until its end, or until the other side takes too long for what it does: then says what that was.
pub(super) async fn hold<F: Future>(
    conversation: F,
    phase: &Phase,
    http: &HttpConfig,
) -> Result<F::Output, &'static str> {
    let mut conversation = pin!(conversation);
    let mut timer: Option<(u64, Pin<Box<Sleep>>)> = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = conversation.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        // Phases change while the conversation is polled and at no other time, so here is soon enough.
        let now = phase.0.load(Ordering::Relaxed);
        let (limit_ms, what) = match now & KIND {
            HEAD => (http.head_ms, "the head of a request took too long"),
            PAUSE => (http.keep_alive_ms, "no further request came"),
            // The timer stays for the next one.
            _ => return Poll::Pending,
        };
        let limit = Duration::from_millis(limit_ms);
        let timer = match &mut timer {
            Some((of, timer)) => {
                if *of != now {
                    timer.as_mut().reset((clock::now() + limit).into());
                    *of = now;
                }
                timer
            }
            None => &mut timer.insert((now, Box::pin(sleep(limit)))).1,
        };
        timer.as_mut().poll(cx).map(|()| Err(what))
    })
    .await
}

/// A connection that says when a head begins, and whose peer may not take for ever to take something.
pub(super) struct Patient<S> {
    stream: S,
    phase: Arc<Phase>,
    answer_idle: Duration,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, phase: Arc<Phase>, http: &HttpConfig) -> Self {
        Self {
            stream,
            phase,
            answer_idle: Duration::from_millis(http.answer_idle_ms),
            writing: None,
        }
    }

    /// Gives a write that does not get on its time.
    fn poll_taken<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing = None;
            return written;
        }
        let limit = self.answer_idle;
        let timer = self.writing.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        let what = "the client takes nothing of its answer";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let came = buffer.filled().len() > before;
        if came && this.phase.0.load(Ordering::Relaxed) & KIND == PAUSE {
            this.phase.enter(HEAD);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.poll_taken(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, pieces);
        this.poll_taken(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.poll_taken(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.poll_taken(cx, shut)
    }
}

/// A request's body, which fails if the next piece takes too long to come.
pub(super) struct TimedBody<B> {
    body: B,
    idle: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<B> TimedBody<B> {
    pub(super) fn new(body: B, http: &HttpConfig) -> Self {
        Self {
            body,
            idle: Duration::from_millis(http.body_idle_ms),
            waiting: None,
        }
    }
}

impl<B: Body<Data = Bytes, Error = hyper::Error> + Unpin> Body for TimedBody<B> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)));
        }
        let idle = this.idle;
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep(idle)));
        ready!(waiting.as_mut().poll(cx));
        let late = io::Error::new(io::ErrorKind::TimedOut, "the next piece of the body took too long");
        Poll::Ready(Some(Err(axum::Error::new(late))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body; when it is gone, the connection pauses.
pub(super) struct Answer<B> {
    body: B,
    phase: Arc<Phase>,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, phase: Arc<Phase>) -> Self {
        Self { body, phase }
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.phase.enter(PAUSE);
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
