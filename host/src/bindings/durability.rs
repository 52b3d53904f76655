//! `facetd:runtime/durability` and its blocking twin: wait for the journal, past the end of the turn.

use std::time::Instant;

use tokio::sync::oneshot;
use wasmtime::AsContextMut;
use wasmtime::component::{Accessor, HasSelf};

use crate::bindings::convert::{Answered, answered};
use crate::bindings::wit::facetd::runtime::{blocking_durability, durability};
use crate::error::{CallError, Outcome};
use crate::host::HostInner;
use crate::isolate::{FacetState, current_event, time_is_up, until};
use crate::live::Effect;
use crate::storage::Lsn;

/// Waits for the journal, as long as the event has time. What was written stays, and may be on disk already.
async fn durable(host: &HostInner, dep: Lsn, deadline: Option<Instant>) -> Result<(), CallError> {
    let waited = until(deadline, host.durable(dep)).await;
    waited.unwrap_or_else(|| Err(time_is_up().outcome(Outcome::Unknown)))
}

impl durability::Host for FacetState {}

impl durability::HostWithStore<FacetState> for HasSelf<FacetState> {
    async fn sync(accessor: &Accessor<FacetState, Self>) -> Answered<()> {
        let (tell, told) = oneshot::channel();
        let (event, gate, deadline, host) = accessor.with(|mut access| {
            let event = current_event(access.as_context_mut());
            let state = access.get();
            state.alive()?;
            state.send(Effect::Sync(tell));
            let deadline = state.deadline_of(event);
            wasmtime::error::Ok((event, state.gate.clone(), deadline, state.host().clone()))
        })?;
        let synced = async {
            match told.await {
                Ok(dep) => durable(&host, dep, deadline).await,
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
        let deadline = self.deadline_of(self.sole_event());
        let result = durable(&self.host().clone(), dep, deadline).await;
        self.end_block()?;
        answered(result)
    }
}
