//! Who may give credentials, and how long they are kept.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

/// Gives credentials for registries.
///
/// May be called for many targets at once. The client keeps an answer until it expires or is refused, so an
/// implementation needs no cache of its own.
#[async_trait]
pub trait AuthProvider: Send + Sync {
    /// The credential for a target; none where this provider does not know the registry.
    ///
    /// # Errors
    /// The provider knows the registry and failed: the caller stops instead of going on without a credential.
    async fn credential(&self, target: &AuthTarget) -> Result<Option<AuthAnswer>, AuthError>;
}

/// What a credential is for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AuthTarget {
    /// `host` or `host:port`; Docker Hub is `docker.io`.
    pub registry: String,
    /// Path below the registry.
    pub repository: String,
    /// What is to be done there.
    pub access: Access,
}

/// What is to be done in a repository.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
}

/// A credential and how far and how long it is good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthAnswer {
    /// How to show who is asking.
    pub credential: Credential,
    /// `registry`, or `registry/path` with all below that path.
    pub valid_for: String,
    /// In seconds since 1970; none for the whole run.
    pub expires: Option<u64>,
}

/// How to show who is asking.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credential {
    /// Nobody in particular.
    Anonymous,
    /// RFC 7617, towards the registry or its token server.
    Basic {
        /// Without a colon.
        username: String,
        /// Or a token that stands for one.
        password: Secret,
    },
    /// An OAuth2 refresh token for the registry's token server.
    IdentityToken(Secret),
    /// A bearer token for the registry itself.
    RegistryToken(Secret),
}

/// A text that prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a provider that knows a registry has no credential for it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{provider}: {message}")]
pub struct AuthError {
    /// Who failed.
    pub provider: String,
    /// Why.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Asks providers in turn; the first that answers or fails decides.
pub struct Chain(Vec<Arc<dyn AuthProvider>>);

impl Chain {
    /// The providers in the order to ask them.
    pub fn new(providers: Vec<Arc<dyn AuthProvider>>) -> Self {
        Self(providers)
    }
}

#[async_trait]
impl AuthProvider for Chain {
    async fn credential(&self, target: &AuthTarget) -> Result<Option<AuthAnswer>, AuthError> {
        for provider in &self.0 {
            let Some(answer) = provider.credential(target).await? else { continue };
            if !answer.covers(target) {
                return Err(AuthError {
                    provider: "credentials".to_owned(),
                    message: format!("a credential for {:?} was offered for {}/{}", answer.valid_for, target.registry, target.repository),
                    hint: None,
                });
            }
            return Ok(Some(answer));
        }
        Ok(None)
    }
}

impl AuthAnswer {
    /// Whether the credential may be shown for a target: its registry is the same, and its path is the target's
    /// repository or a parent of it.
    pub fn covers(&self, target: &AuthTarget) -> bool {
        let Some(rest) = self.valid_for.strip_prefix(&target.registry) else { return false };
        match rest.strip_prefix('/') {
            None => rest.is_empty(),
            Some(path) => target.repository.strip_prefix(path).is_some_and(|below| below.is_empty() || below.starts_with('/')),
        }
    }
}

impl Credential {
    /// The texts that must never be shown.
    pub(super) fn secrets(&self) -> Option<&Secret> {
        match self {
            Self::Anonymous => None,
            Self::Basic { password: secret, .. } | Self::IdentityToken(secret) | Self::RegistryToken(secret) => Some(secret),
        }
    }
}

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for sending it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_its_registry_and_what_is_below_its_path() {
        let target = AuthTarget { registry: "r.io:5".into(), repository: "a/b".into(), access: Access::Pull };
        let answer = |valid_for: &str| AuthAnswer { credential: Credential::Anonymous, valid_for: valid_for.into(), expires: None };
        for good in ["r.io:5", "r.io:5/a", "r.io:5/a/b"] {
            assert!(answer(good).covers(&target), "{good}");
        }
        for bad in ["", "r.io", "r.io:55", "r.io:5/", "r.io:5/a/b/c", "r.io:5/a/bb", "r.io:5/x", "other.io"] {
            assert!(!answer(bad).covers(&target), "{bad}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let shown = format!("{:?} {}", Credential::IdentityToken(Secret::new("hush")), Secret::new("hush"));
        assert!(!shown.contains("hush"), "{shown}");
    }
}
