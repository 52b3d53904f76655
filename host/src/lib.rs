//! A host for *facets*: small stateful programs, each a WebAssembly component in its own wasmtime store with its own SQLite
//! database, arranged in trees that their parents supervise.
//!
//! [`Host`] is the library; the `facetd` binary is [`cli`] around it. `ARCHITECTURE.md` says where things are and which
//! invariants hold.

// Modules that need it say why.
#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod error;
pub mod ids;
pub mod limits;
pub mod startup;

mod alarms;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;

mod bindings;
mod budget;
mod build;
mod classes;
mod egress;
mod grants;
mod host;
mod index;
mod isolate;
mod live;
mod namespace;
mod object;
mod offline;
mod server;
mod storage;
mod sys;

pub use classes::ClassError;
pub use host::{Host, HostError, ObjectRef, Opening};
pub use live::{Report, Usage};
pub use offline::{
    Checked, Damage, Diagnosis, FacetUse, OfflineError, Salvage, StoredClass, StoredClasses, Treatment, check,
    classes as stored_classes, doctor, recover, salvage,
};
pub use server::{DoorError, Doors, Hosted, LISTEN_DEFAULT, OpenDoors, TlsError};
pub use sys::data_dir::DataDirError;
