//! Environment variables that were granted by name.

#[cfg(target_arch = "wasm32")]
use crate::bindings::shared::layerwright::plugin::env as host;
use crate::{Error, ErrorCode};

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

/// The value of a variable that is granted, set and not blank.
///
/// # Errors
/// None but those of a host that fails.
pub fn optional(name: &str) -> Result<Option<String>, Error> {
    match get(name) {
        Ok(value) => Ok(value.filter(|value| !value.trim().is_empty())),
        Err(error) if error.code == ErrorCode::Denied => Ok(None),
        Err(error) => Err(error),
    }
}
