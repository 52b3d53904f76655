//! Write facets for facetd in Rust.
//!
//! The rule of this crate: it adds types to the contract in `wit/`, never meaning. Every function here is one function of
//! the host with its arguments and results as Rust values; what a turn is, what an abort does and when an answer leaves
//! is said there.
//!
//! A facet is a type with methods. Methods that are `pub` and take `&self` can be called, by name with a JSON array of
//! arguments, or from another facet through the stub that `#[facet]` generates:
//!
//! ```no_run
//! use facetd_sdk::prelude::*;
//!
//! #[derive(Default)]
//! pub struct Counter;
//!
//! #[facet]
//! impl Counter {
//!     /// Adds `by`; answers the new value.
//!     pub fn increment(&self, by: i64) -> Result<i64> {
//!         let value = self.value()? + by;
//!         kv::put("value", &value)?;
//!         Ok(value)
//!     }
//!
//!     pub fn value(&self) -> Result<i64> {
//!         Ok(kv::get("value")?.unwrap_or(0))
//!     }
//!
//!     /// The same on a child called `name`.
//!     pub async fn increment_child(&self, name: String, by: i64) -> Result<i64> {
//!         let child = CounterStub::from(children::get(&name, &Startup::new(&classes::own()?))?);
//!         child.increment(by).await
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! Arguments and results of your own are types with serde's `Serialize` and `Deserialize`; add `serde` with its feature
//! `derive` to your dependencies for them.
//!
//! The crate compiles for any target, so that the pure parts of a facet can be tested with `cargo test`; functions of the
//! host panic outside of one.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod alarms;
mod args;
mod base64;
#[expect(missing_docs, reason = "generated")]
#[allow(
    unused_qualifications,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    rustdoc::all
)]
pub mod bindings;
pub mod children;
pub mod classes;
pub mod context;
mod de;
pub mod egress;
mod environment;
mod error;
mod event;
mod facet;
pub mod http;
pub mod json;
pub mod kv;
pub mod objects;
pub mod sql;
pub mod storage;
mod stub;

pub use base64::Bytes;
pub use environment::{clock, log, random, timers};
pub use error::{Error, Outcome, Payload, Result, outcome_name};
pub use event::spawn;
pub use facet::{Facet, no_such_method};
pub use facetd_sdk_macros::facet;
pub use stub::{Answer, NO_ARGS, Pending, Stub, join_all};

pub use serde;
pub use serde_json;

/// What most facets need: `use facetd_sdk::prelude::*`.
pub mod prelude {
    pub use crate::alarms::Alarm;
    pub use crate::children::Startup;
    pub use crate::{Bytes, Error, Facet, Payload, Result, Stub, fail, params};
    pub use crate::{
        alarms, children, classes, clock, context, egress, facet, http, kv, log, objects, random, sql, storage, timers,
    };
}

/// What macros of this crate expand to; no promise is kept about it.
#[doc(hidden)]
pub mod __private {
    pub use crate::args::Args;
    pub use crate::facet::{export_alarm, export_call, export_fetch, export_outbound, export_start};
}
