//! A connection to one of the addresses that were looked at, and to no other: a name is resolved once, and never again
//! between the look and the connection.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
use tracing::info;

use crate::egress::address::is_allowed;
use crate::egress::client::{Client, Rules};
use crate::egress::hosts::Host;
use crate::egress::request::{Origin, Scheme};
use crate::egress::{ADDRESSES_MAX, EgressError};

/// A byte stream, encrypted or not.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Trusts Mozilla's list, and what the operator adds.
pub(super) fn tls(more_roots: Option<&[u8]>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(pem) = more_roots {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        if roots.len() == before {
            return Err("there is no certificate in it; it should hold PEM".into());
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Client {
    pub(super) async fn connect(&self, rules: &Rules, origin: &Origin) -> Result<Stream, EgressError> {
        let addresses = self.addresses(rules, origin).await?;
        let mut failure = None;
        for address in addresses {
            match TcpStream::connect(SocketAddr::new(address, origin.port)).await {
                Ok(stream) => {
                    // A head and a body are two writes, which must not wait for each other.
                    let _ = stream.set_nodelay(true);
                    return self.secure(origin, stream).await;
                }
                Err(error) => failure = Some(error.to_string()),
            }
        }
        Err(EgressError::Connect {
            host: origin.authority(),
            why: failure.unwrap_or_else(|| "it has no address".into()),
        })
    }

    /// Those that may be reached, as they are found now.
    async fn addresses(&self, rules: &Rules, origin: &Origin) -> Result<Vec<IpAddr>, EgressError> {
        let mut found = match &origin.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.resolve(rules, name).await?,
        };
        found.truncate(ADDRESSES_MAX);
        let (allowed, refused): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|address| is_allowed(*address, &rules.allow_private));
        if !refused.is_empty() {
            info!(host = %origin.host, ?refused, "a facet asked for a host at an address that is not public");
        }
        match allowed.is_empty() && !refused.is_empty() {
            true => Err(EgressError::NotPublic(origin.host.to_string())),
            false => Ok(allowed),
        }
    }

    async fn resolve(&self, rules: &Rules, name: &str) -> Result<Vec<IpAddr>, EgressError> {
        let mut permits = Vec::new();
        for lookups in [&rules.lookups, &self.lookups] {
            let permit = lookups.clone().acquire_owned().await;
            permits.push(permit.expect("these semaphores are never closed"));
        }
        let found = self.resolver.resolve(name.to_owned(), permits).await;
        found.map_err(|error| EgressError::Dns {
            host: name.to_owned(),
            why: error.to_string(),
        })
    }

    async fn secure(&self, origin: &Origin, stream: TcpStream) -> Result<Stream, EgressError> {
        let wrong = |why: String| EgressError::Tls {
            host: origin.authority(),
            why,
        };
        match origin.scheme {
            Scheme::Http => Ok(Stream::Plain(stream)),
            Scheme::Https => {
                let name = match &origin.host {
                    Host::Name(name) => ServerName::try_from(name.clone()).map_err(|error| wrong(error.to_string()))?,
                    Host::Address(address) => ServerName::from(*address),
                };
                let secured = self.tls.connect(name, stream).await;
                let secured = secured.map_err(|error| wrong(error.to_string()))?;
                Ok(Stream::Tls(Box::new(secured)))
            }
        }
    }
}
