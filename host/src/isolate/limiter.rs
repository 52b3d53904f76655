//! Memories and tables of one isolate together stay within one limit; `wasmtime::StoreLimits` would allow it per memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wasmtime::ResourceLimiter;

use crate::live::Control;

/// What one element of a table costs.
const TABLE_ELEMENT_BYTES: u64 = 16;
/// Core instances, memories and tables of one component. componentize-py, the largest toolchain, needs about 30.
const PARTS_MAX: usize = 200;

/// Sums up what the isolate has.
pub(crate) struct Limiter {
    limit_bytes: u64,
    used_bytes: u64,
    /// Something was refused: what traps next has run out of memory.
    pub(crate) refused: bool,
    control: Arc<Control>,
}

impl Limiter {
    pub(crate) fn new(limit_bytes: u64, control: Arc<Control>) -> Self {
        Self {
            limit_bytes,
            used_bytes: 0,
            refused: false,
            control,
        }
    }

    fn grow(&mut self, current: u64, desired: u64) -> bool {
        let used = self.used_bytes.saturating_add(desired.saturating_sub(current));
        if used > self.limit_bytes {
            self.refused = true;
            return false;
        }
        self.used_bytes = used;
        self.control.memory_bytes.store(used, Ordering::Relaxed);
        true
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(current as u64, desired as u64))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(
            current as u64 * TABLE_ELEMENT_BYTES,
            desired as u64 * TABLE_ELEMENT_BYTES,
        ))
    }

    fn instances(&self) -> usize {
        PARTS_MAX
    }

    fn memories(&self) -> usize {
        PARTS_MAX
    }

    fn tables(&self) -> usize {
        PARTS_MAX
    }
}
