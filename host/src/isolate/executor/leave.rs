//! Nobody waits for a thread that is long in one import. A statement of SQL cannot be put aside and gone on with on another
//! thread, so it keeps its own, and the runtime gets another one in its place.

use std::cell::Cell;
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::{RUNNING, Running, lane, let_others_go, to_lane};
use crate::isolate::meter;

/// A run that has taken so long leaves its thread's place; and again after that, for the place may have come back to it.
const LONG: Duration = Duration::from_millis(5);
/// Until the place has been taken: a thread of the pool has to wake up.
const TAKEN_MAX: Duration = Duration::from_millis(20);

thread_local! {
    /// How long the run that goes on may take before it leaves.
    static LEAVES_AFTER: Cell<Duration> = const { Cell::new(LONG) };
}

pub(super) fn begin_run() {
    LEAVES_AFTER.set(LONG);
}

/// `tokio::task::block_in_place`, which knows nothing of those who wait here, nor of the lane.
pub(crate) fn block_in_place<R>(work: impl FnOnce() -> R) -> R {
    let_others_go();
    match lane::leave() {
        true => work(),
        false => tokio::task::block_in_place(work),
    }
}

/// Asked again and again during what may take long. Leaves the thread's place if it has taken long.
pub(crate) fn lingers() {
    let runs = RUNNING.with_borrow(Option::is_some);
    if !runs {
        return;
    }
    let so_far = meter::run_so_far();
    if so_far < LEAVES_AFTER.get() {
        return;
    }
    LEAVES_AFTER.set(so_far + LONG);
    let_others_go();
    // This object's facets begin in the lane for a while: there they are in nobody's way.
    RUNNING.with_borrow(|running| {
        if let Some(Running { tenant, lane, .. }) = running
            && let Some(lane) = lane.upgrade()
        {
            lane.remember(*tenant);
        }
    });
    to_lane();
    if lane::leave() {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    tokio::task::block_in_place(|| {
        let (taken, is_taken) = mpsc::channel();
        // Queued behind what replaces this thread: when it runs, that has begun.
        runtime.spawn_blocking(move || taken.send(()));
        // An error means that the pool is used up: then the place stays with this thread.
        let _ = is_taken.recv_timeout(TAKEN_MAX);
    });
}
