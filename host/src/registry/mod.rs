//! A client of the OCI distribution specification.
//!
//! Four rules on where credentials go hold throughout: a credential is bound to scheme, host and port of the registry
//! that it is for and to that registry's token server; token servers, redirects and upload locations that a registry
//! names are followed only where `origin` allows; what lies on another origin gets no credential; and only validated
//! names, tags and digests become parts of a URL.

pub mod auth;
mod blob;
mod body;
mod challenge;
mod endpoint;
mod error;
mod keychain;
mod login;
mod manifest;
pub mod mirror;
mod origin;
mod pull;
mod push;
mod referrers;
mod route;
mod settings;
mod tags;
mod tls;
mod token;
mod transport;
mod upload;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Semaphore;

use crate::oci::Digest;
use crate::progress::{Event, Reporter};

pub use auth::{Access, AuthAnswer, AuthError, AuthProvider, AuthTarget, Chain, Credential, Secret};
pub use error::{Cause, Refused, RegistryError};
pub use manifest::Fetched;
pub use mirror::{MirrorEndpoint, MirrorError, MirrorResolver, MirrorTls, MirrorVersion, Route};
pub use origin::Refusal;
pub use pull::RemoteImage;
pub use push::{PushBlob, PushContent, Pushed};
pub use settings::{RegistrySettings, canonical};

use keychain::Keychain;
use manifest::ContentCache;
use transport::Transport;

/// How many more questions are asked at a time than blobs are sent: an answer is short.
const PROBES: usize = 3;

/// Speaks to registries. Cheap to clone; clones share connections, tokens and what is known of registries. Safe to use
/// for many transfers at a time.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<Transport>,
    keychain: Arc<Keychain>,
    resolvers: Vec<Arc<dyn MirrorResolver>>,
    reporter: Arc<dyn Reporter>,
    cache: ContentCache,
    downloads: Semaphore,
    uploads: Semaphore,
    /// Questions about blobs that are to be uploaded.
    probes: Semaphore,
    memory: Mutex<Memory>,
}

/// What a run has learnt.
#[derive(Default)]
struct Memory {
    hosts: HashMap<route::HostKey, Arc<endpoint::Host>>,
    routes: HashMap<route::RouteKey, Option<Route>>,
    /// By registry and repository, the root of the API that served the manifest.
    served: HashMap<(String, String), String>,
    /// Roots that served other content than was asked for.
    bad: HashSet<String>,
    /// Repositories, by registry, that have a blob.
    holders: HashMap<Digest, Vec<(String, String)>>,
    /// Blobs that this run has seen to be in a repository that it pushes to.
    pushed: HashSet<(String, String, Digest)>,
    images: HashMap<(String, String), Arc<tokio::sync::OnceCell<RemoteImage>>>,
    flights: HashMap<String, Weak<tokio::sync::Mutex<()>>>,
}

impl Client {
    /// A client that asks `auth` for credentials and `mirrors` for ways, each in order. Connects to nothing.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn new(
        settings: RegistrySettings,
        auth: Vec<Arc<dyn AuthProvider>>,
        mirrors: Vec<Arc<dyn MirrorResolver>>,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Self, RegistryError> {
        let parallel = settings.parallel.clamp(1, 64);
        let cache = ContentCache(settings.content_cache.clone());
        if settings.user_agent.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
            let cause = Cause::Settings("the user agent holds characters that no header takes".to_owned());
            return Err(RegistryError::new("set up", "the registry client", cause));
        }
        let inner = Inner {
            transport: Arc::new(Transport::new(settings)),
            keychain: Arc::new(Keychain::new(auth)),
            resolvers: mirrors,
            reporter,
            cache,
            downloads: Semaphore::new(parallel),
            uploads: Semaphore::new(parallel),
            probes: Semaphore::new(parallel * PROBES),
            memory: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Tells a text, such as a digest, to a URL of the operator's choice by `PUT`. No credential goes along.
    ///
    /// # Errors
    /// The URL is not one of `https`, or the server does not take it.
    pub async fn put_text(&self, url: &str, text: &str) -> Result<(), RegistryError> {
        let put = self.put_text_now(url, text).await;
        // What follows the host may be a secret.
        let place = url.split(['?', '#']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
        put.map_err(|cause| RegistryError::new("write the digest to", error::clean(place, &[]), cause))
    }

    async fn put_text_now(&self, url: &str, text: &str) -> Result<(), Cause> {
        let transport = &self.inner.transport;
        let url: reqwest::Url = url.parse().map_err(|_| Cause::Settings("it is not a URL".to_owned()))?;
        let origin = origin::Origin::of(&url).filter(|origin| !origin.is_plain());
        let origin = origin.ok_or_else(|| Cause::Settings("it is not a URL of https".to_owned()))?;
        let client = transport.client(&transport.profile(&origin.authority(), Access::Push, None))?;
        let gate = transport.gate(&origin);
        let mut backoff = transport::Backoff::new(3, transport.settings.retry_deadline);
        loop {
            let request = client.put(url.clone()).header(reqwest::header::CONTENT_TYPE, "text/plain").body(text.to_owned());
            let cause = match transport.once(&origin, request, None).await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    let body = transport.read_error(&origin, answer).await;
                    Cause::Status { status, detail: error::detail(&body, &[]) }
                }
                Err(cause) => cause,
            };
            if !cause.is_transient() || !backoff.again(&gate, None).await {
                return Err(cause);
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.inner.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out work of which there is to be one at a time under a name, such as fetching one blob.
    async fn alone<T>(&self, name: String, work: impl Future<Output = T>) -> T {
        let lock = {
            let mut memory = self.memory();
            memory.flights.retain(|_, lock| lock.strong_count() > 0);
            let known = memory.flights.get(&name).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::default();
                memory.flights.insert(name, Arc::downgrade(&lock));
                lock
            })
        };
        let _held = lock.lock().await;
        work.await
    }

    fn transferred(&self, what: &'static str, digest: Digest, size: u64, place: &str) {
        self.inner.reporter.event(Event::Transfer { what, digest: digest.to_string(), size, place: place.to_owned() });
    }
}

/// Gives a finished file its name.
async fn settle(from: &Path, to: &Path) -> Result<(), Cause> {
    tokio::fs::rename(from, to).await.map_err(|source| Cause::File { path: to.to_owned(), source })
}

#[cfg(test)]
mod tests;
