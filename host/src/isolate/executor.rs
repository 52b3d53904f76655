//! Which thread runs a facet. Those that answer and wait run on the runtime's threads, and hand the thread over to whom they
//! wake: waking another thread costs more than a call. One that computes longer than a time slice goes on in the lane for
//! those ([`lane`]), and one that is long in a single import lets its thread be replaced, so that neither keeps others waiting.

pub(super) mod lane;
mod leave;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_task::Runnable;
use futures_util::FutureExt as _;
use tokio::runtime::Handle;

use crate::isolate::meter;
pub(crate) use lane::{Lane, Tenant};
pub(crate) use leave::{block_in_place, lingers};

/// Runs of facets one after the other before tokio may do something else on this thread.
const RUNS_MAX: usize = 64;
/// The same in time: one that computes gives the thread back after its first slice.
const TIME_MAX: Duration = Duration::from_millis(1);

/// What a facet's task carries for those who schedule it.
pub(super) struct Life {
    number: u64,
    tenant: Tenant,
    lane: Weak<Lane>,
    /// It gave its thread back only because its time slice was over, or was long in an import the last time; or another facet
    /// of its object was.
    computes: Arc<AtomicBool>,
}

type Task = Runnable<Life>;

/// The facet that runs on this thread, and whom it has woken so far.
struct Running {
    number: u64,
    tenant: Tenant,
    lane: Weak<Lane>,
    computes: Arc<AtomicBool>,
    woken: Woken,
}

/// Who is woken by the facet that runs.
enum Woken {
    /// Is kept for this thread.
    Here {
        /// One other facet. What else it wakes runs beside it, on threads of tokio's choice.
        other: Option<Task>,
        /// Itself: something became ready while it ran.
        again: Option<Task>,
    },
    /// Runs elsewhere: this thread belongs to those that compute.
    Elsewhere,
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Runs the life of a facet. A panic ends it alone.
pub(super) fn spawn(
    runtime: &Handle,
    lane: &Arc<Lane>,
    tenant: Tenant,
    life: impl Future<Output = ()> + Send + 'static,
) {
    static LIVES: AtomicU64 = AtomicU64::new(0);
    let number = LIVES.fetch_add(1, Ordering::Relaxed);
    let about = Life {
        number,
        tenant,
        lane: Arc::downgrade(lane),
        computes: Arc::new(AtomicBool::new(lane.knows(tenant))),
    };
    let (runtime, lane) = (runtime.clone(), lane.clone());
    let schedule = move |task: Task| {
        if task.metadata().computes.load(Ordering::Relaxed) {
            lane.push(task);
        } else if let Some(task) = offer(number, task) {
            runtime.spawn(async move { run(task) });
        }
    };
    // Unconstrained: tokio's budget is that of the task which happens to run several facets. The caught panic has been
    // printed; what is left of the facet is cleared away by its drop.
    let life = AssertUnwindSafe(tokio::task::unconstrained(life))
        .catch_unwind()
        .map(|_panic| ());
    let (task, handle) = async_task::Builder::new().metadata(about).spawn(|_| life, schedule);
    handle.detach();
    task.schedule();
}

/// Keeps the woken facet for this thread; gives it back if another one is kept already, or if no facet runs here.
fn offer(number: u64, task: Task) -> Option<Task> {
    RUNNING.with_borrow_mut(|running| {
        let Some(Running {
            number: own,
            woken: Woken::Here { other, again },
            ..
        }) = running
        else {
            return Some(task);
        };
        let place = if *own == number { again } else { other };
        match place {
            Some(_) => Some(task),
            None => {
                *place = Some(task);
                None
            }
        }
    })
}

/// Gives whoever this facet has woken to another thread: what comes may take long.
pub(crate) fn let_others_go() {
    let other = RUNNING.with_borrow_mut(|running| match running {
        Some(Running {
            woken: Woken::Here { other, .. },
            ..
        }) => other.take(),
        Some(_) | None => None,
    });
    let Some(other) = other else { return };
    // To tokio: while nobody seems to run here, nothing is kept.
    let running = RUNNING.take();
    other.schedule();
    RUNNING.set(running);
}

/// The facet that runs on this thread may go on without giving it back.
pub(super) fn has_time() -> bool {
    meter::run_so_far() < TIME_MAX
}

/// The facet that runs on this thread goes on in the lane, the next time that it runs.
pub(super) fn to_lane() {
    RUNNING.with_borrow(|running| {
        if let Some(running) = running {
            running.computes.store(true, Ordering::Relaxed);
        }
    });
}

fn run(first: Task) {
    meter::begin();
    let begun = meter::mark();
    let mut queue = VecDeque::from([first]);
    for _ in 0..RUNS_MAX {
        let Some(task) = queue.pop_front() else { return };
        let here = Woken::Here {
            other: None,
            again: None,
        };
        if let Woken::Here { other, again } = run_one(task, here) {
            queue.extend(other.into_iter().chain(again));
        }
        if meter::mark().saturating_duration_since(begun) > TIME_MAX {
            break;
        }
    }
    for task in queue {
        task.schedule();
    }
}

/// Runs a facet until it gives the thread back; answers whom it has woken.
fn run_one(task: Task, woken: Woken) -> Woken {
    let Life {
        number,
        tenant,
        lane,
        computes,
    } = task.metadata();
    // Until it shows it again.
    computes.store(false, Ordering::Relaxed);
    RUNNING.set(Some(Running {
        number: *number,
        tenant: *tenant,
        lane: lane.clone(),
        computes: computes.clone(),
        woken,
    }));
    leave::begin_run();
    task.run();
    RUNNING.take().map_or(Woken::Elsewhere, |running| running.woken)
}
