//! One alarm: a time at which the facet is started, if it does not run, and its method `alarm` is called.
//!
//! It is a part of the facet's storage, set and undone with the turn. The handler runs at least once, never early, and
//! again if it fails: after 2, 4, 8 ... 64 seconds, six times. Facets without a method `alarm` cannot set one.

use std::time::Duration;

use crate::bindings::facetd::runtime::alarms as host;
use crate::clock;
use crate::error::Result;

/// Why the handler runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// For when it was set, milliseconds since 1970.
    pub scheduled_ms: u64,
    /// How many tries came before this one.
    pub retry: u32,
}

/// When the handler is to run next, milliseconds since 1970; none while it runs, unless it has been set again meanwhile.
pub fn get() -> Option<u64> {
    host::get()
}

/// Sets the alarm for a time in milliseconds since 1970, in place of the one that was set. A time that is past is now.
pub fn set_at(at_ms: u64) -> Result<()> {
    Ok(host::set(at_ms)?)
}

/// Sets the alarm, in place of the one that was set.
pub fn set_in(time: Duration) -> Result<()> {
    let ms = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    set_at(clock::now_ms().saturating_add(ms))
}

/// Takes the alarm away, if there is one; and the retry, if the handler runs.
pub fn delete() {
    host::delete();
}
