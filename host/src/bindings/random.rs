//! `facetd:runtime/random`.

use crate::bindings::wit::facetd::runtime::random::Host;
use crate::isolate::{FacetState, GuestEnd};
use crate::limits::RANDOM_BYTES_MAX;
use crate::sys::random;

impl Host for FacetState {
    fn bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        self.alive()?;
        if len > RANDOM_BYTES_MAX {
            return Err(GuestEnd::Random(len).into());
        }
        let mut bytes = vec![0; len as usize];
        random::fill(&mut bytes)?;
        Ok(bytes)
    }
}
