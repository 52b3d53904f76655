//! HTTP by hand, for what no client library does: over a unix socket, in pieces, or wrong.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::client::Response;

/// Only ends what hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// One connection.
pub(crate) struct Wire<S>(pub(crate) S);

/// What came of waiting for a moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Nothing,
    Bytes(usize),
    /// The other side has closed, or has cut it.
    End,
}

impl Wire<TcpStream> {
    /// To the authority of a URL.
    pub(crate) fn tcp(url: &str) -> Result<Self> {
        let stream = TcpStream::connect(authority(url))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// What comes within so long.
    pub(crate) fn wait(&mut self, long: Duration) -> Result<Came> {
        self.0.set_read_timeout(Some(long))?;
        let came = match self.0.read(&mut [0; 1024]) {
            Ok(0) => Came::End,
            Ok(bytes) => Came::Bytes(bytes),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Came::Nothing,
            Err(error) if is_cut(&error) => Came::End,
            Err(error) => return Err(error.into()),
        };
        self.0.set_read_timeout(Some(LIMIT))?;
        Ok(came)
    }
}

impl Wire<UnixStream> {
    pub(crate) fn unix(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).with_context(|| format!("{}", path.display()))?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self(stream))
    }
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.0.write_all(bytes.as_ref())?)
    }

    /// A request without a body, and its answer.
    pub(crate) fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
        self.request("GET", path, headers, b"")
    }

    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += "host: localhost\r\n";
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head += &format!("content-length: {}\r\n", body.len());
        }
        self.send([head.as_bytes(), b"\r\n", body].concat())?;
        self.response()
    }

    /// The next answer. Its body is as long as it says, or goes to the end of the connection.
    pub(crate) fn response(&mut self) -> Result<Response> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            ensure!(
                self.0.read(&mut byte)? == 1,
                "ended in a head: {:?}",
                String::from_utf8_lossy(&head)
            );
            head.push(byte[0]);
        }
        let head = String::from_utf8(head)?;
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .context("no status")?;
        let pair = |line: &str| {
            line.split_once(':')
                .map(|(n, v)| (n.to_lowercase(), v.trim().to_owned()))
        };
        let headers: Vec<_> = lines.filter_map(pair).collect();
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let mut body = Vec::new();
        match (header("content-length"), header("transfer-encoding")) {
            (Some(length), None) => {
                body.resize(length.parse()?, 0);
                self.0.read_exact(&mut body)?;
            }
            (None, None) => {
                self.0.read_to_end(&mut body)?;
            }
            other => bail!("not a length that this reads: {other:?}"),
        }
        Ok(Response {
            status: status.parse()?,
            headers,
            body,
        })
    }

    /// True when the other side has closed without another byte; an error if one comes, or neither does.
    pub(crate) fn is_closed(&mut self) -> Result<bool> {
        match self.0.read(&mut [0; 16]) {
            Ok(bytes) => Ok(bytes == 0),
            Err(error) if is_cut(&error) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// Closed on the other side while bytes of ours were unread there.
pub(crate) fn is_cut(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}

pub(crate) fn authority(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, authority)| authority)
}
