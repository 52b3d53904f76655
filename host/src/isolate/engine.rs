//! One engine for all isolates, with every proposal switched off that guests do not need: young features bring the bad
//! bugs.

use wasmtime::{Config, Engine};

/// Length of an epoch: the time slice of a facet, and the unit in which its CPU time is sampled.
pub(crate) const EPOCH_TICK_MS: u64 = 5;

/// Stack of guest code. Its overflow is a trap.
const WASM_STACK_BYTES: usize = 256 << 10;

/// Stack of a fiber. What is above `WASM_STACK_BYTES` belongs to the host's imports, SQLite among them; its overflow would
/// end the process.
const FIBER_STACK_BYTES: usize = 1 << 20;

/// An engine for facets.
pub(crate) fn new_engine() -> wasmtime::Result<Engine> {
    engine(true)
}

/// One whose facets nobody can interrupt.
pub(crate) fn uninterruptible_engine() -> wasmtime::Result<Engine> {
    engine(false)
}

fn engine(interrupts: bool) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(interrupts);
    config.max_wasm_stack(WASM_STACK_BYTES);
    config.async_stack_size(FIBER_STACK_BYTES);
    config.wasm_memory64(false);
    // On: wasmtime's own adapters between the parts of a component have two memories, and QuickJS guests have such parts.
    config.wasm_multi_memory(true);
    config.wasm_relaxed_simd(false);
    config.wasm_component_model_async(true);
    // Signals stay on: without them bounds checks lose their spectre mitigations.
    Engine::new(&config)
}
