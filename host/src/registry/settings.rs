//! How the client speaks to registries: plain data, read by nobody but it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::auth::Access;
use super::origin::is_local_name;

/// What the operator says about registries. Registries are named `host` or `host:port` as in an image reference, by their
/// [`canonical`] name.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// Registries that may be spoken to without TLS.
    pub insecure_registries: BTreeSet<String>,
    /// Whether every registry that is pushed to may be spoken to without TLS.
    pub insecure_push: bool,
    /// Whether every registry that is pulled from may be spoken to without TLS.
    pub insecure_pull: bool,
    /// Whether any certificate is taken from any registry.
    pub skip_tls_verify: bool,
    /// Whether any certificate is taken from any registry that is pulled from.
    pub skip_tls_verify_pull: bool,
    /// Registries whose certificate is not checked.
    pub skip_tls_verify_registries: BTreeSet<String>,
    /// For each registry a PEM file of roots to trust beside the system's, for that registry alone.
    pub certificates: BTreeMap<String, PathBuf>,
    /// For each registry the PEM files of a certificate and its key to present.
    pub client_certificates: BTreeMap<String, (PathBuf, PathBuf)>,
    /// `host` or `host:port` that token realms, redirects and upload locations may name although the address is private.
    pub trusted_hosts: BTreeSet<String>,
    /// Where not empty, the only hosts that token realms may name, beside the registry's own.
    pub trusted_realms: BTreeSet<String>,
    /// Tries of a push beyond the usual ones.
    pub push_retry: u32,
    /// Tries of a pull beyond the usual ones.
    pub download_retry: u32,
    /// Transfers of blobs at a time, in each direction.
    pub parallel: usize,
    /// For a connection to come about.
    pub connect_timeout: Duration,
    /// For an answer to begin, and between two pieces of a body.
    pub idle_timeout: Duration,
    /// For all waiting between the tries of one request.
    pub retry_deadline: Duration,
    /// Whether HTTP/2 is not spoken, for servers and proxies that do it badly.
    pub no_http2: bool,
    /// Sent with every request.
    pub user_agent: String,
    /// A directory of manifests and configurations by digest, `<hex>` each; none keeps them in memory only.
    pub content_cache: Option<PathBuf>,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            insecure_registries: BTreeSet::new(),
            insecure_push: false,
            insecure_pull: false,
            skip_tls_verify: false,
            skip_tls_verify_pull: false,
            skip_tls_verify_registries: BTreeSet::new(),
            certificates: BTreeMap::new(),
            client_certificates: BTreeMap::new(),
            trusted_hosts: BTreeSet::new(),
            trusted_realms: BTreeSet::new(),
            push_retry: 0,
            download_retry: 0,
            parallel: 4,
            connect_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            retry_deadline: Duration::from_secs(180),
            no_http2: false,
            user_agent: concat!("layerwright/", env!("CARGO_PKG_VERSION")).to_owned(),
            content_cache: None,
        }
    }
}

/// A registry by the name that the settings have it under: Docker Hub and its API are one, and a port that TLS has anyway
/// is none.
pub fn canonical(registry: &str) -> &str {
    match registry.strip_suffix(":443").filter(|host| !host.ends_with(':')).unwrap_or(registry) {
        "index.docker.io" | "registry-1.docker.io" => crate::oci::DOCKER_HUB,
        other => other,
    }
}

/// Whether a registry may be spoken to without TLS.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Plain {
    /// Never.
    Refused,
    /// Where TLS is not spoken there: it is this machine, or an address of a private network.
    Local,
    /// Where TLS is not spoken there: the operator says so.
    Allowed,
}

impl RegistrySettings {
    /// Whether `registry` may be spoken to without TLS.
    pub(super) fn plain(&self, registry: &str, access: Access) -> Plain {
        let all = match access {
            Access::Pull => self.insecure_pull,
            Access::Push => self.insecure_push,
        };
        if all || self.insecure_registries.contains(canonical(registry)) {
            Plain::Allowed
        } else if is_local_name(registry) {
            Plain::Local
        } else {
            Plain::Refused
        }
    }

    /// Whether the certificate of `registry` is not to be checked.
    pub(super) fn skips_verification(&self, registry: &str, access: Access) -> bool {
        self.skip_tls_verify
            || (self.skip_tls_verify_pull && access == Access::Pull)
            || self.skip_tls_verify_registries.contains(canonical(registry))
    }

    /// How often a request is tried at most.
    pub(super) fn tries(&self, access: Access) -> u32 {
        let more = match access {
            Access::Pull => self.download_retry,
            Access::Push => self.push_retry,
        };
        more.min(100).saturating_add(5)
    }
}
