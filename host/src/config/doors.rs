//! `[host]` as far as it says where the host listens, to whom, and how patiently.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::access::Tokens;

/// hyper's least buffer; a head can hardly be shorter than that anyhow.
const HEAD_BYTES_LEAST: usize = 8_192;
/// A body of `/rpc` must fit.
const BODIES_MIB_LEAST: usize = crate::limits::PAYLOAD_BYTES_MAX >> 20;
/// Beyond these a setting is a mistake: 1 MiB of head, 1,000 headers.
const HEAD_BYTES_MOST: usize = 1 << 20;
const HEADERS_MOST: usize = 1_000;
/// Beyond this nobody means a time-out: a day.
const MS_MOST: u64 = 86_400_000;
/// What a count or a number of MiB cannot exceed.
const COUNT_MOST: usize = 1 << 20;

/// `admin`: where the admin API is; `<data>/admin.sock` unless set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// A unix socket at another place.
    pub socket: Option<PathBuf>,
    /// Address and port instead of a socket; wants tokens.
    pub listen: Option<String>,
    /// Who may come by that address.
    #[serde(default)]
    pub tokens: Tokens,
}

impl AdminConfig {
    fn check(&self) -> Result<(), String> {
        match (&self.socket, &self.listen) {
            (Some(_), Some(_)) | (None, None) => Err("`admin` of [host] needs either `socket` or `listen`".into()),
            (Some(_), None) if !self.tokens.is_empty() => {
                Err("`admin` of [host] is a socket, which asks for no tokens: remove them, or use `listen`".into())
            }
            (Some(_), None) => Ok(()),
            (None, Some(_)) if self.tokens.is_empty() => {
                Err("`admin` of [host] listens on an address, so it needs `tokens`; `facetd token` makes one".into())
            }
            (None, Some(_)) => self.tokens.check("`admin` of [host]"),
        }
    }
}

/// `tls`: PEM files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate, followed by those that lead to a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// `[host.http]`: what one client may take. docs/limits.md says what happens beyond.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Request line and headers together.
    pub head_bytes_max: usize,
    /// Headers of a request.
    pub headers_max: usize,
    /// Path and query.
    pub uri_bytes_max: usize,
    /// From the first byte of a request, or the beginning of a connection, to the end of its head.
    pub head_ms: u64,
    /// Between an answer and the next request.
    pub keep_alive_ms: u64,
    /// A TLS handshake.
    pub tls_handshake_ms: u64,
    /// Between two pieces of a request's body.
    pub body_idle_ms: u64,
    /// The whole body of a request to `/rpc`.
    pub rpc_body_ms: u64,
    /// How long a client may take nothing of its answer.
    pub answer_idle_ms: u64,
    /// Connections at a time.
    pub connections_max: usize,
    /// Those of one address, or of one /64 of IPv6.
    pub connections_per_peer_max: usize,
    /// Requests under way in one namespace.
    pub namespace_requests_max: usize,
    /// Bodies of requests to `/rpc` of one namespace that are in memory.
    pub namespace_bodies_mib_max: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            head_bytes_max: 16 << 10,
            headers_max: 100,
            uri_bytes_max: 8 << 10,
            head_ms: 10_000,
            keep_alive_ms: 75_000,
            tls_handshake_ms: 10_000,
            body_idle_ms: 30_000,
            rpc_body_ms: 60_000,
            answer_idle_ms: 30_000,
            connections_max: 10_000,
            connections_per_peer_max: 1_000,
            namespace_requests_max: 5_000,
            namespace_bodies_mib_max: 256,
        }
    }
}

impl HttpConfig {
    pub(crate) fn rpc_body(&self) -> Duration {
        Duration::from_millis(self.rpc_body_ms)
    }

    fn check(&self) -> Result<(), String> {
        let Self {
            head_bytes_max,
            headers_max,
            uri_bytes_max,
            head_ms,
            keep_alive_ms,
            tls_handshake_ms,
            body_idle_ms,
            rpc_body_ms,
            answer_idle_ms,
            connections_max,
            connections_per_peer_max,
            namespace_requests_max,
            namespace_bodies_mib_max,
        } = *self;
        let ranges = [
            ("head_bytes_max", head_bytes_max, HEAD_BYTES_LEAST, HEAD_BYTES_MOST),
            ("headers_max", headers_max, 1, HEADERS_MOST),
            ("uri_bytes_max", uri_bytes_max, 1, HEAD_BYTES_MOST),
            ("connections_max", connections_max, 1, COUNT_MOST),
            ("connections_per_peer_max", connections_per_peer_max, 1, COUNT_MOST),
            ("namespace_requests_max", namespace_requests_max, 1, COUNT_MOST),
            (
                "namespace_bodies_mib_max",
                namespace_bodies_mib_max,
                BODIES_MIB_LEAST,
                COUNT_MOST,
            ),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(format!(
                    "`{name}` of [host.http] should be {least} to {most}, not {value}"
                ));
            }
        }
        let times = [
            ("head_ms", head_ms),
            ("keep_alive_ms", keep_alive_ms),
            ("tls_handshake_ms", tls_handshake_ms),
            ("body_idle_ms", body_idle_ms),
            ("rpc_body_ms", rpc_body_ms),
            ("answer_idle_ms", answer_idle_ms),
        ];
        match times.iter().find(|(_, ms)| !(1..=MS_MOST).contains(ms)) {
            None => Ok(()),
            Some((name, ms)) => Err(format!("`{name}` of [host.http] should be 1 to {MS_MOST}, not {ms}")),
        }
    }
}

impl super::HostConfig {
    pub(super) fn check_doors(&self) -> Result<(), String> {
        self.http.check()?;
        if let Some(admin) = &self.admin {
            admin.check()?;
        }
        let plain = |name: &&String| !crate::server::is_host_name(name);
        match self.names.iter().find(plain) {
            None => Ok(()),
            Some(name) => Err(format!(
                "`names` of [host] should be host names or addresses without scheme and port, e.g. \"facets.example\", not \
                 {name:?}"
            )),
        }
    }
}
