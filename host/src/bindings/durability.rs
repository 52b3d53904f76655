//! `facetd:runtime/durability` and its blocking twin: wait for the journal, past the end of the turn.

use tokio::sync::oneshot;
use wasmtime::AsContextMut;
use wasmtime::component::{Accessor, HasSelf};

use crate::bindings::convert::{Answered, answered};
use crate::bindings::wit::facetd::runtime::{blocking_durability, durability};
use crate::isolate::{FacetState, current_event};
use crate::live::Effect;

impl durability::Host for FacetState {}

impl durability::HostWithStore<FacetState> for HasSelf<FacetState> {
    async fn sync(accessor: &Accessor<FacetState, Self>) -> Answered<()> {
        let (tell, told) = oneshot::channel();
        let (event, gate, host) = accessor.with(|mut access| {
            let event = current_event(access.as_context_mut());
            let state = access.get();
            state.alive()?;
            state.send(Effect::Sync(tell));
            wasmtime::error::Ok((event, state.gate.clone(), state.host().clone()))
        })?;
        let synced = async {
            match told.await {
                Ok(dep) => host.durable(dep).await,
                // The turn was lost, and the facet with it.
                Err(_dropped) => Ok(()),
            }
        };
        answered(gate.wait(event, synced).await)
    }
}

impl blocking_durability::Host for FacetState {
    async fn sync(&mut self) -> Answered<()> {
        let dep = self.begin_block().await?;
        let result = self.host().clone().durable(dep).await;
        self.end_block()?;
        answered(result)
    }
}
