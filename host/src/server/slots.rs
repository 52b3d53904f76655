//! How many connections there are at a time, in all and of one peer. A place is taken before a byte is read, and given back
//! with the connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::HttpConfig;
use crate::sys::clock;

/// Of this process's descriptors one in so many may be a connection; facets have more than half.
const FILES_PER_CONNECTION: usize = 4;
/// Connections of operators, whatever the others have taken.
const ADMIN_CONNECTIONS_MAX: usize = 100;
/// How often the operator is told that connections are closed at once.
const TELL_EVERY_MS: u64 = 10_000;

/// Who has how many connections.
#[derive(Debug)]
pub(super) struct Slots {
    max: usize,
    per_peer_max: usize,
    taken: Mutex<Taken>,
    told_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    peer: Option<IpAddr>,
}

impl Slots {
    /// As configured, or less if the system gives this process less.
    pub(super) fn of_this_process(http: &HttpConfig) -> Arc<Self> {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        let possible = (files / FILES_PER_CONNECTION).max(1);
        Self::new(http.connections_max.min(possible), http.connections_per_peer_max)
    }

    /// Those of the admin API: strangers cannot take them.
    pub(super) fn of_admin() -> Arc<Self> {
        Self::new(ADMIN_CONNECTIONS_MAX, ADMIN_CONNECTIONS_MAX)
    }

    fn new(max: usize, per_peer_max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            per_peer_max,
            taken: Mutex::default(),
            told_ms: AtomicU64::new(0),
        })
    }

    /// A place for a connection; `peer` is none for one of this machine's users.
    pub(super) fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Slot> {
        let peer = peer.map(owner);
        let taken = &mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = peer.map_or(0, |peer| taken.by_peer.get(&peer).copied().unwrap_or(0));
        if taken.all >= self.max || of_peer >= self.per_peer_max {
            self.tell(peer.filter(|_| taken.all < self.max));
            return None;
        }
        taken.all += 1;
        if let Some(peer) = peer {
            *taken.by_peer.entry(peer).or_default() += 1;
        }
        Some(Slot {
            slots: self.clone(),
            peer,
        })
    }

    fn tell(&self, peer: Option<IpAddr>) {
        let (now_ms, told_ms) = (clock::monotonic_ms(), self.told_ms.load(Ordering::Relaxed));
        if told_ms != 0 && now_ms.saturating_sub(told_ms) < TELL_EVERY_MS {
            return;
        }
        // Under the lock of `take`.
        self.told_ms.store(now_ms, Ordering::Relaxed);
        match peer {
            Some(peer) => tracing::warn!(
                "{peer} has {} connections, as many as one address may (connections_per_peer_max in [host.http]); further \
                 ones are closed at once",
                self.per_peer_max
            ),
            None => tracing::warn!(
                "there are {} connections, as many as there may be (connections_max in [host.http], and a quarter of the \
                 descriptors of this process); further ones are closed at once",
                self.max
            ),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let taken = &mut *self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        let Some(peer) = self.peer else {
            return;
        };
        if let Some(of_peer) = taken.by_peer.get_mut(&peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                taken.by_peer.remove(&peer);
            }
        }
    }
}

/// Who has an address: with IPv6 one customer has 2^64 of them.
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn places_are_counted_in_all_and_for_each_peer() {
        let slots = Slots::new(4, 2);
        let one: Vec<_> = (0..3).map(|_| slots.take(ip("10.0.0.1"))).collect();
        assert!(one[1].is_some() && one[2].is_none(), "two for one peer");
        let other = slots.take(ip("10.0.0.2"));
        let local = slots.take(None);
        assert!(other.is_some() && local.is_some());
        assert!(
            slots.take(None).is_none() && slots.take(ip("10.0.0.3")).is_none(),
            "four in all"
        );
        drop(one);
        drop((other, local));
        let taken = slots.taken.lock().expect("not poisoned");
        assert!(taken.all == 0 && taken.by_peer.is_empty(), "{taken:?}");
    }

    #[test]
    fn addresses_of_one_owner_are_one_peer() {
        let slots = Slots::new(9, 1);
        let held = [slots.take(ip("2001:db8::1")), slots.take(ip("10.0.0.1"))];
        assert!(held.iter().all(Option::is_some));
        assert!(slots.take(ip("2001:db8::ffff:1")).is_none(), "the same /64");
        assert!(slots.take(ip("::ffff:10.0.0.1")).is_none(), "the same address");
        assert!(slots.take(ip("2001:db8:0:1::1")).is_some());
    }
}
