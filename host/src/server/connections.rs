//! Connections: accepted while there is room, each served by a task of its own, told to end when the host stops.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::patience::{Answer, Patient, Phase, TimedBody, hold};
use super::slots::{Slot, Slots};
use super::{Served, answer};

/// What hyper keeps of what a client has sent and nobody has taken, bytes; not less than the largest head.
const BUFFER_BYTES: usize = 64 << 10;
/// After an accept that failed for want of descriptors: nothing tells when there are some again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub(super) enum Door {
    Tcp {
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
    },
    Unix(UnixListener),
}

/// Serves what comes in by one door until `stop` is true, and then what is under way.
pub(super) async fn serve(door: Door, served: Arc<Served>, slots: Arc<Slots>, mut stop: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    let told = stop.clone();
    loop {
        let accepted = tokio::select! {
            // The sender lives as long as the host serves.
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = door.accept(&served, &slots, &graceful, &told) => accepted,
        };
        if let Err(error) = accepted
            && !of_one_connection(&error)
        {
            tracing::warn!(%error, "no connection could be accepted");
            sleep(ACCEPT_PAUSE).await;
        }
    }
    // Nobody new is let in while the others finish.
    drop(door);
    graceful.shutdown().await;
}

impl Door {
    async fn accept(
        &self,
        served: &Arc<Served>,
        slots: &Arc<Slots>,
        graceful: &GracefulShutdown,
        stop: &watch::Receiver<bool>,
    ) -> io::Result<()> {
        match self {
            Self::Tcp { listener, tls } => {
                let (stream, peer) = listener.accept().await?;
                let Some(slot) = slots.take(Some(peer.ip())) else {
                    return Ok(());
                };
                // Answers are written whole; waiting for more of them only makes them late.
                stream.set_nodelay(true)?;
                let (served, watcher) = (served.clone(), graceful.watcher());
                match tls.clone() {
                    None => {
                        tokio::spawn(converse(stream, served, watcher, slot));
                    }
                    Some(tls) => {
                        let (peer, stop) = (peer.ip(), stop.clone());
                        tokio::spawn(async move {
                            if let Some(stream) = shake_hands(&tls, stream, peer, &served, stop).await {
                                converse(stream, served, watcher, slot).await;
                            }
                        });
                    }
                }
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                if let Some(slot) = slots.take(None) {
                    tokio::spawn(converse(stream, served.clone(), graceful.watcher(), slot));
                }
            }
        }
        Ok(())
    }
}

/// True for what concerns a client that has gone again.
fn of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
    )
}

async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &TlsAcceptor,
    stream: S,
    peer: IpAddr,
    served: &Served,
    mut stop: watch::Receiver<bool>,
) -> Option<tokio_rustls::server::TlsStream<S>> {
    let limit = Duration::from_millis(served.http.tls_handshake_ms);
    let shaken = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => return None,
        shaken = timeout(limit, tls.accept(stream)) => shaken,
    };
    match shaken {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS connection"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
    }
    None
}

async fn converse<S>(stream: S, served: Arc<Served>, watcher: Watcher, _slot: Slot)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let phase = Phase::new();
    let io = TokioIo::new(Patient::new(stream, phase.clone(), &served.http));
    let (http, conversing) = (served.http.clone(), phase.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        phase.busy();
        let (served, phase) = (served.clone(), phase.clone());
        async move {
            let request = request.map(|body| match http_body::Body::is_end_stream(&body) {
                true => Body::empty(),
                false => Body::new(TimedBody::new(body, &served.http)),
            });
            let answer = answer(&served, request).await;
            Ok::<_, Infallible>(answer.map(|body| Answer::new(body, phase)))
        }
    });
    let mut builder = http1::Builder::new();
    builder
        // `Patient` looks after that: it can tell a slow head from a pause.
        .header_read_timeout(None)
        .max_buf_size(BUFFER_BYTES.max(http.head_bytes_max))
        .max_header_size(http.head_bytes_max)
        .max_headers(http.headers_max);
    let conversation = watcher.watch(builder.serve_connection(io, service));
    match hold(conversation, &conversing, &http).await {
        Ok(Ok(())) => {}
        // With what is behind it: hyper's own words are the same for all of these.
        Ok(Err(error)) => tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early"),
        Err(late) => tracing::debug!("a connection is closed: {late}"),
    }
}
