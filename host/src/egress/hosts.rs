//! Lists of hosts, as operators and parents write them. A host is compared as text, or as an address if it is one: nothing is
//! resolved here, and what could be read in two ways is no host at all.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::egress::HOSTS_MAX;
use crate::egress::request::{Origin, Scheme};

/// Bytes of a host name, and of one label of it.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// Patterns that lists have in common, beyond which nobody looks whether there are any left in the end.
const COMMON_MAX: usize = 256;

/// A name in lower case, or an address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl Host {
    /// As in a URI: an IPv6 address stands in brackets.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(inside) = text.strip_prefix('[') {
            let address = inside.strip_suffix(']').and_then(|a| a.parse::<Ipv6Addr>().ok());
            return match address {
                Some(address) => Ok(Self::Address(address.into())),
                None => Err(format!("{text:?} is no IPv6 address")),
            };
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        name(text).map(Self::Name)
    }
}

/// A name that resolvers read in one way only: no numbers that some take for addresses, no letters to be folded.
fn name(text: &str) -> Result<String, String> {
    if !text.is_ascii() {
        return Err(format!(
            "{text:?} has letters beyond ASCII; write the name in its xn-- form"
        ));
    }
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.split('.').all(is_label) {
        return Err(format!("{text:?} is no host name"));
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.bytes().next().is_some_and(|b| b.is_ascii_digit()) {
        return Err(format!(
            "{text:?} looks like an address and is none; write an IPv4 address as four decimal numbers"
        ));
    }
    Ok(text.to_ascii_lowercase())
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Name {
    Any,
    /// Everything below this name, and not the name itself.
    Below(String),
    Exactly(Host),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Port {
    /// 80 or 443, as the scheme has it.
    OfScheme,
    Is(u16),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Pattern {
    name: Name,
    port: Port,
}

fn is_below(name: &str, top: &str) -> bool {
    name.strip_suffix(top).is_some_and(|rest| rest.ends_with('.'))
}

impl Name {
    fn allows(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Below(top), Host::Name(name)) => is_below(name, top),
            (Self::Below(_), Host::Address(_)) => false,
            (Self::Exactly(own), host) => own == host,
        }
    }

    /// What both allow: one of the two, or nothing.
    fn common(&self, other: &Self) -> Option<Self> {
        let narrower = match (self, other) {
            (Self::Any, narrower) | (narrower, Self::Any) => narrower,
            (Self::Exactly(host), wider) if wider.allows(host) => self,
            (wider, Self::Exactly(host)) if wider.allows(host) => other,
            (Self::Below(one), Self::Below(two)) if one == two || is_below(one, two) => self,
            (Self::Below(one), Self::Below(two)) if is_below(two, one) => other,
            (Self::Below(_) | Self::Exactly(_), Self::Below(_) | Self::Exactly(_)) => return None,
        };
        Some(narrower.clone())
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err(format!(
                "{text:?} is an address, not a host: it should have neither scheme nor path"
            ));
        }
        let (host, port) = match text.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets.
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().ok().filter(|port| *port != 0 && !host.is_empty());
                (
                    host,
                    Port::Is(port.ok_or_else(|| format!("{text:?} has no port after its colon"))?),
                )
            }
            Some(_) | None => (text, Port::OfScheme),
        };
        let name = match host.strip_prefix("*.") {
            _ if host == "*" => Name::Any,
            Some(top) => match Host::parse(top)? {
                Host::Name(top) => Name::Below(top),
                Host::Address(_) => return Err(format!("{text:?}: there is nothing below an address")),
            },
            None => Name::Exactly(Host::parse(host)?),
        };
        Ok(Self { name, port })
    }

    fn allows(&self, origin: &Origin) -> bool {
        let port = match self.port {
            Port::OfScheme => origin.scheme.port(),
            Port::Is(port) => port,
        };
        origin.port == port && self.name.allows(&origin.host)
    }

    fn common(&self, other: &Self) -> Option<Self> {
        let port = match (self.port, other.port) {
            (one, two) if one == two => one,
            (Port::OfScheme, Port::Is(port)) | (Port::Is(port), Port::OfScheme) if Scheme::has(port) => Port::Is(port),
            (Port::OfScheme | Port::Is(_), Port::OfScheme | Port::Is(_)) => return None,
        };
        let name = self.name.common(&other.name)?;
        Some(Self { name, port })
    }
}

/// Hosts that may be asked.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct HostList(Vec<Pattern>);

impl HostList {
    /// Reads a list; an error says which entry is wrong and why.
    pub(crate) fn parse<T: AsRef<str>>(hosts: &[T]) -> Result<Self, String> {
        if hosts.len() > HOSTS_MAX {
            return Err(format!(
                "a list of hosts has at most {HOSTS_MAX}, this one has {}",
                hosts.len()
            ));
        }
        hosts
            .iter()
            .map(|host| Pattern::parse(host.as_ref()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of its entries is this host, or has it below.
    pub(crate) fn allows(&self, origin: &Origin) -> bool {
        self.0.iter().any(|pattern| pattern.allows(origin))
    }

    /// There is a host that all of these allow. True, too, if that would take too long to find out.
    pub(crate) fn meet(lists: &[Arc<Self>]) -> bool {
        let Some((first, others)) = lists.split_first() else {
            return false;
        };
        let mut common: BTreeSet<Pattern> = first.0.iter().cloned().collect();
        for list in others {
            common = common
                .iter()
                .flat_map(|one| list.0.iter().filter_map(|two| one.common(two)))
                .collect();
            if common.len() > COMMON_MAX {
                return true;
            }
        }
        !common.is_empty()
    }
}
