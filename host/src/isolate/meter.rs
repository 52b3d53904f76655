//! CPU time of facets. A facet runs from the moment its task is polled until it gives the thread back, and the thread does
//! nothing for anybody else meanwhile; so a run is charged with the time it took. If that is long, the system may have
//! given the processor to somebody else: then it is charged with no more than the thread was given.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;
use std::time::{Duration, Instant};

use crate::sys::clock;

/// What is shorter counts as it is. The clock of a thread costs twenty times the other one, so it is read for longer runs,
/// and not more often than this before them: by so much may a long run be charged for what ran before it.
const SHORT: Duration = Duration::from_micros(500);

/// CPU time of one facet since it was started, without the run that goes on.
#[derive(Debug, Default)]
pub(crate) struct CpuTime(AtomicU64);

impl CpuTime {
    fn add(&self, time: Duration) {
        self.0.fetch_add(in_ns(time), Ordering::Relaxed);
    }

    pub(crate) fn ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// With the run that goes on. For the facet that runs on this thread.
    pub(super) fn now_ns(&self) -> u64 {
        self.ns() + in_ns(run_so_far())
    }
}

fn in_ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy)]
struct Thread {
    /// When the run began that goes on, or the last one ended.
    mark: Instant,
    /// When the thread's CPU time was last read, and what it was.
    read: Instant,
    cpu: Duration,
}

thread_local! {
    static THREAD: Cell<Option<Thread>> = const { Cell::new(None) };
}

/// Runs follow, one directly after the other.
pub(super) fn begin() {
    let now = clock::now();
    let thread = match THREAD.get() {
        Some(thread) if now.saturating_duration_since(thread.read) < SHORT => Thread { mark: now, ..thread },
        _old => Thread {
            mark: now,
            read: now,
            cpu: clock::thread_cpu(),
        },
    };
    THREAD.set(Some(thread));
}

/// When the last run ended, if none goes on.
pub(super) fn mark() -> Instant {
    THREAD.get().map_or_else(clock::now, |thread| thread.mark)
}

/// How long the run has taken so far, were it alone on the machine.
pub(super) fn run_so_far() -> Duration {
    let Some(thread) = THREAD.get() else {
        return Duration::ZERO;
    };
    let took = clock::now().saturating_duration_since(thread.mark);
    charge(took, || clock::thread_cpu().saturating_sub(thread.cpu))
}

/// The run is over, another one may begin.
fn end() -> Duration {
    let Some(thread) = THREAD.get() else {
        return Duration::ZERO;
    };
    let now = clock::now();
    let mut next = Thread { mark: now, ..thread };
    let charged = charge(now.saturating_duration_since(thread.mark), || {
        (next.read, next.cpu) = (now, clock::thread_cpu());
        next.cpu.saturating_sub(thread.cpu)
    });
    THREAD.set(Some(next));
    charged
}

/// What a run costs. `given`: what the thread was given since it was last asked, which was not long before the run.
fn charge(took: Duration, given: impl FnOnce() -> Duration) -> Duration {
    if took < SHORT { took } else { took.min(given()) }
}

/// The same life, its runs charged to `cpu`.
pub(super) async fn metered<T>(cpu: Arc<CpuTime>, life: impl Future<Output = T>) -> T {
    let mut life = std::pin::pin!(life);
    let poll = |cx: &mut Context<'_>| {
        let polled = life.as_mut().poll(cx);
        cpu.add(end());
        polled
    };
    std::future::poll_fn(poll).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn run(cpu: &Arc<CpuTime>, work: impl FnOnce()) {
        begin();
        let life = std::pin::pin!(metered(cpu.clone(), async { work() }));
        let polled = life.poll(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(polled.is_ready());
    }

    fn compute(time: Duration) {
        let begun = clock::thread_cpu();
        while clock::thread_cpu() - begun < time {}
    }

    #[test]
    fn a_short_run_costs_what_it_took() {
        let asked = || panic!("the dear clock is not asked for a short run");
        assert_eq!(charge(SHORT / 2, asked), SHORT / 2);
    }

    #[test]
    fn a_long_run_costs_no_more_than_the_thread_was_given() {
        assert_eq!(charge(20 * MS, || 3 * MS), 3 * MS);
        assert_eq!(charge(20 * MS, || 21 * MS), 20 * MS);
    }

    #[test]
    fn computing_is_charged() {
        let cpu = Arc::new(CpuTime::default());
        run(&cpu, || compute(20 * MS));
        // The upper bound: `begin` may have kept a reading of half a millisecond before.
        assert!((20_000_000..=21_000_000).contains(&cpu.ns()), "{} ns", cpu.ns());
    }

    #[test]
    fn time_that_the_processor_was_elsewhere_is_not_charged() {
        let cpu = Arc::new(CpuTime::default());
        run(&cpu, || std::thread::sleep(50 * MS));
        assert!(cpu.ns() < 10_000_000, "{} ns", cpu.ns());
    }

    #[test]
    fn a_run_is_not_charged_for_the_one_before() {
        let (first, second) = (Arc::new(CpuTime::default()), Arc::new(CpuTime::default()));
        run(&first, || compute(20 * MS));
        run(&second, || ());
        run(&second, || std::thread::sleep(20 * MS));
        assert!(second.ns() < 10_000_000, "{} ns", second.ns());
    }

    #[test]
    fn the_run_that_goes_on_counts() {
        let cpu = Arc::new(CpuTime::default());
        let seen = cpu.clone();
        run(&cpu, move || {
            compute(5 * MS);
            assert!(seen.now_ns() >= 5_000_000, "{}", seen.now_ns());
            assert_eq!(seen.ns(), 0);
        });
        assert!(cpu.ns() >= 5_000_000);
    }
}
