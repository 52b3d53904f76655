//! Under which names a host answers, and to whose pages. A name that anybody can point at a loopback address (DNS rebinding)
//! would make a page of its owner one of ours; so on loopback only names that nobody else can own are answered, and those
//! that the operator lists.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, Uri, header};

/// Bytes of a DNS name.
const NAME_BYTES_MAX: usize = 253;

/// Which names a door answers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Names {
    /// All: the operator has said nothing, or a token is asked for anyhow.
    Any,
    /// These, in lower case; and on loopback what is loopback for everybody.
    Only { names: Vec<String>, loopback: bool },
}

impl Names {
    /// Those of a listener.
    pub(super) fn of(configured: &[String], loopback: bool) -> Self {
        match (configured, loopback) {
            ([], false) => Self::Any,
            (names, loopback) => Self::Only {
                names: names.iter().map(|name| name.to_ascii_lowercase()).collect(),
                loopback,
            },
        }
    }

    /// True if a request names one of them, and no other.
    pub(super) fn accept(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Self::Only { names, loopback } = self else {
            return true;
        };
        let known = |authority: &str| {
            host_of(authority).is_some_and(|host| {
                let host = host.to_ascii_lowercase();
                names.contains(&host) || (*loopback && is_loopback(&host))
            })
        };
        // `GET http://localhost/` names the host a second time.
        let mut named = headers.get_all(header::HOST).iter();
        let only = named.next().filter(|_| named.next().is_none());
        only.and_then(|host| host.to_str().ok()).is_some_and(known)
            && uri.authority().is_none_or(|authority| known(authority.as_str()))
    }
}

/// `[::1]`, `127.0.0.1` or a name, without the port; none if it is not of that form.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let _: Ipv6Addr = address.parse().ok()?;
            // With its brackets.
            (&authority[..address.len() + 2], port)
        }
        None => {
            let (host, port) = authority.find(':').map_or((authority, ""), |at| authority.split_at(at));
            (host, port)
        }
    };
    let port_ok = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    let host = host.strip_suffix('.').unwrap_or(host);
    (port_ok && is_host_name(host)).then_some(host)
}

/// A name or an address, `[...]` if it is one of IPv6, without scheme and port.
pub(crate) fn is_host_name(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('.')
}

fn is_loopback(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match v6 {
        Some(address) => address
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| loopback_address(address.into())),
        None => host == "localhost" || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
    }
}

/// Also an address of IPv4 that is written as one of IPv6.
pub(super) fn loopback_address(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// True unless a browser says that the request is made by a page of another site.
pub(super) fn same_origin(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    headers.get_all(header::ORIGIN).iter().all(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_some_and(|authority| !authority.is_empty() && authority.eq_ignore_ascii_case(host))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, values: &[&str]) -> HeaderMap {
        let values = values
            .iter()
            .map(|value| (name.clone(), value.parse().expect("a header's value")));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn a_door_answers_to_these_hosts_only() {
        let listed = [
            "facets.example".to_owned(),
            "10.0.0.1".to_owned(),
            "[fd00::1]".to_owned(),
        ];
        let on = |configured: &[String], loopback| Names::of(configured, loopback);
        // Host, and whether it is accepted: on loopback, there with names, elsewhere with names.
        let table = [
            ("localhost", true, true, false),
            ("localhost:8787", true, true, false),
            ("LocalHost:8787", true, true, false),
            ("localhost.", true, true, false),
            ("127.0.0.1", true, true, false),
            ("127.0.0.1:1", true, true, false),
            ("127.3.2.1:80", true, true, false),
            ("[::1]:8787", true, true, false),
            ("[::ffff:127.0.0.1]", true, true, false),
            ("facets.example", false, true, true),
            ("FACETS.example:443", false, true, true),
            ("facets.example.", false, true, true),
            ("10.0.0.1:80", false, true, true),
            ("[fd00::1]:80", false, true, true),
            ("evil.example", false, false, false),
            ("localhost.evil.example", false, false, false),
            ("127.0.0.1.evil.example", false, false, false),
            ("evil.facets.example", false, false, false),
            ("xfacets.example", false, false, false),
            ("8.8.8.8", false, false, false),
            ("[::2]", false, false, false),
            ("2130706433", false, false, false),
            ("0x7f.1", false, false, false),
            ("127.1", false, false, false),
            ("::1", false, false, false),
            ("[::1", false, false, false),
            ("[::1]x", false, false, false),
            ("localhost:80:80", false, false, false),
            ("localhost:x", false, false, false),
            ("a@localhost", false, false, false),
            ("localhost/", false, false, false),
            ("localhost, evil.example", false, false, false),
            ("", false, false, false),
            (".", false, false, false),
            (":80", false, false, false),
        ];
        let uri = Uri::from_static("/rpc/a/b/c");
        for (host, loopback, both, elsewhere) in table {
            let headers = headers(header::HOST, &[host]);
            assert_eq!(on(&[], true).accept(&uri, &headers), loopback, "{host:?} on loopback");
            assert_eq!(
                on(&listed, true).accept(&uri, &headers),
                both,
                "{host:?} on loopback, with names"
            );
            assert_eq!(
                on(&listed, false).accept(&uri, &headers),
                elsewhere,
                "{host:?} elsewhere, with names"
            );
            assert!(on(&[], false).accept(&uri, &headers), "{host:?} elsewhere");
        }
        let loopback = on(&[], true);
        assert!(!loopback.accept(&uri, &HeaderMap::new()), "no host at all");
        assert!(
            !loopback.accept(&uri, &headers(header::HOST, &["localhost", "localhost"])),
            "two of them"
        );
        let twice = Uri::from_static("http://evil.example/rpc");
        assert!(
            !loopback.accept(&twice, &headers(header::HOST, &["localhost"])),
            "two different ones"
        );
        let twice = Uri::from_static("http://127.0.0.1:80/rpc");
        assert!(loopback.accept(&twice, &headers(header::HOST, &["localhost"])));
    }

    #[test]
    fn pages_of_other_sites_are_known_by_their_origin() {
        let table = [
            (vec![], true),
            (vec!["http://here.example:1"], true),
            (vec!["https://here.example:1"], true),
            (vec!["https://HERE.example:1"], true),
            (vec!["http://here.example"], false),
            (vec!["http://here.example:2"], false),
            (vec!["http://evil.example"], false),
            (vec!["http://here.example:1.evil.example"], false),
            (vec!["http://evil.example/http://here.example:1"], false),
            (vec!["null"], false),
            (vec![""], false),
            (vec!["here.example:1"], false),
            (vec!["://"], false),
            (vec!["http://here.example:1", "http://evil.example"], false),
        ];
        for (origins, ours) in table {
            let mut headers = headers(header::ORIGIN, &origins);
            assert!(
                same_origin(&headers) == origins.is_empty(),
                "{origins:?} without a host"
            );
            headers.insert(header::HOST, "here.example:1".parse().expect("a host"));
            assert_eq!(same_origin(&headers), ours, "{origins:?}");
        }
    }

    #[test]
    fn names_of_the_configuration_are_names() {
        for good in ["facets.example", "localhost", "10.0.0.1", "[::1]", "a-b_c"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in [
            "",
            "http://x.example",
            "x:80",
            "::1",
            "[::1]:80",
            "*.example",
            "a b",
            ".x",
            "x/",
        ] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }
}
