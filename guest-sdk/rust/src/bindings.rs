//! The contract as wit-bindgen sees it: world `full-facet` of the `wit` folder at the top of the repository.
//!
//! Nothing here is written by hand. Use it where the wrappers of this crate lack something; [`Error`](crate::Error)
//! converts from its `CallError`.

// Generated, so the lints of hand-written code do not apply. The path is relative to this crate's Cargo.toml, whoever
// depends on it.
wit_bindgen::generate!({
    path: "../../wit",
    world: "full-facet",
    pub_export_macro: true,
    export_macro_name: "export_bindings",
    default_bindings_module: "facetd_sdk::bindings",
});
