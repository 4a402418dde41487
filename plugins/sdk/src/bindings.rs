//! What wit-bindgen makes of `wit/`: one module for what the worlds share, and one for each world's exports, which
//! refers to the shared one. A component carries only the world that it exports, and of the functions of the host only
//! those that it calls. Cargo does not look into `wit/`: a change there takes one here.

#[doc(hidden)]
pub use wit_bindgen::rt;

/// The types that worlds share, and the functions of the host.
#[expect(missing_docs, reason = "generated; the package in `wit/` is documented")]
pub mod shared {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package layerwright:sdk;

            world shared {
                import layerwright:plugin/types@0.1.0;
                import layerwright:plugin/operation@0.1.0;
                import layerwright:plugin/log@0.1.0;
                import layerwright:plugin/inspect@0.1.0;
                import layerwright:plugin/clock@0.1.0;
                import layerwright:plugin/env@0.1.0;
                import layerwright:plugin/files@0.1.0;
                import layerwright:plugin/http@0.1.0;
                import layerwright:plugin/credential-helper@0.1.0;
            }
        ",
        world: "layerwright:sdk/shared",
        runtime_path: "::layerwright_plugin::bindings::rt",
        additional_derives: [PartialEq, Eq],
        generate_all,
    });
}

/// The world `instruction-handler`.
#[expect(missing_docs, reason = "generated; the package in `wit/` is documented")]
pub mod instruction_handler {
    wit_bindgen::generate!({
        path: "wit",
        world: "instruction-handler",
        runtime_path: "::layerwright_plugin::bindings::rt",
        pub_export_macro: true,
        export_macro_name: "export_world",
        additional_derives: [PartialEq, Eq],
        with: {
            "layerwright:plugin/types@0.1.0": super::shared::layerwright::plugin::types,
            "layerwright:plugin/operation@0.1.0": super::shared::layerwright::plugin::operation,
            "layerwright:plugin/log@0.1.0": super::shared::layerwright::plugin::log,
            "layerwright:plugin/inspect@0.1.0": super::shared::layerwright::plugin::inspect,
        },
    });
}

/// The world `auth-provider`.
#[expect(missing_docs, reason = "generated; the package in `wit/` is documented")]
pub mod auth_provider {
    wit_bindgen::generate!({
        path: "wit",
        world: "auth-provider",
        runtime_path: "::layerwright_plugin::bindings::rt",
        pub_export_macro: true,
        export_macro_name: "export_world",
        additional_derives: [PartialEq, Eq],
        with: {
            "layerwright:plugin/types@0.1.0": super::shared::layerwright::plugin::types,
            "layerwright:plugin/log@0.1.0": super::shared::layerwright::plugin::log,
            "layerwright:plugin/clock@0.1.0": super::shared::layerwright::plugin::clock,
            "layerwright:plugin/env@0.1.0": super::shared::layerwright::plugin::env,
            "layerwright:plugin/files@0.1.0": super::shared::layerwright::plugin::files,
            "layerwright:plugin/http@0.1.0": super::shared::layerwright::plugin::http,
            "layerwright:plugin/credential-helper@0.1.0": super::shared::layerwright::plugin::credential_helper,
        },
    });
}

/// The world `mirror-resolver`.
#[expect(missing_docs, reason = "generated; the package in `wit/` is documented")]
pub mod mirror_resolver {
    wit_bindgen::generate!({
        path: "wit",
        world: "mirror-resolver",
        runtime_path: "::layerwright_plugin::bindings::rt",
        pub_export_macro: true,
        export_macro_name: "export_world",
        additional_derives: [PartialEq, Eq],
        with: {
            "layerwright:plugin/types@0.1.0": super::shared::layerwright::plugin::types,
            "layerwright:plugin/log@0.1.0": super::shared::layerwright::plugin::log,
            "layerwright:plugin/env@0.1.0": super::shared::layerwright::plugin::env,
            "layerwright:plugin/files@0.1.0": super::shared::layerwright::plugin::files,
            "layerwright:plugin/http@0.1.0": super::shared::layerwright::plugin::http,
        },
    });
}
