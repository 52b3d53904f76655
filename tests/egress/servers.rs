//! Servers on this machine that remember what they were asked, and when who asked was gone.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Only ends what hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    /// The first line and the headers, in lower case but for their values.
    pub(crate) head: String,
    pub(crate) body: String,
    /// When the end of its body had come.
    pub(crate) whole_at: Option<Instant>,
    pub(crate) path: String,
    /// Whoever asked has closed the connection, or stopped sending.
    pub(crate) gone: bool,
}

#[derive(Default)]
struct Seen {
    all: Mutex<Vec<Asked>>,
    more: Condvar,
}

pub(crate) struct Server {
    pub(crate) port: u16,
    seen: Arc<Seen>,
}

impl Server {
    /// `elsewhere`: where `/redirect` leads.
    pub(crate) fn start(tls: Option<Arc<ServerConfig>>, elsewhere: String) -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let (port, seen) = (listener.local_addr()?.port(), Arc::new(Seen::default()));
        let told = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tls, told, elsewhere) = (tls.clone(), Arc::clone(&told), elsewhere.clone());
                thread::spawn(move || match tls {
                    None => answer(stream, &told, &elsewhere),
                    Some(config) => match ServerConnection::new(config) {
                        Ok(connection) => answer(StreamOwned::new(connection, stream), &told, &elsewhere),
                        Err(_) => Ok(()),
                    },
                });
            }
        });
        Ok(Self { port, seen })
    }

    /// What was asked below `/{case}/` so far.
    pub(crate) fn asked(&self, case: &str) -> Vec<Asked> {
        let below = format!("/{case}/");
        let all = self.seen.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter(|asked| asked.path.starts_with(&below))
            .cloned()
            .collect()
    }

    /// The first that was asked there and for which this holds, once it does.
    pub(crate) fn wait_for(&self, path: &str, holds: impl Fn(&Asked) -> bool) -> Result<Asked> {
        let find = |all: &[Asked]| all.iter().find(|asked| asked.path == path && holds(asked)).cloned();
        let all = self.seen.all.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.seen.more.wait_timeout_while(all, LIMIT, |all| find(all).is_none());
        let (all, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let asked: Vec<_> = all.iter().filter(|asked| asked.path == path).collect();
        find(&all).with_context(|| format!("{path} was not asked for, or not so, within {LIMIT:?}: {asked:?}"))
    }
}

/// Reads a request and answers by the last part of its path.
fn answer<S: Read + Write>(mut stream: S, seen: &Seen, elsewhere: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let at = Instant::now();
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let index = {
        let mut all = seen.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Asked {
            at,
            head: head.clone(),
            body: String::new(),
            whole_at: None,
            path: path.clone(),
            gone: false,
        });
        all.len() - 1
    };
    seen.more.notify_all();
    let note = |change: &dyn Fn(&mut Asked)| {
        let mut all = seen.all.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut all[index]);
        drop(all);
        seen.more.notify_all();
    };
    let body = read_body(&mut stream, &head.to_ascii_lowercase());
    match body {
        Ok(body) => note(&|asked| {
            asked.body.clone_from(&body);
            asked.whole_at = Some(Instant::now());
        }),
        Err(error) => {
            note(&|asked| asked.gone = true);
            return Err(error);
        }
    }
    match path.rsplit('/').next().unwrap_or_default() {
        "redirect" => write!(
            stream,
            "HTTP/1.1 302 Found\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n"
        )?,
        "large" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            // Somewhat more than a response may have.
            for _ in 0..(65 << 4) {
                stream.write_all(&[b'x'; 64 << 10])?;
            }
        }
        "half" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")?;
        }
        "slow" => {
            // Until whoever asked has gone.
            let _ = stream.read(&mut byte);
            note(&|asked| asked.gone = true);
        }
        _ => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-served: yes\r\n\r\nhello")?,
    }
    stream.flush()
}

/// By length or in chunks.
fn read_body(stream: &mut impl Read, head: &str) -> std::io::Result<String> {
    let mut body = Vec::new();
    if let Some(length) = head.split("content-length: ").nth(1) {
        let length = length.split('\r').next().and_then(|digits| digits.parse().ok());
        body.resize(length.unwrap_or(0), 0);
        stream.read_exact(&mut body)?;
    } else if head.contains("transfer-encoding: chunked") {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                line.push(byte[0]);
            }
            let text = String::from_utf8_lossy(&line);
            let length = usize::from_str_radix(text.trim(), 16).map_err(std::io::Error::other)?;
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk)?;
            if length == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..length]);
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// An authority of this test's own, as PEM, and a server's end of TLS for a name.
pub(crate) fn authority(name: &str) -> Result<(String, Arc<ServerConfig>)> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let root = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&own, &issuer)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok((root.pem(), Arc::new(config)))
}
