//! Pure decisions about one object's tree: no wasmtime, no SQLite, no clock, no I/O. Calls come in, effects go out, and
//! `live` carries them out under one lock.

mod changes;
mod epoch;
mod node;
mod nodes;
mod rules;
mod tree;
mod waits;

pub(crate) use changes::{StoredFacet, TreeChange, TurnChanges};
pub(crate) use epoch::{Cause, Epoch};
pub(crate) use node::{FacetInfo, IncarnationId, NodeId};
pub(crate) use tree::{Borrow, CopiesError, Copy, Delivery, Kill, Owner, Source, Start, Stored, Tree, TreeError};
pub(crate) use waits::{EventId, Hold, Wait, Waiting, is_never_taken};

#[cfg(test)]
mod tests;
