//! Where a running host is reached: by HTTP, or by the unix socket of its admin API.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::Remote;
use crate::LISTEN_DEFAULT;
use crate::config::Config;
use crate::server::socket;

/// The admin API's answer, bytes: trees of 65,536 facets fit.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Where a host is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Http(String),
    Unix(PathBuf),
}

/// What it is asked.
pub(super) struct Request<'r> {
    pub(super) path: &'r str,
    /// A POST if there is one.
    pub(super) body: Option<&'r str>,
    pub(super) token: Option<&'r str>,
}

impl Place {
    fn parse(url: &str) -> anyhow::Result<Self> {
        if let Some(path) = url.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        if url.starts_with("https:") {
            bail!(
                "this command speaks no TLS, so it cannot reach {url}; use curl: curl -H \"authorization: Bearer \
                 $FACETD_TOKEN\" -d '[...]' {}/rpc/NAMESPACE/OBJECT/METHOD; or name an http:// address, or unix:PATH, with \
                 --url",
                url.trim_end_matches('/')
            );
        }
        Ok(Self::Http(url.trim_end_matches('/').into()))
    }

    /// Where calls are taken.
    pub(super) fn of_calls(remote: &Remote) -> anyhow::Result<Self> {
        match &remote.url {
            Some(url) => Self::parse(url),
            None => Ok(Self::default()),
        }
    }

    /// Where the admin API is: what is said most exactly counts.
    pub(super) fn of_admin(args: &super::Tree) -> anyhow::Result<Self> {
        if let Some(data) = &args.data {
            return Ok(Self::Unix(data.join(socket::FILE_NAME)));
        }
        if let Some(config) = &args.config {
            return Self::of_config(&Config::read(config)?);
        }
        if let Some(url) = &args.remote.url {
            return Self::parse(url);
        }
        // A project whose host runs; otherwise whatever runs at the usual address.
        let here = Path::new(crate::config::FILE_NAME);
        let here = here.is_file().then(|| Config::read(here).ok()).flatten();
        let here = here.and_then(|config| Self::of_config(&config).ok());
        Ok(here.filter(Self::is_there).unwrap_or_default())
    }

    fn of_config(config: &Config) -> anyhow::Result<Self> {
        let admin = config.host.admin.as_ref();
        match admin.map(|admin| (&admin.socket, &admin.listen)) {
            Some((Some(socket), _)) => Ok(Self::Unix(config.dir.join(socket))),
            Some((None, Some(listen))) if config.host.tls.is_none() => Ok(Self::Http(format!("http://{listen}"))),
            Some((None, Some(listen))) => Self::parse(&format!("https://{listen}")),
            Some((None, None)) | None => Ok(Self::Unix(config.data_dir().join(socket::FILE_NAME))),
        }
    }

    fn is_there(&self) -> bool {
        match self {
            Self::Http(_) => true,
            Self::Unix(path) => socket::reach(path, |path| std::os::unix::net::UnixStream::connect(path)).is_ok(),
        }
    }

    /// The status and the text of the answer.
    pub(super) fn send(&self, request: &Request<'_>) -> anyhow::Result<(u16, String)> {
        match self {
            Self::Http(url) => by_http(url, request),
            Self::Unix(path) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(by_socket(path, request))
            }
        }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Http(format!("http://{LISTEN_DEFAULT}"))
    }
}

fn by_http(url: &str, request: &Request<'_>) -> anyhow::Result<(u16, String)> {
    let address = format!("{url}{}", request.path);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let authorization = request.token.map(|token| format!("Bearer {token}"));
    let response = match request.body {
        Some(body) => {
            let mut post = agent.post(&address).header("content-type", "application/json");
            if let Some(authorization) = &authorization {
                post = post.header("authorization", authorization);
            }
            post.send(body)
        }
        None => {
            let mut get = agent.get(&address);
            if let Some(authorization) = &authorization {
                get = get.header("authorization", authorization);
            }
            get.call()
        }
    };
    let mut response = response.map_err(|error| {
        anyhow!(
            "no host answers at {url}: {error}; start one with `facetd dev` or `facetd serve`, or name another with --url"
        )
    })?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX as u64);
    Ok((status, body.read_to_string().context("the host's answer broke off")?))
}

async fn by_socket(path: &Path, request: &Request<'_>) -> anyhow::Result<(u16, String)> {
    let unreachable = |error: std::io::Error| {
        anyhow!(
            "no host answers at the admin socket {}: {error}; start one with `facetd dev` or `facetd serve`, or name \
             another with --data or --url",
            path.display()
        )
    };
    let connected = socket::reach(path, |path| std::os::unix::net::UnixStream::connect(path)).map_err(unreachable)?;
    connected.set_nonblocking(true)?;
    let io = TokioIo::new(UnixStream::from_std(connected)?);
    let broke_off = "the host's answer broke off";
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.context(broke_off)?;
    tokio::spawn(connection);
    let method = if request.body.is_some() { "POST" } else { "GET" };
    let mut head = hyper::Request::builder()
        .method(method)
        .uri(request.path)
        .header("host", "localhost");
    if let Some(token) = request.token {
        head = head.header("authorization", format!("Bearer {token}"));
    }
    let body = Full::new(Bytes::from(request.body.unwrap_or_default().to_owned()));
    let response = sender.send_request(head.body(body)?).await.context(broke_off)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow!("{broke_off}: {error}"))?.to_bytes();
    Ok((
        status,
        String::from_utf8(body.into()).context("the host's answer is no text")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_addresses_or_sockets() {
        let http = |url: &str| Place::Http(url.into());
        assert_eq!(
            Place::parse("http://h.example:1/").expect("is one"),
            http("http://h.example:1")
        );
        assert_eq!(
            Place::parse("unix:/a/b.sock").expect("is one"),
            Place::Unix("/a/b.sock".into())
        );
        let said = Place::parse("https://h.example").expect_err("no TLS").to_string();
        assert!(
            said.contains("curl") && said.contains("https://h.example/rpc"),
            "{said}"
        );
    }

    #[test]
    fn the_configuration_says_where_the_admin_api_is() {
        let place = |text: &str| {
            let mut config = Config::parse(text).expect("is one");
            config.dir = "/p".into();
            Place::of_config(&config)
        };
        let unix = |path: &str| Place::Unix(path.into());
        assert_eq!(place("").expect("a socket"), unix("/p/.facetd/data/admin.sock"));
        assert_eq!(
            place("[host]\ndata = \"d\"").expect("a socket"),
            unix("/p/d/admin.sock")
        );
        assert_eq!(place("[host]\nadmin.socket = \"s\"").expect("a socket"), unix("/p/s"));
        let listen = "[host]\nadmin.listen = \"h.example:1\"\n";
        assert_eq!(
            place(listen).expect("an address"),
            Place::Http("http://h.example:1".into())
        );
        let tls = format!("{listen}tls = {{ certificate = \"c\", key = \"k\" }}");
        assert!(place(&tls).is_err(), "no TLS here");
    }
}
