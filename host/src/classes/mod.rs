//! A class is a component, identified by the SHA-256 of its bytes: inspected before it is stored, compiled once, cached on
//! disk, and shared by all facets that run it.

mod cache;
mod inspect;
mod registry;
mod upload;

pub(crate) use inspect::inspect;
pub use registry::ClassError;
pub(crate) use registry::{Class, Registry};
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub use {registry::ClassHandle, upload::Upload};
