//! How many facets run at a time: in the host what the system lends a process in mappings and descriptors, in a namespace and
//! in an object a part of that, so that one of them does not keep all others out. Near the end of it the facets that have been idle for longest make place; whoever finds none waits
//! for that, and is refused only if nobody goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sys::clock;

/// Mappings of a facet that has been called, measured with wasmtime 48 and rounded up.
const MAPS_PER_FACET: usize = 6;
/// Descriptors of a facet with an open database, one for its connection to a client, and one by which its class is mapped.
const FILES_PER_FACET: usize = 4;
/// `vm.max_map_count` of Linux, where it cannot be read.
const MAPS_DEFAULT: usize = 65_530;
/// Descriptors where there is no limit to be read.
const FILES_DEFAULT: usize = 1_024;
/// Facets that wait for a place; more are refused at once.
const WAITING_MAX: usize = 1_024;
/// How long one waits: idle facets close their databases within this time, or the disk is in trouble.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often the operator is told that the host is full.
const TELL_EVERY_MS: u64 = 10_000;

/// A facet's leave to run, in each room that it is in; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(#[allow(dead_code, reason = "held, not used")] Vec<OwnedSemaphorePermit>);

/// Counts the facets of one object, of one namespace, or of the host.
#[derive(Debug)]
pub(crate) struct Room {
    /// What has so much room and no more, in a message.
    whose: &'static str,
    above: Option<Arc<Room>>,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    max: usize,
    wait_max: Duration,
    told_ms: AtomicU64,
}

impl Room {
    /// Four fifths of what the system gives this process, or `max` if that is less.
    pub(crate) fn of_this_process(max: Option<usize>) -> Self {
        let maps = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
        let maps = maps.and_then(|text| text.trim().parse().ok()).unwrap_or(MAPS_DEFAULT);
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let files = files.map_or(FILES_DEFAULT, |files| usize::try_from(files).unwrap_or(usize::MAX));
        let possible = (maps / MAPS_PER_FACET).min(files / FILES_PER_FACET) / 5 * 4;
        Self::new("this host", possible.min(max.unwrap_or(usize::MAX)), None)
    }

    /// A room within another one; that one itself if it would be no smaller.
    pub(crate) fn within(above: &Arc<Self>, whose: &'static str, max: usize) -> Arc<Self> {
        match max < above.max {
            true => Arc::new(Self::new(whose, max, Some(above.clone()))),
            false => above.clone(),
        }
    }

    fn new(whose: &'static str, max: usize, above: Option<Arc<Self>>) -> Self {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            whose,
            above,
            places: Arc::new(Semaphore::new(max)),
            waiting: AtomicUsize::new(0),
            max,
            wait_max: WAIT_MAX,
            told_ms: AtomicU64::new(0),
        }
    }

    /// Takes a place, as soon as there is one: in the object first, so that who waits for its own kind takes nobody else's.
    /// Answers the room in which too many wait, or nobody goes.
    pub(crate) async fn enter(&self) -> Result<Place, &Self> {
        let mut permits = Vec::with_capacity(3);
        for room in self.chain() {
            permits.push(room.enter_alone().await.ok_or(room)?);
        }
        Ok(Place(permits))
    }

    /// This one, and those that it is in.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |room| room.above.as_deref())
    }

    async fn enter_alone(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = Waiting::new(&self.waiting)?;
        self.tell();
        let place = tokio::time::timeout(self.wait_max, self.places.clone().acquire_owned()).await;
        // The semaphore is never closed.
        place.ok()?.ok()
    }

    fn tell(&self) {
        let now_ms = clock::monotonic_ms();
        let told_ms = self.told_ms.load(Ordering::Relaxed);
        let is_due = told_ms == 0 || now_ms.saturating_sub(told_ms) > TELL_EVERY_MS;
        let told = self
            .told_ms
            .compare_exchange(told_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        if is_due && told.is_ok() {
            tracing::warn!(
                "{} facets run, as many as {} has room for: those that are idle make place for others",
                self.max,
                self.whose
            );
        }
    }

    /// How many idle facets should go now: a quarter of all places is kept free for those that come.
    pub(crate) fn excess(&self) -> usize {
        let running = self.max - self.places.available_permits().min(self.max);
        let spared = (self.max - self.max / 4).max(1);
        running.saturating_sub(spared) + self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    pub(crate) fn whose(&self) -> &'static str {
        self.whose
    }
}

/// Counted among those who wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Option<Self> {
        let waits = |waiting: usize| (waiting < WAITING_MAX).then_some(waiting + 1);
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, waits).ok()?;
        Some(Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_no_place_waits_for_one_and_not_for_ever() {
        let mut room = Room::new("it", 2, None);
        room.wait_max = Duration::from_millis(20);
        let (one, other) = (room.enter().await, room.enter().await);
        assert!(one.is_ok() && other.is_ok());
        assert_eq!(room.excess(), 0, "two run, and two of two may");
        let third = {
            let third = room.enter();
            tokio::pin!(third);
            assert!(futures_util::poll!(third.as_mut()).is_pending());
            assert_eq!(room.excess(), 1, "somebody waits");
            drop(one);
            third.await
        };
        assert!(third.is_ok());
        assert!(room.enter().await.is_err(), "nobody goes");
        assert_eq!(room.excess(), 0);
    }

    #[test]
    fn a_quarter_is_kept_free() {
        let room = Room::new("it", 100, None);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let places: Vec<_> = runtime.block_on(async {
            let mut places = Vec::new();
            for _ in 0..80 {
                places.push(room.enter().await);
            }
            places
        });
        assert_eq!(room.excess(), 5);
        drop(places);
        assert_eq!(room.excess(), 0);
    }

    #[tokio::test]
    async fn a_room_within_another_takes_no_more_than_its_part() {
        let mut host = Room::new("the host", 4, None);
        host.wait_max = Duration::from_millis(20);
        let host = Arc::new(host);
        let within = |max| {
            let mut room = Room::new("a part", max, Some(host.clone()));
            room.wait_max = Duration::from_millis(20);
            room
        };
        let (greedy, other) = (within(3), within(3));
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(greedy.enter().await.expect("its part"));
        }
        assert_eq!(greedy.enter().await.expect_err("no more").whose(), "a part");
        let _one = other.enter().await.expect("the greedy one left a place");
        assert_eq!(other.enter().await.expect_err("the host is full").whose(), "the host");
        taken.pop();
        assert!(
            other.enter().await.is_ok(),
            "who was refused above has given back what it had"
        );
    }
}
