//! Docker credential helpers that were granted by name.

use crate::Error;
use crate::bindings::shared::layerwright::plugin::credential_helper as host;

pub use host::Entry;

/// Runs `docker-credential-<name> get`; none where the helper says that it has no credentials for the server.
///
/// # Errors
/// [`crate::ErrorCode::Denied`] for a helper without a grant, [`crate::ErrorCode::NotFound`] where it is not installed.
pub fn get(name: &str, server: &str) -> Result<Option<Entry>, Error> {
    #[cfg(target_arch = "wasm32")]
    return host::get(name, server);
    #[cfg(not(target_arch = "wasm32"))]
    crate::fake::with(|fake| fake.run_helper(name, server))
}
