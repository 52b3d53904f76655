//! Facets that call each other hand the thread over instead of waking another one: who is woken by a facet runs next, on
//! the same thread, unless the time is up. Waking a thread costs more than a call. Everything else is left to tokio.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_task::Runnable;
use futures_util::FutureExt as _;
use tokio::runtime::Handle;

use crate::isolate::meter;

/// Runs of facets one after the other before tokio may do something else on this thread.
const RUNS_MAX: usize = 64;
/// The same in time: one that computes gives the thread back after its first slice.
const TIME_MAX: Duration = Duration::from_millis(1);

/// The facet that runs on this thread, and whom it has woken so far.
struct Running {
    life: u64,
    /// One other facet. What else it wakes runs beside it, on threads of tokio's choice.
    other: Option<Runnable<u64>>,
    /// Itself: something became ready while it ran.
    again: Option<Runnable<u64>>,
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Runs the life of a facet. A panic ends it alone.
pub(super) fn spawn(runtime: &Handle, life: impl Future<Output = ()> + Send + 'static) {
    static LIVES: AtomicU64 = AtomicU64::new(0);
    let id = LIVES.fetch_add(1, Ordering::Relaxed);
    let runtime = runtime.clone();
    let schedule = move |runnable: Runnable<u64>| {
        if let Some(runnable) = offer(id, runnable) {
            runtime.spawn(async move { run(runnable) });
        }
    };
    // Unconstrained: tokio's budget is that of the task which happens to run several facets. The caught panic has been
    // printed; what is left of the facet is cleared away by its drop.
    let life = AssertUnwindSafe(tokio::task::unconstrained(life))
        .catch_unwind()
        .map(|_panic| ());
    let (runnable, task) = async_task::Builder::new().metadata(id).spawn(|_| life, schedule);
    task.detach();
    runnable.schedule();
}

/// Keeps the woken facet for this thread; gives it back if another one is kept already, or if no facet runs here.
fn offer(life: u64, runnable: Runnable<u64>) -> Option<Runnable<u64>> {
    RUNNING.with_borrow_mut(|running| {
        let Some(running) = running else { return Some(runnable) };
        let place = if running.life == life {
            &mut running.again
        } else {
            &mut running.other
        };
        match place {
            Some(_) => Some(runnable),
            None => {
                *place = Some(runnable);
                None
            }
        }
    })
}

/// Gives whoever this facet has woken to another thread: what comes may take long.
pub(crate) fn let_others_go() {
    let Some(mut running) = RUNNING.take() else { return };
    if let Some(other) = running.other.take() {
        // To tokio: while nobody seems to run here, nothing is kept.
        other.schedule();
    }
    RUNNING.set(Some(running));
}

/// `tokio::task::block_in_place`, which knows nothing of those who wait here.
pub(super) fn block_in_place<R>(work: impl FnOnce() -> R) -> R {
    let_others_go();
    tokio::task::block_in_place(work)
}

/// The facet that runs on this thread may go on without giving it back.
pub(super) fn has_time() -> bool {
    meter::run_so_far() < TIME_MAX
}

fn run(first: Runnable<u64>) {
    meter::begin();
    let begun = meter::mark();
    let mut queue = VecDeque::from([first]);
    for _ in 0..RUNS_MAX {
        let Some(runnable) = queue.pop_front() else { return };
        let life = *runnable.metadata();
        RUNNING.set(Some(Running {
            life,
            other: None,
            again: None,
        }));
        runnable.run();
        if let Some(Running { other, again, .. }) = RUNNING.take() {
            queue.extend(other.into_iter().chain(again));
        }
        if meter::mark().saturating_duration_since(begun) > TIME_MAX {
            break;
        }
    }
    for runnable in queue {
        runnable.schedule();
    }
}
