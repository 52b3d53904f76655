//! What a facet may know and say about itself.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::bindings::facetd::runtime::context as host;
pub use crate::bindings::facetd::runtime::types::FacetId;
use crate::error::{Payload, Result};
use crate::stub::Stub;

/// The id given by the parent; the object's id for a root.
pub fn id() -> FacetId {
    host::id()
}

/// Names from the root to this facet; empty for a root.
pub fn path() -> Vec<String> {
    host::path()
}

/// The props of the startup, read as JSON; null where none were set, so `Option<T>` is always readable.
pub fn props<T: DeserializeOwned>() -> Result<T> {
    host::props().decode()
}

/// The props as they are.
pub fn raw_props() -> Payload {
    host::props()
}

/// The digest of the class that runs here.
pub fn class_digest() -> String {
    host::class_digest()
}

/// The badge of the stub through which the running event came: chosen by the facet that made the stub, out of the
/// caller's reach. Empty for calls from outside.
pub fn badge() -> String {
    crate::event::badge().as_ref().to_owned()
}

/// A stub of this facet whose calls carry `badge`.
pub fn self_stub(badge: &str) -> Stub {
    Stub::from_raw(host::self_stub(badge))
}

/// Ends this facet with its descendants. The writes of this turn are lost; the next event starts it anew.
pub fn abort_self(reason: &str) -> ! {
    host::abort_self(reason);
    unreachable!("the host does not return from abort-self")
}

/// The time left to the running event, where a deadline applies.
pub fn deadline() -> Option<Duration> {
    host::deadline_ms().map(|ms| Duration::from_millis(ms.into()))
}

/// What this facet and everything below it use.
#[derive(Clone, Copy, Debug, serde::Deserialize, serde::Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// Memory of what runs now.
    pub memory_bytes: u64,
    /// CPU time of what runs now.
    pub cpu_ms: u64,
    /// Storage of what is committed.
    pub storage_bytes: u64,
}

/// What this facet and everything below it use.
pub fn usage() -> Result<Usage> {
    host::usage().decode()
}

/// Closes the facet to its other events until the gate is opened: what is done meanwhile happens as if alone. Call
/// [`Gate::open`]; dropping the gate instead breaks the facet, and so do 30 seconds.
pub fn block() -> Result<Gate> {
    Ok(Gate(host::block()?))
}

/// See [`block`].
#[derive(Debug)]
#[must_use = "a gate that is dropped unopened breaks the facet"]
pub struct Gate(host::Gate);

impl Gate {
    /// Lets the other events go on.
    pub fn open(self) {
        self.0.open();
    }
}
