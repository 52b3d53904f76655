//! Memories and tables of one isolate together stay within one limit; `wasmtime::StoreLimits` would allow it per memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wasmtime::ResourceLimiter;

use crate::budget::{Budget, Share};
use crate::live::Control;

/// What one element of a table costs.
const TABLE_ELEMENT_BYTES: u64 = 16;
/// Core instances, memories and tables of one component. componentize-py, the largest toolchain, needs about 30.
const PARTS_MAX: usize = 200;

/// Sums up what the isolate has.
pub(crate) struct Limiter {
    limit_bytes: u64,
    used_bytes: u64,
    /// Something was refused, and why: what traps next has run out of memory.
    pub(crate) refused: Option<String>,
    /// Of what the tree, the namespace and the host have together.
    share: Share,
    control: Arc<Control>,
}

impl Limiter {
    pub(crate) fn new(limit_bytes: u64, shared: Arc<Budget>, control: Arc<Control>) -> Self {
        Self {
            limit_bytes,
            used_bytes: 0,
            refused: None,
            share: Share::none(shared),
            control,
        }
    }

    fn grow(&mut self, current: u64, desired: u64) -> bool {
        let more = desired.saturating_sub(current);
        let used = self.used_bytes.saturating_add(more);
        if used > self.limit_bytes {
            let limit_mib = self.limit_bytes >> 20;
            self.refused = Some(format!("the facet needs more than its {limit_mib} MiB of memory"));
            return false;
        }
        if let Err(full) = self.share.grow(more) {
            let (whose, limit_mib) = (full.whose(), full.limit() >> 20);
            self.refused = Some(format!(
                "there is no memory left for the facet: {whose} has {limit_mib} MiB for all together"
            ));
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
