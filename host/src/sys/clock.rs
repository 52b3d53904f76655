//! Time. Guests see it in whole milliseconds; everything inside counts from the start of the process.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(now)
}

/// Now, on the clock that never goes back.
#[allow(clippy::disallowed_methods, reason = "this is the module that may")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since this process first asked; never 0, which stands for "never" where such times are stored.
pub(crate) fn monotonic_ms() -> u64 {
    u64::try_from(now().saturating_duration_since(origin()).as_millis()).map_or(u64::MAX, |ms| ms + 1)
}

/// CPU time of this thread so far. A call of the system, unlike the others here.
pub(crate) fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or(Duration::ZERO)
}

/// Milliseconds since 1970-01-01T00:00:00Z; 0 on a clock that stands before it.
#[allow(clippy::disallowed_methods, reason = "this is the module that may")]
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
