//! `facetd:runtime/alarms`: the facet's own alarm.

use crate::bindings::convert::{Answered, answered};
use crate::bindings::wit::facetd::runtime::alarms::Host;
use crate::error::CallError;
use crate::isolate::{FacetState, GuestEnd};
use crate::storage::StorageError;
use crate::sys::clock;

/// There is no result to say it with, and a facet that cannot read its own database has lost more than its alarm.
fn lost(error: StorageError) -> wasmtime::Error {
    GuestEnd::uncommitted(error).into()
}

impl Host for FacetState {
    fn get(&mut self) -> wasmtime::Result<Option<u64>> {
        self.alive()?;
        self.storage().alarm().map_err(lost)
    }

    fn set(&mut self, at_ms: u64) -> Answered<()> {
        self.alive()?;
        if !self.class.exports.has_alarm() {
            let message = "this class exports neither alarm nor blocking-alarm, so nothing would run";
            return answered(Err(CallError::invalid(message)));
        }
        answered(self.storage().set_alarm(at_ms, clock::unix_ms()).map_err(Into::into))
    }

    fn delete(&mut self) -> wasmtime::Result<()> {
        self.alive()?;
        self.storage().delete_alarm().map_err(lost)
    }
}
