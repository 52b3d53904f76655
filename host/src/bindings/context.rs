//! `facetd:runtime/context`: what a facet may know and say about itself.

use std::sync::atomic::Ordering;

use wasmtime::AsContextMut;
use wasmtime::component::{Access, HasSelf, Resource};

use crate::bindings::convert::{Answered, answered, facet_id_out};
use crate::bindings::payload_out;
use crate::bindings::wit::facetd::runtime::context::{Host, HostGate, HostWithStore};
use crate::bindings::wit::facetd::runtime::types::{FacetId, Payload};
use crate::error::CallError;
use crate::isolate::{FacetState, GuestEnd, current_event};
use crate::limits::{GATE_HELD_MS_MAX, LABEL_BYTES_MAX};
use crate::live::{Stub, Target};
use crate::startup::{self, Format};
use crate::sys::clock;

/// `context.gate`: the gate that this facet holds.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub struct GateHandle {
    opened: bool,
}

impl Host for FacetState {
    fn id(&mut self) -> wasmtime::Result<FacetId> {
        self.alive()?;
        Ok(facet_id_out(&self.identity.id))
    }

    fn path(&mut self) -> wasmtime::Result<Vec<String>> {
        self.alive()?;
        Ok(self.identity.path.iter().map(|name| name.as_str().to_owned()).collect())
    }

    fn props(&mut self) -> wasmtime::Result<Payload> {
        self.alive()?;
        Ok(payload_out(self.identity.props.clone()))
    }

    fn class_digest(&mut self) -> wasmtime::Result<String> {
        self.alive()?;
        Ok(self.class.digest.to_string())
    }

    fn self_stub(&mut self, badge: String) -> wasmtime::Result<Resource<Stub>> {
        self.alive()?;
        if badge.len() > LABEL_BYTES_MAX {
            // No result to refuse with: a badge that long is a bug of the guest.
            return Err(CallError::limit("badge", format!("a badge has at most {LABEL_BYTES_MAX} bytes")).into());
        }
        let target = Target {
            object: self.object.clone(),
            node: self.control.node,
            epoch: self.epoch.clone(),
            badge: badge.into(),
        };
        Ok(self.keep(Stub::Facet(target))?)
    }

    fn abort_self(&mut self, reason: String) -> wasmtime::Result<()> {
        Err(GuestEnd::AbortSelf(reason).into())
    }

    fn usage(&mut self) -> wasmtime::Result<Payload> {
        self.alive()?;
        let usage = self.object.usage(self.control.node);
        let body = serde_json::to_vec(&usage)?;
        Ok(payload_out(startup::Payload {
            format: Format::Json,
            body,
        }))
    }
}

impl HostWithStore<FacetState> for HasSelf<FacetState> {
    fn deadline_ms(mut access: Access<'_, FacetState, Self>) -> wasmtime::Result<Option<u32>> {
        let event = current_event(access.as_context_mut());
        let state = access.get();
        state.alive()?;
        let deadline = event
            .and_then(|event| state.events.get(&event))
            .and_then(|event| event.deadline);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
        Ok(left.map(|left| u32::try_from(left.as_millis()).unwrap_or(u32::MAX)))
    }

    fn block(mut access: Access<'_, FacetState, Self>) -> Answered<Resource<GateHandle>> {
        let event = current_event(access.as_context_mut());
        let state = access.get();
        state.alive()?;
        if !state.gate.close(event) {
            return answered(Err(CallError::invalid(
                "the gate of this facet is held already; open it first",
            )));
        }
        let gate = state.keep(GateHandle { opened: false });
        match &gate {
            Ok(_) => {
                let deadline_ms = clock::monotonic_ms() + GATE_HELD_MS_MAX;
                state.control.gate_deadline_ms.store(deadline_ms, Ordering::Relaxed);
            }
            Err(_) => state.gate.open(),
        }
        state.note_held();
        answered(gate)
    }
}

impl HostGate for FacetState {
    fn open(&mut self, gate: Resource<GateHandle>) -> wasmtime::Result<()> {
        self.alive()?;
        let gate = self.table.get_mut(&gate)?;
        if !std::mem::replace(&mut gate.opened, true) {
            self.control.gate_deadline_ms.store(0, Ordering::Relaxed);
            self.gate.open();
            self.note_held();
        }
        Ok(())
    }

    fn drop(&mut self, gate: Resource<GateHandle>) -> wasmtime::Result<()> {
        match self.table.delete(gate)?.opened {
            true => Ok(()),
            false => Err(GuestEnd::Gate.into()),
        }
    }
}
