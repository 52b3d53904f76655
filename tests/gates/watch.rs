//! What comes out of the host, each piece with the moment at which it came: lines of its log, pieces of a body.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::support::client::object_path;
use super::support::host::Host;

/// Only ends what hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Things that came, in order.
struct Seen<T> {
    all: Mutex<Vec<(Instant, T)>>,
    more: Condvar,
}

impl<T> Seen<T> {
    fn new() -> Self {
        Self {
            all: Mutex::new(Vec::new()),
            more: Condvar::new(),
        }
    }

    fn add(&self, at: Instant, one: T) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push((at, one));
        self.more.notify_all();
    }

    /// When the first came after which `found` holds.
    fn wait_until(&self, what: &str, found: impl Fn(&[(Instant, T)]) -> Option<Instant>) -> Result<Instant> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.more.wait_timeout_while(all, LIMIT, |all| found(all).is_none());
        let (all, _) = waited.unwrap_or_else(PoisonError::into_inner);
        found(&all).with_context(|| format!("{what} did not come within {LIMIT:?}"))
    }
}

/// The log of a host, line by line.
pub(crate) struct Log(Seen<String>);

impl Log {
    /// Of the hosts that are started there from now on.
    pub(crate) fn watch(host: &mut Host) -> Arc<Self> {
        let log = Arc::new(Self(Seen::new()));
        let (tell, told) = channel();
        host.watch_log(tell);
        let lines = Arc::clone(&log);
        thread::spawn(move || told.into_iter().for_each(|(at, line)| lines.0.add(at, line)));
        log
    }

    /// When a line came that contains the text.
    pub(crate) fn wait_for(&self, text: &str) -> Result<Instant> {
        let found = |all: &[(Instant, String)]| all.iter().find(|(_, line)| line.contains(text)).map(|(at, _)| *at);
        self.0.wait_until(text, found)
    }
}

/// What an object answers to GET, byte by byte as it comes: a client library would hold pieces back.
pub(crate) struct Body(Arc<Seen<Option<Vec<u8>>>>);

impl Body {
    pub(crate) fn get(url: &str, on: &str) -> Result<Self> {
        let address = url.strip_prefix("http://").context("an http address")?;
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(
            stream,
            "GET /o/{}/ HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n",
            object_path(on)?
        )?;
        let seen = Arc::new(Seen::new());
        let pieces = Arc::clone(&seen);
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut piece) {
                pieces.add(Instant::now(), Some(piece[..n].to_vec()));
            }
            pieces.add(Instant::now(), None);
        });
        Ok(Self(seen))
    }

    /// When the text was there.
    pub(crate) fn wait_for(&self, text: &str) -> Result<Instant> {
        self.until(text, |so_far| so_far.contains(text))
    }

    /// When the last chunk of a complete body was there.
    pub(crate) fn wait_for_end(&self) -> Result<Instant> {
        self.until("the end of the body", |so_far| so_far.ends_with("\r\n0\r\n\r\n"))
    }

    fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> Result<Instant> {
        let text = |all: &[(Instant, Option<Vec<u8>>)]| {
            let bytes: Vec<u8> = all
                .iter()
                .filter_map(|(_, piece)| piece.as_deref())
                .flatten()
                .copied()
                .collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let moment = self.0.wait_until(what, |all| {
            let first = (1..=all.len()).find(|n| holds(&text(&all[..*n])) || all[n - 1].1.is_none());
            first.map(|n| all[n - 1].0)
        })?;
        let all = self.0.all.lock().unwrap_or_else(PoisonError::into_inner);
        if !holds(&text(&all)) {
            bail!("the connection ended before {what}: {:?}", text(&all));
        }
        Ok(moment)
    }
}
