//! `facetd:runtime/egress` and its blocking twin.

use wasmtime::AsContextMut;
use wasmtime::component::{Accessor, HasSelf};

use crate::bindings::convert::{Answered, answered};
use crate::bindings::http::{request_out, response_in};
use crate::bindings::wit::facetd::runtime::http_types::{Request, Response};
use crate::bindings::wit::facetd::runtime::{blocking_egress, egress};
use crate::error::CallError;
use crate::isolate::{FacetState, Outgoing, current_event};
use crate::live::HttpResponse;
use crate::object::EventId;

impl FacetState {
    fn begin_fetch(
        &mut self,
        event: Option<EventId>,
        request: Request,
    ) -> wasmtime::Result<Result<Outgoing<HttpResponse>, CallError>> {
        self.alive()?;
        Ok(request_out(self, request).and_then(|request| self.queue_request(event, request)))
    }
}

impl egress::Host for FacetState {}

impl egress::HostWithStore<FacetState> for HasSelf<FacetState> {
    async fn fetch(accessor: &Accessor<FacetState, Self>, request: Request) -> Answered<Response> {
        let (begun, event, gate) = accessor.with(|mut access| {
            let event = current_event(access.as_context_mut());
            let state = access.get();
            wasmtime::error::Ok((state.begin_fetch(event, request)?, event, state.gate.clone()))
        })?;
        let outgoing = match begun {
            Ok(outgoing) => outgoing,
            Err(error) => return answered(Err(error)),
        };
        let (result, dep) = gate.wait(event, outgoing.answer()).await;
        accessor.with(|mut access| {
            let state = access.get();
            state.dep = state.dep.max(dep);
            answered(result.and_then(|response| response_in(state, response)))
        })
    }
}

impl blocking_egress::Host for FacetState {
    async fn fetch(&mut self, request: Request) -> Answered<Response> {
        let event = self.sole_event();
        let outgoing = match self.begin_fetch(event, request)? {
            Ok(outgoing) => outgoing,
            Err(error) => return answered(Err(error)),
        };
        self.begin_block_for(outgoing.wait()).await?;
        let (result, dep) = outgoing.answer().await;
        self.end_block()?;
        self.dep = self.dep.max(dep);
        answered(result.and_then(|response| response_in(self, response)))
    }
}
