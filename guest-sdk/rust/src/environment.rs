//! Time, chance and the operator's log. All of them come from the host: the clock and the generator of the Rust standard
//! library do not work in a facet.

use std::time::Duration;

/// Milliseconds for the host: rounded up, so that nothing ends early, and bounded.
pub(crate) fn whole_ms(time: Duration) -> u32 {
    time.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u32::MAX)
}

/// Waiting.
pub mod timers {
    use std::time::Duration;

    /// Waits, which ends the turn: what was written is committed, other events run meanwhile.
    pub async fn sleep(time: Duration) {
        crate::bindings::facetd::runtime::timers::sleep(super::whole_ms(time)).await;
    }
}

/// The time, coarse on purpose: whole milliseconds.
pub mod clock {
    use std::time::Duration;

    use crate::bindings::facetd::runtime::clock as host;

    /// Milliseconds since 1970-01-01T00:00:00Z. May jump.
    pub fn now_ms() -> u64 {
        host::now_ms()
    }

    /// Time since some fixed moment; never goes back within one run of the host.
    pub fn monotonic() -> Duration {
        Duration::from_nanos(host::monotonic_ns())
    }
}

/// The operating system's generator.
pub mod random {
    use crate::bindings::facetd::runtime::random as host;

    /// Bytes fit for keys. At most 65,536 at a time; more is a trap.
    pub fn bytes(len: u32) -> Vec<u8> {
        host::bytes(len)
    }

    /// A number fit for keys.
    pub fn u64() -> u64 {
        host::bytes(8).into_iter().fold(0, |n, byte| n << 8 | u64::from(byte))
    }
}

/// The operator's log: lines appear at once, whatever becomes of the turn. At most 64 KiB per event.
pub mod log {
    use std::fmt::Display;

    use crate::bindings::facetd::runtime::log as host;
    pub use crate::bindings::facetd::runtime::log::Level;

    /// A line of that level.
    pub fn write(level: Level, message: impl Display) {
        host::write(level, &message.to_string());
    }

    /// For following every step.
    pub fn trace(message: impl Display) {
        write(Level::Trace, message);
    }

    /// For finding faults.
    pub fn debug(message: impl Display) {
        write(Level::Debug, message);
    }

    /// What happened.
    pub fn info(message: impl Display) {
        write(Level::Info, message);
    }

    /// What should not have happened, though the facet can go on.
    pub fn warn(message: impl Display) {
        write(Level::Warn, message);
    }

    /// What went wrong.
    pub fn error(message: impl Display) {
        write(Level::Error, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_never_fall_short() {
        assert_eq!(whole_ms(Duration::ZERO), 0);
        assert_eq!(whole_ms(Duration::from_nanos(1)), 1);
        assert_eq!(whole_ms(Duration::from_millis(20)), 20);
        assert_eq!(whole_ms(Duration::MAX), u32::MAX);
    }
}
