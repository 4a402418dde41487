//! The time of day.

#[cfg(target_arch = "wasm32")]
use crate::bindings::shared::layerwright::plugin::clock as host;

/// Seconds since 1970-01-01T00:00:00Z.
pub fn now() -> u64 {
    #[cfg(target_arch = "wasm32")]
    return host::now();
    #[cfg(not(target_arch = "wasm32"))]
    crate::fake::with(|fake| fake.time())
}
