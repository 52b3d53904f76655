//! The contract as wit-bindgen sees it: world `gateway-facet` of the `wit` folder at the top of the repository. What says that
//! a class can do something is apart, so that only those export it that can: [`alarm`] and [`outbound`].
//!
//! Nothing here is written by hand. Use it where the wrappers of this crate lack something; [`Error`](crate::Error)
//! converts from its `CallError`.

// Generated, so the lints of hand-written code do not apply. The path is relative to this crate's Cargo.toml, whoever
// depends on it.
wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package facetd:sdk;
        world sdk-facet {
            include facetd:runtime/facet@0.1.0;
            import facetd:runtime/bodies@0.1.0;
            import facetd:runtime/egress@0.1.0;
            export facetd:runtime/start@0.1.0;
            export facetd:runtime/http@0.1.0;
        }
    ",
    world: "facetd:sdk/sdk-facet",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_bindings",
    default_bindings_module: "facetd_sdk::bindings",
});

/// The alarm handler, which not every class exports.
pub mod alarm {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package facetd:sdk-alarm;
            world sdk-alarm {
                export facetd:runtime/alarm@0.1.0;
            }
        ",
        world: "facetd:sdk-alarm/sdk-alarm",
        with: { "facetd:runtime/types@0.1.0": crate::bindings::facetd::runtime::types },
        pub_export_macro: true,
        export_macro_name: "export_alarm_bindings",
        default_bindings_module: "facetd_sdk::bindings::alarm",
    });
}

/// What is called with the requests of children, which not every class exports.
pub mod outbound {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package facetd:sdk-outbound;
            world sdk-outbound {
                export facetd:runtime/outbound@0.1.0;
            }
        ",
        world: "facetd:sdk-outbound/sdk-outbound",
        with: {
            "facetd:runtime/types@0.1.0": crate::bindings::facetd::runtime::types,
            "facetd:runtime/http-types@0.1.0": crate::bindings::facetd::runtime::http_types,
        },
        pub_export_macro: true,
        export_macro_name: "export_outbound_bindings",
        default_bindings_module: "facetd_sdk::bindings::outbound",
    });
}
