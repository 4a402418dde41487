//! Environment variables that were granted by name.

use crate::Error;
#[cfg(target_arch = "wasm32")]
use crate::bindings::shared::layerwright::plugin::env as host;

/// The value of a variable; none where it is not set.
///
/// # Errors
/// [`crate::ErrorCode::Denied`] for a variable without a grant.
pub fn get(name: &str) -> Result<Option<String>, Error> {
    #[cfg(target_arch = "wasm32")]
    return host::get(name);
    #[cfg(not(target_arch = "wasm32"))]
    crate::fake::with(|fake| fake.variable(name))
}
