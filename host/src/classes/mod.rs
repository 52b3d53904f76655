//! A class is a component, identified by the SHA-256 of its bytes: inspected before it is stored, compiled once, cached on
//! disk, and shared by all facets that run it.

mod cache;
pub(crate) mod compile;
mod error;
pub(crate) mod imports;
mod inspect;
mod loaded;
mod registry;
mod upload;
mod uploads;

pub use error::ClassError;
pub(crate) use inspect::{Inspected, inspect, read, read_checked, validate};
pub(crate) use registry::{Class, Registry};
pub(crate) use uploads::{component_path, named_in, owners_dir};
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub use {registry::ClassHandle, upload::Upload};
