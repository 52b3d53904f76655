//! TLS of the front doors: what is wrong with the files is said at the start, by name.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Config;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read, or is not what it should be.
    #[error("`tls` of [host]: {path} {what}; it should be a PEM file with {expected}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What should be in it.
        expected: &'static str,
    },
    /// Both can be read, and do not fit.
    #[error(
        "`tls` of [host]: {key} and {certificate} cannot be used together: {what}; use the key that the certificate was made for"
    )]
    Pair {
        /// The key's file.
        key: PathBuf,
        /// The certificate's.
        certificate: PathBuf,
        /// Why not.
        what: String,
    },
}

const CERTIFICATE: &str = "the certificate (BEGIN CERTIFICATE), then those of its issuers";
const KEY: &str = "the private key of the certificate (BEGIN PRIVATE KEY), not encrypted";

fn file(path: &Path, expected: &'static str) -> impl FnOnce(PemError) -> TlsError {
    let path = path.to_owned();
    move |error| {
        let what = match error {
            PemError::Io(error) => format!("cannot be read: {error}"),
            PemError::NoItemsFound => "has none".into(),
            // Others show what is in the file.
            _ => "is no PEM file".into(),
        };
        TlsError::File { path, what, expected }
    }
}

/// What the configuration asks for, if it does.
pub(super) fn acceptor(config: &Config) -> Result<Option<TlsAcceptor>, TlsError> {
    let Some(tls) = &config.host.tls else {
        return Ok(None);
    };
    let (certificate, key) = (config.dir.join(&tls.certificate), config.dir.join(&tls.key));
    let chain = CertificateDer::pem_file_iter(&certificate).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(file(&certificate, CERTIFICATE))?;
    if chain.is_empty() {
        return Err(file(&certificate, CERTIFICATE)(PemError::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_file(&key).map_err(file(&key, KEY))?;
    warn_if_shared(&key);
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers of TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, private);
    let mut server = server.map_err(|error| TlsError::Pair {
        key,
        certificate,
        what: error.to_string(),
    })?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(server))))
}

fn warn_if_shared(key: &Path) {
    let mode = std::fs::metadata(key).map_or(0, |metadata| metadata.mode());
    if mode & 0o077 != 0 {
        tracing::warn!(
            "{} can be used by other users of this machine (mode {:04o}); chmod 600 makes it yours alone",
            key.display(),
            mode & 0o7777
        );
    }
}
