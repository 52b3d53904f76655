//! A request as it may be sent: an absolute URI of a form that everybody reads alike, a method, and headers that belong to the
//! message and not to the connection.

use std::fmt;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};

use crate::egress::hosts::Host;
use crate::egress::{EgressError, HEADER_BYTES_MAX, HEADERS_MAX, URI_BYTES_MAX};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(super) fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The port of some scheme.
    pub(super) fn has(port: u16) -> bool {
        [Self::Http, Self::Https].iter().any(|scheme| scheme.port() == port)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Whom a request is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

impl Origin {
    /// As in the header `host`: without the port that goes without saying.
    pub(super) fn authority(&self) -> String {
        match self.port == self.scheme.port() {
            true => self.host.to_string(),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.word(), self.authority())
    }
}

/// Everything of a request but its body.
#[derive(Clone, Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    pub(crate) origin: Origin,
    /// Begins with `/`.
    pub(crate) path_and_query: String,
    pub(crate) headers: HeaderMap,
}

/// Headers of one connection, not of the message; and those that say where it begins, where it ends and for whom it is, which are
/// the client's to say.
const OF_THE_CONNECTION: [HeaderName; 13] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Takes out what belongs to the connection, be it named by `connection` only.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in OF_THE_CONNECTION.iter().chain(&named) {
        headers.remove(name);
    }
}

impl RequestHead {
    /// Checks what a facet wants to send.
    pub(crate) fn new(method: &str, uri: &str, headers: &[(String, Vec<u8>)]) -> Result<Self, EgressError> {
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| EgressError::Invalid(format!("{method:?} is no method of HTTP")))?;
        if [Method::CONNECT, Method::TRACE].contains(&method) {
            return Err(EgressError::Invalid(format!("{method} is not for facets")));
        }
        let (origin, path_and_query) = parse_uri(uri)?;
        let headers = parse_headers(headers)?;
        Ok(Self {
            method,
            origin,
            path_and_query,
            headers,
        })
    }

    /// The URI in the one form that it has: scheme and host in lower case, no port that goes without saying.
    pub(crate) fn uri(&self) -> String {
        format!("{}{}", self.origin, self.path_and_query)
    }
}

fn parse_uri(text: &str) -> Result<(Origin, String), EgressError> {
    let wrong = |why: &str| {
        let shown: String = text.chars().take(100).collect();
        EgressError::Invalid(format!("the URI {shown:?} {why}"))
    };
    if text.len() > URI_BYTES_MAX {
        let message = format!("a URI has at most {URI_BYTES_MAX} bytes, this one has {}", text.len());
        return Err(EgressError::Limit { code: "uri", message });
    }
    if !text.is_ascii() {
        return Err(wrong(
            "has letters beyond ASCII; percent-encode them, and write hosts in their xn-- form",
        ));
    }
    let uri: Uri = text.parse().map_err(|_| wrong("is none"))?;
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        Some(_) | None => return Err(wrong("does not begin with http:// or https://")),
    };
    let authority = uri.authority().ok_or_else(|| wrong("has no host"))?.as_str();
    if authority.contains('@') {
        return Err(wrong("has a user or password in it; send them in a header"));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            let port = port.parse().ok().filter(|port| digits && *port != 0);
            (host, port.ok_or_else(|| wrong("has no port after its colon"))?)
        }
        Some(_) | None => (authority, scheme.port()),
    };
    let host = Host::parse(host).map_err(|why| wrong(&format!("has a host that cannot be asked: {why}")))?;
    let path_and_query = uri.path_and_query().map_or("/", |path| path.as_str());
    let path_and_query = match path_and_query.starts_with('/') {
        true => path_and_query.to_owned(),
        false => format!("/{path_and_query}"),
    };
    Ok((Origin { scheme, host, port }, path_and_query))
}

fn parse_headers(given: &[(String, Vec<u8>)]) -> Result<HeaderMap, EgressError> {
    if given.len() > HEADERS_MAX {
        let message = format!(
            "a request has at most {HEADERS_MAX} headers, this one has {}",
            given.len()
        );
        return Err(EgressError::Limit {
            code: "headers",
            message,
        });
    }
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX {
        let message = format!("the headers of a request have at most {HEADER_BYTES_MAX} bytes, these have {bytes}");
        return Err(EgressError::Limit {
            code: "headers",
            message,
        });
    }
    let mut headers = HeaderMap::with_capacity(given.len());
    for (name, value) in given {
        let wrong = |what: &str| EgressError::Invalid(format!("{name:?} is no {what} of a header"));
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("name"))?;
        let value = HeaderValue::from_bytes(value)
            .map_err(|_| EgressError::Invalid(format!("the value of header {name:?} cannot be sent")))?;
        headers.append(key, value);
    }
    strip(&mut headers);
    Ok(headers)
}
