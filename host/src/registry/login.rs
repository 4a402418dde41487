//! Finding out whether a registry takes a credential.

use super::Client;
use super::auth::Access;
use super::error::RegistryError;

impl Client {
    /// Shows a registry the credential that the providers have for it (distribution-spec, "Determining Support").
    ///
    /// # Errors
    /// The registry cannot be reached, or refuses the credential. A registry that asks nobody for a credential takes every one.
    pub async fn check_login(&self, registry: &str) -> Result<(), RegistryError> {
        let endpoint = self.own(registry, "", Access::Pull);
        let checked = match endpoint.version().await {
            Ok(answer) if answer.response.status().is_success() => Ok(()),
            Ok(answer) => Err(endpoint.failed(answer).await),
            Err(cause) => Err(cause),
        };
        checked.map_err(|cause| RegistryError::new("log in to", registry, cause))
    }
}
