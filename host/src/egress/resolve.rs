//! Names to addresses, by the system's resolver: `/etc/hosts` and what `resolv.conf` names. Off the threads that run facets, a
//! few at a time.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::Pin;

/// Kept until the look-up is over, even if nobody waits for it any more.
pub(super) type Permits = Vec<tokio::sync::OwnedSemaphorePermit>;

pub(super) type Resolved = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Who knows the addresses of a name.
pub(super) trait Resolve: Send + Sync {
    fn resolve(&self, name: String, permits: Permits) -> Resolved;
}

pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, name: String, permits: Permits) -> Resolved {
        Box::pin(async move {
            let looked_up = tokio::task::spawn_blocking(move || {
                let _permits = permits;
                let found = (name.as_str(), 0).to_socket_addrs()?;
                Ok(found.map(|address| address.ip()).collect())
            });
            looked_up.await.map_err(io::Error::other)?
        })
    }
}
