//! The attribute macro of `facetd-sdk`. It writes what an author would write by hand, and nothing that is not visible in
//! the signatures: which methods there are, their arguments, their results.

mod expand;

use proc_macro::TokenStream;

/// Makes the type of this `impl` block the facet class of the component.
///
/// - A `pub` method with `&self` can be called by its name. Arguments and result are any serde types, also inside a
///   `Result`; it may be `async`. [`Stub`](../facetd_sdk/struct.Stub.html)s among them travel as stubs.
/// - A function `start() -> Result<Self>` (or `-> Self`), async or not, runs each time the facet is started. Without it
///   the type's `Default` is used.
/// - A method `fetch(&self, request: http::Request) -> Result<http::Response>` answers HTTP.
/// - A method `alarm(&self, alarm: Alarm) -> Result<()>`, async or not, runs when the facet's alarm is due. Without it
///   alarms cannot be set.
/// - A method `outbound(&self, child: String, request: http::Request) -> Result<http::Response>`, async or not, is handed what
///   children fetch through this facet. Without it none can be given `egress` through this facet.
/// - Other functions are left alone.
///
/// For a type `Counter` it also defines `CounterStub`, with an async method for every method that can be called.
///
/// `#[facet(stub)]` on a trait defines only the stub: for calling facets that are written elsewhere.
#[proc_macro_attribute]
pub fn facet(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::facet(options.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
