//! Requests to the network: where they may go, and a client that goes nowhere else. What is checked is what is used: names are
//! resolved once, and the connection is made to the address that was looked at. Knows nothing of facets.

mod address;
mod client;
mod connect;
mod error;
mod hosts;
mod request;
mod resolve;
mod response;
#[cfg(test)]
mod tests;

pub(crate) use client::{Client, RequestBody, Response, Rules, Sent};
pub(crate) use error::EgressError;
pub(crate) use hosts::HostList;
pub(crate) use request::{Origin, RequestHead};
pub(crate) use response::ResponseBody;

/// Bytes of a URI.
const URI_BYTES_MAX: usize = 8 << 10;
/// Headers of a request, and of a response.
const HEADERS_MAX: usize = 100;
/// Names and values of the headers of one of them, bytes. hyper reads the head of a response into a buffer of this size.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Body of a request, and of a response, bytes.
pub(crate) const BODY_BYTES_MAX: u64 = 64 << 20;
/// From the resolving of the name to the end of the TLS handshake, ms.
const CONNECT_MS_MAX: u64 = 10_000;
/// From there to the head of the response, ms. The body of the request goes out in this time, too.
const HEAD_MS_MAX: u64 = 60_000;
/// From the beginning to the end of the response's body, ms.
const TOTAL_MS_MAX: u64 = 300_000;
/// Connections of a whole host.
const CONNECTIONS_MAX: usize = 1_024;
/// Connections of one namespace.
const CONNECTIONS_PER_NAMESPACE_MAX: usize = 256;
/// Names being resolved in a whole host: each takes a thread, which others need, and cannot be stopped.
const LOOKUPS_MAX: usize = 16;
/// Names being resolved for one namespace: who waits for a slow name server makes nobody else wait.
const LOOKUPS_PER_NAMESPACE_MAX: usize = 4;
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Hosts of one list.
const HOSTS_MAX: usize = 64;
