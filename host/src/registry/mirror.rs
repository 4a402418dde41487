//! Who may say where an image is to be had other than at its own registry.

use std::time::Duration;

use async_trait::async_trait;

use super::auth::Access;
use super::settings::canonical;

/// Says where an image is to be had. May be called for many images at once.
#[async_trait]
pub trait MirrorResolver: Send + Sync {
    /// The way to an image; none where this resolver has no opinion.
    ///
    /// # Errors
    /// [`MirrorError::Blocked`] where the image may not be used at all, [`MirrorError::Failed`] where the resolver could
    /// not find out; both end the transfer.
    async fn resolve(
        &self,
        registry: &str,
        repository: &str,
        version: &MirrorVersion,
        access: Access,
    ) -> Result<Option<Route>, MirrorError>;
}

/// Which image of a repository.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum MirrorVersion {
    /// A name that may move.
    Tag(String),
    /// `sha256:…`
    Digest(String),
}

/// The way to an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// In the order to try them.
    pub endpoints: Vec<MirrorEndpoint>,
    /// Whether the image's own registry comes last.
    pub fallback: bool,
}

impl Route {
    /// Whether a registry itself is among the endpoints.
    pub(super) fn names(&self, registry: &str) -> bool {
        let authority = |root: &str| root.split_once("://").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default().to_owned();
        self.endpoints.iter().any(|endpoint| canonical(&authority(&endpoint.root)) == canonical(registry))
    }
}

/// One place that may have the image.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MirrorEndpoint {
    /// The root of the API: `https://host[:port]/v2`.
    pub root: String,
    /// The repository there.
    pub repository: String,
    /// Whether it is trusted to say which digest a tag stands for.
    pub resolve: bool,
    /// Whether it is trusted to serve content.
    pub pull: bool,
    /// Whether it takes content.
    pub push: bool,
    /// Whether it is told the image's registry as `?ns=`.
    pub namespace: bool,
    /// Added to requests to this endpoint and to no other.
    pub headers: Vec<(String, String)>,
    /// How to speak TLS with it; none for the usual way.
    pub tls: Option<MirrorTls>,
    /// For a connection to come about, where that is less than the usual limit.
    pub connect_timeout: Option<Duration>,
}

/// How to speak TLS with an endpoint; paths of PEM files.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct MirrorTls {
    /// In place of the system's roots; empty keeps those.
    pub roots: Vec<String>,
    /// Certificate and key.
    pub client: Option<(String, String)>,
    /// Accepts any certificate, and plain HTTP where the root says so.
    pub skip_verification: bool,
}

/// Why there is no way to an image.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MirrorError {
    /// The image may not be used.
    #[error("blocked: {0}")]
    Blocked(String),
    /// The resolver could not find out.
    #[error("{0}")]
    Failed(String),
}
