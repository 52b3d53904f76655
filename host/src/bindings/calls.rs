//! `facetd:runtime/calls` and its blocking twin.

use wasmtime::AsContextMut;
use wasmtime::component::{Accessor, HasSelf, Resource};

use crate::bindings::convert::{Answered, answer_for_guest, answered, stubs_out};
use crate::bindings::wit::facetd::runtime::types::{Answer, Payload};
use crate::bindings::wit::facetd::runtime::{blocking_calls, calls};
use crate::error::CallError;
use crate::isolate::{FacetState, Outgoing, PendingCall, current_event};
use crate::limits::PENDING_CALLS_MAX;
use crate::live::Stub;
use crate::object::EventId;

impl FacetState {
    fn begin_call(
        &mut self,
        event: Option<EventId>,
        to: &Resource<Stub>,
        method: String,
        args: Payload,
        stubs: Vec<Resource<Stub>>,
        timeout_ms: Option<u32>,
    ) -> wasmtime::Result<Result<Outgoing, CallError>> {
        self.alive()?;
        let to = self.table.get(to)?.clone();
        let stubs = stubs_out(self, stubs)?;
        Ok(self.queue_call(event, to, method, args.into(), stubs, timeout_ms))
    }
}

impl calls::Host for FacetState {}

impl calls::HostWithStore<FacetState> for HasSelf<FacetState> {
    async fn call(
        accessor: &Accessor<FacetState, Self>,
        to: Resource<Stub>,
        method: String,
        args: Payload,
        stubs: Vec<Resource<Stub>>,
        timeout_ms: Option<u32>,
    ) -> Answered<Answer> {
        let (begun, event, gate) = accessor.with(|mut access| {
            let event = current_event(access.as_context_mut());
            let state = access.get();
            let begun = state.begin_call(event, &to, method, args, stubs, timeout_ms)?;
            wasmtime::error::Ok((begun, event, state.gate.clone()))
        })?;
        let outgoing = match begun {
            Ok(outgoing) => outgoing,
            Err(error) => return answered(Err(error)),
        };
        let (result, dep) = gate.wait(event, outgoing.answer()).await;
        accessor.with(|mut access| {
            let state = access.get();
            state.dep = state.dep.max(dep);
            answered(answer_for_guest(state, result))
        })
    }
}

impl blocking_calls::Host for FacetState {
    async fn call(
        &mut self,
        to: Resource<Stub>,
        method: String,
        args: Payload,
        stubs: Vec<Resource<Stub>>,
        timeout_ms: Option<u32>,
    ) -> Answered<Answer> {
        let event = self.sole_event();
        let outgoing = match self.begin_call(event, &to, method, args, stubs, timeout_ms)? {
            Ok(outgoing) => outgoing,
            Err(error) => return answered(Err(error)),
        };
        self.wait_for(outgoing).await
    }

    fn start(
        &mut self,
        to: Resource<Stub>,
        method: String,
        args: Payload,
        stubs: Vec<Resource<Stub>>,
        timeout_ms: Option<u32>,
    ) -> Answered<Resource<PendingCall>> {
        self.alive()?;
        let to = self.table.get(&to)?.clone();
        // Given away even where the call is refused.
        let stubs = stubs_out(self, stubs)?;
        if self.pending_calls >= PENDING_CALLS_MAX {
            let message = format!("at most {PENDING_CALLS_MAX} calls can be started and not waited for");
            return answered(Err(CallError::limit("fan-out", message)));
        }
        if let Err(full) = self.room_for_handle() {
            return answered(Err(full));
        }
        let event = self.sole_event();
        let begun = self.queue_call(event, to, method, args.into(), stubs, timeout_ms);
        let kept = begun.and_then(|outgoing| self.keep(PendingCall(Some(outgoing))));
        self.pending_calls += usize::from(kept.is_ok());
        answered(kept)
    }
}

impl blocking_calls::HostPending for FacetState {
    async fn wait(&mut self, pending: Resource<PendingCall>) -> Answered<Answer> {
        self.alive()?;
        match self.table.get_mut(&pending)?.0.take() {
            Some(outgoing) => self.wait_for(outgoing).await,
            None => answered(Err(CallError::invalid("this call has been waited for already"))),
        }
    }

    fn drop(&mut self, pending: Resource<PendingCall>) -> wasmtime::Result<()> {
        self.table.delete(pending)?;
        self.pending_calls -= 1;
        Ok(())
    }
}

impl FacetState {
    async fn wait_for(&mut self, outgoing: Outgoing) -> Answered<Answer> {
        self.begin_block_for(outgoing.wait()).await?;
        let (result, dep) = outgoing.answer().await;
        self.end_block()?;
        self.dep = self.dep.max(dep);
        answered(answer_for_guest(self, result))
    }
}
