//! Stores are dropped one at a time, off the threads that run facets: each takes the kernel's lock on the memory of all, so
//! more of them are no faster, and they would take the processors from those who have just been answered. A while after,
//! what the allocator has kept of them goes back to the system.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::warn;
use wasmtime::Store;

use crate::isolate::FacetState;
use crate::sys::memory;

const STORES_DROPPED_MAX: usize = 1;
static DROPPING: Semaphore = Semaphore::const_new(STORES_DROPPED_MAX);

/// Memory goes back to the system this long after a store was dropped, with that of all that were dropped in between.
const GIVE_BACK_AFTER: Duration = Duration::from_secs(2);
static GIVING_BACK: AtomicBool = AtomicBool::new(false);

/// Takes some time, which those who were answered need not wait for.
pub(super) async fn drop_store(store: Store<FacetState>) {
    {
        let _turn = DROPPING.acquire().await;
        let dropped = tokio::task::spawn_blocking(move || drop(store)).await;
        if let Err(error) = dropped
            && error.is_panic()
        {
            warn!(%error, "dropping a store panicked");
        }
    }
    if !GIVING_BACK.swap(true, Ordering::SeqCst) {
        let giving = Giving;
        tokio::spawn(async move {
            tokio::time::sleep(GIVE_BACK_AFTER).await;
            drop(giving);
            // The runtime may be about to end.
            let _ = tokio::task::spawn_blocking(memory::give_back).await;
        });
    }
}

/// A runtime that ends takes its tasks along; the next one in the process begins anew.
struct Giving;

impl Drop for Giving {
    fn drop(&mut self) {
        GIVING_BACK.store(false, Ordering::SeqCst);
    }
}
