//! Databases are closed by a few threads, however many facets stop at once: each closing takes the time of some writes, and a
//! thread for each of a thousand would take memory that nobody gives back.

use tokio::sync::Semaphore;
use tokio::task::JoinError;

/// Databases that are closed at a time, of all objects. Some wait for a sync of the journal, which is one for all of them.
pub(crate) const CLOSINGS_MAX: usize = 32;
static CLOSING: Semaphore = Semaphore::const_new(CLOSINGS_MAX);

/// Closes a database, off the threads that run facets, once it is its turn.
pub(crate) async fn closing<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, JoinError> {
    // Held by the work, for whoever waits for it may be gone before it ends.
    let turn = CLOSING.acquire().await;
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_so_many_close_at_a_time() {
        const MANY: usize = 10 * CLOSINGS_MAX;
        // Each goes on when all that may be there are: fewer at a time would never end.
        let all = Arc::new(Barrier::new(CLOSINGS_MAX));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let closings: Vec<_> = (0..MANY)
            .map(|_| {
                let (all, now, most) = (all.clone(), now.clone(), most.clone());
                tokio::spawn(closing(move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    all.wait();
                    now.fetch_sub(1, Ordering::SeqCst);
                }))
            })
            .collect();
        for closing in closings {
            closing.await.unwrap().unwrap();
        }
        let most = most.load(Ordering::SeqCst);
        assert_eq!(most, CLOSINGS_MAX);
    }
}
