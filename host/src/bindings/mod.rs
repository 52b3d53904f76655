//! The contract of `wit/`, bound to the store's state: one file per interface, and no policy here. A guest sees results;
//! an `Err` from an import means that the isolate is lost.

mod alarms;
mod calls;
mod classes;
mod clock;
mod context;
mod convert;
mod durability;
mod egress;
mod facets;
mod http;
mod kv;
mod log;
mod objects;
mod random;
mod sql;
mod storage;
mod timers;
mod types;
mod wasi;

pub(crate) use convert::{answer_in, answer_out, payload_out};
pub(crate) use http::{request_in, response_out};

use wasmtime::component::{HasSelf, Linker};

use crate::isolate::FacetState;

/// What the guest imports, generated from the WIT package.
#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
pub(crate) mod wit {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package facetd:host;
            world imports {
                import facetd:runtime/types@0.1.0;
                import facetd:runtime/context@0.1.0;
                import facetd:runtime/clock@0.1.0;
                import facetd:runtime/random@0.1.0;
                import facetd:runtime/log@0.1.0;
                import facetd:runtime/timers@0.1.0;
                import facetd:runtime/blocking-timers@0.1.0;
                import facetd:runtime/storage@0.1.0;
                import facetd:runtime/durability@0.1.0;
                import facetd:runtime/blocking-durability@0.1.0;
                import facetd:runtime/kv@0.1.0;
                import facetd:runtime/sql@0.1.0;
                import facetd:runtime/alarms@0.1.0;
                import facetd:runtime/facets@0.1.0;
                import facetd:runtime/objects@0.1.0;
                import facetd:runtime/classes@0.1.0;
                import facetd:runtime/calls@0.1.0;
                import facetd:runtime/blocking-calls@0.1.0;
                import facetd:runtime/http-types@0.1.0;
                import facetd:runtime/bodies@0.1.0;
                import facetd:runtime/blocking-bodies@0.1.0;
                import facetd:runtime/egress@0.1.0;
                import facetd:runtime/blocking-egress@0.1.0;
            }
        ",
        world: "facetd:host/imports",
        imports: {
            "facetd:runtime/context.block": store | trappable,
            "facetd:runtime/context.deadline-ms": store | trappable,
            "facetd:runtime/classes.[static]upload.finish": async | trappable,
            "facetd:runtime/blocking-timers.sleep": async | trappable,
            "facetd:runtime/blocking-durability.sync": async | trappable,
            "facetd:runtime/blocking-calls.call": async | trappable,
            "facetd:runtime/blocking-calls.[method]pending.wait": async | trappable,
            "facetd:runtime/blocking-bodies.read": async | trappable,
            "facetd:runtime/blocking-bodies.write": async | trappable,
            "facetd:runtime/blocking-egress.fetch": async | trappable,
            default: trappable,
        },
        with: {
            "facetd:runtime/types.stub": crate::live::Stub,
            "facetd:runtime/types.class": crate::classes::ClassHandle,
            "facetd:runtime/context.gate": crate::bindings::context::GateHandle,
            "facetd:runtime/storage.transaction": crate::bindings::storage::TransactionHandle,
            "facetd:runtime/sql.cursor": crate::bindings::sql::CursorHandle,
            "facetd:runtime/facets.startup": crate::bindings::facets::StartupBuilder,
            "facetd:runtime/classes.upload": crate::classes::Upload,
            "facetd:runtime/blocking-calls.pending": crate::isolate::PendingCall,
            "facetd:runtime/http-types.body": crate::bindings::http::BodyEntry,
            "facetd:runtime/http-types.body-writer": crate::bindings::http::WriterEntry,
        },
        require_store_data_send: true,
    });
}

use wit::facetd::runtime;

/// Links every interface, both flavours of those that wait, and the closed WASI set.
pub(crate) fn add_to_linker(linker: &mut Linker<FacetState>) -> wasmtime::Result<()> {
    type D = HasSelf<FacetState>;
    let state: fn(&mut FacetState) -> &mut FacetState = |state| state;
    runtime::types::add_to_linker::<_, D>(linker, state)?;
    runtime::context::add_to_linker::<_, D>(linker, state)?;
    runtime::clock::add_to_linker::<_, D>(linker, state)?;
    runtime::random::add_to_linker::<_, D>(linker, state)?;
    runtime::log::add_to_linker::<_, D>(linker, state)?;
    runtime::timers::add_to_linker::<_, D>(linker, state)?;
    runtime::blocking_timers::add_to_linker::<_, D>(linker, state)?;
    runtime::storage::add_to_linker::<_, D>(linker, state)?;
    runtime::durability::add_to_linker::<_, D>(linker, state)?;
    runtime::blocking_durability::add_to_linker::<_, D>(linker, state)?;
    runtime::kv::add_to_linker::<_, D>(linker, state)?;
    runtime::sql::add_to_linker::<_, D>(linker, state)?;
    runtime::alarms::add_to_linker::<_, D>(linker, state)?;
    runtime::facets::add_to_linker::<_, D>(linker, state)?;
    runtime::objects::add_to_linker::<_, D>(linker, state)?;
    runtime::classes::add_to_linker::<_, D>(linker, state)?;
    runtime::calls::add_to_linker::<_, D>(linker, state)?;
    runtime::blocking_calls::add_to_linker::<_, D>(linker, state)?;
    runtime::http_types::add_to_linker::<_, D>(linker, state)?;
    runtime::bodies::add_to_linker::<_, D>(linker, state)?;
    runtime::blocking_bodies::add_to_linker::<_, D>(linker, state)?;
    runtime::egress::add_to_linker::<_, D>(linker, state)?;
    runtime::blocking_egress::add_to_linker::<_, D>(linker, state)?;
    wasi::add_to_linker(linker)
}
