//! Credentials for registries: the trait to implement, and what it answers.

use crate::bindings::auth_provider::exports::layerwright::plugin::auth as generated;
use crate::{Description, Error};

pub use generated::{Answer, Basic, Credential, Target};

/// Finds credentials for registries.
pub trait AuthProvider {
    /// Says what the provider is and what it wants.
    fn describe() -> Description;

    /// Finds the credential for a target; none where the provider does not know the registry.
    ///
    /// # Errors
    /// Where the provider knows the registry and failed; the build stops rather than going on without credentials.
    fn authenticate(target: &Target) -> Result<Option<Answer>, Error>;
}

impl Credential {
    /// A user name and a password.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Basic(Basic { username: username.into(), password: password.into() })
    }
}

impl Answer {
    /// A credential for a `registry` or `registry/path` that is good for the whole build.
    pub fn new(credential: Credential, valid_for: impl Into<String>) -> Self {
        Self { credential, valid_for: valid_for.into(), expires: None }
    }

    /// Says when to ask again, in seconds since 1970.
    #[must_use]
    pub fn expires(mut self, seconds: u64) -> Self {
        self.expires = Some(seconds);
        self
    }
}
