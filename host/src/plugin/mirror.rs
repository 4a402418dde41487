//! Mirror resolvers: `registry::MirrorResolver` over what a component exports.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};

use super::auth::access;
use super::grant::{Ask, Grant};
use super::import::log::Log;
use super::instance::{Call, Plugin};
use super::state::State;
use super::text::one_line;
use super::v0_1::mirror_resolver::MirrorResolverPre;
use super::v0_1::mirror_resolver::exports::layerwright::plugin::mirror as guest;
use super::v0_1::wit::types;
use crate::registry::auth::Access;
use crate::registry::mirror::{MirrorEndpoint, MirrorError, MirrorResolver, MirrorTls, MirrorVersion, Route};

const MOST_ENDPOINTS: usize = 64;
const MOST_HEADERS: usize = 64;

/// A component that chooses where images are pulled from.
#[derive(Clone)]
pub(super) struct MirrorPlugin(Arc<Parts>);

struct Parts {
    plugin: Plugin,
    guest: MirrorResolverPre<State>,
}

impl MirrorPlugin {
    pub(super) fn new(plugin: Plugin, guest: MirrorResolverPre<State>) -> Self {
        Self(Arc::new(Parts { plugin, guest }))
    }

    pub(super) fn plugin(&self) -> &Plugin {
        &self.0.plugin
    }
}

#[async_trait]
impl MirrorResolver for MirrorPlugin {
    async fn resolve(
        &self,
        registry: &str,
        repository: &str,
        version: &MirrorVersion,
        access: Access,
    ) -> Result<Option<Route>, MirrorError> {
        let parts = Arc::clone(&self.0);
        let asked = guest::Reference {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            version: match version {
                MirrorVersion::Tag(tag) => guest::Version::Tag(tag.clone()),
                MirrorVersion::Digest(digest) => guest::Version::Digest(digest.clone()),
            },
        };
        match tokio::task::spawn_blocking(move || parts.ask(&asked, access)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.0.failed("the host's side of the call failed")),
        }
    }
}

impl Parts {
    fn ask(&self, asked: &guest::Reference, to: Access) -> Result<Option<Route>, MirrorError> {
        let call = Call { function: "resolve", describing: false, log: Log::direct(), looker: None };
        let called = self.plugin.call(call, |store| {
            let instance = self.guest.instantiate(&mut *store)?;
            instance.layerwright_plugin_mirror().call_resolve(&mut *store, asked, access(to))
        });
        let (answer, outcome) = called.map_err(|error| MirrorError::Failed(error.to_string()))?;
        match answer {
            Ok(None) => Ok(None),
            Ok(Some(route)) => self.accept(route).map(Some).map_err(|why| self.failed(&why)),
            Err(types::Error { code, message, hint }) => {
                let mut message = format!("{}: {}", self.plugin.info.name, one_line(&message, 4096));
                let hint = hint.map(|hint| one_line(&hint, 4096)).or_else(|| outcome.denied.clone());
                hint.iter().for_each(|hint| message.push_str(&format!(" ({hint})")));
                // Its own word, or one of the host's that it hands on: only the first is about the image.
                let blocks = code == types::ErrorCode::Denied && outcome.denied.is_none();
                Err(if blocks { MirrorError::Blocked(message) } else { MirrorError::Failed(message) })
            }
        }
    }

    fn accept(&self, route: guest::Route) -> Result<Route, String> {
        if route.endpoints.len() > MOST_ENDPOINTS {
            return Err(format!("it names more than {MOST_ENDPOINTS} endpoints"));
        }
        let endpoints = route.endpoints.into_iter().map(|endpoint| self.endpoint(endpoint)).collect::<Result<_, _>>()?;
        Ok(Route { endpoints, fallback: route.fallback })
    }

    fn endpoint(&self, endpoint: guest::Endpoint) -> Result<MirrorEndpoint, String> {
        let shown = one_line(&endpoint.root, 256);
        let root = Url::parse(&endpoint.root).map_err(|_| format!("its endpoint `{shown}` is no URL"))?;
        let plain = root.username().is_empty() && root.password().is_none() && root.query().is_none() && root.fragment().is_none();
        if !matches!(root.scheme(), "https" | "http") || !root.has_host() || !plain {
            return Err(format!("its endpoint `{shown}` is not of the form https://HOST[:PORT]/v2"));
        }
        if endpoint.headers.len() > MOST_HEADERS {
            return Err(format!("it adds more than {MOST_HEADERS} headers for {shown}"));
        }
        let mut headers = Vec::with_capacity(endpoint.headers.len());
        for types::Property { name, value } in endpoint.headers {
            if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(&value).is_err() {
                return Err(format!("it adds a header for {shown} that HTTP does not allow"));
            }
            headers.push((name, value));
        }
        Ok(MirrorEndpoint {
            repository: endpoint.repository,
            resolve: endpoint.trust.contains(guest::Trust::RESOLVE),
            pull: endpoint.trust.contains(guest::Trust::PULL),
            push: endpoint.trust.contains(guest::Trust::PUSH),
            namespace: endpoint.namespace,
            headers,
            tls: endpoint.tls.map(|tls| self.tls(tls, &root)).transpose()?,
            connect_timeout: endpoint.connect_timeout_ms.map(|millis| Duration::from_millis(millis.into())),
            root: endpoint.root,
        })
    }

    /// Files and unchecked certificates need grants: the plugin names them, the host opens them.
    fn tls(&self, tls: guest::Tls, root: &Url) -> Result<MirrorTls, String> {
        let roots = tls.roots.iter().map(|path| self.file(path)).collect::<Result<_, _>>()?;
        let client = match tls.client {
            Some((certificate, key)) => Some((self.file(&certificate)?, self.file(&key)?)),
            None => None,
        };
        if tls.skip_verification {
            let host = match root.port() {
                Some(port) => format!("{}:{port}", root.host_str().unwrap_or_default()),
                None => root.host_str().unwrap_or_default().to_owned(),
            };
            if !self.plugin.who.grants.iter().any(|grant| grant.allows(Ask::SkipVerification(&host))) {
                return Err(format!(
                    "it may not leave the certificate of {host} unchecked; to allow it, add `--grant {}`",
                    self.plugin.who.line(&format!("skip-verification={host}"))
                ));
            }
        }
        Ok(MirrorTls { roots, client, skip_verification: tls.skip_verification })
    }

    /// The path of a granted file, without `~/`.
    fn file(&self, path: &str) -> Result<String, String> {
        let who = &self.plugin.who;
        let home = who.ambient.home.as_deref();
        let whole = match path.strip_prefix("~/") {
            Some(rest) => home.map(|home| home.join(rest)),
            None => Some(Path::new(path).to_owned()),
        };
        let variable = |name: &str| who.environment.get(name).or_else(|| who.ambient.environment.get(name)).cloned();
        let granted = whole.filter(|whole| super::grant::plain(whole) && !path.contains('\0')).and_then(|whole| {
            let covers = |grant: &Grant| match grant {
                Grant::File(file) => file.resolve(home, variable).is_some_and(|granted| whole.starts_with(granted)),
                _ => false,
            };
            who.grants.iter().any(covers).then_some(whole)
        });
        let shown = one_line(path, 512);
        match granted.and_then(|whole| whole.into_os_string().into_string().ok()) {
            Some(whole) => Ok(whole),
            None => Err(format!("it may not use the file {shown}; to allow it, add `--grant {}`", who.line(&format!("file={shown}")))),
        }
    }

    fn failed(&self, message: &str) -> MirrorError {
        MirrorError::Failed(format!("{}: {message}", self.plugin.info.name))
    }
}
