//! `facetd:runtime/timers` and its blocking twin. Timers know no deadline (`isolate/deadline.rs` says why).

use std::time::Duration;

use wasmtime::AsContextMut;
use wasmtime::component::{Accessor, HasSelf};

use crate::bindings::wit::facetd::runtime::{blocking_timers, timers};
use crate::isolate::{FacetState, current_event};

impl timers::Host for FacetState {}

impl timers::HostWithStore<FacetState> for HasSelf<FacetState> {
    async fn sleep(accessor: &Accessor<FacetState, Self>, ms: u32) -> wasmtime::Result<()> {
        let (event, gate) = accessor.with(|mut access| {
            let event = current_event(access.as_context_mut());
            let state = access.get();
            state.alive()?;
            wasmtime::error::Ok((event, state.gate.clone()))
        })?;
        tokio::time::sleep(Duration::from_millis(ms.into())).await;
        gate.pass(event).await;
        Ok(())
    }
}

impl blocking_timers::Host for FacetState {
    async fn sleep(&mut self, ms: u32) -> wasmtime::Result<()> {
        self.begin_block().await?;
        tokio::time::sleep(Duration::from_millis(ms.into())).await;
        self.end_block()
    }
}
