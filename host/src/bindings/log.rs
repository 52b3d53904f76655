//! `facetd:runtime/log`: lines for the operator.

use crate::bindings::wit::facetd::runtime::log::{Host, Level};
use crate::isolate::FacetState;

impl Host for FacetState {
    fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        self.alive()?;
        let level = match level {
            Level::Trace => tracing::Level::TRACE,
            Level::Debug => tracing::Level::DEBUG,
            Level::Info => tracing::Level::INFO,
            Level::Warn => tracing::Level::WARN,
            Level::Error => tracing::Level::ERROR,
        };
        self.log(level, &message);
        Ok(())
    }
}
