//! `facetd:runtime/clock`: whole milliseconds, so that it measures no neighbour.

use crate::bindings::wit::facetd::runtime::clock::Host;
use crate::isolate::FacetState;
use crate::sys::clock;

impl Host for FacetState {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        self.alive()?;
        Ok(clock::unix_ms())
    }

    fn monotonic_ns(&mut self) -> wasmtime::Result<u64> {
        self.alive()?;
        Ok(clock::monotonic_ms().saturating_mul(1_000_000))
    }
}
