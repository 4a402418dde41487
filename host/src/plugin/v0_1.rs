//! The bindings of `layerwright:plugin@0.1`, generated from `wit/`, and how a store's state is linked to what a plugin imports.

use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use super::shape::{Import, Shape};
use super::state::State;

/// The interfaces that plugins import, once for all worlds.
pub(super) mod imports {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package layerwright:host;

            world imports {
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
        world: "layerwright:host/imports",
    });
}

/// What an instruction handler exports.
pub(super) mod instruction_handler {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "layerwright:plugin/instruction-handler",
        with: {
            "layerwright:plugin/types": super::wit::types,
            "layerwright:plugin/operation": super::wit::operation,
            "layerwright:plugin/log": super::wit::log,
            "layerwright:plugin/inspect": super::wit::inspect,
        },
    });
}

/// What a provider of credentials exports.
pub(super) mod auth_provider {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "layerwright:plugin/auth-provider",
        with: {
            "layerwright:plugin/types": super::wit::types,
            "layerwright:plugin/log": super::wit::log,
            "layerwright:plugin/clock": super::wit::clock,
            "layerwright:plugin/env": super::wit::env,
            "layerwright:plugin/files": super::wit::files,
            "layerwright:plugin/http": super::wit::http,
            "layerwright:plugin/credential-helper": super::wit::credential_helper,
        },
    });
}

/// What a mirror resolver exports.
pub(super) mod mirror_resolver {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "layerwright:plugin/mirror-resolver",
        with: {
            "layerwright:plugin/types": super::wit::types,
            "layerwright:plugin/log": super::wit::log,
            "layerwright:plugin/env": super::wit::env,
            "layerwright:plugin/files": super::wit::files,
            "layerwright:plugin/http": super::wit::http,
        },
    });
}

pub(super) use imports::layerwright::plugin as wit;

/// What the error of a function says that is not linked, before and after its name.
pub(super) const UNLINKED: (&str, &str) = ("unknown import: `", "` has not been defined");

/// Links a component to those interfaces that it imports and is `granted` something of, and to no others: a call of another one traps.
///
/// So does what it imports of WASI, since its toolchain knows no better: a plugin has no such authority.
pub(super) fn link(component: &Component, shape: &Shape, granted: impl Fn(Import) -> bool) -> wasmtime::Result<InstancePre<State>> {
    let mut linker = Linker::<State>::new(component.engine());
    let linked: Vec<Import> = shape.imports.iter().copied().filter(|import| granted(*import)).collect();
    for import in &linked {
        let linker = &mut linker;
        match import {
            Import::Types => wit::types::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?,
            Import::Operation => wit::operation::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?,
            Import::Log => wit::log::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?,
            Import::Inspect => wit::inspect::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?,
            Import::Clock => wit::clock::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?,
            Import::Env => wit::env::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?,
            Import::Files => wit::files::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?,
            Import::Http => wit::http::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?,
            Import::CredentialHelper => wit::credential_helper::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?,
        }
    }
    if !shape.wasi.is_empty() || linked.len() < shape.imports.len() {
        linker.define_unknown_imports_as_traps(component)?;
    }
    linker.instantiate_pre(component)
}
