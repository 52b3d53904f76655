//! HTTP requests to the network, where that is granted. A component that calls [`fetch`] imports it and loads only with a
//! grant; one that does not needs none.
//!
//! A grant is a list of hosts, or goes through the parent, whose method `outbound` then sees each request:
//!
//! ```no_run
//! use facetd_sdk::prelude::*;
//!
//! const SECRET: &str = "Bearer ...";
//!
//! #[derive(Default)]
//! pub struct Gateway;
//!
//! #[facet]
//! impl Gateway {
//!     pub async fn run(&self, plugin: String) -> Result<i64> {
//!         let startup = Startup::new(&classes::named(&plugin)?).egress_through_parent()?;
//!         children::get(&plugin, &startup)?.call("run", facetd_sdk::NO_ARGS).await
//!     }
//!
//!     /// Hands on what goes to one host, with a header that the child never sees.
//!     async fn outbound(&self, child: String, request: http::Request) -> Result<http::Response> {
//!         if !request.uri.starts_with("https://api.example.com/") {
//!             return fail!("not-there", "{child} may ask api.example.com only");
//!         }
//!         egress::fetch(request.with_header("authorization", SECRET)).await
//!     }
//! }
//! # fn main() {}
//! ```

use crate::bindings::facetd::runtime::egress as host;
use crate::error::Result;
use crate::http::{Request, Response};

/// Sends a request and answers when the head of the response is there; its body is read piece by piece. A status of 3xx,
/// 4xx or 5xx is no error, and no redirect is followed.
///
/// ```no_run
/// # async fn f() -> facetd_sdk::Result<()> {
/// use facetd_sdk::{egress, http::Request};
/// let response = egress::fetch(Request::get("https://api.example.com/items?page=2")).await?;
/// let items: Vec<String> = response.body.json(1 << 20).await?;
/// # Ok(()) }
/// ```
pub async fn fetch(request: Request) -> Result<Response> {
    Ok(host::fetch(request).await?)
}
