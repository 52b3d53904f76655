//! How many facets run at a time, over all objects: what the system lends a process in mappings and descriptors. Near the
//! end of it idle facets are evicted at once; past it none is started.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Mappings of a facet that has been called, measured with wasmtime 48 and rounded up.
const MAPS_PER_FACET: usize = 6;
/// Descriptors of a facet with an open database, and one for its connection to a client.
const FILES_PER_FACET: usize = 3;
/// `vm.max_map_count` of Linux, where it cannot be read.
const MAPS_DEFAULT: usize = 65_530;
/// Descriptors where there is no limit to be read.
const FILES_DEFAULT: usize = 1_024;

/// Counts the facets of one host.
#[derive(Debug)]
pub(crate) struct Room {
    running: AtomicUsize,
    max: usize,
}

impl Room {
    /// Four fifths of what the system gives this process.
    pub(crate) fn of_this_process() -> Self {
        let maps = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
        let maps = maps.and_then(|text| text.trim().parse().ok()).unwrap_or(MAPS_DEFAULT);
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let files = files.map_or(FILES_DEFAULT, |files| usize::try_from(files).unwrap_or(usize::MAX));
        let max = (maps / MAPS_PER_FACET).min(files / FILES_PER_FACET) / 5 * 4;
        Self {
            running: AtomicUsize::new(0),
            max: max.max(1),
        }
    }

    /// Takes a place. False if there is none.
    pub(crate) fn enter(&self) -> bool {
        let entered = |running: usize| (running < self.max).then_some(running + 1);
        self.running
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, entered)
            .is_ok()
    }

    pub(crate) fn leave(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    /// More than three quarters are taken.
    pub(crate) fn is_scarce(&self) -> bool {
        self.running.load(Ordering::Relaxed) > self.max / 4 * 3
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }
}
