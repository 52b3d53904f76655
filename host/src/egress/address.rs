//! Addresses that requests do not reach: whatever is not plainly a public host. Forms in which one address hides in another
//! are no public hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 addresses that are no public hosts, from IANA's registry of special purposes.
const SPECIAL_V4: [(&str, &str); 16] = [
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local, where clouds keep their metadata"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT"),
    ("192.88.99.0/24", "6to4 relays"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarks"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    // Multicast, and everything above it: reserved, broadcast.
    ("224.0.0.0/3", "multicast or reserved"),
];

/// The part of IPv6 that is given out to hosts. Outside of it: loopback, unspecified, `fc00::/7` (ULA), link-local,
/// multicast, IPv4-mapped addresses, NAT64 in both prefixes.
const GLOBAL_V6: &str = "2000::/3";

/// What in there is no host.
const SPECIAL_V6: [(&str, &str); 4] = [
    ("2001::/23", "Teredo and other protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
];

static RANGES_V4: LazyLock<Vec<Ipv4Net>> = LazyLock::new(|| SPECIAL_V4.iter().map(|(net, _)| range(net)).collect());
static RANGES_V6: LazyLock<Vec<Ipv6Net>> = LazyLock::new(|| SPECIAL_V6.iter().map(|(net, _)| range(net)).collect());
static GLOBAL: LazyLock<Ipv6Net> = LazyLock::new(|| range(GLOBAL_V6));

fn range<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("the tables above hold ranges, which a test reads")
}

/// May be reached by anybody who may reach the host's name.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !RANGES_V4.iter().any(|range| range.contains(&address))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    GLOBAL.contains(&address) && !RANGES_V6.iter().any(|range| range.contains(&address))
}

/// Public, or listed by the operator.
pub(super) fn is_allowed(address: IpAddr, listed: &[IpNet]) -> bool {
    is_public(address) || listed.iter().any(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_plainly_public_is_refused() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2600::1",
            "2001:200::1",
            "2a00:1450:4001:801::200e",
            "2606:4700:4700::1111",
            "3ffe::1",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address} is public");
        }
        let refused = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.170",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456:789a::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
        ];
        for address in refused {
            assert!(!is_public(address.parse().unwrap()), "{address} is not public");
        }
    }

    #[test]
    fn the_operator_may_list_what_is_not_public() {
        let listed = ["10.1.0.0/16".parse().unwrap(), "::1/128".parse().unwrap()];
        assert!(is_allowed("10.1.2.3".parse().unwrap(), &listed));
        assert!(!is_allowed("10.2.2.3".parse().unwrap(), &listed));
        assert!(is_allowed("::1".parse().unwrap(), &listed));
        // Written another way it is another address.
        assert!(!is_allowed("::ffff:10.1.2.3".parse().unwrap(), &listed));
    }
}
