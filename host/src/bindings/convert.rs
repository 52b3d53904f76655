//! Between the contract's types and ours. Handles become entries of the isolate's table on the way in, and leave it on the
//! way out.

use wasmtime::component::Resource;

use crate::bindings::wit::facetd::runtime::types as wit;
use crate::error::{CallError, Kind, Outcome};
use crate::isolate::FacetState;
use crate::live::{self, Stub};
use crate::startup::{FacetId, Format, Payload};
use crate::storage::StorageError;

/// What an import answers: the outer error ends the isolate, the inner one is the guest's.
pub(super) type Answered<T> = wasmtime::Result<Result<T, wit::CallError>>;

/// Ends an import with a result that a guest sees.
pub(super) fn answered<T>(result: Result<T, CallError>) -> Answered<T> {
    Ok(result.map_err(Into::into))
}

impl From<wit::Format> for Format {
    fn from(format: wit::Format) -> Self {
        match format {
            wit::Format::Bytes => Self::Bytes,
            wit::Format::Json => Self::Json,
            wit::Format::Cbor => Self::Cbor,
        }
    }
}

impl From<wit::Payload> for Payload {
    fn from(payload: wit::Payload) -> Self {
        Self {
            format: payload.format.into(),
            body: payload.body,
        }
    }
}

/// For the guest.
pub(crate) fn payload_out(payload: Payload) -> wit::Payload {
    let format = match payload.format {
        Format::Bytes => wit::Format::Bytes,
        Format::Json => wit::Format::Json,
        Format::Cbor => wit::Format::Cbor,
    };
    wit::Payload {
        format,
        body: payload.body,
    }
}

impl From<CallError> for wit::CallError {
    fn from(error: CallError) -> Self {
        let outcome = match error.outcome {
            Outcome::NotApplied => wit::Outcome::NotApplied,
            Outcome::Applied => wit::Outcome::Applied,
            Outcome::Unknown => wit::Outcome::Unknown,
        };
        Self {
            kind: error.kind.word().into(),
            code: error.code,
            message: error.message,
            outcome,
            detail: error.detail.map(payload_out),
        }
    }
}

impl From<StorageError> for CallError {
    fn from(error: StorageError) -> Self {
        let kind = match error {
            StorageError::InvalidArgument(_) => Kind::InvalidArgument,
            StorageError::Limit { .. } => Kind::Limit,
            StorageError::Storage { .. } => Kind::Storage,
        };
        let error = error.logged();
        Self::new(kind, error.code(), error.to_string())
    }
}

pub(super) fn facet_id_out(id: &FacetId) -> wit::FacetId {
    match id {
        FacetId::Object(id) => wit::FacetId::Object(id.to_string()),
        FacetId::Text(text) => wit::FacetId::Text(text.clone()),
    }
}

/// Gives stubs to the guest, all or none.
pub(crate) fn answer_in(state: &mut FacetState, stubs: Vec<Stub>) -> Result<Vec<Resource<Stub>>, CallError> {
    let mut kept = Vec::with_capacity(stubs.len());
    for stub in stubs {
        match state.keep(stub) {
            Ok(handle) => kept.push(handle),
            Err(error) => {
                for handle in kept {
                    // Just kept; the guest has not seen it.
                    let _ = state.table.delete(handle);
                }
                return Err(error);
            }
        }
    }
    Ok(kept)
}

/// Takes stubs from the guest.
pub(super) fn stubs_out(state: &mut FacetState, stubs: Vec<Resource<Stub>>) -> wasmtime::Result<Vec<Stub>> {
    stubs.into_iter().map(|stub| Ok(state.table.delete(stub)?)).collect()
}

/// A guest's answer on its way to the caller.
pub(crate) fn answer_out(state: &mut FacetState, answer: wit::Answer) -> Result<live::Answer, CallError> {
    let stubs = stubs_out(state, answer.stubs).map_err(|error| CallError::invalid(error.to_string()))?;
    let value = Payload::from(answer.value);
    // The turn is over: what the method did has happened.
    crate::isolate::check_payload(&value).map_err(|error| error.outcome(Outcome::Applied))?;
    Ok(live::Answer { value, stubs })
}

/// A caller's answer on its way into the guest.
pub(super) fn answer_for_guest(
    state: &mut FacetState,
    result: Result<live::Answer, CallError>,
) -> Result<wit::Answer, CallError> {
    let answer = result?;
    let stubs = answer_in(state, answer.stubs).map_err(|error| error.outcome(Outcome::Applied))?;
    Ok(wit::Answer {
        value: payload_out(answer.value),
        stubs,
    })
}
