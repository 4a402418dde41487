//! From a type that implements a trait to a component.

/// Sends the message of a panic to the host's log before the trap, which has no words of its own.
pub fn install_panic_hook() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| crate::log::warning(panic.to_string()))));
}

/// Makes a component of an [`instruction::InstructionHandler`](crate::instruction::InstructionHandler).
///
/// Where the crate is not built for WebAssembly, it only checks that the trait is there.
#[macro_export]
macro_rules! export_instruction_handler {
    ($handler:ty) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            let _ = <$handler as $crate::instruction::InstructionHandler>::describe;
            let _ = <$handler as $crate::instruction::InstructionHandler>::lower;
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use world::exports::layerwright::plugin::instruction as interface;
            use $crate::bindings::instruction_handler as world;

            struct Component;

            impl interface::Guest for Component {
                fn describe() -> interface::Capabilities {
                    $crate::install_panic_hook();
                    <$handler as $crate::instruction::InstructionHandler>::describe()
                }

                fn lower(
                    instruction: interface::Instruction,
                    stage: interface::Stage,
                ) -> ::core::result::Result<interface::Lowered, interface::Error> {
                    $crate::install_panic_hook();
                    <$handler as $crate::instruction::InstructionHandler>::lower(&instruction, &stage)
                }
            }

            $crate::bindings::instruction_handler::export_world!(
                Component with_types_in $crate::bindings::instruction_handler
            );
        };
    };
}

/// Makes a component of an [`auth::AuthProvider`](crate::auth::AuthProvider).
///
/// Where the crate is not built for WebAssembly, it only checks that the trait is there.
#[macro_export]
macro_rules! export_auth_provider {
    ($provider:ty) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            let _ = <$provider as $crate::auth::AuthProvider>::describe;
            let _ = <$provider as $crate::auth::AuthProvider>::authenticate;
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use world::exports::layerwright::plugin::auth as interface;
            use $crate::bindings::auth_provider as world;

            struct Component;

            impl interface::Guest for Component {
                fn describe() -> interface::Description {
                    $crate::install_panic_hook();
                    <$provider as $crate::auth::AuthProvider>::describe()
                }

                fn authenticate(
                    target: interface::Target,
                ) -> ::core::result::Result<::core::option::Option<interface::Answer>, interface::Error> {
                    $crate::install_panic_hook();
                    <$provider as $crate::auth::AuthProvider>::authenticate(&target)
                }
            }

            $crate::bindings::auth_provider::export_world!(
                Component with_types_in $crate::bindings::auth_provider
            );
        };
    };
}

/// Makes a component of a [`mirror::MirrorResolver`](crate::mirror::MirrorResolver).
///
/// Where the crate is not built for WebAssembly, it only checks that the trait is there.
#[macro_export]
macro_rules! export_mirror_resolver {
    ($resolver:ty) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            let _ = <$resolver as $crate::mirror::MirrorResolver>::describe;
            let _ = <$resolver as $crate::mirror::MirrorResolver>::resolve;
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use world::exports::layerwright::plugin::mirror as interface;
            use $crate::bindings::mirror_resolver as world;

            struct Component;

            impl interface::Guest for Component {
                fn describe() -> interface::Description {
                    $crate::install_panic_hook();
                    <$resolver as $crate::mirror::MirrorResolver>::describe()
                }

                fn resolve(
                    reference: interface::Reference,
                    access: interface::Access,
                ) -> ::core::result::Result<::core::option::Option<interface::Route>, interface::Error> {
                    $crate::install_panic_hook();
                    <$resolver as $crate::mirror::MirrorResolver>::resolve(&reference, access)
                }
            }

            $crate::bindings::mirror_resolver::export_world!(
                Component with_types_in $crate::bindings::mirror_resolver
            );
        };
    };
}
